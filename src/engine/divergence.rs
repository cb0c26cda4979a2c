//! How far the next-token distributions of two runs lie apart, position by position.

use anyhow::Result;
use candle_core::Tensor;

use super::distribution::{kl, log_probs};
use super::inspector::Inspector;
use super::replay::{ReplayChunk, common_steps};
use crate::trace::Trace;

/// KL(A ‖ B) in nats between what two runs say comes next.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// Entry i is of the distributions that the i-th token of the answer (from 0) was drawn from; as
    /// many as both runs have tokens. The prompt before may be another.
    pub by_token: Vec<f32>,
}

impl Divergence {
    /// Mean over the positions, in nats.
    pub fn mean(&self) -> f32 {
        self.by_token.iter().sum::<f32>() / self.by_token.len().max(1) as f32
    }

    /// The position where they lie farthest apart, and how far.
    pub fn greatest(&self) -> Option<(usize, f32)> {
        let all = self.by_token.iter().copied().enumerate();
        all.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

impl Inspector<'_, '_> {
    /// Runs both traces again from where they part: up to there tokens and programs are the same, and
    /// so are the distributions.
    ///
    /// # Errors
    /// When a trace is of another model, or it was stopped.
    pub fn divergence(&mut self, traces: &[Trace; 2]) -> Result<Divergence> {
        let tokens = traces.iter().map(|t| t.steps.len()).min().unwrap_or(0);
        let shared = common_steps(&traces[0], &traces[1]).map(|n| n.min(tokens));
        let mut sequences = Vec::with_capacity(2);
        let mut by_token = Vec::with_capacity(tokens);
        if let Some(n) = shared {
            for trace in traces {
                sequences.push(self.sequence(trace, n)?);
            }
            // The token behind the last shared step too is drawn from the same distribution.
            by_token.resize(n + 1, 0.0);
        } else {
            let mut logits = Vec::with_capacity(2);
            for trace in traces {
                let mut sequence = self.before(trace, 0)?;
                logits.push(ReplayChunk::prompt(trace).run(&mut sequence)?);
                sequences.push(sequence);
            }
            by_token.push(apart(&logits)?);
        }
        for step in shared.unwrap_or(0).. {
            if by_token.len() >= tokens {
                break;
            }
            let mut logits = Vec::with_capacity(2);
            for (sequence, trace) in sequences.iter_mut().zip(traces) {
                logits.push(ReplayChunk::step(trace, step).run(sequence)?);
            }
            by_token.push(apart(&logits)?);
        }
        by_token.truncate(tokens);
        Ok(Divergence { by_token })
    }
}

/// KL between two distributions given by their logits (vocab_size).
fn apart(logits: &[Tensor]) -> Result<f32> {
    let rows = log_probs(&Tensor::stack(logits, 0)?)?;
    Ok(kl(&rows[0], &rows[1]))
}
