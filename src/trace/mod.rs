//! Plain data of a run: its record, what was asked of it, who decided what, and what is made of such records.
//!
//! Nothing in here knows a model, a router or a tensor. The command line, the screen, exports, comparison and statistics
//! read these types; the engine writes them.

pub mod aggregate;
pub mod calibration;
mod decision;
pub mod diff;
mod excluded_expert;
mod io;
mod kv_mode;
mod model;
pub mod overrides;
mod pin;
mod record;
mod routers;
mod scope;
pub mod settings;

pub use calibration::{Calibration, CalibrationPoint};
pub use decision::{DecidedBy, Decision, argmax};
pub use excluded_expert::ExcludedExpert;
pub use io::line;
pub use kv_mode::KvMode;
pub use model::{Arithmetic, Loop, ModelInfo};
pub use overrides::{Override, OverrideItem, OverrideLine, Overrides, OverridesError};
pub use pin::{Pin, pin_at, pinned};
pub use record::{
    BranchPoint, Candidate, CandidateProgram, Header, LogitsReport, PromptToken, Record, SCHEMA, Step, StopReason,
    Summary, Trace,
};
pub use routers::{PREDICTOR, RouterInfo};
pub use scope::{PromptRouting, Scope};
pub use settings::{LEAST_PENALTY, NEUTRAL_DIAL, Sampling, Settings};
