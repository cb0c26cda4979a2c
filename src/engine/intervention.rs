//! The next token of a run that is held, computed both ways: as the run would, and with one layer pinned there. Nothing
//! of it is kept.

use anyhow::{Result, bail, ensure};
use candle_core::Tensor;

use super::decide::{DecisionPolicy, RoutedChunk};
use super::distribution::{Distribution, kl, log_probs};
use super::flip::{Flip, shifts};
use super::inspector::Inspector;
use super::replay::ReplayChunk;
use super::sampler::Sampler;
use crate::program::{Action, Damping, Program};
use crate::trace::{Candidate, Pin, Settings, Trace};

/// The next token both ways.
#[derive(Clone, Debug, PartialEq)]
pub struct Intervention {
    /// Of the token that is drawn, in the run, from 0; the prompt's tokens count.
    pub position: usize,
    /// The token that the run draws next, and how likely it was; the pin comes too late to change it.
    pub token: Candidate,
    /// What it would run as the run goes on by itself.
    pub program: Program,
    /// What the pin changes of that, and of what comes after it.
    pub flip: Flip,
}

impl Intervention {
    /// Whether the run would do by itself what the pin asks for.
    pub fn changes_nothing(&self) -> bool {
        self.flip.from == self.flip.pin.action
    }
}

impl Inspector<'_, '_> {
    /// Draws the token after `trace` as its run would, and runs it twice: under the run's settings, and with `layer`
    /// pinned to `action` at this token. `top` tokens that may come after it are named of either way.
    ///
    /// # Errors
    /// Where the run has no next token, its routers are not loaded, or pins cannot hold in its program.
    pub fn intervene(&mut self, trace: &Trace, layer: usize, action: Action, top: usize) -> Result<Intervention> {
        let (model, settings) = (self.model, &trace.header.settings);
        ensure!(
            layer < trace.layers(),
            "there is no layer {layer}; this model has layers 0-{}",
            trace.layers() - 1
        );
        let steps = trace.steps.len();
        ensure!(
            steps < settings.max_tokens,
            "the run has the {steps} tokens that it may have: more are allowed by max tokens in the settings, for the \
             next run"
        );
        let ends = |id: u32| model.tokenizer.eos_ids().contains(&id) && !settings.ignore_eos;
        if trace.steps.last().is_some_and(|step| ends(step.id)) {
            bail!("the answer ended with the last token: there is no next one");
        }
        if let Some(missing) = self.no_routers(trace) {
            bail!("{missing}: load them to see how they would go on");
        }
        let position = trace.tokens();
        // The newest token once more: what it said comes next.
        let (newest, before) = match steps.checked_sub(1) {
            None => (ReplayChunk::prompt(trace), self.before(trace, 0)?),
            Some(last) => (ReplayChunk::step(trace, last), self.sequence(trace, last)?),
        };
        let mut sequence = before;
        let logits = newest.run(&mut sequence)?;
        let ids: Vec<u32> = (0..position).filter_map(|at| Some(trace.token(at)?.0)).collect();
        let mut sampler = Sampler::new(&settings.sampling);
        sampler.skip(steps)?;
        let id = sampler.next(&logits, &ids)?;
        let said = log_probs(&logits.unsqueeze(0)?)?.remove(0);
        let token = Candidate {
            id,
            text: model.tokenizer.piece_or_bytes(id),
            probability: said[id as usize].exp(),
        };
        self.kept.put(trace.clone(), sequence.into_cache());

        let pin = Pin {
            layer,
            positions: Some((position, position)),
            action,
            damping: Damping::NONE,
        };
        let mut pinned = settings.clone();
        pinned.pins.push(pin);
        let as_decided = self.next(trace, id, settings)?;
        let with_pin = self.next(trace, id, &pinned)?;
        let rows = log_probs(&Tensor::stack(&[as_decided.logits, with_pin.logits], 0)?)?;
        let entropy = |row: &Vec<f32>| Distribution::new(row, 1, &model.tokenizer).entropy;
        let pairs = as_decided.decisions.iter().zip(&with_pin.decisions).enumerate();
        let others = pairs.filter(|(l, (a, b))| *l != layer && a.action != b.action);
        let Some(decision) = as_decided.decisions.get(layer) else {
            bail!(
                "the program '{}' does not run layers in order, none more than twice, none damped, so no layer of it can be \
                 pinned: change the program",
                as_decided.program
            );
        };
        Ok(Intervention {
            position,
            token,
            flip: Flip {
                pin,
                from: decision.action,
                shifts: shifts(model, &rows, top),
                entropy: (entropy(&rows[0]), entropy(&rows[1])),
                kl: kl(&rows[0], &rows[1]),
                others: others.count(),
                program: with_pin.program,
                frozen: false,
                note: None,
            },
            program: as_decided.program,
        })
    }

    /// The token `id` after `trace`, decided under `settings`.
    fn next(&mut self, trace: &Trace, id: u32, settings: &Settings) -> Result<RoutedChunk> {
        let routers = self.routers.filter(|_| trace.header.routers.is_some());
        let mut policy = DecisionPolicy::new(settings, routers, trace.layers())?;
        let mut sequence = self.sequence(trace, trace.steps.len())?;
        policy.resume(trace, trace.steps.len(), &sequence)?;
        policy.token(&mut sequence, id)
    }
}
