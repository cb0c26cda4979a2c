//! Exact numbers.

use num_rational::Ratio;

/// A fraction in lowest terms. All arithmetic on it is checked: what overflows is no number.
pub type Rational = Ratio<i128>;

/// Digits that are read as a number; longer ones are compared digit by digit.
const MAX_DIGITS: usize = 37;

/// `whole` and the digits after the point `fraction`, times ten to the `exponent`. `None` where
/// they are too long for exact arithmetic.
pub fn decimal(whole: &str, fraction: &str, exponent: i32) -> Option<Rational> {
    let digits = format!("{whole}{}", fraction.trim_end_matches('0'));
    let digits = digits.trim_start_matches('0');
    let places = fraction.trim_end_matches('0').len();
    if digits.len() > MAX_DIGITS || places > MAX_DIGITS || exponent.unsigned_abs() as usize > MAX_DIGITS {
        return None;
    }
    let mantissa: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let shift = exponent - places as i32;
    let power = 10i128.checked_pow(shift.unsigned_abs())?;
    match shift {
        0.. => Some(Rational::from_integer(mantissa.checked_mul(power)?)),
        _ => Some(Rational::new(mantissa, power)),
    }
}

/// `numerator / denominator`, unless that is 0 or too large.
pub fn fraction(numerator: Rational, denominator: Rational) -> Option<Rational> {
    use num_traits::{CheckedDiv, Zero};
    if denominator.is_zero() {
        return None;
    }
    numerator.checked_div(&denominator)
}

/// The nearest float.
pub fn to_f64(value: &Rational) -> f64 {
    *value.numer() as f64 / *value.denom() as f64
}

/// r with rⁿ = `value`, if there is such a whole number.
pub fn whole_root(value: i128, n: u32) -> Option<i128> {
    let near = (value as f64).powf(1.0 / f64::from(n)).round() as i128;
    // The float may be off by some units for large values.
    (near.saturating_sub(2)..=near.saturating_add(2)).find(|r| *r >= 0 && r.checked_pow(n) == Some(value))
}
