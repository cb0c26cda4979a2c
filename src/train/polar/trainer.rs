//! The training loop of a predictor.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, ensure};
use candle_core::{D, Device, Tensor, Var};
use half::f16;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::dataset::{ProgramDataset, ProgramExample};
use super::likelihood::{ProgramBatch, log_sum_exp, softplus};
use super::state::{PolarKey, PolarState};
use super::{PolarSettings, ProgramTargets};
use crate::engine::sequence::Stopped;
use crate::eval::parallel::for_each_ordered;
use crate::model::Model;
use crate::program::Program;
use crate::program::segments::Segment;
use crate::router::predictor::features::of_question;
use crate::router::predictor::network::MASKED;
use crate::router::predictor::{FEATURE_LAYER, Logits, METHOD, Network, Predictor, PredictorShape};
use crate::trace::NEUTRAL_DIAL;
use crate::train::checkpoint::base_model;
use crate::train::dataset::is_held_out;
use crate::train::optimiser::{AdamW, half_cosine};
use crate::train::trainer::TRAINING;

/// Questions whose logits are computed together where no gradient is needed.
const EVALUATION_BATCH: usize = 16;

/// What the predictor says of held-out questions. That a program is right is known of what the search tried; the model is
/// not run here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PredictorMetrics {
    /// Mean over the questions.
    pub loss: f64,
    /// Share of questions whose first program is known to be right.
    pub known_first: f64,
    /// Share of questions of which one of the predicted programs is known to be right.
    pub known_any: f64,
    /// Share of questions whose first program is the standard one.
    pub standard: f64,
    /// Mean depth of the first program.
    pub depth: f64,
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolarEpochReport {
    /// From 1.
    pub epoch: usize,
    /// Steps so far.
    pub steps: usize,
    /// At the epoch's last step.
    pub learning_rate: f64,
    /// Mean over the epoch's questions, each as it was before its step, with dropout.
    pub train_loss: f64,
    /// On the questions held out.
    pub validation: PredictorMetrics,
    /// Whether no epoch before had less loss on the held-out questions.
    pub best: bool,
}

/// What a training begins with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The numbers of the training.
    #[serde(flatten)]
    pub settings: PolarSettings,
    /// Questions that are learnt from.
    pub train_examples: usize,
    /// Questions held out.
    pub validation_examples: usize,
    /// Right programs of all questions.
    pub programs: usize,
    /// Right programs that are no segments skipped, kept or run twice, and left out.
    pub no_parse: usize,
    /// Of the whole training.
    pub steps: usize,
    /// Of the network.
    pub parameters: usize,
}

/// What a training tells while it goes on.
pub enum PolarEvent<'a> {
    /// Once, before the first epoch.
    Plan(&'a Plan),
    /// The epochs of the training that is gone on with come first.
    Epoch(&'a PolarEpochReport),
}

/// What is read of each example's question.
pub struct Features {
    /// (tokens, hidden_size) in f16, row by row.
    questions: Vec<Vec<f16>>,
    size: usize,
}

impl Features {
    /// Runs each example's prompt through the model's first `layers` layers; `None` where it was stopped.
    ///
    /// # Errors
    /// Those of the model, with the question.
    pub fn compute(
        model: &Model,
        examples: &[ProgramExample],
        layers: usize,
        threads: usize,
        stop: &AtomicBool,
        mut done: impl FnMut(usize),
    ) -> Result<Option<Features>> {
        let mut questions = Vec::with_capacity(examples.len());
        let check = || match stop.load(Ordering::Relaxed) {
            true => Err(Stopped.into()),
            false => Ok(()),
        };
        let compute = |index: usize| {
            let example = &examples[index];
            let ids = model.prompt_ids(&example.prompt, !example.chat)?;
            match of_question(&model.decoder, &ids, layers, &check) {
                Err(e) if e.is::<Stopped>() => Ok(None),
                features => {
                    let question = || format!("question {}", crate::text::escape_controls(&example.id));
                    let values = features.and_then(|f| Ok(f.flatten_all()?.to_vec1::<f32>()?));
                    let values = values.with_context(question)?;
                    Ok(Some(values.into_iter().map(f16::from_f32).collect::<Vec<f16>>()))
                }
            }
        };
        for_each_ordered(0..examples.len(), threads, stop, compute, |index, values| {
            questions.push(values);
            done(index + 1);
            Ok(())
        })?;
        let size = model.decoder.config().hidden_size;
        Ok((questions.len() == examples.len()).then_some(Features { questions, size }))
    }

    /// Features of given values, row by row of `size` numbers.
    pub fn new(questions: Vec<Vec<f16>>, size: usize) -> Features {
        Features { questions, size }
    }

    /// The questions of some examples side by side, (questions, tokens, size), and what is added to the scores of their
    /// tokens, (questions, tokens).
    fn batch(&self, examples: &[usize]) -> Result<(Tensor, Tensor)> {
        let lengths = examples.iter().map(|&e| self.questions[e].len() / self.size);
        let tokens = lengths.clone().max().unwrap_or(0);
        let mut values = vec![0.0f32; examples.len() * tokens * self.size];
        let mut mask = vec![MASKED; examples.len() * tokens];
        for (slot, (&example, length)) in examples.iter().zip(lengths).enumerate() {
            let row = &mut values[slot * tokens * self.size..];
            row.iter_mut()
                .zip(&self.questions[example])
                .for_each(|(to, from)| *to = from.to_f32());
            mask[slot * tokens..][..length].fill(0.0);
        }
        Ok((
            Tensor::from_vec(values, (examples.len(), tokens, self.size), &Device::Cpu)?,
            Tensor::from_vec(mask, (examples.len(), tokens), &Device::Cpu)?,
        ))
    }
}

/// A training on the records of a search.
pub struct PolarRun<'a> {
    /// Questions and what the predictor is to say of each.
    pub data: &'a ProgramDataset,
    /// Those of `data`'s examples, in order.
    pub features: &'a Features,
    /// The numbers of the training.
    pub settings: &'a PolarSettings,
    /// What identifies the model's weights, hexadecimal.
    pub model_sha256: &'a str,
    /// Whether the model ran in exact f32 arithmetic.
    pub exact: bool,
    /// Where the end of each epoch is kept; a state that is there is gone on with.
    pub state: Option<&'a Path>,
    /// Ends the training before the next step.
    pub stop: &'a AtomicBool,
}

/// The network of the best epoch.
pub struct TrainedPredictor {
    /// With the parameters of that epoch.
    pub network: Network,
    /// What the training began with.
    pub plan: Plan,
    /// What that epoch came to.
    pub best: PolarEpochReport,
}

impl PolarRun<'_> {
    /// Trains; `None` where it was stopped before the last epoch ended. Everything runs on the calling thread, so that no
    /// result depends on how many there are.
    ///
    /// # Errors
    /// Too few examples to hold any out, and a state of another training.
    pub fn train(&self, tell: &mut (dyn FnMut(PolarEvent) -> Result<()> + Send)) -> Result<Option<TrainedPredictor>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        pool.context("cannot start a thread")?.install(|| self.train_here(tell))
    }

    fn train_here(&self, tell: &mut (dyn FnMut(PolarEvent) -> Result<()> + Send)) -> Result<Option<TrainedPredictor>> {
        let settings = self.settings;
        let held_out = |&e: &usize| is_held_out(&self.data.examples[e].id, settings.validation, settings.seed);
        let (validation, training): (Vec<usize>, Vec<usize>) = (0..self.data.examples.len()).partition(held_out);
        ensure!(
            !training.is_empty() && !validation.is_empty(),
            "{} questions with a right program are too few: {} to train on and {} to validate by; search more questions",
            self.data.examples.len(),
            training.len(),
            validation.len()
        );
        let shape = PredictorShape {
            layers: self.data.layers,
            inputs: self.features.size,
            width: settings.width,
        };
        let epoch_steps = training.len().div_ceil(settings.batch);
        let plan = Plan {
            settings: settings.clone(),
            train_examples: training.len(),
            validation_examples: validation.len(),
            programs: self.data.programs,
            no_parse: self.data.no_parse,
            steps: settings.epochs * epoch_steps,
            parameters: shape.parameters(),
        };
        let key = PolarKey {
            format: 1,
            settings: settings.clone(),
            model_sha256: self.model_sha256.to_owned(),
            data_sha256: self.data.sha256.clone(),
            exact: self.exact,
        };
        let found = self
            .state
            .map_or(Ok(None), |path| PolarState::load(path, &key, plan.parameters))?;
        let mut state = found.unwrap_or_else(|| PolarState {
            parameters: initial(shape, settings.seed),
            adam: AdamW::new(plan.parameters),
            ..PolarState::default()
        });
        tell(PolarEvent::Plan(&plan))?;
        state
            .reports
            .iter()
            .try_for_each(|report| tell(PolarEvent::Epoch(report)))?;
        while state.reports.len() < settings.epochs {
            let epoch = state.reports.len() + 1;
            let mut order = training.clone();
            let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
            rng.set_stream(epoch as u64);
            order.shuffle(&mut rng);
            let (mut train_loss, mut rate) = (0.0, 0.0);
            for (index, examples) in order.chunks(settings.batch).enumerate() {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let step = (epoch - 1) * epoch_steps + index;
                rate = learning_rate(settings, step, plan.steps);
                let (loss, gradients) = self.gradients(shape, &state.parameters, examples, &mut rng)?;
                train_loss += loss * examples.len() as f64;
                state
                    .adam
                    .step(&mut state.parameters, &gradients, step, (rate, settings.weight_decay));
            }
            let network = network(shape, &state.parameters)?;
            let metrics = self.judge(&network, &validation)?;
            let best = state.reports.iter().all(|r| metrics.loss < r.validation.loss);
            if best {
                state.best.clone_from(&state.parameters);
            }
            state.reports.push(PolarEpochReport {
                epoch,
                steps: epoch * epoch_steps,
                learning_rate: rate,
                train_loss: train_loss / training.len() as f64,
                validation: metrics,
                best,
            });
            if let Some(path) = self.state {
                state.save(path, &key)?;
            }
            tell(PolarEvent::Epoch(&state.reports[epoch - 1]))?;
        }
        let best = state.reports.iter().rev().find(|r| r.best);
        let best = best.ok_or_else(|| {
            anyhow!("no epoch ended with a loss that is a number: lower --lr, or search the questions again")
        })?;
        Ok(Some(TrainedPredictor {
            network: network(shape, &state.best)?,
            plan,
            best: best.clone(),
        }))
    }

    /// The mean loss of a batch and its gradients by the parameters, with dropout by `rng`.
    fn gradients(
        &self,
        shape: PredictorShape,
        parameters: &[f32],
        examples: &[usize],
        rng: &mut ChaCha8Rng,
    ) -> Result<(f64, Vec<f32>)> {
        let variables = tensors(shape, parameters)?
            .iter()
            .map(Var::from_tensor)
            .collect::<candle_core::Result<Vec<Var>>>()?;
        let network = Network::new(shape, variables.iter().map(|v| v.as_tensor().clone()).collect())?;
        let (features, mask) = self.features.batch(examples)?;
        let said = network.forward(&features, Some(&mask), Some(rng))?;
        let loss = self.loss(&said, examples)?;
        let of = loss.backward()?;
        let mut gradients = Vec::with_capacity(parameters.len());
        for variable in &variables {
            let gradient = of.get(variable).context("a tensor of the predictor has no gradient")?;
            gradients.extend(gradient.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
    }

    /// Mean over questions of what the settings ask for.
    fn loss(&self, said: &(Tensor, Tensor), examples: &[usize]) -> Result<Tensor> {
        let settings = self.settings;
        let of_each = || self.loss_of_each(said, examples);
        if settings.targets == ProgramTargets::Each && settings.contrast == 0.0 {
            return of_each();
        }
        let chosen = || examples.iter().map(|&e| &self.data.examples[e]);
        let likelihoods = |programs: Vec<&[(Vec<Segment>, f64)]>| {
            ProgramBatch::new(&programs, self.data.layers)?.weighted_log_likelihoods(said)
        };
        let right = likelihoods(chosen().map(|e| &e.right_segments[..]).collect())?;
        let of_right = log_sum_exp(&right)?;
        let mut loss = match settings.targets {
            ProgramTargets::Each => of_each()?,
            // By the layers, as the boundaries' part of the other.
            ProgramTargets::Set => (of_right.mean_all()?.neg()? / self.data.layers as f64)?,
        };
        if settings.contrast > 0.0 {
            let wrong = likelihoods(chosen().map(|e| &e.wrong_segments[..]).collect())?;
            let of_all = log_sum_exp(&Tensor::cat(&[right, wrong], 1)?)?;
            loss = (loss + ((of_all - of_right)?.mean_all()? * settings.contrast)?)?;
        }
        Ok(loss)
    }

    /// Mean over questions of the binary cross-entropy over boundaries 1.. and the cross-entropy over segment starts.
    fn loss_of_each(&self, (boundaries, operations): &(Tensor, Tensor), examples: &[usize]) -> Result<Tensor> {
        let layers = self.data.layers;
        let all = |part: &dyn Fn(&ProgramExample) -> Vec<f32>| -> Vec<f32> {
            examples.iter().flat_map(|&e| part(&self.data.examples[e])).collect()
        };
        let targets = Tensor::from_vec(
            all(&|e| e.operations.concat()),
            (examples.len(), layers, 3),
            &Device::Cpu,
        )?;
        let log_probs = candle_nn::ops::log_softmax(operations, D::Minus1)?;
        let mut loss = (log_probs * targets)?.sum_all()?.neg()?;
        if layers > 1 {
            let targets = Tensor::from_vec(all(&|e| e.boundaries.clone()), (examples.len(), layers), &Device::Cpu)?;
            let (z, t) = (boundaries.narrow(1, 1, layers - 1)?, targets.narrow(1, 1, layers - 1)?);
            let bce = (softplus(&z)? - (&z * t)?)?.sum_all()?;
            loss = (loss + (bce / (layers - 1) as f64)?)?;
        }
        Ok((loss / examples.len() as f64)?)
    }

    fn judge(&self, network: &Network, validation: &[usize]) -> Result<PredictorMetrics> {
        let standard = Program::standard(self.data.layers);
        let mut sum = PredictorMetrics::default();
        for examples in validation.chunks(EVALUATION_BATCH) {
            let (features, mask) = self.features.batch(examples)?;
            let said = network.forward(&features, Some(&mask), None)?;
            sum.loss += f64::from(self.loss(&said, examples)?.to_scalar::<f32>()?) * examples.len() as f64;
            let (boundaries, operations) = (said.0.to_vec2::<f32>()?, said.1.to_vec3::<f32>()?);
            for ((boundaries, operations), &example) in boundaries.into_iter().zip(operations).zip(examples) {
                let logits = Logits {
                    boundaries,
                    operations: operations.iter().map(|row| [row[0], row[1], row[2]]).collect(),
                };
                let candidates = logits.candidates(NEUTRAL_DIAL);
                let known = |program: &Program| self.data.examples[example].right.contains(program);
                let first = &candidates[0].program;
                let count = |yes: bool| f64::from(u8::from(yes));
                sum.known_first += count(known(first));
                sum.known_any += count(candidates.iter().any(|c| known(&c.program)));
                sum.standard += count(*first == standard);
                sum.depth += first.depth() as f64;
            }
        }
        let n = validation.len() as f64;
        Ok(PredictorMetrics {
            loss: sum.loss / n,
            known_first: sum.known_first / n,
            known_any: sum.known_any / n,
            standard: sum.standard / n,
            depth: sum.depth / n,
        })
    }
}

impl TrainedPredictor {
    /// The checkpoint.
    pub fn predictor(&self, data: &ProgramDataset, model: &Model) -> Predictor {
        let settings = &self.plan.settings;
        let entries = [
            ("format", "1".to_owned()),
            ("method", METHOD.to_owned()),
            ("scope", "prompt".to_owned()),
            ("input_norm", "rms".to_owned()),
            (FEATURE_LAYER, settings.feature_layer.to_string()),
            ("width", settings.width.to_string()),
            ("data_sha256", data.sha256.clone()),
            ("seed", settings.seed.to_string()),
            ("epochs", settings.epochs.to_string()),
            (TRAINING, settings_json(settings)),
            ("best_epoch", self.best.epoch.to_string()),
        ];
        let mut metadata: HashMap<String, String> = entries.map(|(k, v)| (k.to_owned(), v)).into();
        metadata.extend(base_model(model));
        Predictor::new(self.network.clone(), settings.feature_layer, metadata, (METHOD, ""))
    }
}

/// Settings as the metadata have them.
pub fn settings_json(settings: &PolarSettings) -> String {
    serde_json::to_string(settings).expect("settings have string keys only")
}

/// The learning rate of a step, counted from 0: linear warm-up, then half a cosine down to 0.
fn learning_rate(settings: &PolarSettings, step: usize, steps: usize) -> f64 {
    let warm_up = settings.warm_up.min(steps / 5);
    if step < warm_up {
        return settings.learning_rate * (step + 1) as f64 / warm_up as f64;
    }
    let rest = (steps - warm_up).max(1) as f64;
    settings.learning_rate * half_cosine((step - warm_up) as f64 / rest)
}

/// The parameters as tensors of their own.
fn tensors(shape: PredictorShape, parameters: &[f32]) -> Result<Vec<Tensor>> {
    let mut rest = parameters;
    let tensor = |(_, dims): (String, Vec<usize>)| {
        let (values, others) = rest.split_at(dims.iter().product());
        rest = others;
        Ok(Tensor::from_slice(values, dims.as_slice(), &Device::Cpu)?)
    };
    shape.tensors().into_iter().map(tensor).collect()
}

fn network(shape: PredictorShape, parameters: &[f32]) -> Result<Network> {
    Network::new(shape, tensors(shape, parameters)?)
}

/// PyTorch's initial values: uniform in ±1/√inputs for linear layers, Xavier-uniform for the joint input of attention,
/// standard normal for embeddings; biases of attention 0, norms the identity.
fn initial(shape: PredictorShape, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(shape.parameters());
    // Of a linear layer, its bias has the bound of its weights.
    let mut bound = 0.0;
    for (name, dims) in shape.tensors() {
        let size: usize = dims.iter().product();
        if name.contains("norm") {
            let one = if name.ends_with("weight") { 1.0 } else { 0.0 };
            values.extend(std::iter::repeat_n(one, size));
        } else if name == "layer_embedding.weight" {
            values.extend((0..size).map(|_| normal(&mut rng)));
        } else if name.ends_with("in_proj_bias") || name.ends_with("out_proj.bias") {
            values.extend(std::iter::repeat_n(0.0, size));
        } else {
            if name.ends_with("in_proj_weight") {
                bound = (6.0 / (dims[0] + dims[1]) as f32).sqrt();
            } else if dims.len() == 2 {
                bound = 1.0 / (dims[1] as f32).sqrt();
            }
            values.extend((0..size).map(|_| rng.random_range(-bound..bound)));
        }
    }
    values
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    ((-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()) as f32
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    impl PolarRun<'_> {
        /// The loss and its gradient over some examples, of the weights `parameters`.
        pub fn gradients_of(&self, shape: PredictorShape, parameters: &[f32], examples: &[usize]) -> (f64, Vec<f32>) {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            self.gradients(shape, parameters, examples, &mut rng).unwrap()
        }
    }

    pub fn initial_of(shape: PredictorShape) -> Vec<f32> {
        initial(shape, 3)
    }
}
