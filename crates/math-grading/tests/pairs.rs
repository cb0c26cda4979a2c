//! Tables of pairs.

use math_grading::{Verdict, compare};

/// Compares each line's first two fields both ways, and returns how many lines there are.
fn check(table: &str) -> usize {
    let mut mistakes = Vec::new();
    let mut count = 0;
    for row in table.lines().filter(|l| !l.starts_with('#')) {
        let [gold, written, expected] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("three fields: {row}");
        };
        let expected = match expected {
            "right" => Verdict::Right,
            "wrong" => Verdict::Wrong,
            "unclear" => Verdict::NotUnderstood,
            other => panic!("{other}"),
        };
        for verdict in [compare(gold, written), compare(written, gold)] {
            if verdict != expected {
                mistakes.push(format!("{verdict:?}: {row}"));
            }
        }
        count += 1;
    }
    assert!(mistakes.is_empty(), "otherwise than expected:\n{}", mistakes.join("\n"));
    count
}

#[test]
fn pairs_by_kind() {
    assert!(check(include_str!("pairs.tsv")) > 700);
}

#[test]
fn pairs_right_or_wrong_by_construction() {
    assert!(check(include_str!("generated.tsv")) > 350);
}
