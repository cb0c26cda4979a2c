//! Hostile texts: no panic, no long work, little stack.

use std::time::{Duration, Instant};

use math_grading::{Verdict, compare, grade, numbers};
use proptest::prelude::*;

/// Generous: machines are slow and tests run side by side.
const SOON: Duration = Duration::from_secs(60);

fn soon<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let value = run();
    let shown: String = what.chars().take(60).collect();
    assert!(begin.elapsed() < SOON, "{shown} took {:?}", begin.elapsed());
    value
}

#[test]
fn repeated_pieces_come_to_an_end() {
    // On little stack.
    let run = || {
        let pieces = [
            "{",
            "}",
            "(",
            "[",
            "|",
            "-",
            "+",
            "^",
            "\\",
            "\\frac",
            "\\frac{",
            "\\sqrt",
            "\\sqrt{",
            "\\boxed{",
            "\\boxed ",
            "\\{",
            "_",
            "x",
            "9",
            "9,",
            "1,000,",
            "1/",
            "\\text{",
            "\\pm",
            "\\sin",
            "\\sin(",
            "%",
            "=",
            "\\cup",
            "1 ",
            "- ",
            "$",
            "####",
            "(1,",
            "2^",
            "((x+1)",
            "1e9",
            "é",
            "!",
            "\\left|",
            "\\binom",
            "\\begin{pmatrix}",
            "\\\\",
            "&",
            "1_2",
            "0.\\overline{3}",
            "\\dot{1}",
            "<x",
            "x<",
            "\\setminus",
            ":",
            "\\lfloor",
            "°",
            "²",
            "½",
            "!=",
        ];
        for piece in pieces {
            for short in [
                piece.repeat(9000 / piece.len()),
                piece.repeat(200),
                piece.repeat(60),
                piece.repeat(7),
            ] {
                let closed = format!("{short}{}", "}".repeat(short.matches('{').count()));
                for written in [&short, &closed] {
                    soon(written, || compare(written, "5"));
                    soon(written, || compare(written, &format!("{written}+0")));
                    soon(written, || grade("5", &format!("\\boxed{{{written}}}")));
                    soon(written, || numbers::read(written));
                }
            }
            let long = piece.repeat((1 << 20) / piece.len());
            assert_eq!(soon(&long, || compare(&long, "5")), Verdict::NotUnderstood);
            soon(&long, || grade("5", &long));
            soon(&long, || numbers::read(&long));
        }
    };
    let small = std::thread::Builder::new().stack_size(1 << 20).spawn(run);
    small.unwrap().join().unwrap();
}

#[test]
fn heavy_mathematics_comes_to_an_end() {
    use Verdict::{NotUnderstood, Right, Wrong};
    let list = |of: &dyn Fn(usize) -> String| (0..60).map(of).collect::<Vec<_>>().join(",");
    let nested = |open: &str, close: &str, n: usize| format!("{}x{}", open.repeat(n), close.repeat(n));
    let rows: Vec<(String, String, Verdict)> = vec![
        ("3^{10^9}".into(), "3^{1000000000}".into(), Right),
        ("3^{10^9}".into(), "3^{10^9}+1".into(), NotUnderstood),
        ("3^{10^9}".into(), "3^{10^9+1}".into(), Wrong),
        ("100000!".into(), "100001!".into(), Wrong),
        ("100000!+1".into(), "100000!".into(), NotUnderstood),
        ("\\frac{100000!}{99999!}".into(), "100000".into(), Right),
        ("10^{10^{10^{10}}}".into(), "10^{10^{10^{11}}}".into(), NotUnderstood),
        ("\\sin(10^{100000})".into(), "1".into(), NotUnderstood),
        ("e^{e^{e^{e^{10}}}}".into(), "1".into(), NotUnderstood),
        ("\\binom{1000000}{500000}".into(), "1".into(), NotUnderstood),
        ("1e9999999".into(), "1e9999998".into(), NotUnderstood),
        ("(1+x)^{100000}".into(), "(1+x)^{100001}".into(), Wrong),
        (
            "((1+\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7})^{64})^{64}".into(),
            "5".into(),
            NotUnderstood,
        ),
        ("9".repeat(9000), format!("{}8", "9".repeat(8999)), Wrong),
        (nested("(", ")", 15), "x".into(), Right),
        (nested("(", ")", 900), "x".into(), NotUnderstood),
        (nested("\\sin(", ")", 15), nested("\\sin(", "+0)", 15), Right),
        (nested("\\sqrt{", "}", 60), "x".into(), NotUnderstood),
        (
            list(&|i| format!("200000!+{i}")),
            list(&|i| format!("200000!-{i}")),
            NotUnderstood,
        ),
        (
            list(&|i| format!("\\sin {i}")),
            list(&|i| format!("\\sin {}", i ^ 1)),
            Right,
        ),
        (
            list(&|i| format!("\\sqrt[7]{{{i}}}")),
            list(&|i| format!("\\sqrt[7]{{{}}}", i + 1)),
            Wrong,
        ),
    ];
    for (a, b, expected) in rows {
        let verdict = soon(&a, || compare(&a, &b));
        // What is out of work is not understood, whatever it would have been.
        assert!(
            verdict == expected || (verdict == NotUnderstood && expected == Wrong),
            "{a} and {b}: {verdict:?}"
        );
    }
}

/// LaTeX of expressions, lists, intervals and words.
fn latex() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        (-999i32..999).prop_map(|n| n.to_string()),
        (0u32..99, 0u32..99).prop_map(|(a, b)| format!("{a}.{b}")),
        (1u32..99, 1u32..99).prop_map(|(a, b)| format!("\\frac{{{a}}}{{{b}}}")),
        prop_oneof![
            Just("x"),
            Just("y"),
            Just("\\pi"),
            Just("e"),
            Just("i"),
            Just("\\infty")
        ]
        .prop_map(String::from),
    ];
    let expression = number.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}+{b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("\\frac{{{a}}}{{{b}}}")),
            (inner.clone(), 0u32..5).prop_map(|(a, n)| format!("({a})^{{{n}}}")),
            inner.clone().prop_map(|a| format!("\\sqrt{{{a}}}")),
            inner.clone().prop_map(|a| format!("\\left|{a}\\right|")),
            inner.clone().prop_map(|a| format!("\\sin^{{-1}}({a})")),
            inner.prop_map(|a| format!("\\ln({a})")),
        ]
    });
    let list = proptest::collection::vec(expression.clone(), 1..4).prop_map(|items| items.join(", "));
    prop_oneof![
        expression.clone(),
        expression.clone().prop_map(|e| format!("{e}\\%")),
        expression.clone().prop_map(|e| format!("x={e}")),
        expression.clone().prop_map(|e| format!("x\\le {e}")),
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
    fn comparing_is_reflexive_and_symmetric(a in latex(), b in latex()) {
        prop_assert_eq!(compare(&a, &a), Verdict::Right);
        // Another spelling of the same, so that equal texts are no shortcut: never wrong.
        prop_assert_ne!(compare(&a, &format!(" ~ {a}\\,")), Verdict::Wrong, "{}", a);
        prop_assert_eq!(compare(&a, &b), compare(&b, &a), "{} and {}", a, b);
    }

    #[test]
    fn equal_rationals_are_right_and_others_wrong(n in -500i64..500, d in 1i64..60, k in 1i64..9, other in 1i64..99) {
        let (gold, same) = (format!("\\frac{{{n}}}{{{d}}}"), format!("{}/{}", n * k, d * k));
        prop_assert_eq!(compare(&gold, &same), Verdict::Right);
        prop_assert_eq!(compare(&gold, &format!("{}/{}", n * k + other, d * k)), Verdict::Wrong);
    }

    #[test]
    fn nothing_panics(any in "\\PC{0,60}", latex in "[-+*/^_{}()\\[\\]\\\\a-z0-9 .,=<>%$|&~!:°²]{0,80}", words in
        "(\\\\(frac|sqrt|binom|sin|log|left|right|text|begin\\{pmatrix\\}|end\\{pmatrix\\}|cup|pm|overline|dot|cdot|infty|le|setminus|\\\\)|[0-9xie,.!|(){}^_+-]|\\\\\\{|\\\\\\}){0,40}")
    {
        for text in [&any, &latex, &words] {
            compare(text, "5");
            compare(text, &format!("{text}+0"));
            grade("5", &format!("\\boxed {text}"));
            numbers::read(text);
        }
        prop_assert_eq!(compare(&latex, &words), compare(&words, &latex));
    }
}
