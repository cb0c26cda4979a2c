//! The runs of this session that are not on the screen, and how they branch.

use super::app::App;
use super::run::Run;
use crate::engine::RunId;

/// Most runs that are remembered; the oldest go first.
pub const MOST_RUNS: usize = 48;
/// Most generated tokens of all remembered runs together. A token's decisions take about two kilobytes at 30 layers.
pub const MOST_TOKENS: usize = 16_384;

/// Where a run goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The run it goes on from.
    pub run: RunId,
    /// The first position that is not the parent's.
    pub at: usize,
}

/// Runs that can be opened again, the oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    runs: Vec<Run>,
}

impl History {
    /// Remembers a run.
    pub fn put(&mut self, run: Run) {
        self.runs.retain(|r| r.id != run.id);
        self.runs.push(run);
        let tokens = |runs: &[Run]| runs.iter().map(|r| r.trace.steps.len()).sum::<usize>();
        // The newest stays, however long it is.
        while self.runs.len() > MOST_RUNS || (self.runs.len() > 1 && tokens(&self.runs) > MOST_TOKENS) {
            self.runs.remove(0);
        }
    }

    /// Takes a run out, if it is remembered.
    pub fn take(&mut self, id: RunId) -> Option<Run> {
        let at = self.runs.iter().position(|r| r.id == id)?;
        Some(self.runs.remove(at))
    }

    /// The remembered runs, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }
}

impl App {
    /// Puts a run on the screen; what was there is the one before.
    pub fn show(&mut self, run: Run) {
        let before = self.shown.replace(run);
        if let Some(run) = before.and_then(|run| self.previous.replace(run)) {
            self.history.put(run);
        }
    }

    /// Puts a run of the tree on the screen again.
    pub fn reopen(&mut self, id: RunId) {
        if self.is_busy() {
            return self.info("a run is under way: wait for its end, or stop it, then open another one");
        }
        let previous = self.previous.take_if(|run| run.id == id);
        let Some(run) = previous.or_else(|| self.history.take(id)) else {
            return;
        };
        self.show(run);
        match self.shown.as_ref().is_some_and(Run::is_recording) {
            true => self.take_over(),
            false => self.give_back(),
        }
        self.begin_view();
    }

    /// All runs that can be shown.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.history.iter().chain(&self.previous).chain(&self.shown)
    }

    /// A run that can be shown.
    pub fn run(&self, id: RunId) -> Option<&Run> {
        self.runs().find(|run| run.id == id)
    }

    /// Whether a run goes on from this one.
    pub fn has_branches(&self, id: RunId) -> bool {
        self.runs().any(|run| run.parent.is_some_and(|p| p.run == id))
    }
}

/// Runs as a tree: each with its depth in it, branches under what they go on from, older ones first.
pub fn tree<'r>(runs: impl Iterator<Item = &'r Run>) -> Vec<(usize, &'r Run)> {
    let mut runs: Vec<&Run> = runs.collect();
    runs.sort_by_key(|r| r.id);
    runs.dedup_by_key(|r| r.id);
    let known: Vec<RunId> = runs.iter().map(|r| r.id).collect();
    let parent = |run: &Run| run.parent.map(|p| p.run).filter(|p| known.contains(p) && *p < run.id);
    let mut out = Vec::with_capacity(runs.len());
    // Newest at the end, so that the oldest comes off first.
    let mut open: Vec<(usize, &Run)> = runs
        .iter()
        .rev()
        .filter(|r| parent(r).is_none())
        .map(|r| (0, *r))
        .collect();
    while let Some((depth, run)) = open.pop() {
        out.push((depth, run));
        let branches = runs.iter().rev().filter(|r| parent(r) == Some(run.id));
        open.extend(branches.map(|r| (depth + 1, *r)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;
    use crate::tui::run::Origin;

    fn run(id: RunId, parent: Option<RunId>, tokens: usize) -> Run {
        let trace = fixture::trace(1, tokens);
        let mut run = Run::started(id, Origin::Live, None, trace.header.clone());
        run.trace = trace;
        run.parent = parent.map(|run| Parent { run, at: 14 });
        run
    }

    #[test]
    fn branches_stand_under_their_runs() {
        let runs = [
            run(5, Some(2), 1),
            run(2, None, 1),
            run(3, None, 1),
            run(4, Some(2), 1),
            run(6, Some(5), 1),
            run(7, Some(1), 1),
        ];
        let tree: Vec<(usize, RunId)> = tree(runs.iter()).into_iter().map(|(depth, r)| (depth, r.id)).collect();
        assert_eq!(tree, [(0, 2), (1, 4), (1, 5), (2, 6), (0, 3), (0, 7)]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut history = History::default();
        for id in 0..(MOST_RUNS as u64 + 5) {
            history.put(run(id, None, 2));
        }
        assert_eq!(history.iter().count(), MOST_RUNS);
        assert_eq!(history.iter().next().unwrap().id, 5);
        history.put(run(900, None, MOST_TOKENS));
        assert_eq!(history.iter().map(|r| r.id).collect::<Vec<_>>(), [900]);
        assert!(history.take(900).is_some() && history.take(900).is_none());
    }
}
