//! The frozen decoder.

pub mod catalog;
pub mod chat;
mod checksum;
pub mod folder;
pub mod gguf;
mod gguf_scan;
mod pull;
pub mod summary;
pub mod tokenizer;
