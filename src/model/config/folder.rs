//! A decoder's shape from the config.json of a Hugging Face folder, with the defaults of transformers.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use super::fields::{self, Fields, Kind, Neutral, shown};
use super::{Activation, Architecture, Details, ModelConfig, RopeScaling, Sliding};
use crate::files;
use crate::text::without_mark;

const READ: &[&str] = &[
    "attention_bias",
    "bos_token_id",
    "eos_token_id",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "mlp_bias",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "original_max_position_embeddings",
    "quantization_config",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "text_config",
    "tie_word_embeddings",
    "vocab_size",
];
/// Of Qwen and Gemma 3.
const READ_SLIDING: &[&str] = &[
    "layer_types",
    "max_window_layers",
    "sliding_window",
    "use_sliding_window",
];
const READ_GEMMA3: &[&str] = &[
    "hidden_activation",
    "query_pre_attn_scalar",
    "rope_local_base_freq",
    "sliding_window_pattern",
];
/// Settings of training, of generation and of other programs; what a language model has beside its text part. Names that
/// begin with `_` are of this kind too.
const HARMLESS: &[&str] = &[
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "attn_pdrop",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "boi_token_index",
    "cache_implementation",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dropout",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "eoi_token_index",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "id2label",
    "image_token_index",
    "initializer_factor",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "min_length",
    "mm_tokens_per_image",
    "model_max_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_experts_per_tok",
    "num_nextn_predict_layers",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_router_logits",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "router_aux_loss_coef",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_flash_attn",
    "vision_config",
];
/// What changes the forward pass in other models, and the values with which it does not.
const REFUSED: &[(&str, Neutral)] = &[
    ("add_cross_attention", Neutral::None),
    ("alibi", Neutral::None),
    ("attention_chunk_size", Neutral::None),
    ("attention_multiplier", Neutral::Null),
    ("attn_logit_softcapping", Neutral::Null),
    ("attn_temperature_tuning", Neutral::None),
    ("clip_qkv", Neutral::Null),
    ("embedding_multiplier", Neutral::One),
    ("final_logit_softcapping", Neutral::Null),
    ("is_causal", Neutral::Yes),
    ("is_encoder_decoder", Neutral::None),
    ("kv_lora_rank", Neutral::None),
    ("logit_scale", Neutral::One),
    ("logits_scaling", Neutral::One),
    ("lm_head_multiplier", Neutral::One),
    ("mlp_multipliers", Neutral::Null),
    ("moe_num_experts", Neutral::None),
    ("n_routed_experts", Neutral::None),
    ("no_rope_layer_interval", Neutral::None),
    ("no_rope_layers", Neutral::None),
    ("num_experts", Neutral::None),
    ("num_local_experts", Neutral::None),
    ("parallel_attn", Neutral::None),
    ("partial_rotary_factor", Neutral::One),
    (
        "position_embedding_type",
        Neutral::Texts(&["rope", "rotary", "absolute"]),
    ),
    ("pruned_heads", Neutral::None),
    ("qk_layernorm", Neutral::None),
    ("qk_norm", Neutral::None),
    ("quantization", Neutral::Null),
    ("residual_multiplier", Neutral::One),
    ("rope_interleave", Neutral::None),
    ("rope_interleaved", Neutral::None),
    ("rotary_dim", Neutral::Null),
    ("rotary_pct", Neutral::One),
    ("scale_emb", Neutral::One),
    ("scale_embedding", Neutral::None),
    ("scale_embeddings", Neutral::None),
    ("use_alibi", Neutral::None),
    ("use_bidirectional_attention", Neutral::None),
    ("use_parallel_residual", Neutral::None),
    ("use_qk_norm", Neutral::None),
];

impl ModelConfig {
    /// From a Hugging Face folder's config.json.
    ///
    /// # Errors
    /// Names the field that is missing, of a wrong type, or asks for what this program does not compute.
    pub fn from_hf(path: &Path) -> Result<Self> {
        Ok(Self::from_folder(path)?.0)
    }

    /// As [`ModelConfig::from_hf`], and what became of the file's fields.
    pub fn from_folder(path: &Path) -> Result<(Self, Fields)> {
        let bytes = files::read(path, files::TEXT).with_context(|| format!("cannot read {}", path.display()))?;
        let raw: Map<String, Value> = serde_json::from_slice(without_mark(&bytes))
            .with_context(|| format!("{} is no model config", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        // Where the file leaves it out the weights know it best.
        let head_size = || crate::model::weights::head_size(folder);
        read(&raw, head_size).with_context(|| format!("in {}", path.display()))
    }
}

fn kind(architecture: Architecture, name: &str) -> Option<Kind> {
    let sliding = architecture != Architecture::Llama;
    let is_read = READ.contains(&name)
        || sliding && READ_SLIDING.contains(&name)
        || architecture == Architecture::Gemma3 && READ_GEMMA3.contains(&name);
    if is_read {
        return Some(Kind::Read);
    }
    if name.starts_with('_') || HARMLESS.contains(&name) {
        return Some(Kind::Harmless);
    }
    let refused = REFUSED.iter().find(|(refused, _)| *refused == name);
    refused.map(|&(_, neutral)| Kind::Refused(neutral))
}

/// The fields of an object, read as transformers does: null is absent, a whole number may be written as 4.0, a flag as 1.
#[derive(Clone, Copy)]
struct Object<'a> {
    fields: &'a Map<String, Value>,
    /// Its place in the file, before its fields' names: `rope_scaling.`.
    within: &'a str,
}

impl<'a> Object<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, value: &Value, expected: &str) -> anyhow::Error {
        anyhow::anyhow!("'{}{name}' is {}; expected {expected}", self.within, shown(value))
    }

    fn count(&self, name: &str) -> Result<Option<usize>> {
        let whole = |value: &Value| {
            let float = || {
                value
                    .as_f64()
                    .filter(|x| x.fract() == 0.0 && (0.0..9e15).contains(x))
                    .map(|x| x as u64)
            };
            value.as_u64().or_else(float).and_then(|x| usize::try_from(x).ok())
        };
        let read = |value| whole(value).ok_or_else(|| self.wrong(name, value, "a whole number"));
        self.get(name).map(read).transpose()
    }

    fn float(&self, name: &str) -> Result<Option<f64>> {
        let read = |value: &Value| value.as_f64().ok_or_else(|| self.wrong(name, value, "a number"));
        self.get(name).map(read).transpose()
    }

    fn flag(&self, name: &str) -> Result<Option<bool>> {
        let read = |value: &Value| match value.as_f64() {
            Some(0.0) => Ok(false),
            Some(1.0) => Ok(true),
            _ => value.as_bool().ok_or_else(|| self.wrong(name, value, "true or false")),
        };
        self.get(name).map(read).transpose()
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let read = |value: &'a Value| value.as_str().ok_or_else(|| self.wrong(name, value, "a text"));
        self.get(name).map(read).transpose()
    }

    fn object(&self, name: &'a str) -> Result<Option<Object<'a>>> {
        let read = |value: &'a Value| match value.as_object() {
            Some(fields) => Ok(Object { fields, within: "" }),
            None => Err(self.wrong(name, value, "an object")),
        };
        self.get(name).map(read).transpose()
    }
}

/// transformers' defaults of an architecture.
struct Defaults {
    layers: usize,
    hidden_size: usize,
    intermediate_size: usize,
    heads: usize,
    /// As many as heads where absent.
    kv_heads: Option<usize>,
    /// hidden_size / heads where absent.
    head_dim: Option<usize>,
    vocab_size: usize,
    context: usize,
    window: usize,
    tied: bool,
    activation: &'static str,
}

impl Defaults {
    fn of(architecture: Architecture) -> Self {
        let qwen = Defaults {
            layers: 32,
            hidden_size: 4096,
            intermediate_size: 22016,
            heads: 32,
            kv_heads: None,
            head_dim: None,
            vocab_size: 151_936,
            context: 32_768,
            window: 4096,
            tied: false,
            activation: "silu",
        };
        match architecture {
            Architecture::Llama => Defaults {
                intermediate_size: 11_008,
                vocab_size: 32_000,
                context: 2048,
                ..qwen
            },
            Architecture::Qwen2 => qwen,
            Architecture::LoopMoe => unreachable!("no folder names it"),
            Architecture::Qwen3 => Defaults {
                head_dim: Some(128),
                ..qwen
            },
            Architecture::Gemma3 => Defaults {
                layers: 26,
                hidden_size: 2304,
                intermediate_size: 9216,
                heads: 8,
                kv_heads: Some(4),
                head_dim: Some(256),
                vocab_size: 262_208,
                context: 131_072,
                window: 4096,
                tied: true,
                activation: "gelu_pytorch_tanh",
            },
        }
    }
}

/// `head_size`: what the weights say of it.
fn read(raw: &Map<String, Value>, head_size: impl Fn() -> Option<usize>) -> Result<(ModelConfig, Fields)> {
    let whole = Object {
        fields: raw,
        within: "",
    };
    let model_type = whole.text("model_type")?;
    let model_type = model_type.context("the field 'model_type' is missing; expected the name of the architecture")?;
    let architecture = match model_type {
        "gemma3_text" => Architecture::Gemma3,
        other => Architecture::from_name(other)?,
    };
    // Models of text and pictures keep what the text part is in an object of its own.
    let text = whole
        .object("text_config")?
        .filter(|_| architecture == Architecture::Gemma3);
    let config = text.unwrap_or(whole);
    let sorted = |object: Object| {
        let given = object.fields.iter().map(|(name, value)| (name.as_str(), value.clone()));
        fields::sort(given, |name| kind(architecture, name))
    };
    let mut fields = sorted(config)?;
    if text.is_some() {
        let outer = sorted(whole)?;
        fields
            .notes
            .push("of this model of text and pictures only the text part is run".to_owned());
        fields.unknown.extend(outer.unknown);
    }
    if architecture == Architecture::Llama && config.get("sliding_window").is_some() {
        fields
            .notes
            .push("'sliding_window' is ignored, as transformers does for Llama".to_owned());
        fields.unknown.retain(|name| name != "sliding_window");
    }
    check_quantisation(whole)?;

    let defaults = Defaults::of(architecture);
    let count = |name: &str, default: usize| Ok::<_, anyhow::Error>(config.count(name)?.unwrap_or(default));
    let heads = count("num_attention_heads", defaults.heads)?;
    let hidden_size = count("hidden_size", defaults.hidden_size)?;
    let layers = count("num_hidden_layers", defaults.layers)?;
    let context = count("max_position_embeddings", defaults.context)?;
    let head_dim = match (config.count("head_dim")?, defaults.head_dim) {
        (Some(dim), _) => dim,
        (None, Some(default)) => head_size().unwrap_or(default),
        (None, None) => hidden_size.checked_div(heads).unwrap_or_default(),
    };
    let activation_name = match architecture {
        Architecture::Gemma3 => "hidden_activation",
        _ => "hidden_act",
    };
    let activation = config.text(activation_name)?.unwrap_or(defaults.activation);
    let activation = Activation::from_name(activation).with_context(|| {
        format!(
            "'{activation_name}' is '{}', which this program does not compute; supported are silu, gelu, gelu_pytorch_tanh \
             and relu",
            activation.escape_default()
        )
    })?;
    let (rope_theta, rope_scaling, local_rope) = rope(config, architecture, context)?;
    let config = ModelConfig {
        architecture,
        layers,
        hidden_size,
        intermediate_size: count("intermediate_size", defaults.intermediate_size)?,
        heads,
        kv_heads: config
            .count("num_key_value_heads")?
            .or(defaults.kv_heads)
            .unwrap_or(heads),
        head_dim,
        vocab_size: count("vocab_size", defaults.vocab_size)?,
        context,
        rms_norm_eps: config.float("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        rope_interleaved: false,
        tied_embeddings: config.flag("tie_word_embeddings")?.unwrap_or(defaults.tied),
        details: Details {
            activation,
            attention_scale: match architecture {
                Architecture::Gemma3 => Some(config.float("query_pre_attn_scalar")?.unwrap_or(256.0).powf(-0.5)),
                _ => None,
            },
            embedding_scale: (architecture == Architecture::Gemma3).then(|| (hidden_size as f64).sqrt()),
            sliding: sliding(config, architecture, layers, defaults.window, local_rope)?,
        },
    };
    Ok((config.checked()?, fields))
}

/// Which layers see a window only. Of Llama none.
fn sliding(
    config: Object,
    architecture: Architecture,
    layers: usize,
    default_window: usize,
    rope: Option<(f64, RopeScaling)>,
) -> Result<Option<Sliding>> {
    if layers > super::MAX_LAYERS || architecture == Architecture::Llama {
        return Ok(None);
    }
    let gemma = architecture == Architecture::Gemma3;
    let used = gemma || config.flag("use_sliding_window")?.unwrap_or(false);
    let window = match config.fields.get("sliding_window") {
        Some(Value::Null) => None,
        _ => Some(config.count("sliding_window")?.unwrap_or(default_window)),
    };
    let window = window.filter(|_| used);
    let kinds = match config.get("layer_types") {
        Some(Value::Array(kinds)) => {
            let windowed = |kind: &Value| match kind.as_str() {
                Some("full_attention") => Ok(false),
                Some("sliding_attention") => Ok(true),
                _ => bail!(
                    "'layer_types' has {}, which this program does not compute; supported are full_attention and \
                     sliding_attention",
                    shown(kind)
                ),
            };
            kinds.iter().map(windowed).collect::<Result<Vec<_>>>()?
        }
        Some(other) => return Err(config.wrong("layer_types", other, "a list of texts")),
        None if gemma => {
            let pattern = config.count("sliding_window_pattern")?.unwrap_or(6);
            ensure!(pattern > 0, "'sliding_window_pattern' is 0; expected at least 1");
            (0..layers).map(|layer| (layer + 1) % pattern != 0).collect()
        }
        None => {
            let first = config.count("max_window_layers")?.unwrap_or(28);
            (0..layers).map(|layer| window.is_some() && layer >= first).collect()
        }
    };
    if !kinds.contains(&true) {
        return Ok(None);
    }
    match window {
        Some(window) => Ok(Some(Sliding {
            window,
            layers: kinds,
            rope,
        })),
        None if gemma => bail!("'sliding_window' is null, but 'layer_types' has layers that slide"),
        // As transformers has it: no window, no sliding.
        None => Ok(None),
    }
}

/// Base and scaling of RoPE, and for Gemma 3 those of the layers with a window.
#[allow(clippy::type_complexity)]
fn rope(
    config: Object,
    architecture: Architecture,
    context: usize,
) -> Result<(f64, RopeScaling, Option<(f64, RopeScaling)>)> {
    let old = config
        .object("rope_scaling")?
        .filter(|object| !object.fields.is_empty());
    let new = config.object("rope_parameters")?;
    let gemma = architecture == Architecture::Gemma3;
    let (default, local_default) = if gemma {
        (1_000_000.0, 10_000.0)
    } else {
        (10_000.0, 10_000.0)
    };
    let theta = config.float("rope_theta")?.unwrap_or(default);
    let local_theta = config.float("rope_local_base_freq")?.unwrap_or(local_default);
    let part = |object: Option<Object<'_>>, theta: f64, within: &str| match object {
        None => Ok((theta, RopeScaling::None)),
        Some(object) => one_rope(Object { within, ..object }, theta, config, context),
    };
    let by_layer = new.filter(|new| new.get("full_attention").is_some() || new.get("sliding_attention").is_some());
    if let Some(both) = by_layer {
        let full = both.object("full_attention")?;
        let mut full = part(full, theta, "rope_parameters.full_attention.")?;
        if let (true, Some(old)) = (gemma, old) {
            full = one_rope(
                Object {
                    within: "rope_scaling.",
                    ..old
                },
                full.0,
                config,
                context,
            )?;
        }
        let own = if gemma { local_theta } else { theta };
        let local = part(
            both.object("sliding_attention")?,
            own,
            "rope_parameters.sliding_attention.",
        )?;
        return Ok((full.0, full.1, Some(local)));
    }
    let within = if old.is_some() {
        "rope_scaling."
    } else {
        "rope_parameters."
    };
    let (theta, scaling) = part(old.or(new), theta, within)?;
    let local = gemma.then_some((local_theta, RopeScaling::None));
    Ok((theta, scaling, local))
}

fn one_rope(rope: Object, theta: f64, config: Object, context: usize) -> Result<(f64, RopeScaling)> {
    let theta = rope.float("rope_theta")?.unwrap_or(theta);
    let partial = rope.float("partial_rotary_factor")?.unwrap_or(1.0);
    ensure!(
        partial == 1.0,
        "'{}partial_rotary_factor' is {partial}, which this program does not compute; only whole heads are turned",
        rope.within
    );
    let needed = |name: &str| {
        let value = rope.float(name)?;
        value.with_context(|| format!("'{}{name}' is missing", rope.within))
    };
    let factor = || {
        let factor = needed("factor")?;
        ensure!(
            factor.is_finite() && factor > 0.0,
            "'{}factor' is {factor}; expected more than 0",
            rope.within
        );
        Ok(factor)
    };
    // Either name, the newer before the older; files often have both.
    let kind = match rope.text("rope_type")? {
        Some(kind) => kind,
        None => rope.text("type")?.unwrap_or("default"),
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear(factor()?),
        "llama3" => RopeScaling::Llama3 {
            factor: factor()?,
            low_freq_factor: needed("low_freq_factor")?,
            high_freq_factor: needed("high_freq_factor")?,
            original_context: match config.count("original_max_position_embeddings")? {
                Some(original) => original,
                None => rope.count("original_max_position_embeddings")?.unwrap_or(context),
            },
        },
        other => bail!(
            "'{}rope_type' is '{}', which this program does not compute; supported are default, linear and llama3",
            rope.within,
            other.escape_default()
        ),
    };
    Ok((theta, scaling))
}

/// Refuses weights that are packed in a way that is not read. What is read, eight bits a weight with scales beside them,
/// is told from the tensors themselves.
fn check_quantisation(config: Object) -> Result<()> {
    let Some(quantisation) = config.object("quantization_config")? else {
        return Ok(());
    };
    let quantisation = Object {
        within: "quantization_config.",
        ..quantisation
    };
    let method = quantisation.text("quant_method")?.unwrap_or("not named");
    ensure!(
        ["fp8", "fbgemm_fp8", "compressed-tensors", "modelopt"].contains(&method),
        "'quantization_config.quant_method' is '{}', which this program does not read; supported are weights of eight bits \
         with scales (fp8, compressed-tensors); a GGUF file of the same model works",
        method.escape_default()
    );
    let format = quantisation.text("format")?.unwrap_or("float-quantized");
    ensure!(
        ["float-quantized", "int-quantized", "naive-quantized", "dense"].contains(&format),
        "'quantization_config.format' is '{}', which this program does not read; supported are float-quantized and \
         int-quantized",
        format.escape_default()
    );
    Ok(())
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
