//! One decoder block: attention and MLP as the Llama and Qwen papers have them.
//!
//! Shapes: hidden states are (tokens, hidden_size); one sequence at a time.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};

use super::chunk::Chunk;
use super::config::ModelConfig;
use super::fused;
use super::kv::PassKv;
use super::linear::{Linear, Linears};
use super::rope::Rope;

/// Root-mean-square norm (arXiv 1910.07467) with a learned gain (hidden_size).
pub struct RmsNorm {
    pub(super) gain: Tensor,
    pub(super) eps: f64,
    fused: bool,
}

impl RmsNorm {
    /// `fused`: by candle's fused operation, which is quicker and sums a little less exactly.
    pub fn new(gain: Tensor, eps: f64, fused: bool) -> Self {
        RmsNorm { gain, eps, fused }
    }

    /// Normalises the last dimension.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        if self.fused {
            return rms_norm(&x, &self.gain, self.eps as f32);
        }
        let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?;
        x.broadcast_div(&scale)?.broadcast_mul(&self.gain)
    }
}

/// h ← h + attention(norm(h)); h ← h + mlp(norm(h)).
pub struct Block {
    pub attention_norm: RmsNorm,
    pub attention: Attention,
    pub mlp_norm: RmsNorm,
    pub mlp: Mlp,
    by_kernels: bool,
}

impl Block {
    pub fn new(attention_norm: RmsNorm, attention: Attention, mlp_norm: RmsNorm, mlp: Mlp) -> Self {
        let mut block = Block {
            attention_norm,
            attention,
            mlp_norm,
            mlp,
            by_kernels: false,
        };
        block.by_kernels = fused::fits(&block);
        block
    }

    /// Whether the block runs through the CPU kernels.
    pub fn is_by_kernels(&self) -> bool {
        self.by_kernels
    }

    /// Bytes of its matrices.
    pub(super) fn bytes(&self) -> usize {
        self.linears().iter().map(|linear| linear.bytes()).sum()
    }

    pub(super) fn linears(&self) -> [&Linear; 7] {
        let [query, key, value] = &self.attention.inputs.each;
        let [gate, up] = &self.mlp.inputs.each;
        [query, key, value, &self.attention.output, gate, up, &self.mlp.down]
    }

    /// Runs the block over the tokens of `chunk`. With `kv` the tokens also see the pass's
    /// earlier entries and leave their own; without, only each other.
    pub fn forward(&self, hidden: &Tensor, chunk: &Chunk, rope: &Rope, mut kv: Option<&mut PassKv>) -> Result<Tensor> {
        if self.by_kernels {
            let all = fused::forward(self, hidden, chunk, rope, kv, None)?;
            return Ok(all.expect("only what is beside a block ends it early"));
        }
        if let Some(kv) = &mut kv {
            kv.note(chunk.positions());
        }
        let normed = self.attention_norm.forward(hidden)?;
        let hidden = (hidden + self.attention.forward(&normed, chunk, rope, kv)?)?;
        let normed = self.mlp_norm.forward(&hidden)?;
        &hidden + self.mlp.forward(&normed)?
    }

    /// Leaves the keys and values of the tokens of `chunk` as [`Self::forward`] does, and computes nothing else.
    pub fn fill_kv(&self, hidden: &Tensor, chunk: &Chunk, rope: &Rope, kv: &mut PassKv) -> Result<()> {
        if self.by_kernels {
            return fused::fill_kv(self, hidden, chunk, rope, kv);
        }
        kv.note(chunk.positions());
        let normed = self.attention_norm.forward(hidden)?;
        let [_, key, value] = self.attention.inputs.each.each_ref();
        let [key, value] = Linear::forward_all([key, value], &normed)?;
        let (key, value) = self.attention.entries(key, value, chunk, rope)?;
        kv.append(&key, &value)?;
        Ok(())
    }
}

/// Grouped-query attention (arXiv 2305.13245) with rotary positions (arXiv 2104.09864).
pub struct Attention {
    /// Query, key, value.
    pub inputs: Linears<3>,
    pub output: Linear,
    /// Qwen3 normalises every query and key head, (head_dim).
    pub query_norm: Option<RmsNorm>,
    pub key_norm: Option<RmsNorm>,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

impl Attention {
    pub fn new(config: &ModelConfig, inputs: Linears<3>, output: Linear, norms: [Option<RmsNorm>; 2]) -> Self {
        let [query_norm, key_norm] = norms;
        Attention {
            inputs,
            output,
            query_norm,
            key_norm,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        }
    }

    fn forward(&self, x: &Tensor, chunk: &Chunk, rope: &Rope, kv: Option<&mut PassKv>) -> Result<Tensor> {
        let tokens = x.dims()[0];
        let [query, key, value] = self.inputs.forward(x)?;
        let query = self.turned(query, self.heads, self.query_norm.as_ref(), chunk, rope)?;
        let (key, value) = self.entries(key, value, chunk, rope)?;
        let past = kv.as_ref().map_or(0, |kv| kv.len());
        let (keys, values) = match kv {
            Some(kv) => kv.append(&key, &value)?,
            None => (key, value),
        };
        // Query heads of a group stand together, so a group's heads are rows of one product:
        // (kv_heads, groups · tokens, head_dim) × (kv_heads, head_dim, entries).
        let groups = self.heads / self.kv_heads;
        let query = query.reshape((self.kv_heads, groups * tokens, self.head_dim))?;
        // Scaled before the product: a query is shorter than its scores.
        let query = (query / (self.head_dim as f64).sqrt())?;
        let scores = query.matmul(&keys.t()?)?;
        let scores = match chunk.mask(past)? {
            Some(mask) => scores
                .reshape((self.kv_heads, groups, tokens, past + tokens))?
                .broadcast_add(&mask)?
                .reshape((self.kv_heads, groups * tokens, past + tokens))?,
            None => scores,
        };
        let mixed = softmax_last_dim(&scores)?.matmul(&values)?;
        let mixed = mixed
            .reshape((self.heads, tokens, self.head_dim))?
            .transpose(0, 1)?
            .reshape((tokens, self.heads * self.head_dim))?;
        self.output.forward(&mixed)
    }

    /// Keys and values (tokens, kv_heads · head_dim) as a pass keeps them, (kv_heads, tokens, head_dim).
    fn entries(&self, key: Tensor, value: Tensor, chunk: &Chunk, rope: &Rope) -> Result<(Tensor, Tensor)> {
        let tokens = key.dims()[0];
        let key = self.turned(key, self.kv_heads, self.key_norm.as_ref(), chunk, rope)?;
        let value = value
            .reshape((tokens, self.kv_heads, self.head_dim))?
            .transpose(0, 1)?
            .contiguous()?;
        Ok((key, value))
    }

    /// Splits (tokens, heads · head_dim) into heads, normalises them where the model does and
    /// turns them by their positions: (heads, tokens, head_dim).
    fn turned(&self, x: Tensor, heads: usize, norm: Option<&RmsNorm>, chunk: &Chunk, rope: &Rope) -> Result<Tensor> {
        let tokens = x.dims()[0];
        let mut x = x.reshape((tokens, heads, self.head_dim))?;
        if let Some(norm) = norm {
            x = norm.forward(&x)?;
        }
        let x = x.transpose(0, 1)?.unsqueeze(0)?.contiguous()?;
        rope.apply(&x, chunk.cos(), chunk.sin())?.squeeze(0)
    }
}

/// SwiGLU feed-forward (arXiv 2002.05202): down(silu(gate(x)) · up(x)).
pub struct Mlp {
    /// Gate, up.
    pub inputs: Linears<2>,
    pub down: Linear,
}

impl Mlp {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [gate, up] = self.inputs.forward(x)?;
        self.down.forward(&(silu(&gate)? * up)?)
    }
}
