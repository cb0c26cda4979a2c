//! Boxes, and numbers at the end of a text.

use math_grading::numbers::{is_number, read};
use math_grading::{Verdict, boxed, grade};

#[test]
fn the_last_box_that_is_closed_counts() {
    for (text, contents) in [
        ("The answer is \\boxed{5}.", Some("5")),
        ("\\boxed{4} no, \\boxed{5}", Some("5")),
        ("$\\boxed{\\frac{1}{2}}$", Some("\\frac{1}{2}")),
        ("\\boxed{\\dfrac{1}{2}} \\text{ (\\{x\\})}", Some("\\dfrac{1}{2}")),
        ("\\boxed{\\boxed{5}}", Some("5")),
        ("\\fbox{5}", Some("5")),
        ("\\boxed {5}", Some("5")),
        ("\\boxed{\\{1,2\\}}", Some("\\{1,2\\}")),
        ("\\boxed{5} and \\boxed{4", Some("5")),
        ("\\boxed{5", None),
        ("5", None),
        // Without braces: to the end of the formula, the line or the sentence.
        ("\\boxed 5", Some("5")),
        ("so $\\boxed 5$ is it", Some("5")),
        ("so $\\boxed5$ is it", Some("5")),
        ("\\boxed\\frac12$", Some("\\frac12")),
        ("\\(\\boxed 12\\) apples", Some("12")),
        ("\\[\\boxed -3.5\\]", Some("-3.5")),
        ("\\boxed 3.5. So it is.", Some("3.5")),
        ("\\boxed 7\nand more", Some("7")),
        ("\\boxed{4} and $\\boxed 5$", Some("5")),
        ("$\\boxed 4$ and \\boxed{5}", Some("5")),
        ("\\text{\\boxed 5} more", Some("5")),
        ("\\boxed", None),
        ("\\boxed $", None),
        ("\\boxedness", None),
    ] {
        assert_eq!(boxed::last(text), contents, "{text}");
    }
    assert_eq!(grade("5", "it is 5"), Verdict::Wrong);
    assert_eq!(grade("\\frac12", "$\\boxed\\frac12$"), Verdict::Right);
    assert_eq!(grade("5", "\\boxed{\\int_0^5 dx}"), Verdict::NotUnderstood);
}

#[test]
fn the_number_at_the_end_counts() {
    let same = [
        ("18", "#### 18"),
        ("18", "She makes 9 * 2 = $18 every day.\n#### 18"),
        ("18", "18.0"),
        ("18", "018"),
        ("18", "**18**."),
        ("18", "#### 18 eggs, not 20"),
        ("-5", "−5"),
        ("-5", "-$5"),
        ("5", "16 - 5"),
        ("70000", "$70,000.00"),
        ("2.5", "2 1/2"),
        ("0.5", "1/2"),
        ("1000", "1e3"),
        ("1.8e1", "36/2"),
        (
            "123456789012345678901234567890123456789012",
            "123,456,789,012,345,678,901,234,567,890,123,456,789,012",
        ),
    ];
    for (a, b) in same {
        assert!(read(a).is_some() && read(a) == read(b), "{a} and {b}");
    }
    for (a, b) in [
        ("18", "#### 20\nso 18"),
        ("18", "-18"),
        ("0.5", "50%"),
        ("18", "18 eggs and 3 more"),
    ] {
        assert_ne!(read(a), read(b), "{a} and {b}");
    }
    assert_ne!(
        read("123456789012345678901234567890123456789012"),
        read("123456789012345678901234567890123456789013")
    );
    assert_eq!(read("eighteen"), None);
    assert!(is_number("$18.") && !is_number("18 or 19") && !is_number("x"));
}
