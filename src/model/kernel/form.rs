//! What packed weights look like, for every type of GGUF file.
//!
//! Most types are made of quants of a few bits for blocks of 32 columns, which have a scale each, or for super-blocks of
//! 256, whose runs of 16 or 32 columns have scales and minima of a few bits. All are kept as the file has them, so that
//! w = scale · quant + offset is exact; only where the bits stand is changed.

use candle_core::quantized::GgmlDType;
use half::f16;

use super::{BLOCK, LANES};

/// The type of packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum PackedType {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    /// Blocks as of Q4_0 whose four bits choose one of sixteen values.
    Iq4Nl,
    /// Floats of 16 bits, row by row.
    F16,
    BF16,
}

/// Quants and scales of a kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Bytes of a block, or super-block, of a row in the file.
    pub stored: usize,
    /// Low bits of a quant: 2, 4 or 8.
    pub base: usize,
    /// Further bits of a quant.
    pub planes: usize,
    /// Whether quants are places in [`IQ4_NL_VALUES`].
    pub table: bool,
    /// The quant of zero, where weights have no offsets of their own.
    pub centre: Option<u8>,
    pub scales: Scales,
    /// Runs of columns with a scale each in a block of 32.
    pub runs: usize,
}

/// Where the scales of 16 rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scales {
    /// A half for each row of a block; as many offsets behind them where quants have no centre.
    Halves,
    /// Super-blocks: a half for each row (and another for the minima), then for each run a byte for each row (and another).
    Bytes,
    /// The same with a scale and a minimum in the low and high half of one byte.
    Nibbles,
}

/// Bytes before the quants of a super-block, or block, that hold one thing of all 16 rows in halves.
pub(super) const HALVES: usize = 2 * LANES;

/// What four bits of IQ4_NL stand for, with 128 added.
pub(super) const IQ4_NL_VALUES: [u8; 16] = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

const FORMS: [Form; 11] = {
    const fn of(stored: usize, base: usize, planes: usize, centre: Option<u8>, scales: Scales, runs: usize) -> Form {
        Form {
            stored,
            base,
            planes,
            table: false,
            centre,
            scales,
            runs,
        }
    }
    use Scales::{Bytes, Halves, Nibbles};
    [
        of(18, 4, 0, Some(8), Halves, 1),
        of(20, 4, 0, None, Halves, 1),
        of(22, 4, 1, Some(16), Halves, 1),
        of(24, 4, 1, None, Halves, 1),
        of(34, 8, 0, Some(128), Halves, 1),
        of(84, 2, 0, None, Nibbles, 2),
        of(110, 2, 1, Some(4), Bytes, 2),
        of(144, 4, 0, None, Bytes, 1),
        of(176, 4, 1, None, Bytes, 1),
        of(210, 4, 2, Some(32), Bytes, 2),
        Form {
            table: true,
            ..of(18, 4, 0, Some(128), Halves, 1)
        },
    ]
};

/// Bytes of 32 weights in IQ4_NL.
pub const IQ4_NL_BLOCK: usize = 18;

/// A block of IQ4_NL as one of Q8_0, to the same weights.
pub fn iq4_nl_as_q8_0(block: &[u8]) -> [u8; 2 + BLOCK] {
    let places = nibbles(&block[2..IQ4_NL_BLOCK]);
    std::array::from_fn(|at| match at {
        0 | 1 => block[at],
        _ => IQ4_NL_VALUES[usize::from(places[at - 2])] ^ 0x80,
    })
}

impl PackedType {
    /// That of a GGUF tensor's type, where it can be packed.
    pub fn of(dtype: GgmlDType) -> Option<PackedType> {
        Some(match dtype {
            GgmlDType::Q4_0 => PackedType::Q4_0,
            GgmlDType::Q4_1 => PackedType::Q4_1,
            GgmlDType::Q5_0 => PackedType::Q5_0,
            GgmlDType::Q5_1 => PackedType::Q5_1,
            GgmlDType::Q8_0 => PackedType::Q8_0,
            GgmlDType::Q2K => PackedType::Q2K,
            GgmlDType::Q3K => PackedType::Q3K,
            GgmlDType::Q4K => PackedType::Q4K,
            GgmlDType::Q5K => PackedType::Q5K,
            GgmlDType::Q6K => PackedType::Q6K,
            GgmlDType::F16 => PackedType::F16,
            GgmlDType::BF16 => PackedType::BF16,
            GgmlDType::F32 | GgmlDType::Q8_1 | GgmlDType::Q8K => return None,
        })
    }

    /// `None` for floats.
    pub(super) const fn form(self) -> Option<Form> {
        match self {
            PackedType::F16 | PackedType::BF16 => None,
            _ => Some(FORMS[self as usize]),
        }
    }

    /// Columns and bytes of what a row is made of in the file.
    pub(super) fn stored(self) -> (usize, usize) {
        match self.form() {
            Some(form) => (BLOCK * form.blocks(), form.stored),
            None => (BLOCK, 2 * BLOCK),
        }
    }
}

impl Form {
    /// That of a kind by its number, which must not be one of floats.
    pub const fn by_number(kind: usize) -> Form {
        FORMS[kind]
    }

    /// Blocks of 32 columns that share a head.
    pub const fn blocks(&self) -> usize {
        match self.scales {
            Scales::Halves => 1,
            Scales::Bytes | Scales::Nibbles => 8,
        }
    }

    /// Bytes of a head, the scales of a block or super-block of 16 rows.
    pub const fn head_bytes(&self) -> usize {
        let things = if self.centre.is_none() { 2 } else { 1 };
        let runs = self.blocks() * self.runs;
        things * HALVES
            + match self.scales {
                Scales::Halves => 0,
                Scales::Bytes => things * runs * LANES,
                Scales::Nibbles => runs * LANES,
            }
    }

    /// Bytes of the quants of a block of 16 rows.
    pub const fn quant_bytes(&self) -> usize {
        (self.base + self.planes) * LANES * BLOCK / 8
    }

    /// Bytes of a block or super-block of 16 rows.
    pub const fn unit_bytes(&self) -> usize {
        self.head_bytes() + self.blocks() * self.quant_bytes()
    }

    /// Scale and offset of a row in a run of a block, 0.. of those of the head: w = scale · quant + offset.
    #[inline(always)]
    pub fn scale_and_offset(&self, head: &[u8], run: usize, lane: usize) -> (f32, f32) {
        let half = |at: usize| f16::from_le_bytes([head[at + 2 * lane], head[at + 2 * lane + 1]]).to_f32();
        let scale = half(0);
        match (self.scales, self.centre) {
            (Scales::Halves, None) => (scale, half(HALVES)),
            (Scales::Halves, Some(centre)) => (scale, -f32::from(centre) * scale),
            (Scales::Bytes, None) => {
                let bytes = &head[2 * HALVES + 2 * run * LANES..];
                (
                    scale * f32::from(bytes[lane]),
                    -(half(HALVES) * f32::from(bytes[LANES + lane])),
                )
            }
            (Scales::Bytes, Some(centre)) => {
                let scale = scale * f32::from(head[HALVES + run * LANES + lane] as i8);
                (scale, -f32::from(centre) * scale)
            }
            (Scales::Nibbles, _) => {
                let byte = head[2 * HALVES + run * LANES + lane];
                (scale * f32::from(byte & 0x0f), -(half(HALVES) * f32::from(byte >> 4)))
            }
        }
    }

    /// The quant of a row and column in a block's bytes.
    ///
    /// Four columns of the 16 rows stand together, 64 bytes if they had 8 bits. Of four bits, columns 0..16 are the low
    /// and 16..32 the high halves of 4 · 64 bytes; of two, columns 0..4, 4..8, 8..12 and 12..16 share 64 bytes and the
    /// others 64 more. A plane has 64 bits for every four columns.
    #[inline(always)]
    pub fn quant(&self, bytes: &[u8], lane: usize, column: usize) -> u8 {
        let (four, place) = (column / 4, lane * 4 + column % 4);
        let mut quant = match self.base {
            8 => bytes[four * 64 + place],
            4 => bytes[four % 4 * 64 + place] >> (4 * (four / 4)) & 0x0f,
            _ => bytes[four / 4 * 64 + place] >> (2 * (four % 4)) & 3,
        };
        for plane in 0..self.planes {
            let bits = &bytes[self.base * 64 + plane * 64..];
            quant |= (bits[four * 8 + place / 8] >> (place % 8) & 1) << (self.base + plane);
        }
        if self.table {
            IQ4_NL_VALUES[usize::from(quant)]
        } else {
            quant
        }
    }

    /// Writes the quants of a row, or their places in the table, into a block's bytes, which are 0 there: the inverse of
    /// [`Self::quant`].
    #[inline(always)]
    pub fn store(&self, bytes: &mut [u8], lane: usize, quants: &[u8; BLOCK]) {
        let lines = bytes.as_chunks_mut::<64>().0;
        let (base, planes) = lines.split_at_mut(self.base);
        let mut put = |line: usize, four: [u8; 4]| base[line][4 * lane..4 * lane + 4].copy_from_slice(&four);
        let fours = quants.as_chunks::<4>().0;
        match self.base {
            8 => fours.iter().enumerate().for_each(|(line, four)| put(line, *four)),
            4 => {
                let joined: [u8; 16] = std::array::from_fn(|i| (quants[i] & 0x0f) | quants[16 + i] << 4);
                let fours = joined.as_chunks::<4>().0;
                fours.iter().enumerate().for_each(|(line, four)| put(line, *four));
            }
            _ => {
                for line in 0..2 {
                    let of = |j: usize, i: usize| (quants[16 * line + 4 * j + i] & 3) << (2 * j);
                    put(line, std::array::from_fn(|i| of(0, i) | of(1, i) | of(2, i) | of(3, i)));
                }
            }
        }
        for (plane, line) in planes.iter_mut().enumerate() {
            let shift = self.base + plane;
            for (eight, quants) in quants.as_chunks::<8>().0.iter().enumerate() {
                // The lowest bits of eight bytes come together in the highest byte of a product.
                let bits = u64::from_le_bytes(*quants) >> shift & 0x0101_0101_0101_0101;
                let bits = bits.wrapping_mul(0x0102_0408_1020_4080).to_be_bytes()[0];
                let (byte, shift) = (lane / 2, 4 * (lane % 2));
                line[16 * eight + byte] |= (bits & 0x0f) << shift;
                line[16 * eight + 8 + byte] |= (bits >> 4) << shift;
            }
        }
    }
}

/// The head of a row's block or super-block in the file.
pub(super) struct Head {
    pub halves: [[u8; 2]; 2],
    /// Scales and minima of the runs, as [`Scales`] has them.
    pub scales: [u8; 16],
    pub minima: [u8; 16],
}

/// Takes a block or super-block of the file apart, as ggml's `dequantize_row_*` define them.
#[inline(always)]
pub(super) fn decode(kind: PackedType, raw: &[u8], quants: &mut [[u8; BLOCK]]) -> Head {
    let half = |at: usize| [raw[at], raw[at + 1]];
    let mut head = Head {
        halves: [[0; 2]; 2],
        scales: [0; 16],
        minima: [0; 16],
    };
    match kind {
        PackedType::Q4_0 | PackedType::Iq4Nl => {
            head.halves[0] = half(0);
            quants[0] = nibbles(&raw[2..18]);
        }
        PackedType::Q4_1 => {
            head.halves = [half(0), half(2)];
            quants[0] = nibbles(&raw[4..20]);
        }
        PackedType::Q5_0 | PackedType::Q5_1 => {
            let at = if kind == PackedType::Q5_0 { 2 } else { 4 };
            head.halves = [half(0), if at == 4 { half(2) } else { [0; 2] }];
            quants[0] = nibbles(&raw[at + 4..at + 20]);
            let fifth = u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
            for (i, quant) in quants[0].iter_mut().enumerate() {
                *quant |= ((fifth >> i & 1) as u8) << 4;
            }
        }
        PackedType::Q8_0 => {
            head.halves[0] = half(0);
            quants[0] = std::array::from_fn(|i| raw[2 + i] ^ 0x80);
        }
        PackedType::Q2K => {
            head.halves = [half(80), half(82)];
            head.scales.copy_from_slice(&raw[..16]);
            two_bits(&raw[16..80], quants);
        }
        PackedType::Q3K => {
            head.halves[0] = half(108);
            let packed = &raw[96..108];
            head.scales = std::array::from_fn(|i| {
                let low = packed[i % 8] >> (4 * (i / 8)) & 0x0f;
                let high = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
                (low | high << 4).wrapping_sub(32)
            });
            two_bits(&raw[32..96], quants);
            high_bits(&raw[..32], 2, quants);
        }
        PackedType::Q4K | PackedType::Q5K => {
            head.halves = [half(0), half(2)];
            let packed = &raw[4..16];
            for i in 0..4 {
                head.scales[i] = packed[i] & 0x3f;
                head.minima[i] = packed[4 + i] & 0x3f;
                head.scales[4 + i] = packed[8 + i] & 0x0f | packed[i] >> 6 << 4;
                head.minima[4 + i] = packed[8 + i] >> 4 | packed[4 + i] >> 6 << 4;
            }
            let low = if kind == PackedType::Q4K {
                &raw[16..144]
            } else {
                &raw[48..176]
            };
            for (pair, low) in quants.as_chunks_mut::<2>().0.iter_mut().zip(low.as_chunks::<BLOCK>().0) {
                pair[0] = low.map(|byte| byte & 0x0f);
                pair[1] = low.map(|byte| byte >> 4);
            }
            if kind == PackedType::Q5K {
                high_bits(&raw[16..48], 4, quants);
            }
        }
        PackedType::Q6K => {
            head.halves[0] = half(208);
            head.scales.copy_from_slice(&raw[192..208]);
            for (part, quants) in quants.chunks_exact_mut(4).enumerate() {
                for i in 0..BLOCK {
                    let (low, other) = (raw[64 * part + i], raw[64 * part + 32 + i]);
                    let high = raw[128 + 32 * part + i];
                    quants[0][i] = low & 0x0f | (high & 3) << 4;
                    quants[1][i] = other & 0x0f | (high >> 2 & 3) << 4;
                    quants[2][i] = low >> 4 | (high >> 4 & 3) << 4;
                    quants[3][i] = other >> 4 | (high >> 6) << 4;
                }
            }
        }
        PackedType::F16 | PackedType::BF16 => unreachable!("floats have no blocks"),
    }
    head
}

/// Columns 0..16 in the low and 16..32 in the high halves of 16 bytes.
#[inline(always)]
fn nibbles(raw: &[u8]) -> [u8; BLOCK] {
    std::array::from_fn(|i| raw[i % 16] >> (4 * (i / 16)) & 0x0f)
}

/// Every 32 bytes hold two bits of four blocks.
#[inline(always)]
fn two_bits(raw: &[u8], quants: &mut [[u8; BLOCK]]) {
    for (raw, quants) in raw.as_chunks::<BLOCK>().0.iter().zip(quants.chunks_exact_mut(4)) {
        for (j, quants) in quants.iter_mut().enumerate() {
            *quants = raw.map(|byte| byte >> (2 * j) & 3);
        }
    }
}

/// Bit j of 32 bytes belongs to block j; it becomes bit `to` of the quants.
#[inline(always)]
fn high_bits(raw: &[u8], to: u32, quants: &mut [[u8; BLOCK]]) {
    for (j, quants) in quants.iter_mut().enumerate() {
        for (quant, byte) in quants.iter_mut().zip(raw) {
            *quant |= (byte >> j & 1) << to;
        }
    }
}
