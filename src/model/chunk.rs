//! The tokens of one forward pass: where they stand and whom they see.

use candle_core::{DType, Device, Result, Tensor};

use super::rope::Rope;

/// Tokens that go through a block together.
#[derive(Clone, Debug)]
pub struct Chunk {
    positions: Vec<u32>,
    /// (tokens, head_dim / 2)
    cos: Tensor,
    sin: Tensor,
    /// 0 where the row's token sees the column's, −∞ elsewhere: (tokens, tokens). Absent for one
    /// token, which sees itself.
    mask: Option<Tensor>,
}

impl Chunk {
    /// `visible(i, j)`: whether token i sees token j.
    pub(super) fn new(
        positions: &[u32],
        visible: impl Fn(usize, usize) -> bool,
        rope: &Rope,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let tokens = positions.len();
        let (cos, sin) = rope.tables(positions)?;
        let mask = if tokens > 1 {
            let entry = |i: usize, j: usize| if visible(i, j) { 0.0 } else { f32::NEG_INFINITY };
            let entries = (0..tokens).flat_map(|i| (0..tokens).map(move |j| (i, j)));
            let entries: Vec<f32> = entries.map(|(i, j)| entry(i, j)).collect();
            Some(Tensor::from_vec(entries, (tokens, tokens), device)?.to_dtype(dtype)?)
        } else {
            None
        };
        Ok(Chunk {
            positions: positions.to_vec(),
            cos,
            sin,
            mask,
        })
    }

    /// Absolute positions of the tokens.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// (tokens, head_dim / 2)
    pub fn cos(&self) -> &Tensor {
        &self.cos
    }

    /// (tokens, head_dim / 2)
    pub fn sin(&self) -> &Tensor {
        &self.sin
    }

    /// The additive mask over `past` earlier entries, which all see, and the chunk's own:
    /// (tokens, past + tokens).
    pub(super) fn mask(&self, past: usize) -> Result<Option<Tensor>> {
        match &self.mask {
            Some(mask) if past > 0 => {
                let seen = Tensor::zeros((self.positions.len(), past), mask.dtype(), mask.device())?;
                Ok(Some(Tensor::cat(&[&seen, mask], 1)?))
            }
            mask => Ok(mask.clone()),
        }
    }

    /// The chunk of some of its tokens, given by ascending row.
    pub fn select(&self, rows: &[u32]) -> Result<Chunk> {
        let index = Tensor::new(rows, self.cos.device())?;
        let pick = |t: &Tensor| t.index_select(&index, 0);
        let mask = match &self.mask {
            Some(mask) if rows.len() > 1 => Some(mask.index_select(&index, 0)?.index_select(&index, 1)?),
            _ => None,
        };
        Ok(Chunk {
            positions: rows.iter().map(|&r| self.positions[r as usize]).collect(),
            cos: pick(&self.cos)?,
            sin: pick(&self.sin)?,
            mask,
        })
    }
}
