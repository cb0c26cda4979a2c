//! Whether two answers are the same mathematics.

use dashu_ratio::RBig;

use crate::Verdict;
use crate::equality::{proportional, same_expression, sign};
use crate::expression::Expression;
use crate::normal::{Normal, Work};
use crate::reals::{is_region, mirrored, region};
use crate::tokens::MAX_BYTES;
use crate::values::{Read, Value, read};

/// Work for one comparison, in operations on machine words, about.
const MOST_WORK: u64 = 15_000_000;

pub fn compare(a: &str, b: &str) -> Verdict {
    let (a, b) = (a.trim(), b.trim());
    if a.is_empty() || b.is_empty() {
        return Verdict::Wrong;
    }
    if a == b {
        return Verdict::Right;
    }
    if a.len() > MAX_BYTES || b.len() > MAX_BYTES {
        return Verdict::NotUnderstood;
    }
    let (left, right) = (read(a), read(b));
    if left.is_empty() || right.is_empty() {
        return match squeezed(a) == squeezed(b) {
            true => Verdict::Right,
            false => Verdict::NotUnderstood,
        };
    }
    let work = Work::new(MOST_WORK);
    let mut all = Verdict::Wrong;
    for x in &left {
        for y in &right {
            let verdict = match fits(x, y) {
                true => same(&x.value, &y.value, &work),
                false => continue,
            };
            // What is right only by a doubtful reading is not certain.
            all = all.or(match verdict {
                Verdict::Right if x.doubtful || y.doubtful => Verdict::NotUnderstood,
                Verdict::NotUnderstood if x.doubtful || y.doubtful => Verdict::Wrong,
                other => other,
            });
            if all == Verdict::Right {
                return all;
            }
        }
    }
    all
}

/// Commas that may group digits separate only where the other text is a list by itself.
fn fits(x: &Read, y: &Read) -> bool {
    let is_list = |r: &Read| !r.separated && matches!(r.value, Value::List(..) | Value::Set(_));
    match (x.separated, y.separated) {
        (false, false) => true,
        (true, true) => false,
        (true, false) => is_list(y),
        (false, true) => is_list(x),
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
    let mut spaced = false;
    for &c in &chars {
        if c.is_whitespace() {
            spaced = true;
            continue;
        }
        if spaced && c.is_ascii_digit() && out.ends_with(|c: char| c.is_ascii_digit()) {
            out.push(' ');
        }
        spaced = false;
        out.push(c);
    }
    out
}

fn same(a: &Value, b: &Value, work: &Work) -> Verdict {
    let verdict = match alike(a, b, work) {
        Verdict::Right => return Verdict::Right,
        other => other,
    };
    // Sets of numbers, however they are written.
    let points = |v: &Value| matches!(v, Value::Tuple(..) | Value::Set(_));
    if !(is_region(a) || is_region(b)) || (points(a) && points(b)) {
        return verdict;
    }
    match (region(a, work), region(b, work)) {
        (Some(x), Some(y)) => {
            // Nobody answers with what cannot be: it was read otherwise than it was meant.
            if x.reals.is_empty() && y.reals.is_empty() && x.variable.is_some() && y.variable.is_some() {
                return Verdict::NotUnderstood;
            }
            let apart = matches!((&x.variable, &y.variable), (Some(x), Some(y)) if x != y);
            let same = x.reals.same(&y.reals, work).map(|same| same && !apart);
            same.map_or(Verdict::NotUnderstood, Verdict::of)
        }
        // Inequalities that are not solved here may say the same still.
        _ if unsolved(a) && unsolved(b) => verdict.or(Verdict::NotUnderstood),
        _ => verdict,
    }
}

/// Whether a value is a set of numbers or an inequality in one variable.
fn unsolved(value: &Value) -> bool {
    match value {
        Value::Relation(sides, operators) => {
            let variables = sides.iter().flat_map(|side| match side {
                Value::Expression(e) => e.variables(),
                _ => Vec::new(),
            });
            let mut variables: Vec<&str> = variables.collect();
            variables.sort_unstable();
            variables.dedup();
            variables.len() == 1 && !operators.contains(&'=')
        }
        Value::List(items, _) => items.iter().all(unsolved),
        Value::Tuple(..) | Value::Union(_) | Value::Intersection(_) | Value::Minus(_) => true,
        _ => false,
    }
}

/// Whether two values are the same as what they are written as.
fn alike(a: &Value, b: &Value, work: &Work) -> Verdict {
    use Value::{Angle, Based, List, Matrix, Percent, Ratio, Relation, Set, Tuple, Union, Words};
    match (a, b) {
        (Value::Expression(x), Value::Expression(y)) | (Percent(x), Percent(y)) => same_expression(x, y, work),
        (Percent(x), Value::Expression(y)) | (Value::Expression(y), Percent(x)) => is_percent(x, y, work),
        (Angle(x, _), Angle(y, _)) => same_expression(x, y, work),
        (Angle(x, radians), Value::Expression(y)) | (Value::Expression(y), Angle(x, radians)) => {
            same_expression(x, y, work).or(same_expression(radians, y, work))
        }
        (Based(x, _), Based(y, _)) => Verdict::of(x == y),
        (Based(x, digits), Value::Expression(y)) | (Value::Expression(y), Based(x, digits)) => {
            to_base(x, digits, y, work)
        }
        (Words(x), Words(y)) => Verdict::of(x == y),
        (Words(x), Value::Expression(y)) | (Value::Expression(y), Words(x)) => {
            Verdict::of(spelled(y).as_ref() == Some(x))
        }
        (Tuple(o, c, x), Tuple(p, d, y)) if (o, c) == (p, d) => in_order(x, y, work),
        (Set(x), Set(y)) => contains_all(x, y, work).and(contains_all(y, x, work)),
        (List(x, _) | Set(x), List(y, _) | Set(y)) | (Union(x), Union(y)) => in_any_order(x, y, work),
        (Value::Intersection(x), Value::Intersection(y)) => in_any_order(x, y, work),
        (Value::Minus(x), Value::Minus(y)) => in_order(x, y, work),
        (Set(x), y @ Value::Expression(_)) | (y @ Value::Expression(_), Set(x)) if x.len() == 1 => same(&x[0], y, work),
        (Tuple('(', ')', x), List(y, _)) | (List(y, _), Tuple('(', ')', x)) => coordinates(x, y, work),
        (Ratio(x), Ratio(y)) => same_ratio(x, y, work),
        (Matrix(x), Matrix(y)) => match x.len() == y.len() {
            true => Verdict::all(x.iter().zip(y).map(|(x, y)| in_order(x, y, work))),
            false => Verdict::Wrong,
        },
        (Relation(x, f), Relation(y, g)) => same_relation(x, f, y, g, work),
        (Relation(x, f), y) | (y, Relation(x, f)) => match defined(x, f, work) {
            Some(x) => same(x, y, work),
            None => Verdict::Wrong,
        },
        _ => Verdict::Wrong,
    }
}

/// What single letters in a row spell, in small letters.
fn spelled(product: &Expression) -> Option<String> {
    let Expression::Product(letters) = product else {
        return None;
    };
    let letters = letters.iter().map(|letter| match letter {
        Expression::Symbol(name) if name.chars().count() == 1 => Some(name.to_lowercase()),
        _ => None,
    });
    letters.collect()
}

/// Whether x % is y, the sign left out or divided by.
fn is_percent(x: &Expression, y: &Expression, work: &Work) -> Verdict {
    let share = x.clone().times(Expression::number(100).inverse());
    same_expression(x, y, work).or(same_expression(&share, y, work))
}

/// Whether a number to a base is a number without one: its digits are, the base left out. By its
/// value alone it may be the question again.
fn to_base(value: &RBig, digits: &str, number: &Expression, work: &Work) -> Verdict {
    let Expression::Number(n) = number else {
        let value = Expression::Number(value.clone());
        return match same_expression(&value, number, work) {
            Verdict::Right => Verdict::NotUnderstood,
            other => other,
        };
    };
    if n.is_int() && n.numerator().to_string() == digits.trim_start_matches('0') {
        return Verdict::Right;
    }
    match n == value {
        true => Verdict::NotUnderstood,
        false => Verdict::Wrong,
    }
}

fn in_order(a: &[Value], b: &[Value], work: &Work) -> Verdict {
    match a.len() == b.len() {
        true => Verdict::all(a.iter().zip(b).map(|(a, b)| same(a, b, work))),
        false => Verdict::Wrong,
    }
}

fn contains_all(a: &[Value], b: &[Value], work: &Work) -> Verdict {
    Verdict::all(b.iter().map(|y| Verdict::any(a.iter().map(|x| same(x, y, work)))))
}

/// Each of one matched by its own of the other. Matching the first that fits is right as long as
/// sameness is transitive, which percent signs break; so it is tried from both sides.
fn in_any_order(a: &[Value], b: &[Value], work: &Work) -> Verdict {
    match a.len() == b.len() {
        true => matches_up(a, b, work).or(matches_up(b, a, work)),
        false => Verdict::Wrong,
    }
}

fn matches_up(a: &[Value], b: &[Value], work: &Work) -> Verdict {
    let mut left: Vec<&Value> = b.iter().collect();
    let mut all = Verdict::Right;
    for x in a {
        let mut best = Verdict::Wrong;
        let mut found = None;
        for (at, y) in left.iter().enumerate() {
            best = best.or(same(x, y, work));
            if best == Verdict::Right {
                found = Some(at);
                break;
            }
        }
        if let Some(at) = found {
            left.swap_remove(at);
        }
        all = all.and(best);
        if all == Verdict::Wrong {
            break;
        }
    }
    all
}

/// A point against its coordinates in order, or against `x = …, y = …`.
fn coordinates(point: &[Value], list: &[Value], work: &Work) -> Verdict {
    let values: Option<Vec<Value>> = list
        .iter()
        .map(|item| match item {
            Value::Relation(sides, operators) => defined(sides, operators, work).cloned(),
            other => Some(other.clone()),
        })
        .collect();
    values.map_or(Verdict::Wrong, |values| in_order(point, &values, work))
}

/// The same numbers; what is only proportional may be meant or not.
fn same_ratio(a: &[Value], b: &[Value], work: &Work) -> Verdict {
    let verdict = in_order(a, b, work);
    if verdict == Verdict::Right || a.len() != b.len() {
        return verdict;
    }
    let product = |x: &Value, y: &Value| match (x, y) {
        (Value::Expression(x), Value::Expression(y)) => Some(x.clone().times(y.clone())),
        _ => None,
    };
    let crossed = a
        .iter()
        .zip(b)
        .skip(1)
        .map(|(x, y)| match (product(x, &b[0]), product(y, &a[0])) {
            (Some(x), Some(y)) => same_expression(&x, &y, work),
            _ => Verdict::Wrong,
        });
    match Verdict::all(crossed) {
        Verdict::Right => Verdict::NotUnderstood,
        other => other,
    }
}

/// The same relation, read forwards or backwards, or with both sides less the same and times a
/// number.
fn same_relation(a: &[Value], f: &[char], b: &[Value], g: &[char], work: &Work) -> Verdict {
    let mut verdict = Verdict::Wrong;
    if f == g {
        verdict = in_order(a, b, work);
    }
    let backwards: Vec<Value> = b.iter().rev().cloned().collect();
    let turned: Vec<char> = g.iter().rev().map(|o| mirrored(*o)).collect();
    if verdict != Verdict::Right && f == turned && !f.contains(&'∈') {
        verdict = verdict.or(in_order(a, &backwards, work));
    }
    if verdict == Verdict::Right {
        return verdict;
    }
    if let ([Value::Expression(a), Value::Expression(b)], [f], [Value::Expression(c), Value::Expression(d)], [g]) =
        (a, f, b, g)
    {
        return multiple((a, *f, b), (c, *g, d), work);
    }
    // x = y + z = 5 and x = 5.
    match (chain_end(a, f), chain_end(b, g)) {
        (Some(x), Some(y)) if a.len() + b.len() > 4 => same_relation(&x, &['='], &y, &['='], work),
        _ => verdict,
    }
}

/// First and last side of a chain of equations.
fn chain_end(sides: &[Value], operators: &[char]) -> Option<[Value; 2]> {
    let chain = sides.len() > 1 && operators.iter().all(|o| *o == '=');
    chain.then(|| [sides[0].clone(), sides[sides.len() - 1].clone()])
}

type Sides<'a> = (&'a Expression, char, &'a Expression);

/// Whether one relation is the other with both sides less the same and times a number.
fn multiple((a, f, b): Sides, (c, g, d): Sides, work: &Work) -> Verdict {
    let (x, y) = (
        a.clone().plus(b.clone().negative()),
        c.clone().plus(d.clone().negative()),
    );
    if !x.variables().iter().eq(&y.variables()) {
        return Verdict::Wrong;
    }
    if x.variables().is_empty() || (f != g && f != mirrored(g)) || f == '∈' {
        return Verdict::Wrong;
    }
    let normals = Normal::of(&x, work).zip(Normal::of(&y, work));
    let Some((p, q)) = normals else {
        return match f == '=' && g == '=' {
            true => proportional(&x, &y, work),
            false => Verdict::NotUnderstood,
        };
    };
    let (p, q) = match f == '=' || f == '≠' {
        true => (p.cleared(), q.cleared()),
        false => (p, q),
    };
    if p.is_zero() || q.is_zero() {
        return Verdict::of(p == q && f == g);
    }
    let Some((above, below)) = p.ratio(&q, work) else {
        return Verdict::Wrong;
    };
    if f == '=' || f == '≠' {
        return Verdict::of(f == g);
    }
    let factor = above.expression().times(below.expression());
    match sign(&factor, work) {
        Some(1) => Verdict::of(f == g),
        Some(-1) => Verdict::of(f == mirrored(g)),
        _ => Verdict::NotUnderstood,
    }
}

/// What stands right of `x =`, `f(x) =`, `(x, y) =`, `Area =` or `x ∈`, at the end of a chain of
/// equations; what an equation of constants comes to, if it holds.
fn defined<'a>(sides: &'a [Value], operators: &[char], work: &Work) -> Option<&'a Value> {
    let (name, value) = (sides.first()?, sides.last()?);
    match operators {
        ['∈'] => return is_name(name).then_some(value),
        ['≈'] if is_name(name) => return Some(value),
        // The exact value stands first.
        ['≈'] => return Some(name),
        _ if operators.iter().all(|o| *o == '=') => {}
        _ => return None,
    }
    if is_name(name) {
        return Some(value);
    }
    let constants = sides
        .iter()
        .all(|s| matches!(s, Value::Expression(e) if e.variables().is_empty()));
    let holds = constants && Verdict::all(sides[1..].iter().map(|s| same(name, s, work))) == Verdict::Right;
    holds.then_some(value)
}

/// Whether something only names a value: a symbol, words, a function of symbols, a point of names.
fn is_name(value: &Value) -> bool {
    let is_symbol = |e: &Expression| matches!(e, Expression::Symbol(name) if !crate::expression::is_constant(name));
    let is_function = |e: &Expression| match e {
        Expression::Power(f, n) => is_symbol(f) && matches!(**n, Expression::Number(_) | Expression::Product(_)),
        other => is_symbol(other),
    };
    match value {
        Value::Words(_) => true,
        Value::Expression(e) if is_symbol(e) => true,
        Value::Expression(Expression::Product(parts)) => match parts.as_slice() {
            [f, x] => is_function(f) && (is_symbol(x) || matches!(x, Expression::Number(_))),
            _ => false,
        },
        Value::Tuple(_, _, names) => names.iter().all(|n| matches!(n, Value::Expression(e) if is_symbol(e))),
        _ => false,
    }
}
