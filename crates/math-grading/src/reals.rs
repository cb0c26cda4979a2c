//! Sets of real numbers: intervals, unions, and what solves an inequality.

use std::cmp::Ordering;

use crate::equality::{order, sign};
use crate::expression::Expression;
use crate::normal::{Normal, Work};
use crate::values::Value;

/// Points of a set.
const MAX_POINTS: usize = 64;

/// A set of real numbers that changes at a few points only.
#[derive(Clone, Debug)]
pub struct Reals {
    /// In ascending order.
    points: Vec<Expression>,
    /// Whether each point belongs to it.
    at: Vec<bool>,
    /// Whether what lies before each point, and behind the last, belongs to it.
    between: Vec<bool>,
}

impl Reals {
    pub fn all() -> Reals {
        Reals {
            points: Vec::new(),
            at: Vec::new(),
            between: vec![true],
        }
    }

    pub fn none() -> Reals {
        Reals::all().complement()
    }

    fn point(point: Expression) -> Reals {
        Reals {
            points: vec![point],
            at: vec![true],
            between: vec![false, false],
        }
    }

    /// From a point on to all that is greater.
    fn above(point: Expression, closed: bool) -> Reals {
        Reals {
            points: vec![point],
            at: vec![closed],
            between: vec![false, true],
        }
    }

    fn complement(mut self) -> Reals {
        self.at.iter_mut().chain(&mut self.between).for_each(|b| *b = !*b);
        self
    }

    fn combined(&self, other: &Reals, both: fn(bool, bool) -> bool, work: &Work) -> Option<Reals> {
        let (mut i, mut j) = (0, 0);
        let mut all = Reals {
            points: Vec::new(),
            at: Vec::new(),
            between: vec![both(self.between[0], other.between[0])],
        };
        while i < self.points.len() || j < other.points.len() {
            let next = match (self.points.get(i), other.points.get(j)) {
                (Some(a), Some(b)) => order(a, b, work)?,
                (Some(_), None) => Ordering::Less,
                _ => Ordering::Greater,
            };
            let (mine, theirs) = (next != Ordering::Greater, next != Ordering::Less);
            let point = if mine { &self.points[i] } else { &other.points[j] };
            let a = if mine { self.at[i] } else { self.between[i] };
            let b = if theirs { other.at[j] } else { other.between[j] };
            i += usize::from(mine);
            j += usize::from(theirs);
            let (at, behind) = (both(a, b), both(self.between[i], other.between[j]));
            // Nothing changes at some points.
            if at == behind && all.between.last() == Some(&at) {
                continue;
            }
            all.points.push(point.clone());
            all.at.push(at);
            all.between.push(behind);
        }
        (all.points.len() <= MAX_POINTS).then_some(all)
    }

    fn union(&self, other: &Reals, work: &Work) -> Option<Reals> {
        self.combined(other, |a, b| a || b, work)
    }

    fn intersection(&self, other: &Reals, work: &Work) -> Option<Reals> {
        self.combined(other, |a, b| a && b, work)
    }

    pub fn is_empty(&self) -> bool {
        !self.at.iter().chain(&self.between).any(|b| *b)
    }

    /// Whether both hold the same numbers; `None` where that cannot be told.
    pub fn same(&self, other: &Reals, work: &Work) -> Option<bool> {
        Some(self.combined(other, |a, b| a != b, work)?.is_empty())
    }
}

/// A set that a value stands for, and the variable of the inequalities that it was, if it was one.
pub struct Region {
    pub variable: Option<String>,
    pub reals: Reals,
}

/// Whether a value speaks of a set of numbers in a way that no list or point does.
pub fn is_region(value: &Value) -> bool {
    match value {
        Value::Relation(_, operators) => operators.iter().all(|o| matches!(o, '<' | '>' | '≤' | '≥' | '≠' | '∈')),
        Value::List(items, _) => items.iter().all(is_region),
        Value::Union(_) | Value::Intersection(_) | Value::Minus(_) => true,
        Value::Tuple(open, close, items) => items.len() == 2 && (open, close) != (&'(', &')'),
        Value::Expression(Expression::Symbol(name)) => name == "set R" || name == "emptyset",
        Value::Set(items) => items.is_empty(),
        Value::Words(words) => of_words(words).is_some(),
        _ => false,
    }
}

fn of_words(words: &str) -> Option<Reals> {
    match words {
        "all real numbers" | "all reals" | "real numbers" | "the real numbers" => Some(Reals::all()),
        "empty set" | "the empty set" => Some(Reals::none()),
        _ => None,
    }
}

/// The set of real numbers that a value stands for.
pub fn region(value: &Value, work: &Work) -> Option<Region> {
    let plain = |reals: Reals| Region { variable: None, reals };
    match value {
        Value::Tuple(open, close, items) => interval(*open, *close, items, work).map(plain),
        Value::Set(items) => {
            let points = items.iter().map(|item| match item {
                Value::Expression(e) if e.variables().is_empty() => Some(plain(Reals::point(e.clone()))),
                _ => None,
            });
            fold(points, Reals::union, work).map_or_else(|| items.is_empty().then(|| plain(Reals::none())), Some)
        }
        Value::Union(parts) => fold(parts.iter().map(|p| region(p, work)), Reals::union, work),
        Value::Intersection(parts) => fold(parts.iter().map(|p| region(p, work)), Reals::intersection, work),
        Value::Minus(parts) => {
            let without = |a: &Reals, b: &Reals, work: &Work| a.combined(b, |a, b| a && !b, work);
            fold(parts.iter().map(|p| region(p, work)), without, work)
        }
        Value::List(items, either) => {
            let regions = || items.iter().filter(|i| is_region(i)).map(|i| region(i, work));
            if regions().count() < items.len() {
                return None;
            }
            let all = fold(regions(), Reals::intersection, work)?;
            // What no number fulfils at once was meant one by one.
            match *either || all.reals.is_empty() {
                true => fold(regions(), Reals::union, work),
                false => Some(all),
            }
        }
        Value::Relation(sides, operators) => solutions(sides, operators, work),
        Value::Expression(Expression::Symbol(name)) if name == "set R" => Some(plain(Reals::all())),
        Value::Expression(Expression::Symbol(name)) if name == "emptyset" => Some(plain(Reals::none())),
        Value::Words(words) => of_words(words).map(plain),
        _ => None,
    }
}

/// All regions as one; `None` where there are none, or they speak of several variables.
fn fold(
    regions: impl Iterator<Item = Option<Region>>,
    both: impl Fn(&Reals, &Reals, &Work) -> Option<Reals>,
    work: &Work,
) -> Option<Region> {
    let mut all: Option<Region> = None;
    for region in regions {
        let region = region?;
        all = Some(match all {
            None => region,
            Some(before) => {
                if let (Some(a), Some(b)) = (&before.variable, &region.variable)
                    && a != b
                {
                    return None;
                }
                Region {
                    reals: both(&before.reals, &region.reals, work)?,
                    variable: before.variable.or(region.variable),
                }
            }
        });
    }
    all
}

fn interval(open: char, close: char, items: &[Value], work: &Work) -> Option<Reals> {
    let [Value::Expression(low), Value::Expression(high)] = items else {
        return None;
    };
    let infinite = |e: &Expression| e.any(&|e| *e == Expression::Symbol("infty".into()));
    if !low.variables().is_empty() || !high.variables().is_empty() {
        return None;
    }
    // `]a, b[` is open as well.
    let lower = match infinite(low) {
        true => (*low == Expression::Symbol("infty".into()).negative()).then(Reals::all)?,
        false => Reals::above(low.clone(), open == '['),
    };
    let upper = match infinite(high) {
        true => (*high == Expression::Symbol("infty".into())).then(Reals::all)?,
        false => Reals::above(high.clone(), close != ']').complement(),
    };
    if !infinite(low) && !infinite(high) && order(low, high, work)? == Ordering::Greater {
        return None;
    }
    lower.intersection(&upper, work)
}

fn solutions(sides: &[Value], operators: &[char], work: &Work) -> Option<Region> {
    if let ([Value::Expression(Expression::Symbol(name)), set], ['∈']) = (sides, operators) {
        let set = region(set, work)?;
        return Some(Region {
            variable: Some(name.clone()),
            reals: set.reals,
        });
    }
    let pairs = sides.windows(2).zip(operators).map(|(pair, operator)| match pair {
        [Value::Expression(a), Value::Expression(b)] => solved(a, *operator, b, work),
        _ => None,
    });
    fold(pairs, Reals::intersection, work)
}

/// What solves one inequality of a variable: of degree 1 or 2, or with a magnitude on one side.
fn solved(a: &Expression, operator: char, b: &Expression, work: &Work) -> Option<Region> {
    let flipped = mirrored(operator);
    match (a, b) {
        (Expression::Magnitude(of), bound) if bound.variables().is_empty() => {
            return within(of, operator, bound, work);
        }
        (bound, Expression::Magnitude(of)) if bound.variables().is_empty() => {
            return within(of, flipped, bound, work);
        }
        _ => {}
    }
    // ∞ is beyond all numbers.
    let infinity = Expression::Symbol("infty".into());
    if a.any(&|e| *e == infinity) || b.any(&|e| *e == infinity) {
        let (Expression::Symbol(name), true) = (if b.variables().is_empty() { a } else { b }, operator != '≠') else {
            return None;
        };
        let below = match (a, b) {
            (_, e) if *e == infinity => matches!(operator, '<' | '≤'),
            (e, _) if *e == infinity.clone().negative() => matches!(operator, '<' | '≤'),
            _ => return None,
        };
        return below.then(|| Region {
            variable: Some(name.clone()),
            reals: Reals::all(),
        });
    }
    let difference = a.clone().plus(b.clone().negative());
    let variables = difference.variables();
    let [variable] = variables.as_slice() else {
        return None;
    };
    let coefficients = Normal::of(&difference, work)?.polynomial(variable, 2)?;
    let coefficients: Vec<Expression> = coefficients.iter().map(Normal::expression).collect();
    let leading = sign(coefficients.last()?, work)?;
    let roots = match coefficients.as_slice() {
        [c, b] => vec![c.clone().negative().times(b.clone().inverse())],
        [c, b, a] => quadratic_roots(a, b, c, leading, work)?,
        _ => return None,
    };
    // The sign left of all roots, which changes at each simple one.
    let degree = coefficients.len() - 1;
    let mut now = if degree % 2 == 1 { -leading } else { leading };
    let holds = |sign: i32| match operator {
        '<' => sign < 0,
        '≤' => sign <= 0,
        '>' => sign > 0,
        '≥' => sign >= 0,
        _ => sign != 0,
    };
    let simple = roots.len() == degree;
    let mut reals = Reals {
        points: Vec::new(),
        at: Vec::new(),
        between: vec![holds(now)],
    };
    for root in roots {
        if simple {
            now = -now;
        }
        reals.points.push(root);
        reals.at.push(holds(0));
        reals.between.push(holds(now));
    }
    matches!(operator, '<' | '≤' | '>' | '≥' | '≠').then(|| Region {
        variable: Some((*variable).to_owned()),
        reals,
    })
}

/// The real roots of ax² + bx + c, in ascending order; a double root once.
fn quadratic_roots(
    a: &Expression,
    b: &Expression,
    c: &Expression,
    leading: i32,
    work: &Work,
) -> Option<Vec<Expression>> {
    let product = Expression::number(4).times(a.clone()).times(c.clone());
    let discriminant = b.clone().times(b.clone()).plus(product.negative());
    let half = Expression::number(2).times(a.clone()).inverse();
    let middle = b.clone().negative().times(half.clone());
    Some(match sign(&discriminant, work)? {
        0 => vec![middle],
        s if s < 0 => Vec::new(),
        _ => {
            let apart = Expression::Root(2, Box::new(discriminant)).times(half);
            let (less, more) = (middle.clone().plus(apart.clone().negative()), middle.plus(apart));
            if leading > 0 {
                vec![less, more]
            } else {
                vec![more, less]
            }
        }
    })
}

/// |of| < bound and the like.
fn within(of: &Expression, operator: char, bound: &Expression, work: &Work) -> Option<Region> {
    if sign(bound, work)? <= 0 {
        return None;
    }
    let (above, below) = (
        solved(of, operator, bound, work)?,
        solved(of, mirrored(operator), &bound.clone().negative(), work)?,
    );
    let both = match operator {
        '<' | '≤' | '≠' => Reals::intersection,
        _ => Reals::union,
    };
    fold([Some(above), Some(below)].into_iter(), both, work)
}

/// The operator of a relation read backwards.
pub fn mirrored(operator: char) -> char {
    match operator {
        '<' => '>',
        '>' => '<',
        '≤' => '≥',
        '≥' => '≤',
        other => other,
    }
}
