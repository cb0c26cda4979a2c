//! Sixteen f32 side by side, in the instruction set at hand.
//!
//! Kernels are written once, generic over [`Vector`] and inlined into functions that are compiled
//! for an instruction set; [`Kernel`](super::Kernel) chooses at run time.

use half::f16;

use super::LANES;

/// Sixteen floats. One is made only by who holds a witness that the processor has the instruction set, so that what is done
/// with it is safe.
pub(super) trait Vector: Copy {
    /// That the processor has the instruction set.
    type Isa: Copy;
    fn splat(isa: Self::Isa, x: f32) -> Self;
    fn load(isa: Self::Isa, from: &[f32; LANES]) -> Self;
    fn load_halves(isa: Self::Isa, from: &[f16; LANES]) -> Self;
    fn load_bytes(isa: Self::Isa, from: &[i8; LANES]) -> Self;
    /// Of little-endian bytes: bfloats where `BF16`, else halves.
    fn load_16_bits<const BF16: bool>(isa: Self::Isa, from: &[[u8; 2]; LANES]) -> Self;
    fn store(self, to: &mut [f32; LANES]);
    /// self · by + plus
    fn mul_add(self, by: Self, plus: Self) -> Self;
    fn abs(self) -> Self;
    fn max(self, other: Self) -> Self;
    /// The greatest of the sixteen.
    fn greatest(self) -> f32;
    /// The sum of the sixteen.
    fn sum(self) -> f32;
}

/// Plain Rust; `FUSED`: whether the instruction set multiplies and adds at once.
#[derive(Clone, Copy)]
pub(super) struct Lanes<const FUSED: bool>([f32; LANES]);

impl<const FUSED: bool> Vector for Lanes<FUSED> {
    /// Plain Rust runs everywhere.
    type Isa = ();

    #[inline(always)]
    fn splat((): (), x: f32) -> Self {
        Lanes([x; LANES])
    }

    #[inline(always)]
    fn load((): (), from: &[f32; LANES]) -> Self {
        Lanes(*from)
    }

    #[inline(always)]
    fn load_halves((): (), from: &[f16; LANES]) -> Self {
        Lanes(from.map(float))
    }

    #[inline(always)]
    fn load_bytes((): (), from: &[i8; LANES]) -> Self {
        Lanes(from.map(f32::from))
    }

    #[inline(always)]
    fn load_16_bits<const BF16: bool>((): (), from: &[[u8; 2]; LANES]) -> Self {
        Lanes(from.map(|bytes| {
            if BF16 {
                f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
            } else {
                float(f16::from_le_bytes(bytes))
            }
        }))
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = self.0;
    }

    #[inline(always)]
    fn mul_add(self, by: Self, plus: Self) -> Self {
        let mut out = plus.0;
        for (out, (a, b)) in out.iter_mut().zip(self.0.iter().zip(&by.0)) {
            *out = if FUSED { a.mul_add(*b, *out) } else { a * b + *out };
        }
        Lanes(out)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Lanes(self.0.map(f32::abs))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Lanes(std::array::from_fn(|lane| pick(self.0[lane], other.0[lane])))
    }

    #[inline(always)]
    fn greatest(self) -> f32 {
        across(self.0, pick)
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        across(self.0, |a, b| a + b)
    }
}

/// The greater one, as one instruction has it.
#[inline(always)]
pub(super) fn pick(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// All lanes joined, halves with halves: of sixteen four steps, each after the other, instead of fifteen. Their number
/// is a power of two.
#[inline(always)]
pub fn across<const N: usize>(mut lanes: [f32; N], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = join(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx512, Zmm};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{LANES, Vector, f16};

    /// A witness that the processor has AVX-512 F.
    #[derive(Clone, Copy)]
    pub struct Avx512(());

    impl Avx512 {
        /// # Safety
        /// The processor must have AVX-512 F.
        #[inline(always)]
        pub const unsafe fn new() -> Self {
            Avx512(())
        }
    }

    /// An AVX-512 register. Functions compiled for AVX-512 F keep it in one.
    #[derive(Clone, Copy)]
    pub struct Zmm(__m512);

    impl Vector for Zmm {
        type Isa = Avx512;

        #[inline(always)]
        fn splat(_: Avx512, x: f32) -> Self {
            // SAFETY: the witness says that the processor has AVX-512 F; whoever has a `Zmm` had one.
            Zmm(unsafe { _mm512_set1_ps(x) })
        }

        #[inline(always)]
        fn load(_: Avx512, from: &[f32; LANES]) -> Self {
            // SAFETY: as above; an unaligned load of the sixteen floats.
            Zmm(unsafe { _mm512_loadu_ps(from.as_ptr()) })
        }

        #[inline(always)]
        fn load_halves(_: Avx512, from: &[f16; LANES]) -> Self {
            // SAFETY: as above; an unaligned load of the sixteen halves.
            Zmm(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) })
        }

        #[inline(always)]
        fn load_bytes(_: Avx512, from: &[i8; LANES]) -> Self {
            // SAFETY: as above; an unaligned load of the sixteen bytes.
            Zmm(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) })
        }

        #[inline(always)]
        fn load_16_bits<const BF16: bool>(_: Avx512, from: &[[u8; 2]; LANES]) -> Self {
            // SAFETY: as above; an unaligned load of the sixteen pairs of bytes.
            unsafe {
                let bits = _mm256_loadu_si256(from.as_ptr().cast());
                Zmm(if BF16 {
                    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
                } else {
                    _mm512_cvtph_ps(bits)
                })
            }
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; LANES]) {
            // SAFETY: as above; an unaligned store of the sixteen floats.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
        }

        #[inline(always)]
        fn mul_add(self, by: Self, plus: Self) -> Self {
            // SAFETY: as above.
            Zmm(unsafe { _mm512_fmadd_ps(self.0, by.0, plus.0) })
        }

        #[inline(always)]
        fn abs(self) -> Self {
            // SAFETY: as above.
            Zmm(unsafe { _mm512_abs_ps(self.0) })
        }

        #[inline(always)]
        fn max(self, other: Self) -> Self {
            // SAFETY: as above.
            Zmm(unsafe { _mm512_max_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn greatest(self) -> f32 {
            // SAFETY: as above.
            unsafe { _mm512_reduce_max_ps(self.0) }
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            // SAFETY: as above.
            unsafe { _mm512_reduce_add_ps(self.0) }
        }
    }
}

/// A finite half as a float, without branches: its exponent's bias is 112 less.
#[inline(always)]
pub(super) fn float(half: f16) -> f32 {
    let bits = u32::from(half.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

/// eˣ, within 2 units in the last place for x in −87..88; 0 below, so that masked scores vanish.
///
/// Cephes' `expf`: x = n·ln 2 + r with ln 2 in two parts, a polynomial of r, then 2ⁿ by its bits.
/// Written without branches, so that loops over it become vector code.
#[inline(always)]
pub(super) fn exp<const FUSED: bool>(x: f32) -> f32 {
    let fma = |a: f32, b: f32, c: f32| if FUSED { a.mul_add(b, c) } else { a * b + c };
    let clamped = if x > 88.0 { 88.0 } else { x };
    let clamped = if clamped < -87.0 { -87.0 } else { clamped };
    // Adding 1.5·2²³ leaves the rounded integer in the low bits of the sum.
    const MAGIC: f32 = 12_582_912.0;
    let shifted = fma(clamped, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    // ln 2 = 0.693359375 − 2.12194440e-4
    let r = fma(n, 2.121_944_4e-4, fma(n, -0.693_359_4, clamped));
    let mut p = 1.987_569_1e-4;
    p = fma(p, r, 1.398_199_9e-3);
    p = fma(p, r, 8.333_452e-3);
    p = fma(p, r, 4.166_579_6e-2);
    p = fma(p, r, 1.666_666_5e-1);
    p = fma(p, r, 0.5);
    let power = fma(p, r * r, r) + 1.0;
    let scale = f32::from_bits(shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127) << 23);
    let value = power * scale;
    if x < -87.0 { 0.0 } else { value }
}
