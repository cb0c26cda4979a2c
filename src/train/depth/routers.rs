//! The routers of one layer while they are trained: z = w₂·gelu(W₁·x + b₁) + b₂ with x = h / rms(h).

use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::eval::text::routed;
use crate::model::kernel;
use crate::router::MlpRouter;
use crate::train::math::{Matrix, add_bias, add_rows, gelu, multiply, product};

/// Added to the mean square of a state before its root is taken.
pub const RMS_EPS: f32 = 1e-5;

/// z of execute that untrained routers give.
const AT_FIRST: f32 = 2.0;

/// A logit beside which another one's probability is 1.
const NEVER: f32 = -1e9;

/// Sizes of the routers of all routed layers, and where each one's parameters lie.
#[derive(Clone, Debug, PartialEq)]
pub struct DepthShape {
    /// Of the model; [`routed`] of them have a router.
    pub layers: usize,
    /// Width of the states that routers read.
    pub hidden_size: usize,
    /// Of a router's hidden layer.
    pub width: usize,
    ones: Vec<f32>,
}

/// What a forward pass leaves for the backward pass.
pub struct RouterActivations {
    /// x, (rows, hidden_size)
    normed: Vec<f32>,
    /// gelu(…) and its slope, (rows, width)
    inner: Vec<f32>,
    slope: Vec<f32>,
    /// (rows)
    pub logits: Vec<f32>,
}

/// One router's parameters, or as many gradients.
struct Parts<'a> {
    /// (width, hidden_size)
    w1: &'a [f32],
    b1: &'a [f32],
    /// (width)
    w2: &'a [f32],
    b2: f32,
}

impl DepthShape {
    /// The routers of a model of so many layers.
    pub fn new(layers: usize, hidden_size: usize, width: usize) -> Self {
        DepthShape {
            layers,
            hidden_size,
            width,
            ones: vec![1.0; hidden_size],
        }
    }

    /// Parameters of one router.
    fn each(&self) -> usize {
        self.width * (self.hidden_size + 2) + 1
    }

    /// Of all routers.
    pub fn parameters(&self) -> usize {
        routed(self.layers).len() * self.each()
    }

    /// Where the router of a routed layer lies among all parameters.
    fn range(&self, layer: usize) -> Range<usize> {
        let from = (layer - routed(self.layers).start) * self.each();
        from..from + self.each()
    }

    /// Hidden weights of variance 1/hidden_size, all else 0 but the last bias: everything is executed.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(1 << 40);
        let bound = (3.0 / self.hidden_size as f32).sqrt();
        let mut parameters = Vec::with_capacity(self.parameters());
        for _ in routed(self.layers) {
            parameters.extend((0..self.width * self.hidden_size).map(|_| rng.random_range(-bound..bound)));
            parameters.extend(std::iter::repeat_n(0.0, 2 * self.width));
            parameters.push(AT_FIRST);
        }
        parameters
    }

    /// The parameters of routers of a checkpoint, whose own threshold becomes 0; `None` where they are of other sizes.
    pub fn parameters_of(&self, routers: &[MlpRouter]) -> Option<Vec<f32>> {
        if routers.len() != self.layers {
            return None;
        }
        let mut parameters = Vec::with_capacity(self.parameters());
        for router in &routers[routed(self.layers)] {
            if router.b1.len() != self.width || router.w1.len() != self.width * self.hidden_size {
                return None;
            }
            let (skip, rest) = router.w2.split_at(self.width);
            parameters.extend_from_slice(&router.w1);
            parameters.extend_from_slice(&router.b1);
            parameters.extend(
                rest.iter()
                    .zip(skip)
                    .take(self.width)
                    .map(|(execute, skip)| execute - skip),
            );
            parameters.push(router.b2[1] - router.b2[0]);
        }
        Some(parameters)
    }

    fn parts<'a>(&self, parameters: &'a [f32], layer: usize) -> Parts<'a> {
        let (w1, rest) = parameters[self.range(layer)].split_at(self.width * self.hidden_size);
        let (b1, rest) = rest.split_at(self.width);
        Parts {
            w1,
            b1,
            w2: &rest[..self.width],
            b2: rest[self.width],
        }
    }

    /// What the router of `layer` says of some states (rows, hidden_size).
    pub fn forward(&self, parameters: &[f32], layer: usize, states: &[f32]) -> RouterActivations {
        let router = self.parts(parameters, layer);
        let rows = states.len() / self.hidden_size;
        let mut normed = vec![0.0; states.len()];
        kernel::rms_norm(states, &self.ones, RMS_EPS, &mut normed);
        let mut inner = vec![0.0; rows * self.width];
        let w1 = Matrix::new(router.w1, self.width, self.hidden_size);
        product(&mut inner, Matrix::new(&normed, rows, self.hidden_size), w1.t(), false);
        add_bias(&mut inner, router.b1);
        let mut slope = vec![0.0; inner.len()];
        gelu(&mut inner, &mut slope);
        let mut logits = vec![0.0; rows];
        let w2 = Matrix::new(router.w2, self.width, 1);
        product(&mut logits, Matrix::new(&inner, rows, self.width), w2, false);
        logits.iter_mut().for_each(|z| *z += router.b2);
        RouterActivations {
            normed,
            inner,
            slope,
            logits,
        }
    }

    /// Adds the gradients of the router of `layer` to `gradients`, and those of its states to `to`, from `d` (rows), that of
    /// the logits.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &self,
        parameters: &[f32],
        layer: usize,
        states: &[f32],
        activations: &RouterActivations,
        d: &[f32],
        gradients: &mut [f32],
        to: &mut [f32],
    ) {
        let router = self.parts(parameters, layer);
        let rows = d.len();
        let gradients = &mut gradients[self.range(layer)];
        let (d_w1, rest) = gradients.split_at_mut(self.width * self.hidden_size);
        let (d_b1, rest) = rest.split_at_mut(self.width);
        let (d_w2, d_b2) = rest.split_at_mut(self.width);
        d_b2[0] += d.iter().sum::<f32>();
        let d_column = Matrix::new(d, rows, 1);
        product(
            d_w2,
            Matrix::new(&activations.inner, rows, self.width).t(),
            d_column,
            true,
        );
        let mut d_inner = vec![0.0; rows * self.width];
        product(&mut d_inner, d_column, Matrix::new(router.w2, 1, self.width), false);
        multiply(&mut d_inner, &activations.slope);
        add_rows(d_b1, &d_inner);
        let d_rows = Matrix::new(&d_inner, rows, self.width);
        product(
            d_w1,
            d_rows.t(),
            Matrix::new(&activations.normed, rows, self.hidden_size),
            true,
        );
        let mut d_normed = vec![0.0; states.len()];
        let w1 = Matrix::new(router.w1, self.width, self.hidden_size);
        product(&mut d_normed, d_rows, w1, false);
        kernel::rms_norm_backward(states, &self.ones, RMS_EPS, &d_normed, to);
    }

    /// The routers of all layers as checkpoints keep them: z is the log-odds of execute against skip less `offset`,
    /// repeat has no probability, and layers that always run say so.
    pub fn routers(&self, parameters: &[f32], offset: f32) -> Vec<MlpRouter> {
        let routed = routed(self.layers);
        let zeros = |count: usize| vec![0.0; count];
        (0..self.layers)
            .map(|layer| {
                if !routed.contains(&layer) {
                    return MlpRouter {
                        w1: zeros(self.width * self.hidden_size),
                        b1: zeros(self.width),
                        w2: zeros(3 * self.width),
                        b2: vec![NEVER, 0.0, NEVER],
                    };
                }
                let router = self.parts(parameters, layer);
                MlpRouter {
                    w1: router.w1.to_vec(),
                    b1: router.b1.to_vec(),
                    w2: [&zeros(self.width), router.w2, &zeros(self.width)].concat(),
                    b2: vec![0.0, router.b2 - offset, NEVER],
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn gradients_are_differences() {
        let shape = DepthShape::new(5, 8, 3);
        let (parameters, states) = (values(shape.parameters(), 1), values(4 * 8, 2));
        let d = values(4, 3);
        let value = |parameters: &[f32], states: &[f32]| -> f64 {
            let logits = shape.forward(parameters, 3, states).logits;
            logits.iter().zip(&d).map(|(z, d)| f64::from(z * d)).sum()
        };
        let activations = shape.forward(&parameters, 3, &states);
        let (mut gradients, mut to) = (vec![0.0; parameters.len()], vec![0.0; states.len()]);
        shape.backward(&parameters, 3, &states, &activations, &d, &mut gradients, &mut to);
        let slope = |at: usize, of: &dyn Fn(usize, f32) -> f64| (of(at, 1e-2) - of(at, -1e-2)) / 2e-2;
        let moved = |values: &[f32], at: usize, by: f32| {
            let mut values = values.to_vec();
            values[at] += by;
            values
        };
        for at in shape.range(3) {
            let expected = slope(at, &|at, by| value(&moved(&parameters, at, by), &states));
            assert!((f64::from(gradients[at]) - expected).abs() < 2e-3, "parameter {at}");
        }
        for (at, to) in to.iter().enumerate() {
            let expected = slope(at, &|at, by| value(&parameters, &moved(&states, at, by)));
            assert!((f64::from(*to) - expected).abs() < 2e-3, "state {at}");
        }
        let others = (0..gradients.len()).filter(|at| !shape.range(3).contains(at));
        assert!(others.map(|at| gradients[at]).all(|g| g == 0.0));
    }

    #[test]
    fn a_checkpoint_says_what_the_training_says() {
        let shape = DepthShape::new(5, 8, 3);
        let parameters = values(shape.parameters(), 1);
        let routers = shape.routers(&parameters, 0.25);
        let state = values(8, 2);
        let rms = (state.iter().map(|x| x * x).sum::<f32>() / 8.0 + RMS_EPS).sqrt();
        let normed: Vec<f32> = state.iter().map(|x| x / rms).collect();
        let mut read = shape.parameters_of(&routers).unwrap();
        // The threshold went into the biases.
        for layer in routed(5) {
            read[shape.range(layer).end - 1] += 0.25;
        }
        assert!(read.iter().zip(&parameters).all(|(a, b)| (a - b).abs() < 1e-6));
        assert_eq!(DepthShape::new(5, 8, 4).parameters_of(&routers), None);
        for (layer, router) in routers.iter().enumerate() {
            let [skip, execute, repeat] = router.logits(&normed);
            assert_eq!(repeat, NEVER);
            if routed(5).contains(&layer) {
                let z = shape.forward(&parameters, layer, &state).logits[0];
                assert!((execute - skip - (z - 0.25)).abs() < 1e-5);
            } else {
                assert_eq!((skip, execute), (NEVER, 0.0));
            }
        }
    }
}
