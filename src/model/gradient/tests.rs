use std::ops::Range;

use candle_core::Tensor;
use candle_core::quantized::GgmlDType;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::config::{Activation, Architecture, Details, RopeScaling, Sliding};
use crate::model::loopmoe;
use crate::model::testing::{decoder_of_types, packed_decoder, small_config};
use crate::model::{LoadOptions, ModelConfig, PassKv, WeightSource};

const PAST: usize = 5;
const ROWS: usize = 7;

/// Large weights, so that attention is far from uniform.
fn dense_decoder(architecture: Architecture) -> Decoder {
    decoder_of(ModelConfig {
        architecture,
        ..small_config()
    })
}

fn decoder_of(config: ModelConfig) -> Decoder {
    let place = LoadOptions {
        device: Device::Cpu,
        dtype: DType::F32,
        exact: true,
        fused: false,
    };
    let source = WeightSource::Random { tied_embeddings: true };
    Decoder::load(config, &source, place, &mut |_| {}).unwrap()
}

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// The keys and values that some tokens leave in block `layer`, and what the rows behind them make of it by the decoder.
fn by_decoder(decoder: &Decoder, layer: usize, before: &[f32], rows: &[f32]) -> Vec<f32> {
    let size = decoder.config().hidden_size;
    let tensor = |x: &[f32]| Tensor::from_slice(x, (x.len() / size, size), &Device::Cpu).unwrap();
    let mut kv = PassKv::default();
    let chunk = |from: usize, to: usize| decoder.chunk(&(from as u32..to as u32).collect::<Vec<_>>()).unwrap();
    decoder
        .run_block(layer, &tensor(before), &chunk(0, PAST), Some(&mut kv))
        .unwrap();
    let out = decoder.run_block(layer, &tensor(rows), &chunk(PAST, PAST + ROWS), Some(&mut kv));
    rows_of(&out.unwrap()).unwrap()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Forward as the decoder does, and the slope along some directions as differences have it.
fn check(decoder: &Decoder, tolerance: f64) {
    check_with(decoder, 0..2, 1e-2, tolerance);
}

fn check_with(decoder: &Decoder, layers: Range<usize>, step: f32, tolerance: f64) {
    let model = FrozenModel::new(decoder).unwrap();
    let size = decoder.config().hidden_size;
    let (before, rows) = (random(PAST * size, 1), random(ROWS * size, 2));
    let weights = random(ROWS * size, 3);
    for layer in layers {
        let (_, first) = model
            .forward(layer, before.clone(), &model.chunk(0, PAST).unwrap(), &Past::default())
            .unwrap();
        let past = first.past(&Past::default());
        let chunk = model.chunk(PAST, ROWS).unwrap();
        let run = |x: Vec<f32>| model.forward(layer, x, &chunk, &past).unwrap();
        let (leaving, activations) = run(rows.clone());
        let expected = by_decoder(decoder, layer, &before, &rows);
        let off = leaving.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f32::max) < 2e-3);
        let mut gradient = vec![0.0; rows.len()];
        model
            .backward(layer, &activations, &weights, &chunk, &past, &mut gradient)
            .unwrap();
        for seed in 4..9 {
            let direction = random(rows.len(), seed);
            let moved = |by: f32| {
                rows.iter()
                    .zip(&direction)
                    .map(|(x, d)| x + by * d)
                    .collect::<Vec<f32>>()
            };
            let value = |by: f32| dot(&run(moved(by)).0, &weights);
            let slope = (value(step) - value(-step)) / (2.0 * f64::from(step));
            let found = dot(&gradient, &direction);
            let size = dot(&gradient, &gradient).sqrt();
            assert!(
                (found - slope).abs() < tolerance * size,
                "layer {layer}: {found} {slope}"
            );
        }
    }
}

#[test]
fn gradients_of_dense_blocks() {
    check(&dense_decoder(Architecture::Llama), 2e-3);
}

#[test]
fn gradients_of_blocks_that_normalise_their_heads() {
    check(&dense_decoder(Architecture::Qwen3), 2e-3);
}

/// Norms behind attention and feed-forward, GELU, another scale, and windows smaller than what is there, with a RoPE of
/// their own.
#[test]
fn gradients_of_blocks_of_gemma() {
    let decoder = decoder_of(ModelConfig {
        architecture: Architecture::Gemma3,
        details: Details {
            activation: Activation::GeluTanh,
            attention_scale: Some(0.5),
            embedding_scale: Some(32f64.sqrt()),
            sliding: Some(Sliding {
                window: 4,
                layers: vec![true, false, true],
                rope: Some((100.0, RopeScaling::None)),
            }),
        },
        ..small_config()
    });
    check(&decoder, 3e-3);
}

#[test]
fn gradients_of_packed_blocks() {
    check(&packed_decoder(2), 2e-2);
}

#[test]
fn gradients_of_blocks_of_every_type() {
    use GgmlDType::*;
    for types in [
        [Q4K, Q5K, Q6K, Q3K, Q4K, Q2K, Q6K],
        [Q5_0, Q8_0, Q5_0, Q5_1, Q4_0, Q8_0, Q5_0],
        [BF16, F16, Q4K, F16, BF16, BF16, F16],
    ] {
        let decoder = decoder_of_types(types);
        assert!(decoder.by_kernels(), "{types:?}");
        check(&decoder, 2e-2);
    }
}

fn looped_decoder() -> Decoder {
    Decoder::of_loopmoe(loopmoe::testing::model(&loopmoe::testing::tiny(), 3), 64).unwrap()
}

#[test]
fn gradients_of_the_executions_of_a_loop() {
    let decoder = looped_decoder();
    // A small step: experts change where it is a large one.
    check_with(&decoder, 0..decoder.config().layers, 2e-3, 1e-2);
}

#[test]
fn a_coarse_pass_is_near_the_full_one() {
    let decoder = packed_decoder(1);
    let x = random(ROWS * decoder.config().hidden_size, 1);
    let run = |precision| {
        let model = FrozenModel::new(&decoder).unwrap().with_precision(precision);
        let chunk = model.chunk(0, ROWS).unwrap();
        model.forward(0, x.clone(), &chunk, &Past::default()).unwrap().0
    };
    let (full, coarse) = (run(Precision::Full), run(Precision::Coarse));
    let off: Vec<f32> = full.iter().zip(&coarse).map(|(a, b)| a - b).collect();
    let off = (dot(&off, &off) / dot(&full, &full)).sqrt();
    assert!((1e-5..2e-2).contains(&off), "{off}");
}

#[test]
fn the_divergence_and_its_gradient() {
    for decoder in [packed_decoder(1), looped_decoder()] {
        check_divergence(&decoder);
    }
}

fn check_divergence(decoder: &Decoder) {
    let model = FrozenModel::new(decoder).unwrap();
    let size = decoder.config().hidden_size;
    let rows = HEAD_ROWS + 3;
    let (teacher, student) = (random(rows * size, 1), random(rows * size, 2));
    let total = |student: &[f32]| {
        let mut sum = 0.0;
        model.kl(&teacher, student, 1.0, None, &mut |kl, _| sum += kl).unwrap();
        sum
    };
    assert!(total(&teacher).abs() < 1e-5, "{}", total(&teacher));
    let mut gradient = vec![0.0; student.len()];
    let mut seen = 0;
    model
        .kl(&teacher, &student, 0.5, Some(&mut gradient), &mut |kl, _| {
            assert!(kl > 0.0);
            seen += 1;
        })
        .unwrap();
    assert_eq!(seen, rows);
    let direction = random(student.len(), 3);
    let moved = |by: f32| {
        student
            .iter()
            .zip(&direction)
            .map(|(x, d)| x + by * d)
            .collect::<Vec<f32>>()
    };
    let slope = (total(&moved(1e-2)) - total(&moved(-1e-2))) / 2e-2 / 2.0;
    let found = dot(&gradient, &direction);
    assert!((found - slope).abs() < 2e-2 * slope.abs().max(0.1), "{found} {slope}");
}

#[test]
fn the_curvature_is_the_second_derivative_of_the_divergence() {
    let decoder = packed_decoder(1);
    let model = FrozenModel::new(&decoder).unwrap();
    let size = decoder.config().hidden_size;
    let states = random(size, 1);
    for seed in 2..5 {
        let direction = random(size, seed);
        let by = 0.1f32;
        let moved: Vec<f32> = states.iter().zip(&direction).map(|(x, d)| x + by * d).collect();
        let mut divergence = 0.0;
        model
            .kl(&states, &moved, 0.0, None, &mut |kl, _| divergence = kl)
            .unwrap();
        let expected = 2.0 * divergence / f64::from(by * by);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let draws = 2000;
        let squares = (0..draws).map(|_| {
            let mut drawn = vec![0.0; size];
            model.curvature(&states, 0.5, &mut || rng.random(), &mut drawn).unwrap();
            dot(&drawn, &direction).powi(2)
        });
        let found = squares.sum::<f64>() / f64::from(draws) / 0.25;
        assert!((found / expected - 1.0).abs() < 0.15, "{found} {expected}");
    }
}

/// The gradient of a block's rows and that of states by their logits, with backward products by the weights themselves or
/// by their transposes.
fn gradients(decoder: &Decoder, on_device: bool) -> Vec<f32> {
    let model = FrozenModel::multiplying(decoder, on_device).unwrap();
    let size = decoder.config().hidden_size;
    let (rows, chunk) = (random(ROWS * size, 2), model.chunk(0, ROWS).unwrap());
    let (leaving, activations) = model.forward(0, rows, &chunk, &Past::default()).unwrap();
    let mut all = vec![0.0; 2 * leaving.len()];
    let (of_rows, of_states) = all.split_at_mut(leaving.len());
    let d = random(leaving.len(), 3);
    model
        .backward(0, &activations, &d, &chunk, &Past::default(), of_rows)
        .unwrap();
    let teacher = random(leaving.len(), 4);
    model
        .kl(&teacher, &leaving, 1.0, Some(of_states), &mut |_, _| {})
        .unwrap();
    all
}

#[test]
fn a_device_multiplies_by_the_weights_themselves() {
    let in_type = |dtype: DType| {
        let place = LoadOptions {
            device: Device::Cpu,
            dtype,
            exact: false,
            fused: dtype != DType::F32,
        };
        let config = ModelConfig {
            architecture: Architecture::Qwen3,
            ..small_config()
        };
        // Random weights follow from their names.
        let source = WeightSource::Random { tied_embeddings: true };
        Decoder::load(config, &source, place, &mut |_| {}).unwrap()
    };
    let floats = in_type(DType::F32);
    let expected = gradients(&floats, false);
    for (name, found, most) in [
        ("floats", gradients(&floats, true), 1e-5),
        ("bfloats", gradients(&in_type(DType::BF16), true), 0.1),
    ] {
        let off: Vec<f32> = found.iter().zip(&expected).map(|(a, b)| a - b).collect();
        let far = (dot(&off, &off) / dot(&expected, &expected)).sqrt();
        assert!(far < most, "{name}: {far}");
    }
}
