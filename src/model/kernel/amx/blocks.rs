//! Weights in blocks: an unpacked block is what `tdpbsud` takes for its second matrix as it stands, and the block of a tile of
//! activations for its first. As the scales change from block to block, so many whole numbers have to be fetched from the
//! tile and added up as floats.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;

use super::super::BLOCK;
use super::super::activations::{Bytes, TILE};
use super::super::avx512::{scales_of, unpack};
use super::{
    Activations, LANES, MOST_ROWS, Output, PackedMatrix, TileConfig, fetch_ahead, load, load_whole, release, store,
};

/// Blocks of 32 columns that are unpacked before they are multiplied, few enough to stay in the cache.
const STRETCH: usize = 48;

/// A block of a group of weights.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Unpacked {
    quants: [[u8; 64]; 8],
    scales: [f32; LANES],
    offsets: [f32; LANES],
}

/// Whole numbers of a tile of activations, of high and low bytes in turn.
type Dots = [[i32; LANES]; 2 * TILE];

/// What a thread multiplies a group in.
#[repr(C, align(64))]
struct Scratch {
    blocks: [Unpacked; STRETCH],
    /// Two, for while one is written the other is read.
    dots: [Dots; 2],
    /// A row for each of the activations.
    sums: [[f32; LANES]; MOST_ROWS],
}

thread_local! {
    static SCRATCH: RefCell<Box<Scratch>> = RefCell::new(Box::new(Scratch {
        blocks: [Unpacked { quants: [[0; 64]; 8], scales: [0.0; LANES], offsets: [0.0; LANES] }; STRETCH],
        dots: [[[0; LANES]; 2 * TILE]; 2],
        sums: [[0.0; LANES]; MOST_ROWS],
    }));
}

/// See [`super::group`].
///
/// # Safety
/// The CPU must have AVX-512 F, BW and VNNI, and AMX be available.
pub(super) unsafe fn group<const KIND: usize, const COARSE: bool>(
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    rows: Range<usize>,
    output: Output,
) {
    SCRATCH.with_borrow_mut(|scratch| {
        // SAFETY: by the caller.
        unsafe { tiles::<KIND, COARSE>(scratch, weight, group, x, rows, output) }
    });
}

/// # Safety
/// AMX must be available.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tiles<const KIND: usize, const COARSE: bool>(
    scratch: &mut Scratch,
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    rows: Range<usize>,
    output: Output,
) {
    let form = const { super::super::form::Form::by_number(KIND) };
    let sums = &mut scratch.sums[..rows.len()];
    sums.fill([0.0; LANES]);
    let rest = rows.len() % TILE;
    // SAFETY: the caller says that there is AMX; the shapes are no larger than its registers.
    unsafe { configure::<COARSE>(rest) };
    let mut units = weight.units(&form, group);
    let blocks = weight.cols() / BLOCK;
    for from in (0..blocks).step_by(STRETCH) {
        let stretch = &mut scratch.blocks[..STRETCH.min(blocks - from)];
        for (block, (head, quants)) in stretch.iter_mut().zip(&mut units) {
            unpack_block::<KIND>(head, quants, block);
        }
        let (whole, part) = sums.as_chunks_mut::<TILE>();
        let mut first = rows.start;
        for sums in whole {
            // SAFETY: the registers are configured, and the tile is whole.
            unsafe { tile::<COARSE, true>(TILE, stretch, &mut scratch.dots, x, first, from, sums) };
            first += TILE;
        }
        if rest > 0 {
            let mut of_part = [[0.0; LANES]; TILE];
            of_part[..rest].copy_from_slice(part);
            // SAFETY: the registers are configured for the rows that are left.
            unsafe { tile::<COARSE, false>(rest, stretch, &mut scratch.dots, x, first, from, &mut of_part) };
            part.copy_from_slice(&of_part[..rest]);
        }
    }
    // SAFETY: AMX is available; nothing of the tiles is used after this.
    unsafe { release() };
    for (row, sums) in rows.zip(sums) {
        output.write(row, group, sums);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack_block<const KIND: usize>(head: &[u8], quants: &[u8], block: &mut Unpacked) {
    fetch_ahead(head);
    fetch_ahead(quants);
    for (line, quants) in block.quants.iter_mut().zip(unpack::<KIND>(quants)) {
        // SAFETY: a line is the 64 bytes that an unaligned 512-bit store writes.
        unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), quants) };
    }
    let (d, m) = scales_of::<KIND>(head);
    store(&mut block.scales, d);
    store(&mut block.offsets, m);
}

/// Adds to the sums of `rows` rows of activations, those of the tile that begins at `first`, their products with a stretch of
/// blocks, the first of which is `from`, in the order of [`super::super::avx512`].
///
/// # Safety
/// The registers must be configured for as many rows: those of a whole tile, or of the rest.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tile<const COARSE: bool, const WHOLE: bool>(
    rows: usize,
    stretch: &[Unpacked],
    dots: &mut [Dots; 2],
    x: &Activations,
    first: usize,
    from: usize,
    sums: &mut [[f32; LANES]; TILE],
) {
    let rows = if WHOLE { TILE } else { rows };
    let mut totals: [__m512; TILE] = std::array::from_fn(|r| load(&sums[r]));
    let multiply = |at: usize, dots: &mut Dots| {
        let (bytes, _) = x.block(first, from + at);
        assert!(bytes.len() >= rows);
        // SAFETY: by the caller; there are bytes of so many rows.
        unsafe { multiply::<COARSE, WHOLE>(&stretch[at].quants, bytes, dots) };
    };
    multiply(0, &mut dots[0]);
    for (at, block) in stretch.iter().enumerate() {
        if at + 1 < stretch.len() {
            multiply(at + 1, &mut dots[(at + 1) % 2]);
        }
        let dots = &dots[at % 2];
        let (_, scales) = x.block(first, from + at);
        let (d, m) = (load(&block.scales), load(&block.offsets));
        for (r, (total, [scale, sum])) in totals.iter_mut().zip(scales).enumerate().take(rows) {
            let scaled = _mm512_mul_ps(d, _mm512_set1_ps(*scale));
            *total = _mm512_fmadd_ps(scaled, whole_numbers::<COARSE>(dots, r), *total);
            *total = _mm512_fmadd_ps(m, _mm512_set1_ps(*sum), *total);
        }
    }
    for (sums, total) in sums.iter_mut().zip(totals) {
        store(sums, total);
    }
}

/// The dot products of a row, at most 32·255·(127·128 + 64) < 2³¹: exact.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn whole_numbers<const COARSE: bool>(dots: &Dots, row: usize) -> __m512 {
    let line = |at: usize| load_whole(&dots[at]);
    _mm512_cvtepi32_ps(match COARSE {
        true => _mm512_slli_epi32::<7>(line(row)),
        false => _mm512_add_epi32(_mm512_slli_epi32::<7>(line(2 * row)), line(2 * row + 1)),
    })
}

/// Sets the shapes of the registers: tmm0 and tmm1 are results and activations of a whole tile, tmm3 and tmm4 those of `rest`
/// rows, tmm2 the weights.
///
/// # Safety
/// AMX must be available.
unsafe fn configure<const COARSE: bool>(rest: usize) {
    let of_row = if COARSE { 1 } else { 2 };
    let mut config = TileConfig::NONE;
    config.set(0, of_row * TILE, 64);
    config.set(1, of_row * TILE, BLOCK);
    config.set(2, BLOCK / 4, 64);
    config.set(3, of_row * rest, 64);
    config.set(4, of_row * rest, BLOCK);
    // SAFETY: by the caller.
    unsafe { config.load() };
}

/// Puts the dot products of a block of weights and some rows of activations into `dots`.
///
/// # Safety
/// The registers must be configured for so many rows: a whole tile's, or those of the rest; `x` must have them.
#[inline(always)]
unsafe fn multiply<const COARSE: bool, const WHOLE: bool>(quants: &[[u8; 64]; 8], x: &[Bytes], dots: &mut Dots) {
    // High and low bytes lie 32 apart.
    let x_stride: usize = if COARSE { 64 } else { 32 };
    macro_rules! multiply {
        ($dots:tt, $x:tt) => {
            // SAFETY: `$x` reads the rows of `x`, tmm2 `quants`, and `$dots` writes at most the sixteen rows of 64 bytes of
            // `dots`; the instructions write no other register or flag.
            unsafe {
                asm!(
                    concat!("tilezero ", $dots),
                    "tileloadd tmm2, [{quants} + {line}*1]",
                    concat!("tileloadd ", $x, ", [{x} + {x_stride}*1]"),
                    concat!("tdpbsud ", $dots, ", ", $x, ", tmm2"),
                    concat!("tilestored [{dots} + {line}*1], ", $dots),
                    quants = in(reg) quants.as_ptr(),
                    x = in(reg) x.as_ptr(),
                    dots = in(reg) dots.as_mut_ptr(),
                    line = in(reg) 64usize,
                    x_stride = in(reg) x_stride,
                    out($dots) _,
                    out($x) _,
                    out("tmm2") _,
                    options(nostack, preserves_flags),
                )
            }
        };
    }
    if WHOLE {
        multiply!("tmm0", "tmm1");
    } else {
        multiply!("tmm3", "tmm4");
    }
}
