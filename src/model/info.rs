//! What a trace says of the model.

use serde::{Deserialize, Serialize};

/// The model that ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Catalog name or file stem.
    pub name: String,
    /// sha256 of the GGUF file; of a folder, of its safetensors index or file. Hexadecimal.
    pub sha256: String,
    /// `llama`, `qwen2`, `qwen3` or `gemma3`.
    pub architecture: String,
    pub layers: usize,
    pub hidden_size: usize,
    pub vocab_size: usize,
    /// Greatest number of positions.
    pub context: usize,
    /// The commonest tensor type, as GGUF names it: `Q4_1`, `F16`.
    pub quantisation: String,
}
