//! The kernel on AMX: eight rows of activations, their high and low bytes, times 16 rows of weights in one instruction, to the
//! bits that [`super::avx512`] finds.

mod blocks;
mod super_blocks;

use std::arch::asm;
use std::arch::x86_64::*;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::form::PackedType;
use super::pack::{PackedMatrix, fetch_ahead};
use super::{Activations, LANES, Output, ROWS};

/// Fewer rows are multiplied faster without, where weights are in blocks.
const FROM_ROWS: usize = 32;
/// The same where they are in super-blocks.
const FROM_ROWS_SUPER: usize = 16;

/// Whether so many rows times weights of this kind take less time with AMX: the more an unpacking costs, which is done once
/// for all rows, the more so.
pub(super) fn pays(kind: PackedType, rows: usize) -> bool {
    kind.form().is_some_and(|form| match form.blocks() {
        1 => form.planes > 0 && rows >= FROM_ROWS,
        _ => rows >= FROM_ROWS_SUPER,
    })
}

/// The most rows of activations at once.
const MOST_ROWS: usize = 256;
/// Bytes of activations that stay in the cache of a core beside weights.
const CACHED: usize = 1 << 20;

/// Rows of activations that a group is unpacked once for.
pub(super) fn rows_at_once(weight: &PackedMatrix) -> usize {
    match weight.kind().form() {
        // Both bytes of a row.
        Some(form) if form.blocks() > 1 => (CACHED / (2 * weight.cols()))
            .next_multiple_of(16)
            .clamp(ROWS, MOST_ROWS),
        _ => ROWS,
    }
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

/// Some rows of `x`, at most [`MOST_ROWS`] from the beginning of a tile on, times one group of `weight`, whose weights are no floats.
///
/// # Safety
/// The CPU must have AVX-512 F, BW and VNNI, and AMX be available, see [`is_on`].
pub(super) unsafe fn group(weight: &PackedMatrix, group: usize, x: &Activations, rows: Range<usize>, output: Output) {
    macro_rules! by_kind {
        (blocks: $($block:ident)*; super_blocks: $($super_block:ident)*;) => {
            match (weight.kind(), x.is_coarse()) {
                $(
                    (PackedType::$block, false) => blocks::group::<{ PackedType::$block as usize }, false>(weight, group, x, rows, output),
                    (PackedType::$block, true) => blocks::group::<{ PackedType::$block as usize }, true>(weight, group, x, rows, output),
                )*
                $((PackedType::$super_block, _) => super_blocks::group::<{ PackedType::$super_block as usize }>(weight, group, x, rows, output),)*
                (PackedType::F16 | PackedType::BF16, _) => unreachable!("floats are multiplied without"),
            }
        };
    }
    // SAFETY: the caller says that there is all of it.
    unsafe {
        by_kind! {
            blocks: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Iq4Nl;
            super_blocks: Q2K Q3K Q4K Q5K Q6K;
        }
    }
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

#[inline]
#[target_feature(enable = "avx512f")]
fn load_whole(values: &[i32; LANES]) -> __m512i {
    // SAFETY: sixteen numbers are the 64 bytes that are read.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

impl TileConfig {
    /// No register has a shape.
    const NONE: TileConfig = TileConfig {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [0; 16],
        rows: [0; 16],
    };

    /// Gives a register a shape, if it has rows.
    fn set(&mut self, register: usize, rows: usize, bytes: usize) {
        if rows > 0 {
            self.rows[register] = rows as u8;
            self.row_bytes[register] = bytes as u16;
        }
    }

    /// # Safety
    /// AMX must be available.
    unsafe fn load(&self) {
        // SAFETY: a configuration is the 64 bytes that are read.
        unsafe { asm!("ldtilecfg [{}]", in(reg) self, options(nostack, preserves_flags, readonly)) };
    }
}

/// Gives the registers up.
///
/// # Safety
/// AMX must be available, and nothing of the tiles be used after this.
unsafe fn release() {
    // SAFETY: by the caller.
    unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
}
