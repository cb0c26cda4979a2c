//! The forward pass, bottom-up, with the checkpoint's names. The same code trains (tensors are variables, gradients by
//! candle's autograd) and infers (a cache, chunk by chunk).

use std::collections::{BTreeMap, HashMap};

use candle_core::{D, DType, Device, Result, Tensor, bail};

use super::cache::{Context, LatentCache, Pass};
use super::config::{LayerPart, LoopExecution, LoopMoeConfig, MOST_ITERATIONS};
use super::experts::{Excluded, Experts, Routing};
use super::ops::{add_bias, rms_norm, rms_normalise, silu_product};

/// Weights by name, each taken once.
pub(super) struct Tensors(HashMap<String, Tensor>);

impl Tensors {
    pub(super) fn take(&mut self, name: &str) -> Result<Tensor> {
        match self.0.remove(name) {
            Some(tensor) => Ok(tensor),
            None => bail!("the weights have no tensor '{name}'"),
        }
    }
}

/// x (…, in) times w (out, in)ᵀ
pub(super) fn linear(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (inner, out) = (x.dim(D::Minus1)?, w.dim(0)?);
    let mut shape = x.dims().to_vec();
    *shape.last_mut().expect("x has a last dimension") = out;
    x.reshape(((), inner))?.matmul(&w.t()?)?.reshape(shape)
}

/// RMSNorm with a gain.
struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm(x, &self.weight, self.eps)
    }
}

/// down(silu(gate(x)) ⊙ up(x))
pub(super) struct SwiGlu {
    gate_proj: Tensor,
    up_proj: Tensor,
    down_proj: Tensor,
}

impl SwiGlu {
    pub(super) fn new(tensors: &mut Tensors, at: &str) -> Result<Self> {
        Ok(SwiGlu {
            gate_proj: tensors.take(&format!("{at}.gate_proj.weight"))?,
            up_proj: tensors.take(&format!("{at}.up_proj.weight"))?,
            down_proj: tensors.take(&format!("{at}.down_proj.weight"))?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = silu_product(&linear(x, &self.gate_proj)?, &linear(x, &self.up_proj)?)?;
        linear(&hidden, &self.down_proj)
    }
}

struct Biased {
    weight: Tensor,
    bias: Tensor,
}

impl Biased {
    fn new(tensors: &mut Tensors, at: &str) -> Result<Self> {
        Ok(Biased {
            weight: tensors.take(&format!("{at}.weight"))?,
            bias: tensors.take(&format!("{at}.bias"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        add_bias(&linear(x, &self.weight)?, &self.bias)
    }
}

/// Cosines and sines (tokens, width / 2) at absolute positions.
pub(super) struct Rope {
    pub(super) cos: Tensor,
    pub(super) sin: Tensor,
}

impl Rope {
    fn new(config: &LoopMoeConfig, past: usize, tokens: usize, like: &Tensor) -> Result<Self> {
        let half = config.qk_rope_head_dim / 2;
        let angle = |at: usize, i: usize| at as f64 * config.rope_theta.powf(-(i as f64) / half as f64);
        let all = (past..past + tokens).flat_map(|at| (0..half).map(move |i| angle(at, i)));
        let all: Vec<f64> = all.collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = all.iter().map(|&a| f(a) as f32).collect();
            Tensor::from_vec(values, (tokens, half), like.device())?.to_dtype(like.dtype())
        };
        Ok(Rope {
            cos: table(f64::cos)?,
            sin: table(f64::sin)?,
        })
    }

    /// Turns the pairs (i, i + width/2) of x (batch, tokens, heads, width).
    fn turn(&self, x: &Tensor) -> Result<Tensor> {
        let half = x.dim(D::Minus1)? / 2;
        let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
        let (cos, sin) = (self.cos.unsqueeze(1)?, self.sin.unsqueeze(1)?);
        let turned = [
            (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?,
            (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?,
        ];
        Tensor::cat(&turned, D::Minus1)
    }
}

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434 §2.1). Keys and values are never made: the up-projection of
/// the keys goes to the query and that of the values behind the sum, so that all heads attend to the latents alone.
struct Mla {
    heads: usize,
    nope: usize,
    rope: usize,
    latent: usize,
    q_a_proj: Tensor,
    q_a_layernorm: RmsNorm,
    q_b_proj: Tensor,
    kv_a_proj_with_mqa: Tensor,
    kv_a_layernorm: RmsNorm,
    /// (heads, nope + v, latent)
    kv_b_proj: Tensor,
    o_proj: Tensor,
}

impl Mla {
    fn new(config: &LoopMoeConfig, tensors: &mut Tensors, at: &str) -> Result<Self> {
        let heads = config.num_attention_heads;
        let mut norm = |name: &str| -> Result<RmsNorm> {
            Ok(RmsNorm {
                weight: tensors.take(&format!("{at}.{name}.weight"))?,
                eps: config.rms_norm_eps,
            })
        };
        let (q_a_layernorm, kv_a_layernorm) = (norm("q_a_layernorm")?, norm("kv_a_layernorm")?);
        let kv_b_proj = tensors.take(&format!("{at}.kv_b_proj.weight"))?;
        Ok(Mla {
            heads,
            nope: config.qk_nope_head_dim,
            rope: config.qk_rope_head_dim,
            latent: config.kv_lora_rank,
            q_a_proj: tensors.take(&format!("{at}.q_a_proj.weight"))?,
            q_a_layernorm,
            q_b_proj: tensors.take(&format!("{at}.q_b_proj.weight"))?,
            kv_a_proj_with_mqa: tensors.take(&format!("{at}.kv_a_proj_with_mqa.weight"))?,
            kv_a_layernorm,
            kv_b_proj: kv_b_proj.reshape((heads, (), config.kv_lora_rank))?,
            o_proj: tensors.take(&format!("{at}.o_proj.weight"))?,
        })
    }

    /// What later tokens attend to: x (batch, tokens, d) → (batch, tokens, latent + rope).
    fn latents(&self, x: &Tensor, rope: &Rope) -> Result<Tensor> {
        let kv = linear(x, &self.kv_a_proj_with_mqa)?;
        let latent = self.kv_a_layernorm.forward(&kv.narrow(D::Minus1, 0, self.latent)?)?;
        let key = kv.narrow(D::Minus1, self.latent, self.rope)?.unsqueeze(2)?;
        Tensor::cat(&[latent, rope.turn(&key)?.squeeze(2)?], D::Minus1)
    }

    /// x (batch, tokens, d) → (batch, tokens, d)
    fn forward(&self, x: &Tensor, rope: &Rope, pass: Pass, context: &mut dyn Context) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        let (rows, heads) = (batch * tokens, self.heads);
        let q = linear(
            &self.q_a_layernorm.forward(&linear(x, &self.q_a_proj)?)?,
            &self.q_b_proj,
        )?;
        let q = q.reshape((batch, tokens, heads, self.nope + self.rope))?;
        let q_rope = rope.turn(&q.narrow(D::Minus1, self.nope, self.rope)?)?;
        // (heads, rows, nope)·(heads, nope, latent)
        let q_nope = q.narrow(D::Minus1, 0, self.nope)?.reshape((rows, heads, self.nope))?;
        let up_keys = self.kv_b_proj.narrow(1, 0, self.nope)?;
        let q_latent = q_nope.transpose(0, 1)?.contiguous()?.matmul(&up_keys.contiguous()?)?;
        let q_latent = q_latent.transpose(0, 1)?.reshape((batch, tokens, heads, self.latent))?;
        let q = Tensor::cat(&[q_latent, q_rope], D::Minus1)?;

        // (batch, keys, latent + rope)
        let (latents, past) = context.extend(pass, &self.latents(x, rope)?)?;

        // Row t·heads + h of the scores is head h of token t.
        let width = self.latent + self.rope;
        let scores = q.reshape((batch, tokens * heads, width))?.matmul(&latents.t()?)?;
        let scale = 1.0 / ((self.nope + self.rope) as f64).sqrt();
        let weights = context.weights(&scores, scale, heads, past)?;
        let seen = weights.matmul(&latents.narrow(D::Minus1, 0, self.latent)?.contiguous()?)?;
        // (heads, rows, latent)·(heads, latent, v)
        let values = self.kv_b_proj.dim(1)? - self.nope;
        let up_values = self.kv_b_proj.narrow(1, self.nope, values)?.transpose(1, 2)?;
        let seen = seen
            .reshape((rows, heads, self.latent))?
            .transpose(0, 1)?
            .contiguous()?;
        let out = seen.matmul(&up_values.contiguous()?)?.transpose(0, 1)?;
        linear(&out.reshape((batch, tokens, heads * values))?, &self.o_proj)
    }
}

/// What IterAdaLN does to a norm's output: (1 + γ) ⊙ x/rms(x) + β.
#[derive(Clone, Debug)]
pub struct Modulation {
    /// (batch, tokens, d)
    pub gamma: Tensor,
    /// (batch, tokens, d)
    pub beta: Tensor,
    /// What gates the attention branch, one number a token (batch, tokens, 1); none on the mixture of experts.
    pub alpha: Option<Tensor>,
}

/// [γ, β, α] = MLP0(Linear(x) + v_k), the last product of MLP0 0 at the start.
struct IterAdaLn {
    width: usize,
    eps: f64,
    proj: Biased,
    hidden: Biased,
    out: Biased,
}

impl IterAdaLn {
    fn new(config: &LoopMoeConfig, tensors: &mut Tensors, at: &str) -> Result<Self> {
        Ok(IterAdaLn {
            width: config.hidden_size,
            eps: config.rms_norm_eps,
            proj: Biased::new(tensors, &format!("{at}.proj"))?,
            hidden: Biased::new(tensors, &format!("{at}.mlp.0"))?,
            out: Biased::new(tensors, &format!("{at}.mlp.2"))?,
        })
    }

    /// x (batch, tokens, d) and v_k (c) → the normalised and modulated x.
    fn forward(&self, x: &Tensor, v: &Tensor) -> Result<(Tensor, Modulation)> {
        let condition = add_bias(&self.proj.forward(x)?, v)?;
        let all = self.out.forward(&self.hidden.forward(&condition)?.silu()?)?;
        let d = self.width;
        let alpha = match all.dim(D::Minus1)? > 2 * d {
            true => Some(all.narrow(D::Minus1, 2 * d, 1)?),
            false => None,
        };
        let (gamma, beta) = (all.narrow(D::Minus1, 0, d)?, all.narrow(D::Minus1, d, d)?);
        let y = (rms_normalise(x, self.eps)? * (&gamma + 1.0)?)?;
        Ok(((y + &beta)?, Modulation { gamma, beta, alpha }))
    }
}

enum PreNorm {
    Plain(RmsNorm),
    Iter(IterAdaLn),
}

impl PreNorm {
    fn forward(&self, x: &Tensor, v: Option<&Tensor>) -> Result<(Tensor, Option<Modulation>)> {
        match (self, v) {
            (PreNorm::Plain(norm), _) => Ok((norm.forward(x)?, None)),
            (PreNorm::Iter(norm), Some(v)) => norm.forward(x, v).map(|(y, modulation)| (y, Some(modulation))),
            (PreNorm::Iter(_), None) => bail!("a layer with IterAdaLN ran without an iteration"),
        }
    }
}

enum FeedForward {
    Dense(SwiGlu),
    Moe(Experts),
}

/// What one execution did, for whoever looks on. Tensors are on the model's device.
pub struct Seen<'a> {
    /// Among the path that is run.
    pub index: usize,
    /// Where it leaves its latents.
    pub pass: Pass,
    /// h, what enters: (batch, tokens, d)
    pub before: &'a Tensor,
    /// h', what leaves.
    pub after: &'a Tensor,
    /// What the router of the experts and the experts read; the dense feed-forward's input in the first layer.
    pub router_input: &'a Tensor,
    /// Of the first layer there is none.
    pub routing: Option<&'a Routing>,
    /// IterAdaLN of the attention and of the mixture of experts, in the body alone.
    pub attention: Option<&'a Modulation>,
    /// IterAdaLN of the mixture of experts.
    pub moe: Option<&'a Modulation>,
}

/// Sees each execution as it ends.
pub trait ExecutionObserver {
    /// # Errors
    /// Ends the forward pass.
    fn execution(&mut self, seen: &Seen) -> Result<()>;
}

/// Looks at nothing.
impl ExecutionObserver for () {
    fn execution(&mut self, _: &Seen) -> Result<()> {
        Ok(())
    }
}

impl<F: FnMut(&Seen) -> Result<()>> ExecutionObserver for F {
    fn execution(&mut self, seen: &Seen) -> Result<()> {
        self(seen)
    }
}

/// One layer with weights of its own.
pub(super) struct Layer {
    attention_norm: PreNorm,
    self_attn: Mla,
    post_attention_layernorm: RmsNorm,
    feed_forward_norm: PreNorm,
    mlp: FeedForward,
    post_feedforward_layernorm: RmsNorm,
}

impl Layer {
    fn new(config: &LoopMoeConfig, layer: usize, tensors: &mut Tensors) -> Result<Self> {
        let at = format!("model.layers.{layer}");
        let norm = |tensors: &mut Tensors, name: &str| -> Result<RmsNorm> {
            Ok(RmsNorm {
                weight: tensors.take(&format!("{at}.{name}.weight"))?,
                eps: config.rms_norm_eps,
            })
        };
        let pre_norm = |tensors: &mut Tensors, plain: &str, iter: &str| match config.is_modulated(layer) {
            true => IterAdaLn::new(config, tensors, &format!("{at}.{iter}")).map(PreNorm::Iter),
            false => norm(tensors, plain).map(PreNorm::Plain),
        };
        let mlp = format!("{at}.mlp");
        Ok(Layer {
            attention_norm: pre_norm(tensors, "input_layernorm", "iter_adaln_attn")?,
            self_attn: Mla::new(config, tensors, &format!("{at}.self_attn"))?,
            post_attention_layernorm: norm(tensors, "post_attention_layernorm")?,
            feed_forward_norm: pre_norm(tensors, "pre_feedforward_layernorm", "iter_adaln_moe")?,
            mlp: match config.is_dense(layer) {
                true => FeedForward::Dense(SwiGlu::new(tensors, &mlp)?),
                false => FeedForward::Moe(Experts::new(config, layer, tensors, &mlp)?),
            },
            post_feedforward_layernorm: norm(tensors, "post_feedforward_layernorm")?,
        })
    }

    /// Leaves the latents of tokens that do not run the layer.
    pub(super) fn fill(&self, h: &Tensor, v: Option<&Tensor>, pass: Pass, run: &mut Run) -> Result<()> {
        let (x, _) = self.attention_norm.forward(h, v)?;
        run.context.extend(pass, &self.self_attn.latents(&x, &run.rope)?)?;
        Ok(())
    }

    pub(super) fn forward(&self, h: &Tensor, v: Option<&Tensor>, at: (usize, Pass), run: &mut Run) -> Result<Tensor> {
        let (x, attention) = self.attention_norm.forward(h, v)?;
        let x = self.self_attn.forward(&x, &run.rope, at.1, run.context)?;
        let mut x = self.post_attention_layernorm.forward(&x)?;
        if let Some(alpha) = attention.as_ref().and_then(|modulation| modulation.alpha.as_ref()) {
            x = x.broadcast_mul(alpha)?;
        }
        let m = (h + x)?;
        let (x, moe) = self.feed_forward_norm.forward(&m, v)?;
        let (y, routing) = match &self.mlp {
            FeedForward::Dense(dense) => (dense.forward(&x)?, None),
            FeedForward::Moe(experts) => {
                let (y, routing) = experts.forward(&x.flatten_to(1)?, run.excluded)?;
                (y.reshape(x.shape())?, Some(routing))
            }
        };
        let after = (&m + self.post_feedforward_layernorm.forward(&y)?)?;
        run.observer.execution(&Seen {
            index: at.0,
            pass: at.1,
            before: h,
            after: &after,
            router_input: &x,
            routing: routing.as_ref(),
            attention: attention.as_ref(),
            moe: moe.as_ref(),
        })?;
        Ok(after)
    }
}

/// What a forward pass has beside the hidden state.
pub(super) struct Run<'a> {
    pub(super) rope: Rope,
    pub(super) context: &'a mut dyn Context,
    pub(super) excluded: &'a Excluded,
    pub(super) observer: &'a mut dyn ExecutionObserver,
}

/// A LoopMoE model, or its plain twin.
pub struct LoopMoe {
    config: LoopMoeConfig,
    embed_tokens: Tensor,
    iter_mlp: Option<[Biased; 2]>,
    layers: Vec<Layer>,
    norm: RmsNorm,
    lm_head: Tensor,
}

impl LoopMoe {
    /// A model of these weights; see [`super::parameters::parameters`] for their names and shapes.
    ///
    /// # Errors
    /// A weight that is missing, and sizes that cannot be.
    pub fn new(config: &LoopMoeConfig, weights: impl IntoIterator<Item = (String, Tensor)>) -> Result<Self> {
        config.check().map_err(candle_core::Error::wrap)?;
        let mut tensors = Tensors(weights.into_iter().collect());
        let tensors = &mut tensors;
        let has_iterations = config.body_layers > 0 && config.iter_condition_size > 0;
        let iter_mlp = match has_iterations {
            true => Some([
                Biased::new(tensors, "model.iter_mlp.0")?,
                Biased::new(tensors, "model.iter_mlp.2")?,
            ]),
            false => None,
        };
        let layers = (0..config.unique_layers()).map(|layer| Layer::new(config, layer, tensors));
        Ok(LoopMoe {
            config: config.clone(),
            iter_mlp,
            layers: layers.collect::<Result<_>>()?,
            embed_tokens: tensors.take("model.embed_tokens.weight")?,
            norm: RmsNorm {
                weight: tensors.take("model.norm.weight")?,
                eps: config.rms_norm_eps,
            },
            lm_head: tensors.take("lm_head.weight")?,
        })
    }

    /// Sizes, with the number of iterations that a forward pass runs.
    pub fn config(&self) -> &LoopMoeConfig {
        &self.config
    }

    /// The same weights with another number of iterations than in training.
    ///
    /// # Errors
    /// A number outside 1 to [`MOST_ITERATIONS`], and a model without a loop.
    pub fn with_iterations(mut self, iterations: usize) -> Result<Self> {
        self.config.iterations = iterations;
        self.config.check().map_err(candle_core::Error::wrap)?;
        Ok(self)
    }

    pub(super) fn layer(&self, layer: usize) -> &Layer {
        &self.layers[layer]
    }

    /// Hidden states of ids (tokens), (tokens, d).
    pub(super) fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        self.embed_tokens.index_select(ids, 0)
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.lm_head.device()
    }

    /// Runs new tokens (batch, tokens) along a path and returns the logits (batch, tokens, vocab).
    ///
    /// Each (execution, occurrence) attends to the latents that earlier tokens left in `cache` at the same pass. A path may
    /// leave executions out or name one twice in a row or more; it may differ from call to call.
    ///
    /// # Errors
    /// An execution that the model lacks, tokens beyond the vocabulary, and what the observer returns.
    pub fn forward(
        &self,
        tokens: &Tensor,
        path: &[LoopExecution],
        cache: &mut LatentCache,
        excluded: &Excluded,
        observer: &mut dyn ExecutionObserver,
    ) -> Result<Tensor> {
        let (batch, count) = tokens.dims2()?;
        let h = self.embed_tokens.index_select(&tokens.flatten_all()?, 0)?;
        let mut h = h.reshape((batch, count, self.config.hidden_size))?;
        let mut run = Run {
            rope: Rope::new(&self.config, cache.tokens(), count, &h)?,
            context: cache,
            excluded,
            observer,
        };
        let mut occurrences: BTreeMap<LoopExecution, usize> = BTreeMap::new();
        for (index, &execution) in path.iter().enumerate() {
            self.check(execution)?;
            let occurrence = occurrences.entry(execution).or_default();
            let pass = Pass {
                execution,
                occurrence: *occurrence,
            };
            *occurrence += 1;
            let v = self.iteration(execution)?;
            h = self.layers[execution.layer].forward(&h, v.as_ref(), (index, pass), &mut run)?;
        }
        cache.advance(count);
        self.lens(&h)
    }

    /// The logits that a hidden state (batch, tokens, d) would give at the end: the logit lens.
    ///
    /// # Errors
    /// A state of another width.
    pub fn lens(&self, h: &Tensor) -> Result<Tensor> {
        linear(&self.norm.forward(h)?, &self.lm_head)
    }

    fn check(&self, execution: LoopExecution) -> Result<()> {
        let (layers, layer) = (self.layers.len(), execution.layer);
        if layer >= layers {
            bail!("the path names layer {layer}: the model has {layers}, numbered from 0");
        }
        let most = match self.config.part(layer) {
            LayerPart::Body => MOST_ITERATIONS,
            LayerPart::Prefix | LayerPart::Suffix => 1,
        };
        if execution.iteration >= most {
            bail!(
                "the path names iteration {} of layer {layer}: expected 1 to {most}",
                execution.iteration + 1
            );
        }
        Ok(())
    }

    /// v_k = MLP_iter(PE(k)) (c), with k from 1; none for layers without IterAdaLN.
    pub(super) fn iteration(&self, execution: LoopExecution) -> Result<Option<Tensor>> {
        let Some([first, second]) = self
            .iter_mlp
            .as_ref()
            .filter(|_| self.config.is_modulated(execution.layer))
        else {
            return Ok(None);
        };
        // As DiT embeds a time step (arXiv 2212.09748): cosines, then sines, of k·10000^(−i/half).
        let half = self.config.iter_condition_size / 2;
        let angle = |i: usize| (execution.iteration + 1) as f64 * 10_000f64.powf(-(i as f64) / half as f64);
        let (cos, sin) = ((0..half).map(|i| angle(i).cos()), (0..half).map(|i| angle(i).sin()));
        let embedding: Vec<f32> = cos.chain(sin).map(|x| x as f32).collect();
        let embedding = Tensor::from_vec(embedding, (1, 2 * half), self.lm_head.device())?;
        let embedding = embedding.to_dtype(self.lm_head.dtype())?;
        second
            .forward(&first.forward(&embedding)?.silu()?)?
            .squeeze(0)
            .map(Some)
    }

    /// Greatest logit at the last token of a batch of one.
    ///
    /// # Errors
    /// Those of the device.
    pub fn likeliest(logits: &Tensor) -> Result<u32> {
        let last = logits.get(0)?.get(logits.dim(1)? - 1)?;
        last.to_dtype(DType::F32)?.argmax(0)?.to_scalar()
    }
}
