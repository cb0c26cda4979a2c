//! What an answer is: an expression, words, a list, an interval, a set, a relation, a matrix.

use dashu_ratio::RBig;

use crate::expression::Expression;
use crate::tokens::{Reading, Token, Units, tokens};

/// Lists within lists.
const MAX_DEPTH: usize = 5;
/// Elements of a list, the expansions of ± included.
const MAX_ELEMENTS: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Expression(Expression),
    Percent(Expression),
    /// In degrees, and the same in radians.
    Angle(Expression, Expression),
    /// A number to a base: its value, and its digits as written.
    Based(RBig, String),
    /// In small letters.
    Words(String),
    /// A point, a vector or an interval: its delimiters say which, and order counts.
    Tuple(char, char, Vec<Value>),
    Set(Vec<Value>),
    /// Elements without delimiters, such as the solutions of an equation; order does not count.
    /// Relations of which one holds, if there is an `or` between them, else all.
    List(Vec<Value>, bool),
    Union(Vec<Value>),
    Intersection(Vec<Value>),
    /// The first without the others.
    Minus(Vec<Value>),
    /// Sides and what stands between them: `1 < x ≤ 2` has three sides.
    Relation(Vec<Value>, Vec<char>),
    /// `3:4`
    Ratio(Vec<Value>),
    /// Rows of equal length.
    Matrix(Vec<Vec<Value>>),
}

/// A value that a text has when it is read in one way.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub value: Value,
    /// Letters directly behind numbers are taken for units, or `1/2x` for 1/(2x), which they seldom are.
    pub doubtful: bool,
    /// Commas that may group digits are taken to separate.
    pub separated: bool,
}

/// The values of a text, once each, the most likely first; none where it is not understood.
pub fn read(text: &str) -> Vec<Read> {
    let ways = [
        (true, Units::Spaced, false),
        (true, Units::Letters, false),
        (true, Units::Glued, false),
        (false, Units::Spaced, false),
        (true, Units::Spaced, true),
    ];
    let mut found: Vec<Read> = Vec::new();
    for (thousands, units, tight) in ways {
        let value = tokens(text, Reading { thousands, units }).and_then(|t| list(&t, Level { depth: 0, tight }));
        if let Some(value) = value.filter(|v| found.iter().all(|f| f.value != *v)) {
            found.push(Read {
                value,
                doubtful: units == Units::Glued || tight,
                separated: !thousands,
            });
        }
    }
    found
}

/// Where in a text something stands, and how it is read.
#[derive(Clone, Copy)]
struct Level {
    depth: usize,
    /// See [`Expression::parse`].
    tight: bool,
}

impl Level {
    fn deeper(self) -> Level {
        Level {
            depth: self.depth + 1,
            ..self
        }
    }
}

fn list(tokens: &[Token], at: Level) -> Option<Value> {
    if tokens.is_empty() || at.depth > MAX_DEPTH {
        return None;
    }
    let parts = split(tokens, |t| matches!(t, Token::Comma | Token::And | Token::Or))?;
    let mut items = Vec::new();
    for part in parts.iter().filter(|p| !p.is_empty()) {
        for signed in both_signs(part)? {
            items.push(element(&signed, at)?);
        }
    }
    let either = split(tokens, |t| *t == Token::Or)?.len() > 1;
    match items.len() {
        0 => None,
        1 => items.pop(),
        n => (n <= MAX_ELEMENTS).then_some(Value::List(items, either)),
    }
}

/// A part with ± as two parts; the elements of what is a list itself are looked at later.
fn both_signs(tokens: &[Token]) -> Option<Vec<Vec<Token>>> {
    let is_sign = |t: &Token| matches!(t, Token::Sign('±' | '∓'));
    let is_list = || {
        let inner = inside(tokens)?;
        Some(split(inner, |t| *t == Token::Comma)?.len() > 1)
    };
    if !tokens.iter().any(is_sign) || is_list().unwrap_or(false) {
        return Some(vec![tokens.to_vec()]);
    }
    let with = |upper: char, lower: char| {
        let replaced = tokens.iter().map(|t| match t {
            Token::Sign('±') => Token::Sign(upper),
            Token::Sign('∓') => Token::Sign(lower),
            other => other.clone(),
        });
        replaced.collect()
    };
    Some(vec![with('+', '-'), with('-', '+')])
}

/// Sets joined, met and taken away.
fn element(tokens: &[Token], at: Level) -> Option<Value> {
    type Make = fn(Vec<Value>) -> Value;
    let joints: [(Token, Make); 3] = [
        (Token::Union, Value::Union),
        (Token::Intersection, Value::Intersection),
        (Token::Minus, Value::Minus),
    ];
    for (joint, make) in joints {
        // What is joined stands right of `x ∈`, if that is there.
        let parts = split(tokens, |t| *t == joint)?;
        if parts.len() > 1 {
            if let [name, Token::Relation('∈'), rest @ ..] = tokens {
                let name = Value::Expression(Expression::parse(std::slice::from_ref(name), at.tight)?);
                return Some(Value::Relation(vec![name, element(rest, at)?], vec!['∈']));
            }
            let parts = parts.into_iter().map(|p| element(p, at)).collect::<Option<Vec<_>>>()?;
            return (parts.len() <= MAX_ELEMENTS).then(|| make(parts));
        }
    }
    relation(tokens, at)
}

fn relation(tokens: &[Token], at: Level) -> Option<Value> {
    let mut tokens = tokens;
    if let [Token::Relation('=' | '≈'), rest @ ..] = tokens {
        tokens = rest;
    }
    let sides = split(tokens, |t| matches!(t, Token::Relation(_)))?;
    if sides.len() == 1 {
        return atom(tokens, at);
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
    let mut sides: Vec<Value> = sides.into_iter().map(|s| atom(s, at)).collect::<Option<_>>()?;
    // What a value is equal to stands before what it is near to.
    if let Some(at) = operators.iter().position(|o| *o == '≈').filter(|at| *at > 0) {
        operators.truncate(at);
        sides.truncate(at + 1);
    }
    Some(Value::Relation(sides, operators))
}

fn atom(tokens: &[Token], at: Level) -> Option<Value> {
    if let [Token::Words(words)] = tokens {
        return Some(Value::Words(words.clone()));
    }
    let tokens = without_units(tokens);
    if let [Token::Based(value, digits)] = tokens.as_slice() {
        return Some(Value::Based(value.clone(), digits.clone()));
    }
    if tokens.contains(&Token::Begin) {
        return matrix(&tokens, at);
    }
    if let Some(value) = delimited(&tokens, at) {
        return value;
    }
    let parts = split(&tokens, |t| *t == Token::Colon)?;
    if parts.len() > 1 {
        let parts = parts.into_iter().map(|p| atom(p, at)).collect::<Option<_>>()?;
        return Some(Value::Ratio(parts));
    }
    match tokens.split_last()? {
        (Token::Sign('%'), rest) => Some(Value::Percent(
            Expression::parse(rest, at.tight)?.without_degrees(false),
        )),
        _ => {
            let expression = Expression::parse(&tokens, at.tight)?;
            let (number, radians) = (
                expression.clone().without_degrees(false),
                expression.without_degrees(true),
            );
            Some(match number == radians {
                true => Value::Expression(number),
                false => Value::Angle(number, radians),
            })
        }
    }
}

/// What stands between the delimiters that enclose all of `tokens`.
fn inside(tokens: &[Token]) -> Option<&[Token]> {
    let [
        Token::Open('(' | '[' | '{' | 'S'),
        inner @ ..,
        Token::Close(')' | ']' | '}' | 'S'),
    ] = tokens
    else {
        return None;
    };
    // They must match each other: (a)(b) is not enclosed.
    split(inner, |_| false).map(|_| inner)
}

/// The list between the delimiters that enclose all of `tokens`; the outer `None` if there are none
/// or they are only parentheses of an expression.
fn delimited(tokens: &[Token], at: Level) -> Option<Option<Value>> {
    let (Some(&Token::Open(open)), Some(&Token::Close(close))) = (tokens.first(), tokens.last()) else {
        return None;
    };
    let inner = inside(tokens)?;
    let is_set = (open, close) == ('S', 'S');
    if is_set && let Some(condition) = condition(inner) {
        return Some(list(condition, at.deeper()));
    }
    let parts = split(inner, |t| *t == Token::Comma)?;
    if parts.len() == 1 && !is_set {
        // Braces group, and what they enclose may be anything; so may be what parentheses enclose
        // where it is no expression.
        let is_more = |t: &Token| {
            matches!(
                t,
                Token::Relation(_) | Token::Words(_) | Token::Union | Token::Open('S') | Token::Based(..)
            )
        };
        let more = (open, close) == ('(', ')') && inner.iter().any(is_more);
        return ((open, close) == ('{', '}') || more).then(|| list(inner, at.deeper()));
    }
    if inner.is_empty() {
        return Some(Some(Value::Set(Vec::new())));
    }
    let items = || -> Option<Vec<Value>> {
        let mut items = Vec::new();
        for part in parts {
            for signed in both_signs(part)? {
                items.push(list(&signed, at.deeper())?);
            }
        }
        (items.len() <= MAX_ELEMENTS).then_some(items)
    };
    Some(items().map(|items| match open {
        'S' => Value::Set(items),
        // LaTeX does not show these braces.
        '{' => Value::List(items, false),
        _ => Value::Tuple(open, close, items),
    }))
}

/// The condition in `x : condition` and `x ∈ ℝ | condition`.
fn condition(inner: &[Token]) -> Option<&[Token]> {
    let rest = match inner {
        [Token::Symbol(_), Token::Relation('∈'), Token::Symbol(set), rest @ ..] if set == "set R" => rest,
        [Token::Symbol(_), rest @ ..] => rest,
        _ => return None,
    };
    match rest {
        [Token::Colon | Token::Bar, condition @ ..] => Some(condition),
        _ => None,
    }
}

/// A matrix, perhaps in parentheses, transposed, or times a factor before it.
fn matrix(tokens: &[Token], at: Level) -> Option<Value> {
    let begin = tokens.iter().position(|t| *t == Token::Begin)?;
    let end = tokens.iter().rposition(|t| *t == Token::End)?;
    let (mut before, mut after) = (&tokens[..begin], &tokens[end + 1..]);
    let is_t = |t: &Token| *t == Token::Symbol("T".into());
    let mut transposed = false;
    loop {
        match (before, after) {
            ([outer @ .., Token::Open('(' | '[')], [Token::Close(')' | ']'), rest @ ..]) => {
                (before, after) = (outer, rest);
            }
            (_, [Token::Sign('^'), t, rest @ ..]) if is_t(t) && !transposed => {
                (after, transposed) = (rest, true);
            }
            (_, [Token::Sign('^'), Token::Open('{'), t, Token::Close('}'), rest @ ..]) if is_t(t) && !transposed => {
                (after, transposed) = (rest, true);
            }
            _ => break,
        }
    }
    if !after.is_empty() || at.depth > MAX_DEPTH {
        return None;
    }
    let factor = match before {
        [] => None,
        [factor @ .., Token::Sign('*')] | factor => Some(Expression::parse(factor, at.tight)?),
    };
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for row in split(&tokens[begin + 1..end], |t| *t == Token::Row)? {
        if row.is_empty() {
            continue;
        }
        let entries = split(row, |t| *t == Token::Column)?.into_iter().map(|entry| {
            let value = list(entry, at.deeper())?;
            Some(match (&factor, value) {
                (Some(factor), Value::Expression(e)) => Value::Expression(factor.clone().times(e)),
                (Some(_), _) => return None,
                (None, value) => value,
            })
        });
        rows.push(entries.collect::<Option<_>>()?);
    }
    let width = rows.first()?.len();
    if rows.iter().any(|row| row.len() != width) {
        return None;
    }
    if transposed {
        rows = (0..width)
            .map(|column| rows.iter().map(|row| row[column].clone()).collect())
            .collect();
    }
    Some(Value::Matrix(rows))
}

/// Without the words behind what they measure, and without their exponents: `5 \text{ cm}^2`,
/// `9.8 \text{ m/s}^2`, `3 \text{ kg} \cdot \text{m}`.
fn without_units(tokens: &[Token]) -> Vec<Token> {
    let mut kept: Vec<Token> = Vec::new();
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if !matches!(first, Token::Words(_)) || kept.is_empty() {
            kept.push(first.clone());
            continue;
        }
        loop {
            rest = match rest {
                [
                    Token::Sign('^'),
                    Token::Open('{'),
                    Token::Number(_),
                    Token::Close('}'),
                    more @ ..,
                ] => more,
                [
                    Token::Sign('^'),
                    Token::Open('{'),
                    Token::Sign('-'),
                    Token::Number(_),
                    Token::Close('}'),
                    more @ ..,
                ] => more,
                [Token::Sign('^'), Token::Number(_), more @ ..] => more,
                [Token::Sign('/' | '*'), Token::Words(_), more @ ..] => more,
                [Token::Words(_), more @ ..] => more,
                _ => break,
            };
        }
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
            Token::Open(_) | Token::Begin => depth += 1,
            Token::Close(_) | Token::End => depth = depth.checked_sub(1)?,
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
