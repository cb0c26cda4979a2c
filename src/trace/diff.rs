//! Two runs held against each other: where their texts part, which decisions differ, what it cost.
//! The screen and `drllm-tui diff` say the same of them.

pub mod cells;
pub mod fields;

use serde::Serialize;

use crate::program::Action;
use crate::trace::{Decision, Header, Step, Trace};

/// A run, as much of it as is compared.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What was settled before the first token.
    pub header: &'a Header,
    /// The generated tokens so far.
    pub steps: &'a [Step],
    /// Whether no more steps will come.
    pub ended: bool,
    /// Of the answer.
    pub tokens_per_second: Option<f64>,
}

impl<'a> From<&'a Trace> for Side<'a> {
    fn from(trace: &'a Trace) -> Side<'a> {
        let ms: f64 = trace.steps.iter().map(|s| s.ms).sum();
        let summary = trace.summary.as_ref().map(|s| s.decode_tokens_per_second);
        let speed = summary.unwrap_or(trace.steps.len() as f64 * 1e3 / ms);
        Side {
            header: &trace.header,
            steps: &trace.steps,
            ended: true,
            tokens_per_second: Some(speed).filter(|s| s.is_finite() && *s > 0.0),
        }
    }
}

impl Side<'_> {
    /// Number of layers of the model.
    pub fn layers(&self) -> usize {
        self.header.model.layers
    }

    fn same_prompt(&self, other: &Side) -> bool {
        let ids = |side: &Side| side.header.prompt.iter().map(|t| t.id).collect::<Vec<_>>();
        ids(self) == ids(other)
    }
}

/// How a layer was decided in both runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerChange {
    /// At the prompt.
    pub before: Action,
    /// See `before`.
    pub after: Action,
    /// Share of the tokens both runs have at which the layer's action differs, 0 to 1.
    pub share: f64,
}

impl LayerChange {
    /// Whether the action at the prompt differs.
    pub fn at_prompt(&self) -> bool {
        self.before != self.after
    }
}

/// What can be said of one run in a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Totals {
    /// Of the answer.
    pub tokens: usize,
    /// Block executions a token.
    pub mean_depth: f64,
    /// As measured, of the answer.
    pub tokens_per_second: Option<f64>,
    /// Shares of skip, execute and repeat over the answer; over the prompt where there is none.
    pub shares: [f64; 3],
}

/// A comparison of two runs; the second one is the later.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The first generated token that differs, counted from 0; also where one run ends earlier.
    pub diverges: Option<usize>,
    /// Whether both prompts have the same tokens.
    pub same_prompt: bool,
    /// One a layer; none where the models have different numbers of layers.
    pub layers: Vec<LayerChange>,
    /// The earlier run.
    pub before: Totals,
    /// The later run.
    pub after: Totals,
}

impl Comparison {
    /// Compares two runs, which may still be under way.
    pub fn new<'a>(before: impl Into<Side<'a>>, after: impl Into<Side<'a>>) -> Comparison {
        let (before, after) = (before.into(), after.into());
        Comparison {
            diverges: diverges(before, after),
            same_prompt: before.same_prompt(&after),
            layers: layers(before, after),
            before: totals(before),
            after: totals(after),
        }
    }

    /// Layers whose action at the prompt is the same and whose second execution was damped otherwise.
    pub fn damped_otherwise<'a>(before: impl Into<Side<'a>>, after: impl Into<Side<'a>>) -> usize {
        let (before, after) = (before.into(), after.into());
        let layers = before.layers();
        let of = |side: &Side| side.header.program.to_damped_actions(layers);
        let (Some((actions, a)), Some((others, b))) = (of(&before), of(&after)) else {
            return 0;
        };
        (0..layers.min(after.layers()))
            .filter(|&l| actions[l] == others[l] && a[l] != b[l])
            .count()
    }

    /// Layers with another action at the prompt.
    pub fn changed_at_prompt(&self) -> usize {
        self.layers.iter().filter(|l| l.at_prompt()).count()
    }
}

fn diverges(before: Side, after: Side) -> Option<usize> {
    let (a, b) = (before.steps, after.steps);
    let parted = a.iter().zip(b).position(|(a, b)| a.id != b.id);
    // A run that still goes on has not ended earlier.
    let shorter = match a.len().cmp(&b.len()) {
        std::cmp::Ordering::Less => before.ended.then_some(a.len()),
        std::cmp::Ordering::Greater => after.ended.then_some(b.len()),
        std::cmp::Ordering::Equal => None,
    };
    parted.or(shorter)
}

fn layers(before: Side, after: Side) -> Vec<LayerChange> {
    if before.layers() != after.layers() {
        return Vec::new();
    }
    let prompts = before.header.decisions.iter().zip(&after.header.decisions);
    let common = before.steps.len().min(after.steps.len());
    let differs = |layer: usize| {
        let steps = before.steps.iter().zip(after.steps);
        let action = |decisions: &[Decision]| decisions.get(layer).map(|d| d.action);
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

fn totals(side: Side) -> Totals {
    let mut counts = [0usize; 3];
    let mut add = |decisions: &[Decision]| decisions.iter().for_each(|d| counts[d.action.executions()] += 1);
    let mean_depth = match side.steps {
        [] => {
            add(&side.header.decisions);
            side.header.program.depth() as f64
        }
        steps => {
            steps.iter().for_each(|s| add(&s.decisions));
            steps.iter().map(|s| s.depth as f64).sum::<f64>() / steps.len() as f64
        }
    };
    let all = counts.iter().sum::<usize>().max(1) as f64;
    Totals {
        tokens: side.steps.len(),
        mean_depth,
        tokens_per_second: side.tokens_per_second,
        shares: counts.map(|n| n as f64 / all),
    }
}

/// What a run cost: block executions as its programs plan them, and the time that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Block executions of all prompt tokens, of all answer tokens.
    pub prompt_blocks: usize,
    /// See `prompt_blocks`.
    pub answer_blocks: usize,
    /// Milliseconds of reading the prompt.
    pub prompt_ms: f64,
    /// Sum over the steps.
    pub answer_ms: f64,
}

impl Cost {
    /// What a run cost so far.
    pub fn of<'a>(side: impl Into<Side<'a>>) -> Cost {
        let side = side.into();
        let sum = |depths: &mut dyn Iterator<Item = usize>| depths.fold(0, usize::saturating_add);
        Cost {
            prompt_blocks: sum(&mut (0..side.header.prompt.len()).filter_map(|p| side.header.depth(p))),
            answer_blocks: sum(&mut side.steps.iter().map(|s| s.depth)),
            prompt_ms: side.header.prefill_ms,
            answer_ms: side.steps.iter().map(|s| s.ms).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    #[test]
    fn a_trace_is_a_run_that_has_ended() {
        let long = fixture::trace(7, 12);
        let mut short = long.clone();
        short.steps.truncate(9);
        short.summary = None;
        let comparison = Comparison::new(&short, &long);
        assert_eq!((comparison.diverges, comparison.same_prompt), (Some(9), true));
        assert_eq!((comparison.before.tokens, comparison.after.tokens), (9, 12));
        let ms: f64 = short.steps.iter().map(|s| s.ms).sum();
        assert!((comparison.before.tokens_per_second.unwrap() - 9000.0 / ms).abs() < 1e-9);
        assert_eq!(comparison.after.tokens_per_second, Some(43.7));
        assert!((comparison.after.shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn blocks_are_planned_and_milliseconds_measured() {
        let mut trace = fixture::trace(7, 3);
        let depth = trace.header.program.depth();
        let twice = trace.header.decisions[0].action != Action::Repeat;
        assert!(twice, "the fixture does not repeat layer 0");
        let once = trace.header.decisions[0].action.executions();
        trace.header.prompt[2].pinned = vec![(0, Action::Repeat)];
        let cost = Cost::of(&trace);
        assert_eq!(cost.prompt_blocks, trace.header.prompt.len() * depth + 2 - once);
        assert_eq!(cost.answer_blocks, 3 * depth);
        assert_eq!(cost.prompt_ms, 84.2);
        assert!(cost.answer_ms > 60.0);
    }
}
