//! A model's shape for unit tests.

use std::io::Cursor;

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};

use super::config::{Activation, Architecture, Details, ModelConfig, RopeScaling, Sliding};
use super::{Decoder, LoadOptions, WeightSource, gguf};

/// A Llama of three layers: random weights of that shape are there at once.
pub fn small_config() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        layers: 3,
        hidden_size: 32,
        intermediate_size: 48,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        vocab_size: 64,
        context: 512,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        rope_interleaved: false,
        tied_embeddings: true,
        details: Details::default(),
    }
}

/// A Llama of small packed weights, the same at every call, whose blocks run through the CPU kernels.
pub fn packed_decoder(layers: usize) -> Decoder {
    packed(layers, None, 32, [GgmlDType::Q4_1; 7])
}

/// One of blocks whose matrices (query, key, value, output, gate, up, down) have these types, wide enough for each.
pub fn decoder_of_types(types: [GgmlDType; 7]) -> Decoder {
    packed(2, None, 256, types)
}

/// The bytes of a model's file whose blocks are of IQ4_NL, and the model's shape.
pub fn iq4_nl_file() -> (Vec<u8>, ModelConfig) {
    let (mut bytes, config) = packed_file(2, None, 64, [GgmlDType::Q4_0; 7], false);
    // Blocks of the same size: another number says that they are of the other type. It stands behind name and shape.
    for layer in 0..config.layers {
        for part in [
            "attn_q",
            "attn_k",
            "attn_v",
            "attn_output",
            "ffn_gate",
            "ffn_up",
            "ffn_down",
        ] {
            let name = format!("blk.{layer}.{part}.weight");
            let at = bytes
                .windows(name.len())
                .position(|window| window == name.as_bytes())
                .unwrap();
            let number = at + name.len() + 4 + 2 * 8;
            assert_eq!(bytes[number..number + 4], 2u32.to_le_bytes());
            bytes[number..number + 4].copy_from_slice(&20u32.to_le_bytes());
        }
    }
    (bytes, config)
}

/// The same, but for a layer whose output matrices are 0, so that it changes nothing.
pub fn decoder_with_idle_layer(layers: usize, idle: usize) -> Decoder {
    packed(layers, Some(idle), 32, [GgmlDType::Q4_1; 7])
}

fn packed(layers: usize, idle: Option<usize>, width: usize, types: [GgmlDType; 7]) -> Decoder {
    let (bytes, config) = packed_file(layers, idle, width, types, false);
    decoder_of_file(&bytes, config, false)
}

/// The bytes of a file of three blocks of Gemma's kind, the first and the last with a window of four tokens and a RoPE of
/// their own, and the model's shape.
pub fn gemma_file() -> (Vec<u8>, ModelConfig) {
    packed_file(3, None, 64, [GgmlDType::Q8_0; 7], true)
}

/// The decoder in a GGUF file.
pub fn decoder_of_file(bytes: &[u8], config: ModelConfig, exact: bool) -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed.gguf");
    std::fs::write(&path, bytes).unwrap();
    let place = LoadOptions {
        device: Device::Cpu,
        dtype: DType::F32,
        exact,
        fused: false,
    };
    let source = WeightSource::Gguf(Box::new(gguf::open(&path).unwrap()));
    Decoder::load(config, &source, place, &mut |_| {}).unwrap()
}

fn packed_file(
    layers: usize,
    idle: Option<usize>,
    width: usize,
    types: [GgmlDType; 7],
    gemma: bool,
) -> (Vec<u8>, ModelConfig) {
    let mut config = ModelConfig {
        layers,
        hidden_size: width,
        intermediate_size: 2 * width,
        heads: width / 16,
        kv_heads: 1,
        head_dim: 16,
        ..small_config()
    };
    if gemma {
        config.architecture = Architecture::Gemma3;
        config.details = Details {
            activation: Activation::GeluTanh,
            attention_scale: Some(0.5),
            embedding_scale: Some((width as f64).sqrt()),
            sliding: Some(Sliding {
                window: 4,
                layers: (0..layers).map(|layer| layer != 1).collect(),
                rope: Some((100.0, RopeScaling::None)),
            }),
        };
    }
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    let mut scaled = |shape: &[usize], dtype: GgmlDType, scale: f32| {
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| scale * rng.random_range(-0.5..0.5))
            .collect();
        QTensor::quantize(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap(), dtype).unwrap()
    };
    let (hidden, inner, keys) = (
        config.hidden_size,
        config.intermediate_size,
        config.kv_heads * config.head_dim,
    );
    let mut tensors = vec![
        (
            "token_embd".to_owned(),
            scaled(&[config.vocab_size, hidden], GgmlDType::Q8_0, 1.0),
        ),
        ("output_norm".to_owned(), scaled(&[hidden], GgmlDType::F32, 1.0)),
    ];
    for layer in 0..layers {
        for part in ["attn_norm", "ffn_norm"] {
            tensors.push((format!("blk.{layer}.{part}"), scaled(&[hidden], GgmlDType::F32, 1.0)));
        }
        if gemma {
            for part in ["post_attention_norm", "post_ffw_norm"] {
                tensors.push((format!("blk.{layer}.{part}"), scaled(&[hidden], GgmlDType::F32, 1.0)));
            }
            for part in ["attn_q_norm", "attn_k_norm"] {
                let gains = scaled(&[config.head_dim], GgmlDType::F32, 4.0);
                tensors.push((format!("blk.{layer}.{part}"), gains));
            }
        }
        let matrices = [
            ("attn_q", hidden, hidden),
            ("attn_k", keys, hidden),
            ("attn_v", keys, hidden),
            ("attn_output", hidden, hidden),
            ("ffn_gate", inner, hidden),
            ("ffn_up", inner, hidden),
            ("ffn_down", hidden, inner),
        ];
        for ((part, outputs, inputs), dtype) in matrices.into_iter().zip(types) {
            let is_idle = idle == Some(layer) && matches!(part, "attn_output" | "ffn_down");
            let scale = if is_idle { 0.0 } else { (32.0 / width as f32).sqrt() };
            tensors.push((format!("blk.{layer}.{part}"), scaled(&[outputs, inputs], dtype, scale)));
        }
    }
    let tensors: Vec<(String, QTensor)> = tensors
        .into_iter()
        .map(|(name, t)| (format!("{name}.weight"), t))
        .collect();
    let named: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
    let architecture = gguf_file::Value::String("llama".to_owned());
    let mut bytes = Cursor::new(Vec::new());
    gguf_file::write(&mut bytes, &[("general.architecture", &architecture)], &named).unwrap();
    (bytes.into_inner(), config)
}
