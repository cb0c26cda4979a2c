//! Activations as two signed bytes and a scale per block.

use super::BLOCK;

/// Rows of f32 activations in 15-bit fixed point per block: x ≈ scale · (128·hi + lo).
pub struct Activations {
    rows: usize,
    cols: usize,
    /// For each row and block: 32 high bytes, then 32 low bytes.
    bytes: Vec<i8>,
    /// For each row and block: scale, then the sum of the block's activations.
    scales: Vec<[f32; 2]>,
}

/// Greatest magnitude of a fixed-point value: 127 · 128.
const GREATEST: f32 = 16_256.0;

impl Activations {
    /// Splits `x`, (rows, cols) row by row; `cols` must be a multiple of 32.
    pub fn new(x: &[f32], cols: usize) -> Self {
        assert!(cols > 0 && cols.is_multiple_of(BLOCK) && x.len().is_multiple_of(cols));
        let mut bytes = vec![0i8; 2 * x.len()];
        let mut scales = vec![[0.0; 2]; x.len() / BLOCK];
        split(x, &mut bytes, &mut scales);
        Activations {
            rows: x.len() / cols,
            cols,
            bytes,
            scales,
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
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

fn split(x: &[f32], bytes: &mut [i8], scales: &mut [[f32; 2]]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the CPU was just seen to have AVX2 and FMA.
        return unsafe { split_avx2(x, bytes, scales) };
    }
    split_inline(x, bytes, scales);
}

/// # Safety
/// The CPU must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn split_avx2(x: &[f32], bytes: &mut [i8], scales: &mut [[f32; 2]]) {
    split_inline(x, bytes, scales);
}

#[inline(always)]
fn split_inline(x: &[f32], bytes: &mut [i8], scales: &mut [[f32; 2]]) {
    let blocks = x.chunks_exact(BLOCK).zip(bytes.chunks_exact_mut(2 * BLOCK));
    for ((x, bytes), scale) in blocks.zip(scales) {
        let greatest = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let inverse = if greatest > 0.0 { GREATEST / greatest } else { 0.0 };
        let (high, low) = bytes.split_at_mut(BLOCK);
        for ((x, high), low) in x.iter().zip(high).zip(low) {
            // In ±16256, so high is in ±127 and low in −64..64.
            let fixed = (x * inverse).round_ties_even() as i32;
            *high = ((fixed + 64) >> 7) as i8;
            *low = (fixed - (i32::from(*high) << 7)) as i8;
        }
        *scale = [greatest / GREATEST, x.iter().sum()];
    }
}
