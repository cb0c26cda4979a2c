//! An exact normal form: sums of rational multiples of square roots, powers of π and variables.
//! Two expressions that have one are equal exactly when it is the same.

use std::collections::BTreeMap;

use num_integer::Integer;
use num_traits::{CheckedAdd, CheckedMul, One, Signed, Zero};

use super::expression::Expression;
use super::rational::{Rational, fraction, whole_root};

/// Terms of a sum.
const MAX_TERMS: usize = 32;
/// Magnitude of an exponent.
const MAX_EXPONENT: i32 = 128;
/// What stands under a root: squares are taken out of it by trial division.
const MAX_RADICAND: i128 = 10_000_000_000;

/// √root · Π symbolᵏ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Monomial {
    /// Free of squares, at least 1.
    root: i128,
    /// No exponent is 0.
    powers: BTreeMap<String, i32>,
}

/// A sum of monomials with coefficients other than 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal(BTreeMap<Monomial, Rational>);

impl Normal {
    /// The normal form of an expression, if it has one within the bounds.
    pub fn of(expression: &Expression) -> Option<Normal> {
        match expression {
            Expression::Number(n) => Some(Normal::constant(*n)),
            Expression::Symbol(name) => Some(Normal::symbol(name)),
            Expression::Negative(a) => Normal::of(a)?.times(&Normal::constant(-Rational::one())),
            Expression::Sum(a, b) => Normal::of(a)?.plus(&Normal::of(b)?),
            Expression::Product(a, b) => Normal::of(a)?.times(&Normal::of(b)?),
            Expression::Quotient(a, b) => Normal::of(a)?.times(&Normal::of(b)?.inverse()?),
            Expression::Power(a, b) => Normal::of(a)?.power(Normal::of(b)?.rational()?),
            Expression::Root(n, a) => Normal::of(a)?.root(*n),
            Expression::Magnitude(a) => Some(Normal::constant(Normal::of(a)?.rational()?.abs())),
            Expression::Function(..) | Expression::Logarithm(..) => None,
        }
    }

    fn constant(value: Rational) -> Normal {
        let unit = Monomial {
            root: 1,
            powers: BTreeMap::new(),
        };
        Normal([(unit, value)].into_iter().filter(|(_, v)| !v.is_zero()).collect())
    }

    fn symbol(name: &str) -> Normal {
        let monomial = Monomial {
            root: 1,
            powers: [(name.to_owned(), 1)].into(),
        };
        Normal([(monomial, Rational::one())].into())
    }

    /// The number it is, if it is rational.
    fn rational(&self) -> Option<Rational> {
        match self.0.first_key_value() {
            None => Some(Rational::zero()),
            Some((m, value)) if self.0.len() == 1 && m.root == 1 && m.powers.is_empty() => Some(*value),
            _ => None,
        }
    }

    fn add(&mut self, monomial: Monomial, value: Rational) -> Option<()> {
        let sum = self.0.get(&monomial).copied().unwrap_or_default().checked_add(&value)?;
        if sum.is_zero() {
            self.0.remove(&monomial);
        } else {
            self.0.insert(monomial, sum);
        }
        (self.0.len() <= MAX_TERMS).then_some(())
    }

    fn plus(mut self, other: &Normal) -> Option<Normal> {
        for (monomial, value) in &other.0 {
            self.add(monomial.clone(), *value)?;
        }
        Some(self)
    }

    fn times(&self, other: &Normal) -> Option<Normal> {
        let mut product = Normal(BTreeMap::new());
        for (a, x) in &self.0 {
            for (b, y) in &other.0 {
                let (monomial, whole) = a.times(b)?;
                let value = x.checked_mul(y)?.checked_mul(&Rational::from_integer(whole))?;
                product.add(monomial, value)?;
            }
        }
        Some(product)
    }

    /// Of a single term: 1/(q·√r·xᵏ) = 1/(q·r) · √r · x⁻ᵏ.
    fn inverse(&self) -> Option<Normal> {
        let (monomial, value) = self.0.first_key_value().filter(|_| self.0.len() == 1)?;
        let value = value.checked_mul(&Rational::from_integer(monomial.root))?;
        let inverse = Monomial {
            root: monomial.root,
            powers: monomial.powers.iter().map(|(s, k)| (s.clone(), -k)).collect(),
        };
        Some(Normal([(inverse, fraction(Rational::one(), value)?)].into()))
    }

    fn power(&self, exponent: Rational) -> Option<Normal> {
        let (numerator, order) = (*exponent.numer(), *exponent.denom());
        let count = i32::try_from(numerator).ok().filter(|n| n.abs() <= MAX_EXPONENT)?;
        let base = match order {
            1 => self.clone(),
            _ => self.root(u32::try_from(order).ok().filter(|o| *o <= 64)?)?,
        };
        let base = if count < 0 { base.inverse()? } else { base };
        let mut product = Normal::constant(Rational::one());
        for _ in 0..count.abs() {
            product = product.times(&base)?;
        }
        Some(product)
    }

    /// Of a rational number: its square root, or a root of higher order that is rational.
    fn root(&self, order: u32) -> Option<Normal> {
        let value = self.rational()?;
        let (numerator, denominator) = (value.numer().abs(), *value.denom());
        let odd = order % 2 == 1;
        if order != 2 {
            if value.is_negative() && !odd {
                return None;
            }
            let root = Rational::new(whole_root(numerator, order)?, whole_root(denominator, order)?);
            return Some(Normal::constant(if value.is_negative() { -root } else { root }));
        }
        // √(p/q) = √(p·q)/q
        let (outside, inside) = square_free(numerator.checked_mul(denominator)?)?;
        let real = Normal::constant(Rational::new(outside, denominator)).times(&Normal::square_root(inside))?;
        match value.is_negative() {
            true => real.times(&Normal::symbol("i")),
            false => Some(real),
        }
    }

    fn square_root(square_free: i128) -> Normal {
        let monomial = Monomial {
            root: square_free,
            powers: BTreeMap::new(),
        };
        Normal([(monomial, Rational::one())].into())
    }
}

impl Monomial {
    /// The product, and the whole number that comes out of the roots: √a·√b = g·√(ab/g²).
    fn times(&self, other: &Monomial) -> Option<(Monomial, i128)> {
        let g = self.root.gcd(&other.root);
        let root = (self.root / g).checked_mul(other.root / g)?;
        let mut powers = self.powers.clone();
        for (symbol, k) in &other.powers {
            let sum = powers.get(symbol).copied().unwrap_or_default() + k;
            if sum.abs() > MAX_EXPONENT {
                return None;
            }
            match sum {
                0 => powers.remove(symbol),
                _ => powers.insert(symbol.clone(), sum),
            };
        }
        Some((Monomial { root, powers }, g))
    }
}

/// (s, f) with n = s²·f, f free of squares; (0, 1) for 0.
fn square_free(mut n: i128) -> Option<(i128, i128)> {
    if n == 0 {
        return Some((0, 1));
    }
    if let Some(root) = whole_root(n, 2) {
        return Some((root, 1));
    }
    if n > MAX_RADICAND {
        return None;
    }
    let (mut outside, mut inside, mut factor) = (1, 1, 2);
    while factor * factor <= n {
        while n % (factor * factor) == 0 {
            n /= factor * factor;
            outside *= factor;
        }
        if n % factor == 0 {
            n /= factor;
            inside *= factor;
        }
        factor += 1;
    }
    Some((outside, inside * n))
}
