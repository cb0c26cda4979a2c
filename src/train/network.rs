//! One layer's router while it is trained: forward, backward, and the way to a checkpoint.

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::math::{Matrix, add_bias, add_rows, gelu, multiply, product};
use crate::router::MlpRouter;

/// Linear layers with GELU between: z = W_n·gelu(… gelu(W_1·x + b_1) …) + b_n, meaned over an
/// example's windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouterShape {
    /// d
    pub inputs: usize,
    /// r; of no meaning for one linear layer.
    pub width: usize,
    /// 1 or more; the papers' routers have 2.
    pub linear_layers: usize,
}

/// Rows of windows, and which examples they belong to.
#[derive(Default)]
pub struct WindowBatch {
    /// (windows of all examples, d)
    pub windows: Vec<f32>,
    /// Windows of each example, at least 1.
    pub counts: Vec<usize>,
}

/// The parameters of a router, or as many gradients, in one piece: W_1 (r, d), b_1, W_2 (r, r), …,
/// W_n (3, r), b_n.
pub type Parameters = Vec<f32>;

impl RouterShape {
    /// (outputs, inputs) of each linear layer.
    fn sizes(self) -> impl DoubleEndedIterator<Item = (usize, usize)> + ExactSizeIterator {
        (0..self.linear_layers).map(move |k| {
            let inputs = if k == 0 { self.inputs } else { self.width };
            let outputs = if k + 1 == self.linear_layers { 3 } else { self.width };
            (outputs, inputs)
        })
    }

    /// Number of parameters.
    pub fn parameters(self) -> usize {
        self.sizes().map(|(outputs, inputs)| outputs * (inputs + 1)).sum()
    }

    /// Xavier-uniform weights, zero biases, drawn for `layer` by itself.
    pub fn initial(self, seed: u64, layer: usize) -> Parameters {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Stream 0 and the first ones order the examples of the epochs.
        rng.set_stream((1 << 32) + layer as u64);
        let mut parameters = Vec::with_capacity(self.parameters());
        for (outputs, inputs) in self.sizes() {
            let bound = (6.0 / (inputs + outputs) as f32).sqrt();
            parameters.extend((0..outputs * inputs).map(|_| rng.random_range(-bound..bound)));
            parameters.extend(std::iter::repeat_n(0.0, outputs));
        }
        parameters
    }

    /// The router as it is kept on disk. It reads hidden states as they are; where it was trained on
    /// (x − μ)/σ, that is folded into the first layer:
    /// W₁·(x − μ)/σ + b₁ = (W₁/σ)·x + (b₁ − (W₁/σ)·μ).
    ///
    /// # Errors
    /// Routers of other than two linear layers, which the checkpoint format does not know.
    pub fn router(self, parameters: &[f32], mean: &[f32], deviation: &[f32]) -> Result<MlpRouter> {
        ensure!(
            self.linear_layers == 2,
            "routers of {} linear layers cannot be saved: checkpoints hold two for each model layer",
            self.linear_layers
        );
        let (w1, rest) = parameters.split_at(self.width * self.inputs);
        let (b1, rest) = rest.split_at(self.width);
        let (w2, b2) = rest.split_at(3 * self.width);
        let mut router = MlpRouter {
            w1: w1.into(),
            b1: b1.into(),
            w2: w2.into(),
            b2: b2.into(),
        };
        for (row, bias) in router.w1.chunks_exact_mut(self.inputs).zip(&mut router.b1) {
            let mut shift = 0f64;
            for (w, (mean, deviation)) in row.iter_mut().zip(mean.iter().zip(deviation)) {
                *w /= deviation;
                shift += f64::from(*w) * f64::from(*mean);
            }
            *bias = (f64::from(*bias) - shift) as f32;
        }
        Ok(router)
    }
}

/// What the forward pass leaves for the backward pass; kept between batches for its memory.
#[derive(Default)]
pub struct Scratch {
    /// Of each hidden layer: gelu(u), (rows, r).
    activations: Vec<Vec<f32>>,
    /// Of each hidden layer: gelu'(u), (rows, r).
    slopes: Vec<Vec<f32>>,
    /// What the last linear layer reads: (examples, its inputs).
    mean: Vec<f32>,
    /// (examples, 3)
    logits: Vec<f32>,
    /// Gradients on the way back.
    back: Vec<f32>,
    other: Vec<f32>,
}

/// Sets the length; old values may stay, for buffers that are written whole.
fn resize(buffer: &mut Vec<f32>, length: usize) {
    buffer.resize(length, 0.0);
}

impl RouterShape {
    /// Logits (examples, 3) of a batch.
    ///
    /// The last layer is linear, so the mean over windows may be taken before it: that is the mean
    /// of the windows' logits.
    pub fn forward<'s>(self, parameters: &[f32], batch: &WindowBatch, scratch: &'s mut Scratch) -> &'s [f32] {
        let hidden = self.linear_layers - 1;
        scratch.activations.resize_with(hidden, Vec::new);
        scratch.slopes.resize_with(hidden, Vec::new);
        let mut rest = parameters;
        for (k, (outputs, inputs)) in self.sizes().enumerate() {
            let (weight, bias);
            (weight, rest) = rest.split_at(outputs * inputs);
            (bias, rest) = rest.split_at(outputs);
            let weight = Matrix::new(weight, outputs, inputs);
            if k == hidden {
                let read = scratch.activations.last().unwrap_or(&batch.windows);
                mean_over_windows(&mut scratch.mean, read, &batch.counts, inputs);
                resize(&mut scratch.logits, batch.counts.len() * 3);
                let mean = Matrix::new(&scratch.mean, batch.counts.len(), inputs);
                product(&mut scratch.logits, mean, weight.t(), false);
                add_bias(&mut scratch.logits, bias);
            } else {
                let (before, from) = scratch.activations.split_at_mut(k);
                let read = before.last().unwrap_or(&batch.windows);
                let rows = read.len() / inputs;
                resize(&mut from[0], rows * outputs);
                resize(&mut scratch.slopes[k], rows * outputs);
                product(&mut from[0], Matrix::new(read, rows, inputs), weight.t(), false);
                add_bias(&mut from[0], bias);
                gelu(&mut from[0], &mut scratch.slopes[k]);
            }
        }
        &scratch.logits
    }

    /// Gradients of the parameters, written over `gradients`, from those of the logits
    /// (examples, 3), after [`RouterShape::forward`] on the same batch.
    pub fn backward(
        self,
        parameters: &[f32],
        batch: &WindowBatch,
        of_logits: &[f32],
        scratch: &mut Scratch,
        gradients: &mut [f32],
    ) {
        let hidden = self.linear_layers - 1;
        let examples = batch.counts.len();
        let mut end = parameters.len();
        for (k, (outputs, inputs)) in self.sizes().enumerate().rev() {
            let start = end - outputs * (inputs + 1);
            let weight = Matrix::new(&parameters[start..start + outputs * inputs], outputs, inputs);
            let (of_weight, of_bias) = gradients[start..end].split_at_mut(outputs * inputs);
            end = start;
            let (back, read, rows) = if k == hidden {
                (of_logits, &scratch.mean, examples)
            } else {
                let read = if k == 0 {
                    &batch.windows
                } else {
                    &scratch.activations[k - 1]
                };
                (&scratch.back[..], read, read.len() / inputs)
            };
            let back = Matrix::new(back, rows, outputs);
            product(of_weight, back.t(), Matrix::new(read, rows, inputs), false);
            of_bias.fill(0.0);
            add_rows(of_bias, if k == hidden { of_logits } else { &scratch.back });
            if k == 0 {
                // What reaches the hidden states goes nowhere: the model is frozen.
                break;
            }
            resize(&mut scratch.other, rows * inputs);
            product(&mut scratch.other, back, weight, false);
            if k == hidden {
                spread_over_windows(&mut scratch.back, &scratch.other, &batch.counts, inputs);
            } else {
                std::mem::swap(&mut scratch.back, &mut scratch.other);
            }
            multiply(&mut scratch.back, &scratch.slopes[k - 1]);
        }
    }
}

/// The mean of each example's rows of `x` (rows, size) into `mean` (examples, size).
fn mean_over_windows(mean: &mut Vec<f32>, x: &[f32], counts: &[usize], size: usize) {
    mean.clear();
    mean.resize(counts.len() * size, 0.0);
    let mut rest = x;
    for (mean, &count) in mean.chunks_exact_mut(size).zip(counts) {
        let (of_example, after) = rest.split_at(count * size);
        add_rows(mean, of_example);
        mean.iter_mut().for_each(|m| *m /= count as f32);
        rest = after;
    }
}

/// The way back of [`mean_over_windows`].
fn spread_over_windows(back: &mut Vec<f32>, of_mean: &[f32], counts: &[usize], size: usize) {
    back.clear();
    for (of_mean, &count) in of_mean.chunks_exact(size).zip(counts) {
        for _ in 0..count {
            back.extend(of_mean.iter().map(|g| g / count as f32));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::loss::{Goal, Loss};
    use candle_core::{Device, Tensor, Var};

    const INPUTS: usize = 5;

    fn batch() -> WindowBatch {
        let counts = vec![4, 1, 2];
        let value = |i: usize| (((i * 7) % 23) as f32 - 11.0) / 8.0;
        WindowBatch {
            windows: (0..7 * INPUTS).map(value).collect(),
            counts,
        }
    }

    fn shape(linear_layers: usize) -> RouterShape {
        RouterShape {
            inputs: INPUTS,
            width: 6,
            linear_layers,
        }
    }

    /// Parameters whose biases are not zero, so that they count.
    fn parameters(shape: RouterShape) -> Parameters {
        let initial = shape.initial(3, 0).into_iter();
        initial
            .enumerate()
            .map(|(i, p)| p + 0.05 * ((i % 5) as f32 - 2.0))
            .collect()
    }

    /// The loss of a batch by candle's autograd, cross-entropy with the target `examples % 3`, and its gradients.
    fn by_candle(shape: RouterShape, parameters: &[f32], batch: &WindowBatch) -> Vec<f32> {
        let device = Device::Cpu;
        let mut at = 0;
        let mut vars = Vec::new();
        let mut x = Tensor::from_slice(&batch.windows, (7, INPUTS), &device).unwrap();
        for (k, (outputs, inputs)) in shape.sizes().enumerate() {
            let mut var = |dims: &[usize]| {
                let count: usize = dims.iter().product();
                at += count;
                let tensor = Tensor::from_slice(&parameters[at - count..at], dims, &device).unwrap();
                Var::from_tensor(&tensor).unwrap()
            };
            let (weight, bias) = (var(&[outputs, inputs]), var(&[outputs]));
            if k > 0 {
                x = x.gelu().unwrap();
            }
            x = x.matmul(&weight.t().unwrap()).unwrap().broadcast_add(&bias).unwrap();
            vars.extend([weight, bias]);
        }
        let mut losses = Vec::new();
        let mut row = 0;
        for (i, &count) in batch.counts.iter().enumerate() {
            let logits = x.narrow(0, row, count).unwrap().mean(0).unwrap();
            let log_p = candle_nn::ops::log_softmax(&logits, 0).unwrap().get(i % 3).unwrap();
            // (1 − p)²·ln p
            let rest = log_p.exp().unwrap().affine(-1.0, 1.0).unwrap().sqr().unwrap();
            losses.push((rest * log_p).unwrap().neg().unwrap());
            row += count;
        }
        let loss = Tensor::stack(&losses, 0).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        let flat = |var: &Var| {
            let gradient = gradients.get(var).unwrap();
            gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        vars.iter().flat_map(flat).collect()
    }

    #[test]
    fn gradients_are_those_of_autograd() {
        let loss = Loss {
            gamma: 2.0,
            class_weights: [1.0; 3],
        };
        for linear_layers in 1..=4 {
            let shape = shape(linear_layers);
            let (parameters, batch) = (parameters(shape), batch());
            assert_eq!(parameters.len(), shape.parameters());
            let mut scratch = Scratch::default();
            let logits = shape.forward(&parameters, &batch, &mut scratch).to_vec();
            let of_logits: Vec<f32> = logits
                .chunks_exact(3)
                .enumerate()
                .flat_map(|(i, z)| {
                    let goal = Goal {
                        target: std::array::from_fn(|c| f32::from(u8::from(c == i % 3))),
                        weight: 1.0,
                    };
                    loss.at([z[0], z[1], z[2]], goal).1.map(|g| g as f32)
                })
                .collect();
            let mut found = vec![f32::NAN; parameters.len()];
            shape.backward(&parameters, &batch, &of_logits, &mut scratch, &mut found);
            let expected = by_candle(shape, &parameters, &batch);
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let bound = 1e-5 + 1e-4 * expected.abs();
                assert!(
                    (found - expected).abs() < bound,
                    "{linear_layers} layers, {i}: {found} {expected}"
                );
            }
            assert!(expected.iter().any(|g| g.abs() > 1e-2), "gradients that can differ");
        }
    }

    #[test]
    fn the_checkpoint_says_what_the_network_says() {
        let shape = shape(2);
        let (parameters, raw) = (parameters(shape), batch());
        let mean: Vec<f32> = (0..INPUTS).map(|i| i as f32 - 2.0).collect();
        let deviation: Vec<f32> = (0..INPUTS).map(|i| 0.5 + i as f32).collect();
        let standardise = |(i, x): (usize, &f32)| (x - mean[i % INPUTS]) / deviation[i % INPUTS];
        let standardised = WindowBatch {
            windows: raw.windows.iter().enumerate().map(standardise).collect(),
            counts: raw.counts.clone(),
        };
        let router = shape.router(&parameters, &mean, &deviation).unwrap();
        let mut scratch = Scratch::default();
        let logits = shape.forward(&parameters, &standardised, &mut scratch);
        let mut row = 0;
        for (count, found) in raw.counts.iter().zip(logits.chunks_exact(3)) {
            let rows = raw.windows[row * INPUTS..(row + count) * INPUTS].chunks_exact(INPUTS);
            let each: Vec<[f32; 3]> = rows.map(|x| router.logits(x)).collect();
            for (class, found) in found.iter().enumerate() {
                let expected = each.iter().map(|z| z[class]).sum::<f32>() / *count as f32;
                assert!((found - expected).abs() < 1e-4, "{found} {expected}");
            }
            row += count;
        }
        let error = RouterShape {
            linear_layers: 3,
            ..shape
        }
        .router(&[], &[], &[])
        .unwrap_err();
        assert!(error.to_string().contains("3 linear layers cannot be saved"), "{error}");
    }

    #[test]
    fn layers_begin_differently_and_the_same_each_time() {
        let shape = shape(2);
        assert_eq!(shape.initial(1, 0), shape.initial(1, 0));
        assert_ne!(shape.initial(1, 0), shape.initial(1, 1));
        assert_ne!(shape.initial(1, 0), shape.initial(2, 0));
    }
}
