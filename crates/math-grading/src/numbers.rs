//! The number an answer ends with, as in GSM8K.

use dashu_ratio::RBig;

use crate::rational::{decimal, fraction};

/// What a text says as a number; equal numbers are equal values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(Exact);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Exact {
    Value(RBig),
    /// Beyond the bounds of exact arithmetic: sign and digits, without separators and needless zeros.
    Digits(String),
}

/// The marker before GSM8K's final answers.
pub const MARKER: &str = "####";

/// Longer answers are read from their end only.
const MAX_BYTES: usize = 1 << 16;

/// The first number after the last `####`; without one, or without a number there, the last number
/// of the text.
///
/// A number is digits, with thousands separators (`1,234`), a decimal point, an exponent (`1.5e3`),
/// a fraction (`3/4`, `1 3/4`) and a sign. Currency before it and a percent sign or a unit behind
/// it are left out. Digits that go on from a letter (`x2`) are no number, and a minus after a digit,
/// a letter or a closing parenthesis is a subtraction.
pub fn read(text: &str) -> Option<Number> {
    let mut from = text.len().saturating_sub(MAX_BYTES);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let text = &text[from..];
    let marked = text.rfind(MARKER).map(|at| &text[at + MARKER.len()..]);
    marked
        .and_then(|after| numbers(after).next())
        .or_else(|| numbers(text).last())
}

/// Whether the text is one number, but for currency, units and a trailing dot.
pub fn is_number(text: &str) -> bool {
    let mut found = numbers(text);
    found.next().is_some() && found.next().is_none()
}

fn numbers(text: &str) -> impl Iterator<Item = Number> + '_ {
    let mut scanner = Scanner { text, at: 0 };
    std::iter::from_fn(move || scanner.next())
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn next(&mut self) -> Option<Number> {
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let skipped = rest.iter().position(|&b| is_start(b))?;
            self.at += skipped;
            let start = self.at;
            if !self.at_number() {
                self.at += 1;
                continue;
            }
            if self.is_digit(0) && self.follows_letter(start) {
                self.digits();
                continue;
            }
            let negative = self.is_negative(start);
            return Some(self.number(negative));
        }
    }

    fn peek(&self, offset: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + offset).copied()
    }

    fn is_digit(&self, offset: usize) -> bool {
        self.peek(offset).is_some_and(|b| b.is_ascii_digit())
    }

    /// Digits, or a point with digits behind it.
    fn at_number(&self) -> bool {
        self.is_digit(0) || (self.peek(0) == Some(b'.') && self.is_digit(1))
    }

    fn digits(&mut self) -> &'a str {
        let start = self.at;
        while self.is_digit(0) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn follows_letter(&self, start: usize) -> bool {
        self.text[..start].chars().next_back().is_some_and(char::is_alphabetic)
    }

    /// Whether a minus stands before the number at `start`, currency between them or before both.
    fn is_negative(&self, start: usize) -> bool {
        let before = self.text[..start].trim_end_matches(['$', '€', '£', '\\', '{']);
        let Some(before) = before.strip_suffix(['-', '−']) else {
            return false;
        };
        let before = before.chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || c == ')'))
    }

    fn number(&mut self, negative: bool) -> Number {
        let start = self.at;
        let mut whole = self.digits().to_owned();
        while self.at_thousands(&whole) {
            self.at += 1;
            whole += self.digits();
        }
        let mut decimals = "";
        if self.peek(0) == Some(b'.') && self.is_digit(1) {
            self.at += 1;
            decimals = self.digits();
        }
        let exponent = self.exponent();
        let end = self.at;
        let value = exponent.and_then(|e| decimal(&whole, decimals, e));
        let value = value.and_then(|v| self.with_fraction(v, decimals.is_empty() && exponent == Some(0)));
        match value {
            Some(value) if negative => Number(Exact::Value(-value)),
            Some(value) => Number(Exact::Value(value)),
            None => {
                let digits = self.text[start..end].replace(',', "");
                let sign = if negative { "-" } else { "" };
                Number(Exact::Digits(format!("{sign}{}", digits.trim_start_matches('0'))))
            }
        }
    }

    /// Whether three digits and no fourth stand behind a comma.
    fn at_thousands(&self, whole: &str) -> bool {
        let first_group = (1..=3).contains(&whole.len()) && !whole.starts_with('0') || whole.len() > 3;
        first_group && self.peek(0) == Some(b',') && (1..4).all(|i| self.is_digit(i)) && !self.is_digit(4)
    }

    /// `e` or `E`, a sign and digits; 0 without them, `None` where it is beyond reason.
    fn exponent(&mut self) -> Option<i64> {
        let signed = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
        if !matches!(self.peek(0), Some(b'e' | b'E')) || !self.is_digit(1 + signed) {
            return Some(0);
        }
        let negative = self.peek(1) == Some(b'-');
        self.at += 1 + signed;
        let exponent: i64 = self.digits().parse().ok()?;
        Some(if negative { -exponent } else { exponent })
    }

    /// A fraction that goes on from a whole number: `/4` behind 3, ` 3/4` behind 1.
    fn with_fraction(&mut self, value: RBig, whole: bool) -> Option<RBig> {
        if !whole {
            return Some(value);
        }
        let begin = self.at;
        if self.peek(0) == Some(b'/') && self.is_digit(1) {
            self.at += 1;
            if let Some(denominator) = self.denominator() {
                return fraction(value, &denominator);
            }
        } else if self.peek(0) == Some(b' ') && self.is_digit(1) {
            self.at += 1;
            let numerator = decimal(self.digits(), "", 0);
            if self.peek(0) == Some(b'/') && self.is_digit(1) {
                self.at += 1;
                if let (Some(numerator), Some(denominator)) = (numerator, self.denominator()) {
                    return Some(value + fraction(numerator, &denominator)?);
                }
            }
        }
        self.at = begin;
        Some(value)
    }

    /// Digits that are no date (`9/11/2001`), no decimal and not 0.
    fn denominator(&mut self) -> Option<RBig> {
        let denominator = decimal(self.digits(), "", 0)?;
        let goes_on = matches!(self.peek(0), Some(b'/' | b'.' | b',')) && self.is_digit(1);
        (!goes_on && !denominator.is_zero()).then_some(denominator)
    }
}

fn is_start(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}
