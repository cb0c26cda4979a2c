//! Two runs held against each other: where their texts part, which decisions differ, what it cost.

use super::run::Run;
use crate::program::Action;

/// How a layer was decided in both runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerChange {
    /// At the prompt.
    pub before: Action,
    pub after: Action,
    /// Share of the tokens both runs have at which the layer's action differs, 0 to 1.
    pub share: f64,
}

impl LayerChange {
    pub fn at_prompt(&self) -> bool {
        self.before != self.after
    }
}

/// What can be said of one run in a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totals {
    pub tokens: usize,
    pub mean_depth: f64,
    pub tokens_per_second: Option<f64>,
    /// Shares of skip, execute and repeat over the answer.
    pub shares: [f64; 3],
}

/// A comparison of two runs; the second one is the later.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The first generated token that differs, counted from 0; also where one run ends earlier.
    pub diverges: Option<usize>,
    pub same_prompt: bool,
    /// One a layer; none where the models have different numbers of layers.
    pub layers: Vec<LayerChange>,
    pub before: Totals,
    pub after: Totals,
}

impl Comparison {
    pub fn new(before: &Run, after: &Run) -> Comparison {
        let ids = |run: &Run| run.trace.header.prompt.iter().map(|t| t.id).collect::<Vec<_>>();
        Comparison {
            diverges: diverges(before, after),
            same_prompt: ids(before) == ids(after),
            layers: layers(before, after),
            before: totals(before),
            after: totals(after),
        }
    }

    /// Layers with another action at the prompt.
    pub fn changed_at_prompt(&self) -> usize {
        self.layers.iter().filter(|l| l.at_prompt()).count()
    }
}

fn diverges(before: &Run, after: &Run) -> Option<usize> {
    let (a, b) = (before.steps(), after.steps());
    let parted = a.iter().zip(b).position(|(a, b)| a.id != b.id);
    // A run that still goes on has not ended earlier.
    let ended = |run: &Run| !run.is_running();
    let shorter = match a.len().cmp(&b.len()) {
        std::cmp::Ordering::Less => ended(before).then_some(a.len()),
        std::cmp::Ordering::Greater => ended(after).then_some(b.len()),
        std::cmp::Ordering::Equal => None,
    };
    parted.or(shorter)
}

fn layers(before: &Run, after: &Run) -> Vec<LayerChange> {
    if before.layers() != after.layers() {
        return Vec::new();
    }
    let prompts = before.trace.header.decisions.iter().zip(&after.trace.header.decisions);
    let common = before.steps().len().min(after.steps().len());
    let differs = |layer: usize| {
        let steps = before.steps().iter().zip(after.steps());
        let action = |decisions: &[crate::engine::Decision]| decisions.get(layer).map(|d| d.action);
        steps
            .filter(|(a, b)| action(&a.decisions) != action(&b.decisions))
            .count()
    };
    prompts
        .enumerate()
        .map(|(layer, (a, b))| LayerChange {
            before: a.action,
            after: b.action,
            share: differs(layer) as f64 / common.max(1) as f64,
        })
        .collect()
}

fn totals(run: &Run) -> Totals {
    Totals {
        tokens: run.steps().len(),
        mean_depth: run.mean_depth(),
        tokens_per_second: run.tokens_per_second(),
        shares: Action::ALL.map(|a| run.share_of(a)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;
    use crate::tui::run::{Origin, Progress};

    fn run(edit: impl FnOnce(&mut Run)) -> Run {
        let trace = fixture::trace(7, 12);
        let mut run = Run::started(1, Origin::Live, None, trace.header.clone());
        run.trace = trace;
        run.progress = Progress::Finished;
        edit(&mut run);
        run
    }

    #[test]
    fn a_run_does_not_differ_from_itself() {
        let comparison = Comparison::new(&run(|_| {}), &run(|_| {}));
        assert_eq!(comparison.diverges, None);
        assert!(comparison.same_prompt);
        assert_eq!(comparison.changed_at_prompt(), 0);
        assert!(comparison.layers.iter().all(|l| l.share == 0.0));
        assert_eq!(comparison.before, comparison.after);
    }

    #[test]
    fn texts_part_at_the_first_other_token_or_at_an_end() {
        let other = run(|r| r.trace.steps[4].id += 1);
        assert_eq!(Comparison::new(&run(|_| {}), &other).diverges, Some(4));
        let shorter = run(|r| r.trace.steps.truncate(9));
        assert_eq!(Comparison::new(&run(|_| {}), &shorter).diverges, Some(9));
        let running = run(|r| {
            r.trace.steps.truncate(9);
            r.progress = Progress::Running;
        });
        assert_eq!(Comparison::new(&run(|_| {}), &running).diverges, None);
    }

    #[test]
    fn changed_decisions_are_counted_by_layer() {
        let was = run(|_| {}).trace.header.decisions[3].action;
        let to = if was == Action::Skip {
            Action::Execute
        } else {
            Action::Skip
        };
        let other = run(|r| {
            r.trace.header.decisions[3].action = to;
            for (i, step) in r.trace.steps.iter_mut().enumerate() {
                let action = &mut step.decisions[5].action;
                if i % 2 == 0 {
                    *action = if *action == Action::Repeat {
                        Action::Skip
                    } else {
                        Action::Repeat
                    };
                }
            }
        });
        let comparison = Comparison::new(&run(|_| {}), &other);
        assert_eq!(comparison.changed_at_prompt(), 1);
        assert_eq!((comparison.layers[3].before, comparison.layers[3].after), (was, to));
        assert_eq!(comparison.layers[5].share, 0.5);
    }
}
