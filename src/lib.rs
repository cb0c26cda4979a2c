//! Run a frozen LLM whose layers are skipped, executed or repeated by small routers, and see why.
//!
//! How data flows: the command line or the screen sends [`engine::Command::Generate`] to the
//! worker thread that owns the model. The engine tokenises the prompt and, for every layer, asks
//! the router, lets the policy settle the action (router < dial < budget < pin) and runs the block
//! 0, 1 or 2 times on its KV passes. Each token becomes one [`engine::Step`], which goes out as an
//! event and onto the [`engine::Trace`]; the screen folds it into its state and draws it,
//! `run --json` prints it. Nothing else produces those numbers.
//!
//! Modules import only downwards: `tui`, `cli` → `export`, `eval`, `train`, `search` → `engine` →
//! `router` → `model` → `program`.

// What is printed goes through [`say`] and [`cli::output`], where a reader that is gone is no panic.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod cli;
pub mod config;
pub mod engine;
pub mod eval;
pub mod export;
pub mod files;
pub mod guard;
pub mod line_file;
pub mod model;
pub mod paths;
pub mod program;
pub mod router;
pub mod say;
pub mod search;
#[doc(hidden)]
pub mod testing;
pub mod text;
pub mod train;
pub mod tui;
