//! Activations as two signed bytes, and a scale per block or super-block.

use std::sync::OnceLock;

use super::form::PackedType;
use super::vector::{Vector, pick};
use super::{BLOCK, LANES, SUPER_BLOCK};

/// Rows of f32 activations, and the same in fixed point: x ≈ scale · (128·hi + lo), with a scale for each block of a row
/// where they are multiplied with weights of blocks, and for each super-block where with weights of super-blocks.
pub struct Activations {
    rows: usize,
    cols: usize,
    /// For weights that are floats.
    floats: Vec<f32>,
    /// Whether all low bytes of blocks are 0.
    coarse: bool,
    blocks: OnceLock<Blocks>,
    super_blocks: OnceLock<SuperBlocks>,
}

/// For each tile of rows, each of its blocks and each of its rows, so that they are read in one run.
struct Blocks {
    bytes: Vec<Bytes>,
    scales: Vec<Scales>,
}

/// For each tile of rows, each of its super-blocks, each 64 columns of them and each of its rows. Behind the last there are
/// zeros for as many rows as a tile has, so that a tile that is not whole may be read as one.
struct SuperBlocks {
    bytes: Vec<SuperBytes>,
    scales: Vec<SuperScales>,
}

/// The high and the low bytes of a block.
pub(super) type Bytes = Aligned<[[i8; BLOCK]; 2]>;

/// Scale, and the sum of the block.
pub(super) type Scales = [f32; 2];

/// The high and the low bytes of a quarter of a super-block, two blocks of them.
pub(super) type SuperBytes = Aligned<[[[i8; BLOCK]; 2]; 2]>;

/// What begins with a line of the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Aligned<T>(pub T);

/// Runs of [`SuperBytes`] in a super-block.
pub(super) const QUARTERS: usize = 4;

/// Those of a super-block of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SuperScales {
    pub scale: f32,
    /// Sums of each 32 columns.
    pub of_blocks: [f32; SUPER_BLOCK / BLOCK],
    /// Sums of each 16 columns.
    pub of_halves: [f32; SUPER_BLOCK / LANES],
}

impl SuperScales {
    pub const ZERO: SuperScales = SuperScales {
        scale: 0.0,
        of_blocks: [0.0; SUPER_BLOCK / BLOCK],
        of_halves: [0.0; SUPER_BLOCK / LANES],
    };

    /// The sums of the runs of columns that have a scale each, `runs` of them in a block.
    #[inline(always)]
    pub fn sums(&self, runs: usize) -> &[f32] {
        match runs {
            1 => &self.of_blocks,
            _ => &self.of_halves,
        }
    }
}

/// Rows of a tile; the last tile has those that are left.
pub(super) const TILE: usize = 8;

/// Multiplications that take as long as splitting a value.
const SPLIT_WORK: usize = 32;
/// Greatest magnitude of a fixed-point value: 127 · 128.
const GREATEST: f32 = 16_256.0;
/// Added and subtracted, rounds to an integer, which then stands in the low bits of the sum.
const MAGIC: f32 = 12_582_912.0;

impl Activations {
    /// Of `x`, (rows, cols) row by row; `cols` must be a multiple of 32.
    pub fn new(x: impl Into<Vec<f32>>, cols: usize) -> Self {
        Self::of(x.into(), cols, false)
    }

    /// As [`Self::new`], of blocks by the high bytes alone: off by at most 1/254 of the greatest, for half of the products. Of
    /// super-blocks, whose greatest would leave the others too few bits, by both.
    pub fn coarse(x: impl Into<Vec<f32>>, cols: usize) -> Self {
        Self::of(x.into(), cols, true)
    }

    fn of(floats: Vec<f32>, cols: usize, coarse: bool) -> Self {
        assert!(cols > 0 && cols.is_multiple_of(BLOCK) && floats.len().is_multiple_of(cols));
        Activations {
            rows: floats.len() / cols,
            cols,
            floats,
            coarse,
            blocks: OnceLock::new(),
            super_blocks: OnceLock::new(),
        }
    }

    /// Makes what weights of a kind are multiplied with, on the threads at hand; it would be made at the first product else.
    pub(super) fn split_for(&self, kind: PackedType) {
        match kind.form() {
            Some(form) if form.blocks() > 1 => {
                self.super_blocks();
            }
            Some(_) => {
                self.blocks();
            }
            None => {}
        }
    }

    fn blocks(&self) -> &Blocks {
        self.blocks.get_or_init(|| {
            let mut bytes = vec![Aligned([[0; BLOCK]; 2]); self.floats.len() / BLOCK];
            let mut scales = vec![[0.0; 2]; self.floats.len() / BLOCK];
            let blocks = TILE * self.cols / BLOCK;
            let fixed = bytes.chunks_mut(blocks).zip(scales.chunks_mut(blocks));
            self.split(fixed, |x, (bytes, scales)| match self.coarse {
                true => super::split_coarse(x, self.cols, bytes, scales),
                false => super::split(x, self.cols, bytes, scales),
            });
            Blocks { bytes, scales }
        })
    }

    fn super_blocks(&self) -> &SuperBlocks {
        self.super_blocks.get_or_init(|| {
            assert!(self.cols.is_multiple_of(SUPER_BLOCK));
            let super_blocks = self.floats.len() / SUPER_BLOCK;
            let mut bytes = vec![Aligned([[[0; BLOCK]; 2]; 2]); super_blocks * QUARTERS + TILE];
            let mut scales = vec![SuperScales::ZERO; super_blocks];
            let of_tile = TILE * self.cols / SUPER_BLOCK;
            let fixed = bytes.chunks_mut(of_tile * QUARTERS).zip(scales.chunks_mut(of_tile));
            self.split(fixed, |x, (bytes, scales)| {
                super::split_super(x, self.cols, bytes, scales)
            });
            SuperBlocks { bytes, scales }
        })
    }

    /// Calls `split` for the rows of each tile and where they go.
    fn split<T: Send>(&self, to: impl Iterator<Item = T>, split: impl Fn(&[f32], &mut T) + Sync) {
        let tiles = self.floats.chunks(TILE * self.cols).zip(to);
        super::for_each_part(tiles, self.floats.len() * SPLIT_WORK, |(x, to)| split(x, to));
    }

    /// Whether all low bytes of blocks are 0.
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
        let of = self.blocks();
        of.bytes[range.clone()]
            .chunks_exact(rows)
            .zip(of.scales[range].chunks_exact(rows))
    }

    /// The bytes and scales of one block, of the rows of the tile that begins at `first`.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn block(&self, first: usize, block: usize) -> (&[Bytes], &[Scales]) {
        debug_assert!(first.is_multiple_of(TILE));
        let rows = TILE.min(self.rows - first);
        let start = first * (self.cols / BLOCK) + block * rows;
        let of = self.blocks();
        (&of.bytes[start..start + rows], &of.scales[start..start + rows])
    }

    /// As [`Self::tile`] for each super-block: its quarters' bytes one after the other, each those of the tile's rows.
    #[inline(always)]
    pub(super) fn super_tile(&self, first: usize) -> impl Iterator<Item = (&[SuperBytes], &[SuperScales])> {
        debug_assert!(first.is_multiple_of(TILE));
        let rows = TILE.min(self.rows - first);
        let super_blocks = self.cols / SUPER_BLOCK;
        let range = first * super_blocks..(first + rows) * super_blocks;
        let of = self.super_blocks();
        of.bytes[range.start * QUARTERS..range.end * QUARTERS]
            .chunks_exact(rows * QUARTERS)
            .zip(of.scales[range].chunks_exact(rows))
    }

    /// As [`Self::block`] for one super-block; the bytes go on behind those of the tile, by at least as many as a whole tile
    /// has in a quarter.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn super_block(&self, first: usize, super_block: usize) -> (&[SuperBytes], &[SuperScales]) {
        debug_assert!(first.is_multiple_of(TILE));
        let rows = TILE.min(self.rows - first);
        let start = first * (self.cols / SUPER_BLOCK) + super_block * rows;
        let of = self.super_blocks();
        (&of.bytes[start * QUARTERS..], &of.scales[start..start + rows])
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
            let greatest = greatest::<V>(isa, x);
            let Aligned([high, low]) = &mut bytes[at];
            let [first, second] = split_block::<COARSE>(x, inverse(greatest), high, low);
            let scale = greatest / GREATEST;
            scales[at] = [scale, scale * (first + second) as f32];
        }
    }
}

/// As [`split`], for super-blocks.
#[inline(always)]
pub(super) fn split_super<V: Vector>(
    isa: V::Isa,
    x: &[f32],
    cols: usize,
    bytes: &mut [SuperBytes],
    scales: &mut [SuperScales],
) {
    let rows = x.len() / cols;
    for (row, x) in x.chunks_exact(cols).enumerate() {
        for (super_block, x) in x.as_chunks::<SUPER_BLOCK>().0.iter().enumerate() {
            let blocks = x.as_chunks::<BLOCK>().0;
            let greatest = blocks.iter().fold(0.0, |most, x| pick(greatest::<V>(isa, x), most));
            let inverse = inverse(greatest);
            let scale = greatest / GREATEST;
            let of = &mut scales[super_block * rows + row];
            of.scale = scale;
            for (block, x) in blocks.iter().enumerate() {
                let quarter = (super_block * QUARTERS + block / 2) * rows + row;
                let Aligned([high, low]) = &mut bytes[quarter];
                let sums = split_block::<false>(x, inverse, &mut high[block % 2], &mut low[block % 2]);
                of.of_blocks[block] = scale * (sums[0] + sums[1]) as f32;
                for (half, sum) in sums.into_iter().enumerate() {
                    of.of_halves[2 * block + half] = scale * sum as f32;
                }
            }
        }
    }
}

/// What activations are multiplied with to become fixed point.
#[inline(always)]
fn inverse(greatest: f32) -> f32 {
    if greatest > 0.0 { GREATEST / greatest } else { 0.0 }
}

/// Splits a block's activations times `inverse`; returns the sums of its halves in fixed point.
#[inline(always)]
fn split_block<const COARSE: bool>(
    x: &[f32; BLOCK],
    inverse: f32,
    high: &mut [i8; BLOCK],
    low: &mut [i8; BLOCK],
) -> [i32; 2] {
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
    sums
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
