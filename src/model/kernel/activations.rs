//! Activations as two signed bytes and a scale per block.

use super::vector::Vector;
use super::{BLOCK, LANES};

/// Rows of f32 activations, and the same in fixed point per block: x ≈ scale · (128·hi + lo).
pub struct Activations {
    rows: usize,
    cols: usize,
    /// For weights that are floats.
    floats: Vec<f32>,
    /// For each row and block: 32 high bytes, then 32 low bytes.
    bytes: Vec<i8>,
    /// For each row and block: scale, then the sums of the block's activations in fixed point, of all and of each half.
    scales: Vec<Scales>,
    /// Whether all low bytes are 0.
    coarse: bool,
}

/// Scale, sum, sum of the first sixteen, sum of the others.
pub(super) type Scales = [f32; 4];

/// Greatest magnitude of a fixed-point value: 127 · 128.
const GREATEST: f32 = 16_256.0;
/// Added and subtracted, rounds to an integer, which then stands in the low bits of the sum.
const MAGIC: f32 = 12_582_912.0;

impl Activations {
    /// Splits `x`, (rows, cols) row by row; `cols` must be a multiple of 32.
    pub fn new(x: impl Into<Vec<f32>>, cols: usize) -> Self {
        let floats: Vec<f32> = x.into();
        assert!(cols > 0 && cols.is_multiple_of(BLOCK) && floats.len().is_multiple_of(cols));
        let mut bytes = vec![0i8; 2 * floats.len()];
        let mut scales = vec![[0.0; 4]; floats.len() / BLOCK];
        super::split(&floats, &mut bytes, &mut scales);
        Activations {
            rows: floats.len() / cols,
            cols,
            floats,
            bytes,
            scales,
            coarse: false,
        }
    }

    /// As [`Self::new`], by the high bytes alone: off by at most 1/254 of the greatest of 32, for two thirds of the time.
    pub fn coarse(x: impl Into<Vec<f32>>, cols: usize) -> Self {
        let mut activations = Activations::new(x, cols);
        let blocks = activations.bytes.as_chunks_mut::<{ 2 * BLOCK }>().0;
        for (block, scales) in blocks.iter_mut().zip(&mut activations.scales) {
            let (high, low) = block.split_at_mut(BLOCK);
            low.fill(0);
            let [first, second] =
                [&high[..LANES], &high[LANES..]].map(|half| 128 * half.iter().map(|b| i32::from(*b)).sum::<i32>());
            *scales = with_sums(scales[0], first, second);
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

    /// The floats of a row.
    #[inline(always)]
    pub(super) fn row_floats(&self, row: usize) -> &[f32] {
        &self.floats[row * self.cols..(row + 1) * self.cols]
    }

    /// Scale and sums of all blocks of a row.
    #[inline(always)]
    pub(super) fn row_scales(&self, row: usize) -> &[Scales] {
        let blocks = self.cols / BLOCK;
        &self.scales[row * blocks..(row + 1) * blocks]
    }
}

/// Fills `bytes` and `scales` from `x`.
#[inline(always)]
pub(super) fn split<V: Vector>(x: &[f32], bytes: &mut [i8], scales: &mut [Scales]) {
    let blocks = x.as_chunks::<BLOCK>().0.iter();
    let bytes = bytes.as_chunks_mut::<{ 2 * BLOCK }>().0;
    for ((x, bytes), scale) in blocks.zip(bytes).zip(scales) {
        let greatest = greatest::<V>(x);
        let inverse = if greatest > 0.0 { GREATEST / greatest } else { 0.0 };
        let (high, low) = bytes.split_at_mut(BLOCK);
        let mut sums = [0i32; 2];
        let halves = x.as_chunks::<LANES>().0.iter().zip(high.as_chunks_mut::<LANES>().0);
        for (((x, high), low), sum) in halves.zip(low.as_chunks_mut::<LANES>().0).zip(&mut sums) {
            for ((x, high), low) in x.iter().zip(high).zip(low) {
                // In ±16256, so high is in ±127 and low in −64..64.
                let fixed = fixed(x * inverse);
                let upper = (fixed + 64) >> 7;
                *high = upper as i8;
                *low = (fixed - (upper << 7)) as i8;
                *sum += fixed;
            }
        }
        *scale = with_sums(greatest / GREATEST, sums[0], sums[1]);
    }
}

/// A block's scales from its scale and the sums of its halves in fixed point.
#[inline(always)]
fn with_sums(scale: f32, first: i32, second: i32) -> Scales {
    let times = |sum: i32| scale * sum as f32;
    [scale, times(first + second), times(first), times(second)]
}

/// The nearest integer of a value within ±2²².
#[inline(always)]
fn fixed(x: f32) -> i32 {
    (x + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32
}

/// The greatest magnitude of a block.
#[inline(always)]
fn greatest<V: Vector>(x: &[f32; BLOCK]) -> f32 {
    let halves = x.as_chunks::<LANES>().0;
    V::load(&halves[0]).abs().max(V::load(&halves[1]).abs()).greatest()
}
