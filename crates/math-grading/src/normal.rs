//! An exact normal form: sums of rational multiples of square roots, i, π, e and variables. Two
//! expressions that have one are equal exactly when it is the same.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use dashu_base::{Abs, BitTest, Gcd, UnsignedAbs};
use dashu_float::ConstCache;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::expression::Expression;
use crate::rational::{MAX_BITS, bits, checked, small, whole_root};

/// Terms of a sum.
const MAX_TERMS: usize = 200;
/// Magnitude of an exponent of a variable.
const MAX_EXPONENT: i64 = 100_000;
/// Bits of what stands under a root.
const MAX_RADICAND: usize = 4096;
/// Squares of primes below this are taken out of roots.
const MAX_PRIME: u64 = 10_000;

/// What one comparison shares: the work that it may still do, and constants to many digits.
pub struct Work {
    /// In operations on machine words, about.
    left: Cell<u64>,
    pub constants: RefCell<ConstCache>,
}

impl Work {
    pub fn new(amount: u64) -> Work {
        Work {
            left: Cell::new(amount),
            constants: RefCell::new(ConstCache::new()),
        }
    }

    /// Takes some; `None` where it is spent.
    pub fn burn(&self, amount: u64) -> Option<()> {
        let left = self.left.get().checked_sub(amount);
        self.left.set(left.unwrap_or(0));
        left.map(|_| ())
    }

    /// Arithmetic on two numbers, lowest terms included.
    fn arithmetic(&self, a: &RBig, b: &RBig) -> Option<()> {
        let words = ((bits(a) + bits(b)) / 64 + 1) as u64;
        self.burn(4 + words * words)
    }
}

/// √root · Π symbolᵏ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Monomial {
    /// Free of squares, at least 1.
    root: UBig,
    /// No exponent is 0; that of `i` is 1.
    powers: BTreeMap<String, i64>,
}

/// A sum of monomials with coefficients other than 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal(BTreeMap<Monomial, RBig>);

impl Normal {
    /// The normal form of an expression, if it has one within the bounds.
    pub fn of(expression: &Expression, work: &Work) -> Option<Normal> {
        work.burn(1)?;
        let of = |e: &Expression| Normal::of(e, work);
        match expression {
            Expression::Number(n) => Some(Normal::constant(n.clone())),
            Expression::Symbol(name) => Some(Normal::symbol(name)),
            Expression::Sum(parts) => {
                let mut sum = Normal::constant(RBig::ZERO);
                for part in parts {
                    sum = sum.plus(&of(part)?, work)?;
                }
                Some(sum)
            }
            Expression::Product(parts) => {
                let mut product = Normal::constant(RBig::ONE);
                for part in parts {
                    product = product.times(&of(part)?, work)?;
                }
                Some(product)
            }
            Expression::Power(a, b) => of(a)?.power(&of(b)?.rational()?, work),
            Expression::Root(n, a) => of(a)?.root(*n as usize, work),
            Expression::Magnitude(a) => Some(Normal::constant(of(a)?.rational()?.abs())),
            Expression::Floor(a) => Some(Normal::constant(of(a)?.rational()?.floor().into())),
            Expression::Ceiling(a) => Some(Normal::constant(of(a)?.rational()?.ceil().into())),
            Expression::Factorial(a, step) => factorial(&of(a)?.rational()?, *step, work).map(Normal::constant),
            Expression::Binomial(n, k) => {
                binomial(&of(n)?.rational()?, &of(k)?.rational()?, work).map(Normal::constant)
            }
            Expression::Degrees(a) => of(a),
            Expression::Function(..) | Expression::Logarithm(..) => None,
        }
    }

    pub fn constant(value: RBig) -> Normal {
        Normal(
            [(Monomial::one(), value)]
                .into_iter()
                .filter(|(_, v)| !v.is_zero())
                .collect(),
        )
    }

    fn symbol(name: &str) -> Normal {
        let mut monomial = Monomial::one();
        monomial.powers.insert(name.to_owned(), 1);
        Normal([(monomial, RBig::ONE)].into())
    }

    pub fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// The number it is, if it is rational.
    pub fn rational(&self) -> Option<RBig> {
        match self.0.first_key_value() {
            None => Some(RBig::ZERO),
            Some((m, value)) if self.0.len() == 1 && *m == Monomial::one() => Some(value.clone()),
            _ => None,
        }
    }

    fn add(&mut self, monomial: Monomial, value: RBig, work: &Work) -> Option<()> {
        let sum = match self.0.remove(&monomial) {
            Some(before) => {
                work.arithmetic(&before, &value)?;
                checked(before + value)?
            }
            None => value,
        };
        if !sum.is_zero() {
            self.0.insert(monomial, sum);
        }
        (self.0.len() <= MAX_TERMS).then_some(())
    }

    pub fn plus(mut self, other: &Normal, work: &Work) -> Option<Normal> {
        for (monomial, value) in &other.0 {
            self.add(monomial.clone(), value.clone(), work)?;
        }
        Some(self)
    }

    pub fn times(&self, other: &Normal, work: &Work) -> Option<Normal> {
        let mut product = Normal(BTreeMap::new());
        for (a, x) in &self.0 {
            for (b, y) in &other.0 {
                work.arithmetic(x, y)?;
                let (monomial, whole) = a.times(b)?;
                product.add(monomial, checked(x * y * RBig::from(whole))?, work)?;
            }
        }
        Some(product)
    }

    /// Of a single term: 1/(q·√r·xᵏ) = 1/(q·r) · √r · x⁻ᵏ.
    fn inverse(&self, work: &Work) -> Option<Normal> {
        let (monomial, value) = self.0.first_key_value().filter(|_| self.0.len() == 1)?;
        work.arithmetic(value, &RBig::from(monomial.root.clone()))?;
        let mut value = checked(RBig::ONE / (value * RBig::from(monomial.root.clone())))?;
        let mut inverse = Monomial {
            root: monomial.root.clone(),
            powers: monomial.powers.iter().map(|(s, k)| (s.clone(), -k)).collect(),
        };
        if let Some(k) = inverse.powers.get_mut("i") {
            // 1/i = −i
            *k = 1;
            value = -value;
        }
        Some(Normal([(inverse, value)].into()))
    }

    fn power(&self, exponent: &RBig, work: &Work) -> Option<Normal> {
        let whole = RBig::from(exponent.numerator().clone());
        let base = match u64::try_from(exponent.denominator()).ok()? {
            1 => self.clone(),
            order @ 2..=1000 => self.root(order as usize, work)?,
            _ => return None,
        };
        if whole.is_zero() {
            return Some(Normal::constant(RBig::ONE));
        }
        // Of 1, −1 and 0, whatever the exponent.
        let is_odd = whole.numerator().bit(0);
        match base.rational() {
            Some(one) if one.is_one() => return Some(base),
            Some(one) if (-&one).is_one() => return Some(if is_odd { base } else { Normal::constant(RBig::ONE) }),
            Some(zero) if zero.is_zero() => return (whole > RBig::ZERO).then_some(base),
            _ => {}
        }
        let count = small(&whole).filter(|n| n.abs() <= MAX_EXPONENT)?;
        let base = if count < 0 { base.inverse(work)? } else { base };
        let mut count = count.unsigned_abs();
        let bits = base.0.values().map(bits).max().unwrap_or(1);
        if bits.saturating_sub(1) as u64 * count > 2 * MAX_BITS as u64 {
            return None;
        }
        let (mut product, mut square) = (Normal::constant(RBig::ONE), base);
        loop {
            if count & 1 == 1 {
                product = product.times(&square, work)?;
            }
            count >>= 1;
            if count == 0 {
                return Some(product);
            }
            square = square.times(&square, work)?;
        }
    }

    /// Of a rational number: its square root, or a root of higher order that is rational.
    fn root(&self, order: usize, work: &Work) -> Option<Normal> {
        let value = self.rational()?;
        if bits(&value) > MAX_RADICAND {
            return None;
        }
        work.burn(match bits(&value) {
            ..32 => 100,
            many => 100 * many as u64,
        })?;
        let (numerator, denominator) = (value.numerator().unsigned_abs(), value.denominator().clone());
        let negative = value < RBig::ZERO;
        if order != 2 {
            if negative && order.is_multiple_of(2) {
                return None;
            }
            let root = RBig::from_parts(
                IBig::from(whole_root(&numerator, order)?),
                whole_root(&denominator, order)?,
            );
            return Some(Normal::constant(if negative { -root } else { root }));
        }
        // √(p/q) = √(p·q)/q
        let (outside, inside) = square_free(numerator * &denominator)?;
        let mut monomial = Monomial {
            root: inside,
            powers: BTreeMap::new(),
        };
        if negative {
            monomial.powers.insert("i".into(), 1);
        }
        let coefficient = RBig::from_parts(IBig::from(outside), denominator);
        match coefficient.is_zero() {
            true => Some(Normal::constant(RBig::ZERO)),
            false => Some(Normal([(monomial, coefficient)].into())),
        }
    }

    /// The coefficients of the powers of a variable, if it has no negative ones and there are no
    /// other variables: c₀, c₁, …, of which the last is not 0.
    pub fn polynomial(&self, variable: &str, most: usize) -> Option<Vec<Normal>> {
        let mut coefficients: Vec<Normal> = vec![Normal(BTreeMap::new())];
        for (monomial, value) in &self.0 {
            let mut rest = monomial.clone();
            let degree = usize::try_from(rest.powers.remove(variable).unwrap_or(0)).ok()?;
            if degree > most || rest.powers.keys().any(|s| !crate::expression::is_constant(s)) {
                return None;
            }
            if coefficients.len() <= degree {
                coefficients.resize(degree + 1, Normal(BTreeMap::new()));
            }
            coefficients[degree].0.insert(rest, value.clone());
        }
        Some(coefficients)
    }

    /// Without negative powers of variables: times as much of each as it takes.
    pub fn cleared(&self) -> Normal {
        let mut least: BTreeMap<&str, i64> = BTreeMap::new();
        for monomial in self.0.keys() {
            for (symbol, &k) in monomial
                .powers
                .iter()
                .filter(|(s, k)| **k < 0 && !crate::expression::is_constant(s))
            {
                let entry = least.entry(symbol).or_default();
                *entry = (*entry).min(k);
            }
        }
        let raised = self.0.iter().map(|(monomial, value)| {
            let mut monomial = monomial.clone();
            for (symbol, k) in &least {
                let power = monomial.powers.entry((*symbol).to_owned()).or_default();
                *power -= k;
                if *power == 0 {
                    monomial.powers.remove(*symbol);
                }
            }
            (monomial, value.clone())
        });
        Normal(raised.collect())
    }

    /// The constant c with `self` = c·`other`, as numerator and denominator; both sides are other
    /// than 0.
    pub fn ratio(&self, other: &Normal, work: &Work) -> Option<(Normal, Normal)> {
        let (a, b) = (self.leading()?, other.leading()?);
        let same = self.times(&b, work)? == other.times(&a, work)?;
        same.then_some((a, b))
    }

    /// The coefficient of the greatest power of variables.
    fn leading(&self) -> Option<Normal> {
        let variables = |m: &Monomial| -> BTreeMap<String, i64> {
            let kept = m.powers.iter().filter(|(s, _)| !crate::expression::is_constant(s));
            kept.map(|(s, k)| (s.clone(), *k)).collect()
        };
        let greatest = self.0.keys().map(variables).max()?;
        let with = self.0.iter().filter(|(m, _)| variables(m) == greatest);
        let parts = with.map(|(m, value)| {
            let mut m = m.clone();
            m.powers.retain(|s, _| crate::expression::is_constant(s));
            (m, value.clone())
        });
        Some(Normal(parts.collect()))
    }

    /// As an expression again.
    pub fn expression(&self) -> Expression {
        let term = |(monomial, value): (&Monomial, &RBig)| {
            let mut factors = vec![Expression::Number(value.clone())];
            if !monomial.root.is_one() {
                let radicand = Expression::number(monomial.root.clone());
                factors.push(Expression::Root(2, Box::new(radicand)));
            }
            factors.extend(monomial.powers.iter().map(|(symbol, k)| {
                let symbol = Expression::Symbol(symbol.clone());
                Expression::Power(Box::new(symbol), Box::new(Expression::number(*k)))
            }));
            Expression::Product(factors)
        };
        Expression::Sum(self.0.iter().map(term).collect())
    }
}

impl Monomial {
    fn one() -> Monomial {
        Monomial {
            root: UBig::ONE,
            powers: BTreeMap::new(),
        }
    }

    /// The product, and the whole number that comes out of the roots: √a·√b = g·√(ab/g²), i·i = −1.
    fn times(&self, other: &Monomial) -> Option<(Monomial, IBig)> {
        let g = match self.root.is_one() || other.root.is_one() {
            true => UBig::ONE,
            false => (&self.root).gcd(&other.root),
        };
        let root = (&self.root / &g) * (&other.root / &g);
        let mut whole = IBig::from(g);
        let mut powers = self.powers.clone();
        for (symbol, k) in &other.powers {
            let mut sum = powers.get(symbol).copied().unwrap_or_default() + k;
            if sum.abs() > MAX_EXPONENT {
                return None;
            }
            if symbol == "i" && sum == 2 {
                sum = 0;
                whole = -whole;
            }
            match sum {
                0 => powers.remove(symbol),
                _ => powers.insert(symbol.clone(), sum),
            };
        }
        Some((Monomial { root, powers }, whole))
    }
}

/// (s, f) with n = s²·f, f free of squares; (0, 1) for 0. `None` where a large square might be left.
fn square_free(n: UBig) -> Option<(UBig, UBig)> {
    if n.is_zero() {
        return Some((UBig::ZERO, UBig::ONE));
    }
    let (mut rest, mut outside, mut inside) = (n, UBig::ONE, UBig::ONE);
    for factor in std::iter::once(2u64).chain((3..MAX_PRIME).step_by(2)) {
        // What is left below the square of a number without smaller factors has no square in it.
        if u64::try_from(&rest).is_ok_and(|rest| rest < factor * factor) {
            return Some((outside, inside * rest));
        }
        let times = rest.remove(&UBig::from(factor)).unwrap_or(0);
        if times > 0 {
            outside *= UBig::from(factor).pow(times / 2);
            inside *= UBig::from(factor).pow(times % 2);
        }
    }
    if let Some(root) = whole_root(&rest, 2) {
        return Some((outside * root, inside));
    }
    // Two primes at most are left below the cube of the bound, and they differ.
    (rest < UBig::from(MAX_PRIME).pow(3)).then(|| (outside, inside * rest))
}

/// n·(n − step)·…, of a whole number ≥ 0.
fn factorial(n: &RBig, step: u32, work: &Work) -> Option<RBig> {
    let n = small(n).and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= 4000)?;
    work.burn(u64::from(n) * 50)?;
    let factors = (1..=n).rev().step_by(step as usize);
    let product = factors.fold(UBig::ONE, |product, factor| product * factor);
    checked(RBig::from(product))
}

/// The number of ways to choose k of n, of whole numbers ≥ 0.
fn binomial(n: &RBig, k: &RBig, work: &Work) -> Option<RBig> {
    let whole = |x: &RBig| small(x).and_then(|n| u64::try_from(n).ok());
    let (n, k) = (whole(n)?, whole(k)?);
    if k > n {
        return Some(RBig::ZERO);
    }
    let k = k.min(n - k);
    if k > 4000 || k * u64::from(64 - n.leading_zeros()) > 2 * MAX_BITS as u64 {
        return None;
    }
    work.burn(k * 100)?;
    let product = (0..k).fold(UBig::ONE, |product, i| product * (n - i) / (i + 1));
    checked(RBig::from(product))
}
