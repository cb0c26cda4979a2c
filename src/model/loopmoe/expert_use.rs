//! What an execution did with one token, as plain numbers.

use candle_core::{DType, Result, Tensor};

use super::decoder::{Modulation, Seen};

/// The experts of a token in an execution, and what IterAdaLN made of its norms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExpertUse {
    /// Expert and weight, the greatest affinity first; the weights sum to 1. Empty where the feed-forward is dense.
    pub experts: Vec<(usize, f32)>,
    /// Of the attention; none outside the loop.
    pub attention: Option<ModulationSize>,
    /// Of the mixture of experts; none outside the loop.
    pub feed_forward: Option<ModulationSize>,
}

/// IterAdaLN at one token: (1 + γ) ⊙ x/rms(x) + β, and α in front of the attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModulationSize {
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
        let size = |modulation: Option<&Modulation>| modulation.map(|m| ModulationSize::of_row(m, row)).transpose();
        Ok(Some(ExpertUse {
            experts: seen.routing.map(|r| r.of_token(row)).transpose()?.unwrap_or_default(),
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
    use super::*;

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
