//! The frozen decoder.

pub mod chat;
pub mod gguf;
mod gguf_scan;
pub mod tokenizer;
