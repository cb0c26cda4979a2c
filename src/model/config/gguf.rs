//! A decoder's shape from GGUF metadata, with the defaults of llama.cpp.

use anyhow::{Context, Result, bail, ensure};
use candle_core::quantized::gguf_file::{Content, Value};

use super::fields::{self, Fields, Kind, Neutral, shown};
use super::{Activation, Architecture, Details, ModelConfig, RopeScaling, Sliding};

/// Keys of an architecture, without its name in front.
const READ: &[&str] = &[
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.scale",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.factor",
    "rope.scaling.type",
];
const READ_GEMMA3: &[&str] = &[
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "rope.freq_base_swa",
];
const HARMLESS: &[&str] = &[
    "attention.layer_norm_epsilon",
    "expert_used_count",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_log_multiplier",
    "tensor_data_layout",
    "vocab_size",
];
/// What changes the forward pass in other models, and the values with which it does not.
const REFUSED: &[(&str, Neutral)] = &[
    ("attention.causal", Neutral::Yes),
    ("attention.clamp_kqv", Neutral::Zero),
    ("attention.max_alibi_bias", Neutral::Zero),
    ("attention.sliding_window", Neutral::Zero),
    ("attention.temperature_length", Neutral::Zero),
    ("attention.temperature_scale", Neutral::Zero),
    ("attn_logit_softcapping", Neutral::Zero),
    ("dense_2_feat_out", Neutral::Zero),
    ("embedding_scale", Neutral::OneOrZero),
    ("expert_count", Neutral::Zero),
    ("expert_shared_count", Neutral::Zero),
    ("final_logit_softcapping", Neutral::Zero),
    ("hidden_activation", Neutral::Texts(&["silu", "swish"])),
    ("logit_scale", Neutral::OneOrZero),
    ("pooling_type", Neutral::Zero),
    ("residual_scale", Neutral::OneOrZero),
    ("rope.scaling.attn_factor", Neutral::One),
    ("swin_norm", Neutral::None),
    ("use_parallel_residual", Neutral::None),
];

impl ModelConfig {
    /// From GGUF metadata. `tied_embeddings` is set where there is no `output.weight`.
    ///
    /// # Errors
    /// Names the key that is missing, of a wrong type, or asks for what this program does not compute.
    pub fn from_gguf(content: &Content) -> Result<Self> {
        Ok(Self::from_metadata(content)?.0)
    }

    /// As [`ModelConfig::from_gguf`], and what became of the keys.
    pub fn from_metadata(content: &Content) -> Result<(Self, Fields)> {
        let architecture = content.metadata.get("general.architecture");
        let architecture = architecture.context("the GGUF metadata has no 'general.architecture'")?;
        let Value::String(architecture) = architecture else {
            bail!(
                "GGUF metadata 'general.architecture' is {}; expected a text",
                shown(&json(architecture))
            );
        };
        let architecture = Architecture::from_name(architecture)?;
        let metadata = Metadata {
            content,
            prefix: format!("{}.", architecture.name()),
        };
        let own = content.metadata.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix(&metadata.prefix)?;
            Some((name, json(value)))
        });
        let fields = fields::sort(own, |name| kind(architecture, name)).context("in the GGUF metadata")?;
        Ok((read(&metadata, architecture)?, fields))
    }
}

fn kind(architecture: Architecture, name: &str) -> Option<Kind> {
    let gemma = architecture == Architecture::Gemma3 && READ_GEMMA3.contains(&name);
    if gemma || READ.contains(&name) {
        return Some(Kind::Read);
    }
    if HARMLESS.contains(&name) {
        return Some(Kind::Harmless);
    }
    let refused = REFUSED.iter().find(|(refused, _)| *refused == name);
    refused.map(|&(_, neutral)| Kind::Refused(neutral))
}

fn read(metadata: &Metadata, architecture: Architecture) -> Result<ModelConfig> {
    let content = metadata.content;
    let layers = metadata.needed("block_count")?;
    let each = |key: &str| metadata.count_of_each_layer(key, layers);
    let heads = each("attention.head_count")?.with_context(|| metadata.missing("attention.head_count"))?;
    let hidden_size = metadata.needed("embedding_length")?;
    let head_dim = match metadata.count("attention.key_length")? {
        Some(dim) => dim,
        None => hidden_size.checked_div(heads).unwrap_or_default(),
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        let given = metadata.count(key)?.unwrap_or(head_dim);
        ensure!(
            given == head_dim,
            "GGUF metadata '{}{key}' is {given} where heads have {head_dim}; this program turns whole heads, and its keys and \
             values are of one size",
            metadata.prefix
        );
    }
    let embedding = content.tensor_infos.get("token_embd.weight");
    let embedding = embedding.context("the file has no tensor 'token_embd.weight'")?;
    let feed_forward = each("feed_forward_length")?;
    let gemma = architecture == Architecture::Gemma3;
    // As llama.cpp has it: the largest model scales by what its heads would be of the hidden size.
    let default_scale = (gemma && layers == 62).then(|| (hidden_size as f64 / heads as f64).sqrt().recip());
    let scale = metadata.float("attention.scale")?.filter(|&scale| scale != 0.0);
    let config = ModelConfig {
        architecture,
        layers,
        hidden_size,
        intermediate_size: feed_forward.with_context(|| metadata.missing("feed_forward_length"))?,
        heads,
        kv_heads: each("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        vocab_size: embedding.shape.dims().first().copied().unwrap_or_default(),
        context: metadata.needed("context_length")?,
        rms_norm_eps: metadata
            .float("attention.layer_norm_rms_epsilon")?
            .with_context(|| metadata.missing("attention.layer_norm_rms_epsilon"))?,
        rope_theta: metadata.float("rope.freq_base")?.unwrap_or(10_000.0),
        rope_scaling: scaling(metadata)?,
        rope_interleaved: architecture == Architecture::Llama,
        tied_embeddings: !content.tensor_infos.contains_key("output.weight"),
        details: Details {
            activation: if gemma { Activation::GeluTanh } else { Activation::Silu },
            attention_scale: scale.or(default_scale),
            embedding_scale: gemma.then(|| (hidden_size as f64).sqrt()),
            sliding: if gemma { sliding(metadata, layers)? } else { None },
        },
    };
    config.checked()
}

/// Linear is what a factor means where no type stands; an older key has the same factor.
fn scaling(metadata: &Metadata) -> Result<RopeScaling> {
    let factor = match metadata.float("rope.scaling.factor")? {
        Some(factor) => factor,
        None => metadata.float("rope.scale_linear")?.unwrap_or(0.0),
    };
    match metadata.text("rope.scaling.type")?.unwrap_or("linear") {
        "none" => Ok(RopeScaling::None),
        "linear" => {
            ensure!(
                factor.is_finite() && factor >= 0.0,
                "GGUF metadata '{}rope.scaling.factor' is {factor}; expected more than 0",
                metadata.prefix
            );
            Ok(if factor == 0.0 || factor == 1.0 {
                RopeScaling::None
            } else {
                RopeScaling::Linear(factor)
            })
        }
        other => bail!(
            "GGUF metadata '{}rope.scaling.type' is '{}', which this program does not compute; supported are none and linear",
            metadata.prefix,
            other.escape_default()
        ),
    }
}

/// Gemma 3's layers with a window: all but every sixth, unless the file says which.
fn sliding(metadata: &Metadata, layers: usize) -> Result<Option<Sliding>> {
    let Some(window) = metadata.count("attention.sliding_window")?.filter(|&window| window > 0) else {
        return Ok(None);
    };
    let key = "attention.sliding_window_pattern";
    let kinds = match metadata.get(key) {
        Some(Value::Array(values)) => {
            let flag = |value: &Value| match (value, crate::model::gguf::integer(value)) {
                (Value::Bool(flag), _) => Ok(*flag),
                (_, Some(number @ 0..=1)) => Ok(number == 1),
                _ => Err(metadata.wrong(key, value, "a list of flags")),
            };
            values.iter().map(flag).collect::<Result<_>>()?
        }
        _ => {
            let pattern = metadata.count(key)?.unwrap_or(6);
            ensure!(
                pattern > 0 && layers <= super::MAX_LAYERS,
                "GGUF metadata '{}{key}' is 0; expected at least 1",
                metadata.prefix
            );
            (0..layers).map(|layer| (layer + 1) % pattern != 0).collect()
        }
    };
    let theta = metadata.float("rope.freq_base_swa")?.unwrap_or(10_000.0);
    Ok(Some(Sliding {
        window,
        layers: kinds,
        rope: Some((theta, RopeScaling::None)),
    }))
}

struct Metadata<'a> {
    content: &'a Content,
    /// The architecture's name and a dot.
    prefix: String,
}

/// Keys are without the prefix. What is there in a wrong type is refused, never taken for absent.
impl<'a> Metadata<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.content.metadata.get(&format!("{}{key}", self.prefix))
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> anyhow::Error {
        anyhow::anyhow!(
            "GGUF metadata '{}{key}' is {}; expected {expected}",
            self.prefix,
            shown(&json(value))
        )
    }

    fn missing(&self, key: &str) -> String {
        format!("the GGUF metadata has no '{}{key}'", self.prefix)
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, other, "a text")),
        }
    }

    fn count(&self, key: &str) -> Result<Option<usize>> {
        let read = |value| as_count(value).ok_or_else(|| self.wrong(key, value, "a whole number"));
        self.get(key).map(read).transpose()
    }

    fn needed(&self, key: &str) -> Result<usize> {
        self.count(key)?.with_context(|| self.missing(key))
    }

    fn float(&self, key: &str) -> Result<Option<f64>> {
        let read = |value| as_float(value).ok_or_else(|| self.wrong(key, value, "a number"));
        self.get(key).map(read).transpose()
    }

    /// One number, or a list of one for each layer, which must all be the same.
    fn count_of_each_layer(&self, key: &str, layers: usize) -> Result<Option<usize>> {
        let Some(value @ Value::Array(values)) = self.get(key) else {
            return self.count(key);
        };
        let counts: Option<Vec<usize>> = values.iter().map(as_count).collect();
        let counts = counts.ok_or_else(|| self.wrong(key, value, "whole numbers"))?;
        ensure!(
            counts.len() == layers,
            "GGUF metadata '{}{key}' has {} numbers for {layers} layers",
            self.prefix,
            counts.len()
        );
        if let Some((layer, other)) = counts.iter().enumerate().find(|(_, count)| **count != counts[0]) {
            bail!(
                "GGUF metadata '{}{key}' is {} in layer 0 and {other} in layer {layer}; this program runs models whose layers \
                 are of one shape",
                self.prefix,
                counts[0]
            );
        }
        Ok(counts.first().copied())
    }
}

/// A whole number of any stored width, or a float without a fraction.
fn as_count(value: &Value) -> Option<usize> {
    let wide = match value {
        Value::F32(_) | Value::F64(_) => {
            let float = as_float(value).filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x));
            float.map(|x| x as u64)
        }
        other => crate::model::gguf::integer(other),
    };
    wide.and_then(|wide| usize::try_from(wide).ok())
}

fn as_float(value: &Value) -> Option<f64> {
    match *value {
        Value::F32(x) => Some(f64::from(x)),
        Value::F64(x) => Some(x),
        Value::I8(x) => Some(x.into()),
        Value::I16(x) => Some(x.into()),
        Value::I32(x) => Some(x.into()),
        Value::I64(x) => Some(x as f64),
        ref other => crate::model::gguf::integer(other).map(|x| x as f64),
    }
}

/// A value as JSON, lists without what is in them, for lists of fields and messages.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Array(values) if values.is_empty() => serde_json::Value::Array(Vec::new()),
        Value::Array(_) => vec![0].into(),
        number => match crate::model::gguf::integer(number) {
            Some(whole) => whole.into(),
            None => as_float(number).into(),
        },
    }
}

#[cfg(test)]
#[path = "gguf_tests.rs"]
mod tests;
