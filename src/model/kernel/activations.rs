//! Activations as two signed bytes and a scale per block.

use super::vector::Vector;
use super::{BLOCK, LANES};

/// Rows of f32 activations in fixed point per block: x ≈ scale · (128·hi + lo).
pub struct Activations {
    rows: usize,
    cols: usize,
    /// For each row and block: 32 high bytes, then 32 low bytes.
    bytes: Vec<i8>,
    /// For each row and block: scale, then the sum of the block's activations.
    scales: Vec<[f32; 2]>,
    /// Whether all low bytes are 0.
    coarse: bool,
}

/// Greatest magnitude of a fixed-point value: 127 · 128.
const GREATEST: f32 = 16_256.0;
/// Added and subtracted, rounds to an integer, which then stands in the low bits of the sum.
const MAGIC: f32 = 12_582_912.0;

impl Activations {
    /// Splits `x`, (rows, cols) row by row; `cols` must be a multiple of 32.
    pub fn new(x: &[f32], cols: usize) -> Self {
        assert!(cols > 0 && cols.is_multiple_of(BLOCK) && x.len().is_multiple_of(cols));
        let mut bytes = vec![0i8; 2 * x.len()];
        let mut scales = vec![[0.0; 2]; x.len() / BLOCK];
        super::split(x, &mut bytes, &mut scales);
        Activations {
            rows: x.len() / cols,
            cols,
            bytes,
            scales,
            coarse: false,
        }
    }

    /// As [`Self::new`], by the high bytes alone: off by at most 1/254 of the greatest of 32, for two thirds of the time.
    pub fn coarse(x: &[f32], cols: usize) -> Self {
        let mut activations = Activations::new(x, cols);
        for block in activations.bytes.as_chunks_mut::<{ 2 * BLOCK }>().0 {
            block[BLOCK..].fill(0);
        }
        activations.coarse = true;
        activations
    }

    /// Whether all low bytes are 0.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn is_coarse(&self) -> bool {
        self.coarse
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The blocks of a row: 32 high bytes and 32 low bytes each.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn row_blocks(&self, row: usize) -> &[[[i8; BLOCK]; 2]] {
        self.row_bytes(row).as_chunks::<BLOCK>().0.as_chunks::<2>().0
    }

    /// The bytes of all blocks of a row.
    #[inline(always)]
    pub(super) fn row_bytes(&self, row: usize) -> &[i8] {
        &self.bytes[row * 2 * self.cols..(row + 1) * 2 * self.cols]
    }

    /// Scale and sum of all blocks of a row.
    #[inline(always)]
    pub(super) fn row_scales(&self, row: usize) -> &[[f32; 2]] {
        let blocks = self.cols / BLOCK;
        &self.scales[row * blocks..(row + 1) * blocks]
    }
}

/// Fills `bytes` and `scales` from `x`.
#[inline(always)]
pub(super) fn split<V: Vector>(x: &[f32], bytes: &mut [i8], scales: &mut [[f32; 2]]) {
    let blocks = x.as_chunks::<BLOCK>().0.iter();
    let bytes = bytes.as_chunks_mut::<{ 2 * BLOCK }>().0;
    for ((x, bytes), scale) in blocks.zip(bytes).zip(scales) {
        let (greatest, sum) = measure::<V>(x);
        let inverse = if greatest > 0.0 { GREATEST / greatest } else { 0.0 };
        let (high, low) = bytes.split_at_mut(BLOCK);
        for ((x, high), low) in x.iter().zip(high).zip(low) {
            // In ±16256, so high is in ±127 and low in −64..64.
            let fixed = fixed(x * inverse);
            let upper = (fixed + 64) >> 7;
            *high = upper as i8;
            *low = (fixed - (upper << 7)) as i8;
        }
        *scale = [greatest / GREATEST, sum];
    }
}

/// The nearest integer of a value within ±2²².
#[inline(always)]
fn fixed(x: f32) -> i32 {
    (x + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32
}

/// The greatest magnitude and the sum of a block.
#[inline(always)]
fn measure<V: Vector>(x: &[f32; BLOCK]) -> (f32, f32) {
    let halves = x.as_chunks::<LANES>().0;
    let (left, right) = (V::load(&halves[0]), V::load(&halves[1]));
    (left.abs().max(right.abs()).greatest(), left.add(right).sum())
}
