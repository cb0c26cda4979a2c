//! What routers read, computed once: the pooled hidden states that enter each layer.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::dataset::Example;
use crate::eval::parallel::for_each_ordered;
use crate::model::{Decoder, Model};
use crate::program::Action;
use crate::router::pool_windows;

/// Pooled windows of every example at every layer: 4·L·W·d bytes an example, 553 kB for 30 layers, 8
/// windows and 576 hidden units.
///
/// They are kept in f32: a few hidden units stand at values of 10⁴ and differ between questions by
/// less than f16 resolves there.
pub struct Features {
    pub layers: usize,
    /// Windows of the pooling, W.
    pub windows: usize,
    pub hidden_size: usize,
    examples: Vec<Windows>,
    moments: Option<Moments>,
}

/// Mean and standard deviation of what enters each layer, each (layers, hidden_size), row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    pub mean: Vec<f32>,
    /// Above 0; 1 for units that do not vary.
    pub deviation: Vec<f32>,
}

/// The windows of one example.
struct Windows {
    /// n ≤ W: fewer where the prompt has fewer tokens.
    count: usize,
    /// (layers, n, hidden_size)
    values: Vec<f32>,
}

impl Features {
    /// Runs `model` over the prompts of `examples` on `threads` threads, each layer as its target
    /// says (teacher forcing), and keeps what enters it. `done` hears of finished examples. `None`
    /// if `stop` was set before the last.
    pub fn compute(
        model: &Model,
        examples: &[Example],
        windows: usize,
        threads: usize,
        stop: &AtomicBool,
        mut done: impl FnMut(usize),
    ) -> Result<Option<Features>> {
        let config = model.decoder.config();
        let mut features = Features::new(config.layers, windows, config.hidden_size);
        for_each_ordered(
            0..examples.len(),
            threads,
            stop,
            |index| {
                let ids = model.prompt_ids(&examples[index].prompt, !examples[index].chat)?;
                Ok(Some(entering(&model.decoder, &ids, &examples[index].target, windows)?))
            },
            |index, entering| {
                features.push(&entering)?;
                done(index + 1);
                Ok(())
            },
        )?;
        Ok((features.len() == examples.len()).then_some(features))
    }

    pub fn new(layers: usize, windows: usize, hidden_size: usize) -> Features {
        Features {
            layers,
            windows,
            hidden_size,
            examples: Vec::new(),
            moments: None,
        }
    }

    /// Adds an example's windows, (n, hidden_size) for each layer.
    pub fn push(&mut self, entering: &[Tensor]) -> Result<()> {
        let mut values = Vec::with_capacity(entering.iter().map(Tensor::elem_count).sum());
        for windows in entering {
            values.extend(windows.flatten_all()?.to_vec1::<f32>()?);
        }
        let count = entering.first().map_or(Ok(0), |w| w.dim(0))?;
        self.examples.push(Windows { count, values });
        Ok(())
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// From now on batches hold (x − mean)/deviation of each hidden unit at each layer, with the
    /// moments of the examples `of`.
    pub fn standardise(&mut self, of: &[usize]) {
        let units = self.layers * self.hidden_size;
        let (mut sums, mut squares, mut count) = (vec![0f64; units], vec![0f64; units], 0.0);
        for &index in of {
            let Windows { count: n, values } = &self.examples[index];
            count += *n as f64;
            for (layer, windows) in values.chunks_exact(n * self.hidden_size).enumerate() {
                for (at, &x) in windows.iter().enumerate() {
                    let unit = layer * self.hidden_size + at % self.hidden_size;
                    sums[unit] += f64::from(x);
                    squares[unit] += f64::from(x) * f64::from(x);
                }
            }
        }
        let means: Vec<f64> = sums.iter().map(|sum| sum / f64::max(count, 1.0)).collect();
        let deviation = |(square, mean): (&f64, &f64)| {
            let variance = (square / f64::max(count, 1.0) - mean * mean).max(0.0);
            // Less is rounding: such a unit is the same for every question.
            if variance > 1e-10 * (1.0 + mean * mean) {
                variance.sqrt() as f32
            } else {
                1.0
            }
        };
        self.moments = Some(Moments {
            deviation: squares.iter().zip(&means).map(deviation).collect(),
            mean: means.iter().map(|&mean| mean as f32).collect(),
        });
    }

    /// What batches were standardised by, if they are.
    pub fn moments(&self) -> Option<&Moments> {
        self.moments.as_ref()
    }

    /// The windows of some examples, f32 (layers, examples · W, hidden_size), and each window's
    /// weight in its example's mean, (1, examples, W, 1): 1/n, or 0 where there is none.
    pub fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        let (layers, windows, size) = (self.layers, self.windows, self.hidden_size);
        let mut values = vec![0f32; layers * indices.len() * windows * size];
        let mut weights = vec![0f32; indices.len() * windows];
        for (slot, &index) in indices.iter().enumerate() {
            let Windows { count, values: from } = &self.examples[index];
            weights[slot * windows..slot * windows + count].fill(1.0 / *count as f32);
            for (layer, entering) in from.chunks_exact(count * size).enumerate() {
                let start = (layer * indices.len() + slot) * windows * size;
                let into = &mut values[start..start + count * size];
                into.copy_from_slice(entering);
                if let Some(moments) = &self.moments {
                    moments.apply(layer, into, size);
                }
            }
        }
        let values = Tensor::from_vec(values, (layers, indices.len() * windows, size), &Device::Cpu)?;
        let weights = Tensor::from_vec(weights, (1, indices.len(), windows, 1), &Device::Cpu)?;
        Ok((values, weights))
    }
}

impl Moments {
    /// Standardises windows (n, hidden_size) of a layer in place.
    fn apply(&self, layer: usize, windows: &mut [f32], size: usize) {
        let of_layer = layer * size..(layer + 1) * size;
        for window in windows.chunks_exact_mut(size) {
            let moments = self.mean[of_layer.clone()]
                .iter()
                .zip(&self.deviation[of_layer.clone()]);
            for (x, (mean, deviation)) in window.iter_mut().zip(moments) {
                *x = (*x - mean) / deviation;
            }
        }
    }
}

/// The pooled windows that enter each layer when `target` is carried out: before the first
/// execution of a repeated layer, and before a skipped one all the same.
fn entering(decoder: &Decoder, ids: &[u32], target: &[Action], windows: usize) -> Result<Vec<Tensor>> {
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let chunk = decoder.chunk(&positions)?;
    let mut hidden = decoder.embed(ids)?;
    let mut entering = Vec::with_capacity(target.len());
    for (layer, action) in target.iter().enumerate() {
        entering.push(pool_windows(&hidden, windows)?);
        for _ in 0..action.executions() {
            hidden = decoder.run_block(layer, &hidden, &chunk, None)?;
        }
    }
    Ok(entering)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::{HIDDEN, LAYERS, tiny_decoder};

    #[test]
    fn what_enters_a_layer_follows_the_target() {
        use Action::{Execute, Repeat, Skip};
        let decoder = tiny_decoder();
        let ids = [1, 5, 9, 2, 7];
        let entering = entering(&decoder, &ids, &[Repeat, Skip, Execute, Execute], 2).unwrap();
        let chunk = decoder.chunk(&[0, 1, 2, 3, 4]).unwrap();
        let run = |layer, h: &Tensor| decoder.run_block(layer, h, &chunk, None).unwrap();
        let embedded = decoder.embed(&ids).unwrap();
        let twice = run(0, &run(0, &embedded));
        let states = [embedded, twice.clone(), twice.clone(), run(2, &twice)];
        for (found, state) in entering.iter().zip(&states) {
            let expected = pool_windows(state, 2).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(found.to_vec2::<f32>().unwrap(), expected);
        }
    }

    #[test]
    fn batches_lay_layers_out_first_and_weigh_missing_windows_zero() {
        let mut features = Features::new(LAYERS, 3, HIDDEN);
        let states = |count: usize, from: f32| -> Vec<Tensor> {
            let of_layer = |layer: usize| {
                let value = from + layer as f32;
                Tensor::full(value, (count, HIDDEN), &Device::Cpu).unwrap()
            };
            (0..LAYERS).map(of_layer).collect()
        };
        features.push(&states(3, 10.0)).unwrap();
        features.push(&states(2, 1e6)).unwrap();
        let (values, weights) = features.batch(&[1, 0]).unwrap();
        assert_eq!(values.dims(), [LAYERS, 6, HIDDEN]);
        let values = values.to_vec3::<f32>().unwrap();
        assert_eq!((values[1][0][0], values[1][2][0]), (1e6 + 1.0, 0.0));
        assert_eq!((values[1][3][0], values[3][5][1]), (11.0, 13.0));
        let third = 1.0 / 3.0;
        let weights = weights.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(weights, [0.5, 0.5, 0.0, third, third, third]);
    }

    #[test]
    fn standardised_windows_have_mean_0_and_deviation_1() {
        let mut features = Features::new(1, 2, 2);
        for x in [1.0f32, 3.0, 100.0] {
            let window = Tensor::new(&[[x, 5.0], [x, 5.0]], &Device::Cpu).unwrap();
            features.push(&[window]).unwrap();
        }
        features.standardise(&[0, 1]);
        let (values, _) = features.batch(&[0, 1, 2]).unwrap();
        let values = values.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        // Mean 2 and deviation 1 by the first two; the second unit does not vary.
        assert_eq!(values, [-1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 98.0, 0.0, 98.0, 0.0]);
    }
}
