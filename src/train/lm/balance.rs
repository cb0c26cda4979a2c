//! Keeping a mixture's experts equally busy: what is counted in a forward pass, the small loss, the nudged bias.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{D, Result, Tensor};

use crate::model::loopmoe::{ExecutionObserver, Seen};

/// How often each expert was chosen, and by how many distinct ones a token was served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loads {
    /// By layer; a body layer's iterations are summed, since they share its router and so its bias.
    pub counts: BTreeMap<usize, Vec<u64>>,
    /// By layer: distinct experts of a token over all iterations, summed over tokens.
    pub distinct: BTreeMap<usize, u64>,
    /// How many were counted.
    pub tokens: u64,
}

impl Loads {
    /// Adds the counts of other tokens.
    pub fn add(&mut self, other: &Loads) {
        for (&layer, counts) in &other.counts {
            let sums = self.counts.entry(layer).or_insert_with(|| vec![0; counts.len()]);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        for (&layer, distinct) in &other.distinct {
            *self.distinct.entry(layer).or_default() += distinct;
        }
        self.tokens += other.tokens;
    }

    /// Mean over layers of the busiest expert's load over the mean load, less 1 (MaxVio, arXiv 2408.15664).
    pub fn imbalance(&self) -> f64 {
        let of = |counts: &Vec<u64>| {
            let most = counts.iter().copied().max().unwrap_or(0) as f64;
            let sum: u64 = counts.iter().sum();
            most * counts.len() as f64 / (sum as f64).max(1.0) - 1.0
        };
        self.counts.values().map(of).sum::<f64>() / self.counts.len().max(1) as f64
    }

    /// Mean distinct experts of a token at a layer over its iterations.
    pub fn distinct_at(&self, layer: usize) -> f64 {
        self.distinct
            .get(&layer)
            .map_or(0.0, |&sum| sum as f64 / self.tokens.max(1) as f64)
    }

    /// Moves a layer's bias towards balance: up by `step` where an expert was chosen less than the mean, down where more
    /// (DeepSeek-V3's loss-free balancing).
    pub fn nudge(&self, layer: usize, bias: &mut [f32], step: f64) {
        let Some(counts) = self.counts.get(&layer) else { return };
        let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        for (bias, &count) in bias.iter_mut().zip(counts) {
            let direction = mean - count as f64;
            if direction != 0.0 {
                *bias += (step * direction.signum()) as f32;
            }
        }
    }
}

/// Counts loads while a forward pass runs and gathers the balance loss.
#[derive(Default)]
pub struct Balance {
    /// Of the tokens so far; [`Self::finish`] counts the distinct experts.
    pub loads: Loads,
    chosen: BTreeMap<usize, Vec<BTreeSet<u32>>>,
    /// One an execution.
    losses: Vec<Tensor>,
}

impl Balance {
    /// The mean over executions of Σ_e f_e·P_e (DeepSeek-V3, eq. 17–20, over a group of sequences instead of each): f_e the
    /// share of choices that fell on e, times the number of experts, P_e the mean of its affinity's share. 1 in balance.
    ///
    /// # Errors
    /// Those of the device.
    pub fn loss(&self) -> Result<Option<Tensor>> {
        match self.losses.as_slice() {
            [] => Ok(None),
            losses => Ok(Some((Tensor::stack(losses, 0)?.sum_all()? / losses.len() as f64)?)),
        }
    }

    /// The loads, with the distinct experts counted.
    pub fn finish(mut self) -> Loads {
        for (&layer, chosen) in &self.chosen {
            let distinct = chosen.iter().map(|experts| experts.len() as u64).sum();
            self.loads.distinct.insert(layer, distinct);
        }
        self.loads.tokens = self
            .chosen
            .values()
            .map(|chosen| chosen.len() as u64)
            .max()
            .unwrap_or(0);
        self.loads
    }
}

impl ExecutionObserver for Balance {
    fn execution(&mut self, seen: &Seen) -> Result<()> {
        let Some(routing) = seen.routing else { return Ok(()) };
        let layer = seen.pass.execution.layer;
        let (tokens, experts) = routing.affinities.dims2()?;
        let mut counts = vec![0u64; experts];
        routing.chosen.iter().for_each(|&expert| counts[expert as usize] += 1);
        let scale = experts as f32 / (tokens * routing.each) as f32;
        let shares: Vec<f32> = counts.iter().map(|&count| count as f32 * scale).collect();
        let shares = Tensor::new(shares, routing.affinities.device())?.to_dtype(routing.affinities.dtype())?;
        let sums = (routing.affinities.sum_keepdim(D::Minus1)? + 1e-20)?;
        let mean = routing.affinities.broadcast_div(&sums)?.mean(0)?;
        self.losses.push((mean * shares)?.sum_all()?);
        let sets = self
            .chosen
            .entry(layer)
            .or_insert_with(|| vec![BTreeSet::new(); tokens]);
        for (set, chosen) in sets.iter_mut().zip(routing.chosen.chunks(routing.each)) {
            set.extend(chosen);
        }
        let sums = self.loads.counts.entry(layer).or_insert_with(|| vec![0; experts]);
        sums.iter_mut().zip(&counts).for_each(|(sum, count)| *sum += count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::loopmoe::testing::{ids, model, tiny};
    use crate::model::loopmoe::{Excluded, LatentCache};

    #[test]
    fn loads_are_counted_over_iterations() {
        let config = tiny();
        let path = config.standard_path(3);
        let mut balance = Balance::default();
        let tokens = ids(&[1, 2, 3, 4, 5]);
        let run = model(&config, 1).forward(
            &tokens,
            &path,
            &mut LatentCache::default(),
            &Excluded::new(),
            &mut balance,
        );
        run.unwrap();
        let loss = balance.loss().unwrap().unwrap().to_scalar::<f32>().unwrap();
        assert!((0.5..3.0).contains(&loss), "{loss}");
        let loads = balance.finish();
        assert_eq!(loads.counts.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
        let sum = |layer: usize| loads.counts[&layer].iter().sum::<u64>();
        assert_eq!((sum(1), sum(2), sum(4), loads.tokens), (10, 30, 10, 5));
        assert_eq!(loads.distinct_at(1), 2.0);
        assert!((2.0..=6.0).contains(&loads.distinct_at(2)));
        let mut twice = loads.clone();
        twice.add(&loads);
        assert_eq!((twice.tokens, twice.distinct_at(2)), (10, loads.distinct_at(2)));
    }

    #[test]
    fn the_bias_moves_towards_the_idle() {
        let loads = Loads {
            counts: BTreeMap::from([(1, vec![6, 0, 3])]),
            ..Loads::default()
        };
        let mut bias = [0.0; 3];
        loads.nudge(1, &mut bias, 0.25);
        loads.nudge(2, &mut bias, 9.0);
        assert_eq!(bias, [-0.25, 0.25, 0.0]);
        assert_eq!(loads.imbalance(), 1.0);
    }
}
