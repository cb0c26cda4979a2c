//! Shape of a decoder, read from GGUF metadata or a Hugging Face config.json.

use crate::files;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::quantized::gguf_file::{Content, Value};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The architectures this program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2/3, SmolLM, TinyLlama.
    Llama,
    /// Qwen2 and 2.5: biases on q, k, v.
    Qwen2,
    /// Qwen3: RMS norm on every query and key head.
    Qwen3,
}

impl Architecture {
    pub const ALL: [Architecture; 3] = [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3];

    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
        }
    }

    fn from_name(name: &str) -> Result<Self> {
        let found = Architecture::ALL.into_iter().find(|a| a.name() == name);
        found.with_context(|| {
            format!(
                "the architecture '{}' is not supported; supported are llama, qwen2 and qwen3",
                name.escape_default()
            )
        })
    }
}

/// Long-context scaling of RoPE frequencies.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RopeScaling {
    #[default]
    None,
    /// All positions divided by the factor.
    Linear(f64),
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, smooth in between.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: usize,
    },
    /// A divisor for each frequency, as GGUF's `rope_freqs.weight` has it.
    Factors(Vec<f32>),
}

/// Shape and constants of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    pub architecture: Architecture,
    pub layers: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub heads: usize,
    /// Key/value heads; fewer than `heads` under grouped-query attention.
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab_size: usize,
    /// Greatest number of positions.
    pub context: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    pub rope_scaling: RopeScaling,
    /// GGUF files of `llama` hold query and key rows so that RoPE turns neighbouring pairs;
    /// elsewhere it turns the two halves of a head.
    pub rope_interleaved: bool,
    pub tied_embeddings: bool,
}

impl ModelConfig {
    /// From GGUF metadata. `tied_embeddings` is set where there is no `output.weight`.
    pub fn from_gguf(content: &Content) -> Result<Self> {
        let metadata = Metadata(content);
        let architecture = Architecture::from_name(metadata.string("general.architecture")?)?;
        let key = |name: &str| format!("{}.{name}", architecture.name());
        let heads = metadata.count(&key("attention.head_count"))?;
        let hidden_size = metadata.count(&key("embedding_length"))?;
        let kv_key = key("attention.head_count_kv");
        let kv_heads = metadata.optional_count(&kv_key)?.unwrap_or(heads);
        let embedding = content.tensor_infos.get("token_embd.weight");
        let embedding = embedding.context("the file has no tensor 'token_embd.weight'")?;
        let scaling = match metadata.0.metadata.get(&key("rope.scaling.type")) {
            Some(Value::String(kind)) if kind == "linear" => {
                RopeScaling::Linear(metadata.float(&key("rope.scaling.factor"))?)
            }
            Some(Value::String(kind)) if kind != "none" => {
                bail!("rope scaling '{kind}' is not supported in GGUF files")
            }
            _ => RopeScaling::None,
        };
        let config = ModelConfig {
            architecture,
            layers: metadata.count(&key("block_count"))?,
            hidden_size,
            intermediate_size: metadata.count(&key("feed_forward_length"))?,
            heads,
            kv_heads,
            head_dim: match metadata.optional_count(&key("attention.key_length"))? {
                Some(dim) => dim,
                None => hidden_size.checked_div(heads).unwrap_or_default(),
            },
            vocab_size: embedding.shape.dims().first().copied().unwrap_or_default(),
            context: metadata.count(&key("context_length"))?,
            rms_norm_eps: metadata.float(&key("attention.layer_norm_rms_epsilon"))?,
            rope_theta: metadata.float(&key("rope.freq_base")).unwrap_or(10_000.0),
            rope_scaling: scaling,
            rope_interleaved: architecture == Architecture::Llama,
            tied_embeddings: !content.tensor_infos.contains_key("output.weight"),
        };
        config.checked()
    }

    /// From a Hugging Face folder's config.json.
    pub fn from_hf(path: &Path) -> Result<Self> {
        let text = files::read_text(path, files::TEXT).with_context(|| format!("cannot read {}", path.display()))?;
        let raw: HfConfig =
            serde_json::from_str(&text).with_context(|| format!("{} is no model config", path.display()))?;
        raw.into_config().with_context(|| format!("in {}", path.display()))
    }

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
            ("layers", self.layers, 1024),
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
            self.rms_norm_eps > 0.0 && self.rope_theta > 0.0,
            "norm epsilon and rope base must be above 0"
        );
        Ok(self)
    }
}

struct Metadata<'a>(&'a Content);

impl Metadata<'_> {
    fn get(&self, key: &str) -> Result<&Value> {
        self.0
            .metadata
            .get(key)
            .with_context(|| format!("the GGUF metadata has no '{key}'"))
    }

    fn string(&self, key: &str) -> Result<&str> {
        let value = self.get(key)?;
        Ok(value
            .to_string()
            .with_context(|| format!("GGUF metadata '{key}' is no text"))?)
    }

    fn count(&self, key: &str) -> Result<usize> {
        as_count(self.get(key)?).with_context(|| format!("GGUF metadata '{key}' is no count"))
    }

    fn optional_count(&self, key: &str) -> Result<Option<usize>> {
        self.0.metadata.contains_key(key).then(|| self.count(key)).transpose()
    }

    fn float(&self, key: &str) -> Result<f64> {
        match self.get(key)? {
            Value::F32(x) => Ok(f64::from(*x)),
            Value::F64(x) => Ok(*x),
            _ => bail!("GGUF metadata '{key}' is no number"),
        }
    }
}

fn as_count(value: &Value) -> Option<usize> {
    let wide = match *value {
        Value::U8(v) => v.into(),
        Value::U16(v) => v.into(),
        Value::U32(v) => v.into(),
        Value::U64(v) => v,
        Value::I8(v) => v.try_into().ok()?,
        Value::I16(v) => v.try_into().ok()?,
        Value::I32(v) => v.try_into().ok()?,
        Value::I64(v) => v.try_into().ok()?,
        _ => return None,
    };
    usize::try_from(wide).ok()
}

#[derive(Deserialize)]
struct HfConfig {
    model_type: String,
    num_hidden_layers: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    #[serde(default = "default_rope_theta")]
    rope_theta: f64,
    #[serde(alias = "rope_parameters")]
    rope_scaling: Option<HfRopeScaling>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    use_sliding_window: bool,
}

fn default_rope_theta() -> f64 {
    10_000.0
}

#[derive(Deserialize)]
struct HfRopeScaling {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
}

impl HfConfig {
    fn into_config(self) -> Result<ModelConfig> {
        let architecture = Architecture::from_name(&self.model_type)?;
        ensure!(!self.use_sliding_window, "sliding-window attention is not supported");
        let theta = self
            .rope_scaling
            .as_ref()
            .and_then(|s| s.rope_theta)
            .unwrap_or(self.rope_theta);
        let config = ModelConfig {
            architecture,
            layers: self.num_hidden_layers,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            heads: self.num_attention_heads,
            kv_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_dim: match self.head_dim {
                Some(dim) => dim,
                None => self
                    .hidden_size
                    .checked_div(self.num_attention_heads)
                    .unwrap_or_default(),
            },
            vocab_size: self.vocab_size,
            context: self.max_position_embeddings,
            rms_norm_eps: self.rms_norm_eps,
            rope_theta: theta,
            rope_scaling: self
                .rope_scaling
                .map_or(Ok(RopeScaling::None), HfRopeScaling::into_scaling)?,
            rope_interleaved: false,
            tied_embeddings: self.tie_word_embeddings,
        };
        config.checked()
    }
}

impl HfRopeScaling {
    fn into_scaling(self) -> Result<RopeScaling> {
        let factor = || self.factor.context("rope_scaling has no 'factor'");
        match self.rope_type.as_deref().unwrap_or("default") {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear(factor()?)),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: factor()?,
                low_freq_factor: self.low_freq_factor.context("rope_scaling has no 'low_freq_factor'")?,
                high_freq_factor: self
                    .high_freq_factor
                    .context("rope_scaling has no 'high_freq_factor'")?,
                original_context: self
                    .original_max_position_embeddings
                    .context("rope_scaling has no 'original_max_position_embeddings'")?,
            }),
            other => bail!("rope scaling '{other}' is not supported; supported are default, linear and llama3"),
        }
    }
}
