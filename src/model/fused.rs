//! A block on the CPU with packed weights, without a tensor in between.
//!
//! The same formulas as [`Block::forward`](super::block::Block::forward) through this program's
//! kernels; that one is what to read, and what runs everywhere else.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Device, Result, Storage, Tensor, bail};

use super::block::{Attention, Block, Mlp, RmsNorm};
use super::chunk::Chunk;
pub use super::kernel::Task;
use super::kernel::{self, Activations, KeyValues, PackedMatrix};
use super::kv::PassKv;
use super::linear::Linear;
use super::rope::Rope;

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
    packed && block.attention.head_dim.is_multiple_of(16)
}

/// What else is done during the first products of a block, and what depends on it.
pub struct Beside<'a> {
    pub task: Task<'a>,
    /// Says, when the task is done, whether the block is to go on.
    pub go_on: &'a mut dyn FnMut() -> bool,
}

/// h ← h + attention(norm(h)); h ← h + mlp(norm(h)) for `hidden` (tokens, hidden_size). With `beside` the block may
/// be left before anything of it is kept; then `None`.
pub fn forward(
    block: &Block,
    hidden: &Tensor,
    chunk: &Chunk,
    rope: &Rope,
    kv: Option<&mut PassKv>,
    beside: Option<Beside>,
) -> Result<Option<Tensor>> {
    let shape = hidden.dims2()?;
    let hidden = hidden.contiguous()?;
    let mut h = floats(&hidden)?.to_vec();
    let normed = norm(&block.attention_norm, &h)?;
    let inputs = block.attention.inputs.each.each_ref();
    let task = beside.as_ref().map(|beside| beside.task);
    let projected = kernel::matmul_beside(inputs.map(packed), &normed, task);
    if let Some(beside) = beside
        && !(beside.go_on)()
    {
        return Ok(None);
    }
    let projected = biased(inputs, projected)?;
    let entries = kv.map(|kv| kv.entries_for(chunk.positions()));
    add(&mut h, &attention(&block.attention, projected, chunk, rope, entries)?);
    let normed = norm(&block.mlp_norm, &h)?;
    add(&mut h, &mlp(&block.mlp, &normed)?);
    Ok(Some(Tensor::from_vec(h, shape, &Device::Cpu)?))
}

/// Final norm and head of `hidden` (tokens, hidden_size): (tokens, vocab_size). `None` where the
/// head is not packed.
pub fn logits(final_norm: &RmsNorm, head: &Linear, hidden: &Tensor) -> Result<Option<Tensor>> {
    let Some(packed) = head.packed() else {
        return Ok(None);
    };
    let shape = (hidden.dims2()?.0, packed.rows());
    let hidden = hidden.contiguous()?;
    let normed = norm(final_norm, &floats(&hidden)?)?;
    let [logits] = products([head], &normed)?;
    Ok(Some(Tensor::from_vec(logits, shape, &Device::Cpu)?))
}

fn norm(norm: &RmsNorm, x: &[f32]) -> Result<Activations> {
    let gain = floats(&norm.gain)?;
    let mut normed = vec![0.0; x.len()];
    kernel::rms_norm(x, &gain, norm.eps as f32, &mut normed);
    Ok(Activations::new(&normed, gain.len()))
}

fn attention(
    attention: &Attention,
    [mut query, mut key, value]: [Vec<f32>; 3],
    chunk: &Chunk,
    rope: &Rope,
    entries: Option<&mut KeyValues>,
) -> Result<Vec<f32>> {
    let (heads, kv_heads, head_dim) = (attention.heads, attention.kv_heads, attention.head_dim);
    let (cos, sin) = (floats(chunk.cos())?, floats(chunk.sin())?);
    for (x, norm, scale) in [
        (&mut query, &attention.query_norm, 1.0 / (head_dim as f32).sqrt()),
        (&mut key, &attention.key_norm, 1.0),
    ] {
        if let Some(norm) = norm {
            let plain = x.clone();
            kernel::rms_norm(&plain, &floats(&norm.gain)?, norm.eps as f32, x);
        }
        kernel::rotate(x, &cos, &sin, head_dim / 2, rope.interleaved(), scale);
    }
    let mut own = KeyValues::default();
    let entries = entries.unwrap_or(&mut own);
    entries.append(&key, &value, kv_heads, head_dim);
    let mixed = kernel::attention(&query, entries, chunk.seen(), chunk.positions().len(), heads);
    let [out] = products([&attention.output], &Activations::new(&mixed, heads * head_dim))?;
    Ok(out)
}

fn mlp(mlp: &Mlp, x: &Activations) -> Result<Vec<f32>> {
    let [mut gate, up] = products(mlp.inputs.each.each_ref(), x)?;
    kernel::silu_times(&mut gate, &up);
    let inner = gate.len() / x.rows();
    let [out] = products([&mlp.down], &Activations::new(&gate, inner))?;
    Ok(out)
}

fn products<const N: usize>(linears: [&Linear; N], x: &Activations) -> Result<[Vec<f32>; N]> {
    biased(linears, kernel::matmul(linears.map(packed), x))
}

fn packed(linear: &Linear) -> &PackedMatrix {
    linear.packed().expect("`fits` saw packed weights")
}

fn biased<const N: usize>(linears: [&Linear; N], mut products: [Vec<f32>; N]) -> Result<[Vec<f32>; N]> {
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
