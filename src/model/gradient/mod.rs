//! A frozen model whose gradient by its hidden states is wanted: blocks and head, forward and backward, on one thread.
//!
//! Weights do not change, so a backward pass takes one product with each matrix's transpose. Transposes of weights of
//! few bits are packed in eight for the CPU kernels, and so are the gradients they are multiplied with: each is off by at
//! most 1/254 of the greatest of 32, at random, where the gradient of a router is by far noisier. Others are products of
//! f32. On a GPU all products are the device's, in the type of its activations, and what lies between them is the CPU's.
//! Forward passes are [`Precision::Coarse`] for learning, where teacher and student are off alike. Through the
//! executions of a LoopMoE model gradients go by candle's autograd, in f32.
//!
//! Shapes: hidden states and their gradients are (rows, hidden_size), row by row; rows are the tokens of one sequence in
//! turn, behind others whose keys and values are known.

mod attention;
mod looped;
mod transposed;

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use half::f16;
use half::slice::HalfFloatSliceExt;

use self::attention::{Attended, Heads};
use self::looped::LoopedActivations;
use self::transposed::Transposed;
use super::block::{Block, RmsNorm};
use super::chunk::Chunk;
use super::decoder::Decoder;
use super::fused::{self, floats};
use super::kernel::{self, Arena, Gates};
use super::linear::Linear;
use super::loopmoe::executions::Executions;

/// Rows whose logits are computed together: those of a large vocabulary take much memory.
const HEAD_ROWS: usize = 16;

/// How forward passes through weights of few bits hold activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// In 15 bits, as the decoder itself does.
    Full,
    /// In eight bits before weights in blocks of 32, which takes two thirds of the time.
    Coarse,
}

/// A decoder's blocks and head with what their backward passes need.
pub struct FrozenModel<'m> {
    decoder: &'m Decoder,
    network: FrozenNetwork<'m>,
    precision: Precision,
}

enum FrozenNetwork<'m> {
    Blocks {
        layers: Vec<FrozenBlock<'m>>,
        head: FrozenHead<'m>,
    },
    LoopMoe(&'m Executions),
}

/// Final norm and head.
struct FrozenHead<'m> {
    norm: Norm,
    linear: &'m Linear,
    transposed: Transposed,
}

/// One block.
struct FrozenBlock<'m> {
    block: &'m Block,
    gates: Gates,
    attention_norm: Norm,
    mlp_norm: Norm,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    /// Behind attention and behind the feed-forward, where the model has such.
    post_norms: Option<[Norm; 2]>,
    /// Query, key and value stacked: (hidden_size, heads · head_dim + 2 · kv_heads · head_dim).
    inputs: Transposed,
    /// (heads · head_dim, hidden_size)
    output: Transposed,
    /// Gate and up stacked: (hidden_size, 2 · intermediate_size).
    gate_up: Transposed,
    /// (intermediate_size, hidden_size)
    down: Transposed,
}

/// Root-mean-square norm.
struct Norm {
    gain: Vec<f32>,
    eps: f32,
}

/// Keys and values of one pass of the tokens before, (kv_heads, tokens, head_dim) each, in 16 bits.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// How many there are.
    pub tokens: usize,
    keys: Vec<f16>,
    values: Vec<f16>,
    /// Of a LoopMoE model instead: what its attention sees of them, (tokens, kv_lora_rank + qk_rope_head_dim).
    latents: Vec<f32>,
}

impl Past {
    /// Bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        2 * (self.keys.len() + self.values.len()) + 4 * self.latents.len()
    }
}

/// What a block's forward pass leaves for its backward pass.
pub struct BlockActivations {
    /// What entered, (rows, hidden_size).
    entering: Vec<f32>,
    within: ActivationsWithin,
}

enum ActivationsWithin {
    Block(Box<PlainActivations>),
    LoopMoe(LoopedActivations),
}

/// Those of a block of Llama's, Qwen's and Gemma's kind.
struct PlainActivations {
    /// After attention, (rows, hidden_size).
    middle: Vec<f32>,
    /// Queries and keys before their norms, where the model has such.
    unnormed: Option<[Vec<f32>; 2]>,
    /// What attention and feed-forward made before the norms behind them, where the model has such.
    before_post_norms: Option<[Vec<f32>; 2]>,
    attended: Attended,
    /// (rows, intermediate_size)
    gate: Vec<f32>,
    up: Vec<f32>,
}

impl BlockActivations {
    /// What entered the block, (rows, hidden_size).
    pub fn entering(&self) -> &[f32] {
        &self.entering
    }

    /// Keys and values of these rows behind those of `past`.
    pub fn past(&self, past: &Past) -> Past {
        match &self.within {
            ActivationsWithin::Block(plain) => plain.attended.extend(past),
            ActivationsWithin::LoopMoe(looped) => looped.past(past),
        }
    }
}

impl<'m> FrozenModel<'m> {
    /// Whether there are gradients through a decoder; quick.
    ///
    /// # Errors
    /// A model whose gates go through an activation that has no gradient here.
    pub fn check(decoder: &Decoder) -> Result<()> {
        ensure!(
            decoder.blocks().iter().all(|block| block.mlp.gates().is_some()),
            "gradients are computed for gates through SiLU or GELU's tanh approximation: those of this model go through \
             {:?}",
            decoder.config().details.activation
        );
        Ok(())
    }

    /// Makes the transposes, which take about the memory of the weights in eight bits.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn new(decoder: &'m Decoder) -> Result<Self> {
        Self::multiplying(decoder, !decoder.device().is_cpu())
    }

    /// Backward products by the weights themselves, `on_device`, or by transposes of this program's own.
    fn multiplying(decoder: &'m Decoder, on_device: bool) -> Result<Self> {
        Self::check(decoder)?;
        let network = match (decoder.loopmoe(), decoder.final_norm_and_head()) {
            (Some(executions), _) => FrozenNetwork::LoopMoe(executions),
            (None, norm_and_head) => {
                let arena = Arena::default();
                let transposed = |layers: &[&Linear]| match on_device {
                    true => Transposed::on_device(layers),
                    false => Transposed::new(layers, &arena),
                };
                let layers = decoder
                    .blocks()
                    .iter()
                    .map(|block| FrozenBlock::new(block, &transposed));
                let (norm, linear) = norm_and_head.expect("blocks come with them");
                FrozenNetwork::Blocks {
                    layers: layers.collect::<Result<_>>()?,
                    head: FrozenHead {
                        norm: Norm::new(norm)?,
                        linear,
                        transposed: transposed(&[linear])?,
                    },
                }
            }
        };
        Ok(FrozenModel {
            decoder,
            network,
            precision: Precision::Full,
        })
    }

    /// The same model with forward passes of another precision.
    pub fn with_precision(self, precision: Precision) -> Self {
        FrozenModel { precision, ..self }
    }

    /// The frozen decoder.
    pub fn decoder(&self) -> &'m Decoder {
        self.decoder
    }

    /// Embeddings of some tokens, (tokens, hidden_size).
    pub fn embed(&self, ids: &[u32]) -> Result<Vec<f32>> {
        rows_of(&self.decoder.embed(ids)?)
    }

    /// Tokens at consecutive positions from `first` on.
    pub fn chunk(&self, first: usize, tokens: usize) -> Result<Chunk> {
        let positions: Vec<u32> = (first..first + tokens).map(|p| p as u32).collect();
        self.decoder.chunk(&positions)
    }

    /// One execution of block `layer` over the rows of `chunk`, behind the tokens of `past`: what leaves it, and what the
    /// backward pass needs.
    pub fn forward(
        &self,
        layer: usize,
        entering: Vec<f32>,
        chunk: &Chunk,
        past: &Past,
    ) -> Result<(Vec<f32>, BlockActivations)> {
        match &self.network {
            FrozenNetwork::Blocks { layers, .. } => layers[layer].forward(entering, chunk, self, past),
            FrozenNetwork::LoopMoe(executions) => looped::forward(executions, layer, entering, chunk, past),
        }
    }

    /// Adds to `to` the gradient of what entered block `layer` from `d`, that of what left it.
    pub fn backward(
        &self,
        layer: usize,
        activations: &BlockActivations,
        d: &[f32],
        chunk: &Chunk,
        past: &Past,
        to: &mut [f32],
    ) -> Result<()> {
        match (&self.network, &activations.within) {
            (FrozenNetwork::Blocks { layers, .. }, ActivationsWithin::Block(plain)) => {
                let interleaved = self.decoder.rope_interleaved();
                layers[layer].backward((&activations.entering, plain), d, chunk, interleaved, past, to)
            }
            (_, ActivationsWithin::LoopMoe(looped)) => looped.backward(d, to),
            _ => unreachable!("activations are of the model's own kind"),
        }
    }

    /// Σ over rows of KL(p ‖ q), in nats, of the next-token distributions after the last block's states `teacher` (p)
    /// and `student` (q). Adds `weight` times its gradient by `student` to `to`, where that is wanted; `each` hears
    /// every row's KL and whether the same token is likeliest.
    ///
    /// # Errors
    /// Those of the products.
    pub fn kl(
        &self,
        teacher: &[f32],
        student: &[f32],
        weight: f32,
        mut to: Option<&mut [f32]>,
        each: &mut dyn FnMut(f64, bool),
    ) -> Result<()> {
        let (size, vocab) = (self.decoder.config().hidden_size, self.decoder.config().vocab_size);
        let parts = teacher.chunks(HEAD_ROWS * size).zip(student.chunks(HEAD_ROWS * size));
        for (part, (teacher, student)) in parts.enumerate() {
            let (of_teacher, mut of_student) = (self.logits(teacher)?, self.logits(student)?);
            for (teacher, student) in of_teacher.chunks_exact(vocab).zip(of_student.chunks_exact_mut(vocab)) {
                let same = likeliest(teacher) == likeliest(student);
                each(kernel::kl_backward(teacher, student), same);
            }
            if let Some(to) = &mut to {
                of_student.iter_mut().for_each(|d| *d *= weight);
                let from = part * HEAD_ROWS * size;
                self.logits_backward(student, &of_student, &mut to[from..from + student.len()])?;
            }
        }
        Ok(())
    }

    /// The products of rows (rows, `size`) with some linear layers, row by row each.
    fn products<const N: usize>(&self, linears: [&Linear; N], x: Vec<f32>, size: usize) -> Result<[Vec<f32>; N]> {
        if self.precision == Precision::Coarse
            && let Some(packed) = fused::all_packed(linears)
        {
            let products = kernel::matmul(packed, &kernel::Activations::coarse(x, size));
            return Ok(fused::biased(linears, products)?);
        }
        let shape = (x.len() / size, size);
        let x = Tensor::from_vec(x, shape, self.decoder.device())?.to_dtype(self.decoder.activation_type())?;
        let outputs = Linear::forward_all(linears, &x)?;
        let mut products = Vec::with_capacity(N);
        for output in &outputs {
            products.push(rows_of(output)?);
        }
        Ok(products.try_into().expect("one output a layer"))
    }

    /// The logits of states (rows, hidden_size) after the last block.
    fn logits(&self, states: &[f32]) -> Result<Vec<f32>> {
        match &self.network {
            FrozenNetwork::Blocks { head, .. } => {
                let normed = head.norm.forward(states);
                let [logits] = self.products([head.linear], normed, head.norm.gain.len())?;
                Ok(logits)
            }
            FrozenNetwork::LoopMoe(executions) => looped::logits(executions, states),
        }
    }

    /// Adds to `to` the gradient of states after the last block from that of their logits.
    fn logits_backward(&self, states: &[f32], d: &[f32], to: &mut [f32]) -> Result<()> {
        match &self.network {
            FrozenNetwork::Blocks { head, .. } => head.norm.backward(states, &head.transposed.product(d)?, to),
            FrozenNetwork::LoopMoe(executions) => looped::logits_backward(executions, states, d, to)?,
        }
        Ok(())
    }

    /// Adds to `to`, for each row, a random vector by the states `student` after the last block whose square along a
    /// direction is on the mean `weight`² times the second derivative along it of KL(p ‖ q) at p = q: the gradient of
    /// Σ_v √q_v·r_v·ln q_v with random signs r, which has the Fisher information of q as its covariance. `signs` gives
    /// 64 of them at a time.
    ///
    /// # Errors
    /// Those of the products.
    pub fn curvature(
        &self,
        student: &[f32],
        weight: f32,
        signs: &mut dyn FnMut() -> u64,
        to: &mut [f32],
    ) -> Result<()> {
        let (size, vocab) = (self.decoder.config().hidden_size, self.decoder.config().vocab_size);
        for (part, student) in student.chunks(HEAD_ROWS * size).enumerate() {
            let mut logits = self.logits(student)?;
            for row in logits.chunks_exact_mut(vocab) {
                signed_roots(row, weight, signs);
            }
            let from = part * HEAD_ROWS * size;
            self.logits_backward(student, &logits, &mut to[from..from + student.len()])?;
        }
        Ok(())
    }
}

/// From logits of a distribution q: `weight`·(√q_v·r_v − q_v·Σ_u √q_u·r_u), whose covariance over the signs r is
/// `weight`²·(diag q − q·qᵀ).
fn signed_roots(logits: &mut [f32], weight: f32, signs: &mut dyn FnMut() -> u64) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f32;
    for x in &mut *logits {
        *x = (*x - most).exp();
        sum += *x;
    }
    let mut total = 0.0f32;
    for chunk in logits.chunks_mut(64) {
        let bits = signs();
        for (bit, x) in chunk.iter_mut().enumerate() {
            let root = (*x / sum).sqrt();
            *x = if bits >> bit & 1 == 1 { root } else { -root };
            total += *x;
        }
    }
    logits
        .iter_mut()
        .for_each(|x| *x = weight * (*x - x.abs() * x.abs() * total));
}

impl<'m> FrozenBlock<'m> {
    fn new(block: &'m Block, transposed: &dyn Fn(&[&Linear]) -> Result<Transposed>) -> Result<Self> {
        let attention = &block.attention;
        let head_norm = |norm: &Option<RmsNorm>| norm.as_ref().map(Norm::new).transpose();
        Ok(FrozenBlock {
            block,
            gates: block.mlp.gates().expect("checked before"),
            attention_norm: Norm::new(&block.attention_norm)?,
            mlp_norm: Norm::new(&block.mlp_norm)?,
            query_norm: head_norm(&attention.query_norm)?,
            key_norm: head_norm(&attention.key_norm)?,
            post_norms: match &block.post_norms {
                Some([attention, mlp]) => Some([Norm::new(attention)?, Norm::new(mlp)?]),
                None => None,
            },
            inputs: transposed(&attention.inputs.each.each_ref())?,
            output: transposed(&[&attention.output])?,
            gate_up: transposed(&block.mlp.inputs.each.each_ref())?,
            down: transposed(&[&block.mlp.down])?,
        })
    }

    fn heads(&self) -> Heads {
        let attention = &self.block.attention;
        Heads {
            queries: attention.heads,
            keys: attention.kv_heads,
            size: attention.head_dim,
            scale: attention.scale as f32,
            window: attention.window,
        }
    }

    /// Cosines and sines of the rows' positions.
    fn angles(&self, chunk: &Chunk) -> Result<[Vec<f32>; 2]> {
        let (cos, sin) = chunk.tables(self.block.attention.local_rope);
        Ok([rows_of(cos)?, rows_of(sin)?])
    }

    fn forward(
        &self,
        entering: Vec<f32>,
        chunk: &Chunk,
        model: &FrozenModel,
        past: &Past,
    ) -> Result<(Vec<f32>, BlockActivations)> {
        let interleaved = model.decoder.rope_interleaved();
        let (attention, mlp) = (&self.block.attention, &self.block.mlp);
        let size = self.attention_norm.gain.len();
        let normed = self.attention_norm.forward(&entering);
        let [mut query, mut key, value] = model.products(attention.inputs.each.each_ref(), normed, size)?;
        let unnormed = match (&self.query_norm, &self.key_norm) {
            (None, None) => None,
            _ => Some([query.clone(), key.clone()]),
        };
        let heads = self.heads();
        let [cos, sin] = self.angles(chunk)?;
        for (x, norm, scale) in [
            (&mut query, &self.query_norm, heads.scale),
            (&mut key, &self.key_norm, 1.0),
        ] {
            if let Some(norm) = norm {
                *x = norm.forward(x);
            }
            kernel::rotate(x, &cos, &sin, heads.size / 2, interleaved, scale);
        }
        let (mixed, attended) = attention::forward(heads, &query, &key, &value, past);
        let [attention_added] = model.products([&attention.output], mixed, heads.queries * heads.size)?;
        let post_norm = |at: usize, x: &[f32]| self.post_norms.as_ref().map(|norms| norms[at].forward(x));
        let middle = sum(
            &entering,
            post_norm(0, &attention_added).as_ref().unwrap_or(&attention_added),
        );
        let normed = self.mlp_norm.forward(&middle);
        let [gate, up] = model.products(mlp.inputs.each.each_ref(), normed, size)?;
        let mut inner = gate.clone();
        kernel::gate_times(self.gates, &mut inner, &up);
        let width = inner.len() / (middle.len() / size);
        let [mlp_added] = model.products([&mlp.down], inner, width)?;
        let leaving = sum(&middle, post_norm(1, &mlp_added).as_ref().unwrap_or(&mlp_added));
        let within = ActivationsWithin::Block(Box::new(PlainActivations {
            middle,
            unnormed,
            before_post_norms: self.post_norms.is_some().then_some([attention_added, mlp_added]),
            attended,
            gate,
            up,
        }));
        Ok((leaving, BlockActivations { entering, within }))
    }

    fn backward(
        &self,
        (entering, activations): (&[f32], &PlainActivations),
        d: &[f32],
        chunk: &Chunk,
        interleaved: bool,
        past: &Past,
        to: &mut [f32],
    ) -> Result<()> {
        // The gradient of what attention or feed-forward made, from that of what it added.
        let before_post_norm = |at: usize, d: &[f32]| {
            let (norms, before) = (self.post_norms.as_ref()?, activations.before_post_norms.as_ref()?);
            let mut made = vec![0.0; d.len()];
            norms[at].backward(&before[at], d, &mut made);
            Some(made)
        };
        let inner = self.down.rows();
        let d_inner = self.down.product(before_post_norm(1, d).as_deref().unwrap_or(d))?;
        let mut d_gate_up = vec![0.0; 2 * d_inner.len()];
        kernel::gate_times_backward(
            self.gates,
            &activations.gate,
            &activations.up,
            &d_inner,
            inner,
            &mut d_gate_up,
        );
        let mut d_middle = d.to_vec();
        self.mlp_norm
            .backward(&activations.middle, &self.gate_up.product(&d_gate_up)?, &mut d_middle);

        let heads = self.heads();
        let d_mixed = self
            .output
            .product(before_post_norm(0, &d_middle).as_deref().unwrap_or(&d_middle))?;
        let [mut d_query, mut d_key, d_value] = attention::backward(heads, &activations.attended, &d_mixed, past);
        let [cos, sin] = self.angles(chunk)?;
        // A rotation's transpose is the one by the opposite angle.
        let opposite: Vec<f32> = sin.iter().map(|sin| -sin).collect();
        let norms = [&self.query_norm, &self.key_norm];
        for (at, (x, scale)) in [(&mut d_query, heads.scale), (&mut d_key, 1.0)].into_iter().enumerate() {
            kernel::rotate(x, &cos, &opposite, heads.size / 2, interleaved, scale);
            if let (Some(norm), Some(unnormed)) = (norms[at], &activations.unnormed) {
                let mut before = vec![0.0; x.len()];
                norm.backward(&unnormed[at], x, &mut before);
                *x = before;
            }
        }
        let rows = d_value.len() / (heads.keys * heads.size);
        let mut d_inputs = Vec::with_capacity(d_query.len() + 2 * d_value.len());
        for row in 0..rows {
            for part in [&d_query, &d_key, &d_value] {
                let width = part.len() / rows;
                d_inputs.extend_from_slice(&part[row * width..(row + 1) * width]);
            }
        }
        to.iter_mut().zip(&d_middle).for_each(|(to, d)| *to += d);
        self.attention_norm
            .backward(entering, &self.inputs.product(&d_inputs)?, to);
        Ok(())
    }
}

impl Norm {
    fn new(norm: &RmsNorm) -> Result<Self> {
        Ok(Norm {
            gain: norm.gain.to_dtype(DType::F32)?.to_vec1()?,
            eps: norm.eps as f32,
        })
    }

    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let mut normed = vec![0.0; x.len()];
        kernel::rms_norm(x, &self.gain, self.eps, &mut normed);
        normed
    }

    /// Adds to `to` the gradient of x from `d`, that of the normed x.
    fn backward(&self, x: &[f32], d: &[f32], to: &mut [f32]) {
        kernel::rms_norm_backward(x, &self.gain, self.eps, d, to);
    }
}

fn rows_of(tensor: &Tensor) -> Result<Vec<f32>> {
    let tensor = tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.contiguous()?;
    Ok(floats(&tensor)?.to_vec())
}

fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// The likeliest token of a row of logits, the first of equals.
pub(crate) fn likeliest(logits: &[f32]) -> usize {
    let most = kernel::greatest(logits);
    logits.iter().position(|z| *z == most).unwrap_or_default()
}

/// As `floats`, in 16 bits; what is beyond them becomes the greatest that is not.
fn halves(floats: &[f32]) -> Vec<f16> {
    let most = f16::MAX.to_f32();
    let clamped: Vec<f32> = floats.iter().map(|x| x.clamp(-most, most)).collect();
    let mut halves = vec![f16::ZERO; floats.len()];
    halves.convert_from_f32_slice(&clamped);
    halves
}

#[cfg(test)]
mod tests;
