//! The training loop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::dataset::{Dataset, Example};
use super::features::Features;
use super::loss::{class_weights, focal};
use super::metrics::{Confusion, Metrics};
use super::network::RouterNetwork;
use crate::program::Action;
use crate::router::MlpRouter;
use crate::router::policy::argmax;

/// Examples whose decisions are computed together where no gradient is needed.
const EVALUATION_BATCH: usize = 64;

/// The numbers of the training; the defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainSettings {
    pub epochs: usize,
    pub learning_rate: f64,
    pub weight_decay: f64,
    /// Steps of linear warm-up before the cosine; a fifth of all steps where that is less.
    pub warm_up: usize,
    /// Examples a step.
    pub batch: usize,
    /// Width of the routers' hidden layer, r.
    pub width: usize,
    /// γ of the focal loss; 0 is weighted cross-entropy.
    pub gamma: f64,
    /// Train on standardised hidden states; the checkpoint reads them as they are all the same.
    pub standardise: bool,
    /// Share of the examples held out to choose the best epoch by.
    pub validation: f64,
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
            gamma: 2.0,
            standardise: false,
            validation: 0.1,
            seed: 42,
        }
    }
}

/// What a training begins with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainPlan {
    #[serde(flatten)]
    pub settings: TrainSettings,
    pub train_examples: usize,
    pub validation_examples: usize,
    pub steps: usize,
    /// As carried out, see [`TrainSettings::warm_up`].
    pub warm_up_steps: usize,
    /// Decisions of the training examples: skip, execute, repeat.
    pub class_counts: [usize; 3],
    pub class_weights: [f32; 3],
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EpochReport {
    pub epoch: usize,
    /// Steps so far.
    pub steps: usize,
    /// At the epoch's last step.
    pub learning_rate: f64,
    /// Mean over the epoch's steps.
    pub train_loss: f64,
    pub validation: Metrics,
    /// Whether no epoch before was as good by macro-F1.
    pub best: bool,
}

/// What a training tells while it goes on.
pub enum TrainEvent<'a> {
    Plan(&'a TrainPlan),
    Epoch(&'a EpochReport),
}

/// The routers of the best epoch.
pub struct Trained {
    pub routers: Vec<MlpRouter>,
    pub plan: TrainPlan,
    pub best: EpochReport,
}

/// Trains routers on `features`, which are those of `data`'s examples in order. `None` if `stop` was
/// set before the last epoch ended.
///
/// # Errors
/// Too few examples to hold any out.
pub fn train(
    data: &Dataset,
    features: &mut Features,
    settings: &TrainSettings,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(TrainEvent) -> Result<()>,
) -> Result<Option<Trained>> {
    let (training, validation) = data.split(settings.validation, settings.seed);
    ensure!(
        !training.is_empty() && !validation.is_empty(),
        "{} examples are too few: {} to train on and {} to validate by; search more questions",
        data.examples.len(),
        training.len(),
        validation.len()
    );
    if settings.standardise {
        features.standardise(&training);
    }
    let plan = plan(data, &training, &validation, settings);
    tell(TrainEvent::Plan(&plan))?;
    let mut run = Run::new(data, features, &plan)?;
    let mut best: Option<(Vec<MlpRouter>, EpochReport)> = None;
    for epoch in 1..=settings.epochs {
        let Some(train_loss) = run.epoch(epoch, &training, stop)? else {
            return Ok(None);
        };
        let metrics = run.evaluate(&validation)?;
        let better = best
            .as_ref()
            .is_none_or(|(_, b)| metrics.macro_f1 > b.validation.macro_f1);
        let report = EpochReport {
            epoch,
            steps: run.steps,
            learning_rate: run.optimizer.learning_rate(),
            train_loss,
            validation: metrics,
            best: better,
        };
        tell(TrainEvent::Epoch(&report))?;
        if better {
            best = Some((run.network.routers(run.features.moments())?, report));
        }
    }
    Ok(best.map(|(routers, best)| Trained { routers, plan, best }))
}

fn plan(data: &Dataset, training: &[usize], validation: &[usize], settings: &TrainSettings) -> TrainPlan {
    let mut class_counts = [0; 3];
    for action in training.iter().flat_map(|&i| &data.examples[i].target) {
        class_counts[*action as usize] += 1;
    }
    let steps = settings.epochs * training.len().div_ceil(settings.batch);
    TrainPlan {
        settings: settings.clone(),
        train_examples: training.len(),
        validation_examples: validation.len(),
        steps,
        warm_up_steps: settings.warm_up.min(steps / 5),
        class_counts,
        class_weights: class_weights(class_counts),
    }
}

/// The learning rate of a step, counted from 0: linear warm-up, then half a cosine down to 0.
fn learning_rate(plan: &TrainPlan, step: usize) -> f64 {
    let peak = plan.settings.learning_rate;
    if step < plan.warm_up_steps {
        return peak * (step + 1) as f64 / plan.warm_up_steps as f64;
    }
    let rest = (plan.steps - plan.warm_up_steps).max(1) as f64;
    let progress = (step - plan.warm_up_steps) as f64 / rest;
    peak * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
}

/// A training under way.
struct Run<'a> {
    data: &'a Dataset,
    features: &'a Features,
    plan: &'a TrainPlan,
    network: RouterNetwork,
    optimizer: AdamW,
    /// (3)
    class_weights: Tensor,
    steps: usize,
}

impl<'a> Run<'a> {
    fn new(data: &'a Dataset, features: &'a Features, plan: &'a TrainPlan) -> Result<Self> {
        let settings = &plan.settings;
        let network = RouterNetwork::new(features.layers, features.hidden_size, settings.width, settings.seed)?;
        let params = ParamsAdamW {
            lr: settings.learning_rate,
            weight_decay: settings.weight_decay,
            ..ParamsAdamW::default()
        };
        Ok(Run {
            data,
            features,
            plan,
            optimizer: AdamW::new(network.variables(), params)?,
            network,
            class_weights: Tensor::new(&plan.class_weights, &Device::Cpu)?,
            steps: 0,
        })
    }

    /// One pass over the training examples in random order; their mean loss.
    fn epoch(&mut self, epoch: usize, training: &[usize], stop: &AtomicBool) -> Result<Option<f64>> {
        let mut order = training.to_vec();
        let mut rng = ChaCha8Rng::seed_from_u64(self.plan.settings.seed);
        rng.set_stream(epoch as u64);
        order.shuffle(&mut rng);
        let mut loss_sum = 0.0;
        for batch in order.chunks(self.plan.settings.batch) {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            self.optimizer.set_learning_rate(learning_rate(self.plan, self.steps));
            let loss = self.loss(batch)?.0;
            self.optimizer.backward_step(&loss)?;
            self.steps += 1;
            loss_sum += f64::from(loss.to_scalar::<f32>()?) * batch.len() as f64;
        }
        Ok(Some(loss_sum / training.len() as f64))
    }

    /// The loss of some examples and their logits (L, B, 3).
    fn loss(&self, batch: &[usize]) -> Result<(Tensor, Tensor)> {
        let (windows, weights) = self.features.batch(batch)?;
        let logits = self.network.forward(&windows, &weights)?;
        let examples: Vec<&Example> = batch.iter().map(|&i| &self.data.examples[i]).collect();
        let targets = one_hot(&examples, self.features.layers)?;
        let loss = focal(&logits, &targets, &self.class_weights, self.plan.settings.gamma)?;
        Ok((loss, logits))
    }

    fn evaluate(&self, indices: &[usize]) -> Result<Metrics> {
        let mut confusion = Confusion::default();
        let mut loss_sum = 0.0;
        for batch in indices.chunks(EVALUATION_BATCH) {
            let (loss, logits) = self.loss(batch)?;
            loss_sum += f64::from(loss.to_scalar::<f32>()?) * batch.len() as f64;
            let logits = logits.to_vec3::<f32>()?;
            for (slot, &index) in batch.iter().enumerate() {
                let decide = |layer: &Vec<Vec<f32>>| argmax(std::array::from_fn(|class| layer[slot][class]));
                let predictions: Vec<Action> = logits.iter().map(decide).collect();
                confusion.add(&self.data.examples[index].target, &predictions);
            }
        }
        Ok(confusion.metrics(loss_sum / indices.len() as f64))
    }
}

/// Targets as (layers, examples, 3).
fn one_hot(examples: &[&Example], layers: usize) -> candle_core::Result<Tensor> {
    let mut values = vec![0f32; layers * examples.len() * 3];
    for (slot, example) in examples.iter().enumerate() {
        for (layer, action) in example.target.iter().enumerate() {
            values[(layer * examples.len() + slot) * 3 + *action as usize] = 1.0;
        }
    }
    Tensor::from_vec(values, (layers, examples.len(), 3), &Device::Cpu)
}

/// What a checkpoint says of its training.
pub fn metadata(trained: &Trained, data: &Dataset, windows: usize) -> HashMap<String, String> {
    let settings = &trained.plan.settings;
    let entries = [
        ("format", "1".to_owned()),
        ("windows", windows.to_string()),
        ("width", settings.width.to_string()),
        ("data_sha256", data.sha256.clone()),
        ("seed", settings.seed.to_string()),
        ("epochs", settings.epochs.to_string()),
        ("best_epoch", trained.best.epoch.to_string()),
    ];
    entries.map(|(k, v)| (k.to_owned(), v)).into()
}

#[cfg(test)]
mod tests;
