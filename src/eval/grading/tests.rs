use super::*;

/// Rows of kind, gold answer, what was written, and whether that is right.
const TABLE: &str = include_str!("../../../tests/data/grading.tsv");

#[test]
fn the_table_is_graded_as_it_says() {
    let rows = TABLE.lines().filter(|l| !l.starts_with('#'));
    let mut mistakes = Vec::new();
    let mut count = 0;
    for row in rows {
        let [kind, gold, written, expected] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let lines = written.replace("\\n", "\n");
        let right = match kind {
            "number" => is_right(&Answer::Number(gold.into()), &lines),
            "box" => is_right(&Answer::Math(gold.into()), written),
            "letter" => is_right(&choice(gold), &lines),
            other => panic!("{other}"),
        };
        count += 1;
        if right != (expected == "right") {
            mistakes.push(row);
        }
    }
    assert!(mistakes.is_empty(), "graded otherwise:\n{}", mistakes.join("\n"));
    assert!(count > 80, "{count}");
}

fn choice(letter: &str) -> Answer {
    Answer::Choice {
        choices: ["a", "b", "c", "d"].map(String::from).into(),
        right: usize::from(letter.as_bytes()[0] - b'A'),
    }
}

#[test]
fn what_is_not_understood_is_said() {
    let gold = Answer::Math("\\frac12".into());
    assert_eq!(grade(&gold, "\\boxed{0.5}"), Verdict::Right);
    assert_eq!(grade(&gold, "\\boxed{0.6}"), Verdict::Wrong);
    assert_eq!(grade(&gold, "0.5"), Verdict::Wrong);
    assert_eq!(grade(&gold, "\\boxed{\\int_0^1 x\\,dx}"), Verdict::NotUnderstood);
    assert!(!is_right(&gold, "\\boxed{\\int_0^1 x\\,dx}"));
}
