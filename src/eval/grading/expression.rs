//! One expression: parsing and numeric values.

use super::rational::{Rational, fraction, to_f64};
use super::tokens::Token;

/// Groups within groups, signs in a row and exponents of exponents, in all.
const MAX_DEPTH: usize = 40;

#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    Number(Rational),
    Symbol(String),
    Negative(Box<Expression>),
    Sum(Box<Expression>, Box<Expression>),
    Product(Box<Expression>, Box<Expression>),
    Quotient(Box<Expression>, Box<Expression>),
    Power(Box<Expression>, Box<Expression>),
    /// The root of a whole order ≥ 2.
    Root(u32, Box<Expression>),
    Magnitude(Box<Expression>),
    Function(&'static str, Box<Expression>),
    /// The logarithm to a base: (base, argument).
    Logarithm(Box<Expression>, Box<Expression>),
}

impl Expression {
    /// The expression that all of `tokens` are; `None` where they are none.
    ///
    /// A product needs no sign but before a number; a whole number before a fraction of whole
    /// numbers (`1\frac{1}{2}`, `1 1/2`) is a mixed number.
    pub fn parse(tokens: &[Token]) -> Option<Expression> {
        let mut parser = Parser {
            tokens,
            at: 0,
            depth: 0,
        };
        let expression = parser.sum()?;
        (parser.at == tokens.len()).then_some(expression)
    }

    /// Its value where variables have the values that belong to `point`; no number outside its
    /// domain. e and π have their own values.
    pub fn value(&self, point: u64) -> f64 {
        let value = |e: &Expression| e.value(point);
        match self {
            Expression::Number(n) => to_f64(n),
            Expression::Symbol(name) => symbol_value(name, point),
            Expression::Negative(a) => -value(a),
            Expression::Sum(a, b) => value(a) + value(b),
            Expression::Product(a, b) => value(a) * value(b),
            Expression::Quotient(a, b) => value(a) / value(b),
            Expression::Power(a, b) => value(a).powf(value(b)),
            Expression::Root(2, a) => value(a).sqrt(),
            Expression::Root(n, a) => root(value(a), *n),
            Expression::Magnitude(a) => value(a).abs(),
            Expression::Logarithm(base, a) => value(a).ln() / value(base).ln(),
            Expression::Function(name, a) => function(name, value(a)),
        }
    }
}

/// The real root, which for odd orders negative numbers have too.
fn root(value: f64, n: u32) -> f64 {
    let magnitude = value.abs().powf(1.0 / f64::from(n));
    match value < 0.0 {
        true if n.is_multiple_of(2) => f64::NAN,
        true => -magnitude,
        false => magnitude,
    }
}

fn function(name: &str, x: f64) -> f64 {
    match name {
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tan" => x.tan(),
        "cot" => 1.0 / x.tan(),
        "sec" => 1.0 / x.cos(),
        "csc" => 1.0 / x.sin(),
        "arcsin" => x.asin(),
        "arccos" => x.acos(),
        "arctan" => x.atan(),
        "ln" => x.ln(),
        "log" => x.log10(),
        "exp" => x.exp(),
        _ => f64::NAN,
    }
}

/// A constant, or for a variable a number between 0.5 and 2.5 that depends on its name and `point`.
fn symbol_value(name: &str, point: u64) -> f64 {
    match name {
        "pi" => std::f64::consts::PI,
        "e" => std::f64::consts::E,
        "infty" => f64::INFINITY,
        _ => {
            // FNV-1a, then the mixing step of splitmix64.
            let hash = name.bytes().chain(point.to_le_bytes());
            let hash = hash.fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
                (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
            });
            let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = mixed ^ (mixed >> 27);
            0.5 + 2.0 * (mixed >> 11) as f64 / (1u64 << 53) as f64
        }
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn eat(&mut self, token: &Token) -> Option<()> {
        (self.peek() == Some(token)).then(|| self.at += 1)
    }

    /// `parse` one level deeper.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth += 1;
        let parsed = if self.depth > MAX_DEPTH { None } else { parse(self) };
        self.depth -= 1;
        parsed
    }

    fn sum(&mut self) -> Option<Expression> {
        self.deeper(|p| {
            let mut sum = p.product()?;
            loop {
                if p.eat(&Token::Sign('+')).is_some() {
                    sum = Expression::Sum(Box::new(sum), Box::new(p.product()?));
                } else if p.eat(&Token::Sign('-')).is_some() {
                    let next = Expression::Negative(Box::new(p.product()?));
                    sum = Expression::Sum(Box::new(sum), Box::new(next));
                } else {
                    return Some(sum);
                }
            }
        })
    }

    fn product(&mut self) -> Option<Expression> {
        let mut product = self.signed()?;
        loop {
            if self.eat(&Token::Sign('*')).is_some() {
                product = Expression::Product(Box::new(product), Box::new(self.signed()?));
            } else if self.eat(&Token::Sign('/')).is_some() {
                product = Expression::Quotient(Box::new(product), Box::new(self.signed()?));
            } else if self.begins_factor() {
                product = Expression::Product(Box::new(product), Box::new(self.power()?));
            } else {
                return Some(product);
            }
        }
    }

    /// Whether something follows that multiplies without a sign.
    fn begins_factor(&self) -> bool {
        matches!(
            self.peek(),
            Some(Token::Symbol(_) | Token::Command(_) | Token::Function(_) | Token::Open('(' | '[' | '{'))
        )
    }

    fn signed(&mut self) -> Option<Expression> {
        if self.eat(&Token::Sign('-')).is_some() {
            let inner = self.deeper(Self::signed)?;
            return Some(Expression::Negative(Box::new(inner)));
        }
        if self.eat(&Token::Sign('+')).is_some() {
            return self.deeper(Self::signed);
        }
        self.power()
    }

    fn power(&mut self) -> Option<Expression> {
        let base = self.atom()?;
        if self.eat(&Token::Sign('^')).is_none() {
            return Some(base);
        }
        let exponent = self.deeper(Self::signed)?;
        Some(Expression::Power(Box::new(base), Box::new(exponent)))
    }

    fn atom(&mut self) -> Option<Expression> {
        let token = self.peek()?.clone();
        self.at += 1;
        match token {
            Token::Number(value) => Some(Expression::Number(self.mixed(value)?)),
            Token::Symbol(name) => self.subscripted(name),
            Token::Open('(') => self.closed(&Token::Close(')')),
            Token::Open('[') => self.closed(&Token::Close(']')),
            Token::Open('{') => self.closed(&Token::Close('}')),
            Token::Bar => {
                let inner = self.closed(&Token::Bar)?;
                Some(Expression::Magnitude(Box::new(inner)))
            }
            Token::Command("frac") => {
                let numerator = self.argument()?;
                let denominator = self.argument()?;
                Some(Expression::Quotient(Box::new(numerator), Box::new(denominator)))
            }
            Token::Command(_) => self.root(),
            Token::Function(name) => self.function(name),
            _ => None,
        }
    }

    fn closed(&mut self, end: &Token) -> Option<Expression> {
        let inner = self.sum()?;
        self.eat(end)?;
        Some(inner)
    }

    /// What a command takes: a group, or one atom.
    fn argument(&mut self) -> Option<Expression> {
        self.deeper(Self::atom)
    }

    /// A whole number, and a fraction of whole numbers behind it.
    fn mixed(&mut self, value: Rational) -> Option<Rational> {
        use num_traits::CheckedAdd;
        if !value.is_integer() {
            return Some(value);
        }
        let number = |token: &Token| match token {
            Token::Number(n) if n.is_integer() => Some(*n),
            _ => None,
        };
        let (open, close) = (Token::Open('{'), Token::Close('}'));
        let (numerator, denominator, length) = match &self.tokens[self.at..] {
            [Token::Number(n), Token::Sign('/'), Token::Number(d), ..] => (*n, *d, 3),
            [Token::Command("frac"), Token::Number(n), Token::Number(d), ..] => (*n, *d, 3),
            [Token::Command("frac"), o, n, c, o2, d, c2, ..] if (o, c, o2, c2) == (&open, &close, &open, &close) => {
                match (number(n), number(d)) {
                    (Some(n), Some(d)) => (n, d, 7),
                    _ => return Some(value),
                }
            }
            _ => return Some(value),
        };
        if !(numerator.is_integer() && denominator.is_integer()) {
            return Some(value);
        }
        self.at += length;
        value.checked_add(&fraction(numerator, denominator)?)
    }

    /// A symbol, with its index as part of its name.
    fn subscripted(&mut self, name: String) -> Option<Expression> {
        if self.eat(&Token::Sign('_')).is_none() {
            return Some(Expression::Symbol(name));
        }
        let begin = self.at;
        self.argument()?;
        let index = &self.tokens[begin..self.at];
        let index: Vec<&Token> = index
            .iter()
            .filter(|t| !matches!(t, Token::Open('{') | Token::Close('}')))
            .collect();
        Some(Expression::Symbol(format!("{name}_{index:?}")))
    }

    fn root(&mut self) -> Option<Expression> {
        let mut order = 2;
        if self.eat(&Token::Open('[')).is_some() {
            let Some(Token::Number(n)) = self.peek() else {
                return None;
            };
            order = u32::try_from(n.to_integer())
                .ok()
                .filter(|o| n.is_integer() && (2..=64).contains(o))?;
            self.at += 1;
            self.eat(&Token::Close(']'))?;
        }
        let radicand = self.argument()?;
        Some(Expression::Root(order, Box::new(radicand)))
    }

    /// What a function is applied to: what is in parentheses, else factors without a sign, as in
    /// `\sin 2x`.
    fn applied(&mut self) -> Option<Expression> {
        let in_parentheses = matches!(self.peek(), Some(Token::Open(_)));
        let mut product = self.power()?;
        while !in_parentheses && matches!(self.peek(), Some(Token::Symbol(_) | Token::Command(_))) {
            product = Expression::Product(Box::new(product), Box::new(self.power()?));
        }
        Some(product)
    }

    /// `\sin x`, `\sin^2 x`, `\log_2 8`.
    fn function(&mut self, name: &'static str) -> Option<Expression> {
        let base = match self.eat(&Token::Sign('_')) {
            Some(()) => Some(self.argument()?),
            None => None,
        };
        let exponent = match self.eat(&Token::Sign('^')) {
            Some(()) => Some(self.argument()?),
            None => None,
        };
        let argument = Box::new(self.deeper(Self::applied)?);
        let called = match base {
            Some(base) if name == "log" => Expression::Logarithm(Box::new(base), argument),
            Some(_) => return None,
            None => Expression::Function(name, argument),
        };
        Some(match exponent {
            Some(exponent) => Expression::Power(Box::new(called), Box::new(exponent)),
            None => called,
        })
    }
}
