//! The loop map: what running a block of neighbouring layers twice does, for every block (spec §9).
//!
//! A [`Cell`] is a block; its program is the standard one, but for the block, which runs twice in a row, the second time
//! damped where that is asked for. `records` keeps what questions came to under all cells, `report` says which cells
//! gain, `picture` draws the triangle of cells, `watch` tells the engine's worker of a map as it fills.

pub mod picture;
pub mod records;
pub mod report;
pub mod watch;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{Evaluate, WritingEvaluator};
use crate::engine::sequence::Stopped;
use crate::eval::{ChoiceScorer, EncodedQuestion, GenerationSettings, Question, Scoring};
use crate::model::Model;
use crate::program::{Damping, Program, StepSize};

pub use records::{MapHeader, MapWriter, QuestionScores, TransferScores};
pub use report::{MapReport, ReportSettings};

/// A block of neighbouring layers, from its first to its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(usize, usize)", into = "(usize, usize)")]
pub struct Cell {
    /// From 0.
    pub first: usize,
    /// Not before `first`.
    pub last: usize,
}

impl Cell {
    /// All blocks of at most `longest` of a model's `layers`, by their first layer, then by their last.
    pub fn all(layers: usize, longest: usize) -> Vec<Cell> {
        let from =
            |first: usize| (first..layers.min(first.saturating_add(longest))).map(move |last| Cell { first, last });
        (0..layers).flat_map(from).collect()
    }

    /// Layers of the block.
    pub fn length(self) -> usize {
        self.last + 1 - self.first
    }

    /// The program that runs the block twice.
    pub fn program(self, layers: usize, damping: Damping) -> Program {
        Program::repeating(layers, self.first..=self.last, damping)
    }
}

impl From<(usize, usize)> for Cell {
    fn from((first, last): (usize, usize)) -> Cell {
        Cell { first, last }
    }
}

impl From<Cell> for (usize, usize) {
    fn from(cell: Cell) -> (usize, usize) {
        (cell.first, cell.last)
    }
}

/// `7` or `4-6`.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => f.pad(&self.first.to_string()),
            false => f.pad(&format!("{}-{}", self.first, self.last)),
        }
    }
}

/// By what cells are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Share of right answers
    #[default]
    Accuracy,
    /// How far the right choice's score is above the best other, in nats
    Margin,
    /// The right choice's score, in nats
    LogLikelihood,
}

impl Measure {
    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Accuracy => "accuracy",
            Measure::Margin => "margin",
            Measure::LogLikelihood => "log-likelihood",
        }
    }

    /// The unit of differences.
    pub fn unit(self) -> &'static str {
        match self {
            Measure::Accuracy => "points",
            Measure::Margin | Measure::LogLikelihood => "nats",
        }
    }

    /// A difference in this unit, with its sign.
    pub fn signed(self, difference: f64) -> String {
        match self {
            Measure::Accuracy => format!("{:+.1}", 100.0 * difference),
            Measure::Margin | Measure::LogLikelihood => format!("{difference:+.3}"),
        }
    }

    /// A mean in this measure.
    pub fn mean(self, mean: f64) -> String {
        match self {
            Measure::Accuracy => format!("{:.1} %", 100.0 * mean),
            Measure::Margin | Measure::LogLikelihood => format!("{mean:.3}"),
        }
    }
}

/// The least that a score is taken for: a program may drive the state out of all bounds.
const LEAST: f64 = -1000.0;

/// What one question came to under one program.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u8, f64, f64)", into = "(u8, f64, f64)")]
pub struct CellScore {
    /// Whether the answer is right.
    pub correct: bool,
    /// How far the right choice's score is above the best other; of a written answer 1 or −1.
    pub margin: f64,
    /// The right choice's score; of a written answer 0.
    pub log_likelihood: f64,
}

impl CellScore {
    /// Numbers are kept to four decimals, so that they are the same read back.
    pub fn new(correct: bool, margin: f64, log_likelihood: f64) -> CellScore {
        let kept = |x: f64| match x.is_finite() {
            true => (x.max(LEAST) * 1e4).round() / 1e4,
            false => LEAST,
        };
        CellScore {
            correct,
            margin: kept(margin),
            log_likelihood: kept(log_likelihood),
        }
    }

    /// Its number in a measure.
    pub fn of(&self, measure: Measure) -> f64 {
        match measure {
            Measure::Accuracy => f64::from(u8::from(self.correct)),
            Measure::Margin => self.margin,
            Measure::LogLikelihood => self.log_likelihood,
        }
    }
}

impl From<(u8, f64, f64)> for CellScore {
    fn from((correct, margin, log_likelihood): (u8, f64, f64)) -> CellScore {
        CellScore {
            correct: correct != 0,
            margin,
            log_likelihood,
        }
    }
}

impl From<CellScore> for (u8, f64, f64) {
    fn from(score: CellScore) -> (u8, f64, f64) {
        (u8::from(score.correct), score.margin, score.log_likelihood)
    }
}

/// Scores one question under the standard program, which `tell` hears of without a cell, and then under those of
/// `cells`; `None` when stopped.
///
/// # Errors
/// As [`EncodedQuestion::for_model`] and of a written answer.
pub fn score_question(
    model: &Model,
    question: &Question,
    judged: (Scoring, Option<&GenerationSettings>),
    (cells, damping): (&[Cell], Damping),
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Option<Cell>, CellScore),
) -> Result<Option<QuestionScores>> {
    let scored = match judged {
        (_, Some(generation)) => written(model, question, generation, (cells, damping), stop, tell),
        (scoring, None) => {
            let encoded = EncodedQuestion::for_model(question, model, scoring)?;
            let scorer = ChoiceScorer::new(&model.decoder, &encoded)?;
            let shared = SharedStates::new(&scorer, encoded.answer(), scoring, model.info.layers, stop);
            shared.and_then(|shared| shared.score((cells, damping), tell))
        }
    };
    let (standard, cells) = match scored {
        Err(e) if e.is::<Stopped>() => return Ok(None),
        scored => scored?,
    };
    Ok(Some(QuestionScores {
        id: question.id.clone(),
        standard,
        cells,
    }))
}

/// The standard program's score, and those of the cells.
type Scores = (CellScore, Vec<CellScore>);

/// A written answer needs its KV cache, and its programs share nothing.
fn written(
    model: &Model,
    question: &Question,
    generation: &GenerationSettings,
    (cells, damping): (&[Cell], Damping),
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Option<Cell>, CellScore),
) -> Result<Scores> {
    let mut evaluator = WritingEvaluator {
        model,
        question,
        generation,
        stop,
    };
    let layers = model.info.layers;
    let mut score = |cell: Option<Cell>| -> Result<CellScore> {
        let program = cell.map_or(Program::standard(layers), |cell| cell.program(layers, damping));
        let found = evaluator.evaluate(&program)?;
        let score = CellScore::new(found.correct, found.margin, 0.0);
        tell(cell, score);
        Ok(score)
    };
    let standard = score(None)?;
    let cells = cells.iter().map(|&cell| score(Some(cell))).collect::<Result<_>>()?;
    Ok((standard, cells))
}

/// The hidden states of the standard program before each layer and after the last: what a cell's program shares with
/// it are all executions up to the block's last layer.
struct SharedStates<'a> {
    scorer: &'a ChoiceScorer<'a>,
    answer: usize,
    scoring: Scoring,
    states: Vec<Tensor>,
    stop: &'a AtomicBool,
}

impl<'a> SharedStates<'a> {
    fn new(
        scorer: &'a ChoiceScorer<'a>,
        answer: usize,
        scoring: Scoring,
        layers: usize,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let mut shared = SharedStates {
            scorer,
            answer,
            scoring,
            states: vec![scorer.embed()?],
            stop,
        };
        for layer in 0..layers {
            let state = shared.run(layer, StepSize::WHOLE, &shared.states[layer])?;
            shared.states.push(state);
        }
        Ok(shared)
    }

    fn run(&self, layer: usize, step: StepSize, state: &Tensor) -> Result<Tensor> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Stopped.into());
        }
        self.scorer.take_step(layer, step, state)
    }

    fn finish(&self, state: &Tensor) -> Result<CellScore> {
        let score = self.scorer.finish(state, self.scoring)?;
        Ok(CellScore::new(score.correct, score.margin, score.scores[self.answer]))
    }

    fn score(
        &self,
        (cells, damping): (&[Cell], Damping),
        tell: &mut dyn FnMut(Option<Cell>, CellScore),
    ) -> Result<Scores> {
        let layers = self.states.len() - 1;
        let standard = self.finish(&self.states[layers])?;
        tell(None, standard);
        let mut found = Vec::with_capacity(cells.len());
        for &cell in cells {
            let mut state = self.states[cell.last + 1].clone();
            for layer in cell.first..=cell.last {
                state = self.run(layer, StepSize::new(damping, 1), &state)?;
            }
            for layer in cell.last + 1..layers {
                state = self.run(layer, StepSize::WHOLE, &state)?;
            }
            let score = self.finish(&state)?;
            tell(Some(cell), score);
            found.push(score);
        }
        Ok((standard, found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::{LAYERS, question, tiny_decoder};

    #[test]
    fn every_block_is_a_cell_once() {
        let cells = Cell::all(5, 5);
        assert_eq!(cells.len(), 15);
        assert!(cells.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(cells.iter().all(|cell| cell.first <= cell.last && cell.last < 5));
        let short = Cell::all(5, 2);
        assert_eq!(short.len(), 9);
        assert!(short.iter().all(|cell| cells.contains(cell) && cell.length() <= 2));
        assert_eq!(Cell::all(30, usize::MAX).len(), 465);
        let program = |first, last, a: &str| Cell { first, last }.program(5, a.parse().unwrap()).to_string();
        assert_eq!(program(0, 4, "1"), "(0-4)x2");
        assert_eq!(program(3, 3, "0.5"), "0-2 3x2~0.5 4");
        assert_eq!(Cell { first: 3, last: 4 }.to_string(), "3-4");
    }

    #[test]
    fn a_cell_scores_as_its_program_by_itself() {
        let (decoder, question) = (tiny_decoder(), question());
        let scorer = ChoiceScorer::new(&decoder, &question).unwrap();
        let stop = AtomicBool::new(false);
        let cells = Cell::all(LAYERS, LAYERS);
        let mut standards = Vec::new();
        for damping in ["1", "0.5", "-1"] {
            let damping: Damping = damping.parse().unwrap();
            let shared = SharedStates::new(&scorer, question.answer(), Scoring::Char, LAYERS, &stop).unwrap();
            let mut heard = Vec::new();
            let (standard, found) = shared
                .score((&cells, damping), &mut |cell, score| heard.push((cell, score)))
                .unwrap();
            let alone = |program: &Program| {
                let score = scorer.run(program, Scoring::Char).unwrap();
                CellScore::new(score.correct, score.margin, score.scores[question.answer()])
            };
            assert_eq!(standard, alone(&Program::standard(LAYERS)));
            for (cell, found) in cells.iter().zip(&found) {
                assert_eq!(*found, alone(&cell.program(LAYERS, damping)), "{cell}");
            }
            assert_eq!(heard[0], (None, standard));
            let rest: Vec<_> = cells.iter().copied().map(Some).zip(found.iter().copied()).collect();
            assert_eq!(heard[1..], rest);
            standards.push((standard, found));
        }
        assert!(standards[0].1 != standards[1].1 && standards[1].1 != standards[2].1);
        stop.store(true, Ordering::Relaxed);
        let stopped = SharedStates::new(&scorer, 0, Scoring::Sum, LAYERS, &stop)
            .err()
            .unwrap();
        assert!(stopped.is::<Stopped>());
    }

    #[test]
    fn scores_out_of_bounds_are_kept_as_the_least() {
        for lost in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY, -1e30] {
            let score = CellScore::new(false, lost, lost);
            assert_eq!((score.margin, score.log_likelihood), (LEAST, LEAST));
        }
        let score = CellScore::new(true, 0.123_45, -2.0);
        let line = serde_json::to_string(&score).unwrap();
        assert_eq!(line, "[1,0.1235,-2.0]");
        assert_eq!(serde_json::from_str::<CellScore>(&line).unwrap(), score);
        assert_eq!(
            (
                score.of(Measure::Accuracy),
                score.of(Measure::Margin),
                score.of(Measure::LogLikelihood)
            ),
            (1.0, 0.1235, -2.0)
        );
    }
}
