//! Layers that see a window of tokens, and Gemma 3: small models give transformers' logits (benches/windows_golden.py),
//! whether their tokens come at once, one by one, or as a GGUF file has them.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use drllm::engine::sequence::Sequence;
use drllm::model::{Decoder, LoadOptions, ModelConfig, WeightSource, gguf};
use drllm::program::Program;
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    ids: Vec<u32>,
    models: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    name: String,
    config: serde_json::Value,
    /// By position.
    logits: HashMap<usize, Vec<f32>>,
}

fn goldens() -> Goldens {
    serde_json::from_str(include_str!("../goldens/windows.json")).unwrap()
}

/// The values of a tensor, see benches/windows_golden.py.
fn values(name: &str, count: usize, gain: Option<f32>) -> Vec<f32> {
    let seed = name.bytes().map(u64::from).sum::<u64>() * 65537;
    let value = |i: usize| {
        let mut x = (i as u64 + seed).wrapping_mul(2_654_435_761) % (1 << 32);
        x ^= x >> 15;
        x = x * 2_246_822_519 % (1 << 32);
        x ^= x >> 13;
        let unit = x as f64 / (1u64 << 32) as f64 - 0.5;
        match gain {
            Some(gain) => unit as f32 + gain,
            None => (unit * 0.8) as f32,
        }
    };
    (0..count).map(value).collect()
}

/// Names in a folder and in a GGUF file, and shapes.
fn tensors(config: &ModelConfig) -> Vec<(String, String, Vec<usize>)> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (queries, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let gemma = config.architecture.has_post_norms();
    let between = if gemma {
        "pre_feedforward_layernorm"
    } else {
        "post_attention_layernorm"
    };
    let mut parts = vec![
        ("input_layernorm", "attn_norm", vec![hidden]),
        (between, "ffn_norm", vec![hidden]),
        ("self_attn.q_proj", "attn_q", vec![queries, hidden]),
        ("self_attn.k_proj", "attn_k", vec![keys, hidden]),
        ("self_attn.v_proj", "attn_v", vec![keys, hidden]),
        ("self_attn.o_proj", "attn_output", vec![hidden, queries]),
        ("self_attn.q_norm", "attn_q_norm", vec![config.head_dim]),
        ("self_attn.k_norm", "attn_k_norm", vec![config.head_dim]),
        ("mlp.gate_proj", "ffn_gate", vec![inner, hidden]),
        ("mlp.up_proj", "ffn_up", vec![inner, hidden]),
        ("mlp.down_proj", "ffn_down", vec![hidden, inner]),
    ];
    if gemma {
        parts.push(("post_attention_layernorm", "post_attention_norm", vec![hidden]));
        parts.push(("post_feedforward_layernorm", "post_ffw_norm", vec![hidden]));
    }
    let mut all = vec![
        (
            "model.embed_tokens.weight".to_owned(),
            "token_embd.weight".to_owned(),
            vec![config.vocab_size, hidden],
        ),
        (
            "model.norm.weight".to_owned(),
            "output_norm.weight".to_owned(),
            vec![hidden],
        ),
    ];
    for layer in 0..config.layers {
        all.extend(parts.iter().map(|(folder, gguf, shape)| {
            let names = (
                format!("model.layers.{layer}.{folder}.weight"),
                format!("blk.{layer}.{gguf}.weight"),
            );
            (names.0, names.1, shape.clone())
        }));
    }
    all
}

fn tensor(name: &str, shape: &[usize], gain: f32) -> Tensor {
    let gain = (shape.len() == 1).then_some(gain);
    Tensor::from_vec(values(name, shape.iter().product(), gain), shape, &Device::Cpu).unwrap()
}

fn folder(golden: &Golden, prefix: &str, folder: &Path) -> ModelConfig {
    std::fs::write(folder.join("config.json"), golden.config.to_string()).unwrap();
    let (config, fields) = ModelConfig::from_folder(&folder.join("config.json")).unwrap();
    assert_eq!(fields.unknown, Vec::<String>::new());
    let gain = if config.architecture.has_gains_less_one() {
        0.0
    } else {
        1.0
    };
    let named = |name: &str| name.replacen("model.", prefix, 1);
    let weights: HashMap<String, Tensor> = tensors(&config)
        .iter()
        .map(|(name, _, shape)| (named(name), tensor(name, shape, gain)))
        .collect();
    candle_core::safetensors::save(&weights, folder.join("model.safetensors")).unwrap();
    config
}

fn exact() -> LoadOptions {
    LoadOptions {
        device: Device::Cpu,
        dtype: DType::F32,
        exact: true,
        fused: false,
    }
}

/// The last token's logits when the tokens come in chunks of these lengths.
fn logits(decoder: &Decoder, ids: &[u32], chunks: &[usize]) -> Vec<f32> {
    let stop = AtomicBool::new(false);
    let mut sequence = Sequence::new(decoder, &stop);
    let program = Program::standard(decoder.config().layers);
    let mut rest = ids;
    let mut last = None;
    for &chunk in chunks.iter().chain(std::iter::repeat(&1)) {
        let (now, later) = rest.split_at(chunk.min(rest.len()));
        if now.is_empty() {
            break;
        }
        last = Some(sequence.run_program(now, &program).unwrap());
        rest = later;
    }
    last.unwrap().to_vec1().unwrap()
}

fn check(what: &str, decoder: &Decoder, golden: &Golden, ids: &[u32]) {
    for (&position, expected) in &golden.logits {
        let greatest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for chunks in [&[24][..], &[3, 2, 9], &[1]] {
            let found = logits(decoder, &ids[..=position], chunks);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                let near = (found - expected).abs() < 1e-4 * greatest;
                assert!(
                    near,
                    "{what}, position {position}, chunks {chunks:?}: {found} for {expected}"
                );
            }
        }
    }
}

#[test]
fn folders_give_the_logits_of_transformers() {
    let goldens = goldens();
    for golden in &goldens.models {
        let dir = tempfile::tempdir().unwrap();
        let config = folder(golden, "model.", dir.path());
        let source = WeightSource::open_folder(dir.path()).unwrap();
        assert!(source.unread(&config).is_empty());
        let decoder = Decoder::load(config, &source, exact(), &mut |_| {}).unwrap();
        check(&golden.name, &decoder, golden, &goldens.ids);
    }
}

#[test]
fn the_text_part_of_a_model_of_text_and_pictures_runs() {
    let goldens = goldens();
    let golden = &goldens.models[0];
    for prefix in ["language_model.model.", "model.language_model."] {
        let dir = tempfile::tempdir().unwrap();
        let whole = Golden {
            name: prefix.to_owned(),
            config: serde_json::json!({"model_type": "gemma3", "text_config": golden.config, "vision_config": {"a": 1}}),
            logits: golden.logits.clone(),
        };
        let config = folder(&whole, prefix, dir.path());
        let source = WeightSource::open_folder(dir.path()).unwrap();
        let decoder = Decoder::load(config, &source, exact(), &mut |_| {}).unwrap();
        check(prefix, &decoder, &whole, &goldens.ids);
    }
}

/// As llama.cpp's converter writes it: gains with their one, a window and its pattern, the larger RoPE base.
#[test]
fn a_gguf_file_gives_the_same() {
    let goldens = goldens();
    let golden = &goldens.models[0];
    let dir = tempfile::tempdir().unwrap();
    let config = folder(golden, "model.", dir.path());
    let quantised: Vec<(String, QTensor)> = tensors(&config)
        .iter()
        .map(|(name, gguf, shape)| {
            let tensor = tensor(name, shape, 1.0);
            (gguf.clone(), QTensor::quantize(&tensor, GgmlDType::F32).unwrap())
        })
        .collect();
    let count = |value: usize| Value::U32(value as u32);
    let text = |value: &str| Value::String(value.to_owned());
    let metadata = [
        ("general.architecture", text("gemma3")),
        ("gemma3.block_count", count(config.layers)),
        ("gemma3.embedding_length", count(config.hidden_size)),
        ("gemma3.feed_forward_length", count(config.intermediate_size)),
        ("gemma3.attention.head_count", count(config.heads)),
        ("gemma3.attention.head_count_kv", count(config.kv_heads)),
        ("gemma3.attention.key_length", count(config.head_dim)),
        ("gemma3.attention.value_length", count(config.head_dim)),
        ("gemma3.attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("gemma3.attention.scale", Value::F32(24f32.sqrt().recip())),
        ("gemma3.attention.sliding_window", count(6)),
        ("gemma3.attention.sliding_window_pattern", count(3)),
        ("gemma3.context_length", count(256)),
        ("gemma3.rope.freq_base", Value::F32(20000.0)),
        ("gemma3.rope.freq_base_swa", Value::F32(500.0)),
        ("gemma3.rope.scaling.type", text("linear")),
        ("gemma3.rope.scaling.factor", Value::F32(4.0)),
    ];
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = quantised.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut bytes = Cursor::new(Vec::new());
    gguf_file::write(&mut bytes, &metadata, &tensors).unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, bytes.into_inner()).unwrap();
    let file = gguf::open(&path).unwrap();
    let (config, fields) = ModelConfig::from_metadata(&file.content).unwrap();
    assert_eq!(fields.unknown, Vec::<String>::new());
    let source = WeightSource::Gguf(Box::new(file));
    assert!(source.unread(&config).is_empty());
    let decoder = Decoder::load(config, &source, exact(), &mut |_| {}).unwrap();
    check("GGUF", &decoder, golden, &goldens.ids);
}
