//! One run: prompt in, tokens and a [`Trace`](crate::trace::Trace) out.

mod continuation;
pub mod decide;
pub mod distribution;
pub mod divergence;
pub mod events;
pub mod flip;
pub mod generate;
pub mod inspect;
pub mod inspector;
pub mod intervention;
pub mod load;
pub mod loop_map;
pub mod notes;
mod pause;
pub mod prefix_cache;
pub mod prompt_file;
pub mod replay;
pub mod sampler;
pub mod search;
pub mod sequence;
pub mod worker;

pub use crate::model::loopmoe::{ExpertUse, ModulationSize};
pub use crate::router::checkpoint::{KV, SCOPE};
pub use distribution::Distribution;
pub use divergence::Divergence;
pub use events::{
    AskId, Command, ENDED, InspectionRequest, InspectionResult, LoadRequest, Prompt, RouterChoice, RunId, WorkerEvent,
};
pub use flip::{Flip, Shift};
pub use generate::{Generation, Output, Unfit, generate};
pub use inspect::{Followed, Inspection, Moved, Since, Stage, Standing};
pub use inspector::Inspector;
pub use intervention::Intervention;
pub use load::{kv_of, load_model, load_routers, scope_of, trained_routers};
pub use notes::{dial_for_depth, notes};
pub use prefix_cache::PrefixCache;
pub use search::{Expected, SearchEnd, SearchId, SearchRequest, SearchStep};
pub use worker::Worker;
