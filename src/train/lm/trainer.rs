//! The loop of a training.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use candle_core::{D, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::balance::{Balance, Loads};
use super::corpus::{TokenSequence, sequence};
use super::settings::LmSettings;
use super::state::{LmKey, LmState};
use crate::eval::parallel::for_each_ordered;
use crate::model::loopmoe::parameters::{Parameter, first_values, parameters};
use crate::model::loopmoe::{Excluded, LatentCache, LoopMoe, WordList};
use crate::train::math::{AdamStep, adam_w};

/// Steps between two states on the disk.
const SAVE_EVERY: usize = 100;

/// AdamW's decays, the paper's.
const BETAS: [f32; 2] = [0.9, 0.95];

/// What one step came to, before its change. Its problems were never seen before, so this is also what a held-out batch
/// would say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LmStepReport {
    /// From 1.
    pub step: usize,
    /// Of this step.
    pub learning_rate: f64,
    /// Cross-entropy of the answers' tokens, in nats.
    pub answer_loss: f64,
    /// Of the questions' tokens, most of which nothing foretells.
    pub question_loss: f64,
    /// Share of the answers' tokens that were the likeliest.
    pub answer_accuracy: f64,
    /// 1 in balance.
    pub balance_loss: f64,
    /// The busiest expert's load over the mean, less 1; the mean over layers.
    pub imbalance: f64,
    /// Distinct experts of a token over the iterations, the mean over the body's layers; 0 without a body.
    pub distinct_experts: f64,
    /// Before it is clipped.
    pub gradient_norm: f64,
}

/// Trains a model. `None` if `stop` was set before the last step: the state is then on the disk. `tell` hears of each
/// step, those of a state that is gone on with first.
///
/// # Errors
/// A state of another training, a disk that is full, a loss that is no number.
pub fn train(
    settings: &LmSettings,
    threads: usize,
    device: &Device,
    state_at: Option<&Path>,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&LmStepReport) -> Result<()>,
) -> Result<Option<LmState>> {
    let list = parameters(&settings.model);
    let count = list.iter().map(Parameter::count).sum();
    let key = LmKey::new(settings);
    let found = match state_at {
        Some(path) => LmState::load(path, &key, count)?,
        None => None,
    };
    let mut state = found.unwrap_or_else(|| LmState {
        parameters: first_parameters(&list, settings.seed),
        first: vec![0.0; count],
        second: vec![0.0; count],
        reports: Vec::new(),
    });
    state.reports.iter().try_for_each(&mut *tell)?;
    let job = Job {
        settings,
        list: &list,
        words: WordList::default(),
        device,
    };
    let save = |state: &LmState| state_at.map_or(Ok(()), |path| state.save(path, &key));
    while state.reports.len() < settings.steps {
        let step = state.reports.len();
        let Some(sum) = job.gradients(&state.parameters, step, threads, stop)? else {
            save(&state)?;
            return Ok(None);
        };
        let report = job.update(&mut state, sum, step)?;
        state.reports.push(report);
        if state.reports.len() % SAVE_EVERY == 0 || state.reports.len() == settings.steps {
            save(&state)?;
        }
        tell(&report)?;
        if stop.load(Ordering::Relaxed) && state.reports.len() < settings.steps {
            save(&state)?;
            return Ok(None);
        }
    }
    Ok(Some(state))
}

/// The parameters of a new model, flat.
pub fn first_parameters(list: &[Parameter], seed: u64) -> Vec<f32> {
    let values = list.iter().enumerate().map(|(index, p)| first_values(p, index, seed));
    values.flatten().collect()
}

/// Tensors by name of flat parameters.
///
/// # Errors
/// A device that is full.
pub fn tensors(list: &[Parameter], flat: &[f32], device: &Device) -> Result<Vec<(String, Tensor)>> {
    let slices = slices(list, flat).map(|(p, values)| {
        let tensor = Tensor::from_slice(values, p.shape.as_slice(), device)?;
        Ok((p.name.clone(), tensor))
    });
    slices.collect()
}

/// Each parameter with its values in a flat vector.
fn slices<'a>(list: &'a [Parameter], mut flat: &'a [f32]) -> impl Iterator<Item = (&'a Parameter, &'a [f32])> {
    list.iter().map(move |parameter| {
        let (values, rest) = flat.split_at(parameter.count());
        flat = rest;
        (parameter, values)
    })
}

struct Job<'a> {
    settings: &'a LmSettings,
    list: &'a [Parameter],
    words: WordList,
    device: &'a Device,
}

/// Sums over the groups of a step.
#[derive(Default)]
struct Sum {
    gradients: Vec<f32>,
    /// Nats, of answers' tokens and of questions'.
    losses: [f64; 2],
    counts: [usize; 2],
    right: usize,
    balance: f64,
    groups: usize,
    loads: Loads,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        match self.gradients.is_empty() {
            true => self.gradients = other.gradients,
            false => self
                .gradients
                .iter_mut()
                .zip(&other.gradients)
                .for_each(|(sum, g)| *sum += g),
        }
        for i in 0..2 {
            self.losses[i] += other.losses[i];
            self.counts[i] += other.counts[i];
        }
        self.right += other.right;
        self.balance += other.balance;
        self.groups += other.groups;
        self.loads.add(&other.loads);
    }
}

impl Job<'_> {
    /// The gradients of a step; `None` if it was stopped.
    fn gradients(&self, flat: &[f32], step: usize, threads: usize, stop: &AtomicBool) -> Result<Option<Sum>> {
        let settings = self.settings;
        let first = (step * settings.batch) as u64;
        let make = |i| {
            sequence(
                &self.words,
                &settings.tasks,
                settings.context,
                settings.seed,
                first + i as u64,
            )
        };
        let sequences: Vec<TokenSequence> = (0..settings.batch).map(make).collect();
        let groups: Vec<&[TokenSequence]> = sequences.chunks(settings.group).collect();
        let weight = |s: &TokenSequence| s.is_answer.iter().map(|is| self.weight(*is)).sum::<f64>();
        let total: f64 = sequences.iter().map(weight).sum();
        let mut sum = Sum::default();
        let work = |at: usize| self.group(flat, groups[at], total, groups.len()).map(Some);
        for_each_ordered(0..groups.len(), threads, stop, work, |_, group| {
            sum.add(group);
            Ok(())
        })?;
        Ok((sum.groups == groups.len()).then_some(sum))
    }

    fn weight(&self, is_answer: bool) -> f64 {
        if is_answer { 1.0 } else { self.settings.question_weight }
    }

    /// Forward and backward of some sequences. The loss is the weighted sum of their tokens' cross-entropies over `total`,
    /// the step's sum of weights, and their part of the balance loss.
    fn group(&self, flat: &[f32], sequences: &[TokenSequence], total: f64, groups: usize) -> Result<Sum> {
        let settings = self.settings;
        let mut variables = Vec::new();
        for (parameter, values) in slices(self.list, flat) {
            let tensor = Tensor::from_slice(values, parameter.shape.as_slice(), self.device)?;
            variables.push(match parameter.learns() {
                true => Some(Var::from_tensor(&tensor)?),
                false => None,
            });
        }
        let biases = tensors(self.list, flat, self.device)?;
        let weights = biases.into_iter().zip(&variables).map(|((name, tensor), variable)| {
            let tensor = variable.as_ref().map_or(tensor, |v| v.as_tensor().clone());
            (name, tensor)
        });
        let model = LoopMoe::new(&settings.model, weights)?;
        let shape = (sequences.len(), settings.context);
        let read: Vec<u32> = sequences
            .iter()
            .flat_map(|s| &s.tokens[..settings.context])
            .copied()
            .collect();
        let targets: Vec<u32> = sequences.iter().flat_map(|s| &s.tokens[1..]).copied().collect();
        let is_answer: Vec<bool> = sequences.iter().flat_map(|s| &s.is_answer).copied().collect();
        let path = settings.model.standard_path(settings.model.iterations);
        let mut balance = Balance::default();
        let read = Tensor::from_vec(read, shape, self.device)?;
        let logits = model.forward(
            &read,
            &path,
            &mut LatentCache::default(),
            &Excluded::new(),
            &mut balance,
        )?;
        let logits = logits.flatten_to(1)?;

        let places = Tensor::from_slice(&targets, (targets.len(), 1), self.device)?;
        let losses = candle_nn::ops::log_softmax(&logits, D::Minus1)?
            .gather(&places, 1)?
            .squeeze(1)?
            .neg()?;
        let weights: Vec<f32> = is_answer.iter().map(|is| (self.weight(*is) / total) as f32).collect();
        let mut loss = (&losses * Tensor::new(weights, self.device)?)?.sum_all()?;
        let mut sum = Sum {
            groups: 1,
            ..Sum::default()
        };
        if let Some(balance) = balance.loss()? {
            sum.balance = f64::from(balance.to_scalar::<f32>()?);
            loss = (loss + (balance * (settings.balance_loss / groups as f64))?)?;
        }
        let gradients = loss.backward()?;
        sum.gradients = Vec::with_capacity(flat.len());
        for (parameter, variable) in self.list.iter().zip(&variables) {
            match variable.as_ref().and_then(|v| gradients.get(v.as_tensor())) {
                Some(gradient) => sum.gradients.extend(gradient.flatten_all()?.to_vec1::<f32>()?),
                None => sum.gradients.resize(sum.gradients.len() + parameter.count(), 0.0),
            }
        }
        let likeliest: Vec<u32> = logits.argmax(D::Minus1)?.to_vec1()?;
        for (at, nats) in losses.to_vec1::<f32>()?.into_iter().enumerate() {
            let kind = usize::from(!is_answer[at]);
            sum.losses[kind] += f64::from(nats);
            sum.counts[kind] += 1;
            sum.right += usize::from(is_answer[at] && likeliest[at] == targets[at]);
        }
        sum.loads = balance.finish();
        Ok(sum)
    }

    /// Changes the parameters by a step's gradients and says what it came to.
    fn update(&self, state: &mut LmState, sum: Sum, step: usize) -> Result<LmStepReport> {
        let settings = self.settings;
        let norm = sum.gradients.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        ensure!(
            norm.is_finite(),
            "the gradients of step {} are no numbers; begin anew with a smaller --lr",
            step + 1
        );
        let scale = (settings.clip / norm.max(1e-12)).min(1.0) as f32;
        let gradients: Vec<f32> = sum.gradients.iter().map(|g| g * scale).collect();
        let rate = settings.rate(step);
        let mut at = 0;
        for parameter in self.list {
            let range = at..at + parameter.count();
            at = range.end;
            if !parameter.learns() {
                let layer = layer_of(&parameter.name).context("a selection bias belongs to a layer")?;
                sum.loads.nudge(layer, &mut state.parameters[range], settings.bias_step);
                continue;
            }
            // Gains and offsets do not decay.
            let decay = if parameter.shape.len() > 1 {
                settings.weight_decay
            } else {
                0.0
            };
            adam_w(
                &mut state.parameters[range.clone()],
                &gradients[range.clone()],
                &mut state.first[range.clone()],
                &mut state.second[range],
                AdamStep::with_betas(step + 1, rate, decay, BETAS),
            );
        }
        let mean = |kind: usize| sum.losses[kind] / sum.counts[kind].max(1) as f64;
        let body = settings.model.prefix_layers..settings.model.prefix_layers + settings.model.body_layers;
        let distinct: f64 = body.clone().map(|layer| sum.loads.distinct_at(layer)).sum();
        Ok(LmStepReport {
            step: step + 1,
            learning_rate: rate,
            answer_loss: mean(0),
            question_loss: mean(1),
            answer_accuracy: sum.right as f64 / sum.counts[0].max(1) as f64,
            balance_loss: sum.balance / sum.groups as f64,
            imbalance: sum.loads.imbalance(),
            distinct_experts: distinct / body.len().max(1) as f64,
            gradient_norm: norm,
        })
    }
}

/// The layer in a parameter's name.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("model.layers.")?.split('.').next()?.parse().ok()
}
