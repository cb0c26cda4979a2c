//! A trace carried out again: the same tokens under the same decisions, whoever took them then.

use anyhow::{Result, ensure};
use candle_core::Tensor;

use super::sequence::{LayerActions, Sequence};
use super::settings::Scope;
use super::trace::{PromptToken, Trace};
use crate::program::{Action, Program};
use crate::router::Decision;

/// What a chunk of a trace ran: the prompt as a whole, or one generated token.
pub struct Passage<'t> {
    pub ids: Vec<u32>,
    pub program: &'t Program,
    /// What each layer's tokens do; `None` where the program runs layers in another order.
    pub actions: Option<Vec<LayerActions>>,
}

impl<'t> Passage<'t> {
    /// The chunk in which the token at `position` ran, and its row there.
    ///
    /// # Errors
    /// When the trace ends before.
    pub fn at(trace: &'t Trace, position: usize) -> Result<(Passage<'t>, usize)> {
        let prompt = trace.header.prompt.len();
        ensure!(
            position < prompt + trace.steps.len(),
            "there is no token at position {position}: the run has {} so far",
            prompt + trace.steps.len()
        );
        Ok(match position.checked_sub(prompt) {
            None => (Passage::prompt(trace), position),
            Some(step) => (Passage::step(trace, step), 0),
        })
    }

    /// The prompt.
    pub fn prompt(trace: &'t Trace) -> Passage<'t> {
        let prompt = &trace.header.prompt;
        let program = &trace.header.program;
        let row = |layer: usize, shared: Action| {
            let pinned = |(_, action): &(usize, Action)| *action;
            let of = |token: &PromptToken| token.pinned.iter().find(|(l, _)| *l == layer).map(pinned);
            let differs = prompt.iter().any(|token| of(token).is_some());
            differs.then(|| prompt.iter().map(|token| of(token).unwrap_or(shared)).collect())
        };
        let layer = |(layer, shared): (usize, Action)| LayerActions {
            shared,
            rows: row(layer, shared),
        };
        let actions = program.to_actions(trace.layers());
        Passage {
            ids: prompt.iter().map(|token| token.id).collect(),
            program,
            actions: actions.map(|actions| actions.into_iter().enumerate().map(layer).collect()),
        }
    }

    /// The generated token of index `step`.
    pub fn step(trace: &'t Trace, step: usize) -> Passage<'t> {
        let step = &trace.steps[step];
        let actions = step.program.to_actions(trace.layers());
        Passage {
            ids: vec![step.id],
            program: &step.program,
            actions: actions.map(|actions| actions.into_iter().map(LayerActions::from).collect()),
        }
    }

    /// Runs the chunk; the last token's logits (vocab_size).
    pub fn run(&self, sequence: &mut Sequence) -> Result<Tensor> {
        match &self.actions {
            Some(actions) => sequence.run_layers(&self.ids, None, |layer, _| actions[layer].clone()),
            None => sequence.run_program(&self.ids, self.program),
        }
    }
}

/// Steps that two traces share from the beginning: the same tokens under the same programs, so that
/// they left the same keys and values. `None` where the prompts differ in either.
pub fn common_steps(a: &Trace, b: &Trace) -> Option<usize> {
    let (first, second) = (&a.header, &b.header);
    let token = |t: &PromptToken| (t.id, t.pinned.clone());
    let same_prompt = first.program == second.program
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

/// What the routers said when the generated token of index `step` was about to run.
pub fn last_wishes(trace: &Trace, step: usize, scope: Scope) -> &[Decision] {
    let asked = |decisions: &&Vec<Decision>| decisions.iter().all(|d| d.probs.is_some());
    let before = step.checked_sub(1).map(|step| &trace.steps[step].decisions);
    match scope {
        Scope::Token => before.filter(asked).unwrap_or(&trace.header.decisions),
        Scope::Prompt => &trace.header.decisions,
    }
}
