//! What an execution did with one token, as plain numbers.

use candle_core::{DType, Result, Tensor};

use super::decoder::{Modulation, Seen};

/// The experts of a token in an execution, and what IterAdaLN made of its norms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExpertUse {
    /// Expert and weight, the greatest weight first; the weights sum to 1. Empty where the feed-forward is dense.
    pub experts: Vec<(usize, f32)>,
    /// Of the attention; none outside the loop.
    pub attention: Option<ModulationSize>,
    /// Of the mixture of experts; none outside the loop.
    pub feed_forward: Option<ModulationSize>,
}

/// IterAdaLN at one token: (1 + γ) ⊙ x/rms(x) + β, and α in front of the attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModulationSize {
    /// None of the mixture of experts, which has no gate.
    pub alpha: Option<f32>,
    /// Root mean square over the width.
    pub gamma: f32,
    /// Root mean square over the width.
    pub beta: f32,
}

impl ExpertUse {
    /// The token of `row`; none where the execution had fewer.
    ///
    /// # Errors
    /// Those of the device.
    pub fn of_row(seen: &Seen, row: usize) -> Result<Option<Self>> {
        if row >= seen.before.dim(1)? {
            return Ok(None);
        }
        let mut experts = seen.routing.map(|r| r.of_token(row)).transpose()?.unwrap_or_default();
        // The model chooses by affinity and bias, of which only the former makes the weight.
        experts.sort_by(|a, b| b.1.total_cmp(&a.1));
        let size = |modulation: Option<&Modulation>| modulation.map(|m| ModulationSize::of_row(m, row)).transpose();
        Ok(Some(ExpertUse {
            experts,
            attention: size(seen.attention)?,
            feed_forward: size(seen.moe)?,
        }))
    }

    /// The share of experts that both chose among those that either did (Jaccard); none where one chose none.
    pub fn jaccard(&self, other: &ExpertUse) -> Option<f32> {
        let both = self
            .experts
            .iter()
            .filter(|(e, _)| other.experts.iter().any(|(o, _)| o == e));
        let both = both.count();
        let either = self.experts.len() + other.experts.len() - both;
        (!self.experts.is_empty() && !other.experts.is_empty()).then(|| both as f32 / either as f32)
    }
}

impl ModulationSize {
    fn of_row(modulation: &Modulation, row: usize) -> Result<Self> {
        let floats = |tensor: &Tensor| -> Result<Vec<f32>> { tensor.get(0)?.get(row)?.to_dtype(DType::F32)?.to_vec1() };
        let rms = |values: &[f32]| (values.iter().map(|x| x * x).sum::<f32>() / values.len().max(1) as f32).sqrt();
        let alpha = modulation.alpha.as_ref().map(floats).transpose()?;
        Ok(ModulationSize {
            alpha: alpha.and_then(|alpha| alpha.first().copied()),
            gamma: rms(&floats(&modulation.gamma)?),
            beta: rms(&floats(&modulation.beta)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::*;
    use crate::model::loopmoe::{Excluded, LatentCache, testing};

    #[test]
    fn experts_stand_by_their_weight() {
        let model = testing::model(&testing::tiny(), 3);
        let path = testing::tiny().standard_path(3);
        let mut rows = 0;
        let mut chosen_otherwise = 0;
        let mut observe = |seen: &Seen| -> Result<()> {
            for row in 0..seen.before.dim(1)? {
                let own = ExpertUse::of_row(seen, row)?.unwrap().experts;
                assert!(own.is_sorted_by(|a, b| a.1 >= b.1), "{own:?}");
                rows += own.len();
                let chosen = seen.routing.map(|r| r.of_token(row)).transpose()?.unwrap_or_default();
                chosen_otherwise += usize::from(chosen != own);
            }
            Ok(())
        };
        let ids: Tensor = testing::ids(&[1, 5, 9, 2, 2, 12, 0, 7, 3, 4, 6, 8]);
        let mut cache = LatentCache::default();
        model
            .forward(&ids, &path, &mut cache, &Excluded::new(), &mut observe)
            .unwrap();
        assert!(rows > 0 && chosen_otherwise > 0, "the bias changes an order somewhere");
    }

    #[test]
    fn experts_are_compared_as_sets() {
        let chose = |experts: &[usize]| ExpertUse {
            experts: experts.iter().map(|&e| (e, 0.25)).collect(),
            ..ExpertUse::default()
        };
        assert_eq!(chose(&[1, 2, 3, 4]).jaccard(&chose(&[4, 3, 2, 1])), Some(1.0));
        assert_eq!(chose(&[1, 2, 3, 4]).jaccard(&chose(&[4, 5, 6, 7])), Some(1.0 / 7.0));
        assert_eq!(chose(&[1]).jaccard(&chose(&[])), None);
    }
}
