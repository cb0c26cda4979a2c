//! Length-aware Monte Carlo tree search (Dr.LLM, arXiv 2510.12773; spec §4).
//!
//! The paper's search with two differences, both ours: nodes widen progressively, and edits that
//! would not be an action vector are not made. The authors' released search expands only childless
//! nodes, so that its tree is one chain; this one is a tree.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::tree::{Edits, ProgramNode, Tree};
use crate::program::Program;

/// What one program came to on one question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProgramOutcome {
    /// Whether the answer is right.
    pub correct: bool,
    /// How far the right choice's score is above the best other; below 0 where it is wrong. 1 or −1
    /// where the model writes its answer.
    pub margin: f64,
}

/// Runs programs on one question.
pub trait Evaluate {
    /// # Errors
    /// Where the model cannot run the program.
    fn evaluate(&mut self, program: &Program) -> Result<ProgramOutcome>;
}

impl<E: Evaluate + ?Sized> Evaluate for &mut E {
    fn evaluate(&mut self, program: &Program) -> Result<ProgramOutcome> {
        (**self).evaluate(program)
    }
}

/// The numbers of the search. All of them stand in the records' header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchSettings {
    /// Simulations a question, at most; the standard program's evaluation comes before them.
    pub simulations: usize,
    /// Of the random numbers; each question has its own.
    pub seed: u64,
    /// Once a right program saves this many layers, stop.
    pub stop_at_saving: Option<usize>,
    /// c of the UCB.
    pub exploration: f64,
    /// λ of the UCB.
    pub length_penalty: f64,
    /// Probability of going to a random child instead of the best.
    pub random_child: f64,
    /// What a step of the tree changes.
    #[serde(default, skip_serializing_if = "Edits::is_default")]
    pub edits: Edits,
    /// Where not empty, no tree is searched: these programs are run on every question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Program>,
}

impl Default for SearchSettings {
    fn default() -> Self {
        SearchSettings {
            simulations: 50,
            seed: 42,
            stop_at_saving: None,
            exploration: 1.8,
            length_penalty: 3.0,
            random_child: 0.1,
            edits: Edits::default(),
            programs: Vec::new(),
        }
    }
}

impl SearchSettings {
    /// UCB = Q/v + c·√(ln V / v) − λ·len/L, with V the parent's visits; +∞ where v = 0.
    pub fn ucb(&self, node: &ProgramNode, parent_visits: u32, layers: usize) -> f64 {
        if node.visits == 0 {
            return f64::INFINITY;
        }
        let visits = f64::from(node.visits);
        let explore = self.exploration * (f64::from(parent_visits).ln() / visits).sqrt();
        let length = self.length_penalty * node.program.depth() as f64 / layers as f64;
        node.reward / visits + explore - length
    }
}

/// The generator of one question: questions taken in any order or alone come out the same.
pub(super) fn question_rng(seed: u64, question: &str) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(question.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// What the search of one question found.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchResult {
    /// The standard program's.
    pub baseline: ProgramOutcome,
    /// Every program evaluated, the standard one first, in the order they were reached.
    pub evaluated: Vec<(Program, ProgramOutcome)>,
    /// How many were carried out.
    pub simulations: usize,
}

impl SearchResult {
    /// The right programs, in the order they were reached.
    pub fn right(&self) -> impl Iterator<Item = &(Program, ProgramOutcome)> {
        self.evaluated.iter().filter(|(_, e)| e.correct)
    }

    /// The training target among the right programs, see [`target`].
    pub fn best(&self) -> Option<&Program> {
        target(self.right().map(|(p, _)| p))
    }
}

/// The training target among right programs: the shortest, ties by fewer distinct layers, then by
/// who was first.
pub fn target<'a>(right: impl Iterator<Item = &'a Program>) -> Option<&'a Program> {
    right.min_by_key(|p| (p.depth(), distinct_layers(p)))
}

fn distinct_layers(program: &Program) -> usize {
    let mut layers = program.layers().to_vec();
    layers.sort_unstable();
    layers.dedup();
    layers.len()
}

/// What a simulation came to, for whoever watches the search.
pub struct Simulation<'a> {
    /// How many were done; 0 for the evaluation of the standard program before the first one.
    pub number: usize,
    /// After the simulation.
    pub tree: &'a Tree,
    /// Nodes from the root to the one whose reward was added to all of them.
    pub path: &'a [usize],
    /// Whether the last of them was reached for the first time, and so evaluated.
    pub new: bool,
}

/// Hears of every simulation of a tree search.
pub type SearchObserver<'o> = dyn FnMut(&Simulation) + 'o;

/// Searches the programs of a model of `layers` layers for one question. `None` if `stop` was set
/// before it was done.
///
/// A question that the standard program gets wrong ends with the first right program; one that it
/// gets right is searched for shorter ones until the simulations are spent or enough layers saved.
/// With [`Edits::Segments`] a wrong one is searched like a right one.
pub fn search(
    question: &str,
    layers: usize,
    settings: &SearchSettings,
    evaluator: &mut impl Evaluate,
    stop: &AtomicBool,
) -> Result<Option<SearchResult>> {
    search_watched(question, layers, settings, evaluator, stop, &mut |_| {})
}

/// [`search`], telling `observer` of every simulation; where programs are given there are none.
pub fn search_watched(
    question: &str,
    layers: usize,
    settings: &SearchSettings,
    evaluator: &mut impl Evaluate,
    stop: &AtomicBool,
    observer: &mut SearchObserver,
) -> Result<Option<SearchResult>> {
    if !settings.programs.is_empty() {
        return survey(layers, settings, evaluator, stop);
    }
    let found = Search::start(question, layers, settings, evaluator, observer)?.run(evaluator, stop, observer)?;
    Ok(found.map(Search::result))
}

/// Runs the standard program and then those of `settings.programs`, each once.
fn survey(
    layers: usize,
    settings: &SearchSettings,
    evaluator: &mut impl Evaluate,
    stop: &AtomicBool,
) -> Result<Option<SearchResult>> {
    let standard = Program::standard(layers);
    let mut evaluated = vec![(standard.clone(), evaluator.evaluate(&standard)?)];
    for program in settings.programs.iter().filter(|p| **p != standard) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        evaluated.push((program.clone(), evaluator.evaluate(program)?));
    }
    Ok(Some(SearchResult {
        baseline: evaluated[0].1,
        simulations: evaluated.len() - 1,
        evaluated,
    }))
}

struct Search<'a> {
    tree: Tree,
    rng: ChaCha8Rng,
    settings: &'a SearchSettings,
    simulations: usize,
    layers: usize,
    /// Depth of the shortest right program so far.
    shortest: Option<usize>,
}

impl<'a> Search<'a> {
    fn start(
        question: &str,
        layers: usize,
        settings: &'a SearchSettings,
        evaluator: &mut impl Evaluate,
        observer: &mut SearchObserver,
    ) -> Result<Self> {
        let mut search = Search {
            tree: Tree::new(layers, settings.edits),
            rng: question_rng(settings.seed, question),
            settings,
            simulations: 0,
            layers,
            shortest: None,
        };
        let root = search.reach(Program::standard(layers), evaluator)?;
        search.back_up(&[root]);
        search.tell(&[root], true, observer);
        Ok(search)
    }

    fn run(
        mut self,
        evaluator: &mut impl Evaluate,
        stop: &AtomicBool,
        observer: &mut SearchObserver,
    ) -> Result<Option<Self>> {
        while self.simulations < self.settings.simulations && !self.is_done() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            self.simulate(evaluator, observer)?;
        }
        Ok(Some(self))
    }

    /// One simulation: select, expand, evaluate, back up.
    fn simulate(&mut self, evaluator: &mut impl Evaluate, observer: &mut SearchObserver) -> Result<()> {
        self.simulations += 1;
        let known = self.tree.nodes.len();
        let mut path = self.tree.select(self.settings, &mut self.rng);
        if let Some(program) = self.tree.next_untried(&path) {
            let parent = path[path.len() - 1];
            let child = self.reach(program, evaluator)?;
            self.tree.nodes[parent].children.push(child);
            path.push(child);
        }
        self.back_up(&path);
        self.tell(&path, self.tree.nodes.len() > known, observer);
        Ok(())
    }

    fn tell(&self, path: &[usize], new: bool, observer: &mut SearchObserver) {
        observer(&Simulation {
            number: self.simulations,
            tree: &self.tree,
            path,
            new,
        });
    }

    /// The node of a program; one that was not reached before is evaluated.
    fn reach(&mut self, program: Program, evaluator: &mut impl Evaluate) -> Result<usize> {
        if let Some(node) = self.tree.find(&program) {
            return Ok(node);
        }
        let evaluation = evaluator.evaluate(&program)?;
        if evaluation.correct {
            let depth = program.depth();
            self.shortest = Some(self.shortest.map_or(depth, |s| s.min(depth)));
        }
        Ok(self.tree.add(program, evaluation, &mut self.rng))
    }

    /// Backs up the reward of the path's last node, 1 if right, without the length penalty.
    fn back_up(&mut self, path: &[usize]) {
        let last = path[path.len() - 1];
        let reward = f64::from(u8::from(self.tree.nodes[last].evaluation.correct));
        self.tree.back_up(path, reward);
    }

    fn is_done(&self) -> bool {
        let Some(shortest) = self.shortest else { return false };
        // A predictor of programs learns from all that are right, so one is not enough for it.
        let turned_right = !self.tree.nodes[0].evaluation.correct && self.settings.edits == Edits::Layers;
        let saved = self.layers.saturating_sub(shortest);
        turned_right || self.settings.stop_at_saving.is_some_and(|k| saved >= k)
    }

    fn result(self) -> SearchResult {
        SearchResult {
            baseline: self.tree.nodes[0].evaluation,
            evaluated: self.tree.nodes.into_iter().map(|n| (n.program, n.evaluation)).collect(),
            simulations: self.simulations,
        }
    }
}

#[cfg(test)]
mod tests;
