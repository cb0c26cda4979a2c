//! One run: prompt in, tokens and a [`Trace`] out.

pub mod events;
mod gate;
pub mod generate;
pub mod load;
pub mod route;
pub mod sampler;
pub mod sequence;
pub mod settings;
pub mod trace;
pub mod trace_io;
pub mod worker;

pub use events::{Command, Event, LoadRequest, Prompt, RouterChoice, RunId};
pub use generate::{Output, generate};
pub use load::{load_model, load_routers};
pub use settings::{NEUTRAL_DIAL, Pin, Sampling, Scope, Settings};
pub use trace::{
    DecidedBy, Decision, Header, LogitsReport, ModelInfo, PromptToken, Record, RouterInfo, SCHEMA, Step, StopReason,
    Summary, Trace,
};
pub use worker::Worker;
