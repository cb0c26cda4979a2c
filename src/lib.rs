//! Run a frozen LLM whose layers are skipped, executed or repeated by small routers, and see why.
//!
//! A model runs under a fixed program, under routers, or under both with pins; what comes is a stream of
//! [`trace::Step`]s, one a token:
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! use drllm::engine::{LoadRequest, Output, Prompt, generate, load_model};
//! use drllm::program::Program;
//! use drllm::trace::Settings;
//!
//! # let folder = tempfile::tempdir()?;
//! # drllm::testing::tiny_model::write(folder.path(), 7);
//! # let model = folder.path().display().to_string();
//! // `model`: a GGUF file, a Hugging Face folder or a name of the catalog; here a folder with 4 random layers.
//! let request = LoadRequest { model: Some(model), device: "cpu".into(), ..LoadRequest::default() };
//! let stop = AtomicBool::new(false);
//! let model = load_model(&request, &mut |_, _, _| {}, &mut |_| {}, &stop)?;
//!
//! // Layer 1 is skipped, layer 2 runs twice.
//! let settings = Settings {
//!     program: Some(Program::parse("0 2x2 3", model.info.layers)?),
//!     max_tokens: 5,
//!     ignore_eos: true,
//!     raw: true,
//!     ..Settings::default()
//! };
//! let mut depths = Vec::new();
//! let prompt = Prompt::Text("Hello".into());
//! generate(&model, None, &prompt, &settings, &stop, &mut |output| {
//!     if let Output::Step(step) = output {
//!         depths.push(step.program.depth());
//!     }
//! })?;
//! assert_eq!(depths, [4; 5]);
//! # anyhow::Ok(())
//! ```
//!
//! A run that was recorded (`drllm-tui run --json`, [`trace::Trace::to_json_lines`]) is read without its model:
//!
//! ```
//! use drllm::trace::{DecidedBy, Trace};
//!
//! let trace = Trace::from_json_lines(include_str!("../tests/data/example.trace.jsonl"))?;
//! assert_eq!(trace.text(), "The answer to");
//! assert_eq!((trace.layers(), trace.mean_depth()), (30, 30.0));
//! // Each decision says who made it, and how sure the router was.
//! let decision = &trace.header.decisions[12];
//! assert_eq!(decision.by, DecidedBy::Router);
//! println!("layer 12: {}, {:?}", decision.action, decision.probs);
//! # anyhow::Ok(())
//! ```
//!
//! How data flows: the command line or the screen sends [`engine::Command::Generate`] to the
//! worker thread that owns the model. The engine tokenises the prompt and, for every layer, asks
//! the router, lets the policy settle the action (proposal < dial < budget < pin) and runs the block
//! 0, 1 or 2 times on its KV passes. Each token becomes one [`trace::Step`], which goes out as an
//! event and onto the [`trace::Trace`]; the screen folds it into its state and draws it,
//! `run --json` prints it.
//!
//! Modules import only downwards: `cli` → `tui` → `serve` → `train` → `search` → `eval` → `engine` → `router` → `model` → `export` →
//! `trace` → `program`.

// What is printed goes through [`say`] and [`cli::output`], where a reader that is gone is no panic.
#![warn(missing_docs)]
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
pub mod plot;
pub mod program;
pub mod progress;
pub mod router;
pub mod say;
pub mod search;
pub mod serve;
#[doc(hidden)]
pub mod testing;
pub mod text;
pub mod trace;
pub mod train;
pub mod tui;
