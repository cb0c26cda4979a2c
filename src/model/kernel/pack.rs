//! Weight matrices, repacked for the kernels.

use std::sync::{Mutex, PoisonError};

use candle_core::quantized::GgmlDType;
use half::{bf16, f16};

use super::arena::{Arena, ArenaSlice, CacheLine};
use super::attention::fetch;
use super::form::{self, Form, HALVES, PackedType, Scales};
use serde::{Deserialize, Serialize};

use super::{Activations, BLOCK, LANES, pool};

/// To how many bits activations are rounded, beside a scale for each 32 of a row (256 before K-quants), before products with packed
/// weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum ActivationBits {
    /// Before weights in blocks of 32, not before K-quants: prompts 1.1 to 1.3 times as fast, further from f32
    #[value(name = "8")]
    #[serde(rename = "8")]
    Eight,
    /// Within rounding of f32
    #[default]
    #[value(name = "15")]
    #[serde(rename = "15")]
    Fifteen,
}

impl ActivationBits {
    /// Whether it is what the program takes unless told otherwise; for headers of files, which name what is not usual.
    pub fn is_usual(&self) -> bool {
        *self == ActivationBits::default()
    }
}

/// How many bytes ahead of where they are read weights are asked for: anything from 4 to 16 KiB does.
pub(super) const AHEAD: usize = 8192;

/// Asks for what comes [`AHEAD`] of some weights: what a processor fetches of its own accord may leave half of the memory's speed
/// unused. To be called a few lines at a time, as they are read.
#[inline(always)]
pub(super) fn fetch_ahead(weights: &[u8]) {
    let lines = (0..weights.len()).step_by(64);
    lines.for_each(|at| fetch(weights.as_ptr().wrapping_add(AHEAD + at)));
}

/// A weight matrix in packed form.
pub struct PackedMatrix {
    rows: usize,
    cols: usize,
    kind: PackedType,
    /// How activations are rounded before products with it.
    activations: ActivationBits,
    /// For each group of 16 rows its blocks or super-blocks in turn, each a head and the quants of its blocks, see
    /// [`Form`]: what a token reads must lie in one run, or it comes from memory at half the speed. Of floats the rows.
    lines: ArenaSlice,
}

impl PackedMatrix {
    /// Packs the raw bytes of a GGUF tensor (rows, cols) into memory of `arena`. `None` for types that the kernels do not
    /// know, and where `cols` is no multiple of 32, or of 256 for types of super-blocks.
    pub fn new(bytes: &[u8], dtype: GgmlDType, rows: usize, cols: usize, arena: &Arena) -> Option<Self> {
        PackedMatrix::of_type(bytes, PackedType::of(dtype)?, rows, cols, arena)
    }

    /// As [`Self::new`], of a type that candle may not know.
    pub fn of_type(bytes: &[u8], kind: PackedType, rows: usize, cols: usize, arena: &Arena) -> Option<Self> {
        let (columns, size) = kind.stored();
        if rows == 0 || cols == 0 || !cols.is_multiple_of(columns) || bytes.len() != rows * cols / columns * size {
            return None;
        }
        let of_row = cols / columns * size;
        let mut matrix = PackedMatrix {
            rows,
            cols,
            kind,
            activations: ActivationBits::Fifteen,
            lines: arena.lines(rows.div_ceil(LANES) * group_lines(kind, cols)),
        };
        let groups = matrix.lines.chunks_exact_mut(group_lines(kind, cols));
        let groups: Vec<_> = groups.zip(bytes.chunks(LANES * of_row)).map(Mutex::new).collect();
        // Not by rayon, whose threads would have to be woken for each matrix.
        pool::share(groups.len(), &|range| {
            for group in &groups[range] {
                let mut group = group.lock().unwrap_or_else(PoisonError::into_inner);
                let (lines, bytes) = &mut *group;
                pack_group(kind, bytes, of_row, plain_mut(lines));
            }
        });
        drop(groups);
        Some(matrix)
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

    /// Rounds the activations of products with it to eight bits from now on. False where it stays at more: floats of 16 bits take
    /// them as they are, and super-blocks would need too many of the bits for their greatest.
    pub fn round_activations(&mut self) -> bool {
        let in_blocks = self.kind.form().is_some_and(|form| form.blocks() == 1);
        if in_blocks {
            self.activations = ActivationBits::Eight;
        }
        in_blocks
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Whether the weights are floats, of 16 bits.
    pub fn is_floats(&self) -> bool {
        self.kind.form().is_none()
    }

    /// `x`, (rows, cols) row by row, as products with this matrix take it.
    pub fn activations(&self, x: impl Into<Vec<f32>>) -> Activations {
        match self.activations {
            ActivationBits::Eight => Activations::coarse(x, self.cols),
            ActivationBits::Fifteen => Activations::new(x, self.cols),
        }
    }

    /// Adds the weights of a row, (cols), to `out`: exactly those of the GGUF tensor.
    ///
    /// # Panics
    /// Past the last row.
    pub fn extend_with_row(&self, row: usize, out: &mut Vec<f32>) {
        assert!(row < self.rows, "there is no row {row}");
        let lane = row % LANES;
        let Some(form) = self.kind.form() else {
            let bytes = self.float_row(row).as_chunks::<2>().0.iter();
            match self.kind {
                PackedType::BF16 => out.extend(bytes.map(|b| bf16::from_le_bytes(*b).to_f32())),
                _ => out.extend(bytes.map(|b| f16::from_le_bytes(*b).to_f32())),
            }
            return;
        };
        for (head, quants) in self.units(&form, row / LANES) {
            for run in 0..form.blocks() * form.runs {
                let (scale, offset) = form.scale_and_offset(head, run, lane);
                let quants = &quants[run / form.runs * form.quant_bytes()..];
                let from = BLOCK / form.runs * (run % form.runs);
                let quants = (from..from + BLOCK / form.runs).map(|column| form.quant(quants, lane, column));
                match form.centre {
                    // The difference first, as ggml has it: one rounding instead of two.
                    Some(centre) => out.extend(quants.map(|q| scale * (f32::from(q) - f32::from(centre)))),
                    None => out.extend(quants.map(|q| scale * f32::from(q) + offset)),
                }
            }
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

    pub(super) fn kind(&self) -> PackedType {
        self.kind
    }

    /// The heads and quants of a group's blocks or super-blocks; `form` is that of the matrix.
    #[inline(always)]
    pub(super) fn units<'a>(&'a self, form: &Form, group: usize) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let head = form.head_bytes();
        let units = self.group_bytes(group).chunks_exact(form.unit_bytes());
        units.map(move |unit| unit.split_at(head))
    }

    /// The bytes of a row of floats.
    #[inline(always)]
    pub(super) fn float_row(&self, row: usize) -> &[u8] {
        let size = 2 * self.cols;
        &self.group_bytes(row / LANES)[row % LANES * size..(row % LANES + 1) * size]
    }

    #[inline(always)]
    fn group_bytes(&self, group: usize) -> &[u8] {
        let lines = group_lines(self.kind, self.cols);
        let lines = &self.lines[group * lines..(group + 1) * lines];
        // SAFETY: `Line` is 64 plain bytes without padding, so the slice is that many initialised
        // bytes, borrowed for as long as `lines` is.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 64) }
    }
}

/// Lines of a group of 16 rows.
#[inline(always)]
fn group_lines(kind: PackedType, cols: usize) -> usize {
    match kind.form() {
        Some(form) => {
            let units = cols / BLOCK / form.blocks();
            (units * form.unit_bytes()).div_ceil(64)
        }
        None => LANES * cols * 2 / 64,
    }
}

/// Lines as bytes.
fn plain_mut(lines: &mut [CacheLine]) -> &mut [u8] {
    // SAFETY: `Line` is 64 plain bytes without padding, any bytes are one, and the slice is borrowed mutably.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 64) }
}

/// Packs up to 16 rows of `of_row` bytes each into their group's bytes, which are 0.
fn pack_group(kind: PackedType, bytes: &[u8], of_row: usize, group: &mut [u8]) {
    macro_rules! by_kind {
        ($($kind:ident)*) => {
            match kind {
                $(PackedType::$kind => pack::<{ PackedType::$kind as usize }>(PackedType::$kind, bytes, of_row, group),)*
                PackedType::F16 | PackedType::BF16 => group[..bytes.len()].copy_from_slice(bytes),
            }
        };
    }
    by_kind!(Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2K Q3K Q4K Q5K Q6K Iq4Nl)
}

/// As [`pack_group`]; `KIND` is the number of `kind`.
fn pack<const KIND: usize>(kind: PackedType, bytes: &[u8], of_row: usize, group: &mut [u8]) {
    let form = const { Form::by_number(KIND) };
    let mut decoded = [[0; BLOCK]; 8];
    for (lane, row) in bytes.chunks_exact(of_row).enumerate() {
        let units = group.chunks_exact_mut(form.unit_bytes());
        for (raw, unit) in row.chunks_exact(form.stored).zip(units) {
            let (to, all_quants) = unit.split_at_mut(form.head_bytes());
            let head = form::decode(kind, raw, &mut decoded[..form.blocks()]);
            for (quants, to) in decoded.iter().zip(all_quants.chunks_exact_mut(form.quant_bytes())) {
                form.store(to, lane, quants);
            }
            store_head(&form, &head, lane, to);
        }
    }
}

/// Writes a row's part of a head.
#[inline(always)]
fn store_head(form: &Form, head: &form::Head, lane: usize, to: &mut [u8]) {
    let things = if form.centre.is_none() { 2 } else { 1 };
    for (to, half) in to.chunks_exact_mut(HALVES).zip(&head.halves).take(things) {
        to[2 * lane..2 * lane + 2].copy_from_slice(half);
    }
    let per_run = match form.scales {
        Scales::Halves => return,
        Scales::Bytes => things,
        Scales::Nibbles => 1,
    };
    let runs = to[things * HALVES..].chunks_exact_mut(per_run * LANES);
    for (run, to) in runs.enumerate() {
        to[lane] = head.scales[run];
        if per_run == 2 {
            to[LANES + lane] = head.minima[run];
        }
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
