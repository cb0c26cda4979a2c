//! A decoder small enough for unit tests, with seeded random weights.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::multiple_choice::EncodedQuestion;
use super::tasks::Question;
use crate::model::config::RopeScaling;
use crate::model::{Architecture, Decoder, ModelConfig, Placement, WeightSource};
use crate::router::{MlpRouter, RouterInfo, RouterSet};

pub const LAYERS: usize = 4;
pub const HIDDEN: usize = 16;
const INNER: usize = 24;
const VOCAB: usize = 40;
const KV: usize = 8;

fn config() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        layers: LAYERS,
        hidden_size: HIDDEN,
        intermediate_size: INNER,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        vocab_size: VOCAB,
        context: 128,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        rope_interleaved: false,
        tied_embeddings: true,
    }
}

/// Routers of the tiny decoder whose biases alone decide: layer 1 is skipped, layer 2 repeated.
pub fn tiny_routers() -> RouterSet {
    let router = |layer: usize| {
        let mut b2 = vec![0.0, 1.0, 0.0];
        match layer {
            1 => b2[0] = 3.0,
            2 => b2[2] = 3.0,
            _ => {}
        }
        MlpRouter {
            w1: vec![0.0; 2 * HIDDEN],
            b1: vec![0.0; 2],
            w2: vec![0.0; 6],
            b2,
        }
    };
    RouterSet {
        layers: (0..LAYERS).map(router).collect(),
        windows: 8,
        width: 2,
        hidden_size: HIDDEN,
        metadata: HashMap::new(),
        info: RouterInfo::default(),
    }
}

/// A Llama of [`LAYERS`] layers; the same one at every call.
pub fn tiny_decoder() -> Decoder {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize]| {
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| rng.random_range(-0.6..0.6) + if shape.len() == 1 { 1.0 } else { 0.0 })
            .collect();
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    };
    add("model.embed_tokens.weight".into(), &[VOCAB, HIDDEN]);
    add("model.norm.weight".into(), &[HIDDEN]);
    for layer in 0..LAYERS {
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
        for (part, shape) in parts {
            add(format!("model.layers.{layer}.{part}.weight"), shape);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    let source = WeightSource::open_folder(folder.path()).unwrap();
    let place = Placement {
        device: Device::Cpu,
        dtype: DType::F32,
        exact: true,
    };
    Decoder::load(config(), &source, place, &mut |_| {}).unwrap()
}

/// Ids for a text: its bytes, folded into the vocabulary.
pub fn encode(text: &str) -> anyhow::Result<Vec<u32>> {
    Ok(text.bytes().map(|b| u32::from(b) % VOCAB as u32).collect())
}

/// A question of three choices of 1, 2 and 5 tokens.
pub fn question() -> EncodedQuestion {
    let question = Question {
        id: "tiny".into(),
        question: "Which?".into(),
        choices: ["", "b", "cdef"].map(String::from).into(),
        answer: 1,
    };
    EncodedQuestion::new(&question, 128, encode(&question.prompt()).unwrap(), encode).unwrap()
}
