//! What an answer is: an expression, words, a list, an interval, a set, a relation.

use super::expression::Expression;
use super::tokens::{Token, tokens};

/// Lists within lists.
const MAX_DEPTH: usize = 4;
/// Elements of a list, the expansions of ± included.
const MAX_ELEMENTS: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Expression(Expression),
    Percent(Expression),
    /// In small letters.
    Words(String),
    /// A point, a vector or an interval: its delimiters say which, and order counts.
    Tuple(char, char, Vec<Value>),
    Set(Vec<Value>),
    /// Elements without delimiters, such as the solutions of an equation; order does not count.
    List(Vec<Value>),
    Union(Vec<Value>),
    /// Sides and what stands between them: `1 < x ≤ 2` has three sides.
    Relation(Vec<Value>, Vec<char>),
}

impl Value {
    /// The value of a text; `None` where it is not understood.
    pub fn parse(text: &str) -> Option<Value> {
        list(&tokens(text)?, 0)
    }
}

fn list(tokens: &[Token], depth: usize) -> Option<Value> {
    if tokens.is_empty() || depth > MAX_DEPTH {
        return None;
    }
    let parts = split(tokens, |t| *t == Token::Comma)?;
    let mut items = Vec::new();
    for part in parts.iter().filter(|p| !p.is_empty()) {
        for signed in both_signs(part)? {
            items.push(element(&signed, depth)?);
        }
    }
    match items.len() {
        0 => None,
        1 => items.pop(),
        n => (n <= MAX_ELEMENTS).then_some(Value::List(items)),
    }
}

/// A part with ± as two parts.
fn both_signs(tokens: &[Token]) -> Option<Vec<Vec<Token>>> {
    if !tokens.contains(&Token::Sign('±')) {
        return Some(vec![tokens.to_vec()]);
    }
    // Inside delimiters the parts are split later.
    let top = split(tokens, |t| *t == Token::Sign('±'))?;
    if top.len() == 1 {
        return Some(vec![tokens.to_vec()]);
    }
    let with = |sign: char| {
        let replaced = tokens.iter().map(|t| match t {
            Token::Sign('±') => Token::Sign(sign),
            other => other.clone(),
        });
        replaced.collect()
    };
    Some(vec![with('+'), with('-')])
}

fn element(tokens: &[Token], depth: usize) -> Option<Value> {
    let parts = split(tokens, |t| *t == Token::Union)?;
    if parts.len() > 1 {
        let parts = parts.into_iter().map(|p| relation(p, depth));
        return Some(Value::Union(parts.collect::<Option<_>>()?));
    }
    relation(tokens, depth)
}

fn relation(tokens: &[Token], depth: usize) -> Option<Value> {
    let sides = split(tokens, |t| matches!(t, Token::Relation(_)))?;
    if sides.len() == 1 {
        return atom(tokens, depth);
    }
    let mut operators = Vec::new();
    let mut end = 0;
    for side in &sides[..sides.len() - 1] {
        end += side.len();
        let Token::Relation(operator) = tokens[end] else {
            return None;
        };
        operators.push(operator);
        end += 1;
    }
    let sides: Vec<Value> = sides.into_iter().map(|s| atom(s, depth)).collect::<Option<_>>()?;
    Some(Value::Relation(sides, operators))
}

fn atom(tokens: &[Token], depth: usize) -> Option<Value> {
    if let [Token::Words(words)] = tokens {
        return Some(Value::Words(words.clone()));
    }
    let tokens = without_units(tokens);
    if let Some(value) = delimited(&tokens, depth) {
        return value;
    }
    match tokens.split_last()? {
        (Token::Sign('%'), rest) => Some(Value::Percent(Expression::parse(rest)?)),
        _ => Some(Value::Expression(Expression::parse(&tokens)?)),
    }
}

/// The list between the delimiters that enclose all of `tokens`; the outer `None` if there are none
/// or they are only parentheses of an expression.
fn delimited(tokens: &[Token], depth: usize) -> Option<Option<Value>> {
    let (Some(&Token::Open(open)), Some(&Token::Close(close))) = (tokens.first(), tokens.last()) else {
        return None;
    };
    let inner = &tokens[1..tokens.len() - 1];
    let parts = split(inner, |t| *t == Token::Comma)?;
    let is_set = (open, close) == ('S', 'S');
    if parts.len() == 1 && !is_set {
        // Braces group, and what they enclose may be anything.
        return ((open, close) == ('{', '}')).then(|| list(inner, depth + 1));
    }
    if inner.is_empty() {
        return Some(Some(Value::Set(Vec::new())));
    }
    let items = || -> Option<Vec<Value>> {
        let mut items = Vec::new();
        for part in parts {
            for signed in both_signs(part)? {
                items.push(list(&signed, depth + 1)?);
            }
        }
        (items.len() <= MAX_ELEMENTS).then_some(items)
    };
    Some(items().map(|items| match is_set || open == '{' {
        true => Value::Set(items),
        false => Value::Tuple(open, close, items),
    }))
}

/// Without the words behind what they measure, and without their exponents: `5 \text{ cm}^2`.
fn without_units(tokens: &[Token]) -> Vec<Token> {
    let mut kept: Vec<Token> = Vec::new();
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if !matches!(first, Token::Words(_)) || kept.is_empty() {
            kept.push(first.clone());
            continue;
        }
        rest = match rest {
            [
                Token::Sign('^'),
                Token::Open('{'),
                Token::Number(_),
                Token::Close('}'),
                more @ ..,
            ] => more,
            [Token::Sign('^'), Token::Number(_), more @ ..] => more,
            [Token::Sign('/'), Token::Words(_), more @ ..] => more,
            _ => rest,
        };
    }
    kept
}

/// The parts between separators that stand outside all delimiters; `None` where delimiters do not
/// match in number.
fn split(tokens: &[Token], is_separator: impl Fn(&Token) -> bool) -> Option<Vec<&[Token]>> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0usize);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Open(_) => depth += 1,
            Token::Close(_) => depth = depth.checked_sub(1)?,
            t if depth == 0 && is_separator(t) => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    (depth == 0).then_some(parts)
}
