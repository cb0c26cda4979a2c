//! One run: prompt in, tokens and a [`Trace`] out.

pub mod events;
pub mod settings;
pub mod trace;
pub mod trace_io;

pub use events::{Command, Event, LoadRequest, Prompt, RouterChoice, RunId};
pub use settings::{NEUTRAL_DIAL, Pin, Sampling, Scope, Settings};
pub use trace::{
    DecidedBy, Decision, Header, LogitsReport, ModelInfo, PromptToken, Record, RouterInfo, SCHEMA, Step, StopReason,
    Summary, Trace,
};
