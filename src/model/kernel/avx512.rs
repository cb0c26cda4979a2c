//! The kernel on AVX-512 with VNNI: 64 byte products an instruction, 16 rows side by side.

use std::arch::x86_64::*;
use std::ops::Range;

use super::activations::{Bytes, SuperBytes, SuperScales, TILE};
use super::form::{Form, HALVES, IQ4_NL_VALUES, PackedType, Scales};
use super::pack::{PackedMatrix, fetch_ahead};
use super::vector::{Avx512, Zmm};
use super::{Activations, BLOCK, LANES, Output, halves};

/// Some rows of `x` times one group of `weight`.
///
/// # Safety
/// The CPU must have AVX-512 F, BW and VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn group(weight: &PackedMatrix, group: usize, x: &Activations, rows: Range<usize>, output: Output) {
    if weight.is_floats() {
        // SAFETY: the caller says that the processor has AVX-512 F.
        let isa = unsafe { Avx512::new() };
        return halves::group::<Zmm>(isa, weight, group, x, rows, output);
    }
    macro_rules! by_kind {
        (blocks: $($block:ident)*; super_blocks: $($super_block:ident)*;) => {
            match (weight.kind(), x.is_coarse()) {
                $(
                    (PackedType::$block, false) => tiles::<{ PackedType::$block as usize }, false>(weight, group, x, rows, output),
                    (PackedType::$block, true) => tiles::<{ PackedType::$block as usize }, true>(weight, group, x, rows, output),
                )*
                $((PackedType::$super_block, _) => tiles::<{ PackedType::$super_block as usize }, false>(weight, group, x, rows, output),)*
                (PackedType::F16 | PackedType::BF16, _) => unreachable!("floats are multiplied above"),
            }
        };
    }
    by_kind! {
        blocks: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Iq4Nl;
        super_blocks: Q2K Q3K Q4K Q5K Q6K;
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tiles<const KIND: usize, const COARSE: bool>(
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    rows: Range<usize>,
    output: Output,
) {
    for first in rows.step_by(TILE) {
        let count = TILE.min(x.rows() - first);
        let mut from = 0;
        if count == TILE {
            some_rows::<KIND, TILE, COARSE>(weight, group, x, first, 0, output);
            continue;
        }
        if count >= 4 {
            some_rows::<KIND, 4, COARSE>(weight, group, x, first, 0, output);
            from = 4;
        }
        for from in from..count {
            some_rows::<KIND, 1, COARSE>(weight, group, x, first, from, output);
        }
    }
}

/// `ROWS` rows times one group: those `from` on of the tile of `x` that begins at `first`. `COARSE`: their low bytes are 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn some_rows<const KIND: usize, const ROWS: usize, const COARSE: bool>(
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    first: usize,
    from: usize,
    output: Output,
) {
    let form = const { Form::by_number(KIND) };
    let sums = if form.blocks() == 1 {
        of_blocks::<KIND, ROWS, COARSE>(weight, group, x, first, from)
    } else {
        of_super_blocks::<KIND, ROWS>(weight, group, x, first, from)
    };
    for (r, sums) in sums.into_iter().enumerate() {
        let mut values = [0.0f32; LANES];
        // SAFETY: `values` is 16 floats, what an unaligned 512-bit store writes.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), sums) };
        output.write(first + from + r, group, &values);
    }
}

/// Adds to `$high` and `$low` ⟨q, x⟩ in every lane for the vector `$at` of `$quants` and the signed bytes `$bytes` of each row
/// `$r`. A macro, for where it is left to the compiler it becomes a call that takes the quants through memory.
macro_rules! add_dots {
    ($high:ident, $low:ident, $quants:ident, $r:ident: $bytes:expr, $($at:literal)*) => {$(
        for $r in 0..ROWS {
            let [high, low]: [&[i8; BLOCK]; 2] = $bytes;
            $high[$r] = _mm512_dpbusd_epi32($high[$r], $quants[$at], quad_of(high, 4 * $at));
            if !COARSE {
                $low[$r] = _mm512_dpbusd_epi32($low[$r], $quants[$at], quad_of(low, 4 * $at));
            }
        }
    )*};
}

/// Of weights in blocks, see [`some_rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn of_blocks<const KIND: usize, const ROWS: usize, const COARSE: bool>(
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    first: usize,
    from: usize,
) -> [__m512; ROWS] {
    let form = const { Form::by_number(KIND) };
    let zero = [_mm512_setzero_si512(); ROWS];
    let mut sums = [_mm512_setzero_ps(); ROWS];
    for ((head, quants), (rows, scales)) in weight.units(&form, group).zip(x.tile(first)) {
        let rows: &[Bytes; ROWS] = rows[from..].first_chunk().expect("the tile has these rows");
        let scales: &[[f32; 2]; ROWS] = scales[from..].first_chunk().expect("the tile has these rows");
        fetch_ahead(head);
        fetch_ahead(quants);
        let quants = unpack::<KIND>(quants);
        let (mut high, mut low) = (zero, zero);
        add_dots!(high, low, quants, r: rows[r].0.each_ref(), 0 1 2 3 4 5 6 7);
        let (d, m) = scales_of::<KIND>(head);
        for r in 0..ROWS {
            let [scale, sum] = scales[r];
            let scaled = _mm512_mul_ps(d, _mm512_set1_ps(scale));
            // At most 32·255·(127·128 + 64) < 2³¹: exact.
            let dots = _mm512_add_epi32(_mm512_slli_epi32::<7>(high[r]), low[r]);
            sums[r] = _mm512_fmadd_ps(scaled, _mm512_cvtepi32_ps(dots), sums[r]);
            sums[r] = _mm512_fmadd_ps(m, _mm512_set1_ps(sum), sums[r]);
        }
    }
    sums
}

/// Of weights in super-blocks, see [`some_rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn of_super_blocks<const KIND: usize, const ROWS: usize>(
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    first: usize,
    from: usize,
) -> [__m512; ROWS] {
    /// Super-blocks have low bytes whatever the rounding.
    const COARSE: bool = false;
    let form = const { Form::by_number(KIND) };
    let zero = [_mm512_setzero_si512(); ROWS];
    let mut sums = [_mm512_setzero_ps(); ROWS];
    for ((head, unit), (bytes, scales)) in weight.units(&form, group).zip(x.super_tile(first)) {
        let rows = scales.len();
        let scales: &[SuperScales; ROWS] = scales[from..].first_chunk().expect("the tile has these rows");
        fetch_ahead(head);
        let super_scales = super_scales_of::<KIND>(head);
        // Σ i·⟨q, hi⟩ and Σ i·⟨q, lo⟩.
        let (mut highs, mut lows) = (zero, zero);
        for (block, quants) in unit.chunks_exact(form.quant_bytes()).enumerate() {
            let rows = bytes[block / 2 * rows + from..].first_chunk();
            let rows: &[SuperBytes; ROWS] = rows.expect("the tile has these rows");
            fetch_ahead(quants);
            let quants = unpack::<KIND>(quants);
            macro_rules! add_run {
                ($run:expr, $($at:literal)*) => {
                    let run = block * form.runs + $run;
                    let (mut high, mut low) = (zero, zero);
                    add_dots!(high, low, quants, r: [&rows[r].0[0][block % 2], &rows[r].0[1][block % 2]], $($at)*);
                    let (i, m) = run_scales_of::<KIND>(head, super_scales, run);
                    for r in 0..ROWS {
                        highs[r] = _mm512_add_epi32(highs[r], _mm512_mullo_epi32(i, high[r]));
                        lows[r] = _mm512_add_epi32(lows[r], _mm512_mullo_epi32(i, low[r]));
                        let sum = scales[r].sums(form.runs)[run];
                        sums[r] = _mm512_fmadd_ps(m, _mm512_set1_ps(sum), sums[r]);
                    }
                };
            }
            if form.runs == 1 {
                add_run!(0, 0 1 2 3 4 5 6 7);
            } else {
                add_run!(0, 0 1 2 3);
                add_run!(1, 4 5 6 7);
            }
        }
        for r in 0..ROWS {
            sums[r] = add_super_block(sums[r], super_scales.0, scales[r].scale, highs[r], lows[r]);
        }
    }
    sums
}

/// sum + d · scale · (128·high + low)
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add_super_block(sum: __m512, d: __m512, scale: f32, high: __m512i, low: __m512i) -> __m512 {
    let (high, low) = (_mm512_cvtepi32_ps(high), _mm512_cvtepi32_ps(low));
    let dots = _mm512_fmadd_ps(high, _mm512_set1_ps(128.0), low);
    _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(scale)), dots, sum)
}

/// Four neighbouring bytes, in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn quad_of(bytes: &[i8; BLOCK], at: usize) -> __m512i {
    let quad = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    _mm512_set1_epi32(i32::from_le_bytes(quad.map(|b| b as u8)))
}

/// Scales and offsets of a block of 16 rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn scales_of<const KIND: usize>(head: &[u8]) -> (__m512, __m512) {
    let form = const { Form::by_number(KIND) };
    let (d, m) = super_scales_of::<KIND>(head);
    match form.centre {
        Some(centre) => (d, _mm512_mul_ps(d, _mm512_set1_ps(-f32::from(centre)))),
        None => (d, m),
    }
}

/// The scales and offsets, or minima, in halves that a head begins with.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn super_scales_of<const KIND: usize>(head: &[u8]) -> (__m512, __m512) {
    let form = const { Form::by_number(KIND) };
    let d = halves(&head[..HALVES]);
    match form.centre {
        Some(_) => (d, _mm512_setzero_ps()),
        None => (d, halves(&head[HALVES..2 * HALVES])),
    }
}

/// The whole numbers by which a run's scales are those of the super-block, and its offsets.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn run_scales_of<const KIND: usize>(head: &[u8], (d, m): (__m512, __m512), run: usize) -> (__m512i, __m512) {
    let form = const { Form::by_number(KIND) };
    let minus = |m: __m512, minima: __m512i| _mm512_fnmadd_ps(m, _mm512_cvtepi32_ps(minima), _mm512_setzero_ps());
    match (form.scales, form.centre) {
        (Scales::Halves, _) => unreachable!("blocks have no runs"),
        (Scales::Bytes, Some(centre)) => {
            let scales = _mm512_cvtepi8_epi32(sixteen(&head[HALVES + run * LANES..]));
            let d = _mm512_mul_ps(d, _mm512_cvtepi32_ps(scales));
            (scales, _mm512_mul_ps(d, _mm512_set1_ps(-f32::from(centre))))
        }
        (Scales::Bytes, None) => {
            let bytes = &head[2 * HALVES + 2 * run * LANES..][..2 * LANES];
            let minima = _mm512_cvtepu8_epi32(sixteen(&bytes[LANES..]));
            (_mm512_cvtepu8_epi32(sixteen(bytes)), minus(m, minima))
        }
        (Scales::Nibbles, _) => {
            let both = _mm512_cvtepu8_epi32(sixteen(&head[2 * HALVES + run * LANES..]));
            let scales = _mm512_and_si512(both, _mm512_set1_epi32(0x0f));
            (scales, minus(m, _mm512_srli_epi32::<4>(both)))
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn halves(bytes: &[u8]) -> __m512 {
    assert!(bytes.len() >= HALVES);
    // SAFETY: an unaligned 256-bit load of the slice just measured.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sixteen(bytes: &[u8]) -> __m128i {
    assert!(bytes.len() >= LANES);
    // SAFETY: an unaligned 128-bit load of the slice just measured.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// The eight vectors of a block's quants, a byte each: four columns of 16 rows. See [`Form::quant`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn unpack<const KIND: usize>(bytes: &[u8]) -> [__m512i; 8] {
    let form = const { Form::by_number(KIND) };
    assert!(bytes.len() >= form.quant_bytes());
    // SAFETY: lines are asked for below `base + planes`, and the slice has as many of 64 bytes.
    let line = |i: usize| unsafe { _mm512_loadu_si512(bytes.as_ptr().add(64 * i).cast()) };
    let mut quants: [__m512i; 8] = match form.base {
        8 => std::array::from_fn(line),
        4 => {
            let mask = _mm512_set1_epi8(0x0f);
            let packed: [__m512i; 4] = std::array::from_fn(line);
            std::array::from_fn(|i| match i {
                0..4 => _mm512_and_si512(packed[i], mask),
                _ => _mm512_and_si512(_mm512_srli_epi16::<4>(packed[i - 4]), mask),
            })
        }
        _ => {
            let mask = _mm512_set1_epi8(3);
            let packed: [__m512i; 2] = std::array::from_fn(line);
            std::array::from_fn(|i| {
                let packed = packed[i / 4];
                let shifted = match i % 4 {
                    0 => packed,
                    1 => _mm512_srli_epi16::<2>(packed),
                    2 => _mm512_srli_epi16::<4>(packed),
                    _ => _mm512_srli_epi16::<6>(packed),
                };
                _mm512_and_si512(shifted, mask)
            })
        }
    };
    for plane in 0..form.planes {
        let bit = _mm512_set1_epi8(1 << (form.base + plane));
        let masks = &bytes[(form.base + plane) * 64..][..64].as_chunks::<8>().0;
        for (quants, mask) in quants.iter_mut().zip(masks.iter()) {
            *quants = _mm512_mask_add_epi8(*quants, u64::from_le_bytes(*mask), *quants, bit);
        }
    }
    if form.table {
        let table = _mm512_broadcast_i32x4(sixteen(&IQ4_NL_VALUES));
        quants = quants.map(|places| _mm512_shuffle_epi8(table, places));
    }
    quants
}
