//! The frozen decoder.

pub mod gguf;
mod gguf_scan;
pub mod tokenizer;
