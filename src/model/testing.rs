//! A model's shape for unit tests.

use super::config::{Architecture, ModelConfig, RopeScaling};

/// A Llama of three layers: random weights of that shape are there at once.
pub fn small_config() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        layers: 3,
        hidden_size: 32,
        intermediate_size: 48,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        vocab_size: 64,
        context: 512,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        rope_interleaved: false,
        tied_embeddings: true,
    }
}
