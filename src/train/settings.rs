//! The numbers of a training, and the plan they come to on given examples.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::dataset::RouterDataset;
use super::loss::{Loss, LossKind};
use super::network::RouterShape;
use super::optimiser::half_cosine;

/// What a router reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum RouterInput {
    /// The hidden state that enters its layer
    #[default]
    State,
    /// The embeddings of the prompt's tokens, the same for all layers
    Embeddings,
}

impl RouterInput {
    /// The layer whose entering hidden states `layer`'s router reads: what enters layer 0 is the
    /// embeddings.
    pub fn layer(self, layer: usize) -> usize {
        match self {
            RouterInput::State => layer,
            RouterInput::Embeddings => 0,
        }
    }
}

/// The numbers of the training; the defaults are the paper's, but for standardised inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainSettings {
    /// Times that all examples are learnt from, at most.
    pub epochs: usize,
    /// Greatest learning rate, after the warm-up.
    pub learning_rate: f64,
    /// Of AdamW.
    pub weight_decay: f64,
    /// Steps of linear warm-up before the cosine; a fifth of all steps where that is less.
    pub warm_up: usize,
    /// Examples a step.
    pub batch: usize,
    /// Width of the routers' hidden layers, r.
    pub width: usize,
    /// Linear layers of a router, GELU between them.
    pub linear_layers: usize,
    /// What routers read.
    pub input: RouterInput,
    /// What is made less.
    pub loss: LossKind,
    /// γ of the focal loss; 0 is weighted cross-entropy.
    pub gamma: f64,
    /// Train on standardised hidden states; the checkpoint reads them as they are all the same.
    pub standardise: bool,
    /// Share of the examples held out to choose the best epoch by.
    pub validation: f64,
    /// Stop after this many epochs without a better one.
    pub patience: Option<usize>,
    /// Of the first parameters, the order of examples, and who is held out.
    pub seed: u64,
}

impl Default for TrainSettings {
    fn default() -> Self {
        TrainSettings {
            epochs: 25,
            learning_rate: 1e-3,
            weight_decay: 0.01,
            warm_up: 500,
            batch: 16,
            width: 128,
            linear_layers: 2,
            input: RouterInput::State,
            loss: LossKind::Focal,
            gamma: 2.0,
            standardise: true,
            validation: 0.1,
            patience: None,
            seed: 42,
        }
    }
}

impl TrainSettings {
    /// Sizes of a router that reads states of `hidden_size` units.
    pub fn shape(&self, hidden_size: usize) -> RouterShape {
        RouterShape {
            inputs: hidden_size,
            width: self.width,
            linear_layers: self.linear_layers,
        }
    }

    /// Whether these routers can be kept as a checkpoint.
    ///
    /// # Errors
    /// Routers that the checkpoint format does not know.
    pub fn check_can_be_saved(&self) -> Result<()> {
        ensure!(
            self.linear_layers == 2 && self.input == RouterInput::State,
            "a checkpoint holds routers of two linear layers that read the hidden state entering their layer; \
             compare others with --ablate, which saves none"
        );
        Ok(())
    }
}

/// What a training begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainPlan {
    /// The numbers of the training.
    #[serde(flatten)]
    pub settings: TrainSettings,
    /// Examples that are learnt from.
    pub train_examples: usize,
    /// Examples held out.
    pub validation_examples: usize,
    /// Of all epochs.
    pub steps: usize,
    /// As carried out, see [`TrainSettings::warm_up`].
    pub warm_up_steps: usize,
    /// Decisions of the training examples: skip, execute, repeat.
    pub class_counts: [usize; 3],
    /// Of skip, execute and repeat in the loss.
    pub class_weights: [f32; 3],
    /// Of all layers' routers.
    pub parameters: usize,
}

impl TrainPlan {
    /// The plan of a training on the examples `training` of `data`, with `validation` held out.
    pub fn new(
        data: &RouterDataset,
        training: &[usize],
        validation: &[usize],
        settings: &TrainSettings,
        parameters: usize,
    ) -> Self {
        let mut mass = [0f64; 3];
        for example in training.iter().map(|&i| &data.examples[i]) {
            for (target, weight) in example.targets.iter().zip(&example.weights) {
                for (mass, share) in mass.iter_mut().zip(target) {
                    *mass += f64::from(share * weight);
                }
            }
        }
        let class_counts = mass.map(|m| m.round() as usize);
        let steps = settings.epochs * training.len().div_ceil(settings.batch);
        TrainPlan {
            settings: settings.clone(),
            train_examples: training.len(),
            validation_examples: validation.len(),
            steps,
            warm_up_steps: settings.warm_up.min(steps / 5),
            class_counts,
            class_weights: Loss::new(settings.loss, settings.gamma, class_counts).class_weights,
            parameters,
        }
    }

    /// The loss with the weights of this plan's classes.
    pub fn loss(&self) -> Loss {
        Loss::new(self.settings.loss, self.settings.gamma, self.class_counts)
    }

    /// The learning rate of a step, counted from 0: linear warm-up, then half a cosine down to 0.
    pub fn learning_rate(&self, step: usize) -> f64 {
        let peak = self.settings.learning_rate;
        if step < self.warm_up_steps {
            return peak * (step + 1) as f64 / self.warm_up_steps as f64;
        }
        let rest = (self.steps - self.warm_up_steps).max(1) as f64;
        let progress = (step - self.warm_up_steps) as f64 / rest;
        peak * half_cosine(progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Action;
    use crate::train::RouterExample;

    #[test]
    fn the_learning_rate_warms_up_and_falls_along_a_cosine() {
        let example = |i: usize| RouterExample::new(format!("e{i}"), String::new(), vec![Action::Skip], false);
        let mut data = RouterDataset {
            examples: (0..160).map(example).collect(),
            unsolved: 0,
            duplicates: 0,
            thinned: 0,
            sha256: String::new(),
        };
        // Half a decision for each of two actions.
        data.examples[0].targets[0] = [0.0, 0.5, 0.5];
        data.examples[1].targets[0] = [0.0, 0.5, 0.5];
        let settings = TrainSettings {
            learning_rate: 1.0,
            ..TrainSettings::default()
        };
        let all: Vec<usize> = (0..160).collect();
        let plan = TrainPlan::new(&data, &all, &[], &settings, 0);
        assert_eq!(plan.class_counts, [158, 1, 1]);
        assert_eq!(
            (plan.steps, plan.warm_up_steps),
            (250, 50),
            "500 steps are more than a fifth"
        );
        let rate = |step| plan.learning_rate(step);
        assert!((rate(0) - 0.02).abs() < 1e-12 && (rate(49) - 1.0).abs() < 1e-12);
        assert!((rate(50) - 1.0).abs() < 1e-12 && (rate(150) - 0.5).abs() < 1e-12);
        assert!(rate(249) > 0.0 && rate(249) < 0.001);
    }
}
