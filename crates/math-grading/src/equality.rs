//! Whether two expressions are the same, and which of two constants is the greater.

use std::cmp::Ordering;

use dashu_int::IBig;
use dashu_ratio::RBig;

use crate::Verdict;
use crate::expression::Expression;
use crate::normal::{Normal, Work};
use crate::numeric::{Closeness, Evaluator, Fault, Value, folded, precision};

/// Points at which expressions without a normal form are compared.
const POINTS: u64 = 16;
/// How many of them must tell something.
const ENOUGH: usize = 2;

/// Whether two expressions are the same for all real values of their variables.
///
/// By their normal forms if both have one; else by their values at some points, of both signs and
/// several magnitudes. Where neither is real, the roots and logarithms of negative numbers are not
/// asked for, unless `i` is there.
pub fn same_expression(a: &Expression, b: &Expression, work: &Work) -> Verdict {
    if a == b {
        return Verdict::Right;
    }
    if let (Some(a), Some(b)) = (Normal::of(a, work), Normal::of(b, work)) {
        return Verdict::of(a == b);
    }
    let (a, b) = (folded(a, work), folded(b, work));
    let names = names(&[&a, &b]);
    let precision = precision(&[&a, &b]);
    let constant = names.is_empty();
    let complex = |e: &Expression| e.any(&|e| *e == Expression::Symbol("i".into()));
    let complex = constant || complex(&a) || complex(&b);
    let whole = is_of_whole_numbers(&a) || is_of_whole_numbers(&b);
    let (mut same, mut unreal) = (0, 0);
    for index in 0..if constant { 1 } else { POINTS } {
        let mut evaluator = Evaluator::new(precision, point(&names, index, whole), work);
        let (x, y) = match (evaluator.value(&a), evaluator.value(&b)) {
            (Ok(x), Ok(y)) => (x, y),
            (Err(Fault::Unknown), _) | (_, Err(Fault::Unknown)) => continue,
            (Err(_), Err(_)) => continue,
            // Factorials have no values where binomials are 0.
            _ if whole => continue,
            _ => return Verdict::Wrong,
        };
        let closeness = evaluator.compare(&x, &y);
        match closeness {
            Closeness::Same if evaluator.absorbed => {}
            Closeness::Same => same += 1,
            Closeness::Unclear => {}
            Closeness::Different if !complex && !x.is_real() && !y.is_real() => unreal += 1,
            Closeness::Different => return Verdict::Wrong,
        }
    }
    match same {
        0 if unreal > 0 => Verdict::Wrong,
        n if n >= ENOUGH || (constant && n > 0) => Verdict::Right,
        _ => Verdict::NotUnderstood,
    }
}

/// Whether one of two functions is a constant multiple of the other, at some points.
pub fn proportional(a: &Expression, b: &Expression, work: &Work) -> Verdict {
    let (a, b) = (folded(a, work), folded(b, work));
    let names = names(&[&a, &b]);
    let precision = precision(&[&a, &b]);
    let mut first: Option<(Value, Value)> = None;
    let mut same = 0;
    for index in 0..POINTS {
        let mut evaluator = Evaluator::new(precision, point(&names, index, false), work);
        let (Ok(x), Ok(y)) = (evaluator.value(&a), evaluator.value(&b)) else {
            continue;
        };
        if !x.is_real() || !y.is_real() || x.is_zero() || y.is_zero() {
            if x.is_zero() != y.is_zero() {
                return Verdict::Wrong;
            }
            continue;
        }
        let Some((x0, y0)) = &first else {
            first = Some((x, y));
            continue;
        };
        let (Ok(left), Ok(right)) = (evaluator.mul(&x, y0), evaluator.mul(&y, x0)) else {
            continue;
        };
        match evaluator.compare(&left, &right) {
            Closeness::Same => same += 1,
            Closeness::Different => return Verdict::Wrong,
            Closeness::Unclear => {}
        }
    }
    if same >= ENOUGH {
        Verdict::Right
    } else {
        Verdict::NotUnderstood
    }
}

/// Which of two real constants is the greater.
pub fn order(a: &Expression, b: &Expression, work: &Work) -> Option<Ordering> {
    match same_expression(a, b, work) {
        Verdict::Right => Some(Ordering::Equal),
        Verdict::NotUnderstood => None,
        Verdict::Wrong => {
            let difference = a.clone().plus(b.clone().negative());
            Some(sign(&difference, work)?.cmp(&0))
        }
    }
}

/// The sign of a real constant.
pub fn sign(constant: &Expression, work: &Work) -> Option<i32> {
    if Normal::of(constant, work).is_some_and(|n| n.is_zero()) {
        return Some(0);
    }
    let constant = folded(constant, work);
    let mut evaluator = Evaluator::new(precision(&[&constant]), Vec::new(), work);
    let value = evaluator.value(&constant).ok()?;
    value.sign().filter(|_| !evaluator.absorbed)
}

fn names(expressions: &[&Expression]) -> Vec<String> {
    let mut names: Vec<String> = expressions
        .iter()
        .flat_map(|e| e.variables())
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether variables stand for whole numbers: in factorials, binomials and exponents of negative
/// numbers.
fn is_of_whole_numbers(e: &Expression) -> bool {
    e.any(&|e| match e {
        Expression::Factorial(of, _) => !of.variables().is_empty(),
        Expression::Binomial(n, k) => !n.variables().is_empty() || !k.variables().is_empty(),
        Expression::Power(base, exponent) => {
            matches!(&**base, Expression::Number(n) if *n < RBig::ZERO) && !exponent.variables().is_empty()
        }
        _ => false,
    })
}

/// Values of variables: both signs, small and large; whole and positive if asked for.
fn point(names: &[String], index: u64, whole: bool) -> Vec<(String, RBig)> {
    let value = |name: &String| {
        // FNV-1a, then the mixing step of splitmix64.
        let hash = name.bytes().chain(index.to_le_bytes());
        let hash = hash.fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = mixed ^ (mixed >> 27);
        if whole {
            return RBig::from(2 + mixed % 19);
        }
        // 0.1 to 0.95, 1 to 3.2, 3 to 12, 10 to 40, in steps of 2⁻¹⁰.
        let (low, high) = [(103, 972), (1025, 3276), (3073, 12_287), (10_241, 40_959)][(index / 4 % 4) as usize];
        let size = low + mixed % (high - low);
        let negative = match index % 4 {
            0 => false,
            1 => true,
            _ => mixed >> 63 == 1,
        };
        let size = IBig::from(size | 1);
        RBig::from_parts(if negative { -size } else { size }, 1024u32.into())
    };
    names.iter().map(|name| (name.clone(), value(name))).collect()
}
