//! The text form of programs: items, printing, parsing.

use std::fmt;
use std::ops::RangeInclusive;

use super::step_size::{self, Damping, StepSize};
use super::{Program, ProgramError};

/// An item of the text form: neighbouring layers that run in order, and how often they do so in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramItem {
    /// The layers, ascending.
    pub layers: RangeInclusive<usize>,
    /// At least 1.
    pub times: usize,
    /// Of what comes after the first time, where its steps are not whole.
    pub damping: Option<Damping>,
}

impl fmt::Display for ProgramItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.layers.start(), self.layers.end());
        match (from == to, self.times) {
            (true, 1) => write!(f, "{from}")?,
            (true, times) => write!(f, "{from}x{times}")?,
            (false, 1) => write!(f, "{from}-{to}")?,
            (false, times) => write!(f, "({from}-{to})x{times}")?,
        }
        match self.damping {
            None => Ok(()),
            Some(damping) => write!(f, "~{damping}"),
        }
    }
}

impl ProgramItem {
    /// Of `layers`, which are neighbours, `times` times.
    fn new(layers: &[usize], times: usize) -> ProgramItem {
        ProgramItem {
            layers: layers[0]..=layers[layers.len() - 1],
            times,
            damping: None,
        }
    }

    /// Executions that it stands for.
    pub fn depth(&self) -> usize {
        (self.layers.end() + 1 - self.layers.start()) * self.times
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: Vec<String> = self.items().iter().map(ToString::to_string).collect();
        f.pad(&items.join(" "))
    }
}

impl Program {
    /// The items that the text form consists of.
    pub fn items(&self) -> Vec<ProgramItem> {
        let mut items = Vec::new();
        let mut at = 0;
        while at < self.depth() {
            let damped = self.next_damped(at);
            let item = match damped {
                Some((start, damped)) if start == at => damped,
                _ => next_item(&self.layers[at..damped.map_or(self.depth(), |(start, _)| start)]),
            };
            at += item.depth();
            items.push(item);
        }
        items
    }

    /// The first damped repeat that begins at `at` or later, and where. Between two of them lies a whole execution, with
    /// which the second begins, so damped executions that stand together are all of one.
    fn next_damped(&self, at: usize) -> Option<(usize, ProgramItem)> {
        let first = (at..self.steps.len()).find(|&i| !self.steps[i].is_whole())?;
        let (damping, steps) = self.steps[first].parts();
        let executions = self.steps[first..].iter().take_while(|step| !step.is_whole()).count();
        let length = executions / steps;
        let start = first - length;
        let item = ProgramItem {
            damping: Some(damping),
            ..ProgramItem::new(&self.layers[start..first], steps + 1)
        };
        Some((start, item))
    }
}

/// The first item of `rest`.
fn next_item(rest: &[usize]) -> ProgramItem {
    let ascending = rest.windows(2).take_while(|w| w[1] == w[0] + 1).count() + 1;
    let (run, after) = rest.split_at(ascending);
    // A run that goes back into itself may end in a repeated segment, which is an item of its own:
    // `0-6 7x2`, not `0-7 7`, and `8 (9-10)x2`, not `8-10 9-10`.
    let back = after
        .first()
        .and_then(|next| run.iter().position(|layer| layer == next));
    let segment = back.map(|at| &run[at..]).filter(|segment| after.starts_with(segment));
    let Some(segment) = segment else {
        return ProgramItem::new(run, 1);
    };
    if segment.len() < ascending {
        return ProgramItem::new(&run[..ascending - segment.len()], 1);
    }
    let times = rest
        .chunks_exact(ascending)
        .take_while(|chunk| *chunk == segment)
        .count();
    ProgramItem::new(segment, times)
}

/// Reads the text form.
pub(super) struct Parser<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    /// Characters consumed so far.
    consumed: usize,
    layers: usize,
}

impl<'a> Parser<'a> {
    pub fn new(text: &'a str, layers: usize) -> Self {
        Parser {
            chars: text.chars().peekable(),
            consumed: 0,
            layers,
        }
    }

    pub fn program(mut self) -> Result<Program, ProgramError> {
        let mut out = Program::default();
        let limit = super::greatest_depth(self.layers);
        self.separators();
        while self.peek().is_some() {
            let column = self.column();
            let (body, times) = self.item()?;
            let damping = self.damping(times)?;
            if out.depth().saturating_add(body.len().saturating_mul(times)) > limit {
                return Err(ProgramError::TooLong { column, limit });
            }
            out.extend(&body, StepSize::WHOLE);
            let step = match damping {
                Some(damping) => StepSize::new(damping, u16::try_from(times - 1).unwrap_or(u16::MAX)),
                None => StepSize::WHOLE,
            };
            out.extend(&body.repeat(times - 1), step);
            if !self.separators() && self.peek().is_some() {
                return Err(self.syntax("a space or comma between items"));
            }
        }
        Ok(out)
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

    /// What stands behind `~`, after an item that runs `times` times.
    fn damping(&mut self, times: usize) -> Result<Option<Damping>, ProgramError> {
        if self.peek() == Some('~') && times < 2 {
            return Err(self.syntax("'x' and a number of at least 2 before '~', like 7x2~0.5"));
        }
        if !self.eat('~') {
            return Ok(None);
        }
        let column = self.column();
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|&c| c != ',' && !c.is_whitespace()) {
            text.push(c);
            self.next();
        }
        let damping = text.parse().map_err(|_| ProgramError::Syntax {
            column,
            expected: step_size::EXPECTED,
            found: match text.is_empty() {
                true => "nothing".into(),
                false => format!("'{}'", text.chars().take(12).collect::<String>().escape_default()),
            },
        })?;
        Ok(Some(damping))
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
