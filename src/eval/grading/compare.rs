//! Whether two answers are the same mathematics.

use num_traits::One;

use super::expression::Expression;
use super::normal::Normal;
use super::rational::Rational;
use super::tokens::MAX_BYTES;
use super::values::Value;

/// Points at which expressions without a normal form are compared.
const POINTS: u64 = 4;
/// How far values may be apart there, relative to the greater: rounding only. A decimal of ten
/// digits is not the root that it is near.
const TOLERANCE: f64 = 1e-12;

/// Whether `a` and `b`, contents of a box, are the same as mathematics; symmetric.
///
/// - Numbers are compared exactly: decimals, fractions, mixed numbers, scientific notation.
/// - Roots, powers of π and polynomials by an exact normal form; what has none (logarithms, sums in
///   denominators) by its value at a few fixed points.
/// - Units, degrees and currency are left out. `50\%` is 50 %, 50 and 1/2.
/// - Points and intervals are compared element by element with their delimiters; sets, unions and
///   bare lists in any order; `\pm` stands for two elements.
/// - `x = 5` and `x \in S` are what is right of the sign where the other answer has no such sign.
/// - What is not understood, or is too long or too deep, is compared as text without white space.
pub fn same_value(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim(), b.trim());
    if a == b {
        return !a.is_empty();
    }
    if a.len() > MAX_BYTES || b.len() > MAX_BYTES {
        return false;
    }
    match (Value::parse(a), Value::parse(b)) {
        (Some(a), Some(b)) => same(&a, &b),
        (None, None) => squeezed(a) == squeezed(b),
        _ => false,
    }
}

/// Text without what does not count: white space but between digits, sizes of brackets and
/// fractions, dollar signs, a dot at the end.
fn squeezed(text: &str) -> String {
    // Rows of a matrix end in two backslashes, of which the second escapes nothing.
    let mut text = text.replace("\\\\", "\u{1}");
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac");
    for dropped in ["\\left", "\\right", "\\!", "\\,", "\\;", "\\:", "\\ ", "$", "~"] {
        text = text.replace(dropped, " ");
    }
    let chars: Vec<char> = text.trim().trim_end_matches('.').chars().collect();
    let mut out = String::new();
    for (at, &c) in chars.iter().enumerate() {
        let next = chars[at..].iter().find(|c| !c.is_whitespace());
        let between = out.ends_with(|c: char| c.is_ascii_digit()) && next.is_some_and(char::is_ascii_digit);
        if !c.is_whitespace() {
            out.push(c);
        } else if between {
            out.push(' ');
        }
    }
    out
}

fn same(a: &Value, b: &Value) -> bool {
    use Value::{List, Percent, Relation, Set, Tuple, Union, Words};
    match (a, b) {
        (Value::Expression(x), Value::Expression(y)) | (Percent(x), Percent(y)) => same_expression(x, y),
        (Percent(x), Value::Expression(y)) | (Value::Expression(y), Percent(x)) => is_percent(x, y),
        (Words(x), Words(y)) => x == y,
        (Tuple(o, c, x), Tuple(p, d, y)) => (o, c) == (p, d) && in_order(x, y),
        (Set(x), Set(y)) => contains_all(x, y) && contains_all(y, x),
        (List(x) | Set(x), List(y) | Set(y)) | (Union(x), Union(y)) => in_any_order(x, y),
        (Relation(x, f), Relation(y, g)) => same_relation(x, f, y, g),
        (Relation(x, f), y) | (y, Relation(x, f)) => defined(x, f).is_some_and(|x| same(x, y)),
        _ => false,
    }
}

fn same_expression(a: &Expression, b: &Expression) -> bool {
    if a == b {
        return true;
    }
    if let (Some(a), Some(b)) = (Normal::of(a), Normal::of(b)) {
        return a == b;
    }
    let mut defined = 0;
    for point in 0..POINTS {
        let (x, y) = (a.value(point), b.value(point));
        match (x.is_finite(), y.is_finite()) {
            (true, true) if (x - y).abs() <= TOLERANCE * x.abs().max(y.abs()).max(1e-3) => defined += 1,
            (false, false) => {}
            _ => return false,
        }
    }
    defined > 0
}

/// Whether x % is y, the sign left out or divided by.
fn is_percent(x: &Expression, y: &Expression) -> bool {
    let hundredth = Expression::Number(Rational::one() / Rational::from_integer(100));
    let share = Expression::Product(Box::new(x.clone()), Box::new(hundredth));
    same_expression(x, y) || same_expression(&share, y)
}

fn in_order(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

fn contains_all(a: &[Value], b: &[Value]) -> bool {
    b.iter().all(|y| a.iter().any(|x| same(x, y)))
}

/// Each of one matched by its own of the other. Matching the first that fits is right as long as
/// sameness is transitive, which percent signs break; so it is tried from both sides.
fn in_any_order(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && (matches_up(a, b) || matches_up(b, a))
}

fn matches_up(a: &[Value], b: &[Value]) -> bool {
    let mut left: Vec<&Value> = b.iter().collect();
    a.iter().all(|x| {
        let found = left.iter().position(|y| same(x, y));
        found.map(|at| left.swap_remove(at)).is_some()
    })
}

/// The same relation, read forwards or backwards.
fn same_relation(a: &[Value], f: &[char], b: &[Value], g: &[char]) -> bool {
    let mirrored = |operator: &char| match operator {
        '<' => '>',
        '>' => '<',
        '≤' => '≥',
        '≥' => '≤',
        other => *other,
    };
    if f == g && in_order(a, b) {
        return true;
    }
    let backwards: Vec<Value> = b.iter().rev().cloned().collect();
    let g: Vec<char> = g.iter().rev().map(mirrored).collect();
    f == g && !f.contains(&'∈') && in_order(a, &backwards)
}

/// What stands right of `x =`, `f(x) =`, `(x, y) =`, `Area =` or `x ∈`.
fn defined<'a>(sides: &'a [Value], operators: &[char]) -> Option<&'a Value> {
    let ([name, value], ['=' | '∈']) = (sides, operators) else {
        return None;
    };
    let is_name = match name {
        Value::Words(_) => true,
        Value::Expression(e) => is_name(e),
        Value::Tuple(_, _, names) => names.iter().all(|n| matches!(n, Value::Expression(e) if is_name(e))),
        _ => false,
    };
    is_name.then_some(value)
}

/// A symbol, or a function of one: f(x).
fn is_name(expression: &Expression) -> bool {
    match expression {
        Expression::Symbol(_) => true,
        Expression::Product(f, x) => [f, x].into_iter().all(|e| matches!(**e, Expression::Symbol(_))),
        _ => false,
    }
}
