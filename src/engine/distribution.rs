//! Next-token distributions and how far they lie apart. Logarithms are natural: nats.

use anyhow::Result;
use candle_core::{DType, Tensor};

use super::sampler::report;
use crate::model::Tokenizer;
use crate::trace::{Candidate, LogitsReport};

/// What the model says comes next.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// The likeliest tokens, the likeliest first.
    pub top: Vec<Candidate>,
    /// −Σ p ln p over the whole vocabulary, in nats: 0 where one token is sure.
    pub entropy: f32,
}

impl Distribution {
    /// The `count` likeliest tokens of log-probabilities (vocab_size) and the entropy of all.
    pub(super) fn new(log_probs: &[f32], count: usize, tokenizer: &Tokenizer) -> Distribution {
        let top = greatest(log_probs, count).into_iter().map(|id| Candidate {
            id,
            text: tokenizer.piece_or_bytes(id),
            probability: log_probs[id as usize].exp(),
        });
        Distribution {
            top: top.collect(),
            entropy: entropy(log_probs),
        }
    }
}

/// The `count` likeliest tokens of logits (vocab_size), the likeliest first. For every token of a run, so in one pass.
pub(super) fn likeliest(logits: &Tensor, count: usize, tokenizer: &Tokenizer) -> Result<Vec<Candidate>> {
    let values: Vec<f32> = logits.to_dtype(DType::F32)?.to_vec1()?;
    let top = top_values(&values, count);
    let Some(&(greatest, _)) = top.first() else {
        return Ok(Vec::new());
    };
    // Tens of thousands of small terms: in 32 bits the sum would be right to four digits only.
    let sum: f64 = values.iter().map(|value| f64::from((value - greatest).exp())).sum();
    let candidate = |&(value, id): &(f32, u32)| Candidate {
        id,
        text: tokenizer.piece_or_bytes(id),
        probability: (f64::from((value - greatest).exp()) / sum) as f32,
    };
    Ok(top.iter().map(candidate).collect())
}

/// Up to which count one pass with insertions is quicker than selecting and sorting.
const FEW: usize = 64;

/// The `count` greatest values, all where there are fewer, with their ids, the greatest first.
fn top_values(values: &[f32], count: usize) -> Vec<(f32, u32)> {
    if count > FEW {
        let ids = greatest(values, count).into_iter();
        return ids.map(|id| (values[id as usize], id)).collect();
    }
    let mut top: Vec<(f32, u32)> = Vec::with_capacity(count + 1);
    for (&value, id) in values.iter().zip(0..) {
        if top.len() < count || top.last().is_some_and(|least| value > least.0) {
            let at = top.partition_point(|other| other.0 >= value);
            top.insert(at, (value, id));
            top.truncate(count);
        }
    }
    top
}

/// Ids of the `count` greatest values, the greatest first.
pub(super) fn greatest(values: &[f32], count: usize) -> Vec<u32> {
    let greater = |a: &u32, b: &u32| values[*b as usize].total_cmp(&values[*a as usize]).then(a.cmp(b));
    let mut ids: Vec<u32> = (0..values.len() as u32).collect();
    let count = count.min(ids.len());
    if count > 0 && count < ids.len() {
        ids.select_nth_unstable_by(count - 1, greater);
    }
    ids.truncate(count);
    ids.sort_unstable_by(greater);
    ids
}

/// Log-probabilities of each row of `logits` (rows, vocab_size).
pub(super) fn log_probs(logits: &Tensor) -> Result<Vec<Vec<f32>>> {
    let rows = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    Ok(rows.into_iter().map(normalised).collect())
}

/// The log-probabilities of logits: each less ln Σ exp.
fn normalised(mut logits: Vec<f32>) -> Vec<f32> {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from((x - greatest).exp())).sum();
    let logsumexp = f64::from(greatest) + sum.ln();
    logits.iter_mut().for_each(|x| *x = (f64::from(*x) - logsumexp) as f32);
    logits
}

/// −Σ p ln p, in nats.
fn entropy(log_probs: &[f32]) -> f32 {
    let terms = log_probs.iter().map(|&l| weighted(l, l));
    -terms.sum::<f64>() as f32
}

/// KL(p‖q) = Σ p (ln p − ln q), in nats: what it costs to expect q where p holds. 0 for equals.
pub(super) fn kl(p: &[f32], q: &[f32]) -> f32 {
    let terms = p.iter().zip(q).map(|(&p, &q)| weighted(p, p - q));
    terms.sum::<f64>().max(0.0) as f32
}

/// exp(`log`) · `value`, 0 where the probability is.
fn weighted(log: f32, value: f32) -> f64 {
    match log.exp() {
        p if p > 0.0 => f64::from(p) * f64::from(value),
        _ => 0.0,
    }
}

/// The greatest logits of the next token, as a run's trace has them.
pub(super) fn as_reported(logits: &Tensor, count: usize) -> Result<LogitsReport> {
    Ok(report(logits, count.max(1), &[])?.expect("at least one logit is asked for"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn of(logits: &[f32]) -> Vec<f32> {
        normalised(logits.to_vec())
    }

    #[test]
    fn entropy_and_divergence_follow_their_formulas() {
        let even = of(&[2.0; 4]);
        assert!((entropy(&even) - 4f32.ln()).abs() < 1e-6);
        let sure = of(&[0.0, 200.0, 0.0, 0.0]);
        assert!(entropy(&sure).abs() < 1e-6);
        assert_eq!(kl(&even, &even), 0.0);
        // p = (1/2, 1/2), q = (1/4, 3/4): KL(p‖q) = ½ ln 2 + ½ ln ⅔, KL(q‖p) = ¼ ln ½ + ¾ ln 3/2.
        let (p, q) = (of(&[0.0, 0.0]), of(&[0.0, 3f32.ln()]));
        assert!((kl(&p, &q) - (0.5 * 2f32.ln() + 0.5 * (2f32 / 3.0).ln())).abs() < 1e-6);
        assert!((kl(&q, &p) - (0.25 * 0.5f32.ln() + 0.75 * 1.5f32.ln())).abs() < 1e-6);
    }

    #[test]
    fn rows_are_normalised_and_ranked() {
        let logits = Tensor::new(&[[1.0f32, 3.0, 3.0], [f32::NEG_INFINITY, 0.0, -1.0]], &Device::Cpu).unwrap();
        let rows = log_probs(&logits).unwrap();
        for row in &rows {
            assert!((row.iter().map(|l| l.exp()).sum::<f32>() - 1.0).abs() < 1e-6);
        }
        assert_eq!(greatest(&rows[0], 2), [1, 2]);
        assert_eq!(greatest(&rows[1], 9), [1, 2, 0]);
        assert!(entropy(&rows[1]).is_finite() && kl(&rows[1], &rows[0]).is_finite());
    }
}
