//! Shapes of published models.

use anyhow::{Result, bail};
use drllm::model::ModelConfig;
use drllm::model::config::{Architecture, RopeScaling};

/// The default model, which has a shape and weights.
pub const DEFAULT: &str = "default";

/// What is measured unless shapes are named.
pub const LARGE: [&str; 7] = [
    "llama-1b",
    "llama-3b",
    "llama-8b",
    "qwen-1.7b",
    "qwen-4b",
    "qwen-8b",
    DEFAULT,
];

/// The numbers that make a decoder's shape.
#[derive(Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    pub qwen: bool,
    pub layers: usize,
    pub hidden: usize,
    pub inner: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub tied: bool,
}

/// name, Qwen3 rather than Llama 3, layers, hidden, inner, heads, KV heads, head size, vocabulary, tied
type Row = (
    &'static str,
    bool,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    bool,
);

const ROWS: [Row; 8] = [
    ("tiny", false, 4, 128, 256, 4, 2, 32, 512, true),
    ("tiny-qwen", true, 4, 128, 256, 4, 2, 32, 512, false),
    // Llama 3.2 1B and 3B, Llama 3.1 8B.
    ("llama-1b", false, 16, 2048, 8192, 32, 8, 64, 128_256, true),
    ("llama-3b", false, 28, 3072, 8192, 24, 8, 128, 128_256, true),
    ("llama-8b", false, 32, 4096, 14_336, 32, 8, 128, 128_256, false),
    // Qwen3 1.7B, 4B, 8B.
    ("qwen-1.7b", true, 28, 2048, 6144, 16, 8, 128, 151_936, true),
    ("qwen-4b", true, 36, 2560, 9728, 32, 8, 128, 151_936, true),
    ("qwen-8b", true, 36, 4096, 12_288, 32, 8, 128, 151_936, false),
];

impl Shape {
    pub fn named(wanted: &str) -> Result<Shape> {
        let Some(row) = ROWS.iter().find(|row| row.0 == wanted) else {
            bail!(
                "there is no shape '{wanted}': expected {DEFAULT}, {}",
                ROWS.map(|row| row.0).join(", ")
            );
        };
        let &(name, qwen, layers, hidden, inner, heads, kv_heads, head_dim, vocab, tied) = row;
        Ok(Shape {
            name,
            qwen,
            layers,
            hidden,
            inner,
            heads,
            kv_heads,
            head_dim,
            vocab,
            tied,
        })
    }

    /// That of the default model.
    pub fn of(config: &ModelConfig) -> Shape {
        Shape {
            name: DEFAULT,
            qwen: config.architecture == Architecture::Qwen3,
            layers: config.layers,
            hidden: config.hidden_size,
            inner: config.intermediate_size,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            vocab: config.vocab_size,
            tied: config.tied_embeddings,
        }
    }

    pub fn config(&self) -> ModelConfig {
        ModelConfig {
            architecture: if self.qwen {
                Architecture::Qwen3
            } else {
                Architecture::Llama
            },
            layers: self.layers,
            hidden_size: self.hidden,
            intermediate_size: self.inner,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            vocab_size: self.vocab,
            context: 4096,
            rms_norm_eps: 1e-5,
            rope_theta: 500_000.0,
            rope_scaling: RopeScaling::None,
            rope_interleaved: false,
            tied_embeddings: self.tied,
            details: Default::default(),
        }
    }

    /// Weights of the blocks' matrices.
    pub fn block_weights(&self) -> usize {
        let attention = 2 * self.heads * self.head_dim + 2 * self.kv_heads * self.head_dim;
        self.layers * self.hidden * (attention + 3 * self.inner)
    }

    /// Weights that every token reads: the blocks' and the head's.
    pub fn weights_a_token(&self) -> usize {
        self.block_weights() + self.vocab * self.hidden
    }
}
