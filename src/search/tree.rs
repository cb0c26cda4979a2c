//! The search tree: programs as nodes, edits as edges.

use std::collections::{HashMap, HashSet};

use rand::Rng;
use rand::seq::SliceRandom;

use super::mcts::{Evaluation, SearchSettings};
use crate::program::Program;

/// Every program one edit away: 1 or 2 consecutive positions skipped, or one position repeated
/// once. Each program once, in a fixed order; all are action vectors if `program` is one, and none
/// is longer than twice the model's `layers`.
pub fn edits(program: &Program, layers: usize) -> Vec<Program> {
    let run = program.layers();
    let executions = program.executions(layers);
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let mut add = |edited: Vec<usize>| {
        let edited = Program::from_layers(edited);
        if seen.insert(edited.clone()) {
            found.push(edited);
        }
    };
    for skipped in [1, 2] {
        for at in 0..(run.len() + 1).saturating_sub(skipped) {
            add([&run[..at], &run[at + skipped..]].concat());
        }
    }
    if run.len() < 2 * layers {
        for (at, &layer) in run.iter().enumerate() {
            if executions[layer] < 2 {
                add([&run[..=at], &run[at..]].concat());
            }
        }
    }
    found
}

/// A program that was reached, with all that is known of it. A program reached on several ways is
/// one node, so the tree's nodes may have several parents.
#[derive(Clone, Debug)]
pub struct Node {
    pub program: Program,
    pub evaluation: Evaluation,
    /// v: simulations that passed or ended here, its evaluation included.
    pub visits: u32,
    /// Q: sum of their rewards.
    pub reward: f64,
    pub children: Vec<usize>,
    /// Programs one edit away that were not tried from here, in random order; the next one last.
    untried: Vec<Program>,
}

/// All programs reached so far; node 0 is the root.
pub struct Tree {
    pub nodes: Vec<Node>,
    index: HashMap<Program, usize>,
    layers: usize,
}

impl Tree {
    pub fn new(layers: usize) -> Tree {
        Tree {
            nodes: Vec::new(),
            index: HashMap::new(),
            layers,
        }
    }

    /// The node of a program that was reached before.
    pub fn find(&self, program: &Program) -> Option<usize> {
        self.index.get(program).copied()
    }

    /// Adds a program that was not reached before; its edits will be tried in random order.
    pub fn add(&mut self, program: Program, evaluation: Evaluation, rng: &mut impl Rng) -> usize {
        let mut untried = edits(&program, self.layers);
        untried.shuffle(rng);
        self.index.insert(program.clone(), self.nodes.len());
        self.nodes.push(Node {
            program,
            evaluation,
            visits: 0,
            reward: 0.0,
            children: Vec::new(),
            untried,
        });
        self.nodes.len() - 1
    }

    /// Adds a visit and its reward to every node of a path.
    pub fn back_up(&mut self, path: &[usize], reward: f64) {
        for &node in path {
            self.nodes[node].visits += 1;
            self.nodes[node].reward += reward;
        }
    }

    /// Walks from the root to the node that is to be expanded: while a node has its share of
    /// children, on to one of them.
    ///
    /// Since a repeated layer may be skipped again, edits can lead back; a child that is on the
    /// path already is passed over, so that the walk ends.
    pub fn select(&self, settings: &SearchSettings, rng: &mut impl Rng) -> Vec<usize> {
        let mut path = vec![0];
        loop {
            let node = &self.nodes[path[path.len() - 1]];
            if !node.is_wide_enough() {
                return path;
            }
            let open: Vec<usize> = node.children.iter().copied().filter(|c| !path.contains(c)).collect();
            if open.is_empty() {
                return path;
            }
            let next = if rng.random_bool(settings.random_child) {
                open[rng.random_range(0..open.len())]
            } else {
                self.best_by_ucb(&open, node.visits, settings)
            };
            path.push(next);
        }
    }

    /// The child of greatest UCB; of equals the one expanded first.
    fn best_by_ucb(&self, children: &[usize], parent_visits: u32, settings: &SearchSettings) -> usize {
        let ucb = |child: usize| settings.ucb(&self.nodes[child], parent_visits, self.layers);
        let better = |best: usize, child: usize| if ucb(child) > ucb(best) { child } else { best };
        children
            .iter()
            .copied()
            .reduce(better)
            .expect("the caller has children")
    }

    /// The next untried edit of the last node of `path`. Edits that lead back onto the path are
    /// no progress and are dropped.
    pub fn next_untried(&mut self, path: &[usize]) -> Option<Program> {
        let last = *path.last()?;
        while let Some(program) = self.nodes[last].untried.pop() {
            if self.find(&program).is_none_or(|node| !path.contains(&node)) {
                return Some(program);
            }
        }
        None
    }
}

impl Node {
    /// Progressive widening: whether the node has min(all its edits, ⌈2·√v⌉) children. Without it
    /// a root with some ninety edits would keep every simulation in the first ply.
    fn is_wide_enough(&self) -> bool {
        let allowed = (2.0 * f64::from(self.visits).sqrt()).ceil() as usize;
        self.untried.is_empty() || self.children.len() >= allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edits_of_a_small_program() {
        let found = edits(&Program::from_layers([0, 1, 1]), 2);
        let expected: Vec<Program> = ["1x2", "0 1", "1", "0", "0x2 1x2"]
            .iter()
            .map(|text| Program::parse(text, 2).unwrap())
            .collect();
        assert_eq!(found, expected, "each program once; layer 1 may not run a third time");
        assert_eq!(edits(&Program::default(), 2), []);
        assert_eq!(edits(&Program::standard(30), 30).len(), 30 + 29 + 30);
    }

    proptest! {
        #[test]
        fn edits_stay_action_vectors(executions in proptest::collection::vec(0usize..3, 1..8)) {
            let layers = executions.len();
            let run = executions.iter().enumerate().flat_map(|(l, n)| std::iter::repeat_n(l, *n));
            let program = Program::from_layers(run);
            let all = edits(&program, layers);
            for edited in &all {
                prop_assert!(edited.to_actions(layers).is_some(), "{program} → {edited}");
                prop_assert!(edited.depth() <= 2 * layers && *edited != program);
            }
            prop_assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        }
    }
}
