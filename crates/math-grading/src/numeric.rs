//! Values of expressions to many digits, each with a bound of its error.

mod functions;

use dashu_base::{Approximation, BitTest, Sign};
use dashu_float::round::mode::HalfEven;
use dashu_float::{Context, FBig, FpError, Repr};
use dashu_int::IBig;
use dashu_ratio::RBig;

use crate::expression::Expression;
use crate::normal::{Normal, Work};
use crate::rational::bits;

/// Bits beyond those of the numbers in an expression.
const BITS: usize = 256;
/// Bits of numbers that are reckoned with in full.
const MOST_BITS: usize = 4096;
/// Binary exponents of values.
const MAX_MAGNITUDE: f64 = 1e10;

type Real = FBig<HalfEven, 2>;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Mathematics has none: 1/0, ln 0.
    Undefined,
    /// It is beyond a bound here.
    Unknown,
}

/// A complex number.
#[derive(Clone, Debug)]
pub struct Value {
    re: Real,
    im: Real,
    /// The binary logarithm of a bound of the error of either part; −∞ of exact values.
    error: f64,
}

impl Value {
    pub fn is_real(&self) -> bool {
        is_zero(&self.im)
    }

    pub fn is_zero(&self) -> bool {
        is_zero(&self.re) && is_zero(&self.im)
    }

    /// The sign of a real value; `None` of others.
    pub fn sign(&self) -> Option<i32> {
        match self.is_real() {
            false => None,
            true if is_zero(&self.re) => Some(0),
            true => Some(if is_negative(&self.re) { -1 } else { 1 }),
        }
    }

    fn magnitude(&self) -> f64 {
        magnitude(&self.re).max(magnitude(&self.im))
    }
}

fn is_zero(x: &Real) -> bool {
    x.repr().significand().is_zero()
}

fn is_negative(x: &Real) -> bool {
    x.repr().significand().sign() == Sign::Negative
}

/// The binary logarithm, rounded up; −∞ of 0.
fn magnitude(x: &Real) -> f64 {
    match is_zero(x) {
        true => f64::NEG_INFINITY,
        false => x.repr().significand().bit_len() as f64 + x.repr().exponent() as f64,
    }
}

/// Evaluates expressions at a point, which gives variables their values.
pub struct Evaluator<'a> {
    context: Context<HalfEven>,
    work: &'a Work,
    /// (name, value) of variables.
    point: Vec<(String, RBig)>,
    /// Whether something was rounded since this was last looked at.
    inexact: bool,
    /// Whether a summand vanished beside another: what looks equal then may not be.
    pub absorbed: bool,
}

type Result<T> = std::result::Result<T, Fault>;

/// The bits that values of an expression need.
pub fn precision(expressions: &[&Expression]) -> usize {
    fn most(e: &Expression) -> usize {
        match e {
            Expression::Number(n) => bits(n),
            other => other.parts().into_iter().map(most).max().unwrap_or(0),
        }
    }
    let most = expressions.iter().map(|e| most(e)).max().unwrap_or(0);
    BITS + 2 * most.min(MOST_BITS)
}

/// The expression with what is a rational number in it as one.
pub fn folded(expression: &Expression, work: &Work) -> Expression {
    let fold = |e: &Expression| folded(e, work);
    let one = |e: &Expression| Box::new(fold(e));
    let folded = match expression {
        Expression::Number(_) | Expression::Symbol(_) => return expression.clone(),
        Expression::Sum(parts) => Expression::Sum(parts.iter().map(fold).collect()),
        Expression::Product(parts) => Expression::Product(parts.iter().map(fold).collect()),
        Expression::Power(a, b) => Expression::Power(one(a), one(b)),
        Expression::Root(n, a) => Expression::Root(*n, one(a)),
        Expression::Magnitude(a) => Expression::Magnitude(one(a)),
        Expression::Floor(a) => Expression::Floor(one(a)),
        Expression::Ceiling(a) => Expression::Ceiling(one(a)),
        Expression::Function(f, a) => return Expression::Function(*f, one(a)),
        Expression::Logarithm(a, b) => return Expression::Logarithm(one(a), one(b)),
        Expression::Factorial(a, step) => Expression::Factorial(one(a), *step),
        Expression::Binomial(a, b) => Expression::Binomial(one(a), one(b)),
        Expression::Degrees(a) => Expression::Degrees(one(a)),
    };
    let numbers = folded.parts().iter().all(|p| matches!(p, Expression::Number(_)));
    match numbers.then(|| Normal::of(&folded, work)?.rational()).flatten() {
        Some(value) => Expression::Number(value),
        None => folded,
    }
}

impl<'a> Evaluator<'a> {
    pub fn new(precision: usize, point: Vec<(String, RBig)>, work: &'a Work) -> Evaluator<'a> {
        Evaluator {
            context: Context::new(precision),
            work,
            point,
            inexact: false,
            absorbed: false,
        }
    }

    fn precision(&self) -> usize {
        self.context.precision()
    }

    /// The value of an expression that [`folded`] has seen.
    pub fn value(&mut self, expression: &Expression) -> Result<Value> {
        self.burn(1)?;
        match expression {
            Expression::Number(n) => self.number(n),
            Expression::Symbol(name) => self.symbol(name),
            Expression::Sum(parts) => self.sum(parts),
            Expression::Product(parts) => {
                let mut product = self.value(&parts[0])?;
                for part in &parts[1..] {
                    product = match part {
                        Expression::Power(a, b) if **b == Expression::number(-1) => {
                            let divisor = self.value(a)?;
                            self.div(&product, &divisor)?
                        }
                        _ => {
                            let factor = self.value(part)?;
                            self.mul(&product, &factor)?
                        }
                    };
                }
                Ok(product)
            }
            Expression::Power(a, b) => {
                let base = self.value(a)?;
                match &**b {
                    Expression::Number(exponent) => self.rational_power(&base, exponent),
                    Expression::Symbol(_) | Expression::Sum(_) | Expression::Product(_) | Expression::Power(..)
                        if **a == Expression::Symbol("e".into()) =>
                    {
                        let exponent = self.value(b)?;
                        self.exp(&exponent)
                    }
                    other => {
                        let exponent = self.value(other)?;
                        self.power(&base, &exponent)
                    }
                }
            }
            Expression::Root(n, a) => {
                let value = self.value(a)?;
                self.rational_power(&value, &RBig::from_parts(IBig::ONE, (*n).into()))
            }
            Expression::Magnitude(a) => {
                let value = self.value(a)?;
                self.abs(&value)
            }
            Expression::Floor(a) => {
                let value = self.value(a)?;
                self.floor(&value)
            }
            Expression::Ceiling(a) => {
                let value = self.value(a)?;
                let floor = self.floor(&negated(value))?;
                Ok(negated(floor))
            }
            Expression::Function(f, a) => {
                let value = self.value(a)?;
                self.function(*f, &value)
            }
            Expression::Logarithm(base, a) => {
                let (base, value) = (self.value(base)?, self.value(a)?);
                let (below, above) = (self.ln(&base)?, self.ln(&value)?);
                self.div(&above, &below)
            }
            Expression::Factorial(a, step) => {
                let value = self.value(a)?;
                self.factorial(&value, i64::from(*step))
            }
            Expression::Binomial(n, k) => {
                let (n, k) = (self.value(n)?, self.value(k)?);
                self.binomial(&n, &k)
            }
            Expression::Degrees(a) => self.value(a),
        }
    }

    fn burn(&self, amount: u64) -> Result<()> {
        let words = (self.precision() / 64) as u64;
        self.work.burn(amount * (20 + words * words)).ok_or(Fault::Unknown)
    }

    /// Notes whether a result was rounded.
    fn rounded<T, E>(&mut self, result: std::result::Result<Approximation<T, E>, FpError>) -> Result<T> {
        match result {
            Ok(Approximation::Exact(value)) => Ok(value),
            Ok(Approximation::Inexact(value, _)) => {
                self.inexact = true;
                Ok(value)
            }
            Err(FpError::OutOfDomain | FpError::Indeterminate) => Err(Fault::Undefined),
            Err(_) => Err(Fault::Unknown),
        }
    }

    fn plus(&mut self, a: &Real, b: &Real) -> Result<Real> {
        if is_zero(a) || is_zero(b) {
            return Ok(if is_zero(a) { b.clone() } else { a.clone() });
        }
        let apart = magnitude(a) - magnitude(b);
        if apart.abs() > self.precision() as f64 - 32.0 {
            self.absorbed = true;
            self.inexact = true;
            return Ok(if apart > 0.0 { a.clone() } else { b.clone() });
        }
        let sum = self.context.add(a.repr(), b.repr());
        self.rounded(sum)
    }

    fn times(&mut self, a: &Real, b: &Real) -> Result<Real> {
        if is_zero(a) || is_zero(b) {
            return Ok(Real::ZERO);
        }
        let product = self.context.mul(a.repr(), b.repr());
        self.rounded(product)
    }

    fn over(&mut self, a: &Real, b: &Real) -> Result<Real> {
        if is_zero(b) {
            return Err(Fault::Undefined);
        }
        if is_zero(a) {
            return Ok(Real::ZERO);
        }
        let quotient = self.context.div(a.repr(), b.repr());
        self.rounded(quotient)
    }

    /// A value of the error that its parts brought with them and that of rounding. A part that
    /// cannot be told from 0 is 0: values on a branch cut stay there.
    fn done(&mut self, re: Real, im: Real, carried: f64) -> Result<Value> {
        let magnitude_of_all = magnitude(&re).max(magnitude(&im));
        if magnitude_of_all > MAX_MAGNITUDE || magnitude(&re).is_nan() {
            return Err(Fault::Unknown);
        }
        let mut error = carried;
        if std::mem::take(&mut self.inexact) {
            error = error.max(magnitude_of_all - self.precision() as f64) + 3.0;
        }
        let snapped = |x: Real| if magnitude(&x) <= error + 4.0 { Real::ZERO } else { x };
        Ok(Value {
            re: snapped(re),
            im: snapped(im),
            error,
        })
    }

    fn number(&mut self, n: &RBig) -> Result<Value> {
        if bits(n) > self.precision() {
            self.absorbed = true;
        }
        let (numerator, denominator) = (Repr::from(n.numerator().clone()), Repr::from(n.denominator().clone()));
        let value = self.context.div(&numerator, &denominator);
        let re = self.rounded(value)?;
        self.done(re, Real::ZERO, f64::NEG_INFINITY)
    }

    fn integer(&mut self, n: i64) -> Result<Value> {
        self.number(&RBig::from(n))
    }

    fn symbol(&mut self, name: &str) -> Result<Value> {
        match name {
            "pi" => {
                let pi = self.context.pi(Some(&mut self.work.constants.borrow_mut()));
                let pi = self.rounded(Ok(pi))?;
                self.done(pi, Real::ZERO, f64::NEG_INFINITY)
            }
            "e" => {
                let one = self.integer(1)?;
                self.exp(&one)
            }
            "i" => Ok(Value {
                re: Real::ZERO,
                im: Real::ONE,
                error: f64::NEG_INFINITY,
            }),
            _ => {
                let value = self.point.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
                self.number(&value.ok_or(Fault::Unknown)?)
            }
        }
    }

    fn sum(&mut self, parts: &[Expression]) -> Result<Value> {
        let mut sum = self.value(&parts[0])?;
        for part in &parts[1..] {
            let part = self.value(part)?;
            sum = self.add(&sum, &part)?;
        }
        Ok(sum)
    }

    pub fn add(&mut self, a: &Value, b: &Value) -> Result<Value> {
        let (re, im) = (self.plus(&a.re, &b.re)?, self.plus(&a.im, &b.im)?);
        let largest = a.magnitude().max(b.magnitude());
        let mut carried = a.error.max(b.error) + 1.0;
        if self.inexact {
            carried = carried.max(largest - self.precision() as f64);
        }
        self.done(re, im, carried)
    }

    pub fn sub(&mut self, a: &Value, b: &Value) -> Result<Value> {
        self.add(a, &negated(b.clone()))
    }

    pub fn mul(&mut self, a: &Value, b: &Value) -> Result<Value> {
        self.burn(1)?;
        let carried = (a.error + b.magnitude())
            .max(b.error + a.magnitude())
            .max(a.error + b.error)
            + 2.0;
        let carried = if carried.is_nan() { f64::NEG_INFINITY } else { carried };
        let (re, im) = match (a.is_real(), b.is_real()) {
            (true, true) => (self.times(&a.re, &b.re)?, Real::ZERO),
            (true, false) => (self.times(&a.re, &b.re)?, self.times(&a.re, &b.im)?),
            (false, true) => (self.times(&a.re, &b.re)?, self.times(&a.im, &b.re)?),
            (false, false) => {
                let (rr, ii) = (self.times(&a.re, &b.re)?, self.times(&a.im, &b.im)?);
                let (ri, ir) = (self.times(&a.re, &b.im)?, self.times(&a.im, &b.re)?);
                (self.plus(&rr, &-ii)?, self.plus(&ri, &ir)?)
            }
        };
        let largest = a.magnitude() + b.magnitude() - self.precision() as f64;
        let carried = if self.inexact { carried.max(largest) } else { carried };
        self.done(re, im, carried)
    }

    pub fn div(&mut self, a: &Value, b: &Value) -> Result<Value> {
        self.burn(2)?;
        if b.is_zero() {
            return Err(Fault::Undefined);
        }
        let size = b.magnitude() - 1.0;
        let carried = (a.error - size).max(b.error + a.magnitude() - 2.0 * size) + 3.0;
        if b.is_real() {
            let (re, im) = (self.over(&a.re, &b.re)?, self.over(&a.im, &b.re)?);
            return self.done(re, im, carried);
        }
        let conjugate = Value {
            re: b.re.clone(),
            im: -b.im.clone(),
            error: b.error,
        };
        let (squares, above) = (self.mul(b, &conjugate)?, self.mul(a, &conjugate)?);
        let (re, im) = (self.over(&above.re, &squares.re)?, self.over(&above.im, &squares.re)?);
        let rounding = a.magnitude() - size - self.precision() as f64 + 3.0;
        let exact = carried == f64::NEG_INFINITY && !self.inexact;
        self.done(re, im, if exact { carried } else { carried.max(rounding) })
    }

    fn abs(&mut self, a: &Value) -> Result<Value> {
        if a.is_real() {
            return Ok(if is_negative(&a.re) {
                negated(a.clone())
            } else {
                a.clone()
            });
        }
        let absolute = self.context.hypot(a.re.repr(), a.im.repr());
        let re = self.rounded(absolute)?;
        self.done(re, Real::ZERO, a.error + 1.0)
    }

    fn floor(&mut self, a: &Value) -> Result<Value> {
        if !a.is_real() || a.magnitude() > self.precision() as f64 / 2.0 {
            return Err(Fault::Unknown);
        }
        let near = a.re.round();
        let apart = self.plus(&a.re, &-near.clone())?;
        self.inexact = false;
        let whole = match magnitude(&apart) <= a.error + 4.0 {
            true => near,
            false => a.re.floor(),
        };
        self.done(whole, Real::ZERO, f64::NEG_INFINITY)
    }

    fn exp(&mut self, a: &Value) -> Result<Value> {
        self.burn(150)?;
        if a.magnitude() > 40.0 {
            return Err(Fault::Unknown);
        }
        let size = self
            .context
            .exp(a.re.repr(), Some(&mut self.work.constants.borrow_mut()));
        let size = self.rounded(size)?;
        let carried = a.error + magnitude(&size) + 1.0;
        if a.is_real() {
            return self.done(size, Real::ZERO, carried);
        }
        let (sin, cos) = self.sin_cos(&a.im)?;
        let (re, im) = (self.times(&size, &cos)?, self.times(&size, &sin)?);
        self.inexact = true;
        self.done(re, im, carried)
    }

    fn sin_cos(&mut self, x: &Real) -> Result<(Real, Real)> {
        if is_zero(x) {
            return Ok((Real::ZERO, Real::ONE));
        }
        let (sin, cos) = self
            .context
            .sin_cos(x.repr(), Some(&mut self.work.constants.borrow_mut()));
        Ok((self.rounded(sin)?, self.rounded(cos)?))
    }

    pub fn ln(&mut self, a: &Value) -> Result<Value> {
        self.burn(150)?;
        if a.is_zero() {
            return Err(Fault::Undefined);
        }
        let carried = a.error - a.magnitude() + 2.0;
        let size = self.abs(a)?;
        let re = self
            .context
            .ln(size.re.repr(), Some(&mut self.work.constants.borrow_mut()));
        let re = self.rounded(re)?;
        let im = match a.is_real() {
            true if is_negative(&a.re) => {
                let pi = self.context.pi(Some(&mut self.work.constants.borrow_mut()));
                self.rounded(Ok(pi))?
            }
            true => Real::ZERO,
            false => {
                let angle = self
                    .context
                    .atan2(a.im.repr(), a.re.repr(), Some(&mut self.work.constants.borrow_mut()));
                self.rounded(angle)?
            }
        };
        self.done(re, im, carried)
    }

    fn sqrt(&mut self, a: &Value) -> Result<Value> {
        self.burn(20)?;
        if a.is_zero() {
            let error = a.error / 2.0;
            return Ok(Value { error, ..a.clone() });
        }
        if !a.is_real() {
            let ln = self.ln(a)?;
            let half = self.number(&RBig::from_parts(IBig::ONE, 2u8.into()))?;
            let half = self.mul(&ln, &half)?;
            return self.exp(&half);
        }
        let carried = a.error - (a.magnitude() - 1.0) / 2.0;
        let size = if is_negative(&a.re) {
            -a.re.clone()
        } else {
            a.re.clone()
        };
        let root = self.context.sqrt(size.repr());
        let root = self.rounded(root)?;
        match is_negative(&a.re) {
            true => self.done(Real::ZERO, root, carried),
            false => self.done(root, Real::ZERO, carried),
        }
    }

    /// Of an exact exponent. Odd roots of negative real numbers are real.
    fn rational_power(&mut self, base: &Value, exponent: &RBig) -> Result<Value> {
        let order = exponent.denominator();
        if order.is_one() {
            return self.whole_power(base, exponent.numerator().clone());
        }
        if *order == 2u8.into() {
            let root = self.sqrt(base)?;
            return self.whole_power(&root, exponent.numerator().clone());
        }
        let is_odd = order.bit(0);
        if base.is_real() && is_negative(&base.re) && is_odd {
            let positive = self.power_of(&negated(base.clone()), exponent)?;
            return Ok(if exponent.numerator().bit(0) {
                negated(positive)
            } else {
                positive
            });
        }
        self.power_of(base, exponent)
    }

    fn power_of(&mut self, base: &Value, exponent: &RBig) -> Result<Value> {
        let exponent = self.number(exponent)?;
        self.power(base, &exponent)
    }

    fn whole_power(&mut self, base: &Value, exponent: IBig) -> Result<Value> {
        if exponent.is_zero() {
            return self.integer(1);
        }
        let negative = exponent.sign() == Sign::Negative;
        if base.is_zero() {
            return if negative {
                Err(Fault::Undefined)
            } else {
                Ok(base.clone())
            };
        }
        let bits = exponent.bit_len();
        if bits > 40 {
            return Err(Fault::Unknown);
        }
        self.burn(2 * bits as u64)?;
        let (mut power, mut square) = (None, base.clone());
        for bit in 0..bits {
            // A negative number has the bits of its two's complement.
            let magnitude = if negative { -exponent.clone() } else { exponent.clone() };
            if magnitude.bit(bit) {
                power = Some(match power {
                    None => square.clone(),
                    Some(power) => self.mul(&power, &square)?,
                });
            }
            if bit + 1 < bits {
                square = self.mul(&square, &square.clone())?;
            }
        }
        let power = power.ok_or(Fault::Unknown)?;
        if !negative {
            return Ok(power);
        }
        let one = self.integer(1)?;
        self.div(&one, &power)
    }

    /// Of principal value.
    fn power(&mut self, base: &Value, exponent: &Value) -> Result<Value> {
        if exponent.is_zero() {
            return self.integer(1);
        }
        if base.is_zero() {
            return match exponent.sign() {
                Some(1) => Ok(base.clone()),
                _ => Err(Fault::Undefined),
            };
        }
        if exponent.is_real() && exponent.error == f64::NEG_INFINITY && exponent.magnitude() < 40.0 {
            let whole = exponent.re.to_int();
            if let Approximation::Exact(whole) = whole {
                return self.whole_power(base, whole);
            }
        }
        let ln = self.ln(base)?;
        let product = self.mul(&ln, exponent)?;
        self.exp(&product)
    }
}

/// Zeros keep their sign, so that values on a branch cut stay on its one side.
fn negated(a: Value) -> Value {
    let minus = |x: Real| if is_zero(&x) { Real::ZERO } else { -x };
    Value {
        re: minus(a.re),
        im: minus(a.im),
        error: a.error,
    }
}

/// How two values compare within their errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closeness {
    Same,
    Different,
    /// The errors are too large to tell.
    Unclear,
}

impl Evaluator<'_> {
    /// Whether two values are the same, as far as their errors let it be seen.
    pub fn compare(&mut self, a: &Value, b: &Value) -> Closeness {
        let Ok(difference) = self.sub(a, b) else {
            return Closeness::Unclear;
        };
        if !difference.is_zero() {
            return Closeness::Different;
        }
        // Relative to the greater, or absolute where both are 0.
        let size = a.magnitude().max(b.magnitude()).max(0.0);
        match difference.error <= size - 100.0 {
            true => Closeness::Same,
            false => Closeness::Unclear,
        }
    }
}
