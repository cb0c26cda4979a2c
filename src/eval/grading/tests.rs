use proptest::prelude::*;

use super::*;

/// Rows of kind, gold answer, what was written, and whether that is right.
const TABLE: &str = include_str!("../../../tests/data/grading.tsv");

#[test]
fn the_table_is_graded_as_it_says() {
    let rows = TABLE.lines().filter(|l| !l.starts_with('#'));
    let mut mistakes = Vec::new();
    let mut count = 0;
    for row in rows {
        let fields: Vec<String> = row.split('\t').map(|f| f.replace("\\n", "\n")).collect();
        // A LaTeX command that begins with n keeps its backslash.
        let raw: Vec<&str> = row.split('\t').collect();
        let [kind, gold, written, expected] = raw[..] else {
            panic!("{row}")
        };
        let right = match kind {
            "number" => is_right(&Answer::Number(gold.into()), &fields[2]),
            "math" => {
                assert_eq!(same_value(gold, written), same_value(written, gold), "symmetric: {row}");
                is_right(&Answer::Math(gold.into()), &format!("so \\boxed{{{written}}}"))
            }
            "box" => is_right(&Answer::Math(gold.into()), written),
            "letter" => is_right(&choice(gold), &fields[2]),
            other => panic!("{other}"),
        };
        count += 1;
        if right != (expected == "right") {
            mistakes.push(row);
        }
    }
    assert!(mistakes.is_empty(), "graded otherwise:\n{}", mistakes.join("\n"));
    assert!(count > 200, "{count}");
}

fn choice(letter: &str) -> Answer {
    Answer::Choice {
        choices: ["a", "b", "c", "d"].map(String::from).into(),
        right: usize::from(letter.as_bytes()[0] - b'A'),
    }
}

#[test]
fn hostile_answers_come_to_an_end() {
    let repeated = |text: &str| text.repeat((1 << 20) / text.len());
    let texts = [
        "{", "}", "(", "[", "|", "-", "+", "^", "\\", "\\frac", "\\frac{", "\\sqrt", "\\sqrt{", "\\boxed{", "\\{", "_",
        "x", "9", "9,", "1,000,", "1/", "\\text{", "\\pm", "\\sin", "%", "=", "\\cup", "1 ", "- ", "$", "####", "(1,",
        "2^", "((x+1)", "1e9", "é",
    ];
    for text in texts {
        let long = repeated(text);
        for short in [long.clone(), text.repeat(1900 / text.len()), text.repeat(60)] {
            let closed = format!("{short}{}", "}".repeat(short.matches('{').count()));
            for written in [&short, &closed, &format!("\\boxed{{{closed}}}")] {
                for answer in [Answer::Number("5".into()), Answer::Math("5".into()), choice("A")] {
                    is_right(&answer, written);
                }
            }
            same_value(&short, &text.repeat(59));
        }
    }
    let powers = "((1+\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7})^{64})^{64}";
    assert!(!same_value(powers, "5"));
    assert!(
        !same_value(&format!("{}5{}", "(".repeat(900), ")".repeat(900)), "5"),
        "too deep to be read"
    );
    assert!(same_value(&format!("{}5{}", "(".repeat(20), ")".repeat(20)), "5"));
}

/// LaTeX of expressions, lists, intervals and words.
fn latex() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        (-999i32..999).prop_map(|n| n.to_string()),
        (0u32..99, 0u32..99).prop_map(|(a, b)| format!("{a}.{b}")),
        (1u32..99, 1u32..99).prop_map(|(a, b)| format!("\\frac{{{a}}}{{{b}}}")),
        prop_oneof![Just("x"), Just("y"), Just("\\pi"), Just("e"), Just("\\infty")].prop_map(String::from),
    ];
    let expression = number.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}+{b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("\\frac{{{a}}}{{{b}}}")),
            (inner.clone(), 0u32..5).prop_map(|(a, n)| format!("({a})^{{{n}}}")),
            inner.clone().prop_map(|a| format!("\\sqrt{{{a}}}")),
            inner.prop_map(|a| format!("\\ln({a})")),
        ]
    });
    let list = proptest::collection::vec(expression.clone(), 1..4).prop_map(|items| items.join(", "));
    prop_oneof![
        expression.clone(),
        expression.clone().prop_map(|e| format!("{e}\\%")),
        expression.clone().prop_map(|e| format!("x={e}")),
        list.clone(),
        list.clone().prop_map(|l| format!("({l})")),
        list.clone().prop_map(|l| format!("[{l})")),
        list.clone().prop_map(|l| format!("\\{{{l}\\}}")),
        list.prop_map(|l| format!("\\pm {l}")),
        "[a-z]{1,8}".prop_map(|w| format!("\\text{{{w}}}")),
    ]
}

proptest! {
    #[test]
    fn grading_is_reflexive_and_symmetric(a in latex(), b in latex()) {
        prop_assert!(same_value(&a, &a));
        // Another spelling of the same: no shortcut by equal text.
        prop_assert!(same_value(&a, &format!("\\left. {a}").replace("\\left. ", " ~ ")), "{a}");
        prop_assert_eq!(same_value(&a, &b), same_value(&b, &a), "{} and {}", a, b);
        let boxed = format!("\\boxed{{{a}}}");
        prop_assert!(is_right(&Answer::Math(a), &boxed));
    }

    #[test]
    fn equal_rationals_grade_right_and_others_wrong(n in -500i64..500, d in 1i64..60, k in 1i64..9, other in 1i64..99) {
        let (gold, same) = (format!("\\frac{{{n}}}{{{d}}}"), format!("{}/{}", n * k, d * k));
        prop_assert!(same_value(&gold, &same), "{gold} and {same}");
        let wrong = format!("{}/{}", n * k + other, d * k);
        prop_assert!(!same_value(&gold, &wrong), "{gold} and {wrong}");
        let written = format!("It is {n}.");
        prop_assert!(is_right(&Answer::Number(n.to_string()), &written));
    }

    #[test]
    fn nothing_panics(gold in "\\PC{0,40}", written in "\\PC{0,200}", latex in "[-+*/^_{}()\\[\\]\\\\a-z0-9 .,=<>%$|&~]{0,80}") {
        for written in [&written, &latex, &format!("\\boxed{{{latex}}}")] {
            is_right(&Answer::Number(gold.clone()), written);
            is_right(&Answer::Math(gold.clone()), written);
            is_right(&Answer::Math(latex.clone()), written);
            is_right(&choice("A"), written);
        }
        prop_assert_eq!(same_value(&gold, &latex), same_value(&latex, &gold));
    }
}
