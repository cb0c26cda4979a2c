//! Who decides: the routers, and the policy that settles every decision.

pub mod calibration;
pub mod checkpoint;
pub mod decision;
mod device;
mod fast;
pub mod input_norm;
pub mod mlp;
pub mod pin;
pub mod policy;
pub mod pooling;
pub mod predictor;
pub mod programs;
pub mod scope;

pub use calibration::Calibration;
pub use checkpoint::{RouterSet, metadata_entry};
pub use decision::{DecidedBy, Decision, RouterInfo};
pub use fast::FastRouters;
pub(crate) use fast::Question;
pub use input_norm::InputNorm;
pub use mlp::MlpRouter;
pub use pin::Pin;
pub use pooling::pool_windows;
pub use predictor::Predictor;
pub use programs::{CandidateProgram, ProposePrograms, ProposedPrograms};
pub use scope::{PromptRouting, Scope};
