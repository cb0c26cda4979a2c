//! Weights in super-blocks. A weight is D · i · q plus the offset of its run: D is one float for 256 columns, i a whole number
//! for each run of 16 or 32 of them, q the quant. i · q has at most 14 bits. So it is split into two bytes as activations are,
//! and a whole super-block is multiplied and added up in the registers:
//!
//! Σ i·q·x = 128·(128·⟨iq₁, hi⟩ + ⟨iq₀, hi⟩) + (128·⟨iq₁, lo⟩ + ⟨iq₀, lo⟩), where i·q = 128·iq₁ + iq₀

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;

use super::super::SUPER_BLOCK;
use super::super::activations::{QUARTERS, SuperScales, TILE};
use super::super::avx512::{add_super_block, run_scales_of, super_scales_of, unpack};
use super::super::form::Form;
use super::{
    Activations, LANES, MOST_ROWS, Output, PackedMatrix, TileConfig, fetch_ahead, load, load_whole, release, store,
};

/// A byte each of four columns of 16 rows, for all columns of a super-block.
type Plane = [[i8; 64]; SUPER_BLOCK / 4];

/// A super-block of a group of weights.
#[repr(C, align(64))]
struct Unpacked {
    /// Low bytes, 0 to 127, and high bytes of i · q.
    planes: [Plane; 2],
    /// D.
    scales: [f32; LANES],
    /// Of each run.
    offsets: [[f32; LANES]; SUPER_BLOCK / LANES],
}

/// Whole numbers of a tile of activations, of high and low bytes in turn, for both planes of weights.
type Dots = [[[i32; LANES]; 2 * TILE]; 2];

/// What a thread multiplies a group in.
#[repr(C, align(64))]
struct Scratch {
    /// Two, for while one is multiplied with the next is unpacked.
    weights: [Unpacked; 2],
    /// Of two tiles; two of them, for while one is written the other is read.
    dots: [[Dots; 2]; 2],
    /// A row for each of the activations.
    sums: [[f32; LANES]; MOST_ROWS],
}

thread_local! {
    static SCRATCH: RefCell<Box<Scratch>> = RefCell::new(Box::new(Scratch {
        weights: [const { Unpacked {
            planes: [[[0; 64]; SUPER_BLOCK / 4]; 2],
            scales: [0.0; LANES],
            offsets: [[0.0; LANES]; SUPER_BLOCK / LANES],
        } }; 2],
        dots: [[[[[0; LANES]; 2 * TILE]; 2]; 2]; 2],
        sums: [[0.0; LANES]; MOST_ROWS],
    }));
}

/// See [`super::group`].
///
/// # Safety
/// The CPU must have AVX-512 F, BW and VNNI, and AMX be available.
pub(super) unsafe fn group<const KIND: usize>(
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    rows: Range<usize>,
    output: Output,
) {
    SCRATCH.with_borrow_mut(|scratch| {
        // SAFETY: by the caller.
        unsafe { tiles::<KIND>(scratch, weight, group, x, rows, output) }
    });
}

/// # Safety
/// AMX must be available.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tiles<const KIND: usize>(
    scratch: &mut Scratch,
    weight: &PackedMatrix,
    group: usize,
    x: &Activations,
    rows: Range<usize>,
    output: Output,
) {
    let form = const { Form::by_number(KIND) };
    let Scratch { weights, dots, sums } = scratch;
    let sums = &mut sums[..rows.len()];
    sums.fill([0.0; LANES]);
    // SAFETY: the caller says that there is AMX; the shapes are no larger than its registers.
    unsafe { configure() };
    let pairs = rows.len().div_ceil(2 * TILE);
    let mut units = weight.units(&form, group);
    let [mut now, mut next] = weights.each_mut();
    let mut unit = units.next();
    if let Some(unit) = unit {
        unpack_unit::<KIND>(unit, now);
    }
    let mut super_block = 0;
    while unit.is_some() {
        unit = units.next();
        // What the processor does side by side: the products of a pair of tiles; the sums of the pair before, or the next
        // super-block's weights.
        for pair in 0..=pairs {
            let first = rows.start + 2 * TILE * pair;
            if pair < pairs {
                // SAFETY: the registers are configured.
                unsafe { multiply::<KIND>(now, x, (first, rows.end), super_block, &mut dots[pair % 2]) };
            }
            if pair == 0 {
                if let Some(unit) = unit {
                    unpack_unit::<KIND>(unit, next);
                }
                continue;
            }
            let first = first - 2 * TILE;
            let sums = sums[first - rows.start..].chunks_mut(TILE);
            for (tile, (sums, dots)) in sums.zip(&dots[(pair - 1) % 2]).enumerate() {
                let (_, scales) = x.super_block(first + tile * TILE, super_block);
                for (r, (sums, scales)) in sums.iter_mut().zip(scales).enumerate() {
                    add::<KIND>(now, dots, r, scales, sums);
                }
            }
        }
        std::mem::swap(&mut now, &mut next);
        super_block += 1;
    }
    // SAFETY: AMX is available; nothing of the tiles is used after this.
    unsafe { release() };
    for (row, sums) in rows.zip(sums) {
        output.write(row, group, sums);
    }
}

/// Whether i · q needs more than seven bits.
const fn has_high_plane(form: &Form) -> bool {
    // Those of two bits have scales of four.
    form.base + form.planes > 2
}

/// Unpacks a super-block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack_unit<const KIND: usize>((head, unit): (&[u8], &[u8]), to: &mut Unpacked) {
    let form = const { Form::by_number(KIND) };
    fetch_ahead(head);
    let super_scales = super_scales_of::<KIND>(head);
    store(&mut to.scales, super_scales.0);
    let seven_bits = _mm512_set1_epi16(0x7f);
    let byte = _mm512_set1_epi16(0xff);
    let [low, high] = &mut to.planes;
    let planes = low.as_chunks_mut::<8>().0.iter_mut().zip(high.as_chunks_mut::<8>().0);
    for ((block, quants), (low, high)) in unit.chunks_exact(form.quant_bytes()).enumerate().zip(planes) {
        fetch_ahead(quants);
        let quants = unpack::<KIND>(quants);
        for run in 0..form.runs {
            let (i, offsets) = run_scales_of::<KIND>(head, super_scales, form.runs * block + run);
            store(&mut to.offsets[form.runs * block + run], offsets);
            // In both words of a row.
            let i = _mm512_or_si512(
                _mm512_slli_epi32::<16>(i),
                _mm512_and_si512(i, _mm512_set1_epi32(0xffff)),
            );
            let lines = 8 / form.runs * run..8 / form.runs * (run + 1);
            for line in lines {
                let even = _mm512_mullo_epi16(i, _mm512_and_si512(quants[line], byte));
                let odd = _mm512_mullo_epi16(i, _mm512_srli_epi16::<8>(quants[line]));
                let join = |even: __m512i, odd: __m512i| _mm512_or_si512(even, _mm512_slli_epi16::<8>(odd));
                let lower = |products: __m512i| _mm512_and_si512(products, seven_bits);
                store_bytes(&mut low[line], join(lower(even), lower(odd)));
                if const { has_high_plane(&Form::by_number(KIND)) } {
                    let even = _mm512_and_si512(_mm512_srai_epi16::<7>(even), byte);
                    store_bytes(&mut high[line], join(even, _mm512_srai_epi16::<7>(odd)));
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_bytes(line: &mut [i8; 64], bytes: __m512i) {
    // SAFETY: a line is the 64 bytes that are written.
    unsafe { _mm512_storeu_si512(line.as_mut_ptr().cast(), bytes) };
}

/// Adds to the sums of a row, the `r`th of its tile, its products with a super-block, in the order of
/// [`super::super::avx512`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add<const KIND: usize>(weights: &Unpacked, dots: &Dots, r: usize, scales: &SuperScales, sums: &mut [f32; LANES]) {
    let form = const { Form::by_number(KIND) };
    let [of_low, of_high] = dots;
    // At most 255·128·127·256 < 2³¹: exact.
    let whole = |at: usize| match const { has_high_plane(&Form::by_number(KIND)) } {
        true => _mm512_add_epi32(
            _mm512_slli_epi32::<7>(load_whole(&of_high[at])),
            load_whole(&of_low[at]),
        ),
        false => load_whole(&of_low[at]),
    };
    let (high, low) = (whole(2 * r), whole(2 * r + 1));
    let mut total = load(sums);
    for (offsets, sum) in weights.offsets.iter().zip(scales.sums(form.runs)) {
        total = _mm512_fmadd_ps(load(offsets), _mm512_set1_ps(*sum), total);
    }
    store(
        sums,
        add_super_block(total, load(&weights.scales), scales.scale, high, low),
    );
}

/// Sets the shapes of the registers: tmm0 and tmm1 are the results of a tile of activations with the planes of weights, tmm2 and
/// tmm3 those of another, tmm4 and tmm5 the two tiles, tmm6 and tmm7 the planes.
///
/// # Safety
/// AMX must be available.
unsafe fn configure() {
    let mut config = TileConfig::NONE;
    (0..6).for_each(|register| config.set(register, 2 * TILE, 64));
    (6..8).for_each(|register| config.set(register, 16, 64));
    // SAFETY: by the caller.
    unsafe { config.load() };
}

/// Puts the dot products of a super-block of weights and the rows of activations from `first` on into `dots`: of a tile, and of a
/// second one if it begins before `end`. Of a tile that is not whole the rows that it has not are of no meaning.
///
/// # Safety
/// The registers must be configured.
#[inline(always)]
unsafe fn multiply<const KIND: usize>(
    weights: &Unpacked,
    x: &Activations,
    (first, end): (usize, usize),
    super_block: usize,
    dots: &mut [Dots; 2],
) {
    const { assert!(size_of::<Plane>() == 4096 && size_of::<Dots>() == 2048) };
    let bytes_of = |first: usize| {
        let (bytes, scales) = x.super_block(first, super_block);
        let rows = scales.len();
        assert!(bytes.len() >= (QUARTERS - 1) * rows + TILE);
        (bytes, rows)
    };
    let two = first + TILE < end;
    let of_one = bytes_of(first);
    let of_two = if two { bytes_of(first + TILE) } else { of_one };
    // SAFETY: the registers are configured; the compiler puts nothing into them.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            options(nomem, nostack, preserves_flags)
        )
    };
    for quarter in 0..QUARTERS {
        let [x0, x1] = [of_one, of_two].map(|(bytes, rows)| bytes[quarter * rows..].as_ptr());
        macro_rules! multiply {
            ($($instruction:expr),*) => {
                // SAFETY: tmm6 and tmm7 read a quarter of the planes of `weights`, tmm4 and tmm5 a whole tile's bytes of a
                // quarter, of which there are so many (asserted above) though they may be other rows'; nothing is written but
                // registers of tiles, into which the compiler puts nothing.
                unsafe {
                    asm!(
                        "tileloadd tmm6, [{weights} + {line}*1]",
                        "tileloadd tmm4, [{x0} + {line}*1]",
                        "tdpbssd tmm0, tmm4, tmm6",
                        $($instruction,)*
                        "/* {x1} */",
                        weights = in(reg) weights.planes.as_ptr().byte_add(1024 * quarter),
                        x0 = in(reg) x0,
                        x1 = in(reg) x1,
                        // Also of the high and low bytes of a row.
                        line = in(reg) 64usize,
                        options(nostack, preserves_flags, readonly),
                    )
                }
            };
        }
        match (two, const { has_high_plane(&Form::by_number(KIND)) }) {
            (true, true) => multiply!(
                "tileloadd tmm7, [{weights} + {line}*1 + 4096]",
                "tdpbssd tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{x1} + {line}*1]",
                "tdpbssd tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7"
            ),
            (true, false) => multiply!("tileloadd tmm5, [{x1} + {line}*1]", "tdpbssd tmm2, tmm5, tmm6"),
            (false, true) => multiply!(
                "tileloadd tmm7, [{weights} + {line}*1 + 4096]",
                "tdpbssd tmm1, tmm4, tmm7"
            ),
            (false, false) => multiply!(),
        }
    }
    // SAFETY: what is written are at most the sixteen rows of 64 bytes of `dots` of each tile and plane.
    unsafe {
        asm!(
            "tilestored [{dots} + {line}*1], tmm0",
            "tilestored [{dots} + {line}*1 + 1024], tmm1",
            "tilestored [{dots} + {line}*1 + 2048], tmm2",
            "tilestored [{dots} + {line}*1 + 3072], tmm3",
            dots = in(reg) dots.as_mut_ptr(),
            line = in(reg) 64usize,
            options(nostack, preserves_flags),
        )
    };
}
