//! One expression: what it is made of, and its parsing.

use dashu_ratio::RBig;

use crate::rational::{checked, fraction, small};
use crate::tokens::Token;

/// Groups within groups, signs in a row and exponents of exponents, in all.
const MAX_DEPTH: usize = 40;

#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    Number(RBig),
    /// A variable, or one of the constants `pi`, `e`, `i` and `infty`.
    Symbol(String),
    Sum(Vec<Expression>),
    Product(Vec<Expression>),
    Power(Box<Expression>, Box<Expression>),
    /// The root of a whole order ≥ 2; real where the radicand is, if there is a real one.
    Root(u32, Box<Expression>),
    Magnitude(Box<Expression>),
    Floor(Box<Expression>),
    Ceiling(Box<Expression>),
    Function(Function, Box<Expression>),
    /// The logarithm to a base: (base, argument).
    Logarithm(Box<Expression>, Box<Expression>),
    /// n!, and n!! with a step of 2.
    Factorial(Box<Expression>, u32),
    Binomial(Box<Expression>, Box<Expression>),
    /// An angle in degrees: a number outside of functions, radians inside of them.
    Degrees(Box<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Arccot,
    Arcsec,
    Arccsc,
    Sinh,
    Cosh,
    Tanh,
    Arsinh,
    Arcosh,
    Artanh,
    Ln,
    Log,
    Log2,
    Exp,
    Cis,
}

impl Function {
    /// The function of a name, with or without the backslash.
    pub fn named(name: &str) -> Option<Function> {
        use Function::*;
        Some(match name {
            "sin" => Sin,
            "cos" => Cos,
            "tan" | "tg" => Tan,
            "cot" | "ctg" => Cot,
            "sec" => Sec,
            "csc" | "cosec" => Csc,
            "arcsin" | "asin" => Arcsin,
            "arccos" | "acos" => Arccos,
            "arctan" | "atan" | "arctg" => Arctan,
            "arccot" | "acot" | "arcctg" => Arccot,
            "arcsec" | "asec" => Arcsec,
            "arccsc" | "acsc" => Arccsc,
            "sinh" => Sinh,
            "cosh" => Cosh,
            "tanh" => Tanh,
            "arsinh" | "arcsinh" | "asinh" => Arsinh,
            "arcosh" | "arccosh" | "acosh" => Arcosh,
            "artanh" | "arctanh" | "atanh" => Artanh,
            "ln" => Ln,
            "log" | "lg" => Log,
            "lb" => Log2,
            "exp" => Exp,
            "cis" => Cis,
            _ => return None,
        })
    }

    /// What the exponent −1 makes of it.
    fn inverse(self) -> Option<Function> {
        use Function::*;
        Some(match self {
            Sin => Arcsin,
            Cos => Arccos,
            Tan => Arctan,
            Cot => Arccot,
            Sec => Arcsec,
            Csc => Arccsc,
            Sinh => Arsinh,
            Cosh => Arcosh,
            Tanh => Artanh,
            _ => return None,
        })
    }

    /// Whether what it takes is an angle.
    pub fn takes_angle(self) -> bool {
        use Function::*;
        matches!(self, Sin | Cos | Tan | Cot | Sec | Csc | Cis)
    }
}

impl Expression {
    /// The expression that all of `tokens` are; `None` where they are none.
    ///
    /// A product needs no sign but before a number; a whole number before a fraction of whole
    /// numbers (`1\frac{1}{2}`, `1 1/2`) is a mixed number.
    ///
    /// `1/2x` is half of x, and the inverse of 2x where products without a sign are `tight`.
    pub fn parse(tokens: &[Token], tight: bool) -> Option<Expression> {
        let mut parser = Parser {
            tokens,
            tight,
            at: 0,
            depth: 0,
            bars: 0,
        };
        let expression = parser.chosen_sum()?;
        (parser.at == tokens.len()).then_some(expression)
    }

    pub fn number(value: impl Into<RBig>) -> Expression {
        Expression::Number(value.into())
    }

    pub fn negative(self) -> Expression {
        Expression::Product(vec![Expression::number(-1), self])
    }

    pub fn inverse(self) -> Expression {
        Expression::Power(Box::new(self), Box::new(Expression::number(-1)))
    }

    pub fn plus(self, other: Expression) -> Expression {
        Expression::Sum(vec![self, other])
    }

    pub fn times(self, other: Expression) -> Expression {
        Expression::Product(vec![self, other])
    }

    /// The parts it is made of.
    pub fn parts(&self) -> Vec<&Expression> {
        match self {
            Expression::Number(_) | Expression::Symbol(_) => Vec::new(),
            Expression::Sum(parts) | Expression::Product(parts) => parts.iter().collect(),
            Expression::Power(a, b) | Expression::Logarithm(a, b) | Expression::Binomial(a, b) => vec![a, b],
            Expression::Root(_, a)
            | Expression::Magnitude(a)
            | Expression::Floor(a)
            | Expression::Ceiling(a)
            | Expression::Function(_, a)
            | Expression::Factorial(a, _)
            | Expression::Degrees(a) => vec![a],
        }
    }

    /// Whether it, or something in it, is so.
    pub fn any(&self, is: &dyn Fn(&Expression) -> bool) -> bool {
        is(self) || self.parts().into_iter().any(|part| part.any(is))
    }

    /// The names of its variables, once each.
    pub fn variables(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.collect_variables(&mut names);
        names.sort_unstable();
        names.dedup();
        names
    }

    fn collect_variables<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Expression::Symbol(name) if !is_constant(name) => names.push(name),
            other => other.parts().into_iter().for_each(|p| p.collect_variables(names)),
        }
    }

    /// With angles in degrees as numbers outside of functions of angles, in radians inside.
    pub fn without_degrees(self, inside: bool) -> Expression {
        let each = |parts: Vec<Expression>| parts.into_iter().map(|p| p.without_degrees(inside)).collect();
        let one = |part: Box<Expression>| Box::new(part.without_degrees(inside));
        match self {
            Expression::Degrees(a) => {
                let a = a.without_degrees(inside);
                match inside {
                    true => Expression::Product(vec![
                        a,
                        Expression::Symbol("pi".into()),
                        Expression::number(180).inverse(),
                    ]),
                    false => a,
                }
            }
            Expression::Function(f, a) => {
                let inside = f.takes_angle();
                Expression::Function(f, Box::new(a.without_degrees(inside)))
            }
            Expression::Sum(parts) => Expression::Sum(each(parts)),
            Expression::Product(parts) => Expression::Product(each(parts)),
            Expression::Power(a, b) => Expression::Power(one(a), one(b)),
            Expression::Logarithm(a, b) => Expression::Logarithm(one(a), one(b)),
            Expression::Binomial(a, b) => Expression::Binomial(one(a), one(b)),
            Expression::Root(n, a) => Expression::Root(n, one(a)),
            Expression::Magnitude(a) => Expression::Magnitude(one(a)),
            Expression::Floor(a) => Expression::Floor(one(a)),
            Expression::Ceiling(a) => Expression::Ceiling(one(a)),
            Expression::Factorial(a, step) => Expression::Factorial(one(a), step),
            other @ (Expression::Number(_) | Expression::Symbol(_)) => other,
        }
    }
}

/// Whether a symbol has a value of its own.
pub fn is_constant(name: &str) -> bool {
    matches!(name, "pi" | "e" | "i" | "infty") || name.starts_with("set ")
}

struct Parser<'a> {
    tokens: &'a [Token],
    tight: bool,
    at: usize,
    depth: usize,
    /// Magnitudes between plain bars that are open: another bar closes one.
    bars: usize,
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
            let mut terms = vec![p.product()?];
            loop {
                if p.eat(&Token::Sign('+')).is_some() {
                    terms.push(p.product()?);
                } else if p.eat(&Token::Sign('-')).is_some() {
                    terms.push(p.product()?.negative());
                } else {
                    return Some(one_or(terms, Expression::Sum));
                }
            }
        })
    }

    /// A sum, or two with `\choose` between them.
    fn chosen_sum(&mut self) -> Option<Expression> {
        let n = self.sum()?;
        Some(match self.eat(&Token::Sign('C')) {
            Some(()) => Expression::Binomial(Box::new(n), Box::new(self.sum()?)),
            None => n,
        })
    }

    fn product(&mut self) -> Option<Expression> {
        let mut factors = vec![self.signed()?];
        loop {
            if self.eat(&Token::Sign('*')).is_some() {
                factors.push(self.signed()?);
            } else if self.eat(&Token::Sign('/')).is_some() {
                let mut divisor = vec![self.signed()?];
                while self.tight && self.begins_factor() {
                    divisor.push(self.power()?);
                }
                factors.push(one_or(divisor, Expression::Product).inverse());
            } else if self.begins_factor() {
                factors.push(self.power()?);
            } else {
                return Some(one_or(factors, Expression::Product));
            }
        }
    }

    /// Whether something follows that multiplies without a sign.
    fn begins_factor(&self) -> bool {
        match self.peek() {
            Some(
                Token::Symbol(_)
                | Token::Command(_)
                | Token::Function(_)
                | Token::Open('(' | '[' | '{' | '|' | '⌊' | '⌈'),
            ) => true,
            Some(Token::Bar) => self.bars == 0,
            // `2!3!`
            Some(Token::Number(_)) => self.tokens[self.at - 1] == Token::Sign('!'),
            _ => false,
        }
    }

    fn signed(&mut self) -> Option<Expression> {
        if self.eat(&Token::Sign('-')).is_some() {
            return Some(self.deeper(Self::signed)?.negative());
        }
        if self.eat(&Token::Sign('+')).is_some() {
            return self.deeper(Self::signed);
        }
        self.power()
    }

    fn power(&mut self) -> Option<Expression> {
        let base = self.atom()?;
        let base = self.postfix(base);
        if self.eat(&Token::Sign('^')).is_none() {
            return Some(base);
        }
        let exponent = self.deeper(Self::signed)?;
        let power = Expression::Power(Box::new(base), Box::new(exponent));
        Some(self.postfix(power))
    }

    /// What stands behind an atom: `!`, `!!`, `°`.
    fn postfix(&mut self, mut of: Expression) -> Expression {
        for _ in 0..MAX_DEPTH {
            if self.eat(&Token::Sign('!')).is_some() {
                let step = 1 + u32::from(self.eat(&Token::Sign('!')).is_some());
                of = Expression::Factorial(Box::new(of), step);
            } else if self.eat(&Token::Sign('°')).is_some() {
                of = Expression::Degrees(Box::new(of));
            } else {
                break;
            }
        }
        of
    }

    fn atom(&mut self) -> Option<Expression> {
        let token = self.peek()?.clone();
        self.at += 1;
        match token {
            Token::Number(value) => Some(Expression::Number(self.mixed(value)?)),
            Token::Based(value, _) => Some(Expression::Number(value)),
            Token::Symbol(name) => self.symbol(name),
            Token::Open('(') => self.closed(&Token::Close(')')),
            Token::Open('[') => self.closed(&Token::Close(']')),
            Token::Open('{') => self.closed(&Token::Close('}')),
            Token::Open('|') => Some(Expression::Magnitude(Box::new(self.closed(&Token::Close('|'))?))),
            Token::Open('⌊') => Some(Expression::Floor(Box::new(self.closed(&Token::Close('⌊'))?))),
            Token::Open('⌈') => Some(Expression::Ceiling(Box::new(self.closed(&Token::Close('⌈'))?))),
            Token::Bar => {
                self.bars += 1;
                let inner = self.sum()?;
                self.bars -= 1;
                self.eat(&Token::Bar)?;
                Some(Expression::Magnitude(Box::new(inner)))
            }
            Token::Command("frac") => {
                let numerator = self.argument()?;
                let denominator = self.argument()?;
                Some(numerator.times(denominator.inverse()))
            }
            Token::Command("binom") => {
                let n = self.argument()?;
                let k = self.argument()?;
                Some(Expression::Binomial(Box::new(n), Box::new(k)))
            }
            Token::Command(_) => self.root(),
            Token::Function(function) => self.function(function),
            Token::Sign('_') => self.chosen(),
            _ => None,
        }
    }

    fn closed(&mut self, end: &Token) -> Option<Expression> {
        // Bars inside of other delimiters are their own.
        let bars = std::mem::take(&mut self.bars);
        let inner = self.chosen_sum()?;
        self.bars = bars;
        self.eat(end)?;
        Some(inner)
    }

    /// What a command takes: a group, or one atom.
    fn argument(&mut self) -> Option<Expression> {
        self.deeper(Self::atom)
    }

    /// A whole number, and a fraction of whole numbers behind it.
    fn mixed(&mut self, value: RBig) -> Option<RBig> {
        if !value.is_int() {
            return Some(value);
        }
        let number = |token: &Token| match token {
            Token::Number(n) if n.is_int() => Some(n.clone()),
            _ => None,
        };
        let (open, close) = (Token::Open('{'), Token::Close('}'));
        let (numerator, denominator, length) = match &self.tokens[self.at..] {
            [n @ Token::Number(_), Token::Sign('/'), d @ Token::Number(_), ..] => (number(n), number(d), 3),
            [Token::Command("frac"), n @ Token::Number(_), d @ Token::Number(_), ..] => (number(n), number(d), 3),
            [Token::Command("frac"), o, n, c, o2, d, c2, ..] if (o, c, o2, c2) == (&open, &close, &open, &close) => {
                (number(n), number(d), 7)
            }
            _ => return Some(value),
        };
        let (Some(numerator), Some(denominator)) = (numerator, denominator) else {
            return Some(value);
        };
        self.at += length;
        checked(value + fraction(numerator, &denominator)?)
    }

    /// A symbol, with its index as part of its name; `C(n, k)` and `P(n, k)` are numbers.
    fn symbol(&mut self, name: String) -> Option<Expression> {
        if matches!(name.as_str(), "C" | "P")
            && let Some(value) = self.called_with_two(&name)
        {
            return Some(value);
        }
        // f(2) is a value of f, and no product.
        if matches!(name.trim_end_matches('\''), "f" | "g" | "h")
            && let [Token::Open('('), Token::Number(at), Token::Close(')'), ..] = &self.tokens[self.at..]
        {
            self.at += 3;
            return Some(Expression::Symbol(format!("{name}({at})")));
        }
        if self.eat(&Token::Sign('_')).is_none() {
            return Some(Expression::Symbol(name));
        }
        let begin = self.at;
        self.index()?;
        let index = &self.tokens[begin..self.at];
        let index: Vec<&Token> = index
            .iter()
            .filter(|t| !matches!(t, Token::Open('{') | Token::Close('}')))
            .collect();
        Some(Expression::Symbol(format!("{name}_{index:?}")))
    }

    /// An index: words, or an expression.
    fn index(&mut self) -> Option<()> {
        match &self.tokens[self.at..] {
            [Token::Words(_), ..] => self.at += 1,
            [Token::Open('{'), Token::Words(_), Token::Close('}'), ..] => self.at += 3,
            _ => {
                self.argument()?;
            }
        }
        Some(())
    }

    /// What stands in `(n, k)` behind `C` or `P`; nothing is read where that does not follow.
    fn called_with_two(&mut self, name: &str) -> Option<Expression> {
        let begin = self.at;
        let parsed = self.deeper(|p| {
            p.eat(&Token::Open('('))?;
            let n = p.sum()?;
            p.eat(&Token::Comma)?;
            let k = p.sum()?;
            p.eat(&Token::Close(')'))?;
            Some(ways(name, n, k))
        });
        if parsed.is_none() {
            self.at = begin;
        }
        parsed
    }

    /// `_5C_2`, an index without anything before it.
    fn chosen(&mut self) -> Option<Expression> {
        let n = self.argument()?;
        let Some(Token::Symbol(name)) = self.peek() else {
            return None;
        };
        let name = name.clone();
        matches!(name.as_str(), "C" | "P").then(|| self.at += 1)?;
        self.eat(&Token::Sign('_'))?;
        let k = self.argument()?;
        Some(ways(&name, n, k))
    }

    fn root(&mut self) -> Option<Expression> {
        let order = match self.eat(&Token::Open('[')) {
            Some(()) => Some(self.closed(&Token::Close(']'))?),
            None => None,
        };
        let radicand = Box::new(self.argument()?);
        Some(match order {
            None => Expression::Root(2, radicand),
            Some(Expression::Number(n)) => {
                let order = small(&n)
                    .and_then(|n| u32::try_from(n).ok())
                    .filter(|n| (1..=1000).contains(n))?;
                match order {
                    1 => *radicand,
                    _ => Expression::Root(order, radicand),
                }
            }
            Some(order) => Expression::Power(radicand, Box::new(order.inverse())),
        })
    }

    /// What a function is applied to: what is in parentheses, else factors without a sign, as in
    /// `\sin 2x`.
    fn applied(&mut self) -> Option<Expression> {
        if self.at_parentheses() || self.peek() == Some(&Token::Open('|')) {
            return self.atom();
        }
        let mut factors = vec![match self.eat(&Token::Sign('-')) {
            Some(()) => self.power()?.negative(),
            None => self.power()?,
        }];
        while matches!(self.peek(), Some(Token::Symbol(_) | Token::Command(_))) {
            factors.push(self.power()?);
        }
        // `\cos\pi/4` and `\sin 2\pi/3` divide the argument.
        let is_pi = |e: &Expression| *e == Expression::Symbol("pi".into());
        if factors.last().is_some_and(is_pi)
            && let [Token::Sign('/'), Token::Number(d), ..] = &self.tokens[self.at..]
        {
            factors.push(Expression::Number(d.clone()).inverse());
            self.at += 2;
        }
        Some(one_or(factors, Expression::Product))
    }

    /// `\sin x`, `\sin^2 x`, `\sin(x)^2`, `\sin^{-1} x`, `\log_2 8`.
    fn function(&mut self, mut function: Function) -> Option<Expression> {
        let (mut base, mut exponent) = (None, None);
        for _ in 0..2 {
            if base.is_none() && self.eat(&Token::Sign('_')).is_some() {
                base = Some(self.argument()?);
            } else if exponent.is_none() && self.eat(&Token::Sign('^')).is_some() {
                exponent = Some(self.argument_or_signed()?);
            }
        }
        if exponent == Some(Expression::number(-1)) || exponent == Some(Expression::number(1).negative()) {
            function = function.inverse()?;
            exponent = None;
        }
        let in_parentheses = self.at_parentheses();
        let argument = Box::new(self.deeper(Self::applied)?);
        let called = match base {
            Some(base) if function == Function::Log => Expression::Logarithm(Box::new(base), argument),
            Some(_) => return None,
            None => Expression::Function(function, argument),
        };
        if in_parentheses && exponent.is_none() && self.eat(&Token::Sign('^')).is_some() {
            exponent = Some(self.deeper(Self::signed)?);
        }
        Some(match exponent {
            Some(exponent) => Expression::Power(Box::new(called), Box::new(exponent)),
            None => called,
        })
    }

    /// Whether what follows is one pair of parentheses, perhaps in braces.
    fn at_parentheses(&self) -> bool {
        let rest = match &self.tokens[self.at..] {
            [Token::Open('(' | '['), ..] => return true,
            [Token::Open('{'), rest @ ..] if matches!(rest, [Token::Open('(' | '['), ..]) => rest,
            _ => return false,
        };
        let mut depth = 0usize;
        for (at, token) in rest.iter().enumerate() {
            match token {
                Token::Open(_) => depth += 1,
                Token::Close(_) => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return rest.get(at + 1) == Some(&Token::Close('}'));
            }
        }
        false
    }

    /// An exponent of a function: an atom, perhaps with a sign.
    fn argument_or_signed(&mut self) -> Option<Expression> {
        match self.eat(&Token::Sign('-')) {
            Some(()) => Some(self.argument()?.negative()),
            None => self.argument(),
        }
    }
}

/// In how many ways: combinations or, ordered, n!/(n − k)!.
fn ways(name: &str, n: Expression, k: Expression) -> Expression {
    let choose = Expression::Binomial(Box::new(n), Box::new(k.clone()));
    match name {
        "C" => choose,
        _ => choose.times(Expression::Factorial(Box::new(k), 1)),
    }
}

/// The only one, or all of them.
fn one_or(mut parts: Vec<Expression>, all: impl FnOnce(Vec<Expression>) -> Expression) -> Expression {
    match parts.len() {
        1 => parts.remove(0),
        _ => all(parts),
    }
}
