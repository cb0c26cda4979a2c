//! The kernel in plain Rust: the reference for the others, and what runs where they can't.

use std::ops::Range;

use super::activations::{Aligned, TILE};
use super::form::{Form, IQ4_NL_VALUES};
use super::pack::PackedMatrix;
use super::vector::Lanes;
use super::{Activations, BLOCK, LANES, Output, halves};

/// Some rows of `x` times one group of `weight`.
pub(super) fn group(weight: &PackedMatrix, group: usize, x: &Activations, rows: Range<usize>, output: Output) {
    group_inline::<false>(weight, group, x, rows, output);
}

/// The same, compiled for AVX2.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn group_avx2(
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    rows: Range<usize>,
    output: Output,
) {
    group_inline::<true>(weight, group, x, rows, output);
}

#[inline(always)]
fn group_inline<const FUSED: bool>(
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    rows: Range<usize>,
    output: Output,
) {
    let Some(form) = weight.kind().form() else {
        return halves::group::<Lanes<FUSED>>((), weight, group, x, rows, output);
    };
    let (first, end) = (rows.start, rows.end);
    for from in (first..end).step_by(TILE) {
        let mut sums = [[0.0f32; LANES]; TILE];
        let units = weight.units(&form, group);
        if form.blocks() == 1 {
            for ((head, quants), (bytes, scales)) in units.zip(x.tile(from)) {
                let rows = bytes.iter().zip(scales);
                let rows =
                    rows.map(|(Aligned([high, low]), [scale, sum])| (high, low, *scale, std::slice::from_ref(sum)));
                add_block(&form, (head, 0), quants, rows, &mut sums);
            }
        } else {
            for ((head, unit), (bytes, scales)) in units.zip(x.super_tile(from)) {
                for (block, quants) in unit.chunks_exact(form.quant_bytes()).enumerate() {
                    let quarter = bytes.chunks_exact(scales.len()).nth(block / 2).unwrap_or_default();
                    let rows = quarter.iter().zip(scales).map(|(Aligned([high, low]), scales)| {
                        let sums = &scales.sums(form.runs)[form.runs * block..form.runs * (block + 1)];
                        (&high[block % 2], &low[block % 2], scales.scale, sums)
                    });
                    add_block(&form, (head, block), quants, rows, &mut sums);
                }
            }
        }
        for (row, sums) in (from..end).zip(&sums) {
            output.write(row, group, sums);
        }
    }
}

/// Adds to the sums of some rows their products with a block of weights, the `block`th of those with this `head`. A row is its
/// high and low bytes, its scale and the sums of its runs.
#[inline(always)]
fn add_block<'a>(
    form: &Form,
    (head, block): (&[u8], usize),
    quants: &[u8],
    rows: impl Iterator<Item = (&'a [i8; BLOCK], &'a [i8; BLOCK], f32, &'a [f32])> + Clone,
    sums: &mut [[f32; LANES]; TILE],
) {
    let bytes = unpack(form, quants);
    for run in 0..form.runs {
        let scales: [(f32, f32); LANES] =
            std::array::from_fn(|lane| form.scale_and_offset(head, block * form.runs + run, lane));
        let fours = 8 / form.runs * run..8 / form.runs * (run + 1);
        for ((high, low, scale, of_runs), sums) in rows.clone().zip(&mut *sums) {
            // At most 32·255·(127·128 + 64) < 2³¹ in magnitude.
            let mut dots = [0i32; LANES];
            for four in fours.clone() {
                for i in 0..4 {
                    let at = 4 * four + i;
                    let value = (i32::from(high[at]) << 7) + i32::from(low[at]);
                    for (lane, dot) in dots.iter_mut().enumerate() {
                        *dot += i32::from(bytes[four][4 * lane + i]) * value;
                    }
                }
            }
            for ((sum_of_lane, dot), (d, m)) in sums.iter_mut().zip(dots).zip(scales) {
                *sum_of_lane += d * scale * dot as f32 + m * of_runs[run];
            }
        }
    }
}

/// The quants of a block a byte each: for every four columns 16 rows × 4 bytes.
#[inline(always)]
fn unpack(form: &Form, quants: &[u8]) -> [[u8; 64]; 8] {
    let lines = quants.as_chunks::<64>().0;
    let mut bytes: [[u8; 64]; 8] = match form.base {
        8 => std::array::from_fn(|four| lines[four]),
        4 => std::array::from_fn(|four| lines[four % 4].map(|byte| byte >> (4 * (four / 4)) & 0x0f)),
        _ => std::array::from_fn(|four| lines[four / 4].map(|byte| byte >> (2 * (four % 4)) & 3)),
    };
    for plane in 0..form.planes {
        let bits = &lines[form.base + plane];
        for (bytes, bits) in bytes.iter_mut().zip(bits.as_chunks::<8>().0) {
            for (place, byte) in bytes.iter_mut().enumerate() {
                *byte |= (bits[place / 8] >> (place % 8) & 1) << (form.base + plane);
            }
        }
    }
    if form.table {
        bytes = bytes.map(|places| places.map(|place| IQ4_NL_VALUES[usize::from(place & 0x0f)]));
    }
    bytes
}
