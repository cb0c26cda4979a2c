//! Draws the next token.

use anyhow::Result;
use candle_core::{D, DType, Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling as Method};
use candle_transformers::utils::apply_repeat_penalty;

use super::settings::Sampling;
use super::trace::LogitsReport;

/// Tokens that the repetition penalty looks back on.
const PENALTY_WINDOW: usize = 64;

/// A seeded sampler; the same seed and logits give the same tokens.
pub struct Sampler {
    processor: LogitsProcessor,
    penalty: f32,
}

impl Sampler {
    pub fn new(sampling: &Sampling) -> Self {
        let temperature = sampling.temperature;
        let method = match (temperature, sampling.top_k, sampling.top_p) {
            (t, _, _) if t <= 0.0 => Method::ArgMax,
            (_, None, None) => Method::All { temperature },
            (_, Some(k), None) => Method::TopK { k, temperature },
            (_, None, Some(p)) => Method::TopP { p, temperature },
            (_, Some(k), Some(p)) => Method::TopKThenTopP { k, p, temperature },
        };
        Sampler {
            processor: LogitsProcessor::from_sampling(sampling.seed, method),
            penalty: sampling.repetition_penalty,
        }
    }

    /// Draws `count` times for nothing: what comes next is drawn as if so many tokens had been.
    pub fn skip(&mut self, count: usize) -> Result<()> {
        // Whatever the distribution, a token takes one number of the seed's stream.
        let any = Tensor::new(&[0f32, 0.0, 0.0, 0.0], &Device::Cpu)?;
        for _ in 0..count {
            self.processor.sample(&any)?;
        }
        Ok(())
    }

    /// The token after `context`, from its logits (vocab_size).
    pub fn next(&mut self, logits: &Tensor, context: &[u32]) -> Result<u32> {
        if self.penalty == 1.0 {
            return Ok(self.processor.sample(logits)?);
        }
        let recent = &context[context.len().saturating_sub(PENALTY_WINDOW)..];
        Ok(self
            .processor
            .sample(&apply_repeat_penalty(logits, self.penalty, recent)?)?)
    }
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
