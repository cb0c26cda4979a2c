//! What a span costs each token, measured once.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

use super::{VerifierSettings, negatives};
use crate::eval::multiple_choice::ChoiceScorer;
use crate::eval::parallel::for_each_ordered;
use crate::eval::{EncodedQuestion, Question, Scoring};
use crate::model::Model;
use crate::router::pool_windows;

/// Tokens of each question that stand for ordinary text, besides its windows.
const ORDINARY: usize = 8;

/// States of each question kept at every later layer of the span: of the choices' tokens, of the question's, and of
/// its windows, each at most.
pub(super) const LATER: usize = 3;

/// Questions on which the cost of each layer is measured.
const COSTED: usize = 32;

/// Nats between what spans cost, at least.
const LEAST_COST: f32 = 0.1;

/// One question.
#[derive(Clone, Debug, PartialEq)]
pub struct QuestionEffects {
    /// Its own.
    pub id: String,
    /// Summed log-likelihood of each choice under the standard program, nats.
    pub scores: Vec<f32>,
    /// The right choice.
    pub answer: usize,
    /// Its rows in the table.
    pub rows: Range<usize>,
}

/// Tokens of choices and of questions as the judging router sees them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EffectTable {
    /// d
    pub hidden_size: usize,
    /// In the order in which they were asked.
    pub items: Vec<QuestionEffects>,
    /// States that enter the span, of every choice's tokens but its last: (rows, d).
    pub states: Vec<f32>,
    /// The choice that each row belongs to.
    pub choice: Vec<usize>,
    /// Change of the next token's log-likelihood, nats, where the choices' rows leave out each span: (rows, spans).
    pub effects: Vec<f32>,
    /// K
    pub spans: usize,
    /// States that enter the spans in the questions, single tokens and pooled windows: (rows, d).
    pub ordinary: Vec<f32>,
    /// States that enter the spans in text that the model wrote: (rows, d).
    pub written: Vec<f32>,
    /// For each later layer of the longest span, states that enter it where it is to be run: (rows, d).
    pub later: Vec<Vec<f32>>,
    /// For each layer, by how much leaving it out alone lowers the choices' mean ln p, nats a token.
    pub costs: Vec<f64>,
}

impl EffectTable {
    /// Runs every question by the standard program, and with each span left out by the choices' tokens. The first
    /// `COSTED` questions also run without each layer.
    ///
    /// Returns `None` where it was stopped. `done` hears the number of finished questions.
    ///
    /// # Errors
    /// Questions without choices, and those that do not fit the model's context.
    pub fn measure(
        model: &Model,
        questions: &[Question],
        settings: &VerifierSettings,
        windows: usize,
        threads: usize,
        stop: &AtomicBool,
        mut done: impl FnMut(usize),
    ) -> Result<Option<EffectTable>> {
        let layers = model.info.layers;
        let ascending = settings.lasts.windows(2).all(|pair| pair[0] < pair[1]);
        ensure!(
            ascending && settings.lasts.first().is_some_and(|&last| settings.first <= last) && settings.last() < layers,
            "cannot leave out layers from {} to any of {:?}: the model has layers 0 to {}, and spans get longer",
            settings.first,
            settings.lasts,
            layers - 1
        );
        let mut table = EffectTable {
            hidden_size: model.info.hidden_size,
            spans: settings.lasts.len(),
            later: vec![Vec::new(); settings.last() - settings.first],
            ..EffectTable::default()
        };
        let mut costs = (vec![0.0; layers], 0);
        for_each_ordered(
            0..questions.len(),
            threads,
            stop,
            |index| {
                let encoded = EncodedQuestion::for_model(&questions[index], model, Scoring::Sum)?;
                let measured = Measured::new(model, &encoded, settings, windows)?;
                let costs = (index < COSTED).then(|| layer_costs(model, &encoded)).transpose()?;
                Ok(Some((measured, costs)))
            },
            |index, (measured, of_layers)| {
                table.add(&questions[index].id, measured);
                if let Some((sums, tokens)) = of_layers {
                    costs.0.iter_mut().zip(sums).for_each(|(cost, sum)| *cost += sum);
                    costs.1 += tokens;
                }
                done(index + 1);
                Ok(())
            },
        )?;
        table.costs = costs.0.iter().map(|sum| sum / costs.1.max(1) as f64).collect();
        Ok((table.items.len() == questions.len()).then_some(table))
    }

    /// Has the model write the texts of [`Self::written`], of which some also go to [`Self::later`]. Returns false where it was stopped. `done` hears the number of
    /// finished texts.
    ///
    /// # Errors
    /// Those of the model.
    pub fn write(
        &mut self,
        model: &Model,
        settings: &VerifierSettings,
        threads: usize,
        stop: &AtomicBool,
        done: impl FnMut(usize),
    ) -> Result<bool> {
        let Some(states) = negatives::states(model, settings, threads, stop, done)? else {
            return Ok(false);
        };
        self.written = states.first;
        for (all, written) in self.later.iter_mut().zip(states.later) {
            all.extend(written);
        }
        Ok(true)
    }

    fn add(&mut self, id: &str, measured: Measured) {
        let from = self.choice.len();
        for (choice, effects) in measured.effects.iter().enumerate() {
            self.choice
                .extend(std::iter::repeat_n(choice, effects.len() / self.spans));
            self.effects.extend(effects);
        }
        self.states.extend(measured.states);
        self.ordinary.extend(measured.ordinary);
        for (all, of_question) in self.later.iter_mut().zip(measured.later) {
            all.extend(of_question);
        }
        self.items.push(QuestionEffects {
            id: id.to_owned(),
            scores: measured.scores,
            answer: measured.answer,
            rows: from..self.choice.len(),
        });
    }

    /// The state of a row of the choices: (d).
    pub fn state(&self, row: usize) -> &[f32] {
        &self.states[row * self.hidden_size..][..self.hidden_size]
    }

    /// Change of the log-likelihood of the token after a row where it leaves out each span, nats: (spans).
    pub fn effects_of(&self, row: usize) -> &[f32] {
        &self.effects[row * self.spans..][..self.spans]
    }

    /// What leaving out each span costs a token of a choice on average, nats. Ascending: one that costs no more than a
    /// shorter one counts as `LEAST_COST` more.
    pub fn span_costs(&self) -> Vec<f32> {
        let rows = self.choice.len().max(1) as f64;
        let mut costs = Vec::with_capacity(self.spans);
        for span in 0..self.spans {
            let effects = self.effects.iter().skip(span).step_by(self.spans);
            let mean = -effects.map(|&effect| f64::from(effect)).sum::<f64>() / rows;
            let least = costs.last().copied().unwrap_or(0.0) + LEAST_COST;
            costs.push((mean as f32).max(least));
        }
        costs
    }
}

struct Measured {
    scores: Vec<f32>,
    answer: usize,
    /// Of each choice's tokens but the first, which the question predicts: (tokens, spans).
    effects: Vec<Vec<f32>>,
    states: Vec<f32>,
    ordinary: Vec<f32>,
    later: Vec<Vec<f32>>,
}

impl Measured {
    fn new(model: &Model, question: &EncodedQuestion, settings: &VerifierSettings, windows: usize) -> Result<Measured> {
        let scorer = ChoiceScorer::new(&model.decoder, question)?;
        let layers = model.info.layers;
        let prompt = scorer.prompt_rows().end;
        let mut hidden = scorer.embed()?;
        let rows = hidden.dim(0)? - prompt;
        for layer in 0..settings.first {
            hidden = scorer.run_block(layer, &hidden)?;
        }
        let entering = hidden.clone();
        let mut later = vec![Vec::new(); settings.last() - settings.first];
        let mut entered = vec![entering.clone()];
        for layer in settings.first..layers {
            hidden = scorer.run_block(layer, &hidden)?;
            entered.push(hidden.clone());
            if layer < settings.last() {
                later[layer - settings.first].extend(sample(&hidden, prompt, windows)?);
            }
        }
        let kept = scorer.log_probs(&hidden)?;
        let of_choices = entering.narrow(0, prompt, rows)?;
        let mut effects: Vec<Vec<f32>> = kept
            .iter()
            .map(|kept| vec![0.0; (kept.len() - 1) * settings.lasts.len()])
            .collect();
        for (span, &last) in settings.lasts.iter().enumerate() {
            // The question runs every layer either way; only the choices' rows differ from here on.
            let of_question = entered[last + 1 - settings.first].narrow(0, 0, prompt)?;
            let mut skipped = Tensor::cat(&[&of_question, &of_choices], 0)?;
            for layer in last + 1..layers {
                skipped = scorer.run_block(layer, &skipped)?;
                if layer < settings.last() {
                    // Behind a short span a token is to run the layers of the longer ones.
                    let states = skipped.narrow(0, prompt, rows)?.to_dtype(DType::F32)?;
                    later[layer - settings.first].extend(some_rows(&states, LATER)?);
                }
            }
            let skipped = scorer.log_probs(&skipped)?;
            for (choice, (kept, skipped)) in kept.iter().zip(&skipped).enumerate() {
                for (token, (kept, skipped)) in kept.iter().zip(skipped).skip(1).enumerate() {
                    effects[choice][token * settings.lasts.len() + span] = (skipped - kept) as f32;
                }
            }
        }
        let entering = entering.to_dtype(DType::F32)?;
        let of_question = entering.narrow(0, 0, prompt)?;
        let mut ordinary = pool_windows(&of_question, windows)?.flatten_all()?.to_vec1::<f32>()?;
        ordinary.extend(some_rows(&of_question, ORDINARY)?);
        Ok(Measured {
            scores: question
                .score(&kept, Scoring::Sum)
                .scores
                .iter()
                .map(|&s| s as f32)
                .collect(),
            answer: question.answer(),
            effects,
            states: entering.narrow(0, prompt, rows)?.flatten_all()?.to_vec1()?,
            ordinary,
            later,
        })
    }
}

/// For each layer the fall of ln p, summed over the choices' tokens, where it is left out alone; and the tokens.
fn layer_costs(model: &Model, question: &EncodedQuestion) -> Result<(Vec<f64>, usize)> {
    let scorer = ChoiceScorer::new(&model.decoder, question)?;
    let mut entering = vec![scorer.embed()?];
    for layer in 0..model.info.layers {
        entering.push(scorer.run_block(layer, &entering[layer])?);
    }
    let total = |hidden: &Tensor| -> Result<(f64, usize)> {
        let log_probs = scorer.log_probs(hidden)?.concat();
        Ok((log_probs.iter().sum(), log_probs.len()))
    };
    let (all, tokens) = total(&entering[model.info.layers])?;
    let cost = |without: usize| -> Result<f64> {
        let mut hidden = entering[without].clone();
        for layer in without + 1..model.info.layers {
            hidden = scorer.run_block(layer, &hidden)?;
        }
        Ok(all - total(&hidden)?.0)
    };
    Ok(((0..model.info.layers).map(cost).collect::<Result<_>>()?, tokens))
}

/// Some states of a chunk whose first `prompt` rows are the question's.
fn sample(hidden: &Tensor, prompt: usize, windows: usize) -> Result<Vec<f32>> {
    let hidden = hidden.to_dtype(DType::F32)?;
    let of_question = hidden.narrow(0, 0, prompt)?;
    let of_choices = hidden.narrow(0, prompt, hidden.dim(0)? - prompt)?;
    let parts = [of_choices, pool_windows(&of_question, windows)?, of_question];
    let states = parts.iter().map(|part| some_rows(part, LATER));
    Ok(states.collect::<Result<Vec<_>>>()?.concat())
}

/// At most `count` rows of (rows, d), evenly spaced, one after the other.
pub(super) fn some_rows(states: &Tensor, count: usize) -> Result<Vec<f32>> {
    let step = states.dim(0)?.div_ceil(count).max(1);
    let rows = states.to_vec2::<f32>()?;
    Ok(rows.into_iter().step_by(step).flatten().collect())
}
