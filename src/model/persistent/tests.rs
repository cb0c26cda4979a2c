use std::io::Cursor;

use candle_core::quantized::gguf_file;
use rand::{Rng, SeedableRng};

use super::emulated::EmulatedDecode;
use super::*;
use crate::model::config::{Architecture, ModelConfig};
use crate::model::gpu::emulator::Order;
use crate::model::testing::small_config;
use crate::model::{LoadOptions, WeightSource, gguf};

/// Heads of 64, rows of 256 and 512.
fn config(architecture: Architecture) -> ModelConfig {
    ModelConfig {
        architecture,
        layers: 2,
        hidden_size: 256,
        intermediate_size: 512,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        vocab_size: 48,
        rope_interleaved: architecture == Architecture::Llama,
        tied_embeddings: false,
        ..small_config()
    }
}

/// A decoder of floats, and the matrices that it was made of in their own type, by name.
fn decoder(config: &ModelConfig, matrix_type: GgmlDType) -> (Decoder, Vec<(String, QTensor)>) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let mut made = |name: String, shape: &[usize], dtype: GgmlDType| {
        // Norms' gains lie around 1.
        let centre = if name.contains("norm") { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| centre + rng.random_range(-0.2..0.2))
            .collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        (name, QTensor::quantize(&tensor, dtype).unwrap())
    };
    let (size, inner, heads) = (
        config.hidden_size,
        config.intermediate_size,
        config.heads * config.head_dim,
    );
    let keys = config.kv_heads * config.head_dim;
    let mut tensors = vec![
        made("token_embd.weight".into(), &[config.vocab_size, size], matrix_type),
        made("output.weight".into(), &[config.vocab_size, size], matrix_type),
        made("output_norm.weight".into(), &[size], GgmlDType::F32),
    ];
    for l in 0..config.layers {
        let parts: [(&str, &[usize]); 7] = [
            ("attn_q", &[heads, size]),
            ("attn_k", &[keys, size]),
            ("attn_v", &[keys, size]),
            ("attn_output", &[size, heads]),
            ("ffn_gate", &[inner, size]),
            ("ffn_up", &[inner, size]),
            ("ffn_down", &[size, inner]),
        ];
        for (part, shape) in parts {
            tensors.push(made(format!("blk.{l}.{part}.weight"), shape, matrix_type));
            if config.architecture == Architecture::Qwen2 && matches!(part, "attn_q" | "attn_k" | "attn_v") {
                tensors.push(made(format!("blk.{l}.{part}.bias"), &shape[..1], GgmlDType::F32));
            }
        }
        for part in ["attn_norm", "ffn_norm"] {
            tensors.push(made(format!("blk.{l}.{part}.weight"), &[size], GgmlDType::F32));
        }
        if config.architecture == Architecture::Qwen3 {
            for part in ["attn_q_norm", "attn_k_norm"] {
                tensors.push(made(
                    format!("blk.{l}.{part}.weight"),
                    &[config.head_dim],
                    GgmlDType::F32,
                ));
            }
        }
    }
    let named: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let architecture = gguf_file::Value::String("llama".to_owned());
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &[("general.architecture", &architecture)], &named).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, file.into_inner()).unwrap();
    let place = LoadOptions {
        device: Device::Cpu,
        dtype: DType::F32,
        exact: true,
        fused: false,
    };
    let source = WeightSource::Gguf(Box::new(gguf::open(&path).unwrap()));
    let decoder = Decoder::load(config.clone(), &source, place, &mut |_| {}).unwrap();
    (decoder, tensors)
}

/// The kernel on the decoder's weights in their own type.
fn kernel(decoder: &Decoder, tensors: &[(String, QTensor)], emulator: EmulatedDecode) -> Persistent {
    let mut kernel = Persistent::new(decoder, Box::new(emulator)).unwrap();
    let named = |name: &str| &tensors.iter().find(|(own, _)| own == name).unwrap().1;
    let stored = |matrix: &mut StoredMatrix, name: &str| {
        *matrix = StoredMatrix {
            bias: matrix.bias,
            ..of_blocks(named(name)).unwrap()
        }
    };
    stored(&mut kernel.plan.embedding, "token_embd.weight");
    stored(&mut kernel.plan.head, "output.weight");
    for (l, layer) in kernel.layers.iter_mut().enumerate() {
        let parts = [
            (&mut layer.query, "attn_q"),
            (&mut layer.key, "attn_k"),
            (&mut layer.value, "attn_v"),
            (&mut layer.output, "attn_output"),
            (&mut layer.gate, "ffn_gate"),
            (&mut layer.up, "ffn_up"),
            (&mut layer.down, "ffn_down"),
        ];
        for (matrix, part) in parts {
            stored(matrix, &format!("blk.{l}.{part}.weight"));
        }
    }
    kernel
}

fn all_executed(layers: usize) -> TokenRules<'static> {
    TokenRules {
        forced: vec![Some(Action::Execute); layers],
        dial: -0.5,
        budget: None,
        dampings: Vec::new(),
    }
}

/// The logits of some tokens in turn.
fn logits(kernel: &Persistent, ids: &[u32]) -> Vec<Vec<f32>> {
    let mut cache = KvCache::default();
    let rules = all_executed(kernel.layers.len());
    let mut run = |(position, &id): (usize, &u32)| {
        let outcome = kernel.token(TokenRequest {
            id,
            position,
            cache: &mut cache,
            mode: KvMode::Ragged,
            left_out: &[],
            rules: &rules,
            routers: None,
        });
        outcome.unwrap().logits.to_vec1().unwrap()
    };
    ids.iter().enumerate().map(&mut run).collect()
}

/// The same by the decoder's blocks.
fn reference(decoder: &Decoder, ids: &[u32]) -> Vec<Vec<f32>> {
    let mut cache = KvCache::default();
    let mut run = |(position, &id): (usize, &u32)| {
        let chunk = decoder.chunk(&[position as u32]).unwrap();
        let mut hidden = decoder.embed(&[id]).unwrap();
        for layer in 0..decoder.config().layers {
            hidden = decoder
                .run_block(layer, &hidden, &chunk, Some(cache.pass(layer, 0)))
                .unwrap();
        }
        decoder.logits(&hidden).unwrap().squeeze(0).unwrap().to_vec1().unwrap()
    };
    ids.iter().enumerate().map(&mut run).collect()
}

fn furthest(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_stored_type_gives_the_blocks_logits() {
    const TYPES: [GgmlDType; 11] = [
        GgmlDType::F32,
        GgmlDType::F16,
        GgmlDType::BF16,
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q4K,
        GgmlDType::Q5K,
        GgmlDType::Q6K,
    ];
    for dtype in TYPES {
        let (decoder, tensors) = decoder(&config(Architecture::Llama), dtype);
        let kernel = kernel(&decoder, &tensors, EmulatedDecode::new(&decoder, 3, 64));
        let ids = [7, 40, 7];
        let expected = reference(&decoder, &ids);
        let off = furthest(&logits(&kernel, &ids), &expected);
        assert!(off < 2e-4, "{dtype:?}: logits are off by {off}");
        assert!(expected[0].iter().any(|logit| logit.abs() > 0.5));
    }
}

#[test]
fn biases_head_norms_and_both_kinds_of_rope() {
    for architecture in [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3] {
        let (decoder, tensors) = decoder(&config(architecture), GgmlDType::F32);
        let kernel = kernel(&decoder, &tensors, EmulatedDecode::new(&decoder, 5, 32));
        let ids = [1, 2, 3, 4, 5, 6];
        let off = furthest(&logits(&kernel, &ids), &reference(&decoder, &ids));
        assert!(off < 2e-4, "{architecture:?}: logits are off by {off}");
    }
}

#[test]
fn neither_the_order_of_threads_nor_the_cut_into_launches_changes_a_bit() {
    let (decoder, tensors) = decoder(&config(Architecture::Qwen3), GgmlDType::Q5_0);
    let ids: Vec<u32> = (0..5).collect();
    let forwards = logits(&kernel(&decoder, &tensors, EmulatedDecode::new(&decoder, 4, 64)), &ids);
    for order in Order::ALL {
        let emulator = EmulatedDecode {
            order,
            ..EmulatedDecode::new(&decoder, 4, 64)
        };
        assert_eq!(
            logits(&kernel(&decoder, &tensors, emulator), &ids),
            forwards,
            "{order:?}"
        );
    }
    for way in [DecodeKernel::Phases, DecodeKernel::Ahead] {
        let other = Persistent {
            kernel: way,
            ..kernel(&decoder, &tensors, EmulatedDecode::new(&decoder, 4, 64))
        };
        assert_eq!(logits(&other, &ids), forwards, "{way:?}");
    }
}

#[test]
fn attention_is_cut_into_pieces_over_a_long_context() {
    let config = ModelConfig {
        layers: 1,
        hidden_size: 64,
        intermediate_size: 64,
        heads: 2,
        kv_heads: 1,
        head_dim: 32,
        ..config(Architecture::Llama)
    };
    let (decoder, tensors) = decoder(&config, GgmlDType::F32);
    // Six blocks: three pieces a head at 128 entries and more.
    let kernel = kernel(&decoder, &tensors, EmulatedDecode::new(&decoder, 6, 64));
    let ids: Vec<u32> = (0..150).map(|i| i % 48).collect();
    let off = furthest(&logits(&kernel, &ids), &reference(&decoder, &ids));
    assert!(off < 2e-4, "logits are off by {off}");
}

#[test]
fn a_kernel_that_computes_something_else_is_noticed() {
    let (decoder, tensors) = decoder(&config(Architecture::Llama), GgmlDType::Q8_0);
    let made = || kernel(&decoder, &tensors, EmulatedDecode::new(&decoder, 2, 64));
    made().check(&decoder).unwrap();
    let mut wrong = made();
    let layer = &mut wrong.layers[1];
    std::mem::swap(&mut layer.gate, &mut layer.up);
    let error = wrong.check(&decoder).unwrap_err().to_string();
    assert!(error.contains("of their size"), "{error}");
}

#[test]
fn what_the_kernel_does_not_take_is_named() {
    let refused = |config: &ModelConfig| {
        let (decoder, _) = decoder(config, GgmlDType::F32);
        let emulator = Box::new(EmulatedDecode::new(&decoder, 2, 32));
        Persistent::new(&decoder, emulator).err().unwrap().to_string()
    };
    let odd = ModelConfig {
        head_dim: 48,
        ..config(Architecture::Llama)
    };
    assert!(refused(&odd).contains("48 values"));
    let packed = crate::model::testing::packed_decoder(1);
    let emulator = Box::new(EmulatedDecode::new(&packed, 2, 32));
    assert!(Persistent::new(&packed, emulator).is_err());
    let (decoder, tensors) = decoder(&config(Architecture::Llama), GgmlDType::F32);
    let kernel = kernel(&decoder, &tensors, EmulatedDecode::new(&decoder, 2, 32));
    let unknown = kernel.token(TokenRequest {
        id: 48,
        position: 0,
        cache: &mut KvCache::default(),
        mode: KvMode::Ragged,
        left_out: &[],
        rules: &all_executed(2),
        routers: None,
    });
    assert!(unknown.unwrap_err().to_string().contains("vocabulary of 48"));
}
