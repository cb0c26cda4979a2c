//! The loop of a training of depth routers, and the calibration at its end.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::DepthSettings;
use super::routers::DepthShape;
use super::state::{DepthKey, DepthState};
use super::student::{Learning, Teacher, Threshold, Weights};
use super::texts::Texts;
use crate::eval::parallel::for_each_ordered;
use crate::eval::text::{Reading, Text, routed};
use crate::model::gradient::FrozenModel;
use crate::router::MlpRouter;
use crate::train::optimiser::{AdamW, half_cosine};

/// Steps between two states on the disk.
const SAVE_EVERY: usize = 5;

/// The share of the noise that is left at the end.
const LEAST_NOISE: f64 = 0.2;

/// What one step came to, over the tokens of its texts and before its change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DepthStepReport {
    /// From 1.
    pub step: usize,
    /// Of this step.
    pub learning_rate: f64,
    /// KL and the price of the executed layers above the least depth, in nats a token.
    pub loss: f64,
    /// KL(full ‖ routed) in nats.
    pub kl: f64,
    /// Share of tokens with the same likeliest next token.
    pub agreement: f64,
    /// Mean executed layers of a token.
    pub depth: f64,
    /// Of the answers of the step's texts.
    pub tokens: usize,
}

/// Mean measures at one threshold on held-out texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThresholdMeasures {
    /// o
    pub offset: f64,
    /// Mean executed layers of a token.
    pub depth: f64,
    /// KL(full ‖ routed) in nats a token.
    pub kl: f64,
    /// Share of tokens with the same likeliest next token, 0 to 1.
    pub agreement: f64,
}

/// What is trained, and on what.
pub struct DepthJob<'a> {
    /// Teacher and student.
    pub model: &'a FrozenModel<'a>,
    /// Those that are learnt from, and those held out.
    pub texts: &'a Texts,
    /// The numbers of the training.
    pub settings: &'a DepthSettings,
    /// What a state on the disk has to agree with.
    pub key: &'a DepthKey,
    /// Texts read at once. Changes no result.
    pub threads: usize,
    /// The parameters to begin with, see [`DepthShape::parameters_of`]; new ones if absent.
    pub from: Option<Vec<f32>>,
    /// Where the state is kept; one that is there is gone on with.
    pub state: Option<&'a Path>,
}

/// Trained routers.
pub struct TrainedDepth {
    shape: DepthShape,
    parameters: Vec<f32>,
    /// One a step.
    pub reports: Vec<DepthStepReport>,
}

/// Trains routers. `None` if `stop` was set before the last step. `tell` hears of each step, those of a state that is
/// gone on with first.
///
/// # Errors
/// A state of another training, a disk that is full, and those of the model.
pub fn train(
    job: &DepthJob,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&DepthStepReport) -> Result<()>,
) -> Result<Option<TrainedDepth>> {
    let settings = job.settings;
    let config = job.model.decoder().config();
    let shape = DepthShape::new(config.layers, config.hidden_size, settings.width);
    let found = match job.state {
        Some(path) => DepthState::load(path, job.key, shape.parameters())?,
        None => None,
    };
    let mut state = found.unwrap_or_else(|| DepthState {
        parameters: job.from.clone().unwrap_or_else(|| shape.initial(settings.seed)),
        adam: AdamW::new(shape.parameters()),
        reports: Vec::new(),
    });
    state.reports.iter().try_for_each(&mut *tell)?;
    let teachers: Vec<OnceLock<Teacher>> = job.texts.training.iter().map(|_| OnceLock::new()).collect();
    while state.reports.len() < settings.steps {
        let step = state.reports.len();
        let Some((report, gradients)) = gradients(job, &shape, &state.parameters, step, &teachers, stop)? else {
            return Ok(None);
        };
        state
            .adam
            .step(&mut state.parameters, &gradients, step, (report.learning_rate, 0.0));
        state.reports.push(report);
        if let Some(path) = job.state
            && (state.reports.len() % SAVE_EVERY == 0 || state.reports.len() == settings.steps)
        {
            state.save(path, job.key)?;
        }
        tell(state.reports.last().expect("one was just added"))?;
    }
    Ok(Some(TrainedDepth {
        shape,
        parameters: state.parameters,
        reports: state.reports,
    }))
}

/// The texts of a step, in an order of its own for each time that all are read.
fn texts_of(step: usize, texts: usize, settings: &DepthSettings) -> Vec<usize> {
    let places = step * settings.batch..(step + 1) * settings.batch;
    let mut order: (usize, Vec<usize>) = (usize::MAX, Vec::new());
    places
        .map(|place| {
            let epoch = place / texts;
            if order.0 != epoch {
                let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
                rng.set_stream((1 << 41) + epoch as u64);
                let mut all: Vec<usize> = (0..texts).collect();
                all.shuffle(&mut rng);
                order = (epoch, all);
            }
            order.1[place % texts]
        })
        .collect()
}

/// Learning rate and the scale of the noise at a step: warm-up and half a cosine; a line.
fn schedule(step: usize, settings: &DepthSettings) -> (f64, f64) {
    let done = step as f64 / settings.steps as f64;
    let warm = ((step + 1) as f64 / settings.warm_up.max(1) as f64).min(1.0);
    let rate = settings.learning_rate * warm * half_cosine(done);
    (rate, settings.noise * (1.0 - (1.0 - LEAST_NOISE) * done))
}

/// What a step's texts come to and the gradients of its loss; `None` if it was stopped.
fn gradients(
    job: &DepthJob,
    shape: &DepthShape,
    parameters: &[f32],
    step: usize,
    teachers: &[OnceLock<Teacher>],
    stop: &AtomicBool,
) -> Result<Option<(DepthStepReport, Vec<f32>)>> {
    let settings = job.settings;
    let layers = shape.layers;
    let batch = texts_of(step, job.texts.training.len(), settings);
    let tokens: usize = batch.iter().map(|&text| job.texts.training[text].answer.len()).sum();
    let (learning_rate, scale) = schedule(step, settings);
    let read = |at: usize| {
        let index = batch[at];
        let text = &job.texts.training[index];
        let teacher = match teachers[index].get() {
            Some(teacher) => teacher,
            None => {
                let made = Teacher::new(job.model, text)?;
                teachers[index].get_or_init(|| made)
            }
        };
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        rng.set_stream((1 << 42) + (step * settings.batch + at) as u64);
        // Spread evenly over the batch.
        let place = (at as f64 + rng.random::<f64>()) / batch.len() as f64;
        let offset = settings.spread * (2.0 * place - 1.0);
        let price = settings.price * offset.exp();
        // Texts of a high price would outweigh those of a low one.
        let weight = (-offset / 2.0).exp() / tokens as f64;
        let noise: Vec<f32> = (0..routed(layers).len() * text.answer.len())
            .map(|_| logistic(&mut rng, scale))
            .collect();
        let mut gradients = vec![0.0; parameters.len()];
        let weights = Weights {
            kl: weight as f32,
            layer: (weight * price) as f32,
        };
        let threshold = Threshold {
            offset: offset as f32,
            noise: Some(&noise),
        };
        let learning = Learning {
            weights,
            seed: settings.seed ^ (1 << 50) ^ ((step * settings.batch + at) as u64),
            gradients: &mut gradients,
        };
        let reading = teacher.read(job.model, shape, parameters, threshold, Some(learning))?;
        Ok(Some((reading, weight, price, gradients)))
    };
    let mut sums = vec![0.0f32; parameters.len()];
    let mut sum = Sum::default();
    let mut loss = 0.0;
    for_each_ordered(
        0..batch.len(),
        job.threads,
        stop,
        read,
        |_, (reading, weight, price, gradients)| {
            sums.iter_mut().zip(&gradients).for_each(|(sum, g)| *sum += g);
            let depth: usize = reading.depth.iter().sum();
            loss += weight * (reading.kl.iter().sum::<f64>() + price * depth as f64);
            sum.add(&reading);
            Ok(())
        },
    )?;
    if sum.texts < batch.len() {
        return Ok(None);
    }
    let report = DepthStepReport {
        step: step + 1,
        learning_rate,
        loss,
        kl: sum.kl / sum.tokens as f64,
        agreement: sum.same as f64 / sum.tokens as f64,
        depth: sum.depth as f64 / sum.tokens as f64,
        tokens: sum.tokens,
    };
    Ok(Some((report, sums)))
}

/// A number of the logistic distribution times `scale`.
fn logistic(rng: &mut ChaCha8Rng, scale: f64) -> f32 {
    let u = rng.random::<f64>().clamp(1e-6, 1.0 - 1e-6);
    (scale * (u / (1.0 - u)).ln()) as f32
}

#[derive(Default)]
struct Sum {
    texts: usize,
    tokens: usize,
    kl: f64,
    same: usize,
    depth: usize,
}

impl Sum {
    fn add(&mut self, reading: &Reading) {
        self.texts += 1;
        self.tokens += reading.tokens();
        self.kl += reading.kl.iter().sum::<f64>();
        self.same += reading.same.iter().filter(|same| **same).count();
        self.depth += reading.depth.iter().sum::<usize>();
    }
}

impl TrainedDepth {
    /// Measures at some thresholds on texts; `None` if it was stopped. `done` hears the number of finished texts.
    ///
    /// # Errors
    /// Those of the model.
    pub fn measure(
        &self,
        model: &FrozenModel,
        texts: &[Text],
        offsets: &[f64],
        threads: usize,
        stop: &AtomicBool,
        mut done: impl FnMut(usize),
    ) -> Result<Option<Vec<ThresholdMeasures>>> {
        let read = |index: usize| {
            let teacher = Teacher::new(model, &texts[index])?;
            let mut readings = Vec::with_capacity(offsets.len());
            for &offset in offsets {
                let threshold = Threshold {
                    offset: offset as f32,
                    noise: None,
                };
                readings.push(teacher.read(model, &self.shape, &self.parameters, threshold, None)?);
            }
            Ok(Some(readings))
        };
        let mut sums: Vec<Sum> = offsets.iter().map(|_| Sum::default()).collect();
        let mut finished = 0;
        for_each_ordered(0..texts.len(), threads, stop, read, |index, readings| {
            sums.iter_mut()
                .zip(&readings)
                .for_each(|(sum, reading)| sum.add(reading));
            finished = index + 1;
            done(finished);
            Ok(())
        })?;
        if finished < texts.len() {
            return Ok(None);
        }
        let measured = sums.iter().zip(offsets).map(|(sum, &offset)| {
            let mean = |total: f64| total / sum.tokens as f64;
            ThresholdMeasures {
                offset,
                depth: mean(sum.depth as f64),
                kl: mean(sum.kl),
                agreement: mean(sum.same as f64),
            }
        });
        Ok(Some(measured.collect()))
    }

    /// The routers of all layers, whose own decision is that at the threshold `offset`.
    pub fn routers(&self, offset: f64) -> Vec<MlpRouter> {
        self.shape.routers(&self.parameters, offset as f32)
    }
}
