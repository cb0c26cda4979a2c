//! GGUF's 32-column block types, repacked for the kernels.

use candle_core::quantized::GgmlDType;
use half::f16;

use super::arena::{Arena, Line, Lines};
use super::{BLOCK, LANES};

/// Bits of a packed quant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    Four,
    Eight,
}

impl Bits {
    /// Bytes of the quants of one block of a group (16 rows × 32 columns).
    pub const fn quant_bytes(self) -> usize {
        match self {
            Bits::Four => LANES * BLOCK / 2,
            Bits::Eight => LANES * BLOCK,
        }
    }

    /// Lines of one block of a group: scales and offsets, then the quants.
    const fn unit_lines(self) -> usize {
        1 + self.quant_bytes() / 64
    }
}

/// A weight matrix in packed form.
pub struct PackedMatrix {
    rows: usize,
    cols: usize,
    bits: Bits,
    /// For each group and block: 16 scales (f16), 16 offsets (f16), the quants. Eight quants of a
    /// block: for every 4 columns 16 rows × 4 bytes. Four-bit quants: the low halves of a byte are
    /// columns 0..16, the high halves columns 16..32.
    lines: Lines,
}

/// One block of one row: w = scale · q + offset.
struct RowBlock {
    scale: f16,
    offset: f16,
    /// Eight-bit quants one a byte; four-bit quants of columns i and 16 + i in byte i.
    bytes: [u8; BLOCK],
}

impl PackedMatrix {
    /// Packs the raw bytes of a GGUF tensor (rows, cols) into memory of `arena`. `None` for types that
    /// are not made of 32-column blocks.
    pub fn new(bytes: &[u8], dtype: GgmlDType, rows: usize, cols: usize, arena: &Arena) -> Option<Self> {
        let bits = match dtype {
            GgmlDType::Q4_0 | GgmlDType::Q4_1 => Bits::Four,
            GgmlDType::Q5_0 | GgmlDType::Q5_1 | GgmlDType::Q8_0 => Bits::Eight,
            _ => return None,
        };
        let size = dtype.type_size();
        if rows == 0 || cols == 0 || !cols.is_multiple_of(BLOCK) || bytes.len() != rows * cols / BLOCK * size {
            return None;
        }
        let blocks = cols / BLOCK;
        let unit = bits.unit_lines();
        let mut lines = arena.lines(rows.div_ceil(LANES) * blocks * unit);
        for (row, row_bytes) in bytes.chunks_exact(blocks * size).enumerate() {
            for (block, raw) in row_bytes.chunks_exact(size).enumerate() {
                let at = ((row / LANES) * blocks + block) * unit;
                store(&mut lines[at..at + unit], row % LANES, &decode(raw, dtype));
            }
        }
        Some(PackedMatrix {
            rows,
            cols,
            bits,
            lines,
        })
    }

    /// Packs f32 values (rows, cols) in eight bits, each within 1/254 of the greatest of its 32 in
    /// the row. `None` where `cols` is no multiple of 32.
    pub fn from_floats(values: &[f32], rows: usize, cols: usize, arena: &Arena) -> Option<Self> {
        if rows == 0 || cols == 0 || !cols.is_multiple_of(BLOCK) || values.len() != rows * cols {
            return None;
        }
        let blocks = values.as_chunks::<BLOCK>().0.iter();
        let bytes: Vec<u8> = blocks.flat_map(q8_0).collect();
        PackedMatrix::new(&bytes, GgmlDType::Q8_0, rows, cols, arena)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Adds the weights of a row, (cols), to `out`: exactly those of the GGUF tensor.
    ///
    /// # Panics
    /// Past the last row.
    pub fn extend_with_row(&self, row: usize, out: &mut Vec<f32>) {
        assert!(row < self.rows, "there is no row {row}");
        let lane = row % LANES;
        for unit in self.group_bytes(row / LANES).chunks_exact(64 * self.bits.unit_lines()) {
            let (head, quants) = unit.split_at(64);
            let half = |at: usize| f16::from_le_bytes([head[at], head[at + 1]]).to_f32();
            let (scale, offset) = (half(2 * lane), half(32 + 2 * lane));
            let byte = |column: usize| quants[column / 4 * 64 + lane * 4 + column % 4];
            out.extend((0..BLOCK).map(|column| {
                let quant = match self.bits {
                    Bits::Four => byte(column % 16) >> (4 * (column / 16)) & 0x0f,
                    Bits::Eight => byte(column),
                };
                scale * f32::from(quant) + offset
            }));
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.lines.len() * 64
    }

    /// Groups of 16 rows.
    pub fn groups(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    pub(super) fn bits(&self) -> Bits {
        self.bits
    }

    /// The bytes of a group: its blocks one after the other, each 64 bytes of scales and offsets
    /// and then the quants; aligned to 64.
    #[inline(always)]
    pub(super) fn group_bytes(&self, group: usize) -> &[u8] {
        let lines = self.cols / BLOCK * self.bits.unit_lines();
        let lines = &self.lines[group * lines..(group + 1) * lines];
        // SAFETY: `Line` is 64 plain bytes without padding, so the slice is that many initialised
        // bytes, borrowed for as long as `lines` is.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 64) }
    }
}

/// A block of GGUF's Q8_0: a scale and 32 signed bytes.
fn q8_0(values: &[f32; BLOCK]) -> [u8; 2 + BLOCK] {
    let greatest = values.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    let mut scale = f16::from_f32(greatest / 127.0);
    if scale.to_f32() * 127.0 < greatest {
        // Rounded down, which for very small ones is by much: the next one holds the greatest.
        scale = f16::from_bits(scale.to_bits() + 1);
    }
    let inverse = match scale.to_f32() {
        s if s > 0.0 => 1.0 / s,
        _ => 0.0,
    };
    let mut raw = [0; 2 + BLOCK];
    raw[..2].copy_from_slice(&scale.to_le_bytes());
    for (raw, value) in raw[2..].iter_mut().zip(values) {
        // At most 127, but for values beyond 16 bits, which saturate.
        *raw = (value * inverse).round() as i8 as u8;
    }
    raw
}

/// Writes one row's block into its group's lines.
#[inline(always)]
fn store(lines: &mut [Line], lane: usize, block: &RowBlock) {
    let (head, quads) = lines.split_first_mut().expect("a block has a line of scales");
    head.0[2 * lane..2 * lane + 2].copy_from_slice(&block.scale.to_le_bytes());
    head.0[32 + 2 * lane..34 + 2 * lane].copy_from_slice(&block.offset.to_le_bytes());
    for (line, quad) in quads.iter_mut().zip(block.bytes.as_chunks::<4>().0) {
        line.0[lane * 4..lane * 4 + 4].copy_from_slice(quad);
    }
}

/// Unpacks one GGUF block, as ggml's `dequantize_row_*` define them.
#[inline(always)]
fn decode(raw: &[u8], dtype: GgmlDType) -> RowBlock {
    let half = |at: usize| f16::from_le_bytes([raw[at], raw[at + 1]]);
    let times = |x: f16, by: f32| f16::from_f32(x.to_f32() * by);
    // As the file has them, the low halves are columns 0..16 and the high ones 16..32.
    let as_stored = |from: usize| -> [u8; BLOCK] { std::array::from_fn(|i| if i < 16 { raw[from + i] } else { 0 }) };
    let with_fifth = |from: usize, bits: usize| -> [u8; BLOCK] {
        let fifth = u32::from_le_bytes([raw[bits], raw[bits + 1], raw[bits + 2], raw[bits + 3]]);
        let low = |i: usize| (raw[from + i % 16] >> (4 * (i / 16))) & 0x0f;
        std::array::from_fn(|i| low(i) | ((((fifth >> i) & 1) as u8) << 4))
    };
    let scale = half(0);
    let (offset, bytes) = match dtype {
        GgmlDType::Q4_0 => (times(scale, -8.0), as_stored(2)),
        GgmlDType::Q4_1 => (half(2), as_stored(4)),
        GgmlDType::Q5_0 => (times(scale, -16.0), with_fifth(6, 2)),
        GgmlDType::Q5_1 => (half(2), with_fifth(8, 4)),
        GgmlDType::Q8_0 => (
            times(scale, -128.0),
            std::array::from_fn(|i| raw[2 + i].wrapping_add(128)),
        ),
        _ => unreachable!("PackedMatrix::new admits 32-column types only"),
    };
    RowBlock { scale, offset, bytes }
}
