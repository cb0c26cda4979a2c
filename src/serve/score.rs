//! Log-probabilities of a text's own tokens, under a program or under routers.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

use crate::engine::decide::DecisionPolicy;
use crate::engine::sequence::{Sequence, Stopped};
use crate::model::{Model, logsumexp, stepped};
use crate::program::Program;
use crate::router::Router;
use crate::trace::{Scope, Settings};

/// Rows whose logits are computed together; all at once they would take vocab_size numbers a token.
const ROWS: usize = 64;

/// What the model said of one token, before it came.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredToken {
    /// Its number in the vocabulary.
    pub id: u32,
    /// ln p, in nats; none of a text's first token, which nothing predicts.
    pub log_prob: Option<f64>,
    /// The likeliest tokens in its place, the likeliest first, and it itself where it is not among them.
    pub top: Vec<(u32, f64)>,
}

/// A text that was read.
pub struct ScoredText {
    /// One for each of the text's ids, in their order.
    pub tokens: Vec<ScoredToken>,
    /// (vocab_size) of the token to come.
    pub next: Tensor,
    /// Block executions, meaned over the tokens.
    pub depth: f64,
}

/// What scores texts.
pub struct TextScorer<'a> {
    /// The model that gives the probabilities.
    pub model: &'a Model,
    /// Those that decide, unless the settings have a program; absent where there are none.
    pub routers: Option<&'a dyn Router>,
    /// Scope, KV mode, dial, budget and program.
    pub settings: &'a Settings,
    /// How many likeliest tokens are named.
    pub top: usize,
    /// Ends the pass once it is set.
    pub stop: &'a AtomicBool,
}

impl TextScorer<'_> {
    /// Reads `ids`. Under routers the first `prompt` of them are the prompt; in scope `prompt` its program holds for all, in
    /// scope `token` each later token is routed as if it had been generated.
    ///
    /// # Errors
    /// Settings that contradict the routers, a pass that was stopped, logits that are no numbers.
    pub fn score(&self, ids: &[u32], prompt: usize) -> Result<ScoredText> {
        let layers = self.model.info.layers;
        let mut policy = DecisionPolicy::new(self.settings, self.routers, layers)?;
        if let Some(program) = &self.settings.program {
            return self.under(ids, program);
        }
        if self.routers.is_none() && self.settings.budget.is_none() {
            return self.under(ids, &Program::standard(layers));
        }
        let mut sequence = Sequence::new(&self.model.decoder, self.stop).with_kv(self.settings.kv);
        let (begun, later) = ids.split_at(prompt);
        let decided = policy.prompt(&mut sequence, begun)?;
        let is_predictor = self.routers.is_some_and(|routers| routers.info().is_predictor());
        if self.settings.scope == Scope::Prompt || is_predictor {
            return self.under(ids, &decided.program);
        }
        let mut text = self.under(begun, &decided.program)?;
        let mut executed = decided.program.depth() * begun.len();
        text.next = decided.logits;
        for &id in later {
            text.tokens.push(self.token(&as_floats(&text.next)?, id)?);
            let routed = policy.token(&mut sequence, id)?;
            executed += routed.program.depth();
            text.next = routed.logits;
        }
        text.depth = executed as f64 / ids.len() as f64;
        Ok(text)
    }

    /// All of `ids` in one pass through a program.
    fn under(&self, ids: &[u32], program: &Program) -> Result<ScoredText> {
        let decoder = &self.model.decoder;
        let positions: Vec<u32> = (0..ids.len() as u32).collect();
        let chunk = decoder.chunk(&positions)?;
        let mut hidden = decoder.embed(ids)?;
        for execution in program.passes() {
            self.check_stop()?;
            let after = decoder.run_block(execution.layer, &hidden, &chunk, None)?;
            hidden = stepped(&hidden, after, execution.step)?;
        }
        let first = ScoredToken {
            id: ids[0],
            log_prob: None,
            top: Vec::new(),
        };
        let mut tokens = vec![first];
        let mut next = None;
        for from in (0..ids.len()).step_by(ROWS) {
            self.check_stop()?;
            let rows = ROWS.min(ids.len() - from);
            let logits = decoder.logits(&hidden.narrow(0, from, rows)?)?;
            for (row, logits) in logits.to_vec2::<f32>()?.iter().enumerate() {
                if let Some(&id) = ids.get(from + row + 1) {
                    tokens.push(self.token(logits, id)?);
                }
            }
            next = Some(logits.get(rows - 1)?);
        }
        Ok(ScoredText {
            tokens,
            next: next.expect("a text has tokens"),
            depth: program.depth() as f64,
        })
    }

    /// A token that came after `logits` (vocab_size).
    ///
    /// # Errors
    /// Logits that are no numbers.
    pub fn token(&self, logits: &[f32], id: u32) -> Result<ScoredToken> {
        let sum = logsumexp(logits);
        ensure!(
            sum.is_finite(),
            "the model computes numbers that are not finite under this program: its weights or its routers are damaged"
        );
        let log_prob = |id: u32| f64::from(logits[id as usize]) - sum;
        let mut top: Vec<(u32, f64)> = Vec::with_capacity(self.top + 1);
        for (other, &logit) in (0u32..).zip(logits) {
            let is_more = |last: &(u32, f64)| f64::from(logit) - sum > last.1;
            if top.len() < self.top || top.last().is_some_and(is_more) {
                let log_prob = log_prob(other);
                let at = top.partition_point(|known| known.1 >= log_prob);
                top.insert(at, (other, log_prob));
                top.truncate(self.top);
            }
        }
        if top.iter().all(|known| known.0 != id) {
            top.push((id, log_prob(id)));
        }
        Ok(ScoredToken {
            id,
            log_prob: Some(log_prob(id)),
            top,
        })
    }

    fn check_stop(&self) -> Result<(), Stopped> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Stopped),
            false => Ok(()),
        }
    }
}

/// Logits (vocab_size) as a list.
///
/// # Errors
/// Those of the device.
pub fn as_floats(logits: &Tensor) -> Result<Vec<f32>> {
    Ok(logits.to_dtype(DType::F32)?.to_vec1()?)
}
