//! The verifier: fitted on a table of states and effects.

use anyhow::{Result, bail};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::ensemble::Ensemble;
use super::span_routers::{Skipping, span_router};
use super::{EffectTable, QuestionEffects, VerifierSettings};
use crate::router::MlpRouter;
use crate::train::network::{Parameters, RouterShape, WindowBatch};
use crate::train::optimiser::Descent;

/// What the rule does to some questions, by the table: accuracy as if tokens acted by themselves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifierReport {
    /// How many there are.
    pub questions: usize,
    /// Share of right answers of the unmodified model, and under the rule.
    pub base: f64,
    /// Under the rule.
    pub accuracy: f64,
    /// Share of the choices' tokens that leave out each span.
    pub skipped: Vec<f64>,
    /// Layers that a choice's token leaves out on average.
    pub layers: f64,
    /// Share of the questions' tokens and windows that are skipped, and of the tokens that the model wrote.
    pub ordinary_skipped: f64,
    /// Of the tokens that the model wrote.
    pub written_skipped: f64,
}

/// The fitted routers of some spans.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Of the first layer.
    pub verifier: MlpRouter,
    /// Of the others.
    pub span_routers: Vec<MlpRouter>,
    /// On the questions it was fitted to, and on those held out (`None` where there are none).
    pub training: VerifierReport,
    /// The report on the questions held out.
    pub held_out: Option<VerifierReport>,
}

/// Fits verifier and span routers on the items of `training`; `held_out` are only looked at. Networks are fitted side by
/// side, one a thread, each by itself, so the result does not depend on how many threads there are.
///
/// # Errors
/// A table in which no training question has a token to judge.
pub fn fit(table: &EffectTable, training: &[usize], held_out: &[usize], settings: &VerifierSettings) -> Result<Fitted> {
    let rows = rows(table, training)?;
    let scale = Scale::new(table, &rows);
    let costs = table.span_costs();
    let members = side_by_side(settings.members, |m| {
        Member::new(table, settings, &scale, &costs, m).fit(training)
    });
    let ensemble = Ensemble::new(&members, table, &rows, &scale, settings)?;
    let level = |&row: &usize| (row, ensemble.level(table.state(row)));
    let skipped: Vec<Skipping> = rows.iter().map(level).filter(|(_, level)| *level > 0).collect();
    let span_router = |at: usize| span_router(table, &ensemble, &skipped, at, &scale, settings);
    let span_routers = side_by_side(table.later.len(), span_router);
    let report = |items: &[usize]| (!items.is_empty()).then(|| VerifierReport::new(table, items, &ensemble, settings));
    Ok(Fitted {
        training: report(training).expect("there are rows, so there are questions"),
        held_out: report(held_out),
        span_routers: span_routers.into_iter().collect::<Result<_>>()?,
        verifier: ensemble.router(),
    })
}

/// The rows of the items of `training`.
///
/// # Errors
/// Where there are none.
pub(super) fn rows(table: &EffectTable, training: &[usize]) -> Result<Vec<usize>> {
    let rows: Vec<usize> = training.iter().flat_map(|&i| table.items[i].rows.clone()).collect();
    if rows.is_empty() {
        bail!("no choice of the training questions has two tokens or more, so there is nothing to judge");
    }
    Ok(rows)
}

/// Parameters to begin with: they say nearly the same everywhere, a small penalty.
pub(super) fn initial(shape: RouterShape, seed: u64, index: usize) -> Parameters {
    let mut initial = shape.initial(seed, index);
    let (first, second) = initial.split_at_mut(shape.width * (shape.inputs + 1));
    first.iter_mut().for_each(|w| *w *= 0.5);
    second.iter_mut().for_each(|w| *w *= 0.1);
    let biases = second.len() - 3;
    second[biases..].copy_from_slice(&[-1.0, 0.0, 0.0]);
    initial
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

/// Of each member.
pub(super) fn shape(table: &EffectTable, settings: &VerifierSettings) -> RouterShape {
    RouterShape {
        inputs: table.hidden_size,
        width: settings.member_width,
        linear_layers: 2,
    }
}

/// Mean and deviation of each hidden unit over the training rows.
pub(super) struct Scale {
    pub mean: Vec<f32>,
    pub deviation: Vec<f32>,
}

impl Scale {
    fn new(table: &EffectTable, rows: &[usize]) -> Scale {
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

/// One network of the verifier while it is fitted.
struct Member<'a> {
    table: &'a EffectTable,
    settings: &'a VerifierSettings,
    scale: &'a Scale,
    costs: &'a [f32],
    shape: RouterShape,
    initial: Parameters,
    rng: ChaCha8Rng,
}

impl<'a> Member<'a> {
    fn new(
        table: &'a EffectTable,
        settings: &'a VerifierSettings,
        scale: &'a Scale,
        costs: &'a [f32],
        index: usize,
    ) -> Self {
        let shape = shape(table, settings);
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        rng.set_stream(index as u64 + 1);
        Member {
            table,
            settings,
            scale,
            costs,
            shape,
            initial: initial(shape, settings.seed, index),
            rng,
        }
    }

    fn fit(mut self, training: &[usize]) -> Parameters {
        let mut order = training.to_vec();
        let steps = self.settings.epochs * order.len().div_ceil(self.settings.batch);
        let initial = std::mem::take(&mut self.initial);
        let mut network = Descent::new(self.settings.rates(), self.shape, initial, steps);
        for _ in 0..self.settings.epochs {
            order.shuffle(&mut self.rng);
            for items in order.chunks(self.settings.batch) {
                let of_logits = self.of_logits(items, &mut network);
                network.step(&of_logits);
            }
        }
        network.parameters
    }

    /// Gradients of the loss by the logits of the rows of `items`, then of some other text. Of the three logits a
    /// network says the first.
    fn of_logits(&mut self, items: &[usize], network: &mut Descent) -> Vec<f32> {
        let table = self.table;
        network.batch.windows.clear();
        for row in items.iter().flat_map(|&i| table.items[i].rows.clone()) {
            self.push(table.state(row), &mut network.batch);
        }
        let weighted = [
            (&table.ordinary, self.settings.ordinary),
            (&table.written, self.settings.written),
        ];
        // Of each kind of text that is to be left alone: how many rows, and the weight of one.
        let left_alone = weighted.map(|(states, weight)| {
            let known = states.len() / table.hidden_size;
            let count = if known == 0 { 0 } else { 2 * items.len() };
            for _ in 0..count {
                let at = self.rng.random_range(0..known) * table.hidden_size;
                self.push(&states[at..at + table.hidden_size], &mut network.batch);
            }
            (count, weight as f32 / count.max(1) as f32)
        });
        let left_alone = left_alone
            .into_iter()
            .flat_map(|(count, weight)| std::iter::repeat_n(weight, count));
        let left_alone: Vec<f32> = left_alone.collect();
        let said: Vec<f32> = network.logits().chunks_exact(3).map(|logits| logits[0]).collect();
        let (of_choices, of_others) = said.split_at(said.len() - left_alone.len());
        let mut gradients = Vec::with_capacity(3 * said.len());
        let unit = unit(self.costs);
        let mut said = of_choices.iter();
        for item in items.iter().map(|&i| &table.items[i]) {
            let said: Vec<f32> = said.by_ref().take(item.rows.len()).copied().collect();
            let effect = |(row, &x): (usize, &f32)| between(penalty(x, unit), self.costs, table.effects_of(row));
            let effects: Vec<(f32, f32)> = item.rows.clone().zip(&said).map(effect).collect();
            let scores = item_scores(table, item, effects.iter().map(|(effect, _)| *effect));
            let of_scores = cross_entropy(&scores, item.answer, self.settings.temperature);
            for ((row, x), (_, slope)) in item.rows.clone().zip(said).zip(effects) {
                let of_penalty = of_scores[table.choice[row]] * slope / items.len() as f32;
                gradients.extend([of_penalty * unit * sigmoid(x), 0.0, 0.0]);
            }
        }
        // Such text may be punished as the spared tokens of choices are: that skips nothing.
        let allowed = quantile(of_choices, self.settings.spared);
        for (&x, weight) in of_others.iter().zip(left_alone) {
            let of_said = if x > allowed { weight * sigmoid(x) } else { 0.0 };
            gradients.extend([of_said, 0.0, 0.0]);
        }
        gradients
    }

    /// A row of the batch: standardised, with dropout.
    fn push(&mut self, state: &[f32], batch: &mut WindowBatch) {
        let kept = 1.0 - self.settings.dropout as f32;
        let rng = &mut self.rng;
        let dropped = |x: f32| if rng.random::<f32>() < kept { x / kept } else { 0.0 };
        batch.windows.extend(self.scale.standardised(state).map(dropped));
    }
}

/// Nats of penalty for each unit of what a network says: five eighths of what the longest span costs, so that a network
/// begins within the reach of the spans.
pub(super) fn unit(costs: &[f32]) -> f32 {
    0.625 * costs.last().expect("there is a span")
}

/// Nats of penalty where a network says x: `unit`·ln(1 + eˣ).
pub(super) fn penalty(x: f32, unit: f32) -> f32 {
    unit * (x.max(0.0) + (-x.abs()).exp().ln_1p())
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The change Δ_t(a) of a token's log-likelihood under the penalty a ≥ 0 nats, and its derivative by a. Spans that cost
/// `costs` on average, ascending, change this token's by `effects`; between two, or execution and the first, it is
/// linear, and beyond the last it changes no more.
fn between(penalty: f32, costs: &[f32], effects: &[f32]) -> (f32, f32) {
    let above = costs.partition_point(|&cost| cost <= penalty);
    if above == costs.len() {
        return (effects[above - 1], 0.0);
    }
    let (cost, effect) = match above.checked_sub(1) {
        Some(below) => (costs[below], effects[below]),
        None => (0.0, 0.0),
    };
    let slope = (effects[above] - effect) / (costs[above] - cost);
    (effect + slope * (penalty - cost), slope)
}

/// The value that a share of `values` is not above; −∞ of none.
pub(super) fn quantile(values: &[f32], share: f64) -> f32 {
    let mut values = values.to_vec();
    let at = (share * values.len() as f64).ceil() as usize;
    let Some(at) = at.min(values.len()).checked_sub(1) else {
        return f32::NEG_INFINITY;
    };
    *values.select_nth_unstable_by(at, f32::total_cmp).1
}

/// The choices' scores with the change of each row's.
fn item_scores(table: &EffectTable, item: &QuestionEffects, effects: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut scores = item.scores.clone();
    for (row, effect) in item.rows.clone().zip(effects) {
        scores[table.choice[row]] += effect;
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

impl VerifierReport {
    fn new(table: &EffectTable, items: &[usize], ensemble: &Ensemble, settings: &VerifierSettings) -> VerifierReport {
        let (mut base, mut right, mut rows) = (0, 0, 0);
        let mut skipped = vec![0; table.spans];
        for item in items.iter().map(|&i| &table.items[i]) {
            let effects = item
                .rows
                .clone()
                .map(|row| match ensemble.level(table.state(row)).checked_sub(1) {
                    Some(span) => {
                        skipped[span] += 1;
                        table.effects_of(row)[span]
                    }
                    None => 0.0,
                });
            right += usize::from(is_right(&item_scores(table, item, effects), item.answer));
            base += usize::from(is_right(&item.scores, item.answer));
            rows += item.rows.len();
        }
        let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
        let layers = skipped.iter().zip(&settings.lasts);
        let layers = layers.map(|(count, last)| count * (last + 1 - settings.first)).sum();
        let of_text = |states: &[f32]| {
            let states = states.chunks_exact(table.hidden_size);
            share(
                states.clone().filter(|state| ensemble.level(state) > 0).count(),
                states.len(),
            )
        };
        VerifierReport {
            questions: items.len(),
            base: share(base, items.len()),
            accuracy: share(right, items.len()),
            skipped: skipped.into_iter().map(|count| share(count, rows)).collect(),
            layers: share(layers, rows),
            ordinary_skipped: of_text(&table.ordinary),
            written_skipped: of_text(&table.written),
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
