//! The program and its library as their users meet them. One binary, so that the library is linked once; a module a topic,
//! and one is run alone by its name: `cargo test --release --test it hostile::`.
//!
//! Most run on a model of four layers that the tests write ([`drllm::testing::tiny_model`]); those that need real answers
//! run on the default model, pulled once, or on the copy that `DRLLM_TEST_MODEL` names. Tests that need a process of
//! their own are in `tests/alone`.

mod common;

// The source itself: imports run down the floors, a type's name stands for one thing.
mod house;

// The command line: what is printed, what is refused in which words, what a pipe gets.
mod cli_lesson;
mod cli_models;
mod cli_run;
mod cli_traces;
mod job_files;
mod kept_files;
mod models_export;
mod serve;

// Numbers held against other implementations: what the program shows is what these models compute.
mod golden_numbers;
mod kv_fill;
mod loopmoe;
mod public_reports;
mod stock_models;
mod tokenizer;
mod windows;

// Runs that are looked into, branched and flipped: answers agree with what a run does.
mod inside;

// Evaluations: stopped and continued, with every control, and bad input refused.
mod depth_routers;
mod eval;
mod eval_text;

// Searches and what is trained from them: whole, in shards, watched, and on a real Slurm where there is one.
mod loop_map;
mod luck;
mod predictor;
mod search_pipeline;
mod search_shards;
mod search_watch;
#[cfg(unix)]
mod slurm;

// The library without the command line: what a notebook or another program calls.
mod library;

// The screen: what it looks like, that nothing pressed breaks it, and in a real pseudo-terminal.
mod pictures;
#[cfg(unix)]
mod pty;
mod tui_fuzz;
mod tui_screens;

// Files and streams that mean harm, one by one: each is an error in words.
#[cfg(unix)]
mod hostile;
