//! One decision taken otherwise: what that does to the next token, before anything is rerun.

use anyhow::{Context, Result};
use candle_core::Tensor;

use super::decide::{DecisionPolicy, RoutedChunk};
use super::distribution::{Distribution, greatest, kl, log_probs};
use super::generate::are_same;
use super::inspector::Inspector;
use super::replay::ReplayChunk;
use crate::model::Model;
use crate::program::{Action, Damping, Program};
use crate::trace::{Decision, Pin, RouterInfo, Scope, Settings, Trace};

/// What a decision taken otherwise changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Flip {
    /// The other decision. At the prompt, whose tokens share one, it holds for all of them, and in
    /// scope `prompt` for the answer too.
    pub pin: Pin,
    /// What was carried out.
    pub from: Action,
    /// The likeliest next tokens of either, the likeliest first.
    pub shifts: Vec<Shift>,
    /// Entropies of both distributions, in nats.
    pub entropy: (f32, f32),
    /// KL(before ‖ after), in nats.
    pub kl: f32,
    /// Other layers that then do something else too: their routers see another state, or the budget
    /// has more or less to spend.
    pub others: usize,
    /// What this token, or the prompt, would run.
    pub program: Program,
    /// Whether everything else is as it ran; otherwise routers and budget settle the later layers anew.
    pub frozen: bool,
    /// Why it is frozen where it was asked for otherwise; unescaped.
    pub note: Option<String>,
}

/// A next token's probability with the decision as it was and as it would be.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// In the vocabulary.
    pub id: u32,
    /// Its text, unescaped.
    pub text: String,
    /// With the decision as it was, 0 to 1.
    pub before: f32,
    /// With the decision as it would be, 0 to 1.
    pub after: f32,
}

/// What becomes of everything else when one decision is taken otherwise, in words.
pub fn all_else(frozen: bool) -> &'static str {
    match frozen {
        true => "everything else as it ran",
        false => "later layers decide anew",
    }
}

/// The pin that takes the decision at (`layer`, `position`) otherwise.
pub fn pin(trace: &Trace, layer: usize, position: usize, action: Action) -> Pin {
    let prompt = trace.header.prompt.len();
    let positions = match (position < prompt, trace.header.settings.scope) {
        (true, Scope::Prompt) => None,
        (true, Scope::Token) => Some((0, prompt - 1)),
        (false, _) => Some((position, position)),
    };
    Pin {
        layer,
        positions,
        action,
        damping: Damping::NONE,
    }
}

impl Inspector<'_, '_> {
    /// Takes the decision at (`layer`, `position`) of `trace` otherwise. `frozen`: this token's other layers do what
    /// they did, whoever decided that, so no routers are needed. Otherwise the rest is settled as the run's settings
    /// say; where the routers that would do that are not loaded, it is frozen all the same, with a note. `top` next
    /// tokens are named of either side.
    ///
    /// # Errors
    /// Where the run has no such token, where its program is no action vector, and, unless `frozen`, where the token
    /// was kept from another run, whose settings are not known.
    pub fn flip(
        &mut self,
        trace: &Trace,
        layer: usize,
        position: usize,
        action: Action,
        top: usize,
        frozen: bool,
    ) -> Result<Flip> {
        let (replayed, _) = ReplayChunk::at(trace, position)?;
        let note = if frozen { None } else { self.no_routers(trace) };
        let frozen = frozen || note.is_some();
        if let Some(branch) = trace.header.branch.filter(|b| position < b.at && !frozen) {
            anyhow::bail!(
                "the token at position {position} was kept from the run before the branch at {}: open that run and \
                 flip there",
                branch.at
            );
        }
        let decisions = decisions(trace, position);
        let decision = decisions.get(layer);
        let from = decision.context("there is no such layer in this run")?.action;
        let pin = pin(trace, layer, position, action);
        let before = replayed.run(&mut self.before(trace, position)?)?;
        let (logits, program, others) = if frozen {
            let mut flipped = replayed;
            let program = flipped.take_otherwise(layer, action)?;
            (flipped.run(&mut self.before(trace, position)?)?, program, 0)
        } else {
            let mut settings = trace.header.settings.clone();
            settings.pins.push(pin);
            let after = self.after(trace, position, &replayed, &settings)?;
            let pairs = decisions.iter().zip(&after.decisions).enumerate();
            let others = pairs.filter(|(l, (a, b))| *l != layer && a.action != b.action);
            (after.logits, after.program, others.count())
        };
        let rows = Tensor::stack(&[before, logits], 0)?;
        let rows = log_probs(&rows)?;
        let of = |row: &Vec<f32>| Distribution::new(row, top, &self.model.tokenizer);
        Ok(Flip {
            pin,
            from,
            shifts: shifts(self.model, &rows, top),
            entropy: (of(&rows[0]).entropy, of(&rows[1]).entropy),
            kl: kl(&rows[0], &rows[1]),
            others,
            program,
            frozen,
            note,
        })
    }

    /// Why the layers cannot be settled anew as the run settled them, if that takes routers and they are not loaded.
    pub(super) fn no_routers(&self, trace: &Trace) -> Option<String> {
        let made_with = trace.header.routers.as_ref();
        let decided = made_with.filter(|_| trace.header.settings.program.is_none());
        if decided.is_some_and(RouterInfo::is_predictor) {
            return Some("a predictor names its program as a whole, so no other layer is settled anew".to_owned());
        }
        let missing = decided.filter(|_| !are_same(made_with, self.routers.map(|router| router.info())))?;
        Some(format!("the run's routers, {}, are not loaded", missing.name))
    }

    fn after(
        &mut self,
        trace: &Trace,
        position: usize,
        replayed: &ReplayChunk,
        settings: &Settings,
    ) -> Result<RoutedChunk> {
        // A run without routers is settled anew without any, whatever is loaded by now.
        let routers = self.routers.filter(|_| trace.header.routers.is_some());
        let mut policy = DecisionPolicy::new(settings, routers, trace.layers())?;
        let step = position.checked_sub(trace.header.prompt.len());
        let Some(step) = step else {
            return policy.prompt(&mut self.before(trace, position)?, &replayed.ids);
        };
        let mut before = self.before(trace, position)?;
        policy.resume(trace, step, &before)?;
        policy.token(&mut before, replayed.ids[0])
    }
}

fn decisions(trace: &Trace, position: usize) -> &[Decision] {
    match position.checked_sub(trace.header.prompt.len()) {
        None => &trace.header.decisions,
        Some(step) => &trace.steps[step].decisions,
    }
}

/// The likeliest tokens of both rows of log-probabilities.
pub(super) fn shifts(model: &Model, rows: &[Vec<f32>], top: usize) -> Vec<Shift> {
    let mut ids = greatest(&rows[0], top);
    for id in greatest(&rows[1], top) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let shift = |id: u32| Shift {
        id,
        text: model.tokenizer.piece_or_bytes(id),
        before: rows[0][id as usize].exp(),
        after: rows[1][id as usize].exp(),
    };
    let mut shifts: Vec<Shift> = ids.into_iter().map(shift).collect();
    shifts.sort_by(|a, b| b.before.max(b.after).total_cmp(&a.before.max(a.after)));
    shifts
}
