//! AdamW along half a cosine, for networks that are fitted in one go.

use super::Rejection;
use crate::train::math::{AdamStep, adam_w};
use crate::train::network::{Batch, Parameters, Scratch, Shape};

/// Parameters to begin with: they say nearly the same everywhere, a small penalty.
pub(super) fn initial(shape: Shape, seed: u64, index: usize) -> Parameters {
    let mut initial = shape.initial(seed, index);
    let (first, second) = initial.split_at_mut(shape.width * (shape.inputs + 1));
    first.iter_mut().for_each(|w| *w *= 0.5);
    second.iter_mut().for_each(|w| *w *= 0.1);
    let biases = second.len() - 3;
    second[biases..].copy_from_slice(&[-1.0, 0.0, 0.0]);
    initial
}

/// A network, its moments, and how far it has come.
pub(super) struct Descent<'a> {
    settings: &'a Rejection,
    shape: Shape,
    pub parameters: Parameters,
    gradients: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    step: usize,
    steps: usize,
    pub batch: Batch,
    scratch: Scratch,
}

impl<'a> Descent<'a> {
    /// From `parameters` in `steps` steps.
    pub fn new(settings: &'a Rejection, shape: Shape, parameters: Parameters, steps: usize) -> Self {
        let zeros = || vec![0.0; parameters.len()];
        Descent {
            settings,
            shape,
            gradients: zeros(),
            first: zeros(),
            second: zeros(),
            parameters,
            step: 0,
            steps,
            batch: Batch::default(),
            scratch: Scratch::default(),
        }
    }

    /// Logits of the batch, (rows, 3), whose rows are windows of their own.
    pub fn logits(&mut self) -> &[f32] {
        let rows = self.batch.windows.len() / self.shape.inputs;
        self.batch.counts = vec![1; rows];
        self.shape.forward(&self.parameters, &self.batch, &mut self.scratch)
    }

    /// One step against the gradients by those logits.
    pub fn step(&mut self, of_logits: &[f32]) {
        self.shape.backward(
            &self.parameters,
            &self.batch,
            of_logits,
            &mut self.scratch,
            &mut self.gradients,
        );
        let progress = self.step as f64 / self.steps as f64;
        let rate = self.settings.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.step += 1;
        let adam = AdamStep::new(self.step, rate, self.settings.weight_decay);
        adam_w(
            &mut self.parameters,
            &self.gradients,
            &mut self.first,
            &mut self.second,
            adam,
        );
    }
}
