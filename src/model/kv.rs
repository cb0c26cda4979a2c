//! Key/value slots by pass (spec §2).
//!
//! A token's n-th execution of layer l is the pass (l, n); each pass has slots of its own. A token
//! that did not run a pass leaves no entry there, so lengths differ between passes: a ragged cache.

//!
//! Where programs differ from token to token that costs: a token that runs layer l does not see those before it that
//! did not. Under [`KvMode::Fill`](crate::trace::KvMode::Fill) those leave an entry there all the same.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor};

use super::kernel::{KeyValues, KvBits};

/// Keys and values of one pass, in the order of positions.
#[derive(Clone, Debug, Default)]
pub struct PassKv {
    /// Keys and values, each (kv_heads, capacity, head_dim); the latents of both alone, (1, capacity, width), where
    /// attention has such.
    buffers: Vec<Tensor>,
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

    /// Whether there is no entry.
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
        let held = if kept > 0 { self.buffers.as_slice() } else { &[] };
        Ok(PassKv {
            len: if held.is_empty() { 0 } else { kept },
            buffers: held.iter().map(copy).collect::<Result<_>>()?,
            entries: self.entries.first(kept),
            positions: self.positions[..kept].to_vec(),
        })
    }

    /// Bytes of memory that keys and values take.
    pub fn bytes(&self) -> usize {
        let of = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        self.buffers.iter().map(of).sum::<usize>() + self.entries.bytes()
    }

    /// The entries, for a block that runs through the CPU kernels and adds those of the tokens at `positions`, and where all
    /// of them stand then; numbers have `bits` where they are the first.
    pub(super) fn entries_for(&mut self, positions: &[u32], bits: KvBits) -> (&mut KeyValues, &[u32]) {
        self.note(positions);
        if self.entries.len() == 0 {
            self.entries = KeyValues::new(bits);
        }
        (&mut self.entries, &self.positions)
    }

    /// Keys and values (kv_heads, capacity, head_dim) with room for one token more, which [`Self::take_slot`] counts.
    pub(super) fn room(
        &mut self,
        (kv_heads, head_dim): (usize, usize),
        dtype: DType,
        device: &Device,
    ) -> Result<(&Tensor, &Tensor)> {
        self.grow([(kv_heads, head_dim); 2], 1, dtype, device)?;
        Ok((&self.buffers[0], &self.buffers[1]))
    }

    /// Takes the next slot, which was written from elsewhere, as that of the token at `position`.
    pub(super) fn take_slot(&mut self, position: u32) {
        self.len += 1;
        self.positions.push(position);
    }

    /// Makes room for `tokens` more in buffers of (heads, width) each.
    fn grow<const N: usize>(
        &mut self,
        shapes: [(usize, usize); N],
        tokens: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<()> {
        let needed = self.len + tokens;
        if needed <= self.buffers.first().map_or(0, |buffer| buffer.dims()[1]) {
            return Ok(());
        }
        let grow = |(i, (heads, width)): (usize, (usize, usize))| -> Result<Tensor> {
            let shape = (heads, (needed * 2).next_multiple_of(64), width);
            let grown = Tensor::zeros(shape, dtype, device)?;
            if let Some(old) = self.buffers.get(i) {
                grown.slice_set(&old.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
            }
            Ok(grown)
        };
        self.buffers = shapes.into_iter().enumerate().map(grow).collect::<Result<_>>()?;
        Ok(())
    }

    /// Adds `key` and `value` (kv_heads, tokens, head_dim) and returns all entries, each
    /// (kv_heads, entries, head_dim).
    pub fn append(&mut self, key: &Tensor, value: &Tensor) -> Result<(Tensor, Tensor)> {
        let [keys, values] = self.append_all([key, value])?;
        Ok((keys, values))
    }

    /// As [`Self::append`], for attention that keeps another number of tensors (heads, tokens, width) than two.
    pub(super) fn append_all<const N: usize>(&mut self, new: [&Tensor; N]) -> Result<[Tensor; N]> {
        let tokens = new[0].dims3()?.1;
        let needed = self.len + tokens;
        let mut shapes = [(0, 0); N];
        for (shape, new) in shapes.iter_mut().zip(new) {
            let (heads, _, width) = new.dims3()?;
            *shape = (heads, width);
        }
        self.grow(shapes, tokens, new[0].dtype(), new[0].device())?;
        for (buffer, new) in self.buffers.iter().zip(new) {
            buffer.slice_set(&new.contiguous()?, 1, self.len)?;
        }
        self.len = needed;
        let mut all = Vec::with_capacity(N);
        for buffer in &self.buffers {
            all.push(buffer.narrow(1, 0, needed)?);
        }
        Ok(all.try_into().expect("a pass keeps as many tensors as it is given"))
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

    /// Forgets all entries of all passes.
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
