//! The one place where decisions are settled: router < dial < budget < pin.

use crate::program::Action;
use crate::trace::{DecidedBy, Decision, argmax};

/// Mixes the router's distribution with pure skip, execute or repeat, as Dr.LLM's code does
/// (spec §3). `dial` in −1..=1; −0.5 is the router itself, 0.5 always execute.
pub fn dial(probs: [f32; 3], dial: f64) -> [f32; 3] {
    let pure = |action: Action| -> [f32; 3] { std::array::from_fn(|i| f32::from(u8::from(i == action as usize))) };
    let mix = |t: f64, from: [f32; 3], to: [f32; 3]| -> [f32; 3] {
        std::array::from_fn(|i| ((1.0 - t) * f64::from(from[i]) + t * f64::from(to[i])) as f32)
    };
    let mixed = if dial <= -0.5 {
        mix((dial + 1.0) / 0.5, pure(Action::Skip), probs)
    } else if dial <= 0.5 {
        mix(dial + 0.5, probs, pure(Action::Execute))
    } else {
        mix((dial - 0.5) / 0.5, pure(Action::Execute), pure(Action::Repeat))
    };
    let sum: f32 = mixed.iter().sum();
    mixed.map(|p| p / sum)
}

/// How far the log-odds of execute against skip must stand above 0 for a layer to run at a position of the dial, where
/// p(repeat) is 0: ln(p_execute / p_skip) > offset. From −0.75 (never, +∞) over −0.5 (0, the router itself) to 0
/// (always, −∞) the dial is this offset in another scale.
///
/// It follows from [`dial`]: below −0.5, t·p_execute > 1 − t·p_execute with t = 2(dial + 1), so that the odds exceed
/// 1/(2t − 1); above, (1 − t)(2·p_execute − 1) > −t with t = dial + 0.5, so that they exceed 1 − 2t.
pub fn offset_of_dial(dial: f64) -> f64 {
    if dial <= -0.5 {
        -(4.0 * dial + 3.0).max(0.0).ln()
    } else {
        (-2.0 * dial).max(0.0).ln()
    }
}

/// The dial at which a layer runs where its log-odds exceed `offset`, see [`offset_of_dial`].
pub fn dial_of_offset(offset: f64) -> f64 {
    if offset >= 0.0 {
        ((-offset).exp() - 3.0) / 4.0
    } else {
        -offset.exp() / 2.0
    }
}

/// What router and dial want at a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// The router's distribution.
    pub probs: [f32; 3],
    /// The distribution after the dial.
    pub dialled: [f32; 3],
}

impl Proposal {
    /// What a router with the distribution `probs` wants at a position of the dial.
    pub fn new(probs: [f32; 3], position: f64) -> Self {
        Proposal {
            probs,
            dialled: dial(probs, position),
        }
    }

    /// What router and dial alone would do.
    pub fn action(&self) -> Action {
        argmax(self.dialled)
    }

    /// Records that `action` was carried out, and who settled it.
    pub fn decision(&self, action: Action, pinned: bool) -> Decision {
        let by = if pinned {
            DecidedBy::Pin
        } else if action != self.action() {
            DecidedBy::Budget
        } else if action != argmax(self.probs) {
            DecidedBy::Dial
        } else {
            DecidedBy::Router
        };
        Decision {
            action,
            by,
            probs: Some(self.probs),
            shadow: Some(self.action()),
        }
    }

    fn log(&self, action: Action) -> f64 {
        f64::from(self.dialled[action as usize]).max(1e-30).ln()
    }
}

/// What routers that are asked at every token are expected to say of the next one: the mean of their dialled
/// log-probabilities over the chunks so far. One token's proposals are a poor guess of the next one's.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Sums over the chunks, one a layer.
    sums: Vec<[f64; 3]>,
    chunks: usize,
    /// What is expected before the first chunk.
    before: Vec<Proposal>,
}

impl Expectation {
    /// One of `before` a layer.
    pub fn new(before: Vec<Proposal>) -> Self {
        Expectation {
            sums: vec![[0.0; 3]; before.len()],
            chunks: 0,
            before,
        }
    }

    /// A chunk's proposals, one a layer.
    pub fn add(&mut self, proposals: &[Proposal]) {
        for (sum, proposal) in self.sums.iter_mut().zip(proposals) {
            for (sum, action) in sum.iter_mut().zip(Action::ALL) {
                *sum += proposal.log(action);
            }
        }
        self.chunks += 1;
    }

    /// As proposals, whose probabilities need not sum to 1.
    pub fn proposals(&self) -> Vec<Proposal> {
        if self.chunks == 0 {
            return self.before.clone();
        }
        let mean = |sum: &[f64; 3]| sum.map(|sum| (sum / self.chunks as f64).exp() as f32);
        let proposal = |probabilities: [f32; 3]| Proposal {
            probs: probabilities,
            dialled: probabilities,
        };
        self.sums.iter().map(mean).map(proposal).collect()
    }
}

/// What a layer may do under a budget, and what each choice costs.
#[derive(Clone, Copy, Debug)]
pub struct LayerConstraint {
    /// What router and dial want there.
    pub proposal: Proposal,
    /// The user's decision, which stands.
    pub pinned: Option<Action>,
    /// Depth that the layer costs even where the shared action is less: pins of single tokens.
    pub least_cost: usize,
}

impl LayerConstraint {
    fn cost(&self, action: Action) -> usize {
        action.executions().max(self.least_cost)
    }

    fn allowed(&self) -> impl Iterator<Item = Action> + '_ {
        Action::ALL.into_iter().filter(|a| self.pinned.is_none_or(|p| p == *a))
    }
}

/// Best sums of log-probabilities: entry [l][b] is that of layers l.. with b executions left, −∞
/// where pins need more.
fn best_values(choices: &[LayerConstraint], budget: usize) -> Vec<Vec<f64>> {
    let mut values = vec![vec![0.0; budget + 1]];
    for choice in choices.iter().rev() {
        let next = values.last().expect("starts with one row");
        let value = |left: usize| {
            let worth = |a: Action| match left.checked_sub(choice.cost(a)) {
                Some(rest) => choice.proposal.log(a) + next[rest],
                None => f64::NEG_INFINITY,
            };
            choice.allowed().map(worth).fold(f64::NEG_INFINITY, f64::max)
        };
        values.push((0..=budget).map(value).collect());
    }
    values.reverse();
    values
}

/// The actions of greatest summed log-probability whose depth keeps to `budget`: a knapsack over
/// layers × depth (spec §3). `None` where the pins alone need more.
pub fn within_budget(choices: &[LayerConstraint], budget: usize) -> Option<Vec<Action>> {
    let values = best_values(choices, budget);
    let mut left = budget;
    let mut actions = Vec::with_capacity(choices.len());
    for (layer, choice) in choices.iter().enumerate() {
        let action = next_action(choice, &values[layer + 1], left)?;
        left -= choice.cost(action);
        actions.push(action);
    }
    Some(actions)
}

/// The best action at a layer with `left` executions to spend, given what is left is worth after.
fn next_action(choice: &LayerConstraint, after: &[f64], left: usize) -> Option<Action> {
    let worth = |a: Action| {
        let rest = left.checked_sub(choice.cost(a))?;
        let value = choice.proposal.log(a) + after[rest];
        (value > f64::NEG_INFINITY).then_some((value, a))
    };
    let options = choice.allowed().filter_map(worth);
    options
        .reduce(|best, option| if option.0 > best.0 { option } else { best })
        .map(|(_, a)| a)
}

/// Settles layers one after the other within a budget, before later layers' routers are asked: an
/// expected distribution stands in for theirs. The budget holds whatever they then say; the program
/// is the best one only as far as the expectation was right.
pub struct RunningBudget {
    /// Values after each layer, by what is left.
    values: Vec<Vec<f64>>,
    left: usize,
    layer: usize,
}

impl RunningBudget {
    /// `expected`: a choice for each layer, the proposal being a guess. `None` where pins need more
    /// than the budget.
    pub fn new(expected: &[LayerConstraint], budget: usize) -> Option<Self> {
        let values = best_values(expected, budget);
        (values[0][budget] > f64::NEG_INFINITY).then_some(RunningBudget {
            values,
            left: budget,
            layer: 0,
        })
    }

    /// What the layers from a row on are worth with so many executions left, (layers + 1, budget + 1).
    pub fn values(&self) -> &[Vec<f64>] {
        &self.values
    }

    /// The action of the next layer, now that its router has spoken.
    pub fn next(&mut self, choice: &LayerConstraint) -> Action {
        self.layer += 1;
        let action = next_action(choice, &self.values[self.layer], self.left);
        let action = action.expect("the layers' pins were counted in `new`, and `left` follows a feasible path");
        self.left -= choice.cost(action);
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: [f32; 3], b: [f32; 3]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    #[test]
    fn dial_positions() {
        let router = [0.2, 0.5, 0.3];
        assert!(close(dial(router, -1.0), [1.0, 0.0, 0.0]));
        assert!(close(dial(router, -0.75), [0.6, 0.25, 0.15]));
        assert!(close(dial(router, -0.5), router));
        assert!(close(dial(router, 0.0), [0.1, 0.75, 0.15]));
        assert!(close(dial(router, 0.5), [0.0, 1.0, 0.0]));
        assert!(close(dial(router, 0.75), [0.0, 0.5, 0.5]));
        assert!(close(dial(router, 1.0), [0.0, 0.0, 1.0]));
    }

    #[test]
    fn of_two_classes_the_dial_is_an_offset_on_the_log_odds() {
        assert_eq!(offset_of_dial(-0.5), 0.0);
        assert_eq!(dial_of_offset(0.0), -0.5);
        assert_eq!(
            (offset_of_dial(-0.75), offset_of_dial(-1.0)),
            (f64::INFINITY, f64::INFINITY)
        );
        assert_eq!(
            (offset_of_dial(0.0), offset_of_dial(0.7)),
            (f64::NEG_INFINITY, f64::NEG_INFINITY)
        );
        let mut before = f64::INFINITY;
        for step in 1..150 {
            let position = -0.75 + 0.005 * f64::from(step);
            let offset = offset_of_dial(position);
            assert!(offset < before, "the dial {position} is the offset {offset}");
            before = offset;
            assert!((dial_of_offset(offset) - position).abs() < 1e-12);
            // Log-odds beside the threshold, as far as f32 tells them apart.
            for above in [-3.0, -0.1, -0.01, 0.01, 0.1, 3.0] {
                let z = offset + above;
                let execute = 1.0 / (1.0 + (-z).exp());
                let proposal = Proposal::new([(1.0 - execute) as f32, execute as f32, 0.0], position);
                assert_eq!(
                    proposal.action() == Action::Execute,
                    z > offset,
                    "z {z}, offset {offset}"
                );
            }
        }
    }

    #[test]
    fn a_class_of_no_probability_stays_finite() {
        let proposal = Proposal::new([0.3, 0.7, 0.0], -0.6);
        assert!(Action::ALL.into_iter().all(|a| proposal.log(a).is_finite()));
        let mut expected = Expectation::new(vec![proposal]);
        assert_eq!(expected.proposals(), [proposal]);
        for skip in [0.9, 0.1] {
            expected.add(&[Proposal::new([skip, 1.0 - skip, 0.0], -0.5)]);
        }
        let [skip, execute, repeat] = expected.proposals()[0].dialled;
        assert!(
            (skip - 0.3).abs() < 1e-6 && (execute - 0.3).abs() < 1e-6,
            "their geometric mean"
        );
        assert!(repeat > 0.0 && repeat < 1e-20);
    }

    #[test]
    fn provenance_names_the_last_to_change_it() {
        let decided = |p: f64, action, pinned| Proposal::new([0.6, 0.3, 0.1], p).decision(action, pinned).by;
        assert_eq!(decided(-0.5, Action::Skip, false), DecidedBy::Router);
        assert_eq!(decided(0.2, Action::Execute, false), DecidedBy::Dial);
        assert_eq!(decided(-0.5, Action::Execute, false), DecidedBy::Budget);
        assert_eq!(decided(-0.5, Action::Skip, true), DecidedBy::Pin);
    }

    fn choices() -> impl Strategy<Value = Vec<LayerConstraint>> {
        let choice = (0.01f32..1.0, 0.01f32..1.0, 0.01f32..1.0, 0usize..8).prop_map(|(a, b, c, pin)| {
            let sum = a + b + c;
            LayerConstraint {
                proposal: Proposal::new([a / sum, b / sum, c / sum], -0.5),
                pinned: Action::ALL.get(pin).copied(),
                least_cost: 0,
            }
        });
        proptest::collection::vec(choice, 1..7)
    }

    fn depth(actions: &[Action]) -> usize {
        actions.iter().map(|a| a.executions()).sum()
    }

    fn worth(choices: &[LayerConstraint], actions: &[Action]) -> f64 {
        choices.iter().zip(actions).map(|(c, a)| c.proposal.log(*a)).sum()
    }

    proptest! {
        #[test]
        fn the_knapsack_is_the_best_of_all(choices in choices(), budget in 0usize..14) {
            let all = (0..3usize.pow(choices.len() as u32)).map(|mut code| {
                let mut digit = || { let d = code % 3; code /= 3; Action::ALL[d] };
                choices.iter().map(|_| digit()).collect::<Vec<_>>()
            });
            let legal = all.filter(|actions| {
                depth(actions) <= budget
                    && choices.iter().zip(actions).all(|(c, a)| c.pinned.is_none_or(|p| p == *a))
            });
            let best = legal.map(|a| worth(&choices, &a)).reduce(f64::max);
            let found = within_budget(&choices, budget);
            prop_assert_eq!(found.is_some(), best.is_some());
            if let (Some(found), Some(best)) = (found, best) {
                prop_assert!(depth(&found) <= budget);
                prop_assert!((worth(&choices, &found) - best).abs() < 1e-9);
            }
        }

        #[test]
        fn a_running_budget_is_never_exceeded(expected in choices(), seed in 0u64..1000, budget in 0usize..14) {
            let Some(mut running) = RunningBudget::new(&expected, budget) else { return Ok(()); };
            let mut actions = Vec::new();
            for (i, choice) in expected.iter().enumerate() {
                // What the router really says differs from what was expected.
                let skew = ((seed >> i) & 1) as f32;
                let proposal = Proposal::new([0.1 + 0.8 * skew, 0.1, 0.8 - 0.8 * skew], -0.5);
                actions.push(running.next(&LayerConstraint { proposal, ..*choice }));
                prop_assert!(choice.pinned.is_none_or(|p| p == actions[i]));
            }
            prop_assert!(depth(&actions) <= budget);
        }
    }
}
