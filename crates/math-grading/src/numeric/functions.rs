//! Functions of complex numbers, factorials and binomials.

use super::{Evaluator, Fault, Real, Result, Value, magnitude, negated};
use crate::expression::Function;

/// What a factorial is taken of by multiplying.
const MAX_FACTORIAL: i64 = 200_000;
/// Binary exponents of what functions take.
const MAX_ANGLE: f64 = 2000.0;

impl Evaluator<'_> {
    pub(super) fn function(&mut self, function: Function, a: &Value) -> Result<Value> {
        use Function::*;
        self.burn(150)?;
        if a.magnitude() > MAX_ANGLE {
            return Err(Fault::Unknown);
        }
        let one = self.integer(1)?;
        match function {
            Sin => self.sin(a),
            Cos => self.cos(a),
            Tan | Cot => {
                let (sin, cos) = (self.sin(a)?, self.cos(a)?);
                if function == Tan {
                    self.div(&sin, &cos)
                } else {
                    self.div(&cos, &sin)
                }
            }
            Sec => {
                let cos = self.cos(a)?;
                self.div(&one, &cos)
            }
            Csc => {
                let sin = self.sin(a)?;
                self.div(&one, &sin)
            }
            Cis => {
                let (cos, sin) = (self.cos(a)?, self.sin(a)?);
                let i = self.symbol("i")?;
                let turned = self.mul(&i, &sin)?;
                self.add(&cos, &turned)
            }
            Arcsin => self.arcsin(a),
            Arccos => self.arccos(a),
            Arctan => self.arctan(a),
            Arccot | Arcsec | Arccsc => {
                let inverse = self.div(&one, a)?;
                match function {
                    Arccot => self.arctan(&inverse),
                    Arcsec => self.arccos(&inverse),
                    _ => self.arcsin(&inverse),
                }
            }
            Sinh | Cosh | Tanh => {
                let (up, down) = (self.exp(a)?, self.exp(&negated(a.clone()))?);
                let two = self.integer(2)?;
                let (difference, sum) = (self.sub(&up, &down)?, self.add(&up, &down)?);
                match function {
                    Sinh => self.div(&difference, &two),
                    Cosh => self.div(&sum, &two),
                    _ => self.div(&difference, &sum),
                }
            }
            Arsinh => {
                // ln(z + √(z² + 1))
                let square = self.mul(a, a)?;
                let under = self.add(&square, &one)?;
                let root = self.sqrt(&under)?;
                let sum = self.add(a, &root)?;
                self.ln(&sum)
            }
            Arcosh => {
                // ln(z + √(z − 1)·√(z + 1))
                let (below, above) = (self.sub(a, &one)?, self.add(a, &one)?);
                let (below, above) = (self.sqrt(&below)?, self.sqrt(&above)?);
                let product = self.mul(&below, &above)?;
                let sum = self.add(a, &product)?;
                self.ln(&sum)
            }
            Artanh => {
                // (ln(1 + z) − ln(1 − z))/2
                let (above, below) = (self.add(&one, a)?, self.sub(&one, a)?);
                let (above, below) = (self.ln(&above)?, self.ln(&below)?);
                let difference = self.sub(&above, &below)?;
                let two = self.integer(2)?;
                self.div(&difference, &two)
            }
            Ln => self.ln(a),
            Log | Log2 => {
                let base = self.integer(if function == Log { 10 } else { 2 })?;
                let (above, below) = (self.ln(a)?, self.ln(&base)?);
                self.div(&above, &below)
            }
            Exp => self.exp(a),
        }
    }

    fn sin(&mut self, a: &Value) -> Result<Value> {
        if a.is_real() {
            let (sin, _) = self.sin_cos(&a.re)?;
            return self.done(sin, Real::ZERO, a.error);
        }
        // (e^(iz) − e^(−iz))/2i
        let (up, down) = self.turned(a)?;
        let difference = self.sub(&up, &down)?;
        let i = self.symbol("i")?;
        let two = self.integer(2)?;
        let two = self.mul(&two, &i)?;
        self.div(&difference, &two)
    }

    fn cos(&mut self, a: &Value) -> Result<Value> {
        if a.is_real() {
            let (_, cos) = self.sin_cos(&a.re)?;
            return self.done(cos, Real::ZERO, a.error);
        }
        let (up, down) = self.turned(a)?;
        let sum = self.add(&up, &down)?;
        let two = self.integer(2)?;
        self.div(&sum, &two)
    }

    /// e^(iz) and e^(−iz).
    fn turned(&mut self, a: &Value) -> Result<(Value, Value)> {
        let i = self.symbol("i")?;
        let turned = self.mul(&i, a)?;
        Ok((self.exp(&turned)?, self.exp(&negated(turned))?))
    }

    /// Whether a real value lies between −1 and 1.
    fn is_sine(&mut self, a: &Value) -> Result<bool> {
        if !a.is_real() {
            return Ok(false);
        }
        let one = self.integer(1)?;
        let size = self.abs(a)?;
        let rest = self.sub(&one, &size)?;
        Ok(rest.sign() != Some(-1))
    }

    fn arcsin(&mut self, a: &Value) -> Result<Value> {
        let one = self.integer(1)?;
        if self.is_sine(a)? {
            // Through the arc tangent: asin x = atan(x/√(1 − x²)), whose error is known at ±1 too.
            let square = self.mul(a, a)?;
            let rest = self.sub(&one, &square)?;
            let root = self.sqrt(&rest)?;
            let angle = self
                .context
                .atan2(a.re.repr(), root.re.repr(), Some(&mut self.work.constants.borrow_mut()));
            let re = self.rounded(angle)?;
            return self.done(re, Real::ZERO, a.error.max(root.error) + 2.0);
        }
        // −i·ln(iz + √(1 − z²))
        let i = self.symbol("i")?;
        let square = self.mul(a, a)?;
        let under = self.sub(&one, &square)?;
        let root = self.sqrt(&under)?;
        let turned = self.mul(&i, a)?;
        let sum = self.add(&turned, &root)?;
        let ln = self.ln(&sum)?;
        self.mul(&negated(i), &ln)
    }

    fn arccos(&mut self, a: &Value) -> Result<Value> {
        let pi = self.symbol("pi")?;
        let two = self.integer(2)?;
        let right = self.div(&pi, &two)?;
        let angle = self.arcsin(a)?;
        self.sub(&right, &angle)
    }

    fn arctan(&mut self, a: &Value) -> Result<Value> {
        if a.is_real() {
            let angle = self
                .context
                .atan(a.re.repr(), Some(&mut self.work.constants.borrow_mut()));
            let re = self.rounded(angle)?;
            return self.done(re, Real::ZERO, a.error);
        }
        // (i/2)·(ln(1 − iz) − ln(1 + iz))
        let (one, two, i) = (self.integer(1)?, self.integer(2)?, self.symbol("i")?);
        let turned = self.mul(&i, a)?;
        let (below, above) = (self.sub(&one, &turned)?, self.add(&one, &turned)?);
        let (below, above) = (self.ln(&below)?, self.ln(&above)?);
        let difference = self.sub(&below, &above)?;
        let half = self.div(&i, &two)?;
        self.mul(&half, &difference)
    }

    /// The whole number that a value is, if it is one.
    fn whole(&mut self, a: &Value) -> Result<Option<i64>> {
        if !a.is_real() || a.magnitude() > 60.0 {
            return Ok(None);
        }
        let near = a.re.round();
        let apart = self.plus(&a.re, &-near.clone())?;
        self.inexact = false;
        if magnitude(&apart) > a.error + 4.0 {
            return Ok(None);
        }
        Ok(i64::try_from(near.to_int().value()).ok())
    }

    pub(super) fn factorial(&mut self, a: &Value, step: i64) -> Result<Value> {
        let n = match self.whole(a)? {
            Some(n) if n < 0 => return Err(Fault::Undefined),
            Some(n) if n <= MAX_FACTORIAL => n,
            _ => return Err(Fault::Unknown),
        };
        self.burn(n as u64 + 1)?;
        let mut product = Real::ONE.with_precision(self.precision()).value();
        let mut factor = n;
        while factor > 1 {
            product = self.times(&product, &Real::from(factor))?;
            factor -= step;
        }
        let lost = magnitude(&product) - self.precision() as f64 + 20.0;
        let carried = if self.inexact { lost } else { f64::NEG_INFINITY };
        self.done(product, Real::ZERO, carried)
    }

    pub(super) fn binomial(&mut self, n: &Value, k: &Value) -> Result<Value> {
        let mut count = match self.whole(k)? {
            Some(k) if k < 0 => return self.integer(0),
            Some(k) => k,
            None => return Err(Fault::Unknown),
        };
        if let Some(n) = self.whole(n)?.filter(|n| *n >= 0) {
            if count > n {
                return self.integer(0);
            }
            count = count.min(n - count);
        }
        if count > MAX_FACTORIAL / 4 {
            return Err(Fault::Unknown);
        }
        self.burn(count as u64 * 8 + 1)?;
        let mut product = self.integer(1)?;
        for i in 0..count {
            let less = self.integer(i)?;
            let factor = self.sub(n, &less)?;
            product = self.mul(&product, &factor)?;
            let divisor = self.integer(i + 1)?;
            product = self.div(&product, &divisor)?;
        }
        Ok(product)
    }
}
