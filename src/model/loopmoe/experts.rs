//! The mixture of experts after DeepSeek-V3 (arXiv 2412.19437 §2.1.2): sigmoid affinities, a bias that only selects,
//! weights from the affinities alone.

use std::collections::BTreeSet;

use candle_core::{D, DType, Result, Tensor, bail};

use super::config::LoopMoeConfig;
use super::decoder::{SwiGlu, Tensors, linear};
use super::ops::{expert_product, silu_product};

/// Experts that may not be chosen, as (layer, expert).
pub type Excluded = BTreeSet<(usize, usize)>;

/// Which experts the tokens of a chunk went to.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Sigmoid of the router's scores (tokens, experts); in a training part of the graph.
    pub affinities: Tensor,
    /// (tokens, k) row by row, each token's by descending affinity + bias.
    pub chosen: Vec<u32>,
    /// (tokens, k): the affinities of the chosen, made to sum to 1.
    pub weights: Tensor,
    /// k
    pub each: usize,
}

impl Routing {
    /// The experts of a token with their weights.
    ///
    /// # Errors
    /// Those of the device.
    pub fn of_token(&self, token: usize) -> Result<Vec<(usize, f32)>> {
        let weights: Vec<f32> = self.weights.get(token)?.to_vec1()?;
        let chosen = &self.chosen[token * self.each..][..self.each];
        Ok(chosen.iter().map(|&e| e as usize).zip(weights).collect())
    }
}

/// Routed and shared experts of one layer.
pub(super) struct Experts {
    layer: usize,
    each: usize,
    /// (experts, d)
    gate: Tensor,
    /// Only selects; moved by the training after each step.
    bias: Vec<f32>,
    /// (experts, width, d), (experts, width, d), (experts, d, width)
    gate_proj: Tensor,
    up_proj: Tensor,
    down_proj: Tensor,
    /// All shared experts side by side are one wider SwiGLU.
    shared: SwiGlu,
}

impl Experts {
    pub(super) fn new(config: &LoopMoeConfig, layer: usize, tensors: &mut Tensors, at: &str) -> Result<Self> {
        Ok(Experts {
            layer,
            each: config.num_experts_per_tok,
            gate: tensors.take(&format!("{at}.gate.weight"))?,
            bias: tensors
                .take(&format!("{at}.gate.e_score_correction_bias"))?
                .to_dtype(DType::F32)?
                .to_vec1()?,
            gate_proj: tensors.take(&format!("{at}.experts.gate_proj.weight"))?,
            up_proj: tensors.take(&format!("{at}.experts.up_proj.weight"))?,
            down_proj: tensors.take(&format!("{at}.experts.down_proj.weight"))?,
            shared: SwiGlu::new(tensors, &format!("{at}.shared_experts"))?,
        })
    }

    /// x (tokens, d) → Σ over its k experts of weight·expert(x), plus the shared experts.
    pub(super) fn forward(&self, x: &Tensor, excluded: &Excluded) -> Result<(Tensor, Routing)> {
        let routing = self.route(x, excluded)?;
        // Rows sorted by expert: `slots` are places in `chosen`, `ends` where each expert's rows end.
        let (slots, ends) = by_expert(&routing.chosen, self.bias.len());
        let owners: Vec<u32> = slots.iter().map(|slot| slot / self.each as u32).collect();
        let owners = Tensor::new(owners, x.device())?;
        let slots = Tensor::new(slots, x.device())?;
        // (tokens·k, d)
        let rows = x.index_select(&owners, 0)?;
        let gate = expert_product(&rows, &self.gate_proj, &ends)?;
        let hidden = silu_product(&gate, &expert_product(&rows, &self.up_proj, &ends)?)?;
        // The weight may come before the last product, where the rows are narrower.
        let weights = routing.weights.flatten_all()?.index_select(&slots, 0)?.unsqueeze(1)?;
        let out = expert_product(&hidden.broadcast_mul(&weights)?, &self.down_proj, &ends)?;
        let routed = x.zeros_like()?.index_add(&owners, &out, 0)?;
        Ok(((routed + self.shared.forward(x)?)?, routing))
    }

    fn route(&self, x: &Tensor, excluded: &Excluded) -> Result<Routing> {
        let affinities = candle_nn::ops::sigmoid(&linear(x, &self.gate)?)?;
        let mut bias = self.bias.clone();
        for (_, expert) in excluded.iter().filter(|(layer, _)| *layer == self.layer) {
            match bias.get_mut(*expert) {
                Some(bias) => *bias = f32::NEG_INFINITY,
                None => bail!("layer {} has {} experts, no expert {expert}", self.layer, bias.len()),
            }
        }
        let left = bias.iter().filter(|b| b.is_finite()).count();
        if left < self.each {
            bail!(
                "layer {} has {left} experts left, a token needs {}; exclude fewer",
                self.layer,
                self.each
            );
        }
        let scores: Vec<f32> = affinities.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let mut chosen = Vec::with_capacity(scores.len() / bias.len() * self.each);
        scores
            .chunks_exact(bias.len())
            .for_each(|row| choose(row, &bias, self.each, &mut chosen));
        let places = Tensor::from_slice(&chosen, (chosen.len() / self.each, self.each), x.device())?;
        let weights = affinities.gather(&places, 1)?;
        let weights = weights.broadcast_div(&(weights.sum_keepdim(D::Minus1)? + 1e-20)?)?;
        Ok(Routing {
            affinities,
            chosen,
            weights,
            each: self.each,
        })
    }
}

/// Appends the `each` experts of greatest affinity + bias, the first of equals first.
fn choose(affinities: &[f32], bias: &[f32], each: usize, chosen: &mut Vec<u32>) {
    let start = chosen.len();
    for _ in 0..each {
        let mut best: Option<(u32, f32)> = None;
        for (expert, (affinity, bias)) in affinities.iter().zip(bias).enumerate() {
            let (expert, score) = (expert as u32, affinity + bias);
            // A score that is no number is never greater: NaN in a hidden state must not end the search early.
            let is_better = best.is_none_or(|(_, most)| score > most || most.is_nan());
            if *bias > f32::NEG_INFINITY && is_better && !chosen[start..].contains(&expert) {
                best = Some((expert, score));
            }
        }
        chosen.push(best.expect("there are as many experts as a token needs").0);
    }
}

/// The places of `chosen` sorted by expert, and where each expert's end.
fn by_expert(chosen: &[u32], experts: usize) -> (Vec<u32>, Vec<usize>) {
    let mut ends = vec![0; experts];
    chosen.iter().for_each(|&expert| ends[expert as usize] += 1);
    let mut sum = 0;
    let mut next: Vec<usize> = Vec::with_capacity(experts);
    for end in &mut ends {
        next.push(sum);
        sum += *end;
        *end = sum;
    }
    let mut slots = vec![0; chosen.len()];
    for (slot, &expert) in chosen.iter().enumerate() {
        slots[next[expert as usize]] = slot as u32;
        next[expert as usize] += 1;
    }
    (slots, ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_are_chosen_and_the_bias_only_selects() {
        let mut chosen = Vec::new();
        choose(&[0.1, 0.9, 0.9, 0.5], &[0.0; 4], 2, &mut chosen);
        choose(&[0.1, 0.9, 0.9, 0.5], &[0.9, -1.0, 0.0, 0.0], 3, &mut chosen);
        choose(
            &[0.1, 0.9, f32::NAN, 0.5],
            &[0.0, f32::NEG_INFINITY, 0.0, 0.0],
            2,
            &mut chosen,
        );
        assert_eq!(chosen, [1, 2, 0, 2, 3, 3, 0]);
    }

    #[test]
    fn rows_are_sorted_by_expert_in_order() {
        let (slots, ends) = by_expert(&[2, 0, 2, 1, 0, 2], 4);
        assert_eq!(slots, [1, 4, 3, 0, 2, 5]);
        assert_eq!(ends, [2, 3, 6, 6]);
    }
}
