//! One program for every question, chosen on training questions: what routers must beat, since it
//! asks nobody anything.

use std::cmp::Reverse;
use std::collections::HashMap;

use anyhow::Result;

use crate::program::{Action, Program};

/// Edits on top of each other, at most.
const EDITS: usize = 3;
/// Programs that get a further edit: the best of their number of edits.
const BEAM: usize = 3;
/// What a further edit may be: one of these many best single edits.
const POOL: usize = 12;

/// Runs programs on all training questions, a round of them at once: right answers of each. The
/// round has a name.
pub type RoundRunner<'a> = &'a mut dyn FnMut(&str, &[Program]) -> Result<Vec<usize>>;

/// Which programs of a model were tried, and how often they were right.
pub struct StaticSearch {
    layers: usize,
    tried: HashMap<Program, usize>,
    /// In the order of their removal.
    removed: Vec<usize>,
}

impl StaticSearch {
    /// For a model of `layers` layers.
    pub fn new(layers: usize) -> StaticSearch {
        StaticSearch {
            layers,
            tried: HashMap::new(),
            removed: Vec::new(),
        }
    }

    /// How many programs were tried so far.
    pub fn tried(&self) -> usize {
        self.tried.len()
    }

    /// Right answers of a program that was tried.
    pub fn right(&self, program: &Program) -> Option<usize> {
        self.tried.get(program).copied()
    }

    /// The program with most right answers; of equals the shortest, then the first as text.
    ///
    /// Tried are the standard program; all single edits, each layer skipped or repeated; then twice a
    /// further edit, one of the 12 best single ones, on each of the 3 best programs of the last round.
    pub fn best(&mut self, run: RoundRunner) -> Result<Program> {
        let single = |layer| [Action::Skip, Action::Repeat].map(|action| (layer, action));
        let singles: Vec<_> = (0..self.layers).flat_map(single).collect();
        let standard = vec![Action::Execute; self.layers];
        let edit = |actions: &[Action], (layer, action): (usize, Action)| {
            let mut edited = actions.to_vec();
            edited[layer] = action;
            edited
        };
        let mut round: Vec<Vec<Action>> = singles.iter().map(|&s| edit(&standard, s)).collect();
        let mut programs = vec![Program::standard(self.layers)];
        programs.extend(round.iter().map(|a| Program::from_actions(a)));
        self.score("1 edit", &programs, run)?;
        let mut pool = singles;
        pool.sort_by_cached_key(|&s| self.rank(&Program::from_actions(&edit(&standard, s))));
        pool.truncate(POOL);
        for edits in 2..=EDITS {
            round.sort_by_cached_key(|actions| self.rank(&Program::from_actions(actions)));
            // Two edits in either order are one program.
            round.dedup();
            round.truncate(BEAM);
            let further = |actions: &Vec<Action>| {
                let free = pool.iter().filter(|(layer, _)| actions[*layer] == Action::Execute);
                free.map(|&s| edit(actions, s)).collect::<Vec<_>>()
            };
            round = round.iter().flat_map(further).collect();
            let programs: Vec<Program> = round.iter().map(|a| Program::from_actions(a)).collect();
            self.score(&format!("{edits} edits"), &programs, run)?;
        }
        let best = self.tried.keys().min_by_key(|program| self.rank(program));
        Ok(best.expect("the standard program was tried").clone())
    }

    /// Layers in the order in which they are removed until a program of `depth` is left: always the
    /// one without which most answers are right, of equals the lowest.
    pub fn removal(&mut self, depth: usize, run: RoundRunner) -> Result<Vec<usize>> {
        while self.removed.len() + depth < self.layers {
            let left: Vec<usize> = (0..self.layers).filter(|l| !self.removed.contains(l)).collect();
            let without = |layer: usize| Program::from_layers(left.iter().copied().filter(|&l| l != layer));
            let programs: Vec<Program> = left.iter().map(|&layer| without(layer)).collect();
            self.score(&format!("removal to {}", left.len() - 1), &programs, run)?;
            let best = left
                .iter()
                .max_by_key(|&&layer| (self.right(&without(layer)), Reverse(layer)));
            self.removed.push(*best.expect("layers are left above the depth"));
        }
        Ok(self.removed.clone())
    }

    /// Tries the programs that were not tried before.
    fn score(&mut self, round: &str, programs: &[Program], run: RoundRunner) -> Result<()> {
        let mut new: Vec<Program> = Vec::new();
        for program in programs {
            if !self.tried.contains_key(program) && !new.contains(program) {
                new.push(program.clone());
            }
        }
        if !new.is_empty() {
            let right = run(round, &new)?;
            self.tried.extend(new.into_iter().zip(right));
        }
        Ok(())
    }

    /// The best comes first.
    fn rank(&self, program: &Program) -> (Reverse<Option<usize>>, usize, String) {
        (Reverse(self.right(program)), program.depth(), program.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Right answers as if each layer's action added something, and what was run.
    fn run(
        worth: &dyn Fn(&[Action]) -> usize,
        ran: &mut Vec<(String, usize)>,
    ) -> impl FnMut(&str, &[Program]) -> Result<Vec<usize>> {
        move |round, programs| {
            ran.push((round.to_owned(), programs.len()));
            Ok(programs.iter().map(|p| worth(&p.to_actions(20).unwrap())).collect())
        }
    }

    #[test]
    fn edits_that_help_are_put_together() {
        let worth = |actions: &[Action]| {
            let skips = |l: usize| usize::from(actions[l] == Action::Skip);
            // Two that help, one that helps only with another, everything else harms.
            let other = (0..20).filter(|&l| ![4, 9, 15].contains(&l) && actions[l] != Action::Execute);
            let repeated = [4, 9, 15].iter().filter(|&&l| actions[l] == Action::Repeat);
            100 + 5 * skips(4) + 3 * skips(9) + 4 * skips(4) * skips(15) - 2 * other.count() - repeated.count()
        };
        let mut ran = Vec::new();
        let mut search = StaticSearch::new(20);
        let best = search.best(&mut run(&worth, &mut ran)).unwrap();
        assert_eq!(best.to_string(), "0-3 5-8 10-14 16-19");
        assert_eq!(
            (search.right(&best), search.right(&Program::standard(20))),
            (Some(112), Some(100))
        );
        assert_eq!(ran[0], ("1 edit".to_owned(), 41));
        assert_eq!(ran.len(), 3);
        assert!(ran[1..].iter().all(|(_, programs)| *programs <= BEAM * POOL), "{ran:?}");
        assert_eq!(search.tried(), ran.iter().map(|r| r.1).sum::<usize>());
    }

    #[test]
    fn the_standard_program_wins_where_every_edit_harms() {
        let worth = |actions: &[Action]| actions.iter().filter(|&&a| a == Action::Execute).count();
        let best = StaticSearch::new(20).best(&mut run(&worth, &mut Vec::new())).unwrap();
        assert_eq!(best, Program::standard(20));
    }

    #[test]
    fn removal_goes_on_from_where_it_was() {
        let worth = |actions: &[Action]| {
            (0..20)
                .filter(|&l| actions[l] == Action::Execute)
                .map(|l| l % 7)
                .sum::<usize>()
        };
        let mut ran = Vec::new();
        let mut search = StaticSearch::new(20);
        let mut run = run(&worth, &mut ran);
        assert_eq!(search.removal(18, &mut run).unwrap(), [0, 7]);
        assert_eq!(
            search.removal(19, &mut run).unwrap(),
            [0, 7],
            "what is there serves lesser depths"
        );
        assert_eq!(search.removal(16, &mut run).unwrap(), [0, 7, 14, 1]);
        drop(run);
        let expected = [20, 19, 18, 17].map(|n| (format!("removal to {}", n - 1), n));
        assert_eq!(ran, expected);
    }

    #[test]
    fn no_program_is_run_twice() {
        let worth = |actions: &[Action]| {
            (0..20)
                .filter(|&l| actions[l] == Action::Execute)
                .map(|l| l % 7)
                .sum::<usize>()
        };
        let mut ran = Vec::new();
        let mut search = StaticSearch::new(20);
        search.best(&mut run(&worth, &mut ran)).unwrap();
        search.removal(19, &mut run(&worth, &mut ran)).unwrap();
        assert_eq!(ran.len(), 3, "single edits hold every first removal");
    }
}
