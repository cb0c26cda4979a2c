use std::collections::HashSet;

use super::*;

/// Judges programs by a function and refuses to see one twice.
struct Toy<F> {
    right: F,
    seen: HashSet<Program>,
}

impl<F: Fn(&Program) -> bool> Toy<F> {
    fn new(right: F) -> Self {
        Toy {
            right,
            seen: HashSet::new(),
        }
    }
}

impl<F: Fn(&Program) -> bool> Evaluate for Toy<F> {
    fn evaluate(&mut self, program: &Program) -> Result<ProgramOutcome> {
        assert!(self.seen.insert(program.clone()), "{program} was evaluated twice");
        let correct = (self.right)(program);
        let margin = if correct { 1.0 } else { -1.0 };
        Ok(ProgramOutcome { correct, margin })
    }
}

const LAYERS: usize = 12;

fn settings(simulations: usize) -> SearchSettings {
    SearchSettings {
        simulations,
        ..SearchSettings::default()
    }
}

fn tree(settings: &SearchSettings, right: impl Fn(&Program) -> bool) -> Tree {
    let mut toy = Toy::new(right);
    let search = Search::start("q", LAYERS, settings, &mut toy, &mut |_| {}).unwrap();
    let stop = AtomicBool::new(false);
    search.run(&mut toy, &stop, &mut |_| {}).unwrap().unwrap().tree
}

fn result(question: &str, settings: &SearchSettings, right: impl Fn(&Program) -> bool) -> SearchResult {
    let stop = AtomicBool::new(false);
    search(question, LAYERS, settings, &mut Toy::new(right), &stop)
        .unwrap()
        .unwrap()
}

fn runs(program: &Program, layer: usize) -> usize {
    program.layers().iter().filter(|&&l| l == layer).count()
}

#[test]
fn the_tree_is_a_tree() {
    let tree = tree(&settings(200), |_| true);
    let with_many = tree.nodes.iter().filter(|n| n.children.len() >= 2).count();
    assert!(with_many >= 5, "only {with_many} nodes have two children or more");
    let root = &tree.nodes[0];
    assert_eq!(root.visits, 201, "every simulation passes the root");
    assert_eq!(
        root.children.len(),
        29,
        "⌈2·√v⌉ children, widened before the visit that makes v = 201"
    );
    let second_ply = root
        .children
        .iter()
        .map(|&c| tree.nodes[c].children.len())
        .sum::<usize>();
    assert!(second_ply > 20, "the search never left the first ply: {second_ply}");
}

#[test]
fn ucb_chooses_among_children() {
    // Skipping layer 3 first is what is right. The length penalty pulls both ways alike among
    // children of one length, so rewards have to tell.
    let greedy = SearchSettings {
        random_child: 0.0,
        length_penalty: 0.0,
        ..settings(400)
    };
    let tree = tree(&greedy, |p| p.depth() == LAYERS || runs(p, 3) == 0);
    let mean = |right: bool| {
        let children = tree.nodes[0].children.iter().map(|&c| &tree.nodes[c]);
        let visits: Vec<f64> = children
            .filter(|n| (runs(&n.program, 3) == 0) == right)
            .map(|n| f64::from(n.visits))
            .collect();
        visits.iter().sum::<f64>() / visits.len() as f64
    };
    assert!(mean(true) > 3.0 * mean(false), "{} against {}", mean(true), mean(false));
}

#[test]
fn ucb_follows_the_formula() {
    let mut rng = question_rng(settings(1).seed, "q");
    let mut tree = Tree::new(4, Edits::Layers);
    let evaluation = ProgramOutcome {
        correct: true,
        margin: 1.0,
    };
    let node = tree.add(Program::from_layers([0, 1, 2]), evaluation, &mut rng);
    assert_eq!(settings(1).ucb(&tree.nodes[node], 9, 4), f64::INFINITY);
    tree.back_up(&[node], 1.0);
    tree.back_up(&[node], 0.0);
    // 1/2 + 1.8·√(ln 9 / 2) − 3·3/4 = 0.5 + 1.886667 − 2.25
    assert!((settings(1).ucb(&tree.nodes[node], 9, 4) - 0.136_667).abs() < 1e-5);
}

#[test]
fn the_same_seed_gives_the_same_search() {
    let right = |p: &Program| p.layers().iter().sum::<usize>() % 3 != 1;
    let first = result("q", &settings(80), right);
    assert_eq!(first, result("q", &settings(80), right));
    assert_ne!(first, result("another", &settings(80), right));
    let seeded = SearchSettings {
        seed: 43,
        ..settings(80)
    };
    assert_ne!(first, result("q", &seeded, right));
}

#[test]
fn a_wrong_question_ends_when_it_turns_right() {
    let found = result("q", &settings(500), |p| runs(p, 5) == 2 || runs(p, 7) == 0);
    assert!(!found.baseline.correct);
    assert_eq!(found.right().count(), 1);
    assert_eq!(found.evaluated.last().unwrap().0, *found.best().unwrap());
    assert!(found.simulations < 500);
}

#[test]
fn segments_are_searched_to_the_end() {
    let settings = SearchSettings {
        edits: Edits::Segments,
        ..settings(120)
    };
    let found = result("q", &settings, |p| runs(p, 5) == 2 || runs(p, 7) == 0);
    assert!(!found.baseline.correct);
    assert_eq!(found.simulations, 120);
    assert!(found.right().count() > 5);
    let programs = || found.evaluated.iter().map(|(p, _)| p);
    assert!(programs().all(|p| Edits::Segments.reach(p, LAYERS)));
    assert!(
        programs().any(|p| p.to_actions(LAYERS).is_none()),
        "no segment was repeated"
    );
}

#[test]
fn a_right_question_is_searched_to_the_end_or_to_what_it_saves() {
    let right = |p: &Program| runs(p, 0) > 0;
    let found = result("q", &settings(60), right);
    assert_eq!(found.simulations, 60);
    let stopping = SearchSettings {
        stop_at_saving: Some(2),
        ..settings(60)
    };
    let stopped = result("q", &stopping, right);
    assert!(stopped.simulations < 60);
    let depth = stopped.best().unwrap().depth();
    assert!(depth <= LAYERS - 2, "{depth}");
    let earlier = stopped.evaluated.iter().rev().skip(1);
    assert!(earlier.filter(|(_, e)| e.correct).all(|(p, _)| p.depth() > LAYERS - 2));
}

#[test]
fn the_target_is_the_shortest_then_the_least_varied() {
    let result = |programs: &[&str]| {
        let evaluation = |correct| ProgramOutcome { correct, margin: 0.0 };
        let evaluated = programs
            .iter()
            .map(|t| (Program::parse(t, 8).unwrap(), evaluation(true)));
        SearchResult {
            baseline: evaluation(false),
            evaluated: evaluated.collect(),
            simulations: 1,
        }
    };
    let best = |programs| result(programs).best().map(Program::to_string);
    assert_eq!(best(&["0-7", "0-3", "0 1x2 3", "2-5"]), Some("0 1x2 3".into()));
    assert_eq!(best(&["0-3", "2-5"]), Some("0-3".into()));
    assert_eq!(best(&[]), None);
}

#[test]
fn every_program_is_an_action_vector_and_the_walk_ends_in_a_small_space() {
    // Two layers have nine programs; a thousand simulations exhaust them and must neither loop
    // nor evaluate one twice (the toy asserts that).
    let stop = AtomicBool::new(false);
    let mut toy = Toy::new(|p: &Program| p.depth() > 0);
    let found = search("q", 2, &settings(1000), &mut toy, &stop).unwrap().unwrap();
    assert_eq!(found.evaluated.len(), 9);
    assert!(found.evaluated.iter().all(|(p, _)| p.to_actions(2).is_some()));
    assert_eq!(found.best().unwrap().depth(), 1);
}

#[test]
fn a_stopped_search_has_no_result() {
    let mut toy = Toy::new(|_: &Program| false);
    let stop = AtomicBool::new(true);
    assert!(search("q", LAYERS, &settings(5), &mut toy, &stop).unwrap().is_none());
}

#[test]
fn who_watches_hears_of_everything_and_changes_nothing() {
    let right = |p: &Program| runs(p, 0) > 0;
    let (mut visits, mut programs, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    let mut observer = |simulation: &Simulation| {
        numbers.push(simulation.number);
        let last = *simulation.path.last().unwrap();
        assert_eq!(simulation.new, last == programs.len());
        if simulation.new {
            programs.push(simulation.tree.nodes[last].program.clone());
            visits.push(0);
        }
        for &node in simulation.path {
            visits[node] += 1;
            assert_eq!(simulation.tree.nodes[node].visits, visits[node]);
        }
    };
    let stop = AtomicBool::new(false);
    let mut toy = Toy::new(right);
    let watched = search_watched("q", LAYERS, &settings(60), &mut toy, &stop, &mut observer)
        .unwrap()
        .unwrap();
    assert_eq!(watched, result("q", &settings(60), right));
    assert_eq!(numbers, (0..=60).collect::<Vec<_>>());
    assert!(watched.evaluated.iter().map(|(p, _)| p).eq(&programs));
}
