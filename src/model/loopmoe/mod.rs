//! LoopMoE (arXiv 2606.04438): a mixture of experts whose middle layers run K times, and its plain twin.
//!
//! ```text
//! tokens → embed → prefix layers → ( body layers )×K → suffix layers → norm → lm_head
//!
//! a layer:       m  = h + norm(MLA(norm(h)))             h' = m + norm(FFN(norm(m)))
//! in the body:   m  = h + α·norm(MLA(IterAdaLN(h)))      h' = m + norm(MoE(IterAdaLN(m)))
//!                IterAdaLN(x) = (1 + γ) ⊙ x/rms(x) + β   γ, β, α from h (or m) and the iteration k
//! ```
//!
//! `config` are the sizes, `parameters` names and shapes of the weights, `decoder` the forward pass for training and
//! inference alike, `executions` the same one execution at a time, as programs of layers and routers run it, `experts` its mixture of experts, `cache` the latents by (layer, iteration), `file` one file on
//! disk, `capacity` the matching of a looped model with its twin, `words` the tokenizer, `ops` three operations with
//! slopes. Nobody has published code or weights; what the paper leaves open is said where it is decided and listed in
//! docs/loopmoe.md.

pub mod cache;
pub mod capacity;
pub mod config;
pub mod decoder;
pub(super) mod executions;
mod expert_use;
pub mod experts;
pub mod file;
pub mod ops;
pub mod parameters;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod words;

pub use cache::{LatentCache, Pass};
pub use config::{LayerPart, LoopExecution, LoopMoeConfig, LoopMoeConfigError, MOST_ITERATIONS};
pub use decoder::{ExecutionObserver, LoopMoe, Modulation, Seen};
pub use expert_use::{ExpertUse, ModulationSize};
pub use experts::{Excluded, Routing};
pub use words::WordList;

/// The model that is part of this program, as a file of `train-lm`.
pub const BUILT_IN: &[u8] = include_bytes!("../../../assets/models/loopmoe.safetensors");

/// The words of [`BUILT_IN`].
pub(super) fn built_in_words() -> anyhow::Result<WordList> {
    file::words_of(BUILT_IN)
}
