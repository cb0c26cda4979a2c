//! LaTeX and plain mathematics as tokens.

mod numbers;

use dashu_ratio::RBig;

use self::numbers::based;
use crate::expression::Function;
use crate::rational::decimal;

/// The longest text that is read as mathematics, in bytes.
pub const MAX_BYTES: usize = 10_000;
/// The most tokens.
const MAX_TOKENS: usize = 500;
/// `\text{\text{…}}` is read this deep.
const MAX_NESTING: usize = 4;

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Number(RBig),
    /// A number to a base: its value, and its digits as written.
    Based(RBig, String),
    /// A variable, a Greek letter, ∞.
    Symbol(String),
    /// Words, in small letters with single spaces; units.
    Words(String),
    /// `frac`, `sqrt`, `binom`.
    Command(&'static str),
    Function(Function),
    /// `(`, `[`, `{`, `|`, `⌊`, `⌈`, or `S` for the brace of a set.
    Open(char),
    Close(char),
    /// The beginning of a matrix.
    Begin,
    End,
    /// `&` and `\\` in a matrix.
    Column,
    Row,
    Bar,
    /// `+ - * / ^ _ % !`, `±` and `∓`, `°`, `C` between the two of a binomial (`\choose`).
    Sign(char),
    /// `= < > ≤ ≥ ≠ ∈ ≈`
    Relation(char),
    Comma,
    /// `or` and `and` between answers.
    Or,
    And,
    Colon,
    Union,
    Intersection,
    Minus,
}

/// How a text is read where it says two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `1,234` is one number.
    pub thousands: bool,
    /// Single letters that are units there: none, those with a space or `\text` before them, all
    /// that stand behind a number.
    pub units: Units,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Units {
    Letters,
    Spaced,
    Glued,
}

/// Commands that only say how something looks.
const LOOKS: &str = "big Big bigl bigr Bigl Bigr bigg Bigg biggl biggr Biggl Biggr middle displaystyle textstyle \
    scriptstyle limits quad qquad rm bf it mathop ensuremath hspace hfill nolimits thinspace space null hline \
    mathstrut strut smash boxed fbox enspace medspace negthinspace";

/// Commands whose argument is text.
const TEXTS: &str = "text textbf textit textrm texttt textsf textnormal mbox hbox mathrm mathbf mathit mathsf mathtt \
    operatorname emph boldsymbol bm";

/// Commands that are symbols.
const SYMBOLS: &str = "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi \
    rho varrho sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi \
    Psi Omega pi infty emptyset ell hbar angle triangle square circ star prime";

/// Unit names that would be variables or functions elsewhere; longer words are units behind any number.
const SHORT_UNITS: &str =
    "cm mm km kg mg ml mL ft lb oz hr in sec dm nm um ms ns Hz kW kJ Pa mi yd gal pt qt min mol am pm AM PM";

/// Units of one letter.
const LETTER_UNITS: &str = "msghLlNJWVACKFTPHdw";

/// Words behind a number that multiply it.
const MULTIPLIERS: [(&str, u64); 5] = [
    ("hundred", 100),
    ("thousand", 1000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
];

/// The tokens of `text`; `None` where something in it is not understood or it is too long.
pub fn tokens(text: &str, reading: Reading) -> Option<Vec<Token>> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
        depth: 0,
        nesting: 0,
        sided: None,
        spaced_lists: text.contains(", "),
        matrices: 0,
        reading,
        out: Vec::new(),
    };
    lexer.run()?;
    (lexer.matrices == 0).then_some(lexer.out)
}

fn is_among(names: &str, name: &str) -> bool {
    names.split_whitespace().any(|n| n == name)
}

/// Whether a factorial may follow, before `=`.
fn is_factor_end(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, ')' | '}' | '!')
}

fn is_unit(letters: &str) -> bool {
    let mut chars = letters.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => LETTER_UNITS.contains(c),
        _ => is_among(SHORT_UNITS, letters),
    }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    /// Of parentheses and brackets: inside, commas do not separate thousands.
    depth: usize,
    nesting: usize,
    /// `\left` or `\right` stood before, which tells on which side a bar is.
    sided: Option<bool>,
    /// Commas with a space behind them separate, so that those without may group digits.
    spaced_lists: bool,
    /// Matrices that are open.
    matrices: usize,
    reading: Reading,
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

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c))
    }

    fn skip_spaces(&mut self) {
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn push(&mut self, token: Token) {
        self.out.push(token);
    }

    fn one(&mut self, c: char) -> Option<()> {
        if c.is_ascii_digit() || (c == '.' && (self.is_digit(1) || self.starts_with(".\\overline"))) {
            return self.number();
        }
        if c.is_ascii_alphabetic() {
            return self.letters();
        }
        let sided = self.sided.take();
        self.at += 1;
        match c {
            c if c.is_whitespace() => self.sided = sided,
            '$' | '€' | '£' | '~' | '\u{200b}' => {}
            '°' => self.push(Token::Sign('°')),
            '\\' => {
                self.sided = sided;
                self.command()?;
            }
            '(' | '[' | '{' => self.open(c),
            ')' | ']' | '}' => self.close(c)?,
            '!' if self.peek(0) == Some('=') && self.at > 1 && !is_factor_end(self.chars[self.at - 2]) => {
                self.at += 1;
                self.push(Token::Relation('≠'));
            }
            '_' if self.parenthesised_base() => {}
            '+' | '/' | '^' | '_' | '%' | '*' | '!' => self.push(Token::Sign(c)),
            '-' | '−' | '–' => self.push(Token::Sign('-')),
            '×' | '·' | '⋅' | '∗' => self.push(Token::Sign('*')),
            '÷' => self.push(Token::Sign('/')),
            '±' => self.push(Token::Sign('±')),
            '∓' => self.push(Token::Sign('∓')),
            '<' | '>' if self.peek(0) == Some('=') => {
                self.at += 1;
                self.push(Token::Relation(if c == '<' { '≤' } else { '≥' }));
            }
            '=' | '<' | '>' | '≤' | '≥' | '≠' | '∈' | '≈' => self.push(Token::Relation(c)),
            ',' | ';' => self.push(Token::Comma),
            ':' => self.push(Token::Colon),
            '&' => self.push(Token::Column),
            '∪' => self.push(Token::Union),
            '∩' => self.push(Token::Intersection),
            '|' => self.push(match sided {
                None => Token::Bar,
                Some(false) => Token::Open('|'),
                Some(true) => Token::Close('|'),
            }),
            // The prime of f'(x).
            '\'' | '′' | '’' => match self.out.last_mut() {
                Some(Token::Symbol(name)) => name.push('\''),
                _ => return None,
            },
            '√' => self.root(),
            'π' => self.push(Token::Symbol("pi".into())),
            '∞' => self.push(Token::Symbol("infty".into())),
            '∅' => self.push(Token::Symbol("emptyset".into())),
            'ℝ' => self.push(Token::Symbol("set R".into())),
            // `\left.`, and the end of a sentence.
            '.' if sided.is_some() => {}
            '.' if self.chars[self.at..].iter().all(|c| c.is_whitespace() || *c == '$') => {}
            c if superscript(c).is_some() => {
                self.at -= 1;
                self.superscripts();
            }
            c if vulgar(c).is_some() => {
                let (n, d) = vulgar(c).expect("it was just looked at");
                let pieces = [
                    Token::Command("frac"),
                    Token::Number(RBig::from(n)),
                    Token::Number(RBig::from(d)),
                ];
                self.out.extend(pieces);
            }
            c if c.is_alphabetic() => self.push(Token::Symbol(greek(c))),
            _ => return None,
        }
        Some(())
    }

    fn open(&mut self, c: char) {
        self.depth += usize::from(c != '{');
        self.push(Token::Open(c));
    }

    fn close(&mut self, c: char) -> Option<()> {
        self.depth = self.depth.saturating_sub(usize::from(c != '}'));
        // `{}` is nothing.
        if c == '}' && self.out.last() == Some(&Token::Open('{')) {
            self.out.pop();
            return Some(());
        }
        self.push(Token::Close(c));
        Some(())
    }

    fn digits(&mut self) -> String {
        let start = self.at;
        while self.is_digit(0) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    /// Whether the last token is a number, or a unit over which another stands.
    fn measures(&self) -> bool {
        matches!(
            self.out.as_slice(),
            [.., Token::Words(_), Token::Sign('/' | '*')]
                | [.., Token::Number(_) | Token::Close('}') | Token::Sign('°')]
        )
    }

    /// Whether a unit can end here: nothing goes on that would multiply.
    fn quantity_ends(&self) -> bool {
        let rest = self.chars[self.at..].iter().find(|c| !c.is_whitespace());
        rest.is_none_or(|c| {
            matches!(
                c,
                '^' | '/' | ',' | ';' | '.' | '}' | ')' | ']' | '=' | '$' | '²' | '³' | '·'
            )
        }) || self.starts_with("\\cdot")
    }

    /// A run of letters: a word, a unit, or variables.
    fn letters(&mut self) -> Option<()> {
        let start = self.at;
        let upper = self.peek(0).is_some_and(|c| c.is_ascii_uppercase());
        if upper && let Some(based @ Token::Based(..)) = self.based().filter(|_| self.at > start) {
            self.push(based);
            return Some(());
        }
        while self.peek(0).is_some_and(|c| c.is_ascii_alphabetic()) {
            self.at += 1;
        }
        let run: String = self.chars[start..self.at].iter().collect();
        // `25\pi cm`; a single letter there is rather a variable.
        let behind_pi = run.len() > 1 && self.out.last() == Some(&Token::Symbol("pi".into()));
        if (self.measures() || behind_pi) && is_unit(&run) && self.quantity_ends() {
            // Behind a digit or a brace it is rather a variable.
            let glued = self.chars[..start].last().is_some_and(|c| c.is_ascii_digit())
                || self.out.last() == Some(&Token::Close('}'));
            let long = run.len() > 1;
            let least = if glued { Units::Glued } else { Units::Spaced };
            if long || self.reading.units >= least {
                self.push(Token::Words(run));
                return Some(());
            }
        }
        if self.call(&run)? {
            return Some(());
        }
        match run.as_str() {
            "sqrt" => {
                self.root();
                return Some(());
            }
            "pi" | "infty" | "theta" | "alpha" | "beta" => self.push(Token::Symbol(run)),
            "inf" | "infinity" | "oo" => self.push(Token::Symbol("infty".into())),
            "or" => self.push(Token::Or),
            "and" => self.push(Token::And),
            _ => {
                let variables = run.len() < 3 || (run.len() == 3 && run.chars().all(|c| "abcnkxyz".contains(c)));
                if !variables || matches!(run.to_ascii_lowercase().as_str(), "no") {
                    self.words(&run);
                } else {
                    self.out.extend(run.chars().map(|c| Token::Symbol(c.into())));
                }
            }
        }
        Some(())
    }

    /// Whether `name` is a function; `None` where it is one that is not understood.
    fn call(&mut self, name: &str) -> Option<bool> {
        if is_among(
            "max min gcd lcm det dim lim limsup liminf sup inf mod Re Im arg tr rank sgn",
            name,
        ) && name != "inf"
        {
            return None;
        }
        let Some(function) = Function::named(name) else {
            return Some(false);
        };
        self.push(Token::Function(function));
        Some(true)
    }

    /// Text: words that join others before them, a lone letter as itself.
    fn words(&mut self, text: &str) {
        let bare = text.trim().trim_matches(['(', ')', '.', ',', ':', ';']).trim();
        let mut chars = bare.chars();
        if let (Some(letter), None) = (chars.next(), chars.next()) {
            let measures = self.measures()
                || matches!(self.out.last(), Some(Token::Close(_)))
                || self.out.last() == Some(&Token::Symbol("pi".into()));
            let unit = self.reading.units >= Units::Spaced && measures && is_unit(bare);
            let token = if unit {
                Token::Words(bare.into())
            } else {
                Token::Symbol(letter.into())
            };
            return self.push(token);
        }
        let words = bare.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some((_, factor)) = MULTIPLIERS
            .iter()
            .find(|(word, _)| *word == words || words.starts_with(&format!("{word} ")))
            && matches!(self.out.last(), Some(Token::Number(_)))
        {
            return self.out.extend([Token::Sign('*'), Token::Number(RBig::from(*factor))]);
        }
        match (words.as_str(), self.out.last_mut()) {
            ("", _) => {}
            ("percent" | "per cent" | "percentage" | "pct", Some(Token::Number(_) | Token::Close(_))) => {
                self.push(Token::Sign('%'));
            }
            ("and", _) => self.push(Token::And),
            ("or", _) => self.push(Token::Or),
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
        if matches!(name.as_str(), "left" | "right") {
            self.sided = Some(name == "right");
            return Some(());
        }
        if name.is_empty() {
            return self.escaped();
        }
        self.sided = None;
        if is_among(LOOKS, &name) {
            return Some(());
        }
        if is_among(TEXTS, &name) {
            return self.text();
        }
        if self.call(&name)? {
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
            "binom" | "dbinom" | "tbinom" => {
                self.push(Token::Command("binom"));
                self.single_digits(2);
            }
            "choose" => self.push(Token::Sign('C')),
            "sqrt" => self.root(),
            "cdot" | "times" | "ast" => self.push(Token::Sign('*')),
            "div" => self.push(Token::Sign('/')),
            "pm" => self.push(Token::Sign('±')),
            "mp" => self.push(Token::Sign('∓')),
            "lt" => self.push(Token::Relation('<')),
            "gt" => self.push(Token::Relation('>')),
            "le" | "leq" | "leqslant" => self.push(Token::Relation('≤')),
            "ge" | "geq" | "geqslant" => self.push(Token::Relation('≥')),
            "ne" | "neq" => self.push(Token::Relation('≠')),
            "in" => self.push(Token::Relation('∈')),
            "approx" => self.push(Token::Relation('≈')),
            "cup" => self.push(Token::Union),
            "cap" => self.push(Token::Intersection),
            "setminus" | "backslash" => self.push(Token::Minus),
            "colon" => self.push(Token::Colon),
            "lor" | "vee" => self.push(Token::Or),
            "land" | "wedge" => self.push(Token::And),
            "lbrace" => self.open('S'),
            "rbrace" => self.close('S')?,
            "langle" => self.open('('),
            "rangle" => self.close(')')?,
            "lfloor" => self.open('⌊'),
            "rfloor" => self.close('⌊')?,
            "lceil" => self.open('⌈'),
            "rceil" => self.close('⌈')?,
            "lvert" => self.push(Token::Open('|')),
            "rvert" => self.push(Token::Close('|')),
            "mid" | "vert" => self.push(Token::Bar),
            "degree" | "degrees" => self.push(Token::Sign('°')),
            "circ" => self.degree(),
            "imath" => self.push(Token::Symbol("i".into())),
            "mathbb" | "mathcal" => {
                let set = self.group()?;
                self.push(Token::Symbol(format!("set {}", set.trim())));
            }
            "R" | "reals" => self.push(Token::Symbol("set R".into())),
            "varnothing" => self.push(Token::Symbol("emptyset".into())),
            "begin" => self.begin()?,
            "end" => self.end()?,
            "top" | "intercal" => self.push(Token::Symbol("T".into())),
            _ if is_among(SYMBOLS, name) => self.push(Token::Symbol(name.into())),
            _ => return None,
        }
        Some(())
    }

    fn begin(&mut self) -> Option<()> {
        let kind = self.group()?;
        match kind.as_str() {
            "pmatrix" | "bmatrix" | "Bmatrix" | "matrix" | "smallmatrix" => {}
            "array" => {
                self.skip_spaces();
                if self.peek(0) == Some('[') {
                    while self.peek(0)? != ']' {
                        self.at += 1;
                    }
                    self.at += 1;
                }
                self.group()?;
            }
            _ => return None,
        }
        self.matrices += 1;
        self.push(Token::Begin);
        Some(())
    }

    fn end(&mut self) -> Option<()> {
        self.group()?;
        self.matrices = self.matrices.checked_sub(1)?;
        self.push(Token::End);
        Some(())
    }

    /// What stands behind a backslash and is no letter.
    fn escaped(&mut self) -> Option<()> {
        let c = self.peek(0)?;
        self.at += 1;
        let sided = self.sided.take();
        match c {
            '{' => self.open('S'),
            '}' => self.close('S')?,
            '%' => self.push(Token::Sign('%')),
            '|' if sided == Some(false) => self.push(Token::Open('|')),
            '|' if sided == Some(true) => self.push(Token::Close('|')),
            '|' => self.push(Token::Bar),
            '\\' if self.matrices > 0 => {
                self.push(Token::Row);
                self.row_space();
            }
            '$' | '!' | ',' | ';' | ':' | ' ' | '(' | ')' | '[' | ']' | '\n' | '&' => {}
            _ => return None,
        }
        Some(())
    }

    /// The space behind a row, `[4pt]`.
    fn row_space(&mut self) {
        if self.peek(0) != Some('[') {
            return;
        }
        let close = self.chars[self.at..].iter().position(|c| *c == ']');
        let inner = close.map(|close| &self.chars[self.at + 1..self.at + close]);
        let units = ["pt", "em", "ex", "mm", "cm"].map(|unit| unit.chars().collect::<Vec<char>>());
        if let Some(close) = close.filter(|_| inner.is_some_and(|i| units.iter().any(|u| i.ends_with(u)))) {
            self.at += close + 1;
        }
    }

    /// `^\circ` and `^{\circ}` are degrees.
    fn degree(&mut self) {
        if self.out.last() == Some(&Token::Open('{')) && self.peek(0) == Some('}') {
            self.out.pop();
            self.at += 1;
        }
        if self.out.last() == Some(&Token::Sign('^')) {
            self.out.pop();
            self.push(Token::Sign('°'));
        } else {
            self.push(Token::Sign('°'));
        }
    }

    /// The raw text of the braces that follow, or of one character.
    fn group(&mut self) -> Option<String> {
        self.skip_spaces();
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
        if content
            .trim()
            .chars()
            .all(|c| c.is_ascii_digit() || c.is_ascii_uppercase())
        {
            let at = self.at;
            if let Some(based) = self.base().and_then(|base| based(content.trim().into(), base)) {
                self.push(based);
                return Some(());
            }
            self.at = at;
        }
        if content.trim() == ":" {
            self.push(Token::Colon);
            return Some(());
        }
        let is_mathematics = |c: char| c.is_ascii_digit() || matches!(c, '\\' | '=' | '+' | '^');
        let is_list = content.contains(',') && content.split(',').all(|part| !part.trim().is_empty());
        if !content.contains(is_mathematics) && !is_list {
            let bare = content.trim();
            if matches!(bare, "cis") || Function::named(bare).is_some() {
                return self.call(bare).map(|_| ());
            }
            self.words(&content);
            return Some(());
        }
        if self.nesting == MAX_NESTING {
            return None;
        }
        let outer = std::mem::replace(&mut self.chars, content.chars().collect());
        let at = std::mem::replace(&mut self.at, 0);
        self.nesting += 1;
        let done = self.run();
        self.nesting -= 1;
        self.chars = outer;
        self.at = at;
        done
    }

    fn root(&mut self) {
        self.push(Token::Command("sqrt"));
        self.single_digits(1);
    }

    /// `\frac12` is one half and `\sqrt23` is √2·3: arguments without braces are single digits.
    fn single_digits(&mut self, count: usize) {
        for _ in 0..count {
            self.skip_spaces();
            let Some(digit) = self.peek(0).and_then(|c| c.to_digit(10)) else {
                return;
            };
            self.at += 1;
            self.push(Token::Number(RBig::from(digit)));
        }
    }

    /// `x²`, `10⁻³`.
    fn superscripts(&mut self) {
        self.out.extend([Token::Sign('^'), Token::Open('{')]);
        if self.peek(0) == Some('⁻') {
            self.at += 1;
            self.push(Token::Sign('-'));
        }
        let mut digits = String::new();
        while let Some(digit) = self.peek(0).and_then(superscript).filter(|d| *d != '-') {
            digits.push(digit);
            self.at += 1;
        }
        let value = decimal(&digits, "", 0).unwrap_or(RBig::ZERO);
        self.out.extend([Token::Number(value), Token::Close('}')]);
    }
}

fn superscript(c: char) -> Option<char> {
    let at = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻".chars().position(|s| s == c)?;
    "0123456789-".chars().nth(at)
}

fn vulgar(c: char) -> Option<(u8, u8)> {
    Some(match c {
        '½' => (1, 2),
        '⅓' => (1, 3),
        '⅔' => (2, 3),
        '¼' => (1, 4),
        '¾' => (3, 4),
        '⅕' => (1, 5),
        '⅛' => (1, 8),
        _ => return None,
    })
}

/// Greek letters by their names, other letters as they are.
fn greek(c: char) -> String {
    let names = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma sigma \
                 tau upsilon phi chi psi omega";
    let at = (c as u32).checked_sub('α' as u32).map(|i| i as usize);
    let name = at.and_then(|at| names.split_whitespace().nth(at));
    name.map_or_else(|| c.into(), str::to_owned)
}
