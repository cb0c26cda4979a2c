//! What all trainings share: AdamW with its moments, and the cosine of the learning rate.

use super::math::{AdamStep, adam_w};
use super::network::{Parameters, RouterShape, Scratch, WindowBatch};

/// Half a cosine from 1 to 0, for `done` from 0 to 1.
pub fn half_cosine(done: f64) -> f64 {
    0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

/// Moments of AdamW (Loshchilov & Hutter, arXiv 1711.05101), one of each for a parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdamW {
    /// Of the gradients.
    pub first: Vec<f32>,
    /// Of their squares.
    pub second: Vec<f32>,
}

impl AdamW {
    /// Moments of zeros for so many parameters.
    pub fn new(parameters: usize) -> AdamW {
        AdamW {
            first: vec![0.0; parameters],
            second: vec![0.0; parameters],
        }
    }

    /// One step, counted from 0, against the gradients.
    pub fn step(&mut self, parameters: &mut [f32], gradients: &[f32], step: usize, (rate, weight_decay): (f64, f64)) {
        let step = AdamStep::new(step + 1, rate, weight_decay);
        adam_w(parameters, gradients, &mut self.first, &mut self.second, step);
    }
}

/// A network, its moments, and how far it has come.
pub(super) struct Descent {
    /// Greatest learning rate, falling to 0 along half a cosine.
    rate: f64,
    weight_decay: f64,
    shape: RouterShape,
    pub parameters: Parameters,
    gradients: Vec<f32>,
    adam: AdamW,
    step: usize,
    steps: usize,
    pub batch: WindowBatch,
    scratch: Scratch,
}

impl Descent {
    /// From `parameters` in `steps` steps, with the greatest learning rate and the weight decay.
    pub fn new((rate, weight_decay): (f64, f64), shape: RouterShape, parameters: Parameters, steps: usize) -> Self {
        Descent {
            rate,
            weight_decay,
            shape,
            gradients: vec![0.0; parameters.len()],
            adam: AdamW::new(parameters.len()),
            parameters,
            step: 0,
            steps,
            batch: WindowBatch::default(),
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
        let rate = self.rate * half_cosine(self.step as f64 / self.steps as f64);
        let numbers = (rate, self.weight_decay);
        self.adam
            .step(&mut self.parameters, &self.gradients, self.step, numbers);
        self.step += 1;
    }
}
