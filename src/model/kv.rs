//! Key/value slots by pass (spec §2).
//!
//! A token's n-th execution of layer l is the pass (l, n); each pass has slots of its own. A token
//! that did not run a pass leaves no entry there, so lengths differ between passes: a ragged cache.

//!
//! Where programs differ from token to token that costs: a token that runs layer l does not see those before it that
//! did not. Under [`KvMode::Fill`] those leave an entry there all the same.

use std::collections::HashMap;
use std::fmt;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::kernel::KeyValues;

/// What a token leaves in a layer that it does not run (spec §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvMode {
    /// Nothing.
    #[default]
    Ragged,
    /// In the pass (l, 0) the key and value of the state that passes layer l, as FlexiDepth does (arXiv 2503.23798).
    /// The pass (l, 1) is never filled.
    Fill,
}

impl KvMode {
    pub const ALL: [KvMode; 2] = [KvMode::Ragged, KvMode::Fill];

    pub fn name(self) -> &'static str {
        match self {
            KvMode::Ragged => "ragged",
            KvMode::Fill => "fill",
        }
    }
}

impl fmt::Display for KvMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Keys and values of one pass, in the order of positions.
#[derive(Clone, Debug, Default)]
pub struct PassKv {
    /// Keys and values, each (kv_heads, capacity, head_dim).
    buffers: Option<(Tensor, Tensor)>,
    len: usize,
    /// What the CPU kernels keep instead of tensors.
    entries: KeyValues,
    /// Where the entries' tokens stand in the sequence.
    positions: Vec<u32>,
}

impl PassKv {
    /// Entries held.
    pub fn len(&self) -> usize {
        self.len + self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says which tokens the entries of the next execution belong to.
    pub(super) fn note(&mut self, positions: &[u32]) {
        self.positions.extend_from_slice(positions);
    }

    /// Where the tokens of the entries stand that were noted.
    pub(super) fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// A copy of the entries of tokens before position `end`, which shares no memory with this one:
    /// either may grow without the other.
    pub fn fork(&self, end: usize) -> Result<PassKv> {
        let kept = self.positions.partition_point(|&p| (p as usize) < end);
        let copy = |tensor: &Tensor| tensor.narrow(1, 0, kept)?.force_contiguous();
        let buffers = match &self.buffers {
            Some((keys, values)) if kept > 0 => Some((copy(keys)?, copy(values)?)),
            _ => None,
        };
        Ok(PassKv {
            len: if buffers.is_some() { kept } else { 0 },
            buffers,
            entries: self.entries.first(kept),
            positions: self.positions[..kept].to_vec(),
        })
    }

    /// Bytes of memory that keys and values take.
    pub fn bytes(&self) -> usize {
        let of = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        let buffers = self.buffers.as_ref().map_or(0, |(k, v)| of(k) + of(v));
        buffers + self.entries.bytes()
    }

    /// The entries, for a block that runs through the CPU kernels and adds those of the tokens at `positions`.
    pub(super) fn entries_for(&mut self, positions: &[u32]) -> &mut KeyValues {
        self.note(positions);
        &mut self.entries
    }

    /// Adds `key` and `value` (kv_heads, tokens, head_dim) and returns all entries, each
    /// (kv_heads, entries, head_dim).
    pub fn append(&mut self, key: &Tensor, value: &Tensor) -> Result<(Tensor, Tensor)> {
        let (kv_heads, tokens, head_dim) = key.dims3()?;
        let needed = self.len + tokens;
        let capacity = self.buffers.as_ref().map_or(0, |(k, _)| k.dims()[1]);
        if needed > capacity {
            let shape = (kv_heads, (needed * 2).next_multiple_of(64), head_dim);
            let grow = |old: Option<&Tensor>| -> Result<Tensor> {
                let new = Tensor::zeros(shape, key.dtype(), key.device())?;
                if let Some(old) = old {
                    new.slice_set(&old.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
                }
                Ok(new)
            };
            let old = self.buffers.as_ref();
            self.buffers = Some((grow(old.map(|b| &b.0))?, grow(old.map(|b| &b.1))?));
        }
        let (keys, values) = self.buffers.as_ref().expect("grown above");
        keys.slice_set(&key.contiguous()?, 1, self.len)?;
        values.slice_set(&value.contiguous()?, 1, self.len)?;
        self.len = needed;
        Ok((keys.narrow(1, 0, needed)?, values.narrow(1, 0, needed)?))
    }
}

/// All passes of one sequence.
#[derive(Clone, Debug, Default)]
pub struct KvCache {
    passes: HashMap<(usize, usize), PassKv>,
}

impl KvCache {
    /// The slots of the n-th (from 0) execution of `layer`.
    pub fn pass(&mut self, layer: usize, n: usize) -> &mut PassKv {
        self.passes.entry((layer, n)).or_default()
    }

    pub fn clear(&mut self) {
        self.passes.clear();
    }

    /// What tokens before position `end` left, as a copy: see [`PassKv::fork`].
    pub fn fork(&self, end: usize) -> Result<KvCache> {
        let passes = self.passes.iter().map(|(pass, kv)| Ok((*pass, kv.fork(end)?)));
        Ok(KvCache {
            passes: passes.collect::<Result<_>>()?,
        })
    }

    /// Bytes of memory that all passes take.
    pub fn bytes(&self) -> usize {
        self.passes.values().map(PassKv::bytes).sum()
    }
}
