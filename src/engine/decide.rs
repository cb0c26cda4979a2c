//! Decisions of one run: what every chunk does, settled by the policy and written down.

mod programs;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;

use super::sequence::{LayerActions, Sequence};
use crate::model::persistent::{TokenOutcome, TokenRules};
use crate::program::{Action, Damping, Program};
use crate::router::Router;
use crate::router::policy::{Expectation, LayerConstraint, Proposal, RunningBudget, within_budget};
use crate::trace::{
    CandidateProgram, DecidedBy, Decision, PromptRouting, RouterInfo, Scope, Settings, Trace, pin_at, pinned,
};
use programs::Settled;

/// What a chunk ran, and the logits (vocab_size) after its last token.
pub struct RoutedChunk {
    /// Of the token after the chunk's last, (vocab_size).
    pub logits: Tensor,
    /// What the chunk's last token ran.
    pub program: Program,
    /// One a layer.
    pub decisions: Vec<Decision>,
}

/// Who decides in this run.
pub struct DecisionPolicy<'a> {
    settings: &'a Settings,
    routers: Option<&'a dyn Router>,
    layers: usize,
    kind: Kind<'a>,
    /// What the routers proposed at the prompt, where it was asked.
    proposals: Vec<Proposal>,
    /// What they are expected to propose at the next token, in scope `token`.
    expected: Expectation,
    /// What became of the programs that were proposed for the prompt, once it was asked.
    settled: Option<Settled>,
}

enum Kind<'a> {
    /// Any order of layers; no pins.
    Free(Program),
    /// A program that is an action vector, or the standard one.
    Fixed(Vec<Action>),
    Routers,
    /// Whole programs are proposed for the prompt, and one of them holds for all tokens.
    Programs(&'a dyn Router),
}

impl<'a> DecisionPolicy<'a> {
    /// Settles who decides, for a model of `layers` layers.
    ///
    /// # Errors
    /// Settings that contradict each other, in the user's words.
    pub fn new(settings: &'a Settings, routers: Option<&'a dyn Router>, layers: usize) -> Result<Self> {
        settings.check(layers).map_err(anyhow::Error::msg)?;
        let kind = match (&settings.program, routers) {
            (Some(program), _) => match program.to_actions(layers) {
                Some(actions) => Kind::Fixed(actions),
                None if settings.pins.is_empty() => Kind::Free(program.clone()),
                None => bail!(
                    "pins need a program that runs layers in order, none more than twice, none damped; '{program}' does not. \
                     Clear the pins or change the program"
                ),
            },
            (None, None) => {
                if let Some(budget) = settings.budget.filter(|&b| b < layers) {
                    bail!(
                        "a budget of {budget} is below the model's {layers} layers, and there are no routers to say \
                         which to leave out: choose routers, or give a program"
                    );
                }
                Kind::Fixed(vec![Action::Execute; layers])
            }
            (None, Some(router)) if router.proposes_programs() => {
                programs::check(router.info(), settings)?;
                Kind::Programs(router)
            }
            (None, Some(_)) => Kind::Routers,
        };
        let policy = DecisionPolicy {
            settings,
            routers,
            layers,
            kind,
            proposals: Vec::new(),
            expected: Expectation::new(unknown(routers, settings.dial, layers)),
            settled: None,
        };
        policy.check_pins()?;
        Ok(policy)
    }

    /// Goes on after the first `steps` generated tokens of `trace` as if this policy had run them: what the routers said
    /// then holds on, at the prompt in scope `prompt`, as an expectation in scope `token`.
    ///
    /// # Errors
    /// Where the routers' decisions at the prompt are to hold and they were not asked there. A predictor is asked anew,
    /// which takes the decoder of `sequence` and its stop.
    pub fn resume(&mut self, trace: &Trace, steps: usize, sequence: &Sequence) -> Result<()> {
        if let Kind::Programs(_) = self.kind {
            let ids: Vec<u32> = trace.header.prompt.iter().map(|token| token.id).collect();
            return self.settle(sequence, &ids);
        }
        let proposal = |d: &Decision| d.probs.map(|probs| Proposal::new(probs, self.settings.dial));
        let proposals = |decisions: &Vec<Decision>| decisions.iter().map(proposal).collect::<Option<Vec<Proposal>>>();
        let at_prompt = proposals(&trace.header.decisions);
        match self.settings.scope {
            Scope::Token => {
                let at_tokens = trace.steps[..steps].iter().map(|step| proposals(&step.decisions));
                let asked: Vec<Vec<Proposal>> = std::iter::once(at_prompt).chain(at_tokens).flatten().collect();
                asked.iter().for_each(|proposals| self.expected.add(proposals));
            }
            Scope::Prompt => match at_prompt {
                Some(proposals) => self.proposals = proposals,
                None if self.is_routed() => bail!(
                    "the routers were not asked when the prompt was read, so they cannot decide from here on: run the \
                     prompt again, or give a program"
                ),
                None => {}
            },
        }
        Ok(())
    }

    /// Whether the prompt is left whole: it runs every layer, and routers are not asked there. The budget then caps the
    /// tokens that routers decide on, and the prompt none.
    fn leaves_prompt_whole(&self) -> bool {
        let prompt = self.routers.and_then(|router| router.info().prompt);
        self.settings.scope == Scope::Token && prompt == Some(PromptRouting::Full)
    }

    /// Whether the routers decide, rather than a program.
    pub fn routers(&self) -> Option<&RouterInfo> {
        self.routers.map(Router::info)
    }

    /// Whether the routers decide, rather than a program: layer by layer, or by whole programs that they propose.
    pub fn is_routed(&self) -> bool {
        matches!(self.kind, Kind::Routers | Kind::Programs(_))
    }

    /// The programs that were proposed for the prompt, best first, once it was asked.
    pub fn candidates(&self) -> &[CandidateProgram] {
        self.settled.as_ref().map_or(&[], |settled| &settled.candidates)
    }

    /// The probability that a segment of the proposed programs begins at each layer, once the prompt was asked.
    pub fn boundaries(&self) -> &[f32] {
        self.settled.as_ref().map_or(&[], |settled| &settled.boundaries)
    }

    /// The program of all tokens, where whole programs are proposed: asks for them, runs nothing of the prompt but what
    /// that takes. `None` where layers decide by themselves, or a program is given.
    ///
    /// # Errors
    /// [`Stopped`](super::sequence::Stopped), and those of the model.
    pub fn program_for(&mut self, sequence: &Sequence, ids: &[u32]) -> Result<Option<&Program>> {
        if let Kind::Programs(_) = self.kind {
            self.settle(sequence, ids)?;
        }
        Ok(self.settled.as_ref().map(|settled| &settled.program))
    }

    /// Has programs proposed for the prompt `ids`, and settles one.
    fn settle(&mut self, sequence: &Sequence, ids: &[u32]) -> Result<()> {
        let Kind::Programs(router) = self.kind else {
            return Ok(());
        };
        let check = || Ok(sequence.check_stop()?);
        let proposed = router.propose(sequence.decoder(), ids, self.settings.dial, &check)?;
        self.settled = Some(programs::settle(proposed, self.settings, self.layers)?);
        Ok(())
    }

    /// Whether the pins of some position need more than the budget.
    fn check_pins(&self) -> Result<()> {
        let Some(budget) = self.settings.budget else {
            return Ok(());
        };
        let base = |layer: usize| match &self.kind {
            Kind::Fixed(actions) => actions[layer].executions(),
            _ => 0,
        };
        // Pins change only where a range begins or ends.
        let edges = self
            .settings
            .pins
            .iter()
            .flat_map(|p| [*p.range().start(), p.range().end().saturating_add(1)]);
        for position in edges.chain([0]) {
            let depth = |l: usize| pinned(&self.settings.pins, l, position).map_or(base(l), Action::executions);
            let least: usize = (0..self.layers).map(depth).sum();
            ensure!(
                least <= budget,
                "the pins need a depth of at least {least} at position {position}, over the budget of {budget}: clear \
                 a pin or raise the budget"
            );
        }
        Ok(())
    }

    /// Whether a budget's program is the best one under the routers; `None` without a budget.
    pub fn budget_exact(&self, prompt_tokens: usize) -> Option<bool> {
        self.settings.budget?;
        if let Kind::Programs(_) = self.kind {
            return Some(false);
        }
        let one_program = (0..self.layers).all(|l| self.common_pin(l, 0, prompt_tokens).is_ok());
        Some(self.settings.scope == Scope::Prompt && one_program)
    }

    /// Runs the prompt, which is one chunk.
    pub fn prompt(&mut self, sequence: &mut Sequence, ids: &[u32]) -> Result<RoutedChunk> {
        if let Kind::Free(program) = &self.kind {
            return free(sequence, ids, program);
        }
        if let Kind::Programs(_) = self.kind {
            self.settle(sequence, ids)?;
        }
        if let Some(settled) = &self.settled {
            let logits = sequence.run_program(ids, &settled.program)?;
            return Ok(settled.chunk(logits));
        }
        self.check_damping(ids.len())?;
        let choices = self.choices(0, ids.len());
        let (asked, fixed) = match (&self.kind, self.leaves_prompt_whole()) {
            (Kind::Routers, true) => (None, Some(vec![Action::Execute; self.layers])),
            (_, true) => (None, self.fixed()),
            (_, false) => (self.asked(), self.fixed()),
        };
        let (mut logits, mut shared, proposals) = self.pass(sequence, ids, &choices, asked, fixed.as_deref())?;
        if !proposals.is_empty() {
            self.expected.add(&proposals);
        }
        self.proposals = proposals;
        if let (Some(budget), Kind::Routers, false) = (self.settings.budget, &self.kind, self.leaves_prompt_whole()) {
            let choices = with_proposals(&choices, &self.proposals);
            if cost(&choices, &shared) > budget {
                let best = within_budget(&choices, budget);
                let best = best.with_context(|| format!("the prompt's pins need more than the budget of {budget}"))?;
                sequence.clear();
                (logits, shared, _) = self.pass(sequence, ids, &choices, None, Some(&best))?;
            }
        }
        let decisions =
            (0..self.layers).map(|l| self.decision(shared[l], choices[l].pinned.is_some(), self.proposal(l)));
        Ok(RoutedChunk {
            logits,
            program: Program::from_damped_actions(&shared, |layer| self.damping(layer, 0)),
            decisions: decisions.collect(),
        })
    }

    /// One pass over the prompt: as `settled`, or as routers and dial propose, but for the pins.
    /// Returns the logits, the shared actions and what the routers proposed.
    fn pass(
        &self,
        sequence: &mut Sequence,
        ids: &[u32],
        choices: &[LayerConstraint],
        asked: Option<(&dyn Router, f64)>,
        settled: Option<&[Action]>,
    ) -> Result<(Tensor, Vec<Action>, Vec<Proposal>)> {
        let mut shared = Vec::with_capacity(self.layers);
        let mut proposals = Vec::with_capacity(self.layers);
        let logits = sequence.run_layers(ids, asked, |layer, proposal| {
            proposals.extend(proposal);
            let wanted = settled.map(|s| s[layer]).or(proposal.map(|w| w.action()));
            let action = choices[layer].pinned.or(wanted).unwrap_or(Action::Execute);
            shared.push(action);
            let actions = LayerActions {
                rows: self.rows(layer, action, 0, ids.len()),
                ..action.into()
            };
            self.damped(layer, 0..ids.len(), actions)
        })?;
        Ok((logits, shared, proposals))
    }

    /// Runs one generated token.
    pub fn token(&mut self, sequence: &mut Sequence, id: u32) -> Result<RoutedChunk> {
        if let Kind::Free(program) = &self.kind {
            return free(sequence, &[id], program);
        }
        if let Some(settled) = &self.settled {
            let logits = sequence.run_program(&[id], &settled.program)?;
            return Ok(settled.later_chunk(logits));
        }
        let by_token = matches!(self.kind, Kind::Routers) && self.settings.scope == Scope::Token;
        let position = sequence.len();
        let choices = self.choices(position, 1);
        let choices = match by_token {
            true => with_proposals(&choices, &self.expected.proposals()),
            false => with_proposals(&choices, &self.proposals),
        };
        let mut shared: Vec<Action> = Vec::with_capacity(self.layers);
        let mut proposals = Vec::with_capacity(self.layers);
        let logits = if by_token {
            let budget = self.settings.budget;
            let mut running = budget.and_then(|b| RunningBudget::new(&choices, b));
            let forced = choices.iter().map(|choice| choice.pinned);
            let values = running.as_ref().map(RunningBudget::values);
            match self.on_device(sequence, id, self.asked(), forced, values)? {
                Some(outcome) => {
                    shared = outcome.actions;
                    proposals = self.proposed(outcome.probabilities);
                    outcome.logits
                }
                None => sequence.run_layers(&[id], self.asked(), |layer, proposal| {
                    let proposal = proposal.unwrap_or(choices[layer].proposal);
                    proposals.push(proposal);
                    let choice = LayerConstraint {
                        proposal,
                        ..choices[layer]
                    };
                    let action = match &mut running {
                        Some(running) => running.next(&choice),
                        None => choice.pinned.unwrap_or(proposal.action()),
                    };
                    shared.push(action);
                    self.damped(layer, std::iter::once(position), action.into())
                })?,
            }
        } else {
            shared = self.frozen(&choices);
            let asked = self.asked().filter(|_| self.settings.shadow);
            let forced = shared.iter().copied().map(Some);
            let on_device = self.on_device(sequence, id, asked, forced, None)?;
            let (logits, asked) = match on_device {
                Some(outcome) => (outcome.logits, self.proposed(outcome.probabilities)),
                None => {
                    let actions = shared.iter().enumerate();
                    let actions: Vec<LayerActions> = actions
                        .map(|(l, action)| self.damped(l, std::iter::once(position), (*action).into()))
                        .collect();
                    sequence.run_settled(id, &actions, asked)?
                }
            };
            proposals = asked;
            logits
        };
        if by_token {
            self.expected.add(&proposals);
        }
        let decisions = (0..self.layers).map(|l| {
            let pinned = choices[l].pinned.is_some();
            let proposal = if by_token {
                proposals.get(l).copied()
            } else {
                self.proposal(l)
            };
            let mut decision = self.decision(shared[l], pinned, proposal);
            // What the routers say at this token, whoever settled it.
            decision.probs = proposals.get(l).map(|w| w.probs);
            decision.shadow = proposals.get(l).map(Proposal::action);
            decision
        });
        Ok(RoutedChunk {
            logits,
            program: Program::from_damped_actions(&shared, |layer| self.damping(layer, position)),
            decisions: decisions.collect(),
        })
    }

    /// Runs the tokens of several continuations after the prompt, in scope `token`, without keeping
    /// them: each is routed as if it had been generated. Returns the logits (rows, vocab_size) and
    /// each row's actions; rows are the first branch's tokens, then the second's, and so on.
    ///
    /// A budget expects of every row what the routers are expected to propose at the first token: of a row they say nothing
    /// before all others do.
    pub fn branches(&self, sequence: &mut Sequence, branches: &[&[u32]]) -> Result<(Tensor, Vec<Vec<Action>>)> {
        let from = sequence.len();
        let expected = self.expected.proposals();
        let positions = branches.iter().flat_map(|b| from..from + b.len());
        let choices: Vec<Vec<LayerConstraint>> = positions
            .clone()
            .map(|position| with_proposals(&self.choices(position, 1), &expected))
            .collect();
        let budget = self.settings.budget;
        let running = |choices: &Vec<LayerConstraint>| budget.and_then(|b| RunningBudget::new(choices, b));
        let mut running: Vec<Option<RunningBudget>> = choices.iter().map(running).collect();
        let mut actions = vec![Vec::with_capacity(self.layers); choices.len()];
        let logits = sequence.run_branches(branches, self.asked(), |layer, proposals| {
            for (row, actions) in actions.iter_mut().enumerate() {
                let known = choices[row][layer];
                let proposal = proposals.get(row).copied().unwrap_or(known.proposal);
                let choice = LayerConstraint { proposal, ..known };
                actions.push(match &mut running[row] {
                    Some(running) => running.next(&choice),
                    None => choice.pinned.unwrap_or(proposal.action()),
                });
            }
            let rows = LayerActions {
                rows: Some(actions.iter().map(|a| a[layer]).collect()),
                ..Action::Execute.into()
            };
            self.damped(layer, positions.clone(), rows)
        })?;
        Ok((logits, actions))
    }

    /// Runs a token in one launch of a GPU, where that can be. `values` are those of a running budget.
    fn on_device(
        &self,
        sequence: &mut Sequence,
        id: u32,
        routers: Option<(&dyn Router, f64)>,
        forced: impl Iterator<Item = Option<Action>>,
        values: Option<&[Vec<f64>]>,
    ) -> Result<Option<TokenOutcome>> {
        if sequence.decoder().persistent().is_none() {
            return Ok(None);
        }
        let (dial, position) = (self.settings.dial, sequence.len());
        let rules = TokenRules {
            forced: forced.collect(),
            dial,
            budget: values,
            dampings: (0..self.layers).map(|layer| self.damping(layer, position)).collect(),
        };
        sequence.run_token(id, routers.map(|(routers, _)| routers), &rules)
    }

    fn proposed(&self, probabilities: Vec<[f32; 3]>) -> Vec<Proposal> {
        let dial = self.settings.dial;
        probabilities
            .into_iter()
            .map(|probs| Proposal::new(probs, dial))
            .collect()
    }

    /// The actions of a token when its decisions are known beforehand.
    fn frozen(&self, choices: &[LayerConstraint]) -> Vec<Action> {
        let base = |l: usize| match &self.kind {
            Kind::Fixed(actions) => actions[l],
            _ => choices[l].proposal.action(),
        };
        let actions: Vec<Action> = (0..self.layers).map(|l| choices[l].pinned.unwrap_or(base(l))).collect();
        match (self.settings.budget, &self.kind) {
            (Some(budget), Kind::Routers) if cost(choices, &actions) > budget => {
                within_budget(choices, budget).unwrap_or(actions)
            }
            _ => actions,
        }
    }

    fn fixed(&self) -> Option<Vec<Action>> {
        match &self.kind {
            Kind::Fixed(actions) => Some(actions.clone()),
            _ => None,
        }
    }

    fn asked(&self) -> Option<(&'a dyn Router, f64)> {
        self.routers.map(|routers| (routers, self.settings.dial))
    }

    fn proposal(&self, layer: usize) -> Option<Proposal> {
        self.proposals.get(layer).copied()
    }

    fn decision(&self, action: Action, pinned: bool, proposal: Option<Proposal>) -> Decision {
        let mut decision = match proposal {
            Some(proposal) => proposal.decision(action, pinned),
            None => Decision {
                action,
                by: DecidedBy::Program,
                probs: None,
                shadow: None,
            },
        };
        if pinned {
            decision.by = DecidedBy::Pin;
        } else if let Kind::Fixed(_) = &self.kind {
            decision.by = DecidedBy::Program;
        }
        decision
    }

    /// The pin that all of `tokens` positions from `from` on share, if any; `Err` with the greatest
    /// pinned depth where they differ.
    fn common_pin(&self, layer: usize, from: usize, tokens: usize) -> Result<Option<Action>, usize> {
        let pin = |position| pinned(&self.settings.pins, layer, position);
        let first = pin(from);
        if (from..from + tokens).all(|p| pin(p) == first) {
            return Ok(first);
        }
        let depths = (from..from + tokens).filter_map(pin).map(Action::executions);
        Err(depths.max().unwrap_or_default())
    }

    /// What each layer may do in a chunk; the proposals are filled in when they are known.
    fn choices(&self, from: usize, tokens: usize) -> Vec<LayerConstraint> {
        let nothing = Proposal::new([0.0, 1.0, 0.0], -0.5);
        let choice = |layer| {
            let (pinned, least_cost) = match self.common_pin(layer, from, tokens) {
                Ok(pin) => (pin, 0),
                Err(depth) => (None, depth),
            };
            LayerConstraint {
                proposal: nothing,
                pinned,
                least_cost,
            }
        };
        (0..self.layers).map(choice).collect()
    }

    /// Whether some pin damps a repeat.
    fn damps(&self) -> bool {
        self.settings.pins.iter().any(|pin| pin.damping != Damping::NONE)
    }

    /// How a layer's second execution is damped at a position.
    fn damping(&self, layer: usize, position: usize) -> Damping {
        pin_at(&self.settings.pins, layer, position).map_or(Damping::NONE, |pin| pin.damping)
    }

    /// `actions` of the tokens at `positions`, as pins damp them.
    fn damped(&self, layer: usize, positions: impl Iterator<Item = usize>, actions: LayerActions) -> LayerActions {
        match self.damps() {
            true => actions.damped(positions.map(|position| self.damping(layer, position)).collect()),
            false => actions,
        }
    }

    /// The tokens of a prompt share a program, which says how it is damped.
    fn check_damping(&self, tokens: usize) -> Result<()> {
        let layers = if self.damps() { self.layers } else { 0 };
        for layer in 0..layers {
            let first = self.damping(layer, 0);
            ensure!(
                (0..tokens).all(|position| self.damping(layer, position) == first),
                "layer {layer} is pinned to damped repeats at some tokens of the prompt: pin it for the whole prompt \
                 (positions 0 to {}), or from the answer on (from {tokens})",
                tokens.saturating_sub(1)
            );
        }
        Ok(())
    }

    /// What each token of a chunk does at a layer, where pins make them differ.
    fn rows(&self, layer: usize, shared: Action, from: usize, tokens: usize) -> Option<Vec<Action>> {
        self.common_pin(layer, from, tokens).err()?;
        let action = |position| pinned(&self.settings.pins, layer, position).unwrap_or(shared);
        Some((from..from + tokens).map(action).collect())
    }
}

/// What is expected of routers that were not asked yet: that all are as sure to execute, but for those that say the same
/// of every state.
fn unknown(routers: Option<&dyn Router>, dial: f64, layers: usize) -> Vec<Proposal> {
    const EXECUTES: [f32; 3] = [0.1, 0.9, 0.0];
    let constant = |layer: usize| routers.and_then(|router| router.constant(layer));
    (0..layers)
        .map(|layer| Proposal::new(constant(layer).unwrap_or(EXECUTES), dial))
        .collect()
}

fn with_proposals(choices: &[LayerConstraint], proposals: &[Proposal]) -> Vec<LayerConstraint> {
    let mut choices = choices.to_vec();
    for (choice, proposal) in choices.iter_mut().zip(proposals) {
        choice.proposal = *proposal;
    }
    choices
}

/// The greatest depth of a token of the chunk.
fn cost(choices: &[LayerConstraint], actions: &[Action]) -> usize {
    choices
        .iter()
        .zip(actions)
        .map(|(c, a)| a.executions().max(c.least_cost))
        .sum()
}

/// A program in any order: nobody else has a say.
fn free(sequence: &mut Sequence, ids: &[u32], program: &Program) -> Result<RoutedChunk> {
    let layers = sequence.layers();
    let logits = sequence.run_program(ids, program)?;
    let decision = |n| Decision {
        action: Action::from_executions(n),
        by: DecidedBy::Program,
        probs: None,
        shadow: None,
    };
    Ok(RoutedChunk {
        logits,
        program: program.clone(),
        decisions: program.executions(layers).into_iter().map(decision).collect(),
    })
}

#[cfg(all(test, target_os = "linux"))]
mod device_tests;
#[cfg(test)]
mod tests;
