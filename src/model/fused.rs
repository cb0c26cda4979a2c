//! A block on the CPU with packed weights, without a tensor in between.
//!
//! The same formulas as [`Block::forward`](super::block::Block::forward) through this program's
//! kernels; that one is what to read, and what runs everywhere else.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Device, Result, Storage, Tensor, bail};

use super::block::{Attention, Block, Mlp, RmsNorm};
use super::chunk::Chunk;
pub use super::kernel::OverlappedTask;
use super::kernel::{self, Activations, AttentionMask, KeyValues, PackedMatrix};
use super::kv::PassKv;
use super::linear::Linear;
use super::rope::Rope;
use crate::trace::KvMode;

/// The floats of a contiguous f32 tensor on the CPU.
///
/// # Errors
/// Tensors elsewhere, of other types, or not contiguous.
pub fn floats(tensor: &Tensor) -> Result<impl Deref<Target = [f32]> + '_> {
    let (storage, layout) = tensor.storage_and_layout();
    if !matches!(&*storage, Storage::Cpu(CpuStorage::F32(_))) || !layout.is_contiguous() {
        bail!("the CPU kernels take contiguous f32 tensors on the CPU");
    }
    let from = layout.start_offset();
    let range = from..from + layout.shape().elem_count();
    Ok(Floats { storage, range })
}

struct Floats<G> {
    storage: G,
    range: Range<usize>,
}

impl<G: Deref<Target = Storage>> Deref for Floats<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => unreachable!("`floats` admits f32 on the CPU only"),
        }
    }
}

/// Whether [`forward`] can run a block.
pub fn fits(block: &Block) -> bool {
    let packed = block.linears().iter().all(|linear| linear.packed().is_some());
    packed && block.mlp.gates().is_some() && block.attention.head_dim.is_multiple_of(16)
}

/// What else is done during the first products of a block, and what depends on it.
pub struct Overlapped<'a> {
    pub task: OverlappedTask<'a>,
    /// Says, when the task is done, whether the block is to go on.
    pub go_on: &'a mut dyn FnMut() -> bool,
    /// What a block that does not go on leaves.
    pub mode: KvMode,
    /// Whether queries are among the first products, rather than computed when the block goes on. Where it is likely
    /// to, one product of three matrices takes less time than two products.
    pub queries: bool,
}

/// h ← h + attention(norm(h)); h ← h + mlp(norm(h)) for `hidden` (tokens, hidden_size), what is added going through the
/// block's post norms where it has such. With `beside` the block may
/// be left; then `None`, and of it are kept keys and values, or nothing, as [`Overlapped::mode`] says.
pub fn forward(
    block: &Block,
    hidden: &Tensor,
    chunk: &Chunk,
    rope: &Rope,
    kv: Option<&mut PassKv>,
    beside: Option<Overlapped>,
) -> Result<Option<Tensor>> {
    let shape = hidden.dims2()?;
    let hidden = hidden.contiguous()?;
    let mut h = floats(&hidden)?.to_vec();
    let attention = &block.attention;
    let [query, key, value] = attention.inputs.each.each_ref();
    let normed = norm(&block.attention_norm, &h, query)?;
    let task = beside.as_ref().map(|beside| beside.task);
    let (queries, keys_values) = if beside.as_ref().is_none_or(|beside| beside.queries) {
        let all = kernel::matmul_beside([query, key, value].map(packed), &normed, task);
        let [queries, keys, values] = biased([query, key, value], all)?;
        (Some(queries), [keys, values])
    } else {
        let both = kernel::matmul_beside([key, value].map(packed), &normed, task);
        (None, biased([key, value], both)?)
    };
    let is_left = match beside {
        Some(beside) => match ((beside.go_on)(), beside.mode) {
            (true, _) => false,
            (false, KvMode::Fill) => true,
            (false, KvMode::Ragged) => return Ok(None),
        },
        None => false,
    };
    let mut own = KeyValues::new(attention.kv_bits);
    let (entries, positions) = match kv {
        Some(kv) => kv.entries_for(chunk.positions(), attention.kv_bits),
        None => (&mut own, chunk.positions()),
    };
    append(attention, keys_values, chunk, rope, entries)?;
    if is_left {
        return Ok(None);
    }
    let queries = match queries {
        Some(queries) => queries,
        None => products([query], &normed).map(|[queries]| queries)?,
    };
    let windowed = Windowed::new(attention.window, chunk, positions);
    let post_norm = |at: usize, x: Vec<f32>| match &block.post_norms {
        Some(norms) => normed_by(&norms[at], &x),
        None => Ok(x),
    };
    let attended = attend(attention, queries, chunk, rope, (entries, &windowed))?;
    add(&mut h, &post_norm(0, attended)?);
    let normed = norm(&block.mlp_norm, &h, &block.mlp.inputs.each[0])?;
    add(&mut h, &post_norm(1, mlp(&block.mlp, &normed)?)?);
    Ok(Some(Tensor::from_vec(h, shape, &Device::Cpu)?))
}

/// Leaves the keys and values of `hidden` (tokens, hidden_size), and computes nothing else of the block.
pub fn fill_kv(block: &Block, hidden: &Tensor, chunk: &Chunk, rope: &Rope, kv: &mut PassKv) -> Result<()> {
    let hidden = hidden.contiguous()?;
    let [_, key, value] = block.attention.inputs.each.each_ref();
    let normed = norm(&block.attention_norm, &floats(&hidden)?, key)?;
    let (entries, _) = kv.entries_for(chunk.positions(), block.attention.kv_bits);
    append(&block.attention, products([key, value], &normed)?, chunk, rope, entries)
}

/// Final norm and head of `hidden` (tokens, hidden_size): (tokens, vocab_size). `None` where the
/// head is not packed.
pub fn logits(final_norm: &RmsNorm, head: &Linear, hidden: &Tensor) -> Result<Option<Tensor>> {
    let Some(packed) = head.packed() else {
        return Ok(None);
    };
    let shape = (hidden.dims2()?.0, packed.rows());
    let hidden = hidden.contiguous()?;
    let normed = norm(final_norm, &floats(&hidden)?, head)?;
    let [logits] = products([head], &normed)?;
    Ok(Some(Tensor::from_vec(logits, shape, &Device::Cpu)?))
}

/// The normed `x`, for products with `next` and other layers that are loaded alike.
fn norm(norm: &RmsNorm, x: &[f32], next: &Linear) -> Result<Activations> {
    Ok(packed(next).activations(normed_by(norm, x)?))
}

fn normed_by(norm: &RmsNorm, x: &[f32]) -> Result<Vec<f32>> {
    let mut normed = vec![0.0; x.len()];
    kernel::rms_norm(x, &floats(&norm.gain)?, norm.eps as f32, &mut normed);
    Ok(normed)
}

/// Whom a layer's window hides from the tokens of a chunk.
#[derive(Default)]
struct Windowed {
    /// For each token how many entries stand before its window; nothing where none does.
    before: Vec<usize>,
    /// Whom the chunk's tokens see among themselves, where they do not just see those up to themselves.
    table: Option<Vec<bool>>,
}

impl Windowed {
    /// Of entries at `positions`, the chunk's own the last.
    fn new(window: Option<usize>, chunk: &Chunk, positions: &[u32]) -> Windowed {
        let own = chunk.positions();
        let Some(window) = window else {
            return Windowed::default();
        };
        let is_hidden = |entry: u32, token: u32| entry as usize + window <= token as usize;
        let last = own.iter().copied().max().unwrap_or(0);
        if !positions.iter().any(|&entry| is_hidden(entry, last)) {
            return Windowed::default();
        }
        // Entries stand in the order of their positions, but for those of a chunk with branches.
        let (ordered, table) = match chunk.attention_mask() {
            AttentionMask::Causal => (positions, None),
            AttentionMask::Custom(table) => {
                let pairs = own
                    .iter()
                    .flat_map(|&token| own.iter().map(move |&entry| (entry, token)));
                let seen = table.iter().zip(pairs);
                let table = seen.map(|(seen, (entry, token))| *seen && !is_hidden(entry, token));
                (&positions[..positions.len() - own.len()], Some(table.collect()))
            }
        };
        let before = own
            .iter()
            .map(|&token| ordered.partition_point(|&entry| is_hidden(entry, token)));
        Windowed {
            before: before.collect(),
            table,
        }
    }
}

/// Adds the chunk's keys and values, each (tokens, kv_heads · head_dim), to the entries of its pass.
fn append(
    attention: &Attention,
    [mut keys, values]: [Vec<f32>; 2],
    chunk: &Chunk,
    rope: &Rope,
    entries: &mut KeyValues,
) -> Result<()> {
    turn(&mut keys, attention, attention.key_norm.as_ref(), chunk, rope, 1.0)?;
    let factors = &attention.key_smoothing;
    if !factors.is_empty() {
        for row in keys.chunks_exact_mut(factors.len()) {
            row.iter_mut().zip(factors).for_each(|(key, factor)| *key /= factor);
        }
    }
    entries.append(&keys, &values, attention.kv_heads, attention.head_dim);
    Ok(())
}

/// What the chunk's queries (tokens, heads · head_dim) read of the entries in their windows, which hold the chunk's own
/// already, through the output's product: (tokens, hidden_size).
fn attend(
    attention: &Attention,
    mut queries: Vec<f32>,
    chunk: &Chunk,
    rope: &Rope,
    (entries, windowed): (&KeyValues, &Windowed),
) -> Result<Vec<f32>> {
    let (heads, head_dim) = (attention.heads, attention.head_dim);
    let norm = attention.query_norm.as_ref();
    turn(&mut queries, attention, norm, chunk, rope, attention.scale as f32)?;
    if !attention.key_smoothing.is_empty() {
        let of_heads = attention.key_smoothing.chunks_exact(head_dim).cycle();
        let groups = queries.chunks_exact_mut(heads / attention.kv_heads * head_dim);
        for (group, factors) in groups.zip(of_heads) {
            for query in group.chunks_exact_mut(head_dim) {
                query
                    .iter_mut()
                    .zip(factors)
                    .for_each(|(query, factor)| *query *= factor);
            }
        }
    }
    let mask = match &windowed.table {
        Some(table) => AttentionMask::Custom(table),
        None => chunk.attention_mask(),
    };
    let mixed = kernel::attention(
        &queries,
        entries,
        (mask, &windowed.before),
        chunk.positions().len(),
        heads,
    );
    let [out] = products([&attention.output], &packed(&attention.output).activations(mixed))?;
    Ok(out)
}

/// Normalises heads where the model does, turns them by their tokens' positions and scales them.
fn turn(
    x: &mut [f32],
    attention: &Attention,
    norm: Option<&RmsNorm>,
    chunk: &Chunk,
    rope: &Rope,
    scale: f32,
) -> Result<()> {
    if let Some(norm) = norm {
        let plain = x.to_vec();
        kernel::rms_norm(&plain, &floats(&norm.gain)?, norm.eps as f32, x);
    }
    let (cos, sin) = chunk.tables(attention.local_rope);
    let (cos, sin) = (floats(cos)?, floats(sin)?);
    kernel::rotate(x, &cos, &sin, attention.head_dim / 2, rope.interleaved(), scale);
    Ok(())
}

fn mlp(mlp: &Mlp, x: &Activations) -> Result<Vec<f32>> {
    let [mut gate, up] = products(mlp.inputs.each.each_ref(), x)?;
    kernel::gate_times(mlp.gates().expect("`fits` saw them"), &mut gate, &up);
    let [out] = products([&mlp.down], &packed(&mlp.down).activations(gate))?;
    Ok(out)
}

fn products<const N: usize>(linears: [&Linear; N], x: &Activations) -> Result<[Vec<f32>; N]> {
    biased(linears, kernel::matmul(linears.map(packed), x))
}

fn packed(linear: &Linear) -> &PackedMatrix {
    linear.packed().expect("`fits` saw packed weights")
}

/// The weights of some layers, where those of all are packed.
pub(super) fn all_packed<const N: usize>(linears: [&Linear; N]) -> Option<[&PackedMatrix; N]> {
    let packed = linears.iter().all(|linear| linear.packed().is_some());
    packed.then(|| linears.map(self::packed))
}

/// Adds the layers' biases to their products, row by row.
pub(super) fn biased<const N: usize>(linears: [&Linear; N], mut products: [Vec<f32>; N]) -> Result<[Vec<f32>; N]> {
    for (linear, product) in linears.iter().zip(&mut products) {
        if let Some(bias) = &linear.bias {
            let bias = floats(bias)?;
            product.chunks_exact_mut(bias.len()).for_each(|row| add(row, &bias));
        }
    }
    Ok(products)
}

fn add(to: &mut [f32], what: &[f32]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += what);
}

#[cfg(test)]
mod tests;
