//! Grades written answers to questions of mathematics: whether one text is the same mathematics as
//! another, in LaTeX or as people type it.
//!
//! ```
//! use math_grading::{Verdict, compare, grade};
//!
//! assert_eq!(compare(r"\frac{\sqrt{2}}{2}", r"1/\sqrt 2"), Verdict::Right);
//! assert_eq!(compare(r"2^{130}", "1361129467683753853853498429727072845825"), Verdict::Wrong);
//! assert_eq!(compare(r"\int_0^1 x\,dx", "1/2"), Verdict::NotUnderstood);
//! assert_eq!(grade("[-2, 7]", r"so we find \boxed{-2 \le x \le 7}."), Verdict::Right);
//! ```
//!
//! # What is understood
//!
//! - **Numbers** of any size up to 12,000 digits, exactly: whole numbers with or without thousands
//!   separators, decimals, repeating decimals (`0.1\overline{6}`, `0.(3)`), fractions, mixed numbers,
//!   scientific notation, percent, factorials, binomials, numbers to a base (`1011_2`). A decimal is
//!   itself: 0.333 is not 1/3.
//! - **Expressions** in variables, π, e and i: roots, powers, magnitudes, floors, trigonometric,
//!   hyperbolic, logarithmic functions and their inverses (`\sin^{-1}` is one), in radians or degrees.
//!   Variables are real and of either sign: `\sqrt{x^2}` is |x| and not x. Polynomials, roots of
//!   numbers and powers have an exact normal form; what has none is compared at 16 points, to 77
//!   digits and more.
//! - **Lists** and sets in any order, points in order, `\pm`, matrices entry by entry.
//! - **Intervals**, unions, differences, and inequalities in one variable that are linear, quadratic or
//!   have one magnitude: all as the sets of real numbers that they are.
//! - **Equations** up to a constant factor and the side on which things stand. `x = 5` is 5 where the
//!   other text is no equation.
//! - **Words**, without regard to case. Units and currency are left out and not compared; 90° is 90
//!   and π/2, 50 % is 50 and 1/2, and `1011_2` is `11_{10}` and the digits 1011.
//!
//! # What is not
//!
//! Integrals, limits, sums with a sign, numbers that go on with dots, vectors with arrows, sums and
//! products of matrices, `cases`, several letters as one name outside of `\text`. `1/2x` is half of x,
//! and not understood where only 1/(2x) would be right. What is not understood, or is too long, too deep
//! or too much work, is compared as text without white space: equal texts are [`Verdict::Right`], and
//! all others [`Verdict::NotUnderstood`], which is neither right nor wrong.
//!
//! Texts may be hostile: length, tokens, nesting and work are bounded.

pub mod boxed;
mod compare;
mod equality;
mod expression;
mod normal;
pub mod numbers;
mod numeric;
mod rational;
mod reals;
mod tokens;
mod values;

/// Whether an answer is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The same mathematics.
    Right,
    /// Both are understood, and they differ.
    Wrong,
    /// One is not understood, or it could not be settled whether they differ.
    NotUnderstood,
}

impl Verdict {
    /// Right or wrong.
    fn of(right: bool) -> Verdict {
        if right { Verdict::Right } else { Verdict::Wrong }
    }

    /// Right if either is.
    fn or(self, other: Verdict) -> Verdict {
        match (self, other) {
            (Verdict::Right, _) | (_, Verdict::Right) => Verdict::Right,
            (Verdict::Wrong, Verdict::Wrong) => Verdict::Wrong,
            _ => Verdict::NotUnderstood,
        }
    }

    /// Right if both are.
    fn and(self, other: Verdict) -> Verdict {
        match (self, other) {
            (Verdict::Wrong, _) | (_, Verdict::Wrong) => Verdict::Wrong,
            (Verdict::Right, Verdict::Right) => Verdict::Right,
            _ => Verdict::NotUnderstood,
        }
    }

    fn any(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        let mut all = Verdict::Wrong;
        for verdict in verdicts {
            all = all.or(verdict);
            if all == Verdict::Right {
                break;
            }
        }
        all
    }

    fn all(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        let mut all = Verdict::Right;
        for verdict in verdicts {
            all = all.and(verdict);
            if all == Verdict::Wrong {
                break;
            }
        }
        all
    }
}

/// Whether two answers, contents of a box, are the same as mathematics; symmetric. An empty text is
/// wrong.
pub fn compare(gold: &str, written: &str) -> Verdict {
    compare::compare(gold, written)
}

/// Whether the last `\boxed{…}` of a text holds the right answer; without a box the text is wrong.
/// See [`boxed::last`].
pub fn grade(gold: &str, text: &str) -> Verdict {
    boxed::last(text).map_or(Verdict::Wrong, |written| compare(gold, written))
}
