//! The tokens of one forward pass: where they stand and whom they see.

use std::sync::OnceLock;

use candle_core::{Result, Tensor};

use super::kernel::Seen;
use super::rope::Rope;

/// Tokens that go through a block together.
#[derive(Clone, Debug)]
pub struct Chunk {
    positions: Vec<u32>,
    /// (tokens, head_dim / 2)
    cos: Tensor,
    sin: Tensor,
    /// Whether a row's token sees a column's, (tokens, tokens); absent where each sees itself and
    /// those before it.
    table: Option<Vec<bool>>,
    /// What [`Chunk::mask`] made of it.
    mask: OnceLock<Tensor>,
}

impl Chunk {
    /// Each token sees itself and those before it in the list.
    pub(super) fn causal(positions: &[u32], rope: &Rope) -> Result<Self> {
        let (cos, sin) = rope.tables(positions)?;
        Ok(Chunk {
            positions: positions.to_vec(),
            cos,
            sin,
            table: None,
            mask: OnceLock::new(),
        })
    }

    /// `visible(i, j)`: whether token i sees token j.
    pub(super) fn with_visibility(
        positions: &[u32],
        visible: impl Fn(usize, usize) -> bool,
        rope: &Rope,
    ) -> Result<Self> {
        let tokens = positions.len();
        let pairs = (0..tokens).flat_map(|i| (0..tokens).map(move |j| (i, j)));
        Ok(Chunk {
            table: Some(pairs.map(|(i, j)| visible(i, j)).collect()),
            ..Chunk::causal(positions, rope)?
        })
    }

    /// Whom the tokens see beside the earlier entries of a pass.
    pub(super) fn seen(&self) -> Seen<'_> {
        self.table.as_deref().map_or(Seen::Causal, Seen::Table)
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
    /// (tokens, past + tokens), 0 where a token sees and −∞ elsewhere. None for one token.
    pub(super) fn mask(&self, past: usize) -> Result<Option<Tensor>> {
        let tokens = self.positions.len();
        if tokens == 1 {
            return Ok(None);
        }
        let mask = match self.mask.get() {
            Some(mask) => mask.clone(),
            None => {
                let sees = |i: usize, j: usize| self.table.as_ref().map_or(j <= i, |t| t[i * tokens + j]);
                let entry = |i, j| if sees(i, j) { 0.0 } else { f32::NEG_INFINITY };
                let entries = (0..tokens).flat_map(|i| (0..tokens).map(move |j| entry(i, j)));
                let mask = Tensor::from_vec(entries.collect::<Vec<f32>>(), (tokens, tokens), self.cos.device())?;
                let mask = mask.to_dtype(self.cos.dtype())?;
                self.mask.get_or_init(|| mask).clone()
            }
        };
        if past == 0 {
            return Ok(Some(mask));
        }
        let seen = Tensor::zeros((tokens, past), mask.dtype(), mask.device())?;
        Ok(Some(Tensor::cat(&[&seen, &mask], 1)?))
    }

    /// The chunk of some of its tokens, given by ascending row.
    pub fn select(&self, rows: &[u32]) -> Result<Chunk> {
        let index = Tensor::new(rows, self.cos.device())?;
        let tokens = self.positions.len();
        let pick = |table: &Vec<bool>| {
            let pairs = rows
                .iter()
                .flat_map(|&i| rows.iter().map(move |&j| (i as usize, j as usize)));
            pairs.map(|(i, j)| table[i * tokens + j]).collect()
        };
        Ok(Chunk {
            positions: rows.iter().map(|&r| self.positions[r as usize]).collect(),
            cos: self.cos.index_select(&index, 0)?,
            sin: self.sin.index_select(&index, 0)?,
            table: self.table.as_ref().map(pick),
            mask: OnceLock::new(),
        })
    }
}
