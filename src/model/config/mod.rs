//! Shape of a decoder, read from GGUF metadata or a Hugging Face config.json.
//!
//! Nothing that alters what a model computes is ignored in silence: [`Fields`] says of each field of a file whether it was
//! read, changes nothing, or is not known; a value that asks for something that this program does not do is an error that
//! names the field.

mod fields;
mod folder;
mod gguf;

pub use fields::Fields;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// More layers than any model has.
const MAX_LAYERS: usize = 1024;

/// The architectures this program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2/3, SmolLM, TinyLlama.
    Llama,
    /// Qwen2 and 2.5: biases on q, k, v.
    Qwen2,
    /// Qwen3: RMS norm on every query and key head.
    Qwen3,
    /// The text part of Gemma 3: norms before and behind attention and feed-forward, RMS norm on every query and key head,
    /// layers that see a window of tokens, scaled embeddings.
    Gemma3,
    /// LoopMoE: a mixture of experts whose middle layers run several times; in no file of GGUF or a Hugging Face folder.
    LoopMoe,
}

impl Architecture {
    /// Those that a GGUF file or a Hugging Face folder can name.
    pub const ALL: [Architecture; 4] = [
        Architecture::Llama,
        Architecture::Qwen2,
        Architecture::Qwen3,
        Architecture::Gemma3,
    ];

    /// In traces, and in GGUF's `general.architecture`.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
            Architecture::Gemma3 => "gemma3",
            Architecture::LoopMoe => "loopmoe",
        }
    }

    /// Whether queries and keys are normalised head by head.
    pub fn has_head_norms(self) -> bool {
        matches!(self, Architecture::Qwen3 | Architecture::Gemma3)
    }

    /// Whether what attention and feed-forward give is normalised before it is added.
    pub fn has_post_norms(self) -> bool {
        self == Architecture::Gemma3
    }

    /// Whether the norms' gains in a Hugging Face folder are less by one than what states are multiplied with.
    pub fn has_gains_less_one(self) -> bool {
        self == Architecture::Gemma3
    }

    fn from_name(name: &str) -> Result<Self> {
        let found = Architecture::ALL.into_iter().find(|a| a.name() == name);
        found.with_context(|| {
            format!(
                "the architecture '{}' is not supported; supported are llama, qwen2, qwen3 and gemma3",
                name.escape_default()
            )
        })
    }
}

/// Long-context scaling of RoPE frequencies.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// Frequencies as they are.
    #[default]
    None,
    /// All positions divided by the factor.
    Linear(f64),
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, smooth in between.
    Llama3 {
        /// What low frequencies are divided by.
        factor: f64,
        /// Frequencies are low where their wavelength is over `original_context` / `low_freq_factor`.
        low_freq_factor: f64,
        /// Frequencies are high where their wavelength is below `original_context` / `high_freq_factor`.
        high_freq_factor: f64,
        /// Positions that the model was trained with before it was scaled.
        original_context: usize,
    },
    /// A divisor for each frequency, as GGUF's `rope_freqs.weight` has it.
    Factors(Vec<f32>),
}

/// What the gate of a feed-forward goes through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// x · sigmoid(x), also called swish.
    #[default]
    Silu,
    /// x · Φ(x), by the error function.
    Gelu,
    /// The same by the hyperbolic tangent, which is a little less exact.
    GeluTanh,
    /// max(x, 0)
    Relu,
}

impl Activation {
    /// By transformers' names.
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "silu" | "swish" => Activation::Silu,
            "gelu" | "gelu_python" => Activation::Gelu,
            "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" | "gelu_accurate" | "gelu_python_tanh" => {
                Activation::GeluTanh
            }
            "relu" => Activation::Relu,
            _ => return None,
        })
    }
}

/// Layers in which a token sees only the last ones before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sliding {
    /// How many positions a token sees, its own included.
    pub window: usize,
    /// Of each layer, whether it is such a one.
    pub layers: Vec<bool>,
    /// RoPE of these layers, where it is another one.
    pub rope: Option<(f64, RopeScaling)>,
}

/// Where a decoder's blocks compute otherwise than Llama's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// Of the gate.
    pub activation: Activation,
    /// What scores are multiplied with; 1/√head_dim where absent.
    pub attention_scale: Option<f64>,
    /// What embeddings are multiplied with.
    pub embedding_scale: Option<f64>,
    /// Absent where all layers see all tokens before.
    pub sliding: Option<Sliding>,
}

/// Shape and constants of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Which kind of block it has.
    pub architecture: Architecture,
    /// L; of a looped model its executions.
    pub layers: usize,
    /// Width of the hidden states, d.
    pub hidden_size: usize,
    /// Width of the feed-forward.
    pub intermediate_size: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; fewer than `heads` under grouped-query attention.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Tokens that have an embedding.
    pub vocab_size: usize,
    /// Greatest number of positions.
    pub context: usize,
    /// Added to the mean square in RMS norms.
    pub rms_norm_eps: f64,
    /// Base of RoPE's frequencies.
    pub rope_theta: f64,
    /// What becomes of RoPE's frequencies.
    pub rope_scaling: RopeScaling,
    /// GGUF files of `llama` hold query and key rows so that RoPE turns neighbouring pairs;
    /// elsewhere it turns the two halves of a head.
    pub rope_interleaved: bool,
    /// Whether the head is the embeddings.
    pub tied_embeddings: bool,
    /// Where blocks compute otherwise than Llama's.
    pub details: Details,
}

impl ModelConfig {
    /// Query heads that share one key/value head.
    pub fn groups(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// sha256 of the shape, hexadecimal: what routers are trained for. Models that differ only in
    /// their weights' values or types share it.
    pub fn shape_sha256(&self) -> String {
        let shape = format!(
            "architecture={}\nlayers={}\nhidden_size={}\nintermediate_size={}\nheads={}\nkv_heads={}\nhead_dim={}\n\
             vocab_size={}\nrope_theta={}\n",
            self.architecture.name(),
            self.layers,
            self.hidden_size,
            self.intermediate_size,
            self.heads,
            self.kv_heads,
            self.head_dim,
            self.vocab_size,
            self.rope_theta
        );
        let digest = Sha256::digest(shape.as_bytes());
        digest.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn checked(self) -> Result<Self> {
        let sizes = [
            ("layers", self.layers, MAX_LAYERS),
            ("hidden size", self.hidden_size, 1 << 17),
            ("feed-forward size", self.intermediate_size, 1 << 20),
            ("heads", self.heads, 4096),
            ("key/value heads", self.kv_heads, 4096),
            ("head size", self.head_dim, 4096),
            ("vocabulary", self.vocab_size, 1 << 22),
            ("context", self.context, 1 << 28),
        ];
        for (what, size, most) in sizes {
            ensure!(
                (1..=most).contains(&size),
                "the model claims {size} for its {what}; expected 1 to {most}"
            );
        }
        ensure!(
            self.heads.is_multiple_of(self.kv_heads),
            "{} heads do not divide among {} key/value heads",
            self.heads,
            self.kv_heads
        );
        ensure!(
            self.head_dim.is_multiple_of(2),
            "the head size {} is odd; RoPE needs pairs",
            self.head_dim
        );
        ensure!(
            self.rms_norm_eps.is_finite()
                && self.rms_norm_eps > 0.0
                && self.rope_theta.is_finite()
                && self.rope_theta > 0.0,
            "norm epsilon and rope base must be above 0"
        );
        if let Some(sliding) = &self.details.sliding {
            ensure!(
                sliding.window > 0 && sliding.layers.len() == self.layers,
                "the sliding window has {} positions and {} layer types for {} layers; expected at least one position and a \
                 type a layer",
                sliding.window,
                sliding.layers.len(),
                self.layers
            );
        }
        let scales = [self.details.attention_scale, self.details.embedding_scale];
        ensure!(
            scales
                .into_iter()
                .flatten()
                .all(|scale| scale.is_finite() && scale > 0.0),
            "the scales of attention and embeddings must be above 0"
        );
        Ok(self)
    }

    /// What scores are multiplied with.
    pub fn attention_scale(&self) -> f64 {
        self.details
            .attention_scale
            .unwrap_or_else(|| (self.head_dim as f64).sqrt().recip())
    }
}
