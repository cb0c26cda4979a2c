//! The training loop.
//!
//! The loss is a mean over layers and routers share nothing, so each layer trains by itself: its
//! steps run on one thread over its own piece of the features, layers are spread over threads, and
//! no result depends on how many there are. After each epoch all layers are judged together.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::dataset::RouterDataset;
use super::features::{FeatureFile, LayerFeatures, Moments, Scaling};
use super::loss::{Goal, Loss};
use super::metrics::{Confusion, Metrics};
use super::network::{RouterShape, Scratch, WindowBatch};
use super::optimiser::AdamW;
use super::settings::{TrainPlan, TrainSettings};
use super::state::{LayerState, StateKey, TrainState};
use crate::program::Action;
use crate::router::MlpRouter;
use crate::trace::argmax;

/// Examples whose decisions are computed together where no gradient is needed.
const EVALUATION_BATCH: usize = 64;

/// Taken from the logit of an action that no training example takes: nothing was learnt of it.
const NEVER: f32 = 30.0;

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// From 1.
    pub epoch: usize,
    /// Steps so far.
    pub steps: usize,
    /// At the epoch's last step.
    pub learning_rate: f64,
    /// Mean over the epoch's decisions, each as it was before its step.
    pub train_loss: f64,
    /// On the examples held out.
    pub validation: Metrics,
    /// Whether no epoch before was as good by macro-F1.
    pub best: bool,
}

/// What a training tells while it goes on.
pub enum TrainEvent<'a> {
    /// Once, before the first epoch.
    Plan(&'a TrainPlan),
    /// The epochs of the training that is gone on with come first.
    Epoch(&'a EpochReport),
}

/// What is trained, and on what.
pub struct TrainingJob<'a> {
    /// Examples, and what was left out.
    pub data: &'a RouterDataset,
    /// Those of `data`'s examples, in order.
    pub features: &'a FeatureFile,
    /// The numbers of the training.
    pub settings: &'a TrainSettings,
    /// Layers trained at once. Changes no result.
    pub threads: usize,
    /// Where the end of each epoch is kept; a state that is there is gone on with.
    pub state: Option<&'a Path>,
}

/// The routers of the best epoch.
pub struct TrainedRouters {
    shape: RouterShape,
    layers: Vec<(Moments, Vec<f32>)>,
    /// What the training began with.
    pub plan: TrainPlan,
    /// What that epoch came to.
    pub best: EpochReport,
}

impl TrainedRouters {
    /// The routers as checkpoints keep them, reading hidden states as they are.
    ///
    /// # Errors
    /// See [`TrainSettings::check_can_be_saved`].
    pub fn routers(&self) -> Result<Vec<MlpRouter>> {
        self.plan.settings.check_can_be_saved()?;
        let never: Vec<usize> = (0..3).filter(|&class| self.plan.class_counts[class] == 0).collect();
        let router = |(moments, parameters): &(Moments, Vec<f32>)| {
            let mut router = self.shape.router(parameters, &moments.mean, &moments.deviation)?;
            for &class in &never {
                router.b2[class] -= NEVER;
            }
            Ok(router)
        };
        self.layers.iter().map(router).collect()
    }
}

/// Trains routers. `None` if `stop` was set before the last epoch ended.
///
/// # Errors
/// Too few examples to hold any out, and a state of another training.
pub fn train(
    job: &TrainingJob,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(TrainEvent) -> Result<()>,
) -> Result<Option<TrainedRouters>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(job.threads).build();
    let pool = pool.context("cannot start a thread")?;
    let mut run = Run::new(job, &pool)?;
    tell(TrainEvent::Plan(&run.plan))?;
    run.state
        .reports
        .iter()
        .try_for_each(|report| tell(TrainEvent::Epoch(report)))?;
    while !run.is_over() {
        let Some(report) = pool.install(|| run.epoch(stop))? else {
            return Ok(None);
        };
        run.state.reports.push(report);
        if let Some(path) = job.state {
            run.state.save(path, &run.key)?;
        }
        tell(TrainEvent::Epoch(run.state.reports.last().expect("one was just added")))?;
    }
    Ok(Some(run.end()))
}

/// A training under way.
struct Run<'a> {
    job: &'a TrainingJob<'a>,
    plan: TrainPlan,
    key: StateKey,
    shape: RouterShape,
    loss: Loss,
    training: Vec<usize>,
    validation: Vec<usize>,
    /// Of what each layer's router reads.
    moments: Vec<Moments>,
    state: TrainState,
}

/// What one layer's epoch came to.
struct LayerEpoch {
    /// Sums over examples.
    train_loss: f64,
    validation_loss: f64,
    /// One for each validation example.
    predictions: Vec<Action>,
}

impl<'a> Run<'a> {
    fn new(job: &'a TrainingJob, pool: &rayon::ThreadPool) -> Result<Self> {
        let (data, settings) = (job.data, job.settings);
        let (training, validation) = data.split(settings.validation, settings.seed);
        ensure!(
            !training.is_empty() && !validation.is_empty(),
            "{} examples are too few: {} to train on and {} to validate by; search more questions",
            data.examples.len(),
            training.len(),
            validation.len()
        );
        let key = job.features.key();
        let shape = settings.shape(key.hidden_size);
        let plan = TrainPlan::new(data, &training, &validation, settings, key.layers * shape.parameters());
        let state_key = StateKey::new(&plan, &data.sha256, key);
        let found = job.state.map_or(Ok(None), |path| TrainState::load(path, &state_key))?;
        let moments = |layer: usize| -> Result<Moments> {
            if !settings.standardise {
                return Ok(Moments::identity(key.hidden_size));
            }
            Ok(job.features.layer(settings.input.layer(layer))?.moments(&training))
        };
        let moments: Vec<Moments> =
            pool.install(|| (0..key.layers).into_par_iter().map(moments).collect::<Result<_>>())?;
        Ok(Run {
            job,
            shape,
            loss: plan.loss(),
            key: state_key,
            state: found.unwrap_or_else(|| initial(shape, key.layers, settings.seed)),
            plan,
            training,
            validation,
            moments,
        })
    }

    fn best(&self) -> Option<&EpochReport> {
        self.state.reports.iter().rev().find(|r| r.best)
    }

    fn is_over(&self) -> bool {
        let done = self.state.reports.len();
        let since_best = done - self.best().map_or(done, |b| b.epoch);
        done >= self.plan.settings.epochs || self.plan.settings.patience.is_some_and(|p| since_best >= p)
    }

    /// The next epoch: every layer, then all of them judged together.
    fn epoch(&mut self, stop: &AtomicBool) -> Result<Option<EpochReport>> {
        let epoch = self.state.reports.len() + 1;
        let order = self.order(epoch);
        let mut layers = std::mem::take(&mut self.state.layers);
        let this = &*self;
        let ends = layers.par_iter_mut().enumerate();
        let ends = ends.map(|(layer, state)| this.layer_epoch(layer, state, epoch, &order, stop));
        let ends: Vec<Result<Option<LayerEpoch>>> = ends.collect();
        let ends: Option<Vec<LayerEpoch>> = ends.into_iter().collect::<Result<_>>()?;
        let Some(ends) = ends else { return Ok(None) };
        self.state.layers = layers;
        let report = self.judge(epoch, &ends);
        if report.best {
            let layers = self.state.layers.iter_mut();
            layers.for_each(|layer| layer.best.clone_from(&layer.parameters));
        }
        Ok(Some(report))
    }

    /// The training examples in the order of an epoch.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order = self.training.clone();
        let mut rng = ChaCha8Rng::seed_from_u64(self.plan.settings.seed);
        rng.set_stream(epoch as u64);
        order.shuffle(&mut rng);
        order
    }

    /// Trains one layer on all batches; `None` when stopped.
    fn layer_epoch(
        &self,
        layer: usize,
        state: &mut LayerState,
        epoch: usize,
        order: &[usize],
        stop: &AtomicBool,
    ) -> Result<Option<LayerEpoch>> {
        let settings = &self.plan.settings;
        let features = self.job.features.layer(settings.input.layer(layer))?;
        let scaling = features.scaling(&self.moments[layer]);
        let mut work = Work::new(self.shape.parameters());
        let mut end = LayerEpoch {
            train_loss: 0.0,
            validation_loss: 0.0,
            predictions: Vec::with_capacity(self.validation.len()),
        };
        let batches = order.chunks(settings.batch);
        let first_step = (epoch - 1) * batches.len();
        for (index, examples) in batches.enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            end.train_loss += self.forward(layer, examples, (&features, &scaling), state, &mut work);
            let Work {
                batch,
                of_logits,
                scratch,
                gradients,
                ..
            } = &mut work;
            self.shape
                .backward(&state.parameters, batch, of_logits, scratch, gradients);
            let step = first_step + index;
            let rates = (self.plan.learning_rate(step), settings.weight_decay);
            state.adam.step(&mut state.parameters, gradients, step, rates);
        }
        for examples in self.validation.chunks(EVALUATION_BATCH) {
            end.validation_loss += self.forward(layer, examples, (&features, &scaling), state, &mut work);
            end.predictions.extend(&work.predictions);
        }
        Ok(Some(end))
    }

    /// The summed loss of some examples at a layer; what they decide and the gradients by the
    /// logits are left in `work`.
    fn forward(
        &self,
        layer: usize,
        examples: &[usize],
        (features, scaling): (&LayerFeatures, &Scaling),
        state: &LayerState,
        work: &mut Work,
    ) -> f64 {
        features.gather(examples, scaling, &mut work.batch);
        let logits = self.shape.forward(&state.parameters, &work.batch, &mut work.scratch);
        // The batch's loss is the mean over its decisions, at all layers.
        let share = 1.0 / (examples.len() * self.moments.len()) as f64;
        work.of_logits.clear();
        work.predictions.clear();
        let mut sum = 0.0;
        for (&example, logits) in examples.iter().zip(logits.chunks_exact(3)) {
            let logits = [logits[0], logits[1], logits[2]];
            let example = &self.job.data.examples[example];
            let goal = Goal {
                target: example.targets[layer],
                weight: example.weights[layer],
            };
            let (loss, gradient) = self.loss.at(logits, goal);
            sum += loss;
            work.of_logits.extend(gradient.map(|g| (g * share) as f32));
            work.predictions.push(argmax(logits));
        }
        sum
    }

    fn judge(&self, epoch: usize, ends: &[LayerEpoch]) -> EpochReport {
        let layers = ends.len() as f64;
        let mut confusion = Confusion::default();
        for (slot, &example) in self.validation.iter().enumerate() {
            let wanted: Vec<Action> = self.job.data.examples[example]
                .targets
                .iter()
                .map(|t| argmax(*t))
                .collect();
            let predictions: Vec<Action> = ends.iter().map(|end| end.predictions[slot]).collect();
            confusion.add(&wanted, &predictions);
        }
        let validation_loss: f64 = ends.iter().map(|end| end.validation_loss).sum();
        let train_loss: f64 = ends.iter().map(|end| end.train_loss).sum();
        let validation = confusion.metrics(validation_loss / (self.validation.len() as f64 * layers));
        let steps = epoch * self.plan.steps / self.plan.settings.epochs;
        EpochReport {
            epoch,
            steps,
            learning_rate: self.plan.learning_rate(steps - 1),
            train_loss: train_loss / (self.training.len() as f64 * layers),
            best: self
                .best()
                .is_none_or(|best| validation.macro_f1 > best.validation.macro_f1),
            validation,
        }
    }

    fn end(self) -> TrainedRouters {
        let best = self
            .best()
            .expect("an epoch ended, and the first one is the best so far")
            .clone();
        let parameters = self.state.layers.into_iter().map(|layer| layer.best);
        TrainedRouters {
            shape: self.shape,
            layers: self.moments.into_iter().zip(parameters).collect(),
            plan: self.plan,
            best,
        }
    }
}

fn initial(shape: RouterShape, layers: usize, seed: u64) -> TrainState {
    let layer = |layer: usize| LayerState {
        parameters: shape.initial(seed, layer),
        adam: AdamW::new(shape.parameters()),
        best: Vec::new(),
    };
    TrainState {
        layers: (0..layers).map(layer).collect(),
        reports: Vec::new(),
    }
}

/// Memory of one layer's steps.
struct Work {
    batch: WindowBatch,
    scratch: Scratch,
    /// (examples, 3)
    of_logits: Vec<f32>,
    predictions: Vec<Action>,
    gradients: Vec<f32>,
}

impl Work {
    fn new(parameters: usize) -> Self {
        Work {
            batch: WindowBatch::default(),
            scratch: Scratch::default(),
            of_logits: Vec::new(),
            predictions: Vec::new(),
            gradients: vec![0.0; parameters],
        }
    }
}

/// What a checkpoint says of its training.
pub fn metadata(trained: &TrainedRouters, data: &RouterDataset, windows: usize) -> HashMap<String, String> {
    let settings = &trained.plan.settings;
    let entries = [
        ("format", "1".to_owned()),
        ("windows", windows.to_string()),
        ("width", settings.width.to_string()),
        ("data_sha256", data.sha256.clone()),
        ("seed", settings.seed.to_string()),
        ("epochs", settings.epochs.to_string()),
        (TRAINING, settings_json(settings)),
        ("best_epoch", trained.best.epoch.to_string()),
    ];
    entries.map(|(k, v)| (k.to_owned(), v)).into()
}

/// Where a checkpoint's metadata keep all settings of its training.
pub const TRAINING: &str = "training";

/// Settings as the metadata have them.
pub fn settings_json(settings: &TrainSettings) -> String {
    serde_json::to_string(settings).expect("settings have string keys only")
}

#[cfg(test)]
mod tests;
