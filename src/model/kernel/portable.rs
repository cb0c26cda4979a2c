//! The kernel in plain Rust: the reference for the others, and what runs where they can't.

use std::ops::Range;

use half::f16;

use super::pack::{Bits, PackedMatrix};
use super::{Activations, BLOCK, LANES, Output};

/// Some rows of `x` times one group of `weight`.
pub(super) fn group(weight: &PackedMatrix, group: usize, x: &Activations, rows: Range<usize>, output: Output) {
    group_inline(weight, group, x, rows, output);
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
    group_inline(weight, group, x, rows, output);
}

#[inline(always)]
fn group_inline(weight: &PackedMatrix, group: usize, x: &Activations, rows: Range<usize>, output: Output) {
    let unit = 64 + weight.bits().quant_bytes();
    let bytes = weight.group_bytes(group);
    for row in rows {
        let mut sums = [0.0f32; LANES];
        let blocks = x.row_bytes(row).chunks_exact(2 * BLOCK).zip(x.row_scales(row));
        for (unit, (activations, &[scale, sum])) in bytes.chunks_exact(unit).zip(blocks) {
            let (head, quants) = unit.split_at(64);
            let mut values = [0i32; BLOCK];
            for (column, value) in values.iter_mut().enumerate() {
                *value = (i32::from(activations[column]) << 7) + i32::from(activations[BLOCK + column]);
            }
            let dots = match weight.bits() {
                Bits::Four => dot_four(quants, &values),
                Bits::Eight => dot_eight(quants, &values),
            };
            for lane in 0..LANES {
                let half = |at: usize| f16::from_le_bytes([head[at], head[at + 1]]).to_f32();
                let (d, m) = (half(2 * lane), half(32 + 2 * lane));
                sums[lane] += d * scale * dots[lane] as f32 + m * sum;
            }
        }
        output.write(row, group, &sums);
    }
}

/// ⟨q, x⟩ for every lane. At most 32·255·(127·128 + 64) < 2³¹ in magnitude.
#[inline(always)]
fn dot_eight(quants: &[u8], values: &[i32; BLOCK]) -> [i32; LANES] {
    let mut dots = [0i32; LANES];
    for (quad, quants) in quants.chunks_exact(64).enumerate() {
        for (dot, quants) in dots.iter_mut().zip(quants.chunks_exact(4)) {
            for (i, &q) in quants.iter().enumerate() {
                *dot += i32::from(q) * values[4 * quad + i];
            }
        }
    }
    dots
}

#[inline(always)]
fn dot_four(quants: &[u8], values: &[i32; BLOCK]) -> [i32; LANES] {
    let mut dots = [0i32; LANES];
    for (quad, quants) in quants.chunks_exact(64).enumerate() {
        for (dot, quants) in dots.iter_mut().zip(quants.chunks_exact(4)) {
            for (i, &q) in quants.iter().enumerate() {
                let column = 4 * quad + i;
                *dot += i32::from(q & 0x0f) * values[column];
                *dot += i32::from(q >> 4) * values[column + 16];
            }
        }
    }
    dots
}
