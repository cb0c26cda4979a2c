//! Two runs of the screen held against each other, see [`crate::engine::diff`].

use super::run::Run;
pub use crate::engine::diff::{Comparison, LayerChange, Side, Totals};

/// Of a run as much as is shown.
impl<'a> From<&'a Run> for Side<'a> {
    fn from(run: &'a Run) -> Side<'a> {
        Side {
            header: &run.trace.header,
            steps: run.steps(),
            ended: !run.is_running(),
            tokens_per_second: run.tokens_per_second(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Action;
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
