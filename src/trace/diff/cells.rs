//! Decisions of two runs, cell by cell: prompt token n beside prompt token n, answer token n beside
//! answer token n.

use serde::Serialize;

use crate::program::{Action, Program};
use crate::trace::diff::{Side, diverges};
use crate::trace::{DecidedBy, Decision};

/// A part of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SequencePart {
    /// What was asked.
    Prompt,
    /// What was generated.
    Answer,
}

/// A cell that both runs have and carried out differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedCell {
    /// Where the token is.
    pub part: SequencePart,
    /// From 0 at the part's first token.
    pub token: usize,
    /// From 0 at the lowest.
    pub layer: usize,
    /// Carried out in the earlier run.
    pub before: Action,
    /// Carried out in the later run.
    pub after: Action,
    /// Who settled it in the earlier run.
    pub before_by: DecidedBy,
    /// Who settled it in the later run.
    pub after_by: DecidedBy,
}

/// How many cells went from one action to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ActionChange {
    /// In the earlier run.
    pub before: Action,
    /// In the later run.
    pub after: Action,
    /// How many.
    pub cells: usize,
}

/// What changed in a part.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PartChanges {
    /// Tokens that both runs have.
    pub tokens: usize,
    /// Tokens that only one of them has.
    pub unmatched: usize,
    /// Tokens with another program. Two programs may run every layer equally often.
    pub programs: usize,
    /// Cells that both runs have, those carried out differently, and how.
    pub cells: usize,
    /// See `cells`.
    pub changed: usize,
    /// See `cells`.
    pub kinds: Vec<ActionChange>,
    /// Cells carried out alike and settled by somebody else.
    pub settled_otherwise: usize,
}

/// All decisions of two runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Decisions {
    /// The prompt's one decision counts at each of its tokens.
    pub prompt: PartChanges,
    /// The generated tokens.
    pub answer: PartChanges,
    /// The greatest difference between the routers' probabilities at the prompt and at the answer
    /// up to where the texts part; absent where routers were not asked in both.
    pub probability_difference: Option<f32>,
    /// Every cell that was carried out differently.
    pub cells: Vec<ChangedCell>,
}

impl Decisions {
    /// Compares runs of models with equally many layers; `None` for others.
    pub fn compare<'a>(before: impl Into<Side<'a>>, after: impl Into<Side<'a>>) -> Option<Decisions> {
        let (before, after) = (before.into(), after.into());
        if before.layers() != after.layers() {
            return None;
        }
        let mut decisions = Decisions::default();
        let same_prompt = before.same_prompt(&after);
        for part in [SequencePart::Prompt, SequencePart::Answer] {
            // Where the routers read the same text.
            let comparable = match part {
                _ if !same_prompt => 0,
                SequencePart::Prompt => before.header.prompt.len(),
                SequencePart::Answer => diverges(before, after).unwrap_or(before.steps.len()),
            };
            let changes = decisions.compare_part(part, columns(before, part), columns(after, part), comparable);
            match part {
                SequencePart::Prompt => decisions.prompt = changes,
                SequencePart::Answer => decisions.answer = changes,
            }
        }
        Some(decisions)
    }

    /// Counts a part's changes and adds its changed cells.
    fn compare_part(&mut self, part: SequencePart, a: Vec<Column>, b: Vec<Column>, comparable: usize) -> PartChanges {
        let mut changes = PartChanges {
            tokens: a.len().min(b.len()),
            unmatched: a.len().abs_diff(b.len()),
            ..PartChanges::default()
        };
        let before = self.cells.len();
        for (token, (a, b)) in a.iter().zip(&b).enumerate() {
            let first = self.cells.len();
            for (layer, x, y) in pairs(a, b) {
                changes.cells += 1;
                changes.settled_otherwise += usize::from(x.action == y.action && x.by != y.by);
                if let Some(difference) = difference(&x, &y).filter(|_| token < comparable) {
                    let greatest = self.probability_difference.map_or(difference, |d| d.max(difference));
                    self.probability_difference = Some(greatest);
                }
                if x.action != y.action {
                    self.cells.push(ChangedCell {
                        part,
                        token,
                        layer,
                        before: x.action,
                        after: y.action,
                        before_by: x.by,
                        after_by: y.by,
                    });
                }
            }
            let changed = self.cells.len() > first || a.program() != b.program();
            changes.programs += usize::from(changed);
        }
        changes.changed = self.cells.len() - before;
        changes.kinds = kinds(&self.cells[before..]);
        changes
    }

    /// Whether both runs have the same tokens' programs, all of them.
    pub fn alike(&self) -> bool {
        [&self.prompt, &self.answer]
            .iter()
            .all(|part| part.unmatched + part.programs + part.changed == 0)
    }

    /// How many changed cells a layer has in a part.
    pub fn changed_at(&self, part: SequencePart, layer: usize) -> usize {
        let here = |cell: &&ChangedCell| cell.part == part && cell.layer == layer;
        self.cells.iter().filter(here).count()
    }
}

/// One token's decisions.
#[derive(Clone, Copy)]
struct Column<'a> {
    side: Side<'a>,
    part: SequencePart,
    token: usize,
}

impl<'a> Column<'a> {
    fn decision(&self, layer: usize) -> Option<Decision> {
        match self.part {
            SequencePart::Prompt => self.side.header.decision(layer, self.token),
            SequencePart::Answer => self.side.steps[self.token].decisions.get(layer).cloned(),
        }
    }

    fn program(&self) -> &'a Program {
        match self.part {
            SequencePart::Prompt => &self.side.header.program,
            SequencePart::Answer => &self.side.steps[self.token].program,
        }
    }
}

fn columns(side: Side, part: SequencePart) -> Vec<Column> {
    let tokens = match part {
        SequencePart::Prompt => side.header.prompt.len(),
        SequencePart::Answer => side.steps.len(),
    };
    (0..tokens).map(|token| Column { side, part, token }).collect()
}

/// Both tokens' decisions, layer by layer.
fn pairs(a: &Column, b: &Column) -> impl Iterator<Item = (usize, Decision, Decision)> {
    (0..a.side.layers()).filter_map(move |layer| Some((layer, a.decision(layer)?, b.decision(layer)?)))
}

fn difference(a: &Decision, b: &Decision) -> Option<f32> {
    let pairs = a.probs?.into_iter().zip(b.probs?);
    pairs.map(|(a, b)| (a - b).abs()).reduce(f32::max)
}

fn kinds(cells: &[ChangedCell]) -> Vec<ActionChange> {
    let mut counts = [[0; 3]; 3];
    for cell in cells {
        counts[cell.before.executions()][cell.after.executions()] += 1;
    }
    let pairs = Action::ALL.into_iter().flat_map(|a| Action::ALL.map(|b| (a, b)));
    let kind = |(before, after): (Action, Action)| ActionChange {
        before,
        after,
        cells: counts[before.executions()][after.executions()],
    };
    pairs.map(kind).filter(|k| k.cells > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;
    use crate::tui::fixture;

    fn other(action: Action) -> Action {
        match action {
            Action::Skip => Action::Execute,
            _ => Action::Skip,
        }
    }

    fn changed(edit: impl FnOnce(&mut Trace)) -> Decisions {
        let before = fixture::trace(7, 12);
        let mut after = before.clone();
        edit(&mut after);
        Decisions::compare(&before, &after).unwrap()
    }

    #[test]
    fn nothing_changes_between_a_run_and_itself() {
        let same = changed(|_| {});
        assert!(same.alike() && same.cells.is_empty());
        assert_eq!((same.prompt.cells, same.answer.cells), (12 * 30, 12 * 30));
        assert_eq!(same.probability_difference, Some(0.0));
    }

    #[test]
    fn cells_are_counted_by_kind_layer_and_part() {
        let layer = (0..30)
            .find(|&l| fixture::trace(7, 12).header.decisions[l].action == Action::Execute)
            .unwrap();
        let decisions = changed(|t| {
            t.header.decisions[layer].action = Action::Skip;
            for step in &mut t.steps[..5] {
                step.decisions[layer].action = Action::Repeat;
                step.decisions[layer].by = DecidedBy::Pin;
            }
        });
        let kind = |after, cells| ActionChange {
            before: Action::Execute,
            after,
            cells,
        };
        assert_eq!(decisions.prompt.kinds, [kind(Action::Skip, 12)]);
        assert_eq!(decisions.answer.kinds, [kind(Action::Repeat, 5)]);
        assert_eq!((decisions.answer.programs, decisions.answer.changed), (5, 5));
        assert_eq!(decisions.changed_at(SequencePart::Answer, layer), 5);
        assert_eq!(decisions.cells.last().unwrap().after_by, DecidedBy::Pin);
        assert!(!decisions.alike());
    }

    #[test]
    fn pins_of_one_prompt_token_programs_and_lengths_count() {
        let pinned = changed(|t| {
            let action = other(t.header.decisions[3].action);
            t.header.prompt[4].pinned = vec![(3, action)];
        });
        assert_eq!((pinned.prompt.changed, pinned.cells[0].token), (1, 4));

        let order = changed(|t| t.steps[2].program = Program::from_layers([1, 0]));
        assert_eq!((order.answer.changed, order.answer.programs), (0, 1));
        assert!(!order.alike());

        let shorter = changed(|t| t.steps.truncate(9));
        assert_eq!((shorter.answer.tokens, shorter.answer.unmatched), (9, 3));
        assert!(!shorter.alike());

        let settled = changed(|t| t.steps[0].decisions[0].by = DecidedBy::Dial);
        assert_eq!(settled.answer.settled_otherwise, 1);
        assert!(settled.alike());
    }

    #[test]
    fn probabilities_are_compared_until_the_texts_part() {
        let decisions = changed(|t| {
            t.steps[5].id += 1;
            t.steps[4].decisions[0].probs.as_mut().unwrap()[0] += 0.125;
            t.steps[6].decisions[0].probs.as_mut().unwrap()[0] += 0.5;
        });
        assert!((decisions.probability_difference.unwrap() - 0.125).abs() < 1e-6);
    }

    #[test]
    fn models_of_different_depth_have_no_cells_in_common() {
        let before = fixture::trace(7, 2);
        let mut after = before.clone();
        after.header.model.layers = 29;
        assert_eq!(Decisions::compare(&before, &after), None);
    }
}
