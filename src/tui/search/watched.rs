//! A search as it is watched: the tree so far, what was found, what is selected.

use std::cmp::Reverse;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::tree::rows;
use crate::engine::{SearchEnd, SearchId, SearchRequest, SearchStep};
use crate::program::{Action, Program};
use crate::search::mcts::target;

/// A program that was tried.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchedNode {
    /// The layers in the order of their executions.
    pub program: Program,
    /// Whether the answer is right under it.
    pub correct: bool,
    /// How far the right choice's score is above the best other; of a written answer 1 or −1.
    pub margin: f64,
    /// v: simulations that passed or ended there.
    pub visits: u32,
    /// Q: sum of their rewards.
    pub reward: f64,
    /// Who it was reached from first; the root has none.
    pub parent: Option<usize>,
    /// Nodes that edits of it lead to, in the order in which simulations got there.
    pub children: Vec<usize>,
}

impl WatchedNode {
    /// Q/v: the share of right ones among the simulations that passed or ended there.
    pub fn mean(&self) -> f64 {
        self.reward / f64::from(self.visits.max(1))
    }
}

/// Whether it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchProgress {
    /// More steps are to come.
    Running,
    /// It came to its end.
    Done,
    /// The user ended it.
    Stopped,
    /// It broke off, and why.
    Failed(String),
}

/// Which list has the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    /// Programs under those they were edited from.
    Tree,
    /// All programs in the chosen order.
    Programs,
}

impl Pane {
    /// The one of the two lists that has not the keys.
    pub fn other(self) -> Pane {
        match self {
            Pane::Tree => Pane::Programs,
            Pane::Programs => Pane::Tree,
        }
    }
}

/// The order of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Right ones first, the shortest first.
    Shortest,
    /// The newest first.
    Newest,
    /// By margin, the greatest first.
    Margin,
}

impl Sort {
    /// The order after this one; after the last comes the first.
    pub fn next(self) -> Sort {
        match self {
            Sort::Shortest => Sort::Newest,
            Sort::Newest => Sort::Margin,
            Sort::Margin => Sort::Shortest,
        }
    }

    /// In words, as the list's title has it.
    pub fn title(self) -> &'static str {
        match self {
            Sort::Shortest => "right and short first",
            Sort::Newest => "newest first",
            Sort::Margin => "greatest margin first",
        }
    }
}

/// A search that was recorded, as far as it is still to come.
#[derive(Clone, Debug)]
pub struct SearchRecording {
    /// Those to come, the next one first.
    pub steps: VecDeque<SearchStep>,
    /// When it began to play; all is shown at once if absent.
    pub since: Option<Duration>,
}

/// A search under way or done.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The number that the worker's events of this search carry.
    pub id: SearchId,
    /// What was asked for.
    pub request: SearchRequest,
    /// Absent where the worker searches.
    pub recording: Option<SearchRecording>,
    /// Whether it goes on.
    pub progress: SearchProgress,
    /// Every program tried, the standard one first.
    pub nodes: Vec<WatchedNode>,
    /// Simulations done.
    pub done: usize,
    /// Milliseconds it took so far.
    pub ms: f64,
    /// Which list has the keys.
    pub pane: Pane,
    /// The order of the list of programs.
    pub sort: Sort,
    /// The selected node, in the tree and in the list.
    pub selected: usize,
    /// The selection goes on to every new program.
    pub follow: bool,
    /// The user has put the selection where it is.
    chosen: bool,
    /// Nodes whose children are not shown.
    pub folded: HashSet<usize>,
}

impl Watched {
    /// A search that has begun and tried nothing; with `follow` the selection goes to every new program.
    pub fn new(id: SearchId, request: SearchRequest, follow: bool) -> Watched {
        Watched {
            id,
            request,
            recording: None,
            progress: SearchProgress::Running,
            nodes: Vec::new(),
            done: 0,
            ms: 0.0,
            pane: Pane::Tree,
            sort: Sort::Shortest,
            selected: 0,
            follow,
            chosen: false,
            folded: HashSet::new(),
        }
    }

    /// Whether more steps are to come.
    pub fn is_running(&self) -> bool {
        self.progress == SearchProgress::Running
    }

    /// Layers of the standard program, which is tried first.
    pub fn layers(&self) -> usize {
        self.nodes.first().map_or(0, |root| root.program.depth())
    }

    /// Lets the recording go on to where it was at this time.
    pub fn play(&mut self, now: Duration) {
        let Some(mut recording) = self.recording.take() else {
            return;
        };
        let played = recording
            .since
            .map(|since| now.saturating_sub(since).as_secs_f64() * 1e3);
        let due = |step: &SearchStep| played.is_none_or(|ms| step.ms <= ms);
        while recording.steps.front().is_some_and(due) {
            if let Some(step) = recording.steps.pop_front() {
                self.hear(step);
            }
        }
        let over = recording.steps.is_empty();
        self.recording = Some(recording);
        if over {
            self.end(SearchEnd::Done);
        }
    }

    /// Takes in what a simulation came to.
    pub fn hear(&mut self, step: SearchStep) {
        let before = step.path.len().checked_sub(2).map(|i| step.path[i].node);
        if let Some(tried) = step.tried {
            self.nodes.push(WatchedNode {
                program: tried.program,
                correct: tried.correct,
                margin: tried.margin,
                visits: 0,
                reward: 0.0,
                parent: before,
                children: Vec::new(),
            });
            if self.follow {
                self.select(self.nodes.len() - 1);
            }
        }
        for visited in &step.path {
            if let Some(node) = self.nodes.get_mut(visited.node) {
                (node.visits, node.reward) = (visited.visits, visited.reward);
            }
        }
        let last = step.path.last().map(|last| last.node).filter(|&n| n < self.nodes.len());
        if let (Some(parent), Some(child)) = (before.and_then(|n| self.nodes.get_mut(n)), last)
            && !parent.children.contains(&child)
        {
            parent.children.push(child);
        }
        (self.done, self.ms) = (step.simulation, step.ms);
    }

    /// Takes in how it ended. What was found best is selected, unless the user has chosen.
    pub fn end(&mut self, end: SearchEnd) {
        self.progress = match end {
            SearchEnd::Done => SearchProgress::Done,
            SearchEnd::Stopped => SearchProgress::Stopped,
            SearchEnd::Failed(message) => SearchProgress::Failed(message),
        };
        self.follow = false;
        if let Some(best) = self.best().filter(|_| !self.chosen) {
            self.select(best);
        }
    }

    /// The shortest right program so far, as training would choose it.
    pub fn best(&self) -> Option<usize> {
        let best = target(self.nodes.iter().filter(|n| n.correct).map(|n| &n.program))?;
        self.nodes.iter().position(|node| node.program == *best)
    }

    /// How many programs were right.
    pub fn right(&self) -> usize {
        self.nodes.iter().filter(|node| node.correct).count()
    }

    /// Simulations a second.
    pub fn rate(&self) -> Option<f64> {
        (self.ms > 0.0 && self.done > 0).then(|| self.done as f64 / self.ms * 1e3)
    }

    /// The programs in the order they are listed.
    pub fn sorted(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        let node = |i: usize| &self.nodes[i];
        match self.sort {
            Sort::Shortest => order.sort_by_key(|&i| (Reverse(node(i).correct), node(i).program.depth())),
            Sort::Newest => order.reverse(),
            Sort::Margin => order.sort_by(|&a, &b| node(b).margin.total_cmp(&node(a).margin)),
        }
        order
    }

    /// Selects a program, and unfolds what hides it.
    pub fn select(&mut self, node: usize) {
        self.selected = node.min(self.nodes.len().saturating_sub(1));
        let mut at = self.nodes.get(self.selected).and_then(|n| n.parent);
        while let Some(parent) = at {
            self.folded.remove(&parent);
            at = self.nodes[parent].parent;
        }
    }

    /// The selection stays where the user puts it.
    fn choose(&mut self) {
        (self.follow, self.chosen) = (false, true);
    }

    /// Begins or ends following what is new, while there is something new to come.
    pub fn toggle_follow(&mut self) {
        self.follow = !self.follow && self.is_running();
        self.chosen = !self.follow;
    }

    /// What the keys go through: each program once.
    fn order(&self) -> Vec<usize> {
        match self.pane {
            Pane::Tree => rows(self).iter().filter(|row| !row.again).map(|row| row.node).collect(),
            Pane::Programs => self.sorted(),
        }
    }

    /// Moves the selection by lines.
    pub fn move_by(&mut self, lines: isize) {
        let order = self.order();
        let at = order.iter().position(|&n| n == self.selected).unwrap_or(0);
        let to = at.saturating_add_signed(lines).min(order.len().saturating_sub(1));
        self.choose();
        if let Some(&node) = order.get(to) {
            self.select(node);
        }
    }

    /// Shows the children of the selected node, or goes to the first of them.
    pub fn unfold(&mut self) {
        self.choose();
        if self.pane == Pane::Programs || self.folded.remove(&self.selected) {
            return;
        }
        let own = |child: &&usize| self.nodes[**child].parent == Some(self.selected);
        let node = self.nodes.get(self.selected);
        if let Some(&child) = node.and_then(|n| n.children.iter().find(own)) {
            self.select(child);
        }
    }

    /// Hides the children of the selected node; where there are none to hide, goes to its parent.
    pub fn fold(&mut self) {
        self.choose();
        let Some(node) = self.nodes.get(self.selected).filter(|_| self.pane == Pane::Tree) else {
            return;
        };
        if !node.children.is_empty() && self.folded.insert(self.selected) {
            return;
        }
        if let Some(parent) = node.parent {
            self.select(parent);
        }
    }

    /// Folds or unfolds the selected node.
    pub fn toggle(&mut self) {
        match self.folded.contains(&self.selected) {
            true => self.unfold(),
            false if self.nodes.get(self.selected).is_some_and(|n| !n.children.is_empty()) => self.fold(),
            false => {}
        }
    }
}

/// What an edit did, like `skip 12 13` or `repeat 4`; `once 4` where a repeated layer runs once again.
pub fn change(before: &Program, after: &Program) -> String {
    let layers = before.layers().iter().chain(after.layers()).max().map_or(0, |l| l + 1);
    let (old, new) = (before.executions(layers), after.executions(layers));
    let changed: Vec<usize> = (0..layers).filter(|&l| old[l] != new[l]).collect();
    let mut words: Vec<String> = Vec::new();
    for action in Action::ALL {
        let those = changed.iter().filter(|&&l| Action::from_executions(new[l]) == action);
        let those: Vec<String> = those.map(usize::to_string).collect();
        let word = match action {
            Action::Skip => "skip",
            Action::Execute => "once",
            Action::Repeat => "repeat",
        };
        if !those.is_empty() {
            words.push(format!("{word} {}", those.join(" ")));
        }
    }
    words.join(", ")
}
