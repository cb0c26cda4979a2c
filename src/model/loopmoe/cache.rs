//! The latents of MLA that later tokens attend to, by pass.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use super::config::LoopExecution;
use super::ops::causal_softmax;

/// The n-th time that a token runs (layer, iteration): every one has slots of its own (spec §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pass {
    /// Which layer, in which iteration.
    pub execution: LoopExecution,
    /// From 0; above it where a path names an execution more than once.
    pub occurrence: usize,
}

/// Latents and keys with RoPE of the tokens so far. Tokens that did not run a pass left nothing there.
#[derive(Clone, Debug, Default)]
pub struct LatentCache {
    /// (batch, tokens that ran it, kv_lora_rank + qk_rope_head_dim)
    latents: BTreeMap<Pass, Tensor>,
    tokens: usize,
}

impl LatentCache {
    /// How many tokens went through the model; the next one has this position.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// How many tokens left latents at a pass.
    pub fn tokens_at(&self, pass: Pass) -> usize {
        self.latents.get(&pass).map_or(0, |latents| latents.dims()[1])
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }
}

/// What attention knows beside a chunk's states.
pub(super) trait Context {
    /// Adds the latents (batch, tokens, width) of new tokens; returns all, and how many of them are older.
    fn extend(&mut self, pass: Pass, new: &Tensor) -> Result<(Tensor, usize)>;

    /// The softmax over keys of scaled scores (batch, tokens · heads, keys), each token seeing `past` keys, those of the
    /// chunk before it, and its own.
    fn weights(&self, scores: &Tensor, scale: f64, heads: usize, past: usize) -> Result<Tensor> {
        causal_softmax(scores, scale, heads, past)
    }
}

impl Context for LatentCache {
    fn extend(&mut self, pass: Pass, new: &Tensor) -> Result<(Tensor, usize)> {
        let (all, past) = match self.latents.get(&pass) {
            None => (new.clone(), 0),
            Some(old) => (Tensor::cat(&[old, new], 1)?, old.dim(1)?),
        };
        self.latents.insert(pass, all.clone());
        Ok((all, past))
    }
}
