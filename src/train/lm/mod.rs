//! Training a small language model from nothing: LoopMoE or its plain twin, on problems that the program makes.
//!
//! `tasks` are the problems, `corpus` packs them into sequences, `trainer` is the loop, `balance` keeps the experts
//! equally busy, `state` what a stopped training goes on from, `evaluate` the accuracy by task and difficulty, `inside`
//! what the loop does from iteration to iteration.

pub mod balance;
pub mod corpus;
pub mod evaluate;
pub mod inside;
pub mod settings;
pub mod state;
pub mod trainer;

pub use crate::eval::problems::{LmTask, Problem};
pub use settings::LmSettings;
pub use trainer::{LmStepReport, train};
