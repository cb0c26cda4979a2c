//! Where whole programs are proposed: dial, budget and pins settle one of them.

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;

use super::RoutedChunk;
use crate::program::{Action, Damping, Program};
use crate::router::ProposedPrograms;
use crate::router::policy::{LayerConstraint, Proposal, within_budget};
use crate::router::programs::with_pins;
use crate::text::escape_controls;
use crate::trace::{CandidateProgram, DecidedBy, Decision, NEUTRAL_DIAL, RouterInfo, Scope, Settings, pinned};

/// The program of a run, and how it came about.
pub(super) struct Settled {
    pub program: Program,
    /// One a layer.
    decisions: Vec<Decision>,
    /// As they were proposed.
    pub candidates: Vec<CandidateProgram>,
    /// The probability that a segment begins at each layer.
    pub boundaries: Vec<f32>,
}

impl Settled {
    /// The prompt, whose logits these are.
    pub fn chunk(&self, logits: Tensor) -> RoutedChunk {
        RoutedChunk {
            logits,
            program: self.program.clone(),
            decisions: self.decisions.clone(),
        }
    }

    /// A later token: nobody is asked there, so nothing can disagree.
    pub fn later_chunk(&self, logits: Tensor) -> RoutedChunk {
        let mut chunk = self.chunk(logits);
        chunk.decisions.iter_mut().for_each(|decision| decision.shadow = None);
        chunk
    }
}

/// Refuses settings that do not go with one program for all tokens.
pub(super) fn check(predictor: &RouterInfo, settings: &Settings) -> Result<()> {
    let name = escape_controls(&predictor.name);
    ensure!(
        settings.scope == Scope::Prompt,
        "the predictor {name} names one program for the whole run, and the scope is {}: choose scope prompt",
        settings.scope
    );
    if let Some(pin) = settings.pins.iter().find(|pin| pin.positions.is_some()) {
        bail!(
            "the pin {pin} is for some tokens, and the predictor {name} names one program for all: pin the layer at every \
             token, or clear the pin"
        );
    }
    if let Some(pin) = settings.pins.iter().find(|pin| pin.damping != Damping::NONE) {
        bail!(
            "the pin {pin} damps a repeat, and the predictor {name} names whole programs: type a program like 0-6 7x2~0.5 \
             8-29, or clear the pin"
        );
    }
    Ok(())
}

/// The best program that was proposed, with the pins carried out. Under a budget it is the best one that keeps to it; where
/// none does, layers are taken by themselves: of all programs that keep to the budget, the one of greatest summed
/// log-probability of their segments' actions.
pub(super) fn settle(proposed: ProposedPrograms, settings: &Settings, layers: usize) -> Result<Settled> {
    let ProposedPrograms {
        candidates,
        undialled,
        probs,
        boundaries,
    } = proposed;
    let best = candidates.first().context("no program was proposed")?.program.clone();
    ensure!(
        probs.len() == layers,
        "programs were proposed for {} layers, the model has {layers}",
        probs.len()
    );
    let mut pinned_programs = candidates.iter().map(|c| with_pins(&c.program, &settings.pins, layers));
    let program = match settings.budget {
        None => pinned_programs.next().expect("there is a best one"),
        Some(budget) => match pinned_programs.find(|program| program.depth() <= budget) {
            Some(program) => program,
            None => trimmed(&probs, settings, budget)?,
        },
    };
    let [taken, wanted, neutral] = [&program, &best, &undialled].map(|program| program.executions(layers));
    let decision = |layer: usize| {
        let action = Action::from_executions(taken[layer]);
        let by = if pinned(&settings.pins, layer, 0).is_some() {
            DecidedBy::Pin
        } else if taken[layer] != wanted[layer] {
            DecidedBy::Budget
        } else if settings.dial != NEUTRAL_DIAL && taken[layer] != neutral[layer] {
            DecidedBy::Dial
        } else {
            DecidedBy::Predictor
        };
        Decision {
            action,
            by,
            probs: Some(probs[layer]),
            shadow: Some(Action::from_executions(wanted[layer])),
        }
    };
    Ok(Settled {
        decisions: (0..layers).map(decision).collect(),
        program,
        candidates,
        boundaries,
    })
}

fn trimmed(probs: &[[f32; 3]], settings: &Settings, budget: usize) -> Result<Program> {
    let constraint = |(layer, &probs): (usize, &[f32; 3])| LayerConstraint {
        proposal: Proposal::new(probs, settings.dial),
        pinned: pinned(&settings.pins, layer, 0),
        least_cost: 0,
    };
    let layers: Vec<LayerConstraint> = probs.iter().enumerate().map(constraint).collect();
    let actions = within_budget(&layers, budget);
    let actions = actions.with_context(|| format!("the pins need more than the budget of {budget}"))?;
    Ok(Program::from_actions(&actions))
}

#[cfg(test)]
mod tests;
