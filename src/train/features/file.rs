//! Feature files: how they are laid out, and reading them.
//!
//! In order, little-endian: the key as JSON, padded to [`HEADER`] bytes; for each example the number
//! of its windows and a checksum (0, 0 while it is not computed); the moments that the values were
//! scaled by, means then deviations, each f32 (layers, W, hidden_size), and their checksum; the
//! values, f16 (layers, examples, W, hidden_size).
//!
//! Layers come first because routers of different layers train apart: one layer's windows are one
//! piece of the file, 2·W·d bytes an example, and no more of it need be in memory.
//!
//! A few hidden units stand at values of 10⁴ and differ between questions by less than f16 resolves
//! there. So each unit of each window is kept as (x − mean)/deviation, and f16 resolves 1/2048 of
//! what it varies by.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};
use half::f16;
use half::slice::HalfFloatSliceExt;
use sha2::{Digest, Sha256};

use super::FeatureKey;
use super::scaling::{Moments, Scaling, Sums};
use crate::train::math::scale_and_shift;
use crate::train::network::WindowBatch;

pub(super) const MAGIC: &[u8; 8] = b"DRLLMFEA";
/// Bytes of magic and key.
pub(super) const HEADER: usize = 4096;
/// Bytes of an example's entry: windows (u32), 0 (u32), checksum (u64).
pub(super) const ENTRY: usize = 16;
/// Examples decoded at once where nobody says how many.
const CHUNK: usize = 64;

/// The windows of every example at every layer.
pub struct FeatureFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) key: FeatureKey,
    /// Windows of each example, n ≤ W: fewer where the prompt has fewer tokens. Only as many as are
    /// computed.
    pub(super) counts: Vec<u32>,
    /// (layers, W, hidden_size)
    pub(super) stored: Moments,
}

/// Where the parts of a file begin.
pub(super) struct Layout<'a>(pub &'a FeatureKey);

impl Layout<'_> {
    /// Values of one example at one layer.
    pub fn row(&self) -> usize {
        self.0.windows * self.0.hidden_size
    }

    pub fn entry(&self, example: usize) -> u64 {
        (HEADER + example * ENTRY) as u64
    }

    pub fn moments(&self) -> u64 {
        self.entry(self.0.examples)
    }

    /// Bytes of the moments, without their checksum.
    pub fn moments_length(&self) -> usize {
        2 * 4 * self.0.layers * self.row()
    }

    pub fn values(&self, layer: usize, example: usize) -> u64 {
        let before = (layer * self.0.examples + example) * self.row() * 2;
        self.moments() + (self.moments_length() + 8 + before) as u64
    }

    pub fn end(&self) -> u64 {
        self.values(self.0.layers, 0)
    }
}

/// The first 64 bits of a sha256, and never 0, which stands for nothing.
pub(super) fn checksum(hash: Sha256) -> u64 {
    let bytes: [u8; 8] = hash.finalize()[..8].try_into().expect("a sha256 has 32 bytes");
    u64::from_le_bytes(bytes).max(1)
}

impl FeatureFile {
    /// What the features depend on.
    pub fn key(&self) -> &FeatureKey {
        &self.key
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        Layout(&self.key).end()
    }

    /// Where it was opened.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Reads the windows of one layer.
    pub fn layer(&self, layer: usize) -> Result<LayerFeatures<'_>> {
        let layout = Layout(&self.key);
        let mut values = Vec::with_capacity(self.key.examples * layout.row());
        let mut buffer = vec![0u8; (1 << 20).min(2 * values.capacity())];
        let mut at = layout.values(layer, 0);
        while values.len() < self.key.examples * layout.row() {
            let left = 2 * (self.key.examples * layout.row() - values.len());
            let piece = buffer.len().min(left);
            read_at(&self.file, &mut buffer[..piece], at)
                .with_context(|| format!("cannot read the features {}", self.path.display()))?;
            values.extend(
                buffer[..piece]
                    .chunks_exact(2)
                    .map(|b| f16::from_le_bytes([b[0], b[1]])),
            );
            at += piece as u64;
        }
        let row = layout.row();
        Ok(LayerFeatures {
            values,
            counts: &self.counts,
            row,
            size: self.key.hidden_size,
            stored: (
                &self.stored.mean[layer * row..(layer + 1) * row],
                &self.stored.deviation[layer * row..(layer + 1) * row],
            ),
        })
    }

    /// The bytes of an example's windows at a layer.
    pub(super) fn raw(&self, layer: usize, example: usize, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 2 * count * self.key.hidden_size];
        read_at(&self.file, &mut bytes, Layout(&self.key).values(layer, example))?;
        Ok(bytes)
    }
}

/// The windows that enter one layer.
pub struct LayerFeatures<'a> {
    /// (examples, W, hidden_size)
    values: Vec<f16>,
    counts: &'a [u32],
    /// W·hidden_size
    row: usize,
    size: usize,
    /// (W, hidden_size)
    stored: (&'a [f32], &'a [f32]),
}

impl LayerFeatures<'_> {
    /// Mean and deviation of each hidden unit over all windows of some examples.
    pub fn moments(&self, of: &[usize]) -> Moments {
        let mut sums = Sums::new(self.size);
        let as_they_are = self.scaling(&Moments::identity(self.size));
        let mut batch = WindowBatch::default();
        for examples in of.chunks(CHUNK) {
            self.gather(examples, &as_they_are, &mut batch);
            batch.windows.chunks_exact(self.size).for_each(|x| sums.add(0, x));
        }
        sums.moments()
    }

    /// The scaling to (x − mean)/deviation.
    pub fn scaling(&self, moments: &Moments) -> Scaling {
        Scaling::new(self.stored, moments)
    }

    /// Fills a batch with the windows of some examples.
    pub fn gather(&self, examples: &[usize], scaling: &Scaling, batch: &mut WindowBatch) {
        batch.counts.clear();
        batch.counts.extend(examples.iter().map(|&e| self.counts[e] as usize));
        batch
            .windows
            .resize(batch.counts.iter().sum::<usize>() * self.size, 0.0);
        let mut rest = &mut batch.windows[..];
        for (&example, &count) in examples.iter().zip(&batch.counts) {
            let of_example;
            (of_example, rest) = rest.split_at_mut(count * self.size);
            let start = example * self.row;
            self.values[start..start + of_example.len()].convert_to_f32_slice(of_example);
            scale_and_shift(of_example, &scaling.scale, &scaling.shift);
        }
    }
}

/// Fills `bytes` from a place in the file.
pub(super) fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, bytes, at);
    #[cfg(windows)]
    {
        let mut done = 0;
        while done < bytes.len() {
            match std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], at + done as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(())
    }
}

/// Writes `bytes` to a place in the file.
pub(super) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, at);
    #[cfg(windows)]
    {
        let mut done = 0;
        while done < bytes.len() {
            done += std::os::windows::fs::FileExt::seek_write(file, &bytes[done..], at + done as u64)?;
        }
        Ok(())
    }
}
