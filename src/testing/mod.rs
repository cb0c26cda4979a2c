//! What tests and examples run on: a model of four layers, traces that look like real ones, screens that show them.
//!
//! Part of the library, though hidden from its documentation, and not behind a feature: `cargo run` and `cargo test` share
//! one build of the library. Nothing of it ends up in the program, which does not call it.

pub mod fixture;
pub mod tiny_model;
