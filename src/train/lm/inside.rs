//! What happens inside the loop from iteration to iteration (arXiv 2606.04438 §3.8): router inputs, chosen experts,
//! IterAdaLN's numbers.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{D, DType, Result, Tensor};
use serde::Serialize;

use crate::model::loopmoe::{ExecutionObserver, LoopExecution, Seen};

/// Two iterations of a body layer, over tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Among the layers with weights of their own.
    pub layer: usize,
    /// From 1.
    pub first: usize,
    /// From 1, after `first`.
    pub second: usize,
    /// Mean cosine of what the router read.
    pub cosine: f64,
    /// Mean share of the chosen experts of either that both have.
    pub jaccard: f64,
}

/// One execution of a body layer, over tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Iteration {
    /// Among the layers with weights of their own.
    pub layer: usize,
    /// From 1.
    pub iteration: usize,
    /// Mean and standard deviation over tokens of the attention branch's gate; none without IterAdaLN.
    pub alpha: Option<f64>,
    /// Standard deviation of the gate over tokens.
    pub alpha_deviation: Option<f64>,
    /// Means over tokens and channels.
    pub gamma_attention: Option<f64>,
    /// Mean γ in front of the mixture of experts.
    pub gamma_moe: Option<f64>,
    /// Mean β in front of the attention.
    pub beta_attention: Option<f64>,
    /// Mean β in front of the mixture of experts.
    pub beta_moe: Option<f64>,
    /// Mean ‖h' − h‖ / ‖h‖.
    pub moved: f64,
}

/// Sums over tokens of one execution.
#[derive(Default)]
struct Sums {
    /// Number, sum, sum of squares.
    alpha: (f64, f64, f64),
    /// Number and sum of γ and β, for attention and mixture.
    modulation: [(f64, f64); 4],
    moved: (f64, f64),
}

/// Looks at forward passes.
#[derive(Default)]
pub struct Inside {
    prefix: usize,
    body: usize,
    /// Of the forward pass that runs: by layer and iteration, router inputs of length 1 (tokens, d) and chosen experts.
    running: BTreeMap<LoopExecution, (Tensor, Vec<BTreeSet<u32>>)>,
    sums: BTreeMap<LoopExecution, Sums>,
    /// By layer and two iterations: tokens, cosines, Jaccard indices.
    pairs: BTreeMap<(usize, usize, usize), (f64, f64, f64)>,
}

impl Inside {
    /// For a model with `body` layers behind `prefix` ones.
    pub fn new(prefix: usize, body: usize) -> Self {
        Inside {
            prefix,
            body,
            ..Inside::default()
        }
    }

    fn compare(&mut self, at: LoopExecution, input: &Tensor, chosen: &[BTreeSet<u32>]) -> Result<()> {
        for (before, (other, sets)) in self.running.iter().filter(|(e, _)| e.layer == at.layer) {
            let cosines = (other * input)?.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
            let jaccard = |(a, b): (&BTreeSet<u32>, &BTreeSet<u32>)| {
                a.intersection(b).count() as f64 / a.union(b).count().max(1) as f64
            };
            let sum = self
                .pairs
                .entry((at.layer, before.iteration, at.iteration))
                .or_default();
            sum.0 += chosen.len() as f64;
            sum.1 += f64::from(cosines);
            sum.2 += sets.iter().zip(chosen).map(jaccard).sum::<f64>();
        }
        Ok(())
    }

    /// What was seen: each execution of the body, and each pair of iterations.
    pub fn finish(&self) -> (Vec<Iteration>, Vec<Pair>) {
        let mean = |(count, sum): (f64, f64)| (count > 0.0).then(|| sum / count);
        let iteration = |(at, sums): (&LoopExecution, &Sums)| {
            let (count, sum, squares) = sums.alpha;
            let alpha = mean((count, sum));
            Iteration {
                layer: at.layer,
                iteration: at.iteration + 1,
                alpha,
                alpha_deviation: alpha.map(|alpha| (squares / count - alpha * alpha).max(0.0).sqrt()),
                gamma_attention: mean(sums.modulation[0]),
                gamma_moe: mean(sums.modulation[2]),
                beta_attention: mean(sums.modulation[1]),
                beta_moe: mean(sums.modulation[3]),
                moved: mean(sums.moved).unwrap_or_default(),
            }
        };
        let pair =
            |(&(layer, first, second), &(count, cosine, jaccard)): (&(usize, usize, usize), &(f64, f64, f64))| Pair {
                layer,
                first: first + 1,
                second: second + 1,
                cosine: cosine / count,
                jaccard: jaccard / count,
            };
        (
            self.sums.iter().map(iteration).collect(),
            self.pairs.iter().map(pair).collect(),
        )
    }
}

fn sum(x: &Tensor) -> Result<f64> {
    x.to_dtype(DType::F64)?.sum_all()?.to_scalar()
}

impl ExecutionObserver for Inside {
    fn execution(&mut self, seen: &Seen) -> Result<()> {
        let at = seen.pass.execution;
        if seen.index == 0 {
            self.running.clear();
        }
        if !(self.prefix..self.prefix + self.body).contains(&at.layer) {
            return Ok(());
        }
        let norm = |x: &Tensor| x.sqr()?.sum_keepdim(D::Minus1)?.sqrt();
        let input = seen.router_input.flatten_to(1)?;
        let input = input.broadcast_div(&(norm(&input)? + 1e-12)?)?;
        let chosen = seen.routing.map_or_else(Vec::new, |routing| {
            let sets = routing.chosen.chunks(routing.each);
            sets.map(|experts| experts.iter().copied().collect()).collect()
        });
        self.compare(at, &input, &chosen)?;
        let sums = self.sums.entry(at).or_default();
        let moved = norm(&(seen.after - seen.before)?)?.div(&(norm(seen.before)? + 1e-12)?)?;
        sums.moved.0 += moved.elem_count() as f64;
        sums.moved.1 += sum(&moved)?;
        if let Some(alpha) = seen.attention.and_then(|modulation| modulation.alpha.as_ref()) {
            sums.alpha.0 += alpha.elem_count() as f64;
            sums.alpha.1 += sum(alpha)?;
            sums.alpha.2 += sum(&alpha.to_dtype(DType::F64)?.sqr()?)?;
        }
        for (place, modulation) in [(0, seen.attention), (2, seen.moe)] {
            let Some(modulation) = modulation else { continue };
            for (place, values) in [(place, &modulation.gamma), (place + 1, &modulation.beta)] {
                sums.modulation[place].0 += values.elem_count() as f64;
                sums.modulation[place].1 += sum(values)?;
            }
        }
        self.running.insert(at, (input, chosen));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::loopmoe::testing::{ids, stirred, tiny};
    use crate::model::loopmoe::{Excluded, LatentCache, LoopMoe};

    #[test]
    fn iterations_are_compared_and_their_numbers_averaged() {
        let config = tiny();
        // The offsets alone decide: α = 0.5, γ = 0.25 and β = 0 everywhere.
        let set = |(name, tensor): (String, Tensor)| {
            let d = config.hidden_size;
            let tensor = match (name.ends_with("mlp.2.weight"), name.ends_with("mlp.2.bias")) {
                _ if !name.contains("iter_adaln") => tensor,
                (true, _) => tensor.zeros_like().unwrap(),
                (_, true) => {
                    let value = |i: usize| {
                        if i < d {
                            0.25
                        } else if i < 2 * d {
                            0.0
                        } else {
                            0.5f32
                        }
                    };
                    let values: Vec<f32> = (0..tensor.elem_count()).map(value).collect();
                    Tensor::new(values, tensor.device()).unwrap()
                }
                _ => tensor,
            };
            (name, tensor)
        };
        let model = LoopMoe::new(&config, stirred(&config, 2).into_iter().map(set)).unwrap();
        let mut inside = Inside::new(config.prefix_layers, config.body_layers);
        for tokens in [&[1, 2, 3][..], &[4, 5]] {
            let path = config.standard_path(3);
            let run = model.forward(
                &ids(tokens),
                &path,
                &mut LatentCache::default(),
                &Excluded::new(),
                &mut inside,
            );
            run.unwrap();
        }
        let (iterations, pairs) = inside.finish();
        let places: Vec<(usize, usize)> = iterations.iter().map(|i| (i.layer, i.iteration)).collect();
        assert_eq!(places, [(2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 3)]);
        for i in &iterations {
            assert_eq!(
                (i.alpha, i.gamma_attention, i.gamma_moe),
                (Some(0.5), Some(0.25), Some(0.25))
            );
            assert_eq!((i.beta_attention, i.alpha_deviation), (Some(0.0), Some(0.0)));
            assert!(i.moved > 0.01);
        }
        let pairs_of: Vec<(usize, usize, usize)> = pairs.iter().map(|p| (p.layer, p.first, p.second)).collect();
        assert_eq!(
            pairs_of,
            [(2, 1, 2), (2, 1, 3), (2, 2, 3), (3, 1, 2), (3, 1, 3), (3, 2, 3)]
        );
        for p in &pairs {
            assert!(
                (-1.0..=1.000_001).contains(&p.cosine) && (0.0..=1.0).contains(&p.jaccard),
                "{p:?}"
            );
        }
        // Neighbours are more alike than the ends.
        assert!(pairs[1].cosine < pairs[0].cosine.max(pairs[2].cosine));
    }
}
