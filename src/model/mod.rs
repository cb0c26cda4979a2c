//! The frozen decoder and what turns text into its tokens and back.
//!
//! `config` and `weights` read a model, `block` is one layer as the papers have it, `decoder` runs
//! one block at a time; `kv` keeps keys and values by pass, `linear` and `kernel` do the products,
//! `step` damps an execution, `fused` is the block through the CPU kernels alone, `persistent` a token
//! through all of them in one launch of a GPU.

pub mod apart;
mod batch;
pub mod block;
pub mod catalog;
pub mod chat;
mod checksum;
pub mod chunk;
pub mod config;
#[cfg(feature = "cuda")]
mod cuda_libraries;
pub mod decoder;
pub mod folder;
pub(crate) mod fused;
pub mod gguf;
pub mod gguf_program;
mod gguf_scan;
pub(crate) mod gpu;
pub mod gradient;
mod jinja;
pub(crate) mod kernel;
mod key_smoothing;
pub mod kv;
pub mod linear;
pub mod loaded;
pub mod loopmoe;
pub mod persistent;
pub mod prefill;
mod pull;
mod rope;
mod split;
mod step;
pub mod summary;
mod tensors;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokenizer;
pub mod weights;

pub use chunk::Chunk;
pub use config::{Architecture, ModelConfig};
pub use decoder::Decoder;
pub use kernel::{ActivationBits, KvBits, logsumexp, use_amx};
pub use kv::{KvCache, PassKv};
pub use loaded::{Model, NoLoop, device, device_or_note};
pub use step::stepped;
pub use tokenizer::{StreamDecoder, Tokenizer};
pub use weights::{LoadOptions, WeightSource};
