//! Subcommands, a module each: arguments, printing, exit codes.

pub mod args;
pub mod base_model;
pub mod config;
pub mod diff;
pub mod eval;
pub mod eval_lm;
pub mod explore;
pub mod export;
pub mod lesson;
pub mod man;
pub mod models;
pub mod output;
pub mod problems;
pub mod progress;
pub mod run;
pub mod scoring;
pub mod search;
pub mod serve;
pub mod stats;
mod table;
pub mod tokenize;
pub mod trace_file;
pub mod train;
pub mod train_lm;

/// What the user got wrong in the arguments: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// Takes the message: what is wrong, and what was expected.
    pub fn new(message: impl Into<String>) -> Self {
        UsageError(message.into())
    }
}
