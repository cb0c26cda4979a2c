//! Programs that change at every token, under both KV modes: small models give the logits of an implementation of its
//! own in numpy (benches/kv_fill_golden.py), token by token and as chunks.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device, Tensor};
use drllm::engine::sequence::{LayerActions, Sequence};
use drllm::model::{Decoder, LoadOptions, ModelConfig, WeightSource};
use drllm::program::Action;
use drllm::trace::KvMode;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Goldens {
    config: Value,
    ids: Vec<u32>,
    /// How often each layer runs, one row a token.
    actions: Vec<Vec<usize>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    model_type: String,
    kv: KvMode,
    /// (tokens, vocab_size)
    logits: Vec<Vec<f32>>,
}

static GO_ON: AtomicBool = AtomicBool::new(false);

/// Numbers in [-0.5, 0.5) that follow from a tensor's name: splitmix64, begun at the name's FNV-1a hash.
fn values(name: &str, shape: &[usize]) -> Tensor {
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let gain = if name.contains("norm") { 1.0 } else { 0.0 };
    let mut number = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        gain + (z >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let count = shape.iter().product();
    let numbers: Vec<f32> = (0..count).map(|_| number()).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn weights(config: &Value, bias: bool) -> HashMap<String, Tensor> {
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let (hidden, inner, head) = (size("hidden_size"), size("intermediate_size"), size("head_dim"));
    let (queries, keys) = (size("num_attention_heads") * head, size("num_key_value_heads") * head);
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![size("vocab_size"), hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    for layer in 0..size("num_hidden_layers") {
        let mut part =
            |name: &str, shape: &[usize]| shapes.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
        part("input_layernorm.weight", &[hidden]);
        part("post_attention_layernorm.weight", &[hidden]);
        part("mlp.gate_proj.weight", &[inner, hidden]);
        part("mlp.up_proj.weight", &[inner, hidden]);
        part("mlp.down_proj.weight", &[hidden, inner]);
        part("self_attn.o_proj.weight", &[hidden, queries]);
        for (name, rows) in [("q", queries), ("k", keys), ("v", keys)] {
            part(&format!("self_attn.{name}_proj.weight"), &[rows, hidden]);
            if bias {
                part(&format!("self_attn.{name}_proj.bias"), &[rows]);
            }
        }
    }
    let tensor = |(name, shape): (String, Vec<usize>)| (name.clone(), values(&name, &shape));
    shapes.into_iter().map(tensor).collect()
}

fn decoder(folder: &Path, config: &Value, model_type: &str) -> Decoder {
    let mut config = config.clone();
    config["model_type"] = model_type.into();
    let weights = weights(&config, model_type == "qwen2");
    candle_core::safetensors::save(&weights, folder.join("model.safetensors")).unwrap();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let config = ModelConfig::from_hf(&folder.join("config.json")).unwrap();
    let place = LoadOptions {
        device: Device::Cpu,
        dtype: DType::F32,
        exact: true,
        fused: false,
    };
    let source = WeightSource::open_folder(folder).unwrap();
    Decoder::load(config, &source, place, &mut |_| {}).unwrap()
}

fn close(found: &Tensor, expected: &[f32], what: &str) {
    let found: Vec<f32> = found.to_vec1().unwrap();
    assert_eq!(found.len(), expected.len());
    let off = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(off < 1e-4, "{what}: a logit is off by {off}");
}

#[test]
fn programs_that_change_at_every_token_agree_with_numpy() {
    let goldens: Goldens = serde_json::from_str(include_str!("../data/kv_fill.json")).unwrap();
    let action = |layer: usize, token: usize| Action::from_executions(goldens.actions[token][layer]);
    let rows = |layer: usize, tokens: std::ops::Range<usize>| LayerActions {
        rows: Some(tokens.map(|token| action(layer, token)).collect()),
        ..Action::Execute.into()
    };
    let tokens = goldens.ids.len();
    for case in &goldens.cases {
        let name = format!("{}, {}", case.model_type, case.kv);
        let folder = tempfile::tempdir().unwrap();
        let decoder = decoder(folder.path(), &goldens.config, &case.model_type);
        let mut sequence = Sequence::new(&decoder, &GO_ON).with_kv(case.kv);
        for (token, (id, expected)) in goldens.ids.iter().zip(&case.logits).enumerate() {
            let logits = sequence.run_layers(&[*id], None, |layer, _| action(layer, token).into());
            close(&logits.unwrap(), expected, &format!("{name}, token {token}"));
        }
        // A prompt of rows that differ, and the rest after it as the tokens of one branch beside another.
        let (prompt, rest) = goldens.ids.split_at(3);
        let mut sequence = Sequence::new(&decoder, &GO_ON).with_kv(case.kv);
        let logits = sequence.run_layers(prompt, None, |layer, _| rows(layer, 0..3)).unwrap();
        close(&logits, &case.logits[2], &format!("{name}, prompt"));
        let branches = [rest, &rest[..2]];
        let logits = sequence.run_branches(&branches, None, |layer, _| LayerActions {
            rows: Some((3..tokens).chain(3..5).map(|token| action(layer, token)).collect()),
            ..Action::Execute.into()
        });
        let logits = logits.unwrap();
        for (row, token) in (3..tokens).chain(3..5).enumerate() {
            let what = format!("{name}, row {row} of the branches");
            close(&logits.get(row).unwrap(), &case.logits[token], &what);
        }
    }
    // The modes differ, so that agreeing with one is not agreeing with the other.
    for pair in goldens.cases.chunks(2) {
        let off = |token: usize| {
            let pairs = pair[0].logits[token].iter().zip(&pair[1].logits[token]);
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        assert!((2..tokens).map(off).fold(0.0, f32::max) > 1e-2);
    }
}
