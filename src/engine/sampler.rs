//! Draws the next token.

use anyhow::Result;
use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::softmax_last_dim;
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;

use crate::trace::{LogitsReport, Sampling};

/// Tokens that the repetition penalty looks back on.
const PENALTY_WINDOW: usize = 64;

/// A seeded sampler; the same seed and logits give the same tokens, those of candle-transformers' `LogitsProcessor`.
pub struct Sampler {
    rng: StdRng,
    sampling: Sampling,
}

impl Sampler {
    /// A sampler at the beginning of its seed's stream.
    pub fn new(sampling: &Sampling) -> Self {
        Sampler {
            rng: StdRng::seed_from_u64(sampling.seed),
            sampling: sampling.clone(),
        }
    }

    /// Draws `count` times for nothing: what comes next is drawn as if so many tokens had been.
    pub fn skip(&mut self, count: usize) -> Result<()> {
        // Whatever the distribution, a token takes one number of the seed's stream.
        let any = Tensor::new(&[0f32, 0.0, 0.0, 0.0], &Device::Cpu)?;
        for _ in 0..count {
            self.sample(&any)?;
        }
        Ok(())
    }

    /// The token after `context`, from its logits (vocab_size).
    pub fn next(&mut self, logits: &Tensor, context: &[u32]) -> Result<u32> {
        if self.sampling.repetition_penalty == 1.0 {
            return self.sample(logits);
        }
        let recent = &context[context.len().saturating_sub(PENALTY_WINDOW)..];
        self.sample(&penalised(logits, self.sampling.repetition_penalty, recent)?)
    }

    fn sample(&mut self, logits: &Tensor) -> Result<u32> {
        let logits = logits.to_dtype(DType::F32)?;
        let temperature = self.sampling.temperature;
        if temperature <= 0.0 {
            return Ok(logits.argmax(D::Minus1)?.to_scalar()?);
        }
        let mut probabilities: Vec<f32> = softmax_last_dim(&(&logits / temperature)?)?.to_vec1()?;
        let Some(k) = self.sampling.top_k.filter(|&k| k < probabilities.len()) else {
            let top_p = self.sampling.top_p.filter(|&p| p < 1.0).map(|p| p as f32);
            return Ok(self.draw(&mut probabilities, top_p)? as u32);
        };
        let mut ids: Vec<usize> = (0..probabilities.len()).collect();
        let greater = |&a: &usize, &b: &usize| probabilities[b].total_cmp(&probabilities[a]);
        let (likeliest, _, _) = ids.select_nth_unstable_by(k, greater);
        let mut probabilities: Vec<f32> = likeliest.iter().map(|&id| probabilities[id]).collect();
        let sum: f32 = probabilities.iter().sum();
        let top_p = self.sampling.top_p.map(|p| p as f32).filter(|&p| p < sum);
        Ok(likeliest[self.draw(&mut probabilities, top_p)?] as u32)
    }

    /// The index of one of the probabilities; with `top_p`, one of the likeliest that hold so much together.
    fn draw(&mut self, probabilities: &mut [f32], top_p: Option<f32>) -> Result<usize> {
        if let Some(top_p) = top_p {
            let mut order: Vec<usize> = (0..probabilities.len()).collect();
            order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
            let mut held = 0.0;
            for index in order {
                if held >= top_p {
                    probabilities[index] = 0.0;
                } else {
                    held += probabilities[index];
                }
            }
        }
        Ok(WeightedIndex::new(&*probabilities)?.sample(&mut self.rng))
    }
}

/// The logits (vocab_size), those of every token of `recent` once divided by the penalty where they are positive, else
/// multiplied by it (CTRL, arXiv 1909.05858).
fn penalised(logits: &Tensor, penalty: f32, recent: &[u32]) -> Result<Tensor> {
    let mut values: Vec<f32> = logits.to_dtype(DType::F32)?.to_vec1()?;
    let mut recent = recent.to_vec();
    recent.sort_unstable();
    recent.dedup();
    for id in recent {
        if let Some(logit) = values.get_mut(id as usize) {
            *logit = if *logit >= 0.0 {
                *logit / penalty
            } else {
                *logit * penalty
            };
        }
    }
    let count = values.len();
    Ok(Tensor::from_vec(values, count, logits.device())?)
}

/// The `count` greatest logits and those of `probe`, as they come from the model; `None` if nothing
/// is asked.
pub fn report(logits: &Tensor, count: usize, probe: &[u32]) -> Result<Option<LogitsReport>> {
    if count == 0 && probe.is_empty() {
        return Ok(None);
    }
    let values: Vec<f32> = logits.to_dtype(DType::F32)?.to_vec1()?;
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    let value = |id: &u32| values[*id as usize];
    let greater = |a: &u32, b: &u32| value(b).total_cmp(&value(a)).then(a.cmp(b));
    let count = count.min(order.len());
    if count > 0 && count < order.len() {
        order.select_nth_unstable_by(count - 1, greater);
    }
    order.truncate(count);
    order.sort_unstable_by(greater);
    Ok(Some(LogitsReport {
        top: order.iter().map(|id| (*id, value(id))).collect(),
        logsumexp: logits.to_dtype(DType::F32)?.log_sum_exp(D::Minus1)?.to_scalar()?,
        probe: probe.iter().map(|id| (*id, value(id))).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn logits() -> Tensor {
        Tensor::new(&[0.0f32, 3.0, 1.0, 2.0], &Device::Cpu).unwrap()
    }

    #[test]
    fn reports_the_greatest_in_order() {
        let found = report(&logits(), 2, &[2]).unwrap().unwrap();
        assert_eq!(found.top, [(1, 3.0), (3, 2.0)]);
        assert_eq!(found.probe, [(2, 1.0)]);
        assert!((found.logsumexp - 3.440_19).abs() < 1e-4);
        assert_eq!(report(&logits(), 99, &[]).unwrap().unwrap().top.len(), 4);
        assert!(report(&logits(), 0, &[]).unwrap().is_none());
    }

    #[test]
    fn tokens_are_those_of_candle_transformers() {
        use candle_transformers::generation::{LogitsProcessor, Sampling as Method};
        use candle_transformers::utils::apply_repeat_penalty;
        use rand::Rng;

        let mut rng = StdRng::seed_from_u64(3);
        let logits: Vec<f32> = (0..200).map(|_| rng.random_range(-4.0..4.0)).collect();
        let logits = Tensor::new(logits, &Device::Cpu).unwrap();
        let context: Vec<u32> = (0..90).map(|i| i * 7 % 230).collect();
        for (top_k, top_p) in [
            (None, None),
            (Some(5), None),
            (Some(300), None),
            (None, Some(0.6)),
            (None, Some(1.0)),
            (Some(40), Some(0.5)),
            (Some(3), Some(0.99)),
            (Some(300), Some(0.7)),
        ] {
            for (temperature, seed) in [(0.0, 1), (0.7, 2), (1.5, 3)] {
                let sampling = Sampling {
                    temperature,
                    top_k,
                    top_p,
                    seed,
                    repetition_penalty: 1.3,
                };
                let method = match (top_k, top_p) {
                    _ if temperature == 0.0 => Method::ArgMax,
                    (None, None) => Method::All { temperature },
                    (Some(k), None) => Method::TopK { k, temperature },
                    (None, Some(p)) => Method::TopP { p, temperature },
                    (Some(k), Some(p)) => Method::TopKThenTopP { k, p, temperature },
                };
                let mut theirs = LogitsProcessor::from_sampling(seed, method);
                let mut ours = Sampler::new(&sampling);
                let penalised = apply_repeat_penalty(&logits, 1.3, &context[26..]).unwrap();
                for _ in 0..200 {
                    assert_eq!(
                        ours.next(&logits, &context).unwrap(),
                        theirs.sample(&penalised).unwrap(),
                        "{sampling:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn greedy_and_seeded() {
        let greedy = Sampling::default();
        assert_eq!(Sampler::new(&greedy).next(&logits(), &[]).unwrap(), 1);
        let hot = Sampling {
            temperature: 5.0,
            ..Sampling::default()
        };
        let draw = |sampling: &Sampling| -> Vec<u32> {
            let mut sampler = Sampler::new(sampling);
            (0..20).map(|_| sampler.next(&logits(), &[]).unwrap()).collect()
        };
        assert_eq!(draw(&hot), draw(&hot));
        assert_ne!(draw(&hot), draw(&Sampling { seed: 7, ..hot.clone() }));
        let top_one = Sampling {
            top_k: Some(1),
            ..hot.clone()
        };
        assert_eq!(draw(&top_one), [1; 20]);
        for sampling in [
            hot.clone(),
            Sampling {
                top_k: Some(3),
                ..hot.clone()
            },
            Sampling {
                top_p: Some(0.9),
                ..hot.clone()
            },
            Sampling {
                top_k: Some(3),
                top_p: Some(0.9),
                ..hot
            },
        ] {
            let mut late = Sampler::new(&sampling);
            late.skip(7).unwrap();
            let drawn: Vec<u32> = (0..13).map(|_| late.next(&logits(), &[]).unwrap()).collect();
            assert_eq!(
                drawn,
                draw(&sampling)[7..],
                "as if 7 tokens had been drawn: {sampling:?}"
            );
        }
    }

    #[test]
    fn the_penalty_lowers_what_was_said() {
        let sampling = Sampling {
            repetition_penalty: 4.0,
            ..Sampling::default()
        };
        assert_eq!(Sampler::new(&sampling).next(&logits(), &[1]).unwrap(), 3);
    }
}
