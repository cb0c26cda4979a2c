//! The kernel in plain Rust: the reference for the others, and what runs where they can't.

use half::f16;

use super::pack::{Bits, PackedMatrix};
use super::{Activations, BLOCK, LANES, Output};

/// All rows of `x` times one group of `weight`.
pub(super) fn group(weight: &PackedMatrix, group: usize, x: &Activations, output: Output) {
    group_inline(weight, group, x, output);
}

/// The same, compiled for AVX2.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn group_avx2(weight: &PackedMatrix, group: usize, x: &Activations, output: Output) {
    group_inline(weight, group, x, output);
}

#[inline(always)]
fn group_inline(weight: &PackedMatrix, group: usize, x: &Activations, output: Output) {
    let unit = 64 + weight.bits().quant_bytes();
    let bytes = weight.group_bytes(group);
    for row in 0..x.rows() {
        let mut sums = [0.0f32; LANES];
        let blocks = x.row_bytes(row).chunks_exact(2 * BLOCK).zip(x.row_scales(row));
        for (unit, (activations, &[scale, sum])) in bytes.chunks_exact(unit).zip(blocks) {
            let (head, quants) = unit.split_at(64);
            let dots = match weight.bits() {
                Bits::Four => dot_four(quants, activations),
                Bits::Eight => dot_eight(quants, activations),
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

/// 128·⟨q, hi⟩ + ⟨q, lo⟩ for every lane. At most 32·255·(127·128 + 64) < 2³¹ in magnitude.
#[inline(always)]
fn dot_eight(quants: &[u8], activations: &[i8]) -> [i32; LANES] {
    let mut dots = [0i32; LANES];
    for (quad, quants) in quants.chunks_exact(64).enumerate() {
        for (dot, quants) in dots.iter_mut().zip(quants.chunks_exact(4)) {
            for (i, &q) in quants.iter().enumerate() {
                *dot += i32::from(q) * value(activations, 4 * quad + i);
            }
        }
    }
    dots
}

#[inline(always)]
fn dot_four(quants: &[u8], activations: &[i8]) -> [i32; LANES] {
    let mut dots = [0i32; LANES];
    for (quad, quants) in quants.chunks_exact(64).enumerate() {
        for (dot, quants) in dots.iter_mut().zip(quants.chunks_exact(4)) {
            for (i, &q) in quants.iter().enumerate() {
                let column = 4 * quad + i;
                *dot += i32::from(q & 0x0f) * value(activations, column);
                *dot += i32::from(q >> 4) * value(activations, column + 16);
            }
        }
    }
    dots
}

/// The fixed-point activation at a column of a block.
#[inline(always)]
fn value(activations: &[i8], column: usize) -> i32 {
    (i32::from(activations[column]) << 7) + i32::from(activations[BLOCK + column])
}
