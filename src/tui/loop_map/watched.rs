//! A loop map as it is watched: the triangle so far, and the cell at the cursor.

use super::SearchProgress;
use crate::engine::loop_map::{LoopMapRequest, LoopMapStep};
use crate::engine::{SearchEnd, SearchId};
use crate::program::Program;
use crate::search::loop_map::report::{Difference, Shade, greatest_loss, halves, shade};
use crate::search::loop_map::{Cell, CellScore, Measure, QuestionScores, ReportSettings};

/// Of intervals, and of the test on the other half, as on the command line.
const SEED: u64 = 42;
const CHOSEN: usize = 10;

/// The map.
#[derive(Clone, Debug)]
pub struct WatchedLoopMap {
    /// The number that the worker's events of this map carry.
    pub id: SearchId,
    /// What was asked for.
    pub request: LoopMapRequest,
    /// Whether it goes on.
    pub progress: SearchProgress,
    /// Layers of the model, from any of which a block may begin.
    pub layers: usize,
    /// Questions in all; 0 before the first answer.
    pub questions: usize,
    /// By what cells are compared.
    pub measure: Measure,
    /// The block whose cell is selected.
    pub cursor: Cell,
    /// Whether the cursor goes along.
    pub follow: bool,
    /// Whether the user has put the cursor where it is.
    chosen: bool,
    /// Milliseconds since it began.
    pub ms: f64,
    cells: Vec<Cell>,
    /// A question each, of those that were begun.
    standard: Vec<CellScore>,
    /// By cell, a question each.
    scores: Vec<Vec<CellScore>>,
    /// By cell, in the measure.
    differences: Vec<Option<Difference>>,
    /// By cell: better on the other half too, known in the end.
    survives: Vec<bool>,
}

impl WatchedLoopMap {
    /// Of a model of `layers` layers.
    pub fn new(id: SearchId, request: LoopMapRequest, layers: usize, follow: bool) -> WatchedLoopMap {
        let cells = Cell::all(layers, layers);
        WatchedLoopMap {
            id,
            request,
            progress: SearchProgress::Running,
            layers,
            questions: 0,
            measure: Measure::Margin,
            cursor: Cell { first: 0, last: 0 },
            follow,
            chosen: false,
            ms: 0.0,
            standard: Vec::new(),
            scores: vec![Vec::new(); cells.len()],
            differences: vec![None; cells.len()],
            survives: vec![false; cells.len()],
            cells,
        }
    }

    /// Whether there is more to come.
    pub fn is_running(&self) -> bool {
        self.progress == SearchProgress::Running
    }

    /// All blocks, by their first layer.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Takes in what a question came to under a program.
    pub fn hear(&mut self, step: LoopMapStep) {
        (self.questions, self.ms) = (step.questions, step.ms);
        let score = CellScore {
            correct: step.correct,
            margin: step.margin,
            log_likelihood: step.log_likelihood,
        };
        let Some((first, last)) = step.cell else {
            self.standard.push(score);
            return;
        };
        let cell = Cell { first, last };
        let Some(at) = self
            .index(cell)
            .filter(|&at| self.scores[at].len() < self.standard.len())
        else {
            return;
        };
        self.scores[at].push(score);
        self.differences[at] = self.compute(at);
        if self.follow {
            self.cursor = cell;
        }
    }

    fn index(&self, cell: Cell) -> Option<usize> {
        self.cells.binary_search(&cell).ok()
    }

    fn compute(&self, at: usize) -> Option<Difference> {
        let pairs = self.scores[at].iter().zip(&self.standard);
        let differences: Vec<f64> = pairs
            .map(|(cell, standard)| cell.of(self.measure) - standard.of(self.measure))
            .collect();
        Difference::of(&differences, SEED)
    }

    /// Takes in how it ended: where all of it is there, which cells are better on the other half too.
    pub fn end(&mut self, end: SearchEnd) {
        self.progress = match end {
            SearchEnd::Done => SearchProgress::Done,
            SearchEnd::Stopped => SearchProgress::Stopped,
            SearchEnd::Failed(message) => SearchProgress::Failed(message),
        };
        self.follow = false;
        if !self.chosen
            && let Some((cell, _)) = self.best().first()
        {
            self.cursor = *cell;
        }
        self.test();
    }

    fn test(&mut self) {
        self.survives.fill(false);
        let questions = self.standard.len();
        if self.progress != SearchProgress::Done || self.scores.iter().any(|scores| scores.len() < questions) {
            return;
        }
        let question = |q: usize| QuestionScores {
            id: String::new(),
            standard: self.standard[q],
            cells: self.scores.iter().map(|scores| scores[q]).collect(),
        };
        let scores: Vec<QuestionScores> = (0..questions).map(question).collect();
        let settings = ReportSettings {
            measure: self.measure,
            best: CHOSEN,
            seed: SEED,
        };
        for (at, halves) in halves(&scores, settings) {
            self.survives[at] = halves.survive();
        }
    }

    /// Compares by the next measure.
    pub fn next_measure(&mut self) {
        self.measure = match self.measure {
            Measure::Accuracy => Measure::Margin,
            Measure::Margin => Measure::LogLikelihood,
            Measure::LogLikelihood => Measure::Accuracy,
        };
        self.differences = (0..self.cells.len()).map(|at| self.compute(at)).collect();
        self.test();
    }

    /// The mean of the standard program in the measure.
    pub fn standard(&self) -> Option<f64> {
        let sum: f64 = self.standard.iter().map(|score| score.of(self.measure)).sum();
        (!self.standard.is_empty()).then(|| sum / self.standard.len() as f64)
    }

    /// Questions that the standard program gets right, of those it was asked.
    pub fn right(&self) -> (usize, usize) {
        let right = self.standard.iter().filter(|score| score.correct).count();
        (right, self.standard.len())
    }

    /// Share of all there is to do.
    pub fn share(&self) -> f64 {
        self.done() as f64 / (self.cells.len() * self.questions).max(1) as f64
    }

    /// Cells that were scored, each question by itself.
    pub fn done(&self) -> usize {
        self.scores.iter().map(Vec::len).sum()
    }

    /// Cells a second.
    pub fn rate(&self) -> Option<f64> {
        (self.ms > 0.0 && self.done() > 0).then(|| self.done() as f64 / self.ms * 1e3)
    }

    /// What each cell is drawn as; none where nothing is known.
    pub fn shades(&self) -> Vec<Option<Shade>> {
        let greatest = greatest_loss(self.differences.iter().flatten().map(|d| d.mean));
        let one = |(at, difference): (usize, &Option<Difference>)| match self.survives[at] {
            true => Some(Shade::Survives),
            false => difference.map(|difference| shade(difference, greatest)),
        };
        self.differences.iter().enumerate().map(one).collect()
    }

    /// By cell, whether its mean gains, known or sure or not.
    pub fn gains(&self) -> impl Iterator<Item = bool> + '_ {
        let gains = |difference: &Option<Difference>| difference.is_some_and(|d| d.mean > 0.0);
        self.differences.iter().map(gains)
    }

    /// The cell at the cursor, where something is known of it.
    pub fn selected(&self) -> Option<Selected> {
        let at = self.index(self.cursor)?;
        let flips = |to: bool| {
            let pairs = self.scores[at].iter().zip(&self.standard);
            pairs
                .filter(|(cell, standard)| standard.correct != to && cell.correct == to)
                .count()
        };
        Some(Selected {
            difference: self.differences[at]?,
            questions: self.scores[at].len(),
            fixed: flips(true),
            broken: flips(false),
            shade: self.shades()[at]?,
        })
    }

    /// The program of the cell at the cursor.
    pub fn program(&self) -> Program {
        self.cursor.program(self.layers, self.request.damping)
    }

    /// Cells by their gain, the greatest first, with it; of equals the shorter block.
    pub fn best(&self) -> Vec<(Cell, Difference)> {
        let known = self.cells.iter().zip(&self.differences);
        let mut best: Vec<(Cell, Difference)> = known.filter_map(|(cell, d)| Some((*cell, (*d)?))).collect();
        best.sort_by(|a, b| b.1.mean.total_cmp(&a.1.mean).then(a.0.length().cmp(&b.0.length())));
        best
    }

    /// Goes to the cell of greatest gain; from one of the greatest to the next.
    pub fn to_best(&mut self) {
        let best = self.best();
        let greatest = &best[..best.len().min(CHOSEN)];
        let at = greatest.iter().position(|(cell, _)| *cell == self.cursor);
        if let Some((cell, _)) = greatest.get(at.map_or(0, |at| at + 1)).or(greatest.first()) {
            self.move_to(*cell);
        }
    }

    /// Moves the cursor by rows (first layers) and columns (last layers); along the diagonal it takes the other end of
    /// the block along.
    pub fn move_by(&mut self, rows: isize, columns: isize) {
        (self.follow, self.chosen) = (false, true);
        let end = self.layers.saturating_sub(1);
        let Cell { first, last } = self.cursor;
        let first = first.saturating_add_signed(rows).min(end);
        let last = last.saturating_add_signed(columns).min(end);
        self.cursor = match columns {
            0 => Cell {
                first,
                last: last.max(first),
            },
            _ => Cell {
                first: first.min(last),
                last,
            },
        };
    }

    /// Begins or ends going along, while there is something to come.
    pub fn toggle_follow(&mut self) {
        self.follow = !self.follow && self.is_running();
        self.chosen = !self.follow;
    }

    /// Moves the cursor to a cell.
    pub fn move_to(&mut self, cell: Cell) {
        (self.follow, self.chosen) = (false, true);
        self.cursor = cell;
    }
}

/// What is known of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selected {
    pub difference: Difference,
    pub questions: usize,
    /// Questions that became right, or wrong.
    pub fixed: usize,
    pub broken: usize,
    pub shade: Shade,
}
