//! Numbers: separators, decimals, repeated digits, exponents, bases.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::{Lexer, TEXTS, Token};
use crate::rational::{decimal, repeating};

/// Names of bases as words.
const BASES: [(&str, u32); 11] = [
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("twelve", 12),
    ("sixteen", 16),
];

impl Lexer {
    pub(super) fn number(&mut self) -> Option<()> {
        if let Some(based) = self.based() {
            self.push(based);
            return Some(());
        }
        let start = self.at;
        let mut whole = self.digits();
        let mut groups = 0;
        while let Some(skip) = self.thousands(&whole, groups) {
            self.at += skip;
            whole += &self.digits();
            groups += 1;
        }
        let mut decimals = String::new();
        let mut value = None;
        if self.peek(0) == Some('.') {
            let point = self.at;
            self.at += 1;
            decimals = self.digits();
            value = self.repeated(&whole, &decimals)?;
            if decimals.is_empty() && value.is_none() {
                // "5." is 5; "5.x" is not understood.
                if self.peek(0).is_some_and(|c| c.is_alphanumeric() || c == '.') || point == start {
                    return None;
                }
            } else if self.peek(0) == Some('.') && !self.rest_is_blank(1) {
                return None;
            }
        }
        if value.is_none() {
            let exponent = self.exponent();
            value = Some(decimal(&whole, &decimals, exponent)?);
        }
        self.push(Token::Number(value?));
        Some(())
    }

    fn rest_is_blank(&self, from: usize) -> bool {
        self.chars[self.at + from..]
            .iter()
            .all(|c| c.is_whitespace() || *c == '$')
    }

    /// The number whose digits behind the point go on with a repeated group; the outer `None` where
    /// that is not certain, as in `0.5(4)` and `0.33…`.
    fn repeated(&mut self, whole: &str, decimals: &str) -> Option<Option<RBig>> {
        let begin = self.at;
        if self.starts_with("\\ldots") || self.starts_with("\\dots") || self.starts_with("...") || self.starts_with("…")
        {
            return None;
        }
        if self.peek(0) == Some('(') && self.is_digit(1) {
            let mut end = 1;
            while self.is_digit(end) {
                end += 1;
            }
            if self.peek(end) != Some(')') {
                return Some(None);
            }
            if !decimals.is_empty() {
                return None;
            }
            let group: String = self.chars[self.at + 1..self.at + end].iter().collect();
            self.at += end + 1;
            return repeating(whole, decimals, &group).map(Some);
        }
        let braced = self.starts_with("{\\");
        self.at += usize::from(braced);
        let mark = ["\\overline", "\\bar", "\\dot", "\\widebar"];
        let Some(mark) = mark.into_iter().find(|m| self.starts_with(m)) else {
            self.at = begin;
            return Some(None);
        };
        self.at += mark.len();
        if self.peek(0).is_some_and(|c| c.is_ascii_alphabetic()) {
            self.at = begin;
            return Some(None);
        }
        let mut group = self.group()?.trim().to_owned();
        if mark == "\\dot" {
            // Dots stand over the first and the last digit of the group.
            group += &self.digits();
            if self.starts_with("\\dot") {
                self.at += 4;
                group += self.group()?.trim();
            } else if group.len() > 1 {
                return None;
            }
        }
        if group.is_empty() || !group.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        if braced {
            (self.peek(0) == Some('}')).then(|| self.at += 1)?;
        }
        if self.is_digit(0) {
            return None;
        }
        repeating(whole, decimals, &group).map(Some)
    }

    /// Digits with the base they are to: `1011_2`, `4D_{16}`, `12_{\text{eight}}`.
    pub(super) fn based(&mut self) -> Option<Token> {
        let mut end = 0;
        while self
            .peek(end)
            .is_some_and(|c| c.is_ascii_digit() || c.is_ascii_uppercase())
        {
            end += 1;
        }
        let begin = self.at;
        let digits: String = self.chars[self.at..self.at + end].iter().collect();
        self.at += end;
        let token = self.base().and_then(|base| based(digits, base));
        if token.is_none() {
            self.at = begin;
        }
        token
    }

    /// Whether the index that begins here is the base of a number in parentheses, `(1011)_2`, which
    /// then is read.
    pub(super) fn parenthesised_base(&mut self) -> bool {
        let [.., Token::Open('('), Token::Number(n), Token::Close(')')] = self.out.as_slice() else {
            return false;
        };
        let digits = n.to_string();
        let at = self.at;
        self.at -= 1;
        match self.base().and_then(|base| based(digits, base)) {
            Some(based) => {
                self.out.truncate(self.out.len() - 3);
                self.push(based);
                true
            }
            None => {
                self.at = at;
                false
            }
        }
    }

    /// The base that an index names, if one follows.
    pub(super) fn base(&mut self) -> Option<u32> {
        self.skip_spaces();
        (self.peek(0) == Some('_')).then(|| self.at += 1)?;
        if self.is_digit(0) {
            // Without braces an index is one character; people write two for ten and more.
            let digits = self.digits();
            return digits.parse().ok().filter(|b| (2..=36).contains(b));
        }
        let group = if self.peek(0) == Some('\\') {
            let text = TEXTS
                .split_whitespace()
                .find(|t| self.starts_with(&format!("\\{t}{{")))?;
            self.at += 1 + text.len();
            self.group()?
        } else {
            self.group()?
        };
        let mut name = group.trim();
        if let Some(inner) = name.strip_suffix('}') {
            name = inner.split_once('{')?.1.trim();
        }
        let name = name.trim_start_matches("base").trim().trim_matches(['(', ')']);
        let word = BASES.iter().find(|(word, _)| *word == name).map(|(_, base)| *base);
        word.or_else(|| name.parse().ok()).filter(|b| (2..=36).contains(b))
    }

    /// How many characters separate the next three digits of a long number: `,`, `{,}`, `\,`, `\!`.
    fn thousands(&self, whole: &str, groups: usize) -> Option<usize> {
        let separators = ["{,}", ",\\!", "\\!", "\\,", ",", " "];
        let separator = separators.into_iter().find(|s| self.starts_with(s))?;
        let mut n = separator.len();
        if separator.ends_with("\\!") {
            n += self.chars[self.at + n..].iter().take_while(|c| **c == ' ').count();
        }
        let grouped = (n..n + 3).all(|i| self.is_digit(i)) && !self.is_digit(n + 3);
        let begins = groups > 0 || ((1..=3).contains(&whole.len()) && !whole.starts_with('0'));
        // `1 000` is a number, `1 100/7` a mixed one.
        let is_mixed = separator == " " && matches!(self.peek(4), Some('/'));
        let plain = is_mixed || separator == "," && (self.depth > 0 && !self.spaced_lists || !self.reading.thousands);
        (grouped && begins && !plain).then_some(n)
    }

    /// The exponent of `1.5e3`; 0 without one.
    fn exponent(&mut self) -> i64 {
        let signed = usize::from(matches!(self.peek(1), Some('+' | '-')));
        if !matches!(self.peek(0), Some('e' | 'E')) || !self.is_digit(1 + signed) {
            return 0;
        }
        let negative = self.peek(1) == Some('-');
        self.at += 1 + signed;
        let exponent: i64 = self.digits().parse().unwrap_or(i64::MAX);
        if negative { -exponent } else { exponent }
    }
}

/// Digits to a base as a token; `None` where a digit does not belong to the base.
pub(super) fn based(digits: String, base: u32) -> Option<Token> {
    let letters = digits.contains(|c: char| c.is_ascii_uppercase());
    // A lone letter with an index is a variable, and so are two unless the base is one of letters.
    let first = digits.chars().next()?;
    if digits.len() > 2000 || (letters && base < 11) || (first.is_ascii_uppercase() && (digits.len() < 2 || base != 16))
    {
        return None;
    }
    let value = UBig::from_str_radix(&digits, base).ok()?;
    Some(Token::Based(RBig::from(IBig::from(value)), digits))
}
