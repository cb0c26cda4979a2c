//! A look inside one token of a run: what it would say if it stopped at each layer (the logit lens),
//! and how far each block moved it. Computed again when it is asked for, so that a run pays nothing.

use anyhow::Result;
use candle_core::{DType, Tensor};

use super::distribution::{Distribution, as_reported, kl, log_probs};
use super::inspector::Inspector;
use super::replay::ReplayChunk;
use super::sequence::{LayerActions, Sequence};
use super::trace::{LogitsReport, Trace};
use crate::program::Action;

/// One position of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    pub position: usize,
    /// The embedding first, then every block execution in order; a layer that was skipped stands
    /// there with what it would have done.
    pub stages: Vec<Stage>,
    /// What comes after this token.
    pub next: Distribution,
    /// The greatest logits after this token, as the run's trace reports them.
    pub logits: LogitsReport,
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
}

/// How far a block moved the hidden state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moved {
    /// 1 − cos(entering, leaving): 0 where the direction stays, 1 at a right angle, at most 2.
    pub turn: f32,
    /// ‖leaving − entering‖ / ‖entering‖.
    pub step: f32,
}

/// A state of the token on its way, (1, hidden_size).
struct State {
    block: Option<(usize, usize)>,
    carried_out: bool,
    hidden: Tensor,
    moved: Option<Moved>,
}

impl Inspector<'_, '_> {
    /// Looks at the token at `position` of `trace`; `top` tokens are named at each stage.
    ///
    /// # Errors
    /// When there is no such token, or the trace is of another model.
    pub fn inspect(&mut self, trace: &Trace, position: usize, top: usize) -> Result<Inspection> {
        let (replayed, row) = ReplayChunk::at(trace, position)?;
        let mut sequence = self.before(trace, position)?;
        let states = states(&mut sequence, &replayed, row)?;
        // The next question is likely to be about a token near by.
        self.kept.put(trace.first(sequence.len()), sequence.into_cache());
        self.look(&states, position, top)
    }

    fn look(&self, states: &[State], position: usize, top: usize) -> Result<Inspection> {
        let (decoder, tokenizer) = (&self.model.decoder, &self.model.tokenizer);
        let last = states.iter().rposition(|s| s.carried_out);
        let last = last.expect("the embedding is always carried out");
        let hidden: Vec<&Tensor> = states.iter().map(|s| &s.hidden).collect();
        let mut lenses = log_probs(&decoder.logits(&Tensor::cat(&hidden, 0)?)?)?;
        // As the run computed it, by itself: products of several rows may differ in the last bit.
        let logits = decoder.logits(&states[last].hidden)?;
        lenses[last] = log_probs(&logits)?.remove(0);
        let stages = states.iter().zip(&lenses).map(|(state, lens)| Stage {
            block: state.block,
            carried_out: state.carried_out,
            lens: Distribution::new(lens, top, tokenizer),
            kl: kl(&lenses[last], lens),
            moved: state.moved,
        });
        let stages: Vec<Stage> = stages.collect();
        Ok(Inspection {
            position,
            next: stages[last].lens.clone(),
            stages,
            logits: as_reported(&logits.squeeze(0)?, top)?,
        })
    }
}

/// Runs the chunk as it ran and notes the token of `row` after every block.
fn states(sequence: &mut Sequence, replayed: &ReplayChunk, row: usize) -> Result<Vec<State>> {
    let decoder = sequence.decoder();
    let chunk = sequence.chunk(replayed.ids.len())?;
    let mut hidden = decoder.embed(&replayed.ids)?;
    let mut states = vec![State {
        block: None,
        carried_out: true,
        hidden: hidden.narrow(0, row, 1)?,
        moved: None,
    }];
    let mut note = |block, carried_out, before: &Tensor, after: &Tensor| -> Result<()> {
        let (before, after) = (before.narrow(0, row, 1)?, after.narrow(0, row, 1)?);
        states.push(State {
            block: Some(block),
            carried_out,
            moved: Some(moved(&before, &after)?),
            hidden: after,
        });
        Ok(())
    };
    for (layer, n, actions) in passes(replayed, sequence.layers()) {
        sequence.check_stop()?;
        let own = actions.map_or(Action::Execute, |actions| actions.of_row(row));
        if n == 0 && own == Action::Skip {
            let aside = sequence.run_aside(layer, &hidden, &chunk)?;
            note((layer, 0), false, &hidden, &aside)?;
        }
        let after = match actions {
            Some(actions) => sequence.run_actions(layer, n, &hidden, &chunk, actions)?,
            None => Some(sequence.run_pass(layer, n, &hidden, &chunk)?),
        };
        let Some(after) = after else { continue };
        if actions.is_none() || own.executions() > n {
            note((layer, n), true, &hidden, &after)?;
        }
        hidden = after;
    }
    sequence.advance(replayed.ids.len());
    Ok(states)
}

/// Executions that may be due, in order, and what each layer's tokens do; everyone does what has
/// no actions.
fn passes<'p>(replayed: &'p ReplayChunk, layers: usize) -> Vec<(usize, usize, Option<&'p LayerActions>)> {
    match &replayed.actions {
        Some(actions) => (0..layers)
            .flat_map(|layer| [0, 1].map(|n| (layer, n, Some(&actions[layer]))))
            .collect(),
        None => replayed.program.passes().map(|(layer, n)| (layer, n, None)).collect(),
    }
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
