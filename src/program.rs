//! Layer programs: which blocks a forward pass executes, in which order.
//!
//! A *program* is the ordered list of layer indices a pass runs; the *standard program* of an
//! `L`-layer decoder is `0, 1, …, L-1`. Dr.LLM (arXiv 2510.12773) decides one [`Action`] per layer,
//! an action vector, which expands to a program; PoLar (arXiv 2606.06574) repeats whole segments.
//! Both are written in one text form, see [`Program::parse`].
//!
//! ```
//! use drllm::program::{Action, Program};
//!
//! // Of a decoder with 12 layers: layer 3 skipped, layer 7 twice, layers 9 and 10 twice as a segment.
//! let program = Program::parse("0-2 4-6 7x2 8 (9-10)x2 11", 12)?;
//! assert_eq!(program.layers(), [0, 1, 2, 4, 5, 6, 7, 7, 8, 9, 10, 9, 10, 11]);
//! assert_eq!(program.depth(), 14);
//!
//! let mut actions = vec![Action::Execute; 12];
//! actions[3] = Action::Skip;
//! assert_eq!(Program::from_actions(&actions).to_string(), "0-2 4-11");
//!
//! let error = Program::parse("0-2 12", 12).unwrap_err();
//! assert!(error.to_string().contains("column 5"), "{error}");
//! # Ok::<(), drllm::program::ProgramError>(())
//! ```

pub mod segments;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// What happens at one layer. The discriminant is Dr.LLM's class index, and also the number of
/// times the block is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The block is left out: h ← h.
    Skip = 0,
    /// The block runs once: h ← B(h).
    Execute = 1,
    /// The block runs twice in a row: h ← B(B(h)).
    Repeat = 2,
}

impl Action {
    /// All actions in class order: skip, execute, repeat.
    pub const ALL: [Action; 3] = [Action::Skip, Action::Execute, Action::Repeat];

    /// Number of block executions, 0 to 2; also the class index.
    pub fn executions(self) -> usize {
        self as usize
    }

    /// The action that executes a block `n` times; more than twice counts as repeat.
    pub fn from_executions(n: usize) -> Action {
        Action::ALL[n.min(2)]
    }

    /// `skip`, `execute` or `repeat`.
    pub fn name(self) -> &'static str {
        match self {
            Action::Skip => "skip",
            Action::Execute => "execute",
            Action::Repeat => "repeat",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Action {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "skip" | "0" => Ok(Action::Skip),
            "execute" | "exec" | "1" => Ok(Action::Execute),
            "repeat" | "2" => Ok(Action::Repeat),
            _ => Err(format!(
                "unknown action '{}': expected skip, execute or repeat",
                s.escape_default()
            )),
        }
    }
}

/// Why a program text was refused. Columns count characters from 1.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the messages")]
pub enum ProgramError {
    /// Something else than the grammar has there.
    #[error("column {column}: expected {expected}, found {found}")]
    Syntax {
        column: usize,
        expected: &'static str,
        found: String,
    },
    /// A layer that the model lacks.
    #[error("column {column}: there is no layer {layer}; this model has layers 0-{last}")]
    UnknownLayer { column: usize, layer: usize, last: usize },
    /// A range whose end comes before its beginning.
    #[error("column {column}: the range {from}-{to} runs backwards; write the smaller layer first")]
    Backwards { column: usize, from: usize, to: usize },
    /// More block executions than a program may have.
    #[error("column {column}: the program is longer than {limit} block executions, twice the model's layers")]
    TooLong { column: usize, limit: usize },
}

impl ProgramError {
    /// The same mistake in a text that has `by` more characters before the program.
    pub fn moved(mut self, by: usize) -> ProgramError {
        use ProgramError::*;
        let (Syntax { column, .. } | UnknownLayer { column, .. } | Backwards { column, .. } | TooLong { column, .. }) =
            &mut self;
        *column += by;
        self
    }
}

/// Layers that a model is taken to have while it is not known which one it will be.
pub const MOST_LAYERS: usize = 4096;

/// An ordered list of layer indices. The empty program is legal: embeddings go straight to the
/// final norm. Prints and serialises in the text form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Program(Vec<usize>);

impl Program {
    /// The unmodified model: every one of `layers` once, in order.
    pub fn standard(layers: usize) -> Program {
        Program((0..layers).collect())
    }

    /// A program from layer indices in execution order.
    pub fn from_layers(layers: impl IntoIterator<Item = usize>) -> Program {
        Program(layers.into_iter().collect())
    }

    /// Expands an action vector: layer `l` stands `actions[l].executions()` times in a row.
    pub fn from_actions(actions: &[Action]) -> Program {
        Program(
            actions
                .iter()
                .enumerate()
                .flat_map(|(layer, a)| std::iter::repeat_n(layer, a.executions()))
                .collect(),
        )
    }

    /// The action vector of length `layers`, if the program is one: layers in ascending order,
    /// none more than twice.
    pub fn to_actions(&self, layers: usize) -> Option<Vec<Action>> {
        let ordered = self.0.windows(2).all(|w| w[0] <= w[1]);
        let counts = self.executions(layers);
        (ordered && counts.iter().all(|&n| n <= 2) && self.0.iter().all(|&l| l < layers))
            .then(|| counts.into_iter().map(Action::from_executions).collect())
    }

    /// How often each of `layers` layers stands in the program.
    pub fn executions(&self, layers: usize) -> Vec<usize> {
        let mut counts = vec![0; layers];
        for &layer in self.0.iter().filter(|&&l| l < layers) {
            counts[layer] += 1;
        }
        counts
    }

    /// Layer indices in execution order.
    pub fn layers(&self) -> &[usize] {
        &self.0
    }

    /// Depth: the number of block executions.
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is run between embedding and head.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `(layer, n)` for each execution: the n-th (from 0) time that layer is run in this program.
    /// Every pair has KV slots of its own.
    pub fn passes(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let mut seen = vec![0; self.0.iter().max().map_or(0, |m| m + 1)];
        self.0.iter().map(move |&layer| {
            seen[layer] += 1;
            (layer, seen[layer] - 1)
        })
    }

    /// Parses the text form: items separated by spaces or commas; `7` one layer, `3-9` an
    /// inclusive range, `7x2` a layer twice in a row, `(4-6)x2` a segment twice. The empty text
    /// is the empty program.
    ///
    /// # Errors
    /// Unknown layers, typos (with the column and what was expected) and programs longer than
    /// `2 * layers` are refused.
    pub fn parse(text: &str, layers: usize) -> Result<Program, ProgramError> {
        Parser::new(text, layers).program()
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items = Vec::new();
        let mut at = 0;
        while at < self.0.len() {
            let (item, used) = next_item(&self.0[at..]);
            items.push(item);
            at += used;
        }
        f.pad(&items.join(" "))
    }
}

/// The text of the first item of `rest` and how many executions it stands for.
fn next_item(rest: &[usize]) -> (String, usize) {
    let range = |run: &[usize]| match run {
        [one] => one.to_string(),
        _ => format!("{}-{}", run[0], run[run.len() - 1]),
    };
    let ascending = rest.windows(2).take_while(|w| w[1] == w[0] + 1).count() + 1;
    let (run, after) = rest.split_at(ascending);
    // A run that goes back into itself may end in a repeated segment, which is an item of its own:
    // `0-6 7x2`, not `0-7 7`, and `8 (9-10)x2`, not `8-10 9-10`.
    let back = after
        .first()
        .and_then(|next| run.iter().position(|layer| layer == next));
    let segment = back.map(|at| &run[at..]).filter(|segment| after.starts_with(segment));
    let Some(segment) = segment else {
        return (range(run), ascending);
    };
    if segment.len() < ascending {
        let before = ascending - segment.len();
        return (range(&run[..before]), before);
    }
    let times = rest
        .chunks_exact(ascending)
        .take_while(|chunk| *chunk == segment)
        .count();
    let text = match ascending {
        1 => format!("{}x{times}", segment[0]),
        _ => format!("({})x{times}", range(segment)),
    };
    (text, times * ascending)
}

impl Serialize for Program {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Program {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        // The model is not known here; a trace's header is checked against its own layer count.
        Program::parse(&text, MOST_LAYERS).map_err(serde::de::Error::custom)
    }
}

struct Parser<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    /// Characters consumed so far.
    consumed: usize,
    layers: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, layers: usize) -> Self {
        Parser {
            chars: text.chars().peekable(),
            consumed: 0,
            layers,
        }
    }

    fn program(mut self) -> Result<Program, ProgramError> {
        let mut out = Vec::new();
        let limit = 2 * self.layers;
        self.separators();
        while self.peek().is_some() {
            let column = self.column();
            let (body, times) = self.item()?;
            if out.len().saturating_add(body.len().saturating_mul(times)) > limit {
                return Err(ProgramError::TooLong { column, limit });
            }
            out.extend(body.repeat(times));
            if !self.separators() && self.peek().is_some() {
                return Err(self.syntax("a space or comma between items"));
            }
        }
        Ok(Program(out))
    }

    /// One item: its layers and how often they run.
    fn item(&mut self) -> Result<(Vec<usize>, usize), ProgramError> {
        if self.eat('(') {
            self.separators();
            let segment = self.range()?;
            self.separators();
            if !self.eat(')') {
                return Err(self.syntax("')' after the segment"));
            }
            if !self.eat('x') {
                return Err(self.syntax("'x' and how often the segment runs"));
            }
            return Ok((segment, self.times()?));
        }
        let range = self.range()?;
        if self.peek() == Some('x') && range.len() > 1 {
            return Err(self.syntax("parentheses around a repeated segment, like (4-6)x2"));
        }
        let times = if self.eat('x') { self.times()? } else { 1 };
        Ok((range, times))
    }

    fn range(&mut self) -> Result<Vec<usize>, ProgramError> {
        let column = self.column();
        let from = self.layer()?;
        if !self.eat('-') {
            return Ok(vec![from]);
        }
        let to = self.layer()?;
        if from > to {
            return Err(ProgramError::Backwards { column, from, to });
        }
        Ok((from..=to).collect())
    }

    fn layer(&mut self) -> Result<usize, ProgramError> {
        let column = self.column();
        let layer = self.number("a layer number, a range like 3-9 or a segment like (4-6)x2")?;
        if layer >= self.layers {
            let last = self.layers.saturating_sub(1);
            return Err(ProgramError::UnknownLayer { column, layer, last });
        }
        Ok(layer)
    }

    fn times(&mut self) -> Result<usize, ProgramError> {
        let column = self.column();
        match self.number("a number after 'x'")? {
            0 => Err(ProgramError::Syntax {
                column,
                expected: "a repetition of at least 1 (leave a layer out to skip it)",
                found: "'0'".into(),
            }),
            times => Ok(times),
        }
    }

    fn number(&mut self, expected: &'static str) -> Result<usize, ProgramError> {
        let mut value: Option<usize> = None;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.next();
            let shifted = value.unwrap_or(0).saturating_mul(10);
            value = Some(shifted.saturating_add(digit as usize));
        }
        value.ok_or_else(|| self.syntax(expected))
    }

    /// Skips separators; whether there were any.
    fn separators(&mut self) -> bool {
        let before = self.consumed;
        while self.peek().is_some_and(|c| c == ',' || c.is_whitespace()) {
            self.next();
        }
        self.consumed > before
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().copied()
    }

    fn next(&mut self) {
        self.chars.next();
        self.consumed += 1;
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    fn column(&self) -> usize {
        self.consumed + 1
    }

    fn syntax(&mut self, expected: &'static str) -> ProgramError {
        let found = match self.peek() {
            Some(c) => format!("'{}'", c.escape_default()),
            None => "the end".into(),
        };
        ProgramError::Syntax {
            column: self.column(),
            expected,
            found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layers(text: &str) -> Vec<usize> {
        Program::parse(text, 30).unwrap().0
    }

    #[test]
    fn parses_every_form() {
        assert_eq!(layers("0-3"), [0, 1, 2, 3]);
        assert_eq!(layers(" 7, 3-4 5x2,(8-9)x2 "), [7, 3, 4, 5, 5, 8, 9, 8, 9]);
        assert_eq!(layers(""), [0; 0]);
        assert_eq!(layers("(4)x3"), [4, 4, 4]);
        assert_eq!(Program::parse("0-29", 30).unwrap(), Program::standard(30));
    }

    #[test]
    fn prints_compactly() {
        let show = |text: &str| Program::parse(text, 30).unwrap().to_string();
        assert_eq!(Program::standard(30).to_string(), "0-29");
        assert_eq!(show("0-6 7 7 8-11 13-29"), "0-6 7x2 8-11 13-29");
        assert_eq!(show("4 5 6 4 5 6"), "(4-6)x2");
        assert_eq!(show("8 9 10 9 10 11"), "8 (9-10)x2 11");
        assert_eq!(show("(8-10)x3 11 11"), "(8-10)x3 11x2");
        assert_eq!(show("0-3 2-4"), "0-1 (2-3)x2 4");
        assert_eq!(show(""), "");
        assert_eq!(show("9 8 7"), "9 8 7");
    }

    #[test]
    fn errors_name_the_column() {
        let error = |text: &str| Program::parse(text, 30).unwrap_err().to_string();
        assert!(error("0-11 13-30").starts_with("column 9: there is no layer 30"));
        assert!(error("0-5 x").starts_with("column 5: expected a layer number"));
        assert!(error("9-3").starts_with("column 1: the range 9-3 runs backwards"));
        assert!(error("4-6x2").contains("parentheses around a repeated segment"));
        assert!(error("3;4").starts_with("column 2: expected a space or comma"));
        assert!(error("(1-2").ends_with("found the end"));
        assert!(error("7x0").starts_with("column 3"));
        assert!(error("0-29 0-29 0").starts_with("column 11: the program is longer than 60"));
        assert!(error("1x99999999999999999999999").contains("longer than"));
        assert!(error("99999999999999999999999").contains("no layer"));
        assert!(error("1\u{1b}").contains("\\u{1b}"));
    }

    #[test]
    fn actions_and_passes() {
        use Action::*;
        let program = Program::from_actions(&[Execute, Skip, Repeat]);
        assert_eq!(program.layers(), [0, 2, 2]);
        assert_eq!(program.to_actions(3), Some(vec![Execute, Skip, Repeat]));
        assert_eq!(Program::from_layers([1, 0]).to_actions(2), None);
        assert_eq!(Program::from_layers([0, 0, 0]).to_actions(2), None);
        let passes: Vec<_> = Program::from_layers([4, 5, 4, 5]).passes().collect();
        assert_eq!(passes, [(4, 0), (5, 0), (4, 1), (5, 1)]);
    }

    proptest! {
        #[test]
        fn text_round_trips(layers in proptest::collection::vec(0usize..30, 0..60)) {
            let program = Program::from_layers(layers);
            prop_assert_eq!(Program::parse(&program.to_string(), 30).unwrap(), program);
        }

        #[test]
        fn segments_print_as_segments(parts in proptest::collection::vec((1usize..5, 0usize..3), 1..8)) {
            let mut start = 0;
            let cut: Vec<segments::Segment> = parts.into_iter().map(|(length, executions)| {
                let action = Action::from_executions(executions);
                start += length;
                segments::Segment { start: start - length, length, action }
            }).collect();
            let program = segments::expand(&cut);
            let text = program.to_string();
            prop_assert_eq!(&Program::parse(&text, start).unwrap(), &program);
            for s in cut.iter().filter(|s| s.action == Action::Repeat) {
                let item = match s.length {
                    1 => format!("{}x2", s.start),
                    _ => format!("({}-{})x2", s.start, s.start + s.length - 1),
                };
                prop_assert!(text.split(' ').any(|i| i == item), "{text} has no {item}");
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
            if let Ok(program) = Program::parse(&text, 30) {
                prop_assert!(program.depth() <= 60);
            }
        }
    }
}
