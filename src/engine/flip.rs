//! One decision taken otherwise: what that does to the next token, before anything is rerun.

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;

use super::distribution::{Distribution, greatest, kl, log_probs};
use super::inspector::Inspector;
use super::replay::{Passage, last_wishes};
use super::route::{Route, Routed};
use super::settings::{Pin, Scope, Settings};
use super::trace::Trace;
use crate::model::Model;
use crate::program::{Action, Program};
use crate::router::Decision;

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
}

/// A next token's probability with the decision as it was and as it would be.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    pub id: u32,
    /// Its text, unescaped.
    pub text: String,
    pub before: f32,
    pub after: f32,
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
    }
}

impl Inspector<'_, '_> {
    /// Takes the decision at (`layer`, `position`) of `trace` otherwise; the rest is settled as the
    /// run's settings say. `top` next tokens are named of either side.
    ///
    /// # Errors
    /// Where the run has no such token, where the token was kept from another run, whose settings are
    /// not known, and where its routers are not the loaded ones.
    pub fn flip(&mut self, trace: &Trace, layer: usize, position: usize, action: Action, top: usize) -> Result<Flip> {
        let (passage, _) = Passage::at(trace, position)?;
        if let Some(branch) = trace.header.branch.filter(|b| position < b.at) {
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
        let mut settings = trace.header.settings.clone();
        settings.pins.push(pin);
        let before = passage.run(&mut self.before(trace, position)?)?;
        let after = self.after(trace, position, &passage, &settings)?;
        let differs = |(a, b): (&Decision, &Decision)| a.action != b.action;
        let changed = decisions
            .iter()
            .zip(&after.decisions)
            .filter(|pair| differs(*pair))
            .count();
        let own = usize::from(after.decisions[layer].action != from);
        let rows = Tensor::stack(&[before, after.logits], 0)?;
        let rows = log_probs(&rows)?;
        let of = |row: &Vec<f32>| Distribution::new(row, top, &self.model.tokenizer);
        Ok(Flip {
            pin,
            from,
            shifts: shifts(self.model, &rows, top),
            entropy: (of(&rows[0]).entropy, of(&rows[1]).entropy),
            kl: kl(&rows[0], &rows[1]),
            others: changed - own,
            program: after.program,
        })
    }

    fn after(&mut self, trace: &Trace, position: usize, passage: &Passage, settings: &Settings) -> Result<Routed> {
        let mut route = Route::new(settings, self.routers, trace.layers())?;
        let info = self.routers.map(|r| &r.info);
        ensure!(
            !route.is_routed() || trace.header.routers.as_ref() == info,
            "the run was made with other routers than those that are loaded, which would settle the other layers \
             otherwise: load them with --routers, or run the prompt again"
        );
        let step = position.checked_sub(trace.header.prompt.len());
        let Some(step) = step else {
            return route.prompt(&mut self.before(trace, position)?, &passage.ids);
        };
        route.resume(last_wishes(trace, step, settings.scope))?;
        route.token(&mut self.before(trace, position)?, passage.ids[0])
    }
}

fn decisions(trace: &Trace, position: usize) -> &[Decision] {
    match position.checked_sub(trace.header.prompt.len()) {
        None => &trace.header.decisions,
        Some(step) => &trace.steps[step].decisions,
    }
}

/// The likeliest tokens of both rows of log-probabilities.
fn shifts(model: &Model, rows: &[Vec<f32>], top: usize) -> Vec<Shift> {
    let mut ids = greatest(&rows[0], top);
    for id in greatest(&rows[1], top) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let shift = |id: u32| Shift {
        id,
        text: model.tokenizer.decode_piece(id),
        before: rows[0][id as usize].exp(),
        after: rows[1][id as usize].exp(),
    };
    let mut shifts: Vec<Shift> = ids.into_iter().map(shift).collect();
    shifts.sort_by(|a, b| b.before.max(b.after).total_cmp(&a.before.max(a.after)));
    shifts
}
