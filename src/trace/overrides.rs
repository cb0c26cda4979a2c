//! Overrides as a small text file: read, written, applied to the settings of a run.
//!
//! ```text
//! # half the depth, the last layers once
//! scope token
//! budget 26
//! pin 28=execute
//! off pin 12@40-60=repeat  # no better
//! ```
//!
//! One item a line: a keyword and its value, the values being those of the command line. `off `
//! before it keeps an item without carrying it out, `#` begins a comment. See docs/headless.md.

use std::fmt;

use thiserror::Error;

use crate::program::{Program, ProgramError, greatest_depth};
use crate::text::escape_controls;
use crate::trace::{ExcludedExpert, KvMode, Pin, Scope, Settings};

/// One thing that is decided otherwise.
#[derive(Clone, Debug, PartialEq)]
pub enum Override {
    /// When routers decide.
    Scope(Scope),
    /// What a token leaves in a layer that it skips.
    Kv(KvMode),
    /// −1 to 1.
    Dial(f64),
    /// Greatest depth of a token, at least 1.
    Budget(usize),
    /// A fixed program.
    Program(Program),
    /// Of the sampling.
    Seed(u64),
    /// One layer, at all tokens or some.
    Pin(Pin),
    /// An expert that no token may go to.
    ExcludeExpert(ExcludedExpert),
}

impl Override {
    /// Whether several of the kind may hold.
    pub fn may_be_many(&self) -> bool {
        matches!(self, Override::Pin(_) | Override::ExcludeExpert(_))
    }
}

/// The keywords, in the order in which settings are written.
const KEYWORDS: &str = "scope, kv, dial, budget, program, seed, pin or exclude";

/// An override in the list.
#[derive(Clone, Debug, PartialEq)]
pub struct OverrideItem {
    /// What is decided otherwise.
    pub what: Override,
    /// Whether it is carried out.
    pub on: bool,
    /// The comment behind it; empty for none.
    pub note: String,
}

/// A line of the file. Blank lines are not kept.
#[derive(Clone, Debug, PartialEq)]
pub enum OverrideLine {
    /// A line of its own, without its sign.
    Comment(String),
    /// An override.
    Item(OverrideItem),
}

/// A list of overrides, in the file's order. Of several pins on a cell the last one holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// As they stand in the file.
    pub lines: Vec<OverrideLine>,
}

/// Why a file was refused. Lines and columns count from 1, columns in characters.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OverridesError {
    /// A line that is no override.
    #[error("line {line}, column {column}: {message}")]
    Item {
        /// Where it is.
        line: usize,
        /// Where in the line.
        column: usize,
        /// What was expected.
        message: String,
    },
    /// A program that is none.
    #[error("line {line}, {error}")]
    Program {
        /// Where it is.
        line: usize,
        /// Where in the line, and what was expected.
        error: ProgramError,
    },
}

impl Overrides {
    /// Reads the text form for a model of `layers` layers.
    ///
    /// # Errors
    /// The first line that is none, with the column and what was expected; a layer that the model
    /// does not have; a second item of a kind of which one holds, unless it is switched off.
    pub fn parse(text: &str, layers: usize) -> Result<Overrides, OverridesError> {
        let mut lines: Vec<OverrideLine> = Vec::new();
        let mut numbers: Vec<usize> = Vec::new();
        for (number, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let Some(line) = parse_line(text, number, layers)? else {
                continue;
            };
            let rival = lines.iter().position(|other| excludes(other, &line));
            if let Some(first) = rival.map(|index| numbers[index]) {
                return Err(OverridesError::Item {
                    line: number,
                    column: indent(text) + 1,
                    message: format!("line {first} says this already: write `off ` before one of them"),
                });
            }
            lines.push(line);
            numbers.push(number);
        }
        Ok(Overrides { lines })
    }

    /// What is carried out, in order.
    pub fn active(&self) -> impl Iterator<Item = &Override> {
        self.lines.iter().filter_map(|line| match line {
            OverrideLine::Item(item) if item.on => Some(&item.what),
            _ => None,
        })
    }

    /// The KV mode that is named, if one is.
    pub fn kv(&self) -> Option<KvMode> {
        self.active().find_map(|what| match what {
            Override::Kv(kv) => Some(*kv),
            _ => None,
        })
    }

    /// Writes what is carried out over `settings`; pins go behind those that are there.
    pub fn apply(&self, settings: &mut Settings) {
        for what in self.active() {
            match what {
                Override::Scope(scope) => settings.scope = *scope,
                Override::Kv(kv) => settings.kv = *kv,
                Override::Dial(dial) => settings.dial = *dial,
                Override::Budget(budget) => settings.budget = Some(*budget),
                Override::Program(program) => settings.program = Some(program.clone()),
                Override::Seed(seed) => settings.sampling.seed = *seed,
                Override::Pin(pin) => settings.pins.push(*pin),
                Override::ExcludeExpert(expert) => settings.exclude(*expert),
            }
        }
    }
}

impl From<&Settings> for Overrides {
    /// What `settings` decide, so that it can be replayed: scope, KV mode and dial always, the seed
    /// where tokens are drawn at random.
    fn from(settings: &Settings) -> Overrides {
        let sampling = &settings.sampling;
        let always = [
            Override::Scope(settings.scope),
            Override::Kv(settings.kv),
            Override::Dial(settings.dial),
        ];
        let all = always
            .into_iter()
            .chain(settings.budget.map(Override::Budget))
            .chain(settings.program.clone().map(Override::Program))
            .chain((sampling.temperature > 0.0).then_some(Override::Seed(sampling.seed)))
            .chain(settings.pins.iter().copied().map(Override::Pin))
            .chain(settings.excluded_experts.iter().copied().map(Override::ExcludeExpert));
        let line = |what| {
            OverrideLine::Item(OverrideItem {
                what,
                on: true,
                note: String::new(),
            })
        };
        Overrides {
            lines: all.map(line).collect(),
        }
    }
}

impl fmt::Display for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for OverrideLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OverrideLine::Comment(text) => f.write_str(format!("# {}", escape_controls(text)).trim_end()),
            OverrideLine::Item(item) => {
                let off = if item.on { "" } else { "off " };
                write!(f, "{off}{}", item.what)?;
                match item.note.is_empty() {
                    true => Ok(()),
                    false => write!(f, "  # {}", escape_controls(&item.note)),
                }
            }
        }
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Override::Scope(scope) => write!(f, "scope {scope}"),
            Override::Kv(kv) => write!(f, "kv {kv}"),
            Override::Dial(dial) => write!(f, "dial {dial}"),
            Override::Budget(budget) => write!(f, "budget {budget}"),
            Override::Program(program) if program.is_empty() => write!(f, "program"),
            Override::Program(program) => write!(f, "program {program}"),
            Override::Seed(seed) => write!(f, "seed {seed}"),
            Override::Pin(pin) => write!(f, "pin {pin}"),
            Override::ExcludeExpert(expert) => write!(f, "exclude {expert}"),
        }
    }
}

/// Whether two lines cannot both be carried out: of all but pins and excluded experts there is one.
fn excludes(a: &OverrideLine, b: &OverrideLine) -> bool {
    let kind = |line: &OverrideLine| match line {
        OverrideLine::Item(item) if item.on && !item.what.may_be_many() => Some(std::mem::discriminant(&item.what)),
        _ => None,
    };
    kind(a).is_some() && kind(a) == kind(b)
}

/// A line, unless it is blank.
fn parse_line(text: &str, line: usize, layers: usize) -> Result<Option<OverrideLine>, OverridesError> {
    let (body, comment) = match text.split_once('#') {
        Some((body, comment)) => (body, Some(comment.trim().to_owned())),
        None => (text, None),
    };
    if body.trim().is_empty() {
        return Ok(comment.map(OverrideLine::Comment));
    }
    let mut words = Words { rest: body, column: 1 };
    let mut keyword = words.next();
    let on = keyword.text != "off";
    if !on {
        keyword = words.next();
    }
    let what = parse_override(keyword, words.remainder(), layers).map_err(|mistake| match mistake {
        Mistake::Program(error) => OverridesError::Program { line, error },
        Mistake::Other { column, message } => OverridesError::Item { line, column, message },
    })?;
    Ok(Some(OverrideLine::Item(OverrideItem {
        what,
        on,
        note: comment.unwrap_or_default(),
    })))
}

enum Mistake {
    Program(ProgramError),
    Other { column: usize, message: String },
}

fn parse_override(keyword: Word, value: Word, layers: usize) -> Result<Override, Mistake> {
    let last = layers.saturating_sub(1);
    match keyword.text {
        "scope" => match value.text {
            "prompt" => Ok(Override::Scope(Scope::Prompt)),
            "token" => Ok(Override::Scope(Scope::Token)),
            _ => Err(value.instead_of("prompt or token")),
        },
        "kv" => match KvMode::ALL.into_iter().find(|mode| mode.name() == value.text) {
            Some(mode) => Ok(Override::Kv(mode)),
            None => Err(value.instead_of("ragged or fill")),
        },
        "dial" => match value.text.parse::<f64>() {
            Ok(dial) if (-1.0..=1.0).contains(&dial) => Ok(Override::Dial(dial)),
            _ => Err(value.instead_of("a number from -1 (skip all) to 1 (repeat all); -0.5 is the router itself")),
        },
        "budget" => match value.text.parse() {
            Ok(budget) if (1..=greatest_depth(layers)).contains(&budget) => Ok(Override::Budget(budget)),
            _ => Err(value.instead_of("a number of block executions from 1 to twice the model's layers")),
        },
        "program" => Program::parse(value.text, layers)
            .map(Override::Program)
            .map_err(|error| Mistake::Program(error.moved(value.column - 1))),
        "seed" => match value.text.parse() {
            Ok(seed) => Ok(Override::Seed(seed)),
            Err(_) => Err(value.instead_of("a whole number from 0 on")),
        },
        "pin" => match value.text.parse::<Pin>() {
            Ok(pin) if pin.layer > last => Err(Mistake::Other {
                column: value.column,
                message: format!("there is no layer {}; this model has layers 0-{last}", pin.layer),
            }),
            Ok(pin) => Ok(Override::Pin(pin)),
            Err(message) => Err(Mistake::Other {
                column: value.column,
                message,
            }),
        },
        "exclude" => match value.text.parse() {
            Ok(expert) => Ok(Override::ExcludeExpert(expert)),
            Err(message) => Err(Mistake::Other {
                column: value.column,
                message,
            }),
        },
        _ => Err(keyword.instead_of(KEYWORDS)),
    }
}

/// Most characters of a file's text in a message: a file may be anything.
const SHOWN: usize = 40;

/// A part of a line and the column where it begins.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    column: usize,
}

impl Word<'_> {
    fn instead_of(self, expected: &str) -> Mistake {
        let found = match self.text {
            "" => "the end of the line".to_owned(),
            text => {
                let more = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
                let short: String = text.chars().take(SHOWN).collect();
                format!("'{}{more}'", short.escape_default())
            }
        };
        Mistake::Other {
            column: self.column,
            message: format!("expected {expected}, found {found}"),
        }
    }
}

struct Words<'a> {
    rest: &'a str,
    column: usize,
}

impl<'a> Words<'a> {
    /// The next word; empty at the end.
    fn next(&mut self) -> Word<'a> {
        let rest = self.remainder();
        let end = rest.text.find(char::is_whitespace).unwrap_or(rest.text.len());
        let text = &rest.text[..end];
        self.column = rest.column + text.chars().count();
        self.rest = &rest.text[end..];
        Word { text, ..rest }
    }

    /// All that is left, without the space around it.
    fn remainder(&self) -> Word<'a> {
        Word {
            text: self.rest.trim(),
            column: self.column + indent(self.rest),
        }
    }
}

/// Characters of space at the beginning.
fn indent(text: &str) -> usize {
    text.chars().take_while(|c| c.is_whitespace()).count()
}

#[cfg(test)]
mod tests;
