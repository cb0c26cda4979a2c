//! Activations as two signed bytes and a scale per block.

use super::vector::Vector;
use super::{BLOCK, LANES};

/// Rows of f32 activations, and the same in fixed point per block: x ≈ scale · (128·hi + lo).
pub struct Activations {
    rows: usize,
    cols: usize,
    /// For weights that are floats.
    floats: Vec<f32>,
    /// For each tile of rows, each of its blocks and each of its rows, so that they are read in one run.
    bytes: Vec<Bytes>,
    /// In the same order: scale, then the sums of the block's activations in fixed point, of all and of each half.
    scales: Vec<Scales>,
    /// Whether all low bytes are 0.
    coarse: bool,
}

/// The high and the low bytes of a block.
pub(super) type Bytes = [[i8; BLOCK]; 2];

/// Rows of a tile; the last tile has those that are left.
pub(super) const TILE: usize = 8;

/// Scale, sum, sum of the first sixteen, sum of the others.
pub(super) type Scales = [f32; 4];

/// Multiplications that take as long as splitting a value.
const SPLIT_WORK: usize = 32;
/// Greatest magnitude of a fixed-point value: 127 · 128.
const GREATEST: f32 = 16_256.0;
/// Added and subtracted, rounds to an integer, which then stands in the low bits of the sum.
const MAGIC: f32 = 12_582_912.0;

impl Activations {
    /// Splits `x`, (rows, cols) row by row; `cols` must be a multiple of 32.
    pub fn new(x: impl Into<Vec<f32>>, cols: usize) -> Self {
        Self::split(x.into(), cols, false)
    }

    /// As [`Self::new`], by the high bytes alone: off by at most 1/254 of the greatest of 32, for half of the products.
    pub fn coarse(x: impl Into<Vec<f32>>, cols: usize) -> Self {
        Self::split(x.into(), cols, true)
    }

    fn split(floats: Vec<f32>, cols: usize, coarse: bool) -> Self {
        assert!(cols > 0 && cols.is_multiple_of(BLOCK) && floats.len().is_multiple_of(cols));
        let mut bytes = vec![[[0; BLOCK]; 2]; floats.len() / BLOCK];
        let mut scales = vec![[0.0; 4]; floats.len() / BLOCK];
        let blocks = TILE * cols / BLOCK;
        let fixed = bytes.chunks_mut(blocks).zip(scales.chunks_mut(blocks));
        let tiles = floats.chunks(TILE * cols).zip(fixed);
        let work = floats.len() * SPLIT_WORK;
        super::for_each_part(tiles, work, |(x, (bytes, scales))| match coarse {
            true => super::split_coarse(x, cols, bytes, scales),
            false => super::split(x, cols, bytes, scales),
        });
        Activations {
            rows: floats.len() / cols,
            cols,
            floats,
            bytes,
            scales,
            coarse,
        }
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

    /// The floats of a row.
    #[inline(always)]
    pub(super) fn row_floats(&self, row: usize) -> &[f32] {
        &self.floats[row * self.cols..(row + 1) * self.cols]
    }

    /// Rows from `first`, where a tile begins, on: for each block the bytes and scales of the tile's rows.
    #[inline(always)]
    pub(super) fn tile(&self, first: usize) -> impl Iterator<Item = (&[Bytes], &[Scales])> {
        debug_assert!(first.is_multiple_of(TILE));
        let rows = TILE.min(self.rows - first);
        let blocks = self.cols / BLOCK;
        let range = first * blocks..(first + rows) * blocks;
        self.bytes[range.clone()]
            .chunks_exact(rows)
            .zip(self.scales[range].chunks_exact(rows))
    }

    /// The bytes and scales of one block, of the rows of the tile that begins at `first`.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn block(&self, first: usize, block: usize) -> (&[Bytes], &[Scales]) {
        debug_assert!(first.is_multiple_of(TILE));
        let rows = TILE.min(self.rows - first);
        let start = first * (self.cols / BLOCK) + block * rows;
        (&self.bytes[start..start + rows], &self.scales[start..start + rows])
    }
}

/// Fills `bytes` and `scales` from the rows `x`, (rows, cols), of one tile. `COARSE`: by the high bytes alone.
#[inline(always)]
pub(super) fn split<V: Vector, const COARSE: bool>(
    isa: V::Isa,
    x: &[f32],
    cols: usize,
    bytes: &mut [Bytes],
    scales: &mut [Scales],
) {
    let rows = x.len() / cols;
    for (row, x) in x.chunks_exact(cols).enumerate() {
        for (block, x) in x.as_chunks::<BLOCK>().0.iter().enumerate() {
            let at = block * rows + row;
            scales[at] = split_block::<V, COARSE>(isa, x, &mut bytes[at]);
        }
    }
}

#[inline(always)]
fn split_block<V: Vector, const COARSE: bool>(isa: V::Isa, x: &[f32; BLOCK], [high, low]: &mut Bytes) -> Scales {
    let greatest = greatest::<V>(isa, x);
    let inverse = if greatest > 0.0 { GREATEST / greatest } else { 0.0 };
    let mut sums = [0i32; 2];
    let halves = x.as_chunks::<LANES>().0.iter().zip(high.as_chunks_mut::<LANES>().0);
    for (((x, high), low), sum) in halves.zip(low.as_chunks_mut::<LANES>().0).zip(&mut sums) {
        for ((x, high), low) in x.iter().zip(high).zip(low) {
            // In ±16256, so high is in ±127 and low in −64..64.
            let fixed = fixed(x * inverse);
            let upper = (fixed + 64) >> 7;
            *high = upper as i8;
            if COARSE {
                *sum += upper << 7;
            } else {
                *low = (fixed - (upper << 7)) as i8;
                *sum += fixed;
            }
        }
    }
    with_sums(greatest / GREATEST, sums[0], sums[1])
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
fn greatest<V: Vector>(isa: V::Isa, x: &[f32; BLOCK]) -> f32 {
    let halves = x.as_chunks::<LANES>().0;
    V::load(isa, &halves[0])
        .abs()
        .max(V::load(isa, &halves[1]).abs())
        .greatest()
}
