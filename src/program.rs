//! Layer programs: which blocks a forward pass executes, in which order.
//!
//! A *program* is the ordered list of layer indices a pass runs; the *standard program* of an
//! `L`-layer decoder is `0, 1, …, L-1`. Dr.LLM (arXiv 2510.12773) decides one [`Action`] per layer,
//! an action vector, which expands to a program; PoLar (arXiv 2606.06574) repeats whole segments.
//! Both are written in one text form, see [`Program::parse`]. An execution may be a step of another size than a whole
//! one, see [`StepSize`].
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
pub mod step_size;
mod text;

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

pub use step_size::{Damping, StepSize};
use text::Parser;
pub use text::ProgramItem;

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

/// Executions of a layer by an action vector, at most: skip, execute or repeat.
pub const MOST_EXECUTIONS: usize = 2;

/// Executions of a program of a model of `layers` layers, at most.
pub const fn greatest_depth(layers: usize) -> usize {
    MOST_EXECUTIONS * layers
}

/// One application of a block, in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The layer whose block it is.
    pub layer: usize,
    /// Which of the layer's executions in this program, from 0. Every pair of layer and this has KV slots of its own.
    pub n: usize,
    /// How much of what the block does is kept.
    pub step: StepSize,
}

/// An ordered list of layer indices, and of the steps that their executions take. The empty program is legal:
/// embeddings go straight to the final norm. Prints and serialises in the text form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Program {
    layers: Vec<usize>,
    /// One for each layer; none where all are whole.
    steps: Vec<StepSize>,
}

impl Program {
    /// The unmodified model: every one of `layers` once, in order.
    pub fn standard(layers: usize) -> Program {
        Program::from_layers(0..layers)
    }

    /// A program from layer indices in execution order.
    pub fn from_layers(layers: impl IntoIterator<Item = usize>) -> Program {
        Program {
            layers: layers.into_iter().collect(),
            steps: Vec::new(),
        }
    }

    /// Expands an action vector: layer `l` stands `actions[l].executions()` times in a row.
    pub fn from_actions(actions: &[Action]) -> Program {
        let layers = actions.iter().enumerate();
        Program::from_layers(layers.flat_map(|(layer, a)| std::iter::repeat_n(layer, a.executions())))
    }

    /// As [`Self::from_actions`], the second execution of each layer damped by what `damping` says of it.
    pub fn from_damped_actions(actions: &[Action], damping: impl Fn(usize) -> Damping) -> Program {
        let mut program = Program::default();
        for (layer, action) in actions.iter().enumerate() {
            for n in 0..action.executions() {
                let step = match n {
                    0 => StepSize::WHOLE,
                    _ => StepSize::new(damping(layer), 1),
                };
                program.extend(&[layer], step);
            }
        }
        program
    }

    /// The standard program of `layers` layers, but for a block of neighbouring layers that runs twice in a row, the
    /// second time damped.
    pub fn repeating(layers: usize, block: RangeInclusive<usize>, damping: Damping) -> Program {
        let mut program = Program::default();
        program.extend(&(0..=*block.end()).collect::<Vec<_>>(), StepSize::WHOLE);
        program.extend(&block.clone().collect::<Vec<_>>(), StepSize::new(damping, 1));
        program.extend(&(block.end() + 1..layers).collect::<Vec<_>>(), StepSize::WHOLE);
        program
    }

    /// Adds executions that take the same step.
    fn extend(&mut self, layers: &[usize], step: StepSize) {
        if layers.is_empty() {
            return;
        }
        if !step.is_whole() || self.is_damped() {
            self.steps.resize(self.layers.len(), StepSize::WHOLE);
            self.steps.resize(self.layers.len() + layers.len(), step);
        }
        self.layers.extend(layers);
    }

    /// Whether an execution is not whole.
    pub fn is_damped(&self) -> bool {
        !self.steps.is_empty()
    }

    /// The action vector of length `layers`, if the program is one: layers in ascending order,
    /// none more than twice, none damped.
    pub fn to_actions(&self, layers: usize) -> Option<Vec<Action>> {
        let (actions, _) = self.to_damped_actions(layers).filter(|_| !self.is_damped())?;
        Some(actions)
    }

    /// As [`Self::to_actions`], where second executions may be damped; with the dampings, one a layer.
    pub fn to_damped_actions(&self, layers: usize) -> Option<(Vec<Action>, Vec<Damping>)> {
        let mut dampings = vec![Damping::NONE; layers];
        for execution in self.passes().filter(|execution| !execution.step.is_whole()) {
            match (execution.n, execution.step.parts()) {
                (1, (damping, 1)) => *dampings.get_mut(execution.layer)? = damping,
                _ => return None,
            }
        }
        let ordered = self.layers.windows(2).all(|w| w[0] <= w[1]);
        let counts = self.executions(layers);
        let once_or_twice = counts.iter().all(|&n| n <= 2) && self.layers.iter().all(|&l| l < layers);
        let actions = counts.into_iter().map(Action::from_executions).collect();
        (ordered && once_or_twice).then_some((actions, dampings))
    }

    /// How often each of `layers` layers stands in the program.
    pub fn executions(&self, layers: usize) -> Vec<usize> {
        let mut counts = vec![0; layers];
        for &layer in self.layers.iter().filter(|&&l| l < layers) {
            counts[layer] += 1;
        }
        counts
    }

    /// Layer indices in execution order.
    pub fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// Depth: the number of block executions.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Whether nothing is run between embedding and head.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The executions in order.
    pub fn passes(&self) -> impl Iterator<Item = Execution> + '_ {
        let mut seen = vec![0; self.layers.iter().max().map_or(0, |m| m + 1)];
        self.layers.iter().enumerate().map(move |(at, &layer)| {
            seen[layer] += 1;
            Execution {
                layer,
                n: seen[layer] - 1,
                step: self.step(at),
            }
        })
    }

    /// The step of the execution at an index of [`Self::layers`].
    fn step(&self, at: usize) -> StepSize {
        self.steps.get(at).copied().unwrap_or(StepSize::WHOLE)
    }

    /// Parses the text form: items separated by spaces or commas; `7` one layer, `3-9` an
    /// inclusive range, `7x2` a layer twice in a row, `(4-6)x2` a segment twice. `7x2~0.5` and `(4-6)x2~0.5` damp what
    /// comes after the first time, `7x3~0.5` in two steps of half of that. The empty text is the empty program.
    ///
    /// # Errors
    /// Unknown layers, typos (with the column and what was expected) and programs longer than
    /// [`greatest_depth`] are refused.
    pub fn parse(text: &str, layers: usize) -> Result<Program, ProgramError> {
        Parser::new(text, layers).program()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layers(text: &str) -> Vec<usize> {
        Program::parse(text, 30).unwrap().layers
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
        let program = Program::from_layers([4, 5, 4, 5]);
        let passes: Vec<_> = program.passes().map(|e| (e.layer, e.n)).collect();
        assert_eq!(passes, [(4, 0), (5, 0), (4, 1), (5, 1)]);
    }

    #[test]
    fn damped_actions_are_programs_and_back() {
        use Action::{Execute, Repeat, Skip};
        let actions = [Execute, Repeat, Skip, Repeat];
        let half: Damping = "0.5".parse().unwrap();
        let damping = |layer| if layer == 1 { half } else { Damping::NONE };
        let program = Program::from_damped_actions(&actions, damping);
        assert_eq!(program.to_string(), "0 1x2~0.5 3x2");
        let dampings = vec![Damping::NONE, half, Damping::NONE, Damping::NONE];
        assert_eq!(program.to_damped_actions(4), Some((actions.to_vec(), dampings)));
        assert_eq!(program.to_actions(4), None);
        let whole = Program::from_damped_actions(&actions, |_| Damping::NONE);
        assert_eq!(whole, Program::from_actions(&actions));
        for text in ["0 1x3~0.5 3", "0 (1-2)x2~0.5 3"] {
            let program = Program::parse(text, 4).unwrap();
            assert_eq!(program.to_damped_actions(4), None, "{text}");
        }
    }

    #[test]
    fn damped_repeats_take_smaller_steps_after_the_first_time() {
        let steps = |text: &str| -> Vec<(usize, usize, f64)> {
            let program = Program::parse(text, 30).unwrap();
            assert_eq!(program.to_string(), text);
            program.passes().map(|e| (e.layer, e.n, e.step.size())).collect()
        };
        assert_eq!(
            steps("6 7x2~0.5 8"),
            [(6, 0, 1.0), (7, 0, 1.0), (7, 1, 0.5), (8, 0, 1.0)]
        );
        assert_eq!(steps("7x3~0.5"), [(7, 0, 1.0), (7, 1, 0.25), (7, 2, 0.25)]);
        assert_eq!(
            steps("(4-5)x2~-1 4"),
            [(4, 0, 1.0), (5, 0, 1.0), (4, 1, -1.0), (5, 1, -1.0), (4, 2, 1.0)]
        );
        assert_eq!(steps("7x3~1"), [(7, 0, 1.0), (7, 1, 0.5), (7, 2, 0.5)]);
        let whole = |text: &str| Program::parse(text, 30).unwrap();
        assert_eq!(whole("7x2~1"), whole("7x2"), "one program has one form");
        assert_eq!(whole("7x3~2"), whole("7x3"));
        assert_ne!(whole("7x2~0.5"), whole("7x2"));
        assert_eq!(whole("7x2~0.5").to_actions(30), None);
        assert_eq!(
            Program::repeating(8, 2..=4, "0.25".parse().unwrap()).to_string(),
            "0-1 (2-4)x2~0.25 5-7"
        );
        assert_eq!(Program::repeating(3, 2..=2, Damping::NONE).to_string(), "0-1 2x2");
    }

    #[test]
    fn dampings_are_refused_at_their_column() {
        let error = |text: &str| Program::parse(text, 30).unwrap_err().to_string();
        for refused in ["nan", "inf", "2.5", "-1.5", "1e3", "\u{1b}", "0.5x2"] {
            let error = error(&format!("0-6 7x2~{refused}"));
            assert!(
                error.starts_with("column 9: expected a damping from -1 to 2"),
                "{error}"
            );
            assert!(!error.contains('\u{1b}'));
        }
        assert!(error("7x2~").ends_with("found nothing"));
        assert!(error("7x2~ 8").ends_with("found nothing"));
        assert!(error("7~0.5").starts_with("column 2: expected 'x' and a number of at least 2 before '~'"));
        assert!(error("7x1~0.5").starts_with("column 4"));
        assert!(error("(4-6)~0.5").starts_with("column 6"));
        assert!(error("7x2~0.5;8").starts_with("column 5"));
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
        fn damped_text_round_trips(items in proptest::collection::vec(
            (0usize..8, 1usize..4, 1usize..5, -1000i32..=2000), 0..8,
        )) {
            let mut text = String::new();
            for (from, length, times, thousandths) in items {
                let to = from + length - 1;
                let damping = f64::from(thousandths) / 1000.0;
                text += &match times {
                    1 => format!("{from}-{to} "),
                    _ => format!("({from}-{to})x{times}~{damping} "),
                };
            }
            let program = Program::parse(&text, 100).unwrap();
            prop_assert_eq!(Program::parse(&program.to_string(), 100).unwrap(), program);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,40}|[0-9x~().,-]{0,30}") {
            if let Ok(program) = Program::parse(&text, 30) {
                prop_assert!(program.depth() <= 60);
                prop_assert_eq!(Program::parse(&program.to_string(), 30).unwrap(), program);
            }
        }
    }
}
