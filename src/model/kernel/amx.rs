//! The kernel on AMX: eight rows of activations, their high and low bytes, times 32 columns of 16 rows of weights in one
//! instruction, to the bits that [`super::avx512`] finds.
//!
//! An unpacked block of weights is what `tdpbsud` takes for its second matrix as it stands, and the block of a tile of
//! activations for its first. As the scales change from block to block, so many whole numbers have to be fetched from the
//! tile and added up as floats.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::activations::{Bytes, TILE};
use super::avx512::{scales_of, super_scales_of, unpack};
use super::form::{Form, PackedType};
use super::pack::PackedMatrix;
use super::{Activations, BLOCK, LANES, Output, ROWS};

/// Fewer rows are multiplied faster without.
const FROM_ROWS: usize = 32;

/// Whether so many rows times weights of this kind take less time with AMX: the more an unpacking costs, which is done once
/// for all rows, the more so.
pub(super) fn pays(kind: PackedType, rows: usize) -> bool {
    let unpacks = |form: Form| form.planes > 0 || form.blocks() > 1;
    rows >= FROM_ROWS && kind.form().is_some_and(unpacks)
}

static WANTED: AtomicBool = AtomicBool::new(true);

/// Switches AMX on or off.
pub(super) fn want(on: bool) {
    WANTED.store(on, Ordering::Relaxed);
}

/// Whether AMX is there and wanted.
pub(super) fn is_on() -> bool {
    is_available() && WANTED.load(Ordering::Relaxed)
}

/// Whether the processor has AMX for bytes, and the system lets this process use it.
fn is_available() -> bool {
    /// Bits of `cpuid` 7.0, in edx.
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let features = __cpuid_count(7, 0).edx;
        features & AMX_TILE != 0 && features & AMX_INT8 != 0 && is_permitted()
    })
}

/// Asks Linux for the tiles' registers, which a process has to (arch_prctl(2)).
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row of each register.
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Blocks of 32 columns that are unpacked before they are multiplied, few enough to stay in the cache; a multiple of a
/// super-block's.
const STRETCH: usize = 48;

/// A block of a group of weights.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Unpacked {
    quants: [[u8; 64]; 8],
    /// Scales and offsets of each run of columns that has its own.
    scales: [[[f32; LANES]; 2]; 2],
}

/// Whole numbers of a tile of activations, of high and low bytes in turn, for each run of columns.
type Dots = [[[i32; LANES]; 2 * TILE]; 2];

/// What a thread multiplies a group in.
#[repr(C, align(64))]
struct Scratch {
    blocks: [Unpacked; STRETCH],
    /// Two, for while one is written the other is read.
    dots: [Dots; 2],
    /// A row for each of the activations.
    sums: [[f32; LANES]; ROWS],
}

thread_local! {
    static SCRATCH: RefCell<Box<Scratch>> = RefCell::new(Box::new(Scratch {
        blocks: [Unpacked { quants: [[0; 64]; 8], scales: [[[0.0; LANES]; 2]; 2] }; STRETCH],
        dots: [[[[0; LANES]; 2 * TILE]; 2]; 2],
        sums: [[0.0; LANES]; ROWS],
    }));
}

/// Some rows of `x`, at most [`ROWS`] from the beginning of a tile on, times one group of `weight`, whose weights are no floats.
///
/// # Safety
/// The CPU must have AVX-512 F, BW and VNNI, and AMX be available, see [`is_on`].
pub(super) unsafe fn group(weight: &PackedMatrix, group: usize, x: &Activations, rows: Range<usize>, output: Output) {
    macro_rules! by_kind {
        ($scratch:ident: $($kind:ident)*) => {
            match (weight.kind(), x.is_coarse()) {
                $(
                    (PackedType::$kind, false) => tiles::<{ PackedType::$kind as usize }, false>($scratch, weight, group, x, rows, output),
                    (PackedType::$kind, true) => tiles::<{ PackedType::$kind as usize }, true>($scratch, weight, group, x, rows, output),
                )*
                (PackedType::F16 | PackedType::BF16, _) => unreachable!("floats are multiplied without"),
            }
        };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        // SAFETY: the caller says that there is all of it.
        unsafe { by_kind!(scratch: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2K Q3K Q4K Q5K Q6K Iq4Nl) }
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
    let form = const { Form::by_number(KIND) };
    let sums = &mut scratch.sums[..rows.len()];
    sums.fill([0.0; LANES]);
    let rest = rows.len() % TILE;
    // SAFETY: the caller says that there is AMX; the shapes are no larger than its registers.
    unsafe { configure::<COARSE>(form.runs, rest) };
    let mut units = weight.units(&form, group);
    let blocks = weight.cols() / BLOCK;
    for from in (0..blocks).step_by(STRETCH) {
        let stretch = &mut scratch.blocks[..STRETCH.min(blocks - from)];
        for (blocks, (head, unit)) in stretch.chunks_exact_mut(form.blocks()).zip(&mut units) {
            unpack_unit::<KIND>(head, unit, blocks);
        }
        let (whole, part) = sums.as_chunks_mut::<TILE>();
        let mut first = rows.start;
        for sums in whole {
            // SAFETY: the registers are configured, and the tile is whole.
            unsafe { tile::<COARSE, true>(form.runs, TILE, stretch, &mut scratch.dots, x, first, from, sums) };
            first += TILE;
        }
        if rest > 0 {
            let mut of_part = [[0.0; LANES]; TILE];
            of_part[..rest].copy_from_slice(part);
            // SAFETY: the registers are configured for the rows that are left.
            unsafe {
                tile::<COARSE, false>(
                    form.runs,
                    rest,
                    stretch,
                    &mut scratch.dots,
                    x,
                    first,
                    from,
                    &mut of_part,
                )
            };
            part.copy_from_slice(&of_part[..rest]);
        }
    }
    // SAFETY: AMX is available; nothing of the tiles is used after this.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    for (row, sums) in rows.zip(sums) {
        output.write(row, group, sums);
    }
}

/// Unpacks the blocks of a block or super-block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack_unit<const KIND: usize>(head: &[u8], unit: &[u8], blocks: &mut [Unpacked]) {
    let form = const { Form::by_number(KIND) };
    let super_scales = super_scales_of::<KIND>(head);
    for (of_unit, (quants, block)) in unit.chunks_exact(form.quant_bytes()).zip(blocks).enumerate() {
        for (line, quants) in block.quants.iter_mut().zip(unpack::<KIND>(quants)) {
            // SAFETY: a line is the 64 bytes that an unaligned 512-bit store writes.
            unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), quants) };
        }
        for (run, [scales, offsets]) in block.scales.iter_mut().enumerate().take(form.runs) {
            let (d, m) = scales_of::<KIND>(head, super_scales, form.runs * of_unit + run);
            store(scales, d);
            store(offsets, m);
        }
    }
}

/// Adds to the sums of `rows` rows of activations, those of the tile that begins at `first`, their products with a stretch of
/// blocks, the first of which is `from`, in the order of [`super::avx512`].
///
/// # Safety
/// The registers must be configured for as many rows: those of a whole tile, or of the rest.
#[allow(clippy::too_many_arguments)]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tile<const COARSE: bool, const WHOLE: bool>(
    runs: usize,
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
        unsafe { multiply::<COARSE, WHOLE>(runs, &stretch[at].quants, bytes, dots) };
    };
    multiply(0, &mut dots[0]);
    for (at, block) in stretch.iter().enumerate() {
        if at + 1 < stretch.len() {
            multiply(at + 1, &mut dots[(at + 1) % 2]);
        }
        let dots = &dots[at % 2];
        let (_, scales) = x.block(first, from + at);
        let [[d, m], [d2, m2]] = block.scales.each_ref().map(|[d, m]| [load(d), load(m)]);
        for (r, (total, [scale, sum, one, two])) in totals.iter_mut().zip(scales).enumerate().take(rows) {
            let dot = |run: usize| whole_numbers::<COARSE>(&dots[run], r);
            if runs == 1 {
                let scaled = _mm512_mul_ps(d, _mm512_set1_ps(*scale));
                *total = _mm512_fmadd_ps(scaled, dot(0), *total);
                *total = _mm512_fmadd_ps(m, _mm512_set1_ps(*sum), *total);
            } else {
                let scaled = _mm512_mul_ps(d, dot(0));
                let scaled = _mm512_fmadd_ps(d2, dot(1), scaled);
                *total = _mm512_fmadd_ps(scaled, _mm512_set1_ps(*scale), *total);
                *total = _mm512_fmadd_ps(m, _mm512_set1_ps(*one), *total);
                *total = _mm512_fmadd_ps(m2, _mm512_set1_ps(*two), *total);
            }
        }
    }
    for (sums, total) in sums.iter_mut().zip(totals) {
        store(sums, total);
    }
}

/// The dot products of a row, at most 32·255·(127·128 + 64) < 2³¹: exact.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn whole_numbers<const COARSE: bool>(dots: &[[i32; LANES]; 2 * TILE], row: usize) -> __m512 {
    // SAFETY: a line is the 64 bytes that are read.
    let line = |at: usize| unsafe { _mm512_loadu_si512(dots[at].as_ptr().cast()) };
    _mm512_cvtepi32_ps(match COARSE {
        true => _mm512_slli_epi32::<7>(line(row)),
        false => _mm512_add_epi32(_mm512_slli_epi32::<7>(line(2 * row)), line(2 * row + 1)),
    })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32; LANES]) -> __m512 {
    // SAFETY: sixteen floats are the 64 bytes that are read.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(values: &mut [f32; LANES], from: __m512) {
    // SAFETY: sixteen floats are the 64 bytes that are written.
    unsafe { _mm512_storeu_ps(values.as_mut_ptr(), from) };
}

/// Sets the shapes of the registers: tmm0 and tmm1 are results and activations of a whole tile, tmm4 and tmm5 those of `rest`
/// rows, tmm2 and tmm3 the weights of a run of columns each.
///
/// # Safety
/// AMX must be available.
unsafe fn configure<const COARSE: bool>(runs: usize, rest: usize) {
    let of_row = if COARSE { 1 } else { 2 };
    let mut config = TileConfig {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [0; 16],
        rows: [0; 16],
    };
    let mut set = |register: usize, rows: usize, bytes: usize| {
        if rows > 0 {
            config.rows[register] = rows as u8;
            config.row_bytes[register] = bytes as u16;
        }
    };
    set(0, of_row * TILE, 64);
    set(1, of_row * TILE, 32 / runs);
    set(2, 8 / runs, 64);
    set(3, if runs == 2 { 4 } else { 0 }, 64);
    set(4, of_row * rest, 64);
    set(5, of_row * rest, 32 / runs);
    // SAFETY: `config` is the 64 bytes that are read.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, preserves_flags, readonly)) };
}

/// Puts the dot products of a block of weights and some rows of activations into `dots`.
///
/// # Safety
/// The registers must be configured for so many rows: a whole tile's, or those of the rest; `x` must have them.
#[inline(always)]
unsafe fn multiply<const COARSE: bool, const WHOLE: bool>(
    runs: usize,
    quants: &[[u8; 64]; 8],
    x: &[Bytes],
    dots: &mut Dots,
) {
    // High and low bytes lie 32 apart.
    let x_stride: usize = if COARSE { 64 } else { 32 };
    macro_rules! multiply {
        ($dots:tt, $x:tt, $quants:tt, $run:expr) => {
            // SAFETY: `$x` reads of the rows of `x` a run's columns, `$quants` of `quants` a run's, and `$dots` writes at
            // most sixteen rows of 64 bytes of `dots`; the instructions write no other register or flag.
            unsafe {
                asm!(
                    concat!("tilezero ", $dots),
                    concat!("tileloadd ", $quants, ", [{quants} + {line}*1]"),
                    concat!("tileloadd ", $x, ", [{x} + {x_stride}*1]"),
                    concat!("tdpbsud ", $dots, ", ", $x, ", ", $quants),
                    concat!("tilestored [{dots} + {line}*1], ", $dots),
                    quants = in(reg) quants.as_ptr().byte_add(256 * $run),
                    x = in(reg) x.as_ptr().byte_add(16 * $run),
                    dots = in(reg) dots[$run].as_mut_ptr(),
                    line = in(reg) 64usize,
                    x_stride = in(reg) x_stride,
                    out($dots) _,
                    out($x) _,
                    out($quants) _,
                    options(nostack, preserves_flags),
                )
            }
        };
    }
    if WHOLE {
        multiply!("tmm0", "tmm1", "tmm2", 0);
        if runs == 2 {
            multiply!("tmm0", "tmm1", "tmm3", 1);
        }
    } else {
        multiply!("tmm4", "tmm5", "tmm2", 0);
        if runs == 2 {
            multiply!("tmm4", "tmm5", "tmm3", 1);
        }
    }
}
