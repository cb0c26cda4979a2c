//! The tokens of one forward pass: where they stand and whom they see.

use std::sync::{Arc, Mutex};

use candle_core::{Result, Tensor};

use super::kernel::AttentionMask;
use super::prefill::Tiles;
use super::rope::Rope;

/// Tokens that go through a block together.
#[derive(Clone, Debug)]
pub struct Chunk {
    positions: Vec<u32>,
    /// (tokens, head_dim / 2)
    cos: Tensor,
    sin: Tensor,
    /// The same of layers that see a window only, where their RoPE is another one.
    local: Option<(Tensor, Tensor)>,
    /// Whether a row's token sees a column's, (tokens, tokens); absent where each sees itself and
    /// those before it.
    table: Option<Vec<bool>>,
    /// The widest that [`Chunk::mask`] made of it.
    mask: Arc<Mutex<Option<Tensor>>>,
    /// Those of several sequences, in turn, which see nothing of each other; none where it is of one.
    parts: Vec<Chunk>,
    /// As [`Chunk::tiles`] made them last.
    tiles: Arc<Mutex<Option<Tiles>>>,
}

impl Chunk {
    /// Each token sees itself and those before it in the list.
    pub(super) fn causal(positions: &[u32], rope: &Rope) -> Result<Self> {
        let (cos, sin) = rope.tables(positions)?;
        Ok(Chunk {
            positions: positions.to_vec(),
            cos,
            sin,
            local: rope.local().map(|local| local.tables(positions)).transpose()?,
            table: None,
            mask: Arc::default(),
            parts: Vec::new(),
            tiles: Arc::default(),
        })
    }

    /// Chunks of several sequences as one: what each token is by itself is computed together, and attention looks at each
    /// sequence alone.
    pub(super) fn joined(chunks: &[&Chunk]) -> Result<Self> {
        let cat = |of: &dyn Fn(&Chunk) -> Option<Tensor>| -> Result<Option<Tensor>> {
            let tables: Option<Vec<Tensor>> = chunks.iter().map(|chunk| of(chunk)).collect();
            tables.map(|tables| Tensor::cat(&tables, 0)).transpose()
        };
        let table = |of: fn(&Chunk) -> &Tensor| cat(&|chunk| Some(of(chunk).clone()));
        let (Some(cos), Some(sin)) = (table(Chunk::cos)?, table(Chunk::sin)?) else {
            unreachable!("every chunk has both");
        };
        let local = |which: fn(&(Tensor, Tensor)) -> &Tensor| cat(&|chunk| chunk.local.as_ref().map(which).cloned());
        Ok(Chunk {
            positions: chunks.iter().flat_map(|chunk| &chunk.positions).copied().collect(),
            cos,
            sin,
            local: local(|both| &both.0)?.zip(local(|both| &both.1)?),
            table: None,
            mask: Arc::default(),
            parts: chunks.iter().flat_map(|chunk| chunk.parts()).cloned().collect(),
            tiles: Arc::default(),
        })
    }

    /// Those of its sequences, in turn: itself where it is of one.
    pub(super) fn parts(&self) -> &[Chunk] {
        match self.parts.is_empty() {
            true => std::slice::from_ref(self),
            false => &self.parts,
        }
    }

    /// Whether a row's token sees a column's; none where each sees itself and those before it.
    pub(super) fn table(&self) -> Option<&[bool]> {
        self.table.as_deref()
    }

    /// Its rows as a GPU's blocks take them, behind `past` earlier entries. Layers share them.
    pub(super) fn tiles(&self, past: usize, rows: usize) -> Result<Tiles> {
        let mut last = self.tiles.lock().expect("nothing panics while it holds the tiles");
        match &*last {
            Some(tiles) if tiles.are_for(past, rows) => Ok(tiles.clone()),
            _ => Ok(last.insert(Tiles::new(self, past, rows, self.cos.device())?).clone()),
        }
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
    pub(super) fn attention_mask(&self) -> AttentionMask<'_> {
        self.table
            .as_deref()
            .map_or(AttentionMask::Causal, AttentionMask::Custom)
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

    /// Cosines and sines, each (tokens, head_dim / 2): those of layers that see a window only, where `local` and they have
    /// their own.
    pub(super) fn tables(&self, local: bool) -> (&Tensor, &Tensor) {
        match &self.local {
            Some((cos, sin)) if local => (cos, sin),
            _ => (&self.cos, &self.sin),
        }
    }

    /// The additive mask over `past` earlier entries, which all see, and the chunk's own:
    /// (tokens, past + tokens), 0 where a token sees and −∞ elsewhere, in the type of the activations.
    /// None for one token. Layers share one: what all see stands first, so of a wider mask the last
    /// columns serve.
    pub(super) fn mask(&self, past: usize) -> Result<Option<Tensor>> {
        let entries = past + self.positions.len();
        if self.positions.len() == 1 {
            return Ok(None);
        }
        let mut widest = self.mask.lock().expect("nothing panics while it holds the mask");
        let mask = match &*widest {
            Some(mask) if mask.dims()[1] >= entries => mask.clone(),
            _ => widest.insert(self.new_mask(past)?).clone(),
        };
        Ok(Some(mask.narrow(1, mask.dims()[1] - entries, entries)?))
    }

    /// [`Self::mask`], made on the device: that of a long prompt takes longer to upload than to use.
    fn new_mask(&self, past: usize) -> Result<Tensor> {
        let (tokens, device, dtype) = (self.positions.len(), self.cos.device(), self.cos.dtype());
        let shape = (tokens, past + tokens);
        let hidden = match &self.table {
            Some(table) => {
                let rows = table.chunks_exact(tokens);
                let row = |row: &[bool]| [vec![0u8; past], row.iter().map(|&sees| u8::from(!sees)).collect()].concat();
                Tensor::from_vec(rows.flat_map(row).collect(), shape, device)?
            }
            None => {
                let entry = Tensor::arange(0, shape.1 as u32, device)?;
                let own = entry.narrow(0, past, tokens)?;
                own.unsqueeze(1)?.broadcast_lt(&entry.unsqueeze(0)?)?
            }
        };
        let all = |value: f32| {
            Tensor::full(value, (1, 1), device)?
                .to_dtype(dtype)?
                .broadcast_as(shape)
        };
        hidden.where_cond(&all(f32::NEG_INFINITY)?, &all(0.0)?)
    }

    /// The chunk of some of its tokens, given by ascending row; it is of one sequence.
    pub fn select(&self, rows: &[u32]) -> Result<Chunk> {
        debug_assert!(self.parts.is_empty());
        let index = Tensor::new(rows, self.cos.device())?;
        let tokens = self.positions.len();
        let pick = |table: &Vec<bool>| {
            let pairs = rows
                .iter()
                .flat_map(|&i| rows.iter().map(move |&j| (i as usize, j as usize)));
            pairs.map(|(i, j)| table[i * tokens + j]).collect()
        };
        let local = self.local.as_ref().map(|(cos, sin)| {
            Ok::<_, candle_core::Error>((cos.index_select(&index, 0)?, sin.index_select(&index, 0)?))
        });
        Ok(Chunk {
            local: local.transpose()?,
            positions: rows.iter().map(|&r| self.positions[r as usize]).collect(),
            cos: self.cos.index_select(&index, 0)?,
            sin: self.sin.index_select(&index, 0)?,
            table: self.table.as_ref().map(pick),
            mask: Arc::default(),
            parts: Vec::new(),
            tiles: Arc::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    const HIDDEN: f32 = f32::NEG_INFINITY;

    fn mask(chunk: &Chunk, past: usize) -> Vec<Vec<f32>> {
        let mask = chunk.mask(past).unwrap().unwrap();
        assert_eq!(mask.dtype(), chunk.cos().dtype());
        mask.to_dtype(DType::F32).unwrap().to_vec2().unwrap()
    }

    fn widest(chunk: &Chunk) -> Tensor {
        chunk.mask.lock().unwrap().clone().unwrap()
    }

    #[test]
    fn tokens_see_what_came_before_them() {
        for dtype in [DType::F32, DType::BF16] {
            let rope = Rope::plain(8, dtype);
            let chunk = Chunk::causal(&[7, 8, 9], &rope).unwrap();
            let own = [[0.0, HIDDEN, HIDDEN], [0.0, 0.0, HIDDEN], [0.0, 0.0, 0.0]];
            for past in [0, 1, 4, 2, 0] {
                let expected = own.map(|row| [vec![0.0; past], row.to_vec()].concat());
                assert_eq!(mask(&chunk, past), expected, "{past} earlier entries");
            }
            assert!(Chunk::causal(&[7], &rope).unwrap().mask(3).unwrap().is_none());
        }
    }

    #[test]
    fn a_table_says_whom_tokens_see() {
        let rope = Rope::plain(8, DType::F32);
        let sees = |i: usize, j: usize| j <= i && i % 2 == j % 2;
        let chunk = Chunk::with_visibility(&[4, 4, 5, 5], sees, &rope).unwrap();
        for past in [2, 0] {
            let mask = mask(&chunk, past);
            for (i, row) in mask.iter().enumerate() {
                assert!(row[..past].iter().all(|&x| x == 0.0));
                let own = (0..4).map(|j| if sees(i, j) { 0.0 } else { HIDDEN });
                assert_eq!(row[past..], own.collect::<Vec<_>>());
            }
        }
        let some = chunk.select(&[0, 2, 3]).unwrap();
        assert_eq!(
            mask(&some, 0),
            [[0.0, HIDDEN, HIDDEN], [0.0, 0.0, HIDDEN], [HIDDEN, HIDDEN, 0.0]]
        );
    }

    #[test]
    fn layers_share_the_widest_mask() {
        let rope = Rope::plain(8, DType::F32);
        let chunk = Chunk::causal(&[0, 1, 2], &rope).unwrap();
        mask(&chunk, 5);
        let made = widest(&chunk).id();
        for past in [5, 2, 0, 5] {
            mask(&chunk, past);
            assert_eq!(widest(&chunk).id(), made, "{past} earlier entries");
        }
        mask(&chunk, 6);
        assert_eq!(widest(&chunk).dims(), [3, 9]);
    }
}
