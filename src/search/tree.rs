//! The search tree: programs as nodes, edits as edges.

use std::collections::{HashMap, HashSet};

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::mcts::{ProgramOutcome, SearchSettings};
use crate::program::{Program, greatest_depth, segments};

/// Which programs are one edit away from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Edits {
    /// Dr.LLM's: 1 or 2 neighbours skipped, a layer repeated
    #[default]
    Layers,
    /// PoLar's: a segment of 1 to 4 layers skipped or repeated as a whole, no layer edited twice
    Segments,
}

impl Edits {
    /// Every program one edit away, each once, in a fixed order.
    pub fn of(self, program: &Program, layers: usize) -> Vec<Program> {
        match self {
            Edits::Layers => edits(program, layers),
            Edits::Segments => segment_edits(program, layers),
        }
    }

    /// Whether these edits can lead to a program of `layers` layers.
    pub fn reach(self, program: &Program, layers: usize) -> bool {
        match self {
            Edits::Layers => program.to_actions(layers).is_some(),
            Edits::Segments => segments::parse(program, layers).is_some(),
        }
    }

    /// What programs of these edits are, for messages.
    pub fn programs(self) -> &'static str {
        match self {
            Edits::Layers => "action vector: each layer at most twice, in order",
            Edits::Segments => "program of segments: 1 to 4 layers, each segment skipped, kept or run twice, in order",
        }
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Edits::default()
    }
}

/// Every program one segment away: 1 to 4 neighbouring layers that run once each, skipped or run
/// twice as a whole. What was edited before is left alone, so the order of edits does not matter.
fn segment_edits(program: &Program, layers: usize) -> Vec<Program> {
    let run = program.layers();
    let executions = program.executions(layers);
    let mut found = Vec::new();
    for length in 1..=segments::LONGEST {
        for at in 0..(run.len() + 1).saturating_sub(length) {
            let segment = &run[at..at + length];
            let neighbours = segment.windows(2).all(|w| w[1] == w[0] + 1);
            if neighbours && segment.iter().all(|&layer| executions[layer] == 1) {
                found.push([&run[..at], &run[at + length..]].concat());
                found.push([&run[..at + length], &run[at..]].concat());
            }
        }
    }
    found.into_iter().map(Program::from_layers).collect()
}

/// Every program one edit away: 1 or 2 consecutive positions skipped, or one position repeated
/// once. Each program once, in a fixed order; all are action vectors if `program` is one, and none
/// is longer than twice the model's `layers`.
fn edits(program: &Program, layers: usize) -> Vec<Program> {
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
    if run.len() < greatest_depth(layers) {
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
pub struct ProgramNode {
    /// How the node is reached.
    pub program: Program,
    /// What the program came to.
    pub evaluation: ProgramOutcome,
    /// v: simulations that passed or ended here, its evaluation included.
    pub visits: u32,
    /// Q: sum of their rewards.
    pub reward: f64,
    /// Nodes of programs one edit away that were tried from here.
    pub children: Vec<usize>,
    /// Programs one edit away that were not tried from here, in random order; the next one last.
    untried: Vec<Program>,
}

/// All programs reached so far; node 0 is the root.
pub struct Tree {
    /// In the order in which they were reached first.
    pub nodes: Vec<ProgramNode>,
    index: HashMap<Program, usize>,
    layers: usize,
    edits: Edits,
}

impl Tree {
    /// A tree without nodes: the first one that is added is the root.
    pub fn new(layers: usize, edits: Edits) -> Tree {
        Tree {
            nodes: Vec::new(),
            index: HashMap::new(),
            layers,
            edits,
        }
    }

    /// The node of a program that was reached before.
    pub fn find(&self, program: &Program) -> Option<usize> {
        self.index.get(program).copied()
    }

    /// Adds a program that was not reached before; its edits will be tried in random order.
    pub fn add(&mut self, program: Program, evaluation: ProgramOutcome, rng: &mut impl Rng) -> usize {
        let mut untried = self.edits.of(&program, self.layers);
        untried.shuffle(rng);
        self.index.insert(program.clone(), self.nodes.len());
        self.nodes.push(ProgramNode {
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

impl ProgramNode {
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
    use crate::program::Action;
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

    #[test]
    fn segments_are_edited_once_and_in_any_order() {
        let once = |text: &str| Edits::Segments.of(&Program::parse(text, 6).unwrap(), 6);
        assert_eq!(once("0-5").len(), 2 * (6 + 5 + 4 + 3));
        let expected = [
            "1-2",
            "0x2 1-2",
            "0 2",
            "0 1x2 2",
            "0-1",
            "0-1 2x2",
            "2",
            "(0-1)x2 2",
            "0",
            "0 (1-2)x2",
        ];
        let expected: Vec<Program> = expected
            .iter()
            .map(|t| Program::parse(&format!("{t} 5x2"), 6).unwrap())
            .collect();
        let found = once("0-2 5x2");
        assert_eq!(found[..10], expected, "layers 3 to 5 were edited");
        assert_eq!(found.len(), 12, "and 0 to 2 as a whole");
        // All that two edits lead to, either first, is reached both ways.
        let two = |first: &str| once(first).into_iter().collect::<HashSet<_>>();
        let both = Program::parse("(0-1)x2 2-3", 6).unwrap();
        assert!(two("(0-1)x2 2-5").contains(&both) && two("0-3").contains(&both));
    }

    #[test]
    fn segments_lead_to_every_program_that_has_a_parse() {
        let standard = Program::standard(5);
        let (mut seen, mut open) = (HashSet::from([standard.clone()]), vec![standard]);
        while let Some(program) = open.pop() {
            assert!(Edits::Segments.reach(&program, 5), "{program}");
            let new = Edits::Segments.of(&program, 5);
            assert_eq!(new.iter().collect::<HashSet<_>>().len(), new.len());
            open.extend(new.into_iter().filter(|p| seen.insert(p.clone())));
        }
        let mut cuts: Vec<Vec<segments::Segment>> = vec![Vec::new()];
        for _ in 0..5 {
            cuts = cuts
                .into_iter()
                .flat_map(|cut| {
                    let start = cut.last().map_or(0, |s| s.start + s.length);
                    let lengths = 1..=segments::LONGEST.min(5 - start);
                    let mut longer: Vec<Vec<segments::Segment>> = lengths
                        .flat_map(|length| {
                            let segment = |action| segments::Segment { start, length, action };
                            Action::ALL.map(|action| [&cut[..], &[segment(action)]].concat())
                        })
                        .collect();
                    if start == 5 {
                        longer.push(cut);
                    }
                    longer
                })
                .collect();
        }
        let all: HashSet<Program> = cuts.iter().map(|cut| segments::expand(cut)).collect();
        assert_eq!(seen, all);
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
                prop_assert!(edited.depth() <= greatest_depth(layers) && *edited != program);
            }
            prop_assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        }
    }
}
