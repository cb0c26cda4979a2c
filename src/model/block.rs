//! One decoder block: attention and MLP as the Llama and Qwen papers have them.
//!
//! Shapes: hidden states are (tokens, hidden_size); one sequence at a time.

use std::sync::Arc;

use candle_core::{D, Result, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};

use super::chunk::Chunk;
use super::config::{Activation, ModelConfig};
use super::fused;
use super::kernel::{Gates, KvBits};
use super::kv::PassKv;
use super::linear::{FusedLinear, Linear};
use super::prefill::PrefillKernels;
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

/// h ← h + attention(norm(h)); h ← h + mlp(norm(h)). With post norms, what is added goes through one of its own.
pub struct Block {
    /// Before attention, over (hidden_size).
    pub attention_norm: RmsNorm,
    /// Whose output is added to the states.
    pub attention: Attention,
    /// Before the feed-forward, over (hidden_size).
    pub mlp_norm: RmsNorm,
    /// The feed-forward, whose output is added to the states.
    pub mlp: Mlp,
    /// Behind attention and behind the feed-forward.
    pub post_norms: Option<[RmsNorm; 2]>,
    by_kernels: bool,
}

impl Block {
    /// Puts a block together, and finds out whether the CPU kernels take it whole.
    pub fn new(
        attention_norm: RmsNorm,
        attention: Attention,
        mlp_norm: RmsNorm,
        mlp: Mlp,
        post_norms: Option<[RmsNorm; 2]>,
    ) -> Self {
        let mut block = Block {
            attention_norm,
            attention,
            mlp_norm,
            mlp,
            post_norms,
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

    pub(super) fn linears_mut(&mut self) -> [&mut Linear; 7] {
        let [query, key, value] = &mut self.attention.inputs.each;
        let [gate, up] = &mut self.mlp.inputs.each;
        [
            query,
            key,
            value,
            &mut self.attention.output,
            gate,
            up,
            &mut self.mlp.down,
        ]
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
        let mut attended = self.attention.forward(&normed, chunk, rope, kv)?;
        if let Some([norm, _]) = &self.post_norms {
            attended = norm.forward(&attended)?;
        }
        let hidden = (hidden + attended)?;
        let normed = self.mlp_norm.forward(&hidden)?;
        let mut fed = self.mlp.forward(&normed)?;
        if let Some([_, norm]) = &self.post_norms {
            fed = norm.forward(&fed)?;
        }
        hidden + fed
    }

    /// Whether it computes what Llama's and Qwen's blocks do: SwiGLU, two norms, and each token sees all before it.
    pub(super) fn is_plain(&self) -> bool {
        let scale = (self.attention.head_dim as f64).sqrt().recip();
        self.post_norms.is_none()
            && self.mlp.activation == Activation::Silu
            && self.attention.window.is_none()
            && !self.attention.local_rope
            && self.attention.scale == scale
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
        let shape = (hidden.dims()[0], self.attention.kv_heads, self.attention.head_dim);
        let (key, value) = (key.reshape(shape)?, value.reshape(shape)?);
        let (key, value) = self.attention.entries(key, value, chunk, rope)?;
        kv.append(&key, &value)?;
        Ok(())
    }
}

/// Grouped-query attention (arXiv 2305.13245) with rotary positions (arXiv 2104.09864).
pub struct Attention {
    /// Query, key, value.
    pub inputs: FusedLinear<3>,
    /// From the heads' outputs, (hidden_size, heads · head_dim).
    pub output: Linear,
    /// Qwen3 normalises every query and key head, (head_dim).
    pub query_norm: Option<RmsNorm>,
    /// Over (head_dim), where `query_norm` is.
    pub key_norm: Option<RmsNorm>,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    /// What scores are multiplied with.
    pub(super) scale: f64,
    /// How many positions a token sees, its own included; all before it where there is none.
    pub(super) window: Option<usize>,
    /// Whether RoPE is the one of layers with a window.
    pub(super) local_rope: bool,
    /// Of keys and values, where the block runs by the CPU kernels.
    pub(super) kv_bits: KvBits,
    /// What each channel of the keys is divided by before it is kept, (kv_heads · head_dim); nothing where there are none.
    pub(super) key_smoothing: Vec<f32>,
    /// What several tokens attend by on a GPU, where they do.
    pub(super) kernels: Option<Arc<PrefillKernels>>,
}

impl Attention {
    /// Of the layer `layer`.
    pub fn new(
        config: &ModelConfig,
        layer: usize,
        inputs: FusedLinear<3>,
        output: Linear,
        norms: [Option<RmsNorm>; 2],
    ) -> Self {
        let [query_norm, key_norm] = norms;
        let sliding = config.details.sliding.as_ref().filter(|sliding| sliding.layers[layer]);
        Attention {
            scale: config.attention_scale(),
            window: sliding.map(|sliding| sliding.window),
            local_rope: sliding.is_some_and(|sliding| sliding.rope.is_some()),
            inputs,
            output,
            query_norm,
            key_norm,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            kv_bits: KvBits::default(),
            key_smoothing: Vec::new(),
            kernels: None,
        }
    }

    fn forward(&self, x: &Tensor, chunk: &Chunk, rope: &Rope, kv: Option<&mut PassKv>) -> Result<Tensor> {
        let [query, key, value] = self.heads_of(x)?;
        let query = self.turned(query, self.query_norm.as_ref(), chunk, rope)?;
        let (key, value) = self.entries(key, value, chunk, rope)?;
        let past = kv.as_ref().map_or(0, |kv| kv.len());
        // Whom a window hides, where it hides any.
        let window = |part: &Chunk| {
            let entries = kv.as_ref().map_or(part.positions(), |kv| kv.positions());
            self.window
                .and_then(|size| Window::new(size, part.positions(), entries))
        };
        let windows: Vec<Option<Window>> = chunk.parts().iter().map(window).collect();
        let (keys, values) = match kv {
            Some(kv) => kv.append(&key, &value)?,
            None => (key, value),
        };
        let by_kernels = |_: &&Arc<PrefillKernels>| x.dims()[0] > 1 && windows.iter().all(Option::is_none);
        if let Some(kernels) = self.kernels.as_ref().filter(by_kernels) {
            let mixed = kernels.attend((&query, &keys, &values), self.scale, chunk, past)?;
            return self.output.forward(&mixed);
        }
        let [part] = chunk.parts() else {
            // Several sequences have nothing before them.
            let mut mixed = Vec::with_capacity(windows.len());
            let mut from = 0;
            for (part, window) in chunk.parts().iter().zip(&windows) {
                let tokens = part.positions().len();
                let own = |x: &Tensor| x.narrow(1, from, tokens)?.contiguous();
                mixed.push(self.mixed((own(&query)?, own(&keys)?, own(&values)?), part, 0, window.as_ref())?);
                from += tokens;
            }
            return self.output.forward(&Tensor::cat(&mixed, 0)?);
        };
        let mixed = self.mixed((query, keys, values), part, past, windows[0].as_ref())?;
        self.output.forward(&mixed)
    }

    /// Queries, keys and values, each (tokens, heads, head_dim), before their norms and their turns.
    fn heads_of(&self, x: &Tensor) -> Result<[Tensor; 3]> {
        let (tokens, counts) = (x.dims()[0], [self.heads, self.kv_heads, self.kv_heads]);
        let Some(all) = self.inputs.together(x)? else {
            let [query, key, value] = self.inputs.forward(x)?;
            let [heads, kv_heads, _] = counts;
            return Ok([
                query.reshape((tokens, heads, self.head_dim))?,
                key.reshape((tokens, kv_heads, self.head_dim))?,
                value.reshape((tokens, kv_heads, self.head_dim))?,
            ]);
        };
        let all = all.reshape((tokens, counts.iter().sum::<usize>(), self.head_dim))?;
        Ok([
            all.narrow(1, 0, self.heads)?,
            all.narrow(1, self.heads, self.kv_heads)?,
            all.narrow(1, self.heads + self.kv_heads, self.kv_heads)?,
        ])
    }

    /// What the tokens of one sequence read of keys and values (kv_heads, entries, head_dim), of which all but their own are
    /// `past` ones: (tokens, heads · head_dim).
    fn mixed(
        &self,
        (query, mut keys, mut values): (Tensor, Tensor, Tensor),
        chunk: &Chunk,
        past: usize,
        hidden: Option<&Window>,
    ) -> Result<Tensor> {
        let tokens = query.dims()[1];
        // Query heads of a group stand together, so a group's heads are rows of one product:
        // (kv_heads, groups · tokens, head_dim) × (kv_heads, head_dim, entries).
        let groups = self.heads / self.kv_heads;
        let query = query.reshape((self.kv_heads, groups * tokens, self.head_dim))?;
        // Scaled before the product: a query is shorter than its scores.
        let query = (query * self.scale)?;
        let mut entries = past + tokens;
        if let Some(window) = hidden {
            // What no token of the chunk sees any more.
            entries -= window.first;
            keys = keys.narrow(1, window.first, entries)?.contiguous()?;
            values = values.narrow(1, window.first, entries)?.contiguous()?;
        }
        let scores = query.matmul(&keys.t()?)?;
        let mask = match chunk.mask(past)? {
            Some(mask) => Some(mask.narrow(1, past + tokens - entries, entries)?),
            None => None,
        };
        let windowed = match hidden {
            Some(window) => window.mask(entries, mask.as_ref(), &query)?,
            None => mask,
        };
        let scores = match windowed {
            Some(mask) => scores
                .reshape((self.kv_heads, groups, tokens, entries))?
                .broadcast_add(&mask)?
                .reshape((self.kv_heads, groups * tokens, entries))?,
            None => scores,
        };
        let mixed = softmax_last_dim(&scores)?.matmul(&values)?;
        mixed
            .reshape((self.heads, tokens, self.head_dim))?
            .transpose(0, 1)?
            .reshape((tokens, self.heads * self.head_dim))
    }

    /// Keys and values (tokens, kv_heads, head_dim) as a pass keeps them, (kv_heads, tokens, head_dim).
    fn entries(&self, key: Tensor, value: Tensor, chunk: &Chunk, rope: &Rope) -> Result<(Tensor, Tensor)> {
        let key = self.turned(key, self.key_norm.as_ref(), chunk, rope)?;
        Ok((key, value.transpose(0, 1)?.contiguous()?))
    }

    /// Normalises heads (tokens, heads, head_dim) where the model does and turns them by their positions: (heads, tokens,
    /// head_dim).
    fn turned(&self, mut x: Tensor, norm: Option<&RmsNorm>, chunk: &Chunk, rope: &Rope) -> Result<Tensor> {
        if let Some(norm) = norm {
            x = norm.forward(&x)?;
        }
        let x = x.transpose(0, 1)?.unsqueeze(0)?.contiguous()?;
        let (cos, sin) = chunk.tables(self.local_rope);
        rope.apply(&x, cos, sin)?.squeeze(0)
    }
}

/// Whom a window hides from the tokens of a chunk.
struct Window {
    /// The first entry that any of them sees.
    first: usize,
    /// From there on, whether a token of the chunk sees an entry, row by row; none where each sees all.
    seen: Option<Vec<bool>>,
}

impl Window {
    /// `size` positions, of tokens at `positions` among entries at `entries`; none where nothing is hidden.
    fn new(size: usize, positions: &[u32], entries: &[u32]) -> Option<Self> {
        let sees = |position: u32, entry: u32| (position as usize) < entry as usize + size;
        let seen_by_any = |&entry: &u32| positions.iter().any(|&position| sees(position, entry));
        if positions
            .iter()
            .all(|&position| entries.iter().all(|&entry| sees(position, entry)))
        {
            return None;
        }
        let first = entries.iter().position(seen_by_any).unwrap_or(0);
        let rows = positions
            .iter()
            .flat_map(|&p| entries[first..].iter().map(move |&e| sees(p, e)));
        let seen: Vec<bool> = rows.collect();
        Some(Window {
            first,
            seen: seen.contains(&false).then_some(seen),
        })
    }

    /// An additive mask (tokens, entries) of what this and `other` hide, in the type of `like`; none where nothing is.
    fn mask(&self, entries: usize, other: Option<&Tensor>, like: &Tensor) -> Result<Option<Tensor>> {
        let Some(seen) = &self.seen else {
            return Ok(other.cloned());
        };
        let values: Vec<f32> = seen
            .iter()
            .map(|&sees| if sees { 0.0 } else { f32::NEG_INFINITY })
            .collect();
        let shape = (seen.len() / entries, entries);
        let mask = Tensor::from_vec(values, shape, like.device())?.to_dtype(like.dtype())?;
        Ok(Some(match other {
            Some(other) => (mask + other)?,
            None => mask,
        }))
    }
}

/// Gated feed-forward (arXiv 2002.05202): down(activation(gate(x)) · up(x)).
pub struct Mlp {
    /// Gate, up.
    pub inputs: FusedLinear<2>,
    /// (hidden_size, intermediate_size)
    pub down: Linear,
    /// Of the gate.
    pub activation: Activation,
    /// What gates open by on a GPU, where they do.
    pub(super) kernels: Option<Arc<PrefillKernels>>,
}

impl Mlp {
    /// What the CPU kernels and gradients know the activation by; `None` where they have none for it.
    pub(super) fn gates(&self) -> Option<Gates> {
        match self.activation {
            Activation::Silu => Some(Gates::Silu),
            Activation::GeluTanh => Some(Gates::GeluTanh),
            Activation::Gelu | Activation::Relu => None,
        }
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if let (Some(kernels), Some(gates)) = (&self.kernels, self.gates())
            && let Some(both) = self.inputs.together(x)?
        {
            return self.down.forward(&kernels.gate(&both, gates)?);
        }
        let [gate, up] = self.inputs.forward(x)?;
        let gate = match self.activation {
            Activation::Silu => silu(&gate)?,
            Activation::Gelu => gate.gelu_erf()?,
            Activation::GeluTanh => gate.gelu()?,
            Activation::Relu => gate.relu()?,
        };
        self.down.forward(&(gate * up)?)
    }
}
