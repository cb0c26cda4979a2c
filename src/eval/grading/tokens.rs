//! LaTeX and plain mathematics as tokens.

use super::rational::{Rational, decimal};

/// The longest text that is read as mathematics, in bytes.
pub const MAX_BYTES: usize = 2000;
/// The most tokens.
const MAX_TOKENS: usize = 400;
/// `\text{\text{…}}` is read this deep.
const MAX_NESTING: usize = 4;

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Number(Rational),
    /// A variable, a Greek letter, ∞, a number too long to calculate with.
    Symbol(String),
    /// Words, in small letters with single spaces.
    Words(String),
    /// `frac`, `sqrt`.
    Command(&'static str),
    /// `sin`, `ln`, …
    Function(&'static str),
    /// `(`, `[`, `{`, or `S` for the brace of a set.
    Open(char),
    Close(char),
    Bar,
    /// `+ - * / ^ _ %`, and `±` for both signs.
    Sign(char),
    /// `= < > ≤ ≥ ≠ ∈`
    Relation(char),
    Comma,
    Union,
}

/// Functions of one argument.
pub const FUNCTIONS: [&str; 12] = [
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "ln", "log", "exp",
];

/// Commands that only say how something looks.
const LOOKS: &str = "left right big Big bigl bigr Bigl Bigr bigg Bigg middle displaystyle textstyle limits quad qquad \
    circ degree degrees rm bf it mathop ensuremath hspace hfill nolimits thinspace space null";

/// Commands whose argument is text.
const TEXTS: &str = "text textbf textit textrm texttt textsf mbox hbox mathrm mathbf mathit mathsf operatorname emph";

/// Unit names that would be variables or functions elsewhere; longer words are units behind any number.
const SHORT_UNITS: [&str; 13] = [
    "cm", "mm", "km", "kg", "mg", "ml", "mL", "ft", "lb", "oz", "hr", "in", "sec",
];

/// The tokens of `text`; `None` where something in it is not understood or it is too long.
pub fn tokens(text: &str) -> Option<Vec<Token>> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
        depth: 0,
        nesting: 0,
        out: Vec::new(),
    };
    lexer.run()?;
    Some(lexer.out)
}

fn is_among(names: &str, name: &str) -> bool {
    names.split_whitespace().any(|n| n == name)
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    /// Of parentheses and brackets: inside, commas do not separate thousands.
    depth: usize,
    nesting: usize,
    out: Vec<Token>,
}

impl Lexer {
    fn run(&mut self) -> Option<()> {
        while let Some(c) = self.peek(0) {
            self.one(c)?;
            if self.out.len() > MAX_TOKENS {
                return None;
            }
        }
        Some(())
    }

    fn peek(&self, offset: usize) -> Option<char> {
        self.chars.get(self.at + offset).copied()
    }

    fn is_digit(&self, offset: usize) -> bool {
        self.peek(offset).is_some_and(|c| c.is_ascii_digit())
    }

    fn push(&mut self, token: Token) {
        self.out.push(token);
    }

    fn one(&mut self, c: char) -> Option<()> {
        if c.is_ascii_digit() || (c == '.' && self.is_digit(1)) {
            self.number();
            return Some(());
        }
        if c.is_ascii_alphabetic() {
            self.letters();
            return Some(());
        }
        self.at += 1;
        match c {
            c if c.is_whitespace() => {}
            '$' | '€' | '£' | '~' | '°' | '\u{200b}' => {}
            '\\' => self.command()?,
            '(' | '[' | '{' => self.open(c),
            ')' | ']' | '}' => self.close(c),
            '+' | '/' | '^' | '_' | '%' | '*' => self.push(Token::Sign(c)),
            '-' | '−' | '–' => self.push(Token::Sign('-')),
            '×' | '·' | '⋅' | '∗' => self.push(Token::Sign('*')),
            '÷' => self.push(Token::Sign('/')),
            '±' => self.push(Token::Sign('±')),
            '²' => self.out.extend([Token::Sign('^'), Token::Number(2.into())]),
            '³' => self.out.extend([Token::Sign('^'), Token::Number(3.into())]),
            '<' | '>' if self.peek(0) == Some('=') => {
                self.at += 1;
                self.push(Token::Relation(if c == '<' { '≤' } else { '≥' }));
            }
            '=' | '<' | '>' | '≤' | '≥' | '≠' | '∈' => self.push(Token::Relation(c)),
            ',' | ';' => self.push(Token::Comma),
            '∪' => self.push(Token::Union),
            '|' => self.push(Token::Bar),
            '√' => self.root(),
            'π' => self.push(Token::Symbol("pi".into())),
            '∞' => self.push(Token::Symbol("infty".into())),
            // The end of a sentence.
            '.' if self.chars[self.at..].iter().all(|c| c.is_whitespace() || *c == '$') => {}
            c if c.is_alphabetic() => self.push(Token::Symbol(c.into())),
            _ => return None,
        }
        Some(())
    }

    fn open(&mut self, c: char) {
        self.depth += usize::from(c != '{');
        self.push(Token::Open(c));
    }

    fn close(&mut self, c: char) {
        self.depth = self.depth.saturating_sub(usize::from(c != '}'));
        self.push(Token::Close(c));
    }

    fn digits(&mut self) -> String {
        let start = self.at;
        while self.is_digit(0) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn number(&mut self) {
        let start = self.at;
        let mut whole = self.digits();
        while let Some(skip) = self.thousands(&whole) {
            self.at += skip;
            whole += &self.digits();
        }
        let mut decimals = String::new();
        if self.peek(0) == Some('.') && self.is_digit(1) {
            self.at += 1;
            decimals = self.digits();
        } else if self.peek(0) == Some('.') && !self.peek(1).is_some_and(char::is_alphanumeric) && self.at > start {
            // "5." is 5.
            self.at += 1;
        }
        let exponent = self.exponent();
        match decimal(&whole, &decimals, exponent) {
            Some(value) => self.push(Token::Number(value)),
            None => {
                let (whole, decimals) = (whole.trim_start_matches('0'), decimals.trim_end_matches('0'));
                self.push(Token::Symbol(format!("{whole}.{decimals}e{exponent}")));
            }
        }
    }

    /// How many characters separate the next three digits of a long number: `,`, `{,}`, `\,`, `\!`.
    fn thousands(&self, whole: &str) -> Option<usize> {
        let separators: [&[char]; 5] = [&['{', ',', '}'], &[',', '\\', '!'], &['\\', '!'], &['\\', ','], &[',']];
        let rest = &self.chars[self.at..];
        let separator = separators.into_iter().find(|s| rest.starts_with(s))?;
        let n = separator.len();
        let grouped = (n..n + 3).all(|i| self.is_digit(i)) && !self.is_digit(n + 3);
        let begins = whole.len() > 3 || (!whole.is_empty() && !whole.starts_with('0'));
        let plain = separator == [','] && self.depth > 0;
        (grouped && begins && !plain).then_some(n)
    }

    /// The exponent of `1.5e3`; 0 without one.
    fn exponent(&mut self) -> i32 {
        let signed = usize::from(matches!(self.peek(1), Some('+' | '-')));
        if !matches!(self.peek(0), Some('e' | 'E')) || !self.is_digit(1 + signed) {
            return 0;
        }
        let negative = self.peek(1) == Some('-');
        self.at += 1 + signed;
        let exponent: i32 = self.digits().parse().unwrap_or(i32::MAX);
        if negative { -exponent } else { exponent }
    }

    /// A run of letters: a word, a unit, or variables.
    fn letters(&mut self) {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_ascii_alphabetic()) {
            self.at += 1;
        }
        let run: String = self.chars[start..self.at].iter().collect();
        let after_number = matches!(self.out.last(), Some(Token::Number(_)));
        let unit = after_number && SHORT_UNITS.contains(&run.as_str());
        if let Some(function) = FUNCTIONS.iter().find(|f| **f == run && !unit) {
            return self.push(Token::Function(function));
        }
        match run.as_str() {
            "sqrt" => return self.root(),
            "pi" => return self.push(Token::Symbol("pi".into())),
            "inf" | "infinity" => return self.push(Token::Symbol("infty".into())),
            _ => {}
        }
        let variables = run.len() < 3 || (run.len() == 3 && run.chars().all(|c| "abcxyz".contains(c)));
        let word = matches!(run.to_ascii_lowercase().as_str(), "no" | "or");
        if unit || word || !variables {
            return self.words(&run);
        }
        self.out.extend(run.chars().map(|c| Token::Symbol(c.into())));
    }

    /// Text: words that join others before them, `and` as a comma, a lone letter as itself.
    fn words(&mut self, text: &str) {
        let bare = text.trim().trim_matches(['(', ')', '.', ',', ':']).trim();
        let mut chars = bare.chars();
        if let (Some(letter), None) = (chars.next(), chars.next()) {
            return self.push(Token::Symbol(letter.into()));
        }
        let words = bare.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        match (words.as_str(), self.out.last_mut()) {
            ("", _) => {}
            ("and" | "or", _) => self.push(Token::Comma),
            (_, Some(Token::Words(before))) => {
                before.push(' ');
                before.push_str(&words);
            }
            _ => self.push(Token::Words(words)),
        }
    }

    fn command(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_ascii_alphabetic()) {
            self.at += 1;
        }
        let name: String = self.chars[start..self.at].iter().collect();
        if name.is_empty() {
            return self.escaped();
        }
        if is_among(LOOKS, &name) {
            self.drop_empty_exponent(&name);
            return Some(());
        }
        if is_among(TEXTS, &name) {
            return self.text();
        }
        if let Some(function) = FUNCTIONS.iter().find(|f| **f == name) {
            self.push(Token::Function(function));
            return Some(());
        }
        self.named(&name)
    }

    fn named(&mut self, name: &str) -> Option<()> {
        match name {
            "frac" | "dfrac" | "tfrac" | "cfrac" => {
                self.push(Token::Command("frac"));
                self.single_digits(2);
            }
            "sqrt" => self.root(),
            "cdot" | "times" | "ast" => self.push(Token::Sign('*')),
            "div" => self.push(Token::Sign('/')),
            "pm" | "mp" => self.push(Token::Sign('±')),
            "lt" => self.push(Token::Relation('<')),
            "gt" => self.push(Token::Relation('>')),
            "le" | "leq" | "leqslant" => self.push(Token::Relation('≤')),
            "ge" | "geq" | "geqslant" => self.push(Token::Relation('≥')),
            "ne" | "neq" => self.push(Token::Relation('≠')),
            "in" => self.push(Token::Relation('∈')),
            "cup" => self.push(Token::Union),
            "lbrace" => self.open('S'),
            "rbrace" => self.close('S'),
            "mid" | "vert" | "lvert" | "rvert" => self.push(Token::Bar),
            "mathbb" | "mathcal" => {
                let set = self.group()?;
                self.push(Token::Symbol(format!("set {}", set.trim())));
            }
            "begin" | "end" | "overline" | "vec" | "hat" | "bar" | "binom" | "not" | "setminus" => return None,
            "varnothing" => self.push(Token::Symbol("emptyset".into())),
            _ => self.push(Token::Symbol(name.into())),
        }
        Some(())
    }

    /// What stands behind a backslash and is no letter.
    fn escaped(&mut self) -> Option<()> {
        let c = self.peek(0)?;
        self.at += 1;
        match c {
            '{' => self.open('S'),
            '}' => self.close('S'),
            '%' => self.push(Token::Sign('%')),
            '|' => self.push(Token::Bar),
            '$' | '!' | ',' | ';' | ':' | ' ' | '(' | ')' | '[' | ']' | '\n' | '&' => {}
            _ => return None,
        }
        Some(())
    }

    /// `^\circ` and `^{\circ}` are degrees, which are left out.
    fn drop_empty_exponent(&mut self, name: &str) {
        if !matches!(name, "circ" | "degree" | "degrees") {
            return;
        }
        let braced = self.out.last() == Some(&Token::Open('{')) && self.peek(0) == Some('}');
        if braced {
            self.out.pop();
            self.at += 1;
        }
        if self.out.last() == Some(&Token::Sign('^')) {
            self.out.pop();
        }
    }

    /// The raw text of the braces that follow.
    fn group(&mut self) -> Option<String> {
        while self.peek(0) == Some(' ') {
            self.at += 1;
        }
        if self.peek(0) != Some('{') {
            let c = self.peek(0)?;
            self.at += 1;
            return Some(c.into());
        }
        let start = self.at + 1;
        let mut depth = 0usize;
        while let Some(c) = self.peek(0) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(self.chars[start..self.at - 1].iter().collect());
            }
        }
        None
    }

    /// Text in braces; where it holds digits or commands it is mathematics after all.
    fn text(&mut self) -> Option<()> {
        let content = self.group()?;
        if !content.contains(|c: char| c.is_ascii_digit() || matches!(c, '\\' | '=' | '+' | '^')) {
            self.words(&content);
            return Some(());
        }
        if self.nesting == MAX_NESTING {
            return None;
        }
        let mut inner = Lexer {
            chars: content.chars().collect(),
            at: 0,
            depth: self.depth,
            nesting: self.nesting + 1,
            out: Vec::new(),
        };
        inner.run()?;
        self.out.append(&mut inner.out);
        Some(())
    }

    fn root(&mut self) {
        self.push(Token::Command("sqrt"));
        self.single_digits(1);
    }

    /// `\frac12` is one half and `\sqrt23` is √2·3: arguments without braces are single digits.
    fn single_digits(&mut self, count: usize) {
        while self.peek(0) == Some(' ') {
            self.at += 1;
        }
        for _ in 0..count {
            let Some(digit) = self.peek(0).and_then(|c| c.to_digit(10)) else {
                return;
            };
            self.at += 1;
            self.push(Token::Number(Rational::from_integer(digit.into())));
        }
    }
}
