//! A Llama small enough to write down in a test: a Hugging Face folder with seeded random weights
//! and a byte-level tokenizer.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

pub const LAYERS: usize = 4;
pub const HIDDEN: usize = 16;
const INNER: usize = 24;
/// Keys and values of all heads.
const KV: usize = 8;
/// The 256 bytes, and an end token.
const VOCAB: usize = 257;

/// Writes config.json, model.safetensors and tokenizer.json; another seed is another model.
pub fn write(folder: &Path, seed: u64) {
    candle_core::safetensors::save(&weights(seed), folder.join("model.safetensors")).unwrap();
    let json = |name: &str, value: Value| std::fs::write(folder.join(name), value.to_string()).unwrap();
    json("config.json", config());
    json("tokenizer.json", tokenizer());
}

fn config() -> Value {
    json!({
        "model_type": "llama",
        "num_hidden_layers": LAYERS,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": VOCAB,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true,
        "eos_token_id": 256,
    })
}

fn weights(seed: u64) -> HashMap<String, Tensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize]| {
        // Norms' gains lie around 1.
        let centre = if shape.len() == 1 { 1.0 } else { 0.0 };
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| centre + rng.random_range(-0.6..0.6)).collect();
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    };
    add("model.embed_tokens.weight".into(), &[VOCAB, HIDDEN]);
    add("model.norm.weight".into(), &[HIDDEN]);
    let parts: [(&str, &[usize]); 9] = [
        ("input_layernorm", &[HIDDEN]),
        ("self_attn.q_proj", &[HIDDEN, HIDDEN]),
        ("self_attn.k_proj", &[KV, HIDDEN]),
        ("self_attn.v_proj", &[KV, HIDDEN]),
        ("self_attn.o_proj", &[HIDDEN, HIDDEN]),
        ("post_attention_layernorm", &[HIDDEN]),
        ("mlp.gate_proj", &[INNER, HIDDEN]),
        ("mlp.up_proj", &[INNER, HIDDEN]),
        ("mlp.down_proj", &[HIDDEN, INNER]),
    ];
    for layer in 0..LAYERS {
        for (part, shape) in parts {
            add(format!("model.layers.{layer}.{part}.weight"), shape);
        }
    }
    tensors
}

fn tokenizer() -> Value {
    let mut vocab = Map::new();
    for byte in 0..=255u8 {
        vocab.insert(byte_char(byte).to_string(), json!(byte));
    }
    vocab.insert("<|end|>".into(), json!(256));
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
    });
    json!({
        "version": "1.0",
        "added_tokens": [{
            "id": 256, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        }],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    })
}

/// GPT-2's character for a byte: itself where it is printable, else one from U+0100 on.
fn byte_char(byte: u8) -> char {
    let printable = |b: &u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    match printable(&byte) {
        true => char::from(byte),
        false => {
            let before = (0..byte).filter(|b| !printable(b)).count() as u32;
            char::from_u32(0x100 + before).unwrap()
        }
    }
}
