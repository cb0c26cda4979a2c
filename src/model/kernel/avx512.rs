//! The kernel on AVX-512 with VNNI: 64 byte products an instruction, 16 rows side by side.

use std::arch::x86_64::*;
use std::ops::Range;

use super::pack::{Bits, PackedMatrix};
use super::{Activations, BLOCK, LANES, Output, TILE};

/// Some rows of `x` times one group of `weight`.
///
/// # Safety
/// The CPU must have AVX-512 F, BW and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn group(weight: &PackedMatrix, group: usize, x: &Activations, rows: Range<usize>, output: Output) {
    match (weight.bits(), x.is_coarse()) {
        (Bits::Four, false) => tiles::<true, false>(weight, group, x, rows, output),
        (Bits::Eight, false) => tiles::<false, false>(weight, group, x, rows, output),
        (Bits::Four, true) => tiles::<true, true>(weight, group, x, rows, output),
        (Bits::Eight, true) => tiles::<false, true>(weight, group, x, rows, output),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tiles<const FOUR: bool, const COARSE: bool>(
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    rows: Range<usize>,
    output: Output,
) {
    let mut row = rows.start;
    while row + TILE <= rows.end {
        tile::<TILE, FOUR, COARSE>(weight, group, x, row, output);
        row += TILE;
    }
    while row < rows.end {
        tile::<1, FOUR, COARSE>(weight, group, x, row, output);
        row += 1;
    }
}

/// ⟨q, x⟩ in every lane for the eight vectors `q` and 32 signed bytes x. A macro, for where it is left
/// to the compiler it becomes a call that takes the quants through memory.
macro_rules! dot {
    ($quants:ident, $activations:expr) => {{
        let x: &[i8; BLOCK] = $activations;
        // Two sums, so that an addition need not wait for the one before.
        let (mut even, mut odd) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        even = _mm512_dpbusd_epi32(even, $quants[0], quad_of(x, 0));
        odd = _mm512_dpbusd_epi32(odd, $quants[1], quad_of(x, 4));
        even = _mm512_dpbusd_epi32(even, $quants[2], quad_of(x, 8));
        odd = _mm512_dpbusd_epi32(odd, $quants[3], quad_of(x, 12));
        even = _mm512_dpbusd_epi32(even, $quants[4], quad_of(x, 16));
        odd = _mm512_dpbusd_epi32(odd, $quants[5], quad_of(x, 20));
        even = _mm512_dpbusd_epi32(even, $quants[6], quad_of(x, 24));
        odd = _mm512_dpbusd_epi32(odd, $quants[7], quad_of(x, 28));
        _mm512_add_epi32(even, odd)
    }};
}

/// `ROWS` rows of `x` from `first` on times one group; `COARSE`: their low bytes are 0.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile<const ROWS: usize, const FOUR: bool, const COARSE: bool>(
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    first: usize,
    output: Output,
) {
    let unit = 64 + weight.bits().quant_bytes();
    let blocks = x.cols() / BLOCK;
    let bytes = weight.group_bytes(group);
    let rows: [&[[[i8; BLOCK]; 2]]; ROWS] = std::array::from_fn(|r| &x.row_blocks(first + r)[..blocks]);
    let scales: [&[[f32; 2]]; ROWS] = std::array::from_fn(|r| &x.row_scales(first + r)[..blocks]);
    let mut sums = [_mm512_setzero_ps(); ROWS];
    for (block, unit) in bytes.chunks_exact(unit).take(blocks).enumerate() {
        let (head, quants) = unit.split_at(64);
        let (d, m) = scales_of(head);
        let quants = if FOUR { four(quants) } else { eight(quants) };
        for r in 0..ROWS {
            let [scale, sum] = scales[r][block];
            let [high, low] = &rows[r][block];
            // At most 32·255·(127·128 + 64) < 2³¹: exact.
            let mut dots = _mm512_slli_epi32::<7>(dot!(quants, high));
            if !COARSE {
                dots = _mm512_add_epi32(dots, dot!(quants, low));
            }
            let scaled = _mm512_mul_ps(d, _mm512_set1_ps(scale));
            sums[r] = _mm512_fmadd_ps(scaled, _mm512_cvtepi32_ps(dots), sums[r]);
            sums[r] = _mm512_fmadd_ps(m, _mm512_set1_ps(sum), sums[r]);
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        let mut values = [0.0f32; LANES];
        // SAFETY: `values` is 16 floats, what an unaligned 512-bit store writes.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), sums) };
        output.write(first + r, group, &values);
    }
}

/// Four neighbouring bytes, in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn quad_of(bytes: &[i8; BLOCK], at: usize) -> __m512i {
    let quad = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    _mm512_set1_epi32(i32::from_le_bytes(quad.map(|b| b as u8)))
}

/// Scales and offsets of a block's 16 rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn scales_of(head: &[u8]) -> (__m512, __m512) {
    assert!(head.len() >= 64);
    // SAFETY: two unaligned 256-bit loads, bytes 0..32 and 32..64 of the slice just measured.
    let (d, m) = unsafe {
        (
            _mm256_loadu_si256(head.as_ptr().cast()),
            _mm256_loadu_si256(head.as_ptr().add(32).cast()),
        )
    };
    (_mm512_cvtph_ps(d), _mm512_cvtph_ps(m))
}

/// The eight vectors of a block's byte quants: four columns of 16 rows each.
#[inline]
#[target_feature(enable = "avx512f")]
fn eight(quants: &[u8]) -> [__m512i; 8] {
    assert!(quants.len() >= 512);
    // SAFETY: load i covers bytes 64·i..64·(i+1) of the slice, i < 8, and it has at least 512.
    std::array::from_fn(|i| unsafe { _mm512_loadu_si512(quants.as_ptr().add(64 * i).cast()) })
}

/// The same of four-bit quants: low halves are columns 0..16, high halves 16..32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn four(quants: &[u8]) -> [__m512i; 8] {
    assert!(quants.len() >= 256);
    let mask = _mm512_set1_epi8(0x0f);
    // SAFETY: load i covers bytes 64·i..64·(i+1) of the slice, i < 4, and it has at least 256.
    let packed: [__m512i; 4] =
        std::array::from_fn(|i| unsafe { _mm512_loadu_si512(quants.as_ptr().add(64 * i).cast()) });
    std::array::from_fn(|i| match i {
        0..4 => _mm512_and_si512(packed[i], mask),
        _ => _mm512_and_si512(_mm512_srli_epi16::<4>(packed[i - 4]), mask),
    })
}
