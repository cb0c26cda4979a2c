use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};

use super::activations::Aligned;
use super::*;

/// Random weights in `dtype`: raw bytes and the values they stand for.
fn weights(dtype: GgmlDType, rows: usize, cols: usize) -> (Vec<u8>, Vec<f32>) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let values: Vec<f32> = (0..rows * cols).map(|_| rng.random_range(-1.0..1.5)).collect();
    let tensor = Tensor::from_vec(values, (rows, cols), &Device::Cpu).unwrap();
    let quantised = QTensor::quantize(&tensor, dtype).unwrap();
    let values = quantised.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap();
    (quantised.data().unwrap().into_owned(), values.to_vec1().unwrap())
}

/// Random bytes as weights in `dtype`, so that every bit of a block counts, and the values they stand for.
fn any_weights(dtype: GgmlDType, rows: usize, cols: usize) -> (Vec<u8>, Vec<f32>) {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(8);
    let (columns, size) = (dtype.block_size(), dtype.type_size());
    let (halves, scale): (&[usize], f32) = match dtype {
        GgmlDType::F16 | GgmlDType::BF16 => (&[], 0.0),
        GgmlDType::Q4_0 | GgmlDType::Q5_0 | GgmlDType::Q8_0 => (&[0], 0.1),
        GgmlDType::Q4_1 | GgmlDType::Q5_1 => (&[0, 2], 0.1),
        GgmlDType::Q2K => (&[80, 82], 0.02),
        GgmlDType::Q3K => (&[108], 0.01),
        GgmlDType::Q4K | GgmlDType::Q5K => (&[0, 2], 0.002),
        GgmlDType::Q6K => (&[208], 0.0005),
        other => panic!("{other:?} is not packed"),
    };
    let mut raw: Vec<u8> = (0..rows * cols / columns * size).map(|_| rng.random()).collect();
    for block in raw.chunks_exact_mut(size) {
        let mut float = || rng.random_range(-scale..=scale);
        match dtype {
            GgmlDType::F16 => block.copy_from_slice(&half::f16::from_f32(rng.random_range(-1.0..1.0)).to_le_bytes()),
            GgmlDType::BF16 => block.copy_from_slice(&half::bf16::from_f32(rng.random_range(-1.0..1.0)).to_le_bytes()),
            _ => halves
                .iter()
                .for_each(|&at| block[at..at + 2].copy_from_slice(&half::f16::from_f32(float()).to_le_bytes())),
        }
    }
    let storage = QStorage::from_data(Cow::Borrowed(&raw), &Device::Cpu, dtype).unwrap();
    let tensor = QTensor::new(storage, (rows, cols)).unwrap();
    let values = tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap();
    (raw, values.to_vec1().unwrap())
}

/// What blocks stand for in IQ4_NL, by ggml's table.
fn iq4_nl(raw: &[u8]) -> Vec<f32> {
    const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
    let block = |block: &[u8]| {
        let scale = half::f16::from_le_bytes([block[0], block[1]]).to_f32();
        let places = block[2..]
            .iter()
            .map(|b| b & 15)
            .chain(block[2..].iter().map(|b| b >> 4));
        let places: Vec<u8> = places.collect();
        places
            .into_iter()
            .map(move |place| scale * f32::from(VALUES[usize::from(place)]))
    };
    raw.chunks_exact(18).flat_map(block).collect()
}

fn reference(w: &[f32], x: &[f32], cols: usize) -> Vec<f64> {
    let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    x.chunks_exact(cols)
        .flat_map(|x| w.chunks_exact(cols).map(move |w| dot(x, w)))
        .collect()
}

#[test]
fn every_kernel_agrees_with_the_dequantised_product() {
    use GgmlDType::*;
    let types = [Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K, F16, BF16];
    let types = types.map(|dtype| (dtype, PackedType::of(dtype).unwrap()));
    for (dtype, kind) in types.into_iter().chain([(Q4_0, PackedType::Iq4Nl)]) {
        for (rows, cols, tokens) in [
            (16, 32usize, 1),
            (40, 96, 1),
            (35, 576, 5),
            (64, 256, 14),
            (17, 768, 3),
            (20, 512, 64),
            (17, 768, 24),
            (17, 2304, 45),
        ] {
            if cfg!(miri) && cols > 96 || !cols.is_multiple_of(dtype.block_size()) {
                continue;
            }
            let (raw, mut w) = any_weights(dtype, rows, cols);
            if kind == PackedType::Iq4Nl {
                w = iq4_nl(&raw);
            }
            let packed = PackedMatrix::of_type(&raw, kind, rows, cols, &Arena::default()).unwrap();
            let mut unpacked = Vec::new();
            (0..rows).for_each(|row| packed.extend_with_row(row, &mut unpacked));
            assert_eq!(unpacked, w, "{kind:?} {rows}x{cols}");
            // No more than the file and a tenth, whole groups of rows apart.
            let whole = raw.len() / rows * rows.next_multiple_of(16);
            assert!(packed.bytes() <= whole + whole / 10 + 64 * packed.groups(), "{dtype:?}");
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(tokens as u64);
            let x: Vec<f32> = (0..tokens * cols).map(|_| rng.random_range(-3.0..3.0)).collect();
            let expected = reference(&w, &x, cols);
            let activations = Activations::new(&x[..], cols);
            // Activations up to 3 are off by half a step of 3/16256 at most.
            let sum = |w: &[f32]| w.iter().map(|w| f64::from(w.abs())).sum::<f64>();
            let bounds: Vec<f64> = w.chunks_exact(cols).map(|w| 1e-4 * sum(w)).collect();
            let by = |kernel: Kernel, activations: &Activations| {
                let mut y = vec![f32::NAN; tokens * rows];
                let output = Output {
                    slots: Slots::new(&mut y),
                    stride: rows,
                };
                (0..packed.groups()).for_each(|g| kernel.group(&packed, g, activations, 0..tokens, output));
                y
            };
            for kernel in Kernel::available() {
                let y = by(kernel, &activations);
                for ((found, expected), bound) in y.iter().zip(&expected).zip(bounds.iter().cycle()) {
                    let error = (f64::from(*found) - expected).abs();
                    assert!(
                        error < *bound,
                        "{kernel:?} {kind:?} {rows}x{cols}: {found} for {expected}"
                    );
                }
            }
            // By the high bytes alone all kernels say the same, near the product.
            let coarse = Activations::coarse(&x[..], cols);
            let plain = by(Kernel::Portable, &coarse);
            let size = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
            let off = size(&mut plain.iter().zip(&expected).map(|(a, b)| f64::from(*a) - b));
            let share = off / size(&mut expected.iter().copied());
            assert!(share < 2e-2, "{dtype:?} {rows}x{cols}: off by {share}");
            for kernel in Kernel::available() {
                let pairs = by(kernel, &coarse);
                assert!(
                    pairs.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-2),
                    "{kernel:?}"
                );
            }
            // Several rows by AMX are those of AVX-512 to the bit, so that no result depends on what is computed together.
            #[cfg(target_arch = "x86_64")]
            if Kernel::available().contains(&Kernel::Amx) && !packed.is_floats() {
                for x in [&activations, &coarse] {
                    let mut y = vec![f32::NAN; tokens * rows];
                    let output = Output {
                        slots: Slots::new(&mut y),
                        stride: rows,
                    };
                    // SAFETY: there is AMX, and with it all of AVX-512 that is asked for.
                    (0..packed.groups()).for_each(|g| unsafe { amx::group(&packed, g, x, 0..tokens, output) });
                    assert_eq!(y, by(Kernel::Avx512Vnni, x), "{kind:?} {rows}x{cols}");
                }
            }
            let [together, again] = matmul([&packed, &packed], &activations);
            assert_eq!(together, again);
            assert_eq!(together.len(), tokens * rows);
        }
    }
}

#[test]
fn activations_are_split_alike_on_all_machines() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
    let x: Vec<f32> = (0..5 * 96)
        .map(|i| rng.random_range(-3.0..3.0) * 10f32.powi(i / 32 % 7 - 3))
        .collect();
    let (mut bytes, mut scales) = (
        vec![Aligned([[0; BLOCK]; 2]); x.len() / BLOCK],
        vec![[0.0; 2]; x.len() / BLOCK],
    );
    // Tiles of one row each have their blocks in order.
    split(&x, x.len(), &mut bytes, &mut scales);
    let (mut plain_bytes, mut plain_scales) = (bytes.clone(), scales.clone());
    plain_bytes.fill(Aligned([[1; BLOCK]; 2]));
    activations::split::<Lanes<false>, false>((), &x, x.len(), &mut plain_bytes, &mut plain_scales);
    assert_eq!((&bytes, &scales), (&plain_bytes, &plain_scales));
    for (block, x) in x.as_chunks::<BLOCK>().0.iter().enumerate() {
        let Aligned([high, low]) = bytes[block];
        let greatest = x.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        let fixed = |i: usize| 128 * i32::from(high[i]) + i32::from(low[i]);
        let bytes_of = |columns: Range<usize>| columns.map(fixed).sum::<i32>() as f32;
        for (i, x) in x.iter().enumerate() {
            let value = scales[block][0] * (128.0 * f32::from(high[i]) + f32::from(low[i]));
            assert!((value - x).abs() <= greatest / 30_000.0, "{value} for {x}");
        }
        assert_eq!(scales[block][1], scales[block][0] * bytes_of(0..32));
    }
}

#[test]
fn super_blocks_are_split_alike_on_all_machines() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
    let x: Vec<f32> = (0..3 * 256)
        .map(|i| rng.random_range(-3.0..3.0) * 10f32.powi(i / 32 % 7 - 3))
        .collect();
    let (mut bytes, mut scales) = (vec![Aligned([[[0; BLOCK]; 2]; 2]); 3 * 4], vec![SuperScales::ZERO; 3]);
    // Tiles of one row each have their super-blocks in order.
    split_super(&x, x.len(), &mut bytes, &mut scales);
    let (mut plain_bytes, mut plain_scales) = (vec![Aligned([[[1; BLOCK]; 2]; 2]); 3 * 4], vec![SuperScales::ZERO; 3]);
    activations::split_super::<Lanes<false>>((), &x, x.len(), &mut plain_bytes, &mut plain_scales);
    assert_eq!((&bytes, &scales), (&plain_bytes, &plain_scales));
    for ((x, bytes), scales) in x.chunks(256).zip(bytes.chunks(4)).zip(&scales) {
        let greatest = x.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        let fixed = |i: usize| {
            let Aligned([high, low]) = bytes[i / 64];
            let (half, at) = (i / 32 % 2, i % 32);
            128 * i32::from(high[half][at]) + i32::from(low[half][at])
        };
        for (i, x) in x.iter().enumerate() {
            let value = scales.scale * fixed(i) as f32;
            assert!((value - x).abs() <= greatest / 30_000.0, "{value} for {x}");
        }
        let sum = |columns: Range<usize>| scales.scale * columns.map(fixed).sum::<i32>() as f32;
        assert_eq!(scales.of_blocks, std::array::from_fn(|i| sum(32 * i..32 * (i + 1))));
        assert_eq!(scales.of_halves, std::array::from_fn(|i| sum(16 * i..16 * (i + 1))));
    }
}

#[test]
fn activations_are_rounded_to_eight_bits_before_blocks_alone() {
    for kind in [
        PackedType::Q4_0,
        PackedType::Q8_0,
        PackedType::Iq4Nl,
        PackedType::Q2K,
        PackedType::Q4K,
        PackedType::Q6K,
        PackedType::F16,
    ] {
        let (columns, size) = kind.stored();
        let raw = vec![0x35; 256 / columns * size];
        let mut packed = PackedMatrix::of_type(&raw, kind, 1, 256, &Arena::default()).unwrap();
        let x: Vec<f32> = (0..256).map(|i| (i as f32).sin()).collect();
        let product = |packed: &PackedMatrix| matmul([packed], &packed.activations(&x[..]))[0][0];
        let full = product(&packed);
        let rounds = packed.round_activations();
        assert_eq!(
            rounds,
            [PackedType::Q4_0, PackedType::Q8_0, PackedType::Iq4Nl].contains(&kind),
            "{kind:?}"
        );
        assert_eq!(product(&packed) != full, rounds, "{kind:?}");
    }
}

/// The greatest weights and activations that a file can hold, all of one sign: no whole number overflows.
#[test]
fn the_greatest_super_blocks_are_exact() {
    for (kind, scales) in [
        (PackedType::Q2K, 0..16),
        (PackedType::Q3K, 96..108),
        (PackedType::Q4K, 4..16),
        (PackedType::Q5K, 4..16),
        (PackedType::Q6K, 192..208),
    ] {
        let (_, size) = kind.stored();
        for scale in [0xff, 0x80, 0x7f] {
            let mut raw = vec![0xff; size];
            raw[scales.clone()].fill(scale);
            let halves: &[usize] = match kind {
                PackedType::Q2K => &[80, 82],
                PackedType::Q3K => &[108],
                PackedType::Q6K => &[208],
                _ => &[0, 2],
            };
            for &at in halves {
                raw[at..at + 2].copy_from_slice(&half::f16::from_f32(0.01).to_le_bytes());
            }
            let raw = raw.repeat(16);
            let packed = PackedMatrix::of_type(&raw, kind, 16, 256, &Arena::default()).unwrap();
            let mut w = Vec::new();
            packed.extend_with_row(0, &mut w);
            let x = [-2.0f32; 16 * 256];
            let expected = reference(&w, &x[..256], 256)[0];
            let size = w.iter().map(|w| f64::from(w.abs()) * 2.0).sum::<f64>();
            for kernel in Kernel::available() {
                let mut y = vec![f32::NAN; 16 * 16];
                let output = Output {
                    slots: Slots::new(&mut y),
                    stride: 16,
                };
                kernel.group(&packed, 0, &Activations::new(&x[..], 256), 0..16, output);
                for y in y {
                    assert!(
                        (f64::from(y) - expected).abs() <= 1e-4 * size,
                        "{kernel:?} {kind:?}: {y} for {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_its_neighbours() {
    // The second has more rows than are multiplied at once, and the last tile of it is not whole.
    for (dtype, cols, rows) in [
        (GgmlDType::Q4_1, 128, 7),
        (GgmlDType::Q4K, 512, 301),
        (GgmlDType::Q5_0, 128, 301),
    ] {
        let (raw, _) = weights(dtype, 48, cols);
        let packed = PackedMatrix::new(&raw, dtype, 48, cols, &Arena::default()).unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let x: Vec<f32> = (0..rows * cols).map(|_| rng.random_range(-3.0..3.0)).collect();
        let [all] = matmul([&packed], &Activations::new(&x[..], cols));
        for (row, x) in x.chunks_exact(cols).enumerate() {
            let [alone] = matmul([&packed], &Activations::new(x, cols));
            assert_eq!(alone, all[row * 48..(row + 1) * 48], "{dtype:?} row {row}");
        }
    }
}

#[test]
fn other_types_and_wrong_sizes_are_not_packed() {
    let (raw, _) = weights(GgmlDType::Q8_0, 2, 64);
    assert!(PackedMatrix::new(&raw, GgmlDType::F32, 2, 64, &Arena::default()).is_none());
    assert!(PackedMatrix::new(&[0; 3 * 144], GgmlDType::Q4K, 2, 384, &Arena::default()).is_none());
    assert!(PackedMatrix::new(&raw[1..], GgmlDType::Q8_0, 2, 64, &Arena::default()).is_none());
}

#[test]
fn floats_are_packed_within_a_step() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    // Blocks of very different sizes, down to where a 16-bit scale has few digits left.
    let size = |i: usize| [1.0, 1e-3, 1e3, 3e-4][i / 32 % 4];
    let w: Vec<f32> = (0..20 * 128).map(|i| rng.random_range(-1.0..1.0) * size(i)).collect();
    let packed = PackedMatrix::from_floats(&w, 20, 128, &Arena::default()).unwrap();
    for column in 0..128 {
        let mut x = [0.0; 128];
        x[column] = 1.0;
        let [y] = matmul([&packed], &Activations::new(&x[..], 128));
        for (row, found) in y.iter().enumerate() {
            let error = (found - w[row * 128 + column]).abs();
            assert!(error <= size(column) / 240.0, "row {row}, column {column}: {error}");
        }
    }
    assert!(PackedMatrix::from_floats(&w, 20, 127, &Arena::default()).is_none());
    assert!(PackedMatrix::from_floats(&w[..20 * 33], 20, 33, &Arena::default()).is_none());
}

#[test]
fn zeros_stay_zeros() {
    let (raw, _) = weights(GgmlDType::Q8_0, 16, 32);
    let packed = PackedMatrix::new(&raw, GgmlDType::Q8_0, 16, 32, &Arena::default()).unwrap();
    let [y] = matmul([&packed], &Activations::new([0.0; 32], 32));
    assert_eq!(y, [0.0; 16]);
}

#[test]
fn a_task_is_done_once_beside_the_products() {
    // Few rows, on one thread, and enough for several.
    let (many, head_starts) = if cfg!(miri) {
        (528, &[7][..])
    } else {
        (4096, &[0, 1, 7, 1000][..])
    };
    for rows in [16, many] {
        let (raw, _) = weights(GgmlDType::Q4_1, rows, 64);
        let packed = PackedMatrix::new(&raw, GgmlDType::Q4_1, rows, 64, &Arena::default()).unwrap();
        let x = Activations::new([0.5; 64], 64);
        let expected = matmul([&packed, &packed], &x);
        for &groups in head_starts {
            let done = std::sync::atomic::AtomicUsize::new(0);
            let run = || {
                // A product of its own, as routers have them.
                assert_eq!(matmul([&packed], &x)[0], expected[0]);
                done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            };
            let found = matmul_beside([&packed, &packed], &x, Some(OverlappedTask { run: &run, groups }));
            assert_eq!(found, expected);
            assert_eq!(done.into_inner(), 1, "{rows} rows, {groups} groups");
        }
    }
}
