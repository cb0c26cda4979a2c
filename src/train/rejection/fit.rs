//! The judging router: fitted on a table of states and effects.

use anyhow::{Result, bail};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::descent::{Descent, initial};
use super::follow::follow;
use super::{Rejection, Table};
use crate::program::Action;
use crate::router::MlpRouter;
use crate::router::mlp::softmax;
use crate::router::policy::argmax;
use crate::train::network::{Batch, Parameters, Shape};

/// What the rule does to some questions, by the table: accuracy as if tokens acted by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Report {
    pub questions: usize,
    /// Share of right answers of the unmodified model, and under the rule.
    pub base: f64,
    pub accuracy: f64,
    /// Share of the choices' tokens that are rejected.
    pub rejected: f64,
    /// Share of ordinary text that is.
    pub ordinary_rejected: f64,
}

/// The fitted routers of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Of the first layer.
    pub judge: MlpRouter,
    /// Of the others.
    pub followers: Vec<MlpRouter>,
    /// On the questions it was fitted to, and on those held out (`None` where there are none).
    pub training: Report,
    pub held_out: Option<Report>,
}

/// Fits judge and followers on the items of `training`; `held_out` are only looked at. Networks are fitted side by
/// side, one a thread, each by itself, so the result does not depend on how many threads there are.
///
/// # Errors
/// A table in which no training question has a token to judge.
pub fn fit(table: &Table, training: &[usize], held_out: &[usize], settings: &Rejection) -> Result<Fitted> {
    let rows: Vec<usize> = training.iter().flat_map(|&i| table.items[i].rows.clone()).collect();
    if rows.is_empty() {
        bail!("no choice of the training questions has two tokens or more, so there is nothing to judge");
    }
    let scale = Scale::new(table, &rows);
    let shape = shape(table, settings);
    let fitted = side_by_side(settings.members, |m| {
        Member::new(table, settings, &scale, m).fit(training)
    });
    let members = fitted.iter().map(|p| shape.router(p, &scale.mean, &scale.deviation));
    let mut judge = merged(&members.collect::<Result<Vec<_>>>()?);
    judge.b2[0] += settings.skip_logit as f32;
    let rejected: Vec<usize> = rows
        .into_iter()
        .filter(|&row| rejects(&judge, table.state(row)))
        .collect();
    let follower = |at: usize| follow(table, &rejected, at, &scale, settings);
    let followers = side_by_side(table.later.len(), follower);
    let report = |items: &[usize]| (!items.is_empty()).then(|| Report::new(table, items, &judge));
    Ok(Fitted {
        training: report(training).expect("there are rows, so there are questions"),
        held_out: report(held_out),
        followers: followers.into_iter().collect::<Result<_>>()?,
        judge,
    })
}

/// `work` for each of `count` indices, each on a thread of its own.
fn side_by_side<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let handles: Vec<_> = (0..count).map(|i| scope.spawn(move || work(i))).collect();
        let joined = handles.into_iter().map(|handle| handle.join());
        joined
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Whether a token of this state is rejected.
fn rejects(judge: &MlpRouter, state: &[f32]) -> bool {
    argmax(softmax(judge.logits(state))) == Action::Skip
}

fn shape(table: &Table, settings: &Rejection) -> Shape {
    Shape {
        inputs: table.hidden_size,
        width: settings.member_width,
        linear_layers: 2,
    }
}

/// The mean of several routers' logits as one router: their hidden layers side by side.
fn merged(members: &[MlpRouter]) -> MlpRouter {
    let count = members.len() as f32;
    let row = |class: usize| {
        let weights = members.iter().flat_map(move |m| {
            let width = m.b1.len();
            m.w2[class * width..(class + 1) * width].iter().map(move |w| w / count)
        });
        weights.collect::<Vec<f32>>()
    };
    MlpRouter {
        w1: members.iter().flat_map(|m| m.w1.iter().copied()).collect(),
        b1: members.iter().flat_map(|m| m.b1.iter().copied()).collect(),
        w2: (0..3).flat_map(row).collect(),
        b2: (0..3)
            .map(|c| members.iter().map(|m| m.b2[c]).sum::<f32>() / count)
            .collect(),
    }
}

/// Mean and deviation of each hidden unit over the training rows.
pub(super) struct Scale {
    pub mean: Vec<f32>,
    pub deviation: Vec<f32>,
}

impl Scale {
    fn new(table: &Table, rows: &[usize]) -> Scale {
        let mut sums = vec![(0f64, 0f64); table.hidden_size];
        for &row in rows {
            for ((sum, squares), &x) in sums.iter_mut().zip(table.state(row)) {
                *sum += f64::from(x);
                *squares += f64::from(x) * f64::from(x);
            }
        }
        let count = rows.len() as f64;
        let deviation = |&(sum, squares): &(f64, f64)| {
            let mean = sum / count;
            ((squares / count - mean * mean).max(0.0).sqrt() + 1e-6) as f32
        };
        Scale {
            mean: sums.iter().map(|(sum, _)| (sum / count) as f32).collect(),
            deviation: sums.iter().map(deviation).collect(),
        }
    }

    /// (x − mean)/deviation
    pub fn standardised<'a>(&'a self, state: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        let scale = self.mean.iter().zip(&self.deviation);
        state
            .iter()
            .zip(scale)
            .map(|(x, (mean, deviation))| (x - mean) / deviation)
    }
}

/// One network of the judge while it is fitted.
struct Member<'a> {
    table: &'a Table,
    settings: &'a Rejection,
    scale: &'a Scale,
    shape: Shape,
    initial: Parameters,
    rng: ChaCha8Rng,
}

impl<'a> Member<'a> {
    fn new(table: &'a Table, settings: &'a Rejection, scale: &'a Scale, index: usize) -> Self {
        let shape = shape(table, settings);
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        rng.set_stream(index as u64 + 1);
        Member {
            table,
            settings,
            scale,
            shape,
            initial: initial(shape, settings.seed, index),
            rng,
        }
    }

    fn fit(mut self, training: &[usize]) -> Parameters {
        let mut order = training.to_vec();
        let steps = self.settings.epochs * order.len().div_ceil(self.settings.batch);
        let initial = std::mem::take(&mut self.initial);
        let mut network = Descent::new(self.settings, self.shape, initial, steps);
        for _ in 0..self.settings.epochs {
            order.shuffle(&mut self.rng);
            for items in order.chunks(self.settings.batch) {
                let of_logits = self.of_logits(items, &mut network);
                network.step(&of_logits);
            }
        }
        network.parameters
    }

    /// Gradients of the loss by the logits of the rows of `items`, then of as much ordinary text.
    fn of_logits(&mut self, items: &[usize], network: &mut Descent) -> Vec<f32> {
        let table = self.table;
        network.batch.windows.clear();
        for row in items.iter().flat_map(|&i| table.items[i].rows.clone()) {
            self.push(table.state(row), &mut network.batch);
        }
        let known = table.ordinary.len() / table.hidden_size;
        let ordinary = if known == 0 { 0 } else { 2 * items.len() };
        for _ in 0..ordinary {
            let at = self.rng.random_range(0..known) * table.hidden_size;
            self.push(&table.ordinary[at..at + table.hidden_size], &mut network.batch);
        }
        let logits = network.logits();
        let mut of_logits = Vec::with_capacity(logits.len());
        let mut shares = logits.chunks_exact(3).map(|z| softmax([z[0], z[1], z[2]]));
        for item in items.iter().map(|&i| &table.items[i]) {
            let p: Vec<[f32; 3]> = shares.by_ref().take(item.rows.len()).collect();
            let skip: Vec<f32> = p.iter().map(|p| p[0]).collect();
            let of_scores = cross_entropy(&item_scores(table, item, &skip), item.answer, self.settings.temperature);
            for (row, p) in item.rows.clone().zip(p) {
                let of_skip = of_scores[table.choice[row]] * table.effect[row] / items.len() as f32;
                of_logits.extend(through_softmax(p, of_skip));
            }
        }
        let weight = self.settings.ordinary as f32 / ordinary.max(1) as f32;
        shares.for_each(|p| of_logits.extend(through_softmax(p, weight)));
        of_logits
    }

    /// A row of the batch: standardised, with dropout.
    fn push(&mut self, state: &[f32], batch: &mut Batch) {
        let kept = 1.0 - self.settings.dropout as f32;
        let rng = &mut self.rng;
        let dropped = |x: f32| if rng.random::<f32>() < kept { x / kept } else { 0.0 };
        batch.windows.extend(self.scale.standardised(state).map(dropped));
    }
}

/// The choices' scores where each row is skipped with its probability (or is, where that is 0 or 1).
fn item_scores(table: &Table, item: &super::Item, skip: &[f32]) -> Vec<f32> {
    let mut scores = item.scores.clone();
    for (row, skip) in item.rows.clone().zip(skip) {
        scores[table.choice[row]] += skip * table.effect[row];
    }
    scores
}

/// Gradient of −ln softmax(scores / T)[answer] by the scores.
fn cross_entropy(scores: &[f32], answer: usize, temperature: f64) -> Vec<f32> {
    let temperature = temperature as f32;
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exps: Vec<f32> = scores.iter().map(|s| ((s - greatest) / temperature).exp()).collect();
    let sum: f32 = exps.iter().sum();
    let gradient = |(i, e): (usize, &f32)| (e / sum - f32::from(u8::from(i == answer))) / temperature;
    exps.iter().enumerate().map(gradient).collect()
}

/// Gradient by the three logits, from that by p(skip).
fn through_softmax(p: [f32; 3], of_skip: f32) -> [f32; 3] {
    std::array::from_fn(|j| of_skip * p[0] * (f32::from(u8::from(j == 0)) - p[j]))
}

impl Report {
    fn new(table: &Table, items: &[usize], router: &MlpRouter) -> Report {
        let rejects = |state: &[f32]| rejects(router, state);
        let (mut base, mut right, mut rejected, mut rows) = (0, 0, 0, 0);
        for item in items.iter().map(|&i| &table.items[i]) {
            let skip = item
                .rows
                .clone()
                .map(|row| f32::from(u8::from(rejects(table.state(row)))));
            let skip: Vec<f32> = skip.collect();
            base += usize::from(is_right(&item.scores, item.answer));
            right += usize::from(is_right(&item_scores(table, item, &skip), item.answer));
            rejected += skip.iter().filter(|&&s| s > 0.0).count();
            rows += skip.len();
        }
        let ordinary = table.ordinary.chunks_exact(table.hidden_size);
        let known = ordinary.len().max(1);
        let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
        Report {
            questions: items.len(),
            base: share(base, items.len()),
            accuracy: share(right, items.len()),
            rejected: share(rejected, rows),
            ordinary_rejected: share(ordinary.filter(|state| rejects(state)).count(), known),
        }
    }
}

/// Whether the right choice is above all others; a tie is wrong.
fn is_right(scores: &[f32], answer: usize) -> bool {
    let others = scores.iter().enumerate().filter(|(i, _)| *i != answer);
    others.map(|(_, s)| s).all(|s| scores[answer] > *s)
}

#[cfg(test)]
mod tests;
