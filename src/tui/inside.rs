//! Dialogs that look into a run: inside one token, at the decisions that could be flipped, at the
//! tokens that could stand there instead. What they show is asked of the worker when it is wanted.

use super::line_edit::LineEdit;
use super::run::Run;
use crate::engine::{AskId, Divergence, Flip, Followed, Inspection, InspectionResult, Intervention, RunId};
use crate::program::Action;
use crate::text::escape_controls;
use crate::trace::{DecidedBy, Decision};

/// Tokens named at each stage, and in a list of what comes next.
pub const TOP: usize = 12;

/// Likeliest next tokens that can be followed over the layers.
pub const FOLLOWED: usize = 5;

/// Most decisions in the list of those to flip.
pub const MOST_FLIPS: usize = 200;

/// Something asked of the worker.
#[derive(Clone, Debug, PartialEq)]
pub enum PendingQuestion<T> {
    /// The worker has not answered this question yet.
    Waiting(AskId),
    /// The answer.
    Here(T),
    /// Why there is no answer.
    Refused(String),
}

impl<T> PendingQuestion<T> {
    /// Why there is nothing to tell of an answer yet.
    pub fn told(&self) -> String {
        match self {
            PendingQuestion::Refused(why) => escape_controls(why),
            PendingQuestion::Waiting(_) | PendingQuestion::Here(_) => "computing".to_owned(),
        }
    }

    /// The answer, once it is there.
    pub fn here(&self) -> Option<&T> {
        match self {
            PendingQuestion::Here(answer) => Some(answer),
            _ => None,
        }
    }

    /// Whether the worker is still to answer.
    pub fn is_waiting(&self) -> bool {
        matches!(self, PendingQuestion::Waiting(_))
    }

    /// Whether this is the question's place.
    pub fn waits_for(&self, ask: AskId) -> bool {
        matches!(self, PendingQuestion::Waiting(waiting) if *waiting == ask)
    }
}

/// Inside the token at the cursor.
#[derive(Clone, Debug, PartialEq)]
pub struct InsideDialog {
    /// The position that was asked for.
    pub position: usize,
    /// What the worker computed of the position.
    pub inspection: PendingQuestion<Box<Inspection>>,
    /// The next token whose probability is shown over the layers.
    pub follow: Follow,
    /// The text of a token to follow, while it is typed.
    pub edit: Option<LineEdit>,
}

impl PendingQuestion<Box<Inspection>> {
    /// Takes the answer to a look inside a token.
    pub fn inspected(&mut self, answer: InspectionResult) {
        *self = match answer {
            InspectionResult::Inspected(inspection) => PendingQuestion::Here(inspection),
            InspectionResult::Refused(why) => PendingQuestion::Refused(why),
            _ => return,
        };
    }
}

/// Which next token is followed over the layers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Follow {
    /// What was typed: its first token is the first of those that can be followed.
    pub typed: Option<String>,
    /// Which of [`Inspection::followed`], if any.
    pub row: Option<usize>,
}

impl InsideDialog {
    /// The token that is followed, once it is known where it stands.
    pub fn followed(&self) -> Option<&Followed> {
        self.inspection.here()?.followed.get(self.follow.row?)
    }

    /// Follows the next of those that can be followed, after the last one none.
    pub fn follow_next(&mut self) {
        // Until the answer is there, as many as are asked for.
        let asked = FOLLOWED + usize::from(self.follow.typed.is_some());
        let all = self
            .inspection
            .here()
            .map_or(asked, |inspection| inspection.followed.len());
        let next = self.follow.row.map_or(0, |row| row + 1);
        self.follow.row = (next < all).then_some(next);
    }
}

/// A decision that could be taken otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flippable {
    /// From 0, the lowest.
    pub layer: usize,
    /// Position of the token; of the prompt, whose tokens share the decision, the last one.
    pub position: usize,
    /// Difference between the two greatest probabilities, if a router was asked.
    pub margin: Option<f32>,
    /// What was carried out.
    pub from: Action,
    /// What is tried instead.
    pub to: Action,
}

/// The decisions of a run to flip, and the one that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct FlipDialog {
    /// The cursor's decision first, then the least confident ones.
    pub rows: Vec<Flippable>,
    /// Index into `rows`.
    pub row: usize,
    /// What the selected row changes, once it was tried.
    pub flip: Option<PendingQuestion<Box<Flip>>>,
    /// Tried with everything else as it ran; otherwise later layers decide anew.
    pub frozen: bool,
}

/// Another token is put at a position.
#[derive(Clone, Debug, PartialEq)]
pub struct ForceDialog {
    /// Where the token is put, from 0 at the prompt's first one.
    pub position: usize,
    /// Typed text; while it is empty the selected candidate counts.
    pub edit: LineEdit,
    /// The selected candidate: index into the likeliest tokens of `before`.
    pub row: usize,
    /// What was likely there: a look inside the token before.
    pub before: PendingQuestion<Box<Inspection>>,
}

/// The next token of a run that is held, with the cursor's layer taken otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct NextDialog {
    /// What the layer is to do there.
    pub action: Action,
    /// The next token both ways, once it is computed.
    pub intervention: PendingQuestion<Box<Intervention>>,
}

/// How far two runs lie apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Apart {
    /// A, then B.
    pub runs: (RunId, RunId),
    /// How far B's distributions lie from A's, once it is computed.
    pub divergence: PendingQuestion<Divergence>,
}

impl FlipDialog {
    /// The list for a run whose cursor is at (`layer`, `position`).
    pub fn new(run: &Run, layer: usize, position: usize) -> FlipDialog {
        let mut rows: Vec<Flippable> = flippable(run, layer, position).into_iter().collect();
        let here = rows.first().copied();
        rows.extend(
            least_confident(run, MOST_FLIPS)
                .into_iter()
                .filter(|f| Some(*f) != here),
        );
        FlipDialog {
            rows,
            row: 0,
            flip: None,
            frozen: false,
        }
    }

    /// The decision of the selected row.
    pub fn selected(&self) -> Option<&Flippable> {
        self.rows.get(self.row)
    }

    /// Turns the selected decision to the other alternative.
    pub fn turn(&mut self) {
        if let Some(row) = self.rows.get_mut(self.row) {
            let other = Action::ALL.into_iter().find(|a| *a != row.from && *a != row.to);
            row.to = other.unwrap_or(row.to);
            self.flip = None;
        }
    }
}

/// The first position whose decisions this run took itself; those before were kept from another.
pub fn first_own(run: &Run) -> usize {
    run.trace.header.branch.map_or(0, |branch| branch.at)
}

/// The decision at a cell, if it can be flipped.
fn flippable(run: &Run, layer: usize, position: usize) -> Option<Flippable> {
    let position = match position < run.prompt_len() {
        true => run.prompt_len() - 1,
        false => position,
    };
    let decision = run.decision(layer, position).filter(|_| position >= first_own(run))?;
    Some(Flippable {
        layer,
        position,
        margin: decision.margin(),
        from: decision.action,
        to: alternative(&decision),
    })
}

/// The likeliest action that was not carried out; without a router, skip instead of execute.
fn alternative(decision: &Decision) -> Action {
    let others = Action::ALL.into_iter().filter(|a| *a != decision.action);
    let p = |a: &Action| decision.probs.map_or(0.0, |p| p[a.executions()]);
    // Of equals the first: skip before repeat.
    others
        .reduce(|best, a| if p(&a) > p(&best) { a } else { best })
        .unwrap_or(decision.action)
}

/// The least confident decisions that a router had a say in, the least confident first.
fn least_confident(run: &Run, most: usize) -> Vec<Flippable> {
    let first = first_own(run);
    let prompt = (run.prompt_len().saturating_sub(1), &run.trace.header.decisions);
    let steps = run.steps().iter().map(|step| (step.position, &step.decisions));
    let chunks = std::iter::once(prompt)
        .chain(steps)
        .filter(|(position, _)| *position >= first);
    let mut all: Vec<Flippable> = chunks.flat_map(|(position, all)| routed(position, all)).collect();
    let surer = |a: &Flippable, b: &Flippable| {
        let margin = |f: &Flippable| f.margin.unwrap_or(1.0);
        margin(a)
            .total_cmp(&margin(b))
            .then((a.position, a.layer).cmp(&(b.position, b.layer)))
    };
    if all.len() > most {
        all.select_nth_unstable_by(most, surer);
        all.truncate(most);
    }
    all.sort_by(surer);
    all
}

/// Those of a chunk's decisions that router, dial or budget settled.
fn routed(position: usize, decisions: &[Decision]) -> impl Iterator<Item = Flippable> {
    let routed = |d: &Decision| matches!(d.by, DecidedBy::Router | DecidedBy::Dial | DecidedBy::Budget);
    let those = decisions.iter().enumerate().filter(move |(_, d)| routed(d));
    those.filter_map(move |(layer, decision)| {
        Some(Flippable {
            layer,
            position,
            margin: Some(decision.margin()?),
            from: decision.action,
            to: alternative(decision),
        })
    })
}

impl ForceDialog {
    /// Moves the selection among what was likely.
    pub fn move_by(&mut self, by: isize) {
        let last = self.before.here().map_or(0, |i| i.next.top.len().saturating_sub(1));
        self.row = self.row.saturating_add_signed(by).min(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    fn run() -> Run {
        fixture::app().shown.expect("the fixture shows a run")
    }

    #[test]
    fn the_least_confident_come_first() {
        let run = run();
        let dialog = FlipDialog::new(&run, 5, 20);
        let here = &dialog.rows[0];
        assert_eq!((here.layer, here.position), (5, 20));
        assert_eq!(dialog.rows.len(), MOST_FLIPS + 1);
        let margins: Vec<f32> = dialog.rows[1..].iter().filter_map(|f| f.margin).collect();
        assert!(margins.is_sorted() && margins.len() == MOST_FLIPS);
        let every = (11..run.tokens()).flat_map(|t| (0..30).map(move |l| (l, t)));
        let least = every
            .filter_map(|(l, t)| run.decision(l, t)?.margin())
            .fold(1.0, f32::min);
        assert_eq!(margins[0], least);
        assert!(dialog.rows.iter().all(|f| f.from != f.to));
        // The prompt's tokens share their decisions, so each stands there once.
        assert!(dialog.rows.iter().all(|f| f.position >= 11));
        assert_eq!(FlipDialog::new(&run, 5, 2).rows[0].position, 11);
    }

    #[test]
    fn the_alternative_can_be_turned() {
        let run = run();
        let mut dialog = FlipDialog::new(&run, 5, 20);
        let first = dialog.rows[0];
        dialog.turn();
        let second = dialog.rows[0];
        assert!(second.to != first.to && second.to != first.from);
        dialog.turn();
        assert_eq!(dialog.rows[0], first);
    }

    #[test]
    fn pins_and_what_was_kept_are_left_out() {
        let mut run = run();
        run.trace.header.branch = Some(crate::trace::BranchPoint { at: 30, forced: 1 });
        for step in &mut run.trace.steps {
            step.decisions[7].by = DecidedBy::Pin;
        }
        let dialog = FlipDialog::new(&run, 5, 20);
        assert!(dialog.rows.iter().all(|f| f.position >= 30 && f.layer != 7));
        // The cursor's own decision may be a pin.
        assert_eq!(FlipDialog::new(&run, 7, 40).rows[0].layer, 7);
    }
}
