use std::collections::HashMap;

use super::*;

/// Every way to cut `start..layers` into segments with an action each.
fn all(start: usize, layers: usize) -> Vec<Vec<Segment>> {
    if start == layers {
        return vec![Vec::new()];
    }
    let mut found = Vec::new();
    for length in 1..=LONGEST.min(layers - start) {
        for rest in all(start + length, layers) {
            for action in Action::ALL {
                found.push([&[Segment { start, length, action }], &rest[..]].concat());
            }
        }
    }
    found
}

/// Whether `a` is the better parse, by the words of the specification.
fn is_better(a: &[Segment], b: &[Segment]) -> bool {
    let count = |parse: &[Segment], action| parse.iter().filter(|s| s.action == action).count();
    if a.len() != b.len() {
        return a.len() < b.len();
    }
    let (skips_a, skips_b) = (count(a, Action::Skip), count(b, Action::Skip));
    if skips_a != skips_b {
        return skips_a < skips_b;
    }
    let (repeats_a, repeats_b) = (count(a, Action::Repeat), count(b, Action::Repeat));
    if repeats_a != repeats_b {
        return repeats_a > repeats_b;
    }
    let different = a.iter().zip(b).find(|(a, b)| a.length != b.length);
    different.is_some_and(|(a, b)| a.length > b.length)
}

#[test]
fn every_program_of_six_layers_has_the_parse_of_brute_force() {
    const LAYERS: usize = 6;
    let mut best: HashMap<Program, Vec<Segment>> = HashMap::new();
    for parse in all(0, LAYERS) {
        let known = best.entry(expand(&parse)).or_insert_with(|| parse.clone());
        if is_better(&parse, known) {
            *known = parse;
        }
    }
    assert!(best.len() > 1000, "{}", best.len());
    for (program, expected) in &best {
        assert_eq!(parse(program, LAYERS).as_ref(), Some(expected), "{program}");
    }
    // Every other program of up to seven executions has none.
    let (mut programs, mut refused) = (vec![Vec::new()], 0);
    while let Some(run) = programs.pop() {
        let program = Program::from_layers(run.clone());
        assert_eq!(
            parse(&program, LAYERS).is_some(),
            best.contains_key(&program),
            "{program}"
        );
        refused += usize::from(!best.contains_key(&program));
        if run.len() < 7 {
            programs.extend((0..LAYERS).map(|layer| [&run[..], &[layer]].concat()));
        }
    }
    assert!(refused > 300_000, "{refused}");
}

#[test]
fn ties_are_broken_by_the_rules() {
    let parsed = |text: &str, layers| {
        let parse = parse(&Program::parse(text, layers).unwrap(), layers)?;
        let show = |s: &Segment| format!("{}+{} {}", s.start, s.length, s.action);
        Some(parse.iter().map(show).collect::<Vec<_>>().join(", "))
    };
    let standard = "0+4 execute, 4+4 execute, 8+2 execute";
    assert_eq!(parsed("0-9", 10).as_deref(), Some(standard), "larger segments first");
    assert_eq!(parsed("", 5).as_deref(), Some("0+4 skip, 4+1 skip"));
    assert_eq!(parsed("0 1 0 1", 2).as_deref(), Some("0+2 repeat"));
    assert_eq!(parsed("0 0 1 1", 2).as_deref(), Some("0+1 repeat, 1+1 repeat"));
    assert_eq!(parsed("0 0 0", 2), None, "three executions");
    assert_eq!(parsed("1 0", 2), None, "backwards");
    assert_eq!(parsed("0-4 0-4", 5), None, "a repeat of five layers");
    assert_eq!(parse(&Program::from_layers([7]), 3), None, "no such layer");
}
