//! Every block executed once is the unmodified model: small random models of each architecture give
//! the logits of candle-transformers' own implementations.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, qwen2, qwen3};
use drllm::engine::sequence::Sequence;
use drllm::model::{Decoder, LoadOptions, ModelConfig, WeightSource};
use drllm::program::Program;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const HIDDEN: usize = 32;
const INNER: usize = 48;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const LAYERS: usize = 3;
const VOCAB: usize = 64;
const PROMPT: [u32; 9] = [3, 14, 15, 9, 2, 6, 5, 35, 8];

fn config(kind: &str, head_dim: usize, tied: bool) -> Value {
    let mut config = json!({
        "model_type": kind, "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": tied, "hidden_act": "silu", "use_sliding_window": false,
        "sliding_window": 512, "max_window_layers": LAYERS, "attention_bias": false, "head_dim": head_dim,
    });
    if kind == "llama" {
        // So small an original context that every kind of frequency is there.
        config["rope_scaling"] = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        });
    }
    config
}

fn weights(kind: &str, head_dim: usize, tied: bool) -> HashMap<String, Tensor> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    let mut tensors = HashMap::new();
    let mut add = |name: &str, shape: &[usize]| {
        let centre = if name.contains("norm") { 1.0 } else { 0.0 };
        let values = (0..shape.iter().product()).map(|_| centre + rng.random_range(-0.4f32..0.4));
        let tensor = Tensor::from_vec(values.collect(), shape, &Device::Cpu).unwrap();
        tensors.insert(name.to_owned(), tensor);
    };
    add("model.embed_tokens.weight", &[VOCAB, HIDDEN]);
    add("model.norm.weight", &[HIDDEN]);
    if !tied {
        add("lm_head.weight", &[VOCAB, HIDDEN]);
    }
    let (queries, keys) = (HEADS * head_dim, KV_HEADS * head_dim);
    for layer in 0..LAYERS {
        let mut part = |name: &str, shape: &[usize]| add(&format!("model.layers.{layer}.{name}"), shape);
        part("input_layernorm.weight", &[HIDDEN]);
        part("post_attention_layernorm.weight", &[HIDDEN]);
        part("mlp.gate_proj.weight", &[INNER, HIDDEN]);
        part("mlp.up_proj.weight", &[INNER, HIDDEN]);
        part("mlp.down_proj.weight", &[HIDDEN, INNER]);
        part("self_attn.o_proj.weight", &[HIDDEN, queries]);
        for (name, rows) in [("q", queries), ("k", keys), ("v", keys)] {
            part(&format!("self_attn.{name}_proj.weight"), &[rows, HIDDEN]);
            if kind == "qwen2" {
                part(&format!("self_attn.{name}_proj.bias"), &[rows]);
            }
        }
        if kind == "qwen3" {
            part("self_attn.q_norm.weight", &[head_dim]);
            part("self_attn.k_norm.weight", &[head_dim]);
        }
    }
    tensors
}

/// Our logits: the prompt but for its last two tokens, which follow one by one from the cache.
fn ours(folder: &Path, fused: bool) -> Vec<f32> {
    let config = ModelConfig::from_hf(&folder.join("config.json")).unwrap();
    let source = WeightSource::open_folder(folder).unwrap();
    let place = LoadOptions {
        device: Device::Cpu,
        dtype: DType::F32,
        exact: true,
        fused,
    };
    let decoder = Decoder::load(config, &source, place, &mut |_| {}).unwrap();
    let stop = AtomicBool::new(false);
    let mut sequence = Sequence::new(&decoder, &stop);
    let program = Program::standard(LAYERS);
    let (first, rest) = PROMPT.split_at(PROMPT.len() - 2);
    sequence.run_program(first, &program).unwrap();
    sequence.run_program(&rest[..1], &program).unwrap();
    sequence.run_program(&rest[1..], &program).unwrap().to_vec1().unwrap()
}

fn stock(kind: &str, config: &Value, weights: HashMap<String, Tensor>) -> Vec<f32> {
    let device = Device::Cpu;
    let vars = VarBuilder::from_tensors(weights, DType::F32, &device);
    let ids = Tensor::new(&PROMPT, &device).unwrap().unsqueeze(0).unwrap();
    let parsed = config.clone();
    let logits = match kind {
        "llama" => {
            let config: llama::LlamaConfig = serde_json::from_value(parsed).unwrap();
            let config = config.into_config(false);
            let mut cache = llama::Cache::new(false, DType::F32, &config, &device).unwrap();
            llama::Llama::load(vars, &config)
                .unwrap()
                .forward(&ids, 0, &mut cache)
                .unwrap()
        }
        "qwen2" => {
            let config: qwen2::Config = serde_json::from_value(parsed).unwrap();
            qwen2::ModelForCausalLM::new(&config, vars)
                .unwrap()
                .forward(&ids, 0)
                .unwrap()
        }
        _ => {
            let config: qwen3::Config = serde_json::from_value(parsed).unwrap();
            qwen3::ModelForCausalLM::new(&config, vars)
                .unwrap()
                .forward(&ids, 0)
                .unwrap()
        }
    };
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn all_execute_is_the_stock_model() {
    for (kind, head_dim, tied) in [
        ("llama", 8, false),
        ("llama", 8, true),
        ("qwen2", 8, true),
        ("qwen3", 16, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = config(kind, head_dim, tied);
        let weights = weights(kind, head_dim, tied);
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        candle_core::safetensors::save(&weights, folder.path().join("model.safetensors")).unwrap();
        let stock = stock(kind, &config, weights);
        let greatest = stock.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        // One matrix for the layers of the same input, as on a GPU, or one for each.
        for fused in [false, true] {
            let ours = ours(folder.path(), fused);
            assert_eq!(ours.len(), VOCAB);
            for (ours, stock) in ours.iter().zip(&stock) {
                assert!((ours - stock).abs() < 1e-4 * greatest, "{kind}: {ours} for {stock}");
            }
        }
    }
}
