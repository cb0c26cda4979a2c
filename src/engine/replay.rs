//! A trace carried out again: the same tokens under the same decisions, whoever took them then.

use anyhow::{Result, bail, ensure};
use candle_core::Tensor;

use super::sequence::{LayerActions, Sequence};
use crate::program::{Action, Damping, Program};
use crate::trace::{PromptToken, Trace};

/// What a chunk of a trace ran: the prompt as a whole, or one generated token.
pub struct ReplayChunk<'t> {
    /// Of the chunk's tokens.
    pub ids: Vec<u32>,
    /// What the trace says that it ran.
    pub program: &'t Program,
    /// What each layer's tokens do; `None` where the program is no action vector.
    pub actions: Option<Vec<LayerActions>>,
}

impl<'t> ReplayChunk<'t> {
    /// The chunk in which the token at `position` ran, and its row there.
    ///
    /// # Errors
    /// When the trace ends before.
    pub fn at(trace: &'t Trace, position: usize) -> Result<(ReplayChunk<'t>, usize)> {
        let prompt = trace.header.prompt.len();
        ensure!(
            position < prompt + trace.steps.len(),
            "there is no token at position {position}: the run has {} so far",
            prompt + trace.steps.len()
        );
        Ok(match position.checked_sub(prompt) {
            None => (ReplayChunk::prompt(trace), position),
            Some(step) => (ReplayChunk::step(trace, step), 0),
        })
    }

    /// The prompt.
    pub fn prompt(trace: &'t Trace) -> ReplayChunk<'t> {
        let prompt = &trace.header.prompt;
        let program = &trace.header.program;
        let row = |layer: usize, shared: Action| {
            let pinned = |(_, action): &(usize, Action)| *action;
            let of = |token: &PromptToken| token.pinned.iter().find(|(l, _)| *l == layer).map(pinned);
            let differs = prompt.iter().any(|token| of(token).is_some());
            differs.then(|| prompt.iter().map(|token| of(token).unwrap_or(shared)).collect())
        };
        let layer = |layer: usize, (shared, damping)| {
            LayerActions {
                shared,
                rows: row(layer, shared),
                dampings: Vec::new(),
            }
            .damped(vec![damping; prompt.len()])
        };
        let actions = actions(trace, program);
        ReplayChunk {
            ids: prompt.iter().map(|token| token.id).collect(),
            program,
            actions: actions.map(|actions| actions.into_iter().enumerate().map(|(at, of)| layer(at, of)).collect()),
        }
    }

    /// The generated token of index `step`.
    pub fn step(trace: &'t Trace, step: usize) -> ReplayChunk<'t> {
        let step = &trace.steps[step];
        let actions = actions(trace, &step.program);
        let layer = |(action, damping)| LayerActions::from(action).damped(vec![damping]);
        ReplayChunk {
            ids: vec![step.id],
            program: &step.program,
            actions: actions.map(|actions| actions.into_iter().map(layer).collect()),
        }
    }

    /// Has all tokens of the chunk do something else at one layer; the program that this makes.
    ///
    /// # Errors
    /// Where the program runs layers in another order.
    pub fn take_otherwise(&mut self, layer: usize, action: Action) -> Result<Program> {
        let Some(actions) = &mut self.actions else {
            bail!(
                "the program '{}' does not run layers in order, none more than twice, none damped, so no single decision \
                 of it can be taken otherwise: change the program",
                self.program
            );
        };
        actions[layer] = action.into();
        let shared: Vec<Action> = actions.iter().map(|actions| actions.shared).collect();
        let damping = |layer: usize| actions[layer].dampings.first().copied().unwrap_or_default();
        Ok(Program::from_damped_actions(&shared, damping))
    }

    /// Runs the chunk; the last token's logits (vocab_size).
    pub fn run(&self, sequence: &mut Sequence) -> Result<Tensor> {
        match &self.actions {
            Some(actions) => sequence.run_layers(&self.ids, None, |layer, _| actions[layer].clone()),
            None => sequence.run_program(&self.ids, self.program),
        }
    }
}

/// What each layer does under a program of a trace, and how it is damped there; `None` where the program is no action
/// vector, or a damped one that ran as a whole.
fn actions(trace: &Trace, program: &Program) -> Option<Vec<(Action, Damping)>> {
    if trace.header.settings.program.is_some() && program.is_damped() {
        return None;
    }
    let (actions, dampings) = program.to_damped_actions(trace.layers())?;
    Some(actions.into_iter().zip(dampings).collect())
}

/// Steps that two traces share from the beginning: the same tokens under the same programs, so that
/// they left the same keys and values. `None` where the prompts differ in either, in what skipped layers are left with, or in excluded experts.
pub fn common_steps(a: &Trace, b: &Trace) -> Option<usize> {
    let (first, second) = (&a.header, &b.header);
    let token = |t: &PromptToken| (t.id, t.pinned.clone());
    let same_prompt = first.settings.kv == second.settings.kv
        && first.settings.excluded_experts == second.settings.excluded_experts
        && first.program == second.program
        && first.prompt.len() == second.prompt.len()
        && first
            .prompt
            .iter()
            .zip(&second.prompt)
            .all(|(a, b)| token(a) == token(b));
    let pairs = a.steps.iter().zip(&b.steps);
    same_prompt.then(|| {
        pairs
            .take_while(|(a, b)| a.id == b.id && a.program == b.program)
            .count()
    })
}
