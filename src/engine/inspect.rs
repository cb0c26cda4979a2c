//! A look inside one token of a run: what it would say if it stopped at each layer (the logit lens),
//! and how far each block moved it. Computed again when it is asked for, so that a run pays nothing.

use std::ops::Range;

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

use super::distribution::{Distribution, as_reported, greatest, kl, log_probs};
use super::inspector::Inspector;
use super::replay::ReplayChunk;
use super::sequence::{LayerActions, Sequence};
use crate::model::loopmoe::ExpertUse;
use crate::program::{Action, Execution, StepSize};
use crate::trace::{Candidate, LogitsReport, Trace};

/// One position of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// Of the token in the run, from 0; the prompt's tokens count.
    pub position: usize,
    /// The embedding first, then every block execution in order; a layer that was skipped stands
    /// there with what it would have done.
    pub stages: Vec<Stage>,
    /// What comes after this token.
    pub next: Distribution,
    /// The greatest logits after this token, as the run's trace reports them.
    pub logits: LogitsReport,
    /// Tokens that may come next, followed over the stages.
    pub followed: Vec<Followed>,
}

/// A token that may come next, followed over the stages of an [`Inspection`].
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// With its probability in the end.
    pub token: Candidate,
    /// Where it stands at each stage.
    pub at: Vec<Standing>,
}

/// Where a token stands among all that a stage could say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// What the lens gives it.
    pub probability: f32,
    /// 1 for the likeliest: one more than the tokens that are likelier.
    pub rank: usize,
}

impl Standing {
    /// Of a token under log-probabilities of the whole vocabulary.
    fn new(log_probs: &[f32], id: u32) -> Standing {
        let own = log_probs[id as usize];
        Standing {
            probability: own.exp(),
            rank: 1 + log_probs.iter().filter(|other| **other > own).count(),
        }
    }
}

/// The hidden state after the embedding or one block execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The block, and which of its executions this is, from 0; `None` for the embedding.
    pub block: Option<(usize, usize)>,
    /// False where the layer was skipped: it was run aside, and nothing goes on from there.
    pub carried_out: bool,
    /// What the token would say if it stopped here: final norm and head on this state.
    pub lens: Distribution,
    /// KL(final ‖ lens) in nats: 0 where it says already what the run says in the end.
    pub kl: f32,
    /// What the block did to the state; none for the embedding.
    pub moved: Option<Moved>,
    /// Of a layer's second execution and those after it: what came since the one before.
    pub since: Option<Since>,
    /// What the experts did, in a LoopMoE model.
    pub experts: Option<ExpertUse>,
}

/// What lies between two executions of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Since {
    /// KL(the execution before ‖ this one) between what the token would say after either, in nats.
    pub kl: f32,
    /// Cosine of the states after either.
    pub cosine: f32,
    /// The likeliest token is another one.
    pub other_token: bool,
}

impl Inspection {
    /// The first stage from which on every block that was carried out says what the run says in the end: an index into
    /// [`Self::stages`].
    pub fn settles(&self) -> Option<usize> {
        let likeliest = |d: &Distribution| d.top.first().map(|candidate| candidate.id);
        let carried = self.stages.iter().enumerate().filter(|(_, stage)| stage.carried_out);
        let same = carried
            .rev()
            .take_while(|(_, stage)| likeliest(&stage.lens) == likeliest(&self.next));
        same.last().map(|(at, _)| at)
    }

    /// The first stage from which on a followed token is the likeliest at every block that was carried out: an index into
    /// [`Self::stages`].
    pub fn leads(&self, followed: &Followed) -> Option<usize> {
        let stages = self.stages.iter().zip(&followed.at).enumerate();
        let carried = stages.filter(|(_, (stage, _))| stage.carried_out);
        let first = carried.rev().take_while(|(_, (_, standing))| standing.rank == 1).last();
        first.map(|(at, _)| at)
    }

    /// Indices of the stages of a layer, in order.
    pub fn of_layer(&self, layer: usize) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let of = move |stage: &Stage| stage.block.is_some_and(|(l, _)| l == layer);
        (0..self.stages.len()).filter(move |&at| of(&self.stages[at]))
    }
}

/// How far a block moved the hidden state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moved {
    /// 1 − cos(entering, leaving): 0 where the direction stays, 1 at a right angle, at most 2.
    pub turn: f32,
    /// ‖leaving − entering‖ / ‖entering‖.
    pub step: f32,
}

/// The next tokens that are followed over the stages.
#[derive(Clone, Copy, Default)]
struct Follow {
    first: Option<u32>,
    /// Of the likeliest ones in the end.
    count: usize,
}

/// A state of the token on its way, (1, hidden_size).
struct State {
    block: Option<(usize, usize)>,
    carried_out: bool,
    hidden: Tensor,
    moved: Option<Moved>,
    experts: Option<ExpertUse>,
}

impl Inspector<'_, '_> {
    /// Looks at the token at `position` of `trace`; `top` tokens are named at each stage.
    ///
    /// # Errors
    /// When there is no such token, or the trace is of another model.
    pub fn inspect(&mut self, trace: &Trace, position: usize, top: usize) -> Result<Inspection> {
        Ok(self.inspect_range(trace, position..position + 1, top)?.remove(0))
    }

    /// As [`Self::inspect`], with the likeliest next tokens followed over the stages: the first token of the text
    /// `also`, then the `count` likeliest in the end.
    ///
    /// # Errors
    /// As [`Self::inspect`], and where `also` has no tokens.
    pub fn inspect_following(
        &mut self,
        trace: &Trace,
        position: usize,
        top: usize,
        count: usize,
        also: Option<&str>,
    ) -> Result<Inspection> {
        let first = match also {
            Some(text) => self.model.tokenizer.encode(text)?.first().copied(),
            None => None,
        };
        ensure!(also.is_none() || first.is_some(), "what was typed has no tokens");
        let follow = Follow { first, count };
        Ok(self.look_at(trace, position..position + 1, top, follow)?.remove(0))
    }

    /// As [`Self::inspect`], for neighbouring tokens at once: the prompt is run once for all of its tokens.
    ///
    /// # Errors
    /// As [`Self::inspect`], and where `positions` is empty.
    pub fn inspect_range(&mut self, trace: &Trace, positions: Range<usize>, top: usize) -> Result<Vec<Inspection>> {
        self.look_at(trace, positions, top, Follow::default())
    }

    fn look_at(
        &mut self,
        trace: &Trace,
        positions: Range<usize>,
        top: usize,
        follow: Follow,
    ) -> Result<Vec<Inspection>> {
        ensure!(!positions.is_empty(), "no token was named");
        ReplayChunk::at(trace, positions.end - 1)?;
        let prompt = trace.header.prompt.len();
        let mut sequence = self.before(trace, positions.start)?;
        let mut inspections = Vec::with_capacity(positions.len());
        let rows: Vec<usize> = (positions.start..positions.end.min(prompt)).collect();
        if !rows.is_empty() {
            let states = states(&mut sequence, &ReplayChunk::prompt(trace), &rows)?;
            for (position, states) in rows.iter().zip(&states) {
                sequence.check_stop()?;
                inspections.push(self.look(states, *position, top, follow)?);
            }
        }
        for position in positions.start.max(prompt)..positions.end {
            let states = states(&mut sequence, &ReplayChunk::step(trace, position - prompt), &[0])?;
            inspections.push(self.look(&states[0], position, top, follow)?);
        }
        // The next question is likely to be about a token near by.
        self.kept.put(trace.first(sequence.len()), sequence.into_cache());
        Ok(inspections)
    }

    fn look(&self, states: &[State], position: usize, top: usize, follow: Follow) -> Result<Inspection> {
        let (decoder, tokenizer) = (&self.model.decoder, &self.model.tokenizer);
        let last = states.iter().rposition(|s| s.carried_out);
        let last = last.expect("the embedding is always carried out");
        let hidden: Vec<&Tensor> = states.iter().map(|s| &s.hidden).collect();
        let mut lenses = log_probs(&decoder.logits(&Tensor::cat(&hidden, 0)?)?)?;
        // As the run computed it, by itself: products of several rows may differ in the last bit.
        let logits = decoder.logits(&states[last].hidden)?;
        lenses[last] = log_probs(&logits)?.remove(0);
        let mut stages = Vec::with_capacity(states.len());
        for (at, (state, lens)) in states.iter().zip(&lenses).enumerate() {
            stages.push(Stage {
                block: state.block,
                carried_out: state.carried_out,
                lens: Distribution::new(lens, top, tokenizer),
                kl: kl(&lenses[last], lens),
                moved: state.moved,
                experts: state.experts.clone(),
                since: since(&states[..=at], &lenses)?,
            });
        }
        let likeliest = greatest(&lenses[last], follow.count).into_iter();
        let followed = follow
            .first
            .into_iter()
            .chain(likeliest.filter(|id| Some(*id) != follow.first));
        let followed = followed.map(|id| Followed {
            token: Candidate {
                id,
                text: tokenizer.piece_or_bytes(id),
                probability: lenses[last][id as usize].exp(),
            },
            at: lenses.iter().map(|lens| Standing::new(lens, id)).collect(),
        });
        Ok(Inspection {
            position,
            followed: followed.collect(),
            next: stages[last].lens.clone(),
            stages,
            logits: as_reported(&logits.squeeze(0)?, top)?,
        })
    }
}

/// What lies between the last of `states` and the execution of its layer before it, if there is one.
fn since(states: &[State], lenses: &[Vec<f32>]) -> Result<Option<Since>> {
    let at = states.len() - 1;
    let Some((layer, n)) = states[at].block.filter(|(_, n)| *n > 0) else {
        return Ok(None);
    };
    let Some(before) = states.iter().position(|s| s.block == Some((layer, n - 1))) else {
        return Ok(None);
    };
    let likeliest = |at: usize| greatest(&lenses[at], 1);
    Ok(Some(Since {
        kl: kl(&lenses[before], &lenses[at]),
        cosine: 1.0 - moved(&states[before].hidden, &states[at].hidden)?.turn,
        other_token: likeliest(before) != likeliest(at),
    }))
}

/// Runs the chunk as it ran and notes the tokens of `rows` after every block.
fn states(sequence: &mut Sequence, replayed: &ReplayChunk, rows: &[usize]) -> Result<Vec<Vec<State>>> {
    let decoder = sequence.decoder();
    let chunk = sequence.chunk(replayed.ids.len())?;
    let mut hidden = decoder.embed(&replayed.ids)?;
    let mut states = Vec::with_capacity(rows.len());
    for &row in rows {
        states.push(vec![State {
            block: None,
            carried_out: true,
            hidden: hidden.narrow(0, row, 1)?,
            moved: None,
            experts: None,
        }]);
    }
    sequence.watch(rows);
    let mut note = |row: usize, block, carried_out, before: &Tensor, after: &Tensor, experts| -> Result<()> {
        let (before, after) = (before.narrow(0, rows[row], 1)?, after.narrow(0, rows[row], 1)?);
        states[row].push(State {
            block: Some(block),
            carried_out,
            moved: Some(moved(&before, &after)?),
            hidden: after,
            experts,
        });
        Ok(())
    };
    for (execution, actions) in passes(replayed, sequence.layers()) {
        sequence.check_stop()?;
        let Execution { layer, n, .. } = execution;
        let own = |row: &usize| actions.map_or(Action::Execute, |actions| actions.of_row(rows[*row]));
        let skips: Vec<usize> = (0..rows.len())
            .filter(|row| n == 0 && own(row) == Action::Skip)
            .collect();
        if !skips.is_empty() {
            let aside = sequence.run_aside(layer, &hidden, &chunk)?;
            for row in skips {
                note(row, (layer, 0), false, &hidden, &aside, sequence.take_experts(row))?;
            }
        }
        let after = match actions {
            Some(actions) => sequence.run_actions(layer, n, &hidden, &chunk, actions)?,
            None => Some(sequence.run_execution(execution, &hidden, &chunk)?),
        };
        let Some(after) = after else { continue };
        for row in 0..rows.len() {
            if actions.is_none() || own(&row).executions() > n {
                note(row, (layer, n), true, &hidden, &after, sequence.take_experts(row))?;
            }
        }
        hidden = after;
    }
    sequence.advance(replayed.ids.len());
    Ok(states)
}

/// Executions that may be due, in order, and what each layer's tokens do; everyone does what has
/// no actions.
fn passes<'p>(replayed: &'p ReplayChunk, layers: usize) -> Vec<(Execution, Option<&'p LayerActions>)> {
    let Some(actions) = &replayed.actions else {
        return replayed.program.passes().map(|execution| (execution, None)).collect();
    };
    let step = StepSize::WHOLE;
    let both = |layer: usize| [0, 1].map(|n| (Execution { layer, n, step }, Some(&actions[layer])));
    (0..layers).flat_map(both).collect()
}

/// What lies between two states (1, hidden_size).
fn moved(before: &Tensor, after: &Tensor) -> Result<Moved> {
    let floats = |t: &Tensor| -> Result<Vec<f64>> {
        let row = t.to_dtype(DType::F32)?.squeeze(0)?.to_vec1::<f32>()?;
        Ok(row.into_iter().map(f64::from).collect())
    };
    let (before, after) = (floats(before)?, floats(after)?);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norm = |a: &[f64]| dot(a, a).sqrt().max(f64::MIN_POSITIVE);
    let difference: Vec<f64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    let cosine = dot(&before, &after) / (norm(&before) * norm(&after));
    Ok(Moved {
        turn: (1.0 - cosine).clamp(0.0, 2.0) as f32,
        step: (norm(&difference) / norm(&before)) as f32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_rank_counts_what_is_likelier() {
        let lens = [0.2f32, 0.5, 0.1, 0.2].map(f32::ln);
        let of = |id| Standing::new(&lens, id);
        assert_eq!([0, 1, 2, 3].map(|id| of(id).rank), [2, 1, 4, 2]);
        assert!((of(2).probability - 0.1).abs() < 1e-6);
    }

    #[test]
    fn turns_and_steps_follow_their_formulas() {
        let row = |x: f32, y: f32| Tensor::new(&[[x, y]], &Device::Cpu).unwrap();
        let of = |a: &Tensor, b: &Tensor| moved(a, b).unwrap();
        assert_eq!(of(&row(3.0, 4.0), &row(3.0, 4.0)), Moved { turn: 0.0, step: 0.0 });
        assert_eq!(of(&row(2.0, 0.0), &row(6.0, 0.0)), Moved { turn: 0.0, step: 2.0 });
        let right = of(&row(1.0, 0.0), &row(0.0, 1.0));
        assert!((right.turn - 1.0).abs() < 1e-6 && (right.step - 2f32.sqrt()).abs() < 1e-6);
        assert_eq!(of(&row(1.0, 0.0), &row(-1.0, 0.0)).turn, 2.0);
    }
}
