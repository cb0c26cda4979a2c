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
    let mut row = rows.start;
    while row + TILE <= rows.end {
        tile::<TILE>(weight, group, x, row, output);
        row += TILE;
    }
    while row < rows.end {
        tile::<1>(weight, group, x, row, output);
        row += 1;
    }
}

/// `ROWS` rows of `x` from `first` on times one group.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile<const ROWS: usize>(weight: &PackedMatrix, group: usize, x: &Activations, first: usize, output: Output) {
    let unit = 64 + weight.bits().quant_bytes();
    let bytes = weight.group_bytes(group);
    let rows: [&[i8]; ROWS] = std::array::from_fn(|r| x.row_bytes(first + r));
    let scales: [&[[f32; 2]]; ROWS] = std::array::from_fn(|r| x.row_scales(first + r));
    let mut sums = [_mm512_setzero_ps(); ROWS];
    for (block, unit) in bytes.chunks_exact(unit).enumerate() {
        let (head, quants) = unit.split_at(64);
        let (d, m) = scales_of(head);
        let quants = match weight.bits() {
            Bits::Four => four(quants),
            Bits::Eight => eight(quants),
        };
        for r in 0..ROWS {
            let [scale, sum] = scales[r][block];
            let (high, low) = rows[r][block * 2 * BLOCK..][..2 * BLOCK].split_at(BLOCK);
            // At most 32·255·(127·128 + 64) < 2³¹: exact.
            let dots = _mm512_add_epi32(_mm512_slli_epi32::<7>(dot(&quants, high)), dot(&quants, low));
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

/// ⟨q, x⟩ in every lane, for signed bytes x.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot(quants: &[__m512i; 8], activations: &[i8]) -> __m512i {
    // Two sums, so that an addition need not wait for the one before.
    let mut sums = [_mm512_setzero_si512(); 2];
    for (quad, &q) in quants.iter().enumerate() {
        sums[quad % 2] = _mm512_dpbusd_epi32(sums[quad % 2], q, quad_of(activations, 4 * quad));
    }
    _mm512_add_epi32(sums[0], sums[1])
}

/// Four neighbouring bytes, in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn quad_of(bytes: &[i8], at: usize) -> __m512i {
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
