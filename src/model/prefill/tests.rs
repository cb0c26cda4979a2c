use std::sync::{Arc, OnceLock};

use candle_core::IndexOp;

use super::*;
use crate::model::gpu::emulator::{Emulator, Order};
use crate::model::rope::Rope;
use crate::model::testing::small_config;
use crate::model::{LoadOptions, ModelConfig, WeightSource};

/// The kernels on the CPU.
struct Emulated(Order);

fn emulator() -> &'static Emulator {
    static COMPILED: OnceLock<Emulator> = OnceLock::new();
    COMPILED.get_or_init(|| Emulator::compile("src/model/prefill/emulator.c"))
}

impl LaunchPrefill for Emulated {
    fn attend(&self, mut plan: AttentionPlan, blocks: u32) -> Result<()> {
        let kernel = u32::from(plan.float_type != FloatType::F32);
        // SAFETY: the plan is what the kernel takes; the caller holds the tensors that it points to.
        unsafe { emulator().launch((&raw mut plan).cast(), (kernel, 0), (blocks, 128), 0, self.0) }
    }

    fn gate(&self, mut plan: GatePlan) -> Result<()> {
        // SAFETY: as above.
        unsafe { emulator().launch((&raw mut plan).cast(), (2, 0), (2, 64), 0, self.0) }
    }
}

fn kernels(order: Order) -> PrefillKernels {
    PrefillKernels {
        launch: Box::new(Emulated(order)),
    }
}

fn random(shape: (usize, usize, usize), dtype: DType) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu)
        .unwrap()
        .to_dtype(dtype)
        .unwrap()
}

fn doubles(x: &Tensor) -> Vec<Vec<Vec<f64>>> {
    x.to_dtype(DType::F64).unwrap().to_vec3().unwrap()
}

/// What a row of a head mixes, by the formula.
fn row(query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>], scale: f64, sees: impl Fn(usize) -> bool) -> Vec<f64> {
    let seen: Vec<usize> = (0..keys.len()).filter(|&j| sees(j)).collect();
    let score = |j: usize| scale * query.iter().zip(&keys[j]).map(|(a, b)| a * b).sum::<f64>();
    let most = seen.iter().map(|&j| score(j)).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = seen.iter().map(|&j| (score(j) - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let column = |d: usize| seen.iter().zip(&weights).map(|(&j, w)| w * values[j][d]).sum::<f64>() / sum;
    (0..query.len()).map(column).collect()
}

/// How far the kernel is from the formula for sequences of some tokens behind `past` ones.
fn off(kernels: &PrefillKernels, dtype: DType, size: usize, lengths: &[usize], past: usize, table: bool) -> f64 {
    const HEADS: usize = 4;
    let rope = Rope::plain(size, dtype);
    let sees = |i: usize, j: usize| j <= i && (!table || j == i || !(i + 2 * j).is_multiple_of(3));
    let chunks: Vec<Chunk> = lengths
        .iter()
        .map(|&tokens| {
            let positions: Vec<u32> = (past as u32..(past + tokens) as u32).collect();
            match table {
                true => Chunk::with_visibility(&positions, sees, &rope).unwrap(),
                false => Chunk::causal(&positions, &rope).unwrap(),
            }
        })
        .collect();
    let chunk = match chunks.as_slice() {
        [one] => one.clone(),
        several => Chunk::joined(&several.iter().collect::<Vec<_>>()).unwrap(),
    };
    let tokens: usize = lengths.iter().sum();
    let query = random((HEADS, tokens, size), dtype);
    // Room behind the entries, as in a cache.
    let [keys, values] = [(); 2].map(|()| {
        let all = random((2, past + tokens + 13, size), dtype);
        all.narrow(1, 0, past + tokens).unwrap()
    });
    let scale = 0.3;
    let found = kernels.attend((&query, &keys, &values), scale, &chunk, past).unwrap();
    assert_eq!(found.dims(), [tokens, HEADS * size]);
    let found: Vec<Vec<f64>> = found.to_dtype(DType::F64).unwrap().to_vec2().unwrap();
    let (query, keys, values) = (doubles(&query), doubles(&keys), doubles(&values));
    let mut worst = 0.0f64;
    let mut start = 0;
    for &own in lengths {
        let entries = start..start + past + own;
        for i in 0..own {
            for head in 0..HEADS {
                let (keys, values) = (&keys[head / 2][entries.clone()], &values[head / 2][entries.clone()]);
                let expected = row(&query[head][start + i], keys, values, scale, |j| {
                    j < past || sees(i, j - past)
                });
                let found = &found[start + i][head * size..(head + 1) * size];
                for (a, b) in found.iter().zip(&expected) {
                    let apart = (a - b).abs();
                    worst = if apart.is_nan() {
                        f64::INFINITY
                    } else {
                        worst.max(apart)
                    };
                }
            }
        }
        start += own;
    }
    worst
}

fn most(dtype: DType) -> f64 {
    // The last bit of values up to 4, and that of the weights.
    match dtype {
        DType::F32 => 2e-5,
        DType::F16 => 4e-3,
        _ => 3e-2,
    }
}

#[test]
fn attention_follows_its_formula() {
    let kernels = kernels(Order::Forwards);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for (size, tokens, past) in [(32, 2, 0), (64, 64, 0), (64, 65, 3), (96, 7, 130), (128, 70, 64)] {
            for table in [false, true] {
                let far = off(&kernels, dtype, size, &[tokens], past, table);
                assert!(
                    far < most(dtype),
                    "{dtype:?}, heads of {size}, {tokens} after {past}: {far}"
                );
            }
        }
    }
    // Heads of other sizes are taken in floats.
    for size in [8, 40, 80] {
        assert!(off(&kernels, DType::F32, size, &[35], 2, false) < most(DType::F32));
    }
}

#[test]
fn sequences_in_one_chunk_see_nothing_of_each_other() {
    for order in Order::ALL {
        for dtype in [DType::F32, DType::BF16] {
            for table in [false, true] {
                let far = off(&kernels(order), dtype, 32, &[3, 70, 1, 33], 0, table);
                assert!(far < most(dtype), "{dtype:?} {order:?}: {far}");
            }
        }
    }
}

#[test]
fn gates_follow_their_formula() {
    for (dtype, most) in [(DType::F32, 1e-5), (DType::F16, 4e-3), (DType::BF16, 3e-2)] {
        let both = random((1, 5, 2 * 22), dtype).i(0).unwrap();
        let wide = both.to_dtype(DType::F32).unwrap();
        let (x, through) = (wide.narrow(1, 0, 22).unwrap(), wide.narrow(1, 22, 22).unwrap());
        for gates in [Gates::Silu, Gates::GeluTanh] {
            let opened = match gates {
                Gates::Silu => x.silu().unwrap(),
                Gates::GeluTanh => x.gelu().unwrap(),
            };
            let expected = (opened * &through).unwrap();
            let found = kernels(Order::Backwards).gate(&both, gates).unwrap();
            let far = (found.to_dtype(DType::F32).unwrap() - expected).unwrap().abs().unwrap();
            let far = far.max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(far < most, "{dtype:?} {gates:?}: {far}");
        }
    }
}

#[test]
fn what_the_kernels_have_no_room_for_is_refused() {
    let kernels = kernels(Order::Forwards);
    assert!(kernels.attends(8, DType::F32) && kernels.attends(64, DType::BF16));
    assert!(!kernels.attends(256, DType::F32) && !kernels.attends(80, DType::BF16) && !kernels.attends(64, DType::F64));
    let x = random((2, 3, 40), DType::F16);
    let chunk = Chunk::causal(&[0, 1, 2], &Rope::plain(40, DType::F16)).unwrap();
    let error = kernels.attend((&x, &x, &x), 1.0, &chunk, 0).unwrap_err();
    assert!(error.to_string().contains("heads of 40"), "{error}");
    // Entries that are not as many as are said to be there.
    let x = random((2, 3, 32), DType::F32);
    assert!(kernels.attend((&x, &x, &x), 1.0, &chunk, 1).is_err());
    let odd = random((1, 3, 10), DType::F32).i(0).unwrap();
    assert!(kernels.gate(&odd, Gates::Silu).is_err());
}

#[test]
fn a_decoder_gives_the_same_by_the_kernels() {
    let config = ModelConfig {
        head_dim: 32,
        ..small_config()
    };
    let load = |dtype: DType| {
        let place = LoadOptions {
            device: Device::Cpu,
            dtype,
            exact: false,
            fused: true,
        };
        let source = WeightSource::Random { tied_embeddings: true };
        Decoder::load(config.clone(), &source, place, &mut |_| {}).unwrap()
    };
    let mut decoder = load(DType::F32);
    kernels(Order::Forwards).check(&decoder).unwrap();
    let run = |decoder: &Decoder| -> Vec<f32> {
        let mut cache = crate::model::KvCache::default();
        let mut last = Vec::new();
        for (from, count) in [(0, 40), (40, 3), (43, 1)] {
            let ids: Vec<u32> = (from..from + count).map(|i| (7 * i % 64) as u32).collect();
            let positions: Vec<u32> = (from as u32..(from + count) as u32).collect();
            let chunk = decoder.chunk(&positions).unwrap();
            let mut hidden = decoder.embed(&ids).unwrap();
            for layer in 0..3 {
                hidden = decoder
                    .run_block(layer, &hidden, &chunk, Some(cache.pass(layer, 0)))
                    .unwrap();
            }
            last.extend(hidden.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        }
        last
    };
    let expected = run(&decoder);
    decoder.set_prefill_kernels(Some(Arc::new(kernels(Order::Forwards))));
    let found = run(&decoder);
    let far = found
        .iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(far < 1e-4, "{far}");
    assert!(found != expected, "the kernels were not asked");
}
