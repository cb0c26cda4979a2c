//! A LoopMoE model one execution at a time: what a [`Decoder`](crate::model::Decoder) runs as its layers.
//!
//! Layer l of the decoder is the l-th execution of the standard path (prefix, K times the body, suffix), with the
//! iteration that it had in training; a repeat of it is the same execution with the same iteration once more.

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::ops::softmax_last_dim;

use super::cache::{Context, Pass};
use super::config::LoopExecution;
use super::decoder::{ExecutionObserver, LoopMoe, Rope, Run};
use super::experts::Excluded;
use super::ops::causal_softmax;
use super::parameters::parameters;
use crate::model::chunk::Chunk;
use crate::model::config::{Architecture, Details, ModelConfig, RopeScaling};
use crate::model::kernel::AttentionMask;
use crate::model::kv::PassKv;

/// Any expert may be chosen.
static NONE_EXCLUDED: Excluded = Excluded::new();

/// The executions of a model at the number of iterations in its config.
pub struct Executions {
    model: LoopMoe,
    path: Vec<LoopExecution>,
    /// v_k of each execution whose norms are IterAdaLN.
    conditions: Vec<Option<Tensor>>,
}

impl Executions {
    pub fn new(model: LoopMoe) -> Result<Self> {
        let path = model.config().standard_path(model.config().iterations);
        let conditions = path.iter().map(|&execution| model.iteration(execution));
        Ok(Executions {
            conditions: conditions.collect::<Result<_>>()?,
            path,
            model,
        })
    }

    /// The shape that routers and traces know, for a training of `context` tokens.
    pub fn config(&self, context: usize) -> ModelConfig {
        let own = self.model.config();
        ModelConfig {
            architecture: Architecture::LoopMoe,
            layers: self.path.len(),
            hidden_size: own.hidden_size,
            intermediate_size: own.moe_intermediate_size * (own.num_experts_per_tok + own.n_shared_experts),
            heads: own.num_attention_heads,
            // All heads attend to the same latents.
            kv_heads: 1,
            head_dim: own.qk_rope_head_dim,
            vocab_size: own.vocab_size,
            context,
            rms_norm_eps: own.rms_norm_eps,
            rope_theta: own.rope_theta,
            rope_scaling: RopeScaling::None,
            rope_interleaved: false,
            tied_embeddings: false,
            details: Details::default(),
        }
    }

    pub fn model(&self) -> &LoopMoe {
        &self.model
    }

    pub fn into_model(self) -> LoopMoe {
        self.model
    }

    /// Layer and iteration of an execution.
    pub fn execution(&self, index: usize) -> LoopExecution {
        self.path[index]
    }

    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        self.model.embed(ids)
    }

    /// (tokens, d) → (tokens, vocab), f32
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.model.lens(hidden)?.to_dtype(DType::F32)
    }

    /// One execution over (tokens, d), no token going to an expert of `excluded`. With `kv` the tokens also see the pass's
    /// earlier entries and leave theirs.
    pub fn run(
        &self,
        index: usize,
        hidden: &Tensor,
        chunk: &Chunk,
        kv: Option<&mut PassKv>,
        (excluded, observer): (&Excluded, &mut dyn ExecutionObserver),
    ) -> Result<Tensor> {
        let context = &mut Attended { chunk, kv };
        context.note();
        let (pass, mut run) = (self.pass(index), self.run_over(chunk, context, (excluded, observer)));
        let layer = self.model.layer(pass.execution.layer);
        let condition = self.conditions[index].as_ref();
        let after = layer.forward(&hidden.unsqueeze(0)?, condition, (index, pass), &mut run)?;
        after.squeeze(0)
    }

    /// One execution over (tokens, d) behind tokens whose latents (tokens before, width) are known: what leaves it, and the
    /// latents of these tokens. Both have gradients by `hidden`, the latents of the others have none.
    pub fn run_behind(
        &self,
        index: usize,
        hidden: &Tensor,
        chunk: &Chunk,
        past: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let mut context = Behind {
            past: past.map(|past| past.unsqueeze(0)).transpose()?,
            latents: None,
        };
        let (pass, observer) = (self.pass(index), &mut ());
        let mut run = self.run_over(chunk, &mut context, (&NONE_EXCLUDED, observer));
        let layer = self.model.layer(pass.execution.layer);
        let condition = self.conditions[index].as_ref();
        let after = layer.forward(&hidden.unsqueeze(0)?, condition, (index, pass), &mut run)?;
        let Some(latents) = context.latents else {
            bail!("execution {index} has no attention");
        };
        Ok((after.squeeze(0)?, latents.squeeze(0)?))
    }

    /// Leaves the latents of tokens (tokens, d) that do not run the execution.
    pub fn fill(&self, index: usize, hidden: &Tensor, chunk: &Chunk, kv: &mut PassKv) -> Result<()> {
        let context = &mut Attended { chunk, kv: Some(kv) };
        context.note();
        let (pass, observer) = (self.pass(index), &mut ());
        let mut run = self.run_over(chunk, context, (&NONE_EXCLUDED, observer));
        let layer = self.model.layer(pass.execution.layer);
        layer.fill(&hidden.unsqueeze(0)?, self.conditions[index].as_ref(), pass, &mut run)
    }

    /// Bytes of all weights.
    pub fn bytes(&self) -> usize {
        let counts = parameters(self.model.config()).into_iter().map(|p| p.count());
        counts.sum::<usize>() * DType::F32.size_in_bytes()
    }

    /// How many matrices they are, experts apart.
    pub fn matrices(&self) -> usize {
        let matrices = |shape: &[usize]| match shape.len() {
            0 | 1 => 0,
            2 => 1,
            _ => shape[0],
        };
        parameters(self.model.config()).iter().map(|p| matrices(&p.shape)).sum()
    }

    /// The engine keeps a cache for each execution and each of its repeats, so that no occurrence is told apart here.
    fn pass(&self, index: usize) -> Pass {
        Pass {
            execution: self.path[index],
            occurrence: 0,
        }
    }

    fn run_over<'a>(
        &'a self,
        chunk: &Chunk,
        context: &'a mut dyn Context,
        (excluded, observer): (&'a Excluded, &'a mut dyn ExecutionObserver),
    ) -> Run<'a> {
        Run {
            rope: Rope {
                cos: chunk.cos().clone(),
                sin: chunk.sin().clone(),
            },
            context,
            excluded,
            observer,
        }
    }
}

/// Attention over a chunk and a pass's entries.
struct Attended<'a> {
    chunk: &'a Chunk,
    kv: Option<&'a mut PassKv>,
}

impl Attended<'_> {
    fn note(&mut self) {
        if let Some(kv) = &mut self.kv {
            kv.note(self.chunk.positions());
        }
    }
}

impl Context for Attended<'_> {
    fn extend(&mut self, _: Pass, new: &Tensor) -> Result<(Tensor, usize)> {
        let Some(kv) = &mut self.kv else {
            return Ok((new.clone(), 0));
        };
        let past = kv.len();
        let [all] = kv.append_all([new])?;
        Ok((all, past))
    }

    fn weights(&self, scores: &Tensor, scale: f64, heads: usize, past: usize) -> Result<Tensor> {
        if let AttentionMask::Causal = self.chunk.attention_mask() {
            return causal_softmax(scores, scale, heads, past);
        }
        let (batch, rows, keys) = scores.dims3()?;
        let scores = (scores * scale)?.reshape((rows / heads, heads, keys))?;
        let scores = match self.chunk.mask(past)? {
            Some(mask) => scores.broadcast_add(&mask.unsqueeze(1)?)?,
            None => scores,
        };
        softmax_last_dim(&scores)?.reshape((batch, rows, keys))
    }
}

/// Attention over a chunk in order and the latents before it, which stay as they are.
struct Behind {
    /// (1, tokens before, width)
    past: Option<Tensor>,
    /// Those of the chunk, (1, tokens, width).
    latents: Option<Tensor>,
}

impl Context for Behind {
    fn extend(&mut self, _: Pass, new: &Tensor) -> Result<(Tensor, usize)> {
        self.latents = Some(new.clone());
        match &self.past {
            None => Ok((new.clone(), 0)),
            Some(past) => Ok((Tensor::cat(&[past, new], 1)?, past.dim(1)?)),
        }
    }
}
