//! Exact numbers.

use dashu_base::BitTest;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

/// Bits of a numerator or a denominator: some 12,000 decimal digits. What is larger is no exact
/// number.
pub const MAX_BITS: usize = 40_000;

/// `whole` and the digits after the point `decimals`, times ten to the `exponent`; `None` where that
/// is too large. Both are ASCII digits and may be empty.
pub fn decimal(whole: &str, decimals: &str, exponent: i64) -> Option<RBig> {
    let decimals = decimals.trim_end_matches('0');
    let digits = format!("{whole}{decimals}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(RBig::ZERO);
    }
    let most = MAX_BITS / 4;
    let shift = exponent.checked_sub(i64::try_from(decimals.len()).ok()?)?;
    if digits.len() > most || shift.unsigned_abs() > most as u64 {
        return None;
    }
    let mantissa = IBig::from_str_radix(digits, 10).ok()?;
    let power = UBig::from(10u8).pow(shift.unsigned_abs() as usize);
    checked(match shift {
        0.. => RBig::from(mantissa * IBig::from(power)),
        _ => RBig::from_parts(mantissa, power),
    })
}

/// The number `whole.decimals` with `repeated` behind it again and again.
pub fn repeating(whole: &str, decimals: &str, repeated: &str) -> Option<RBig> {
    // 0.1(6) = 0.1 + 6/9 · 10⁻¹
    let start = decimal(whole, decimals, 0)?;
    let cycle = decimal(repeated, "", 0)?;
    if repeated.len() > 1000 || decimals.len() > 1000 {
        return None;
    }
    let nines = UBig::from(10u8).pow(repeated.len()) - UBig::ONE;
    let shift = UBig::from(10u8).pow(decimals.len());
    checked(start + cycle / RBig::from(nines * shift))
}

/// The number itself, unless it is too large.
pub fn checked(value: RBig) -> Option<RBig> {
    (bits(&value) <= MAX_BITS).then_some(value)
}

/// The bits of the longer of numerator and denominator.
pub fn bits(value: &RBig) -> usize {
    value.numerator().bit_len().max(value.denominator().bit_len())
}

/// The fraction, unless the denominator is 0.
pub fn fraction(numerator: RBig, denominator: &RBig) -> Option<RBig> {
    (!denominator.is_zero()).then(|| numerator / denominator)
}

/// A whole number that fits.
pub fn small(value: &RBig) -> Option<i64> {
    if !value.is_int() {
        return None;
    }
    i64::try_from(value.numerator().clone()).ok()
}

/// r with rⁿ = `value`, if there is such a whole number.
pub fn whole_root(value: &UBig, n: usize) -> Option<UBig> {
    let root = value.nth_root(n);
    (root.pow(n) == *value).then_some(root)
}
