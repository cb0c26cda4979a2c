//! What a loop map says: which cells gain, how sure that is, and whether it holds elsewhere.

use serde::Serialize;

use super::records::{MapHeader, QuestionScores, TransferScores};
use super::{Cell, Measure};
use crate::eval::statistics::{bootstrap_ratio, max_t};
use crate::program::Program;

/// Questions from which on a difference has an interval: fewer say nothing of others.
pub const FEWEST: usize = 5;

/// A p that is small enough.
pub const SMALL_P: f64 = 0.05;

/// How the report is made of the scores.
#[derive(Clone, Copy, Debug)]
pub struct ReportSettings {
    /// What differences are taken in.
    pub measure: Measure,
    /// Cells chosen on half of the questions, listed, and taken to other questions, at most.
    pub best: usize,
    /// Of intervals and permutations.
    pub seed: u64,
}

/// A difference to the standard program on the same questions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Over the questions, in the report's measure.
    pub mean: f64,
    /// 95 %, by the bootstrap over questions; none of fewer than [`FEWEST`].
    pub interval: Option<(f64, f64)>,
}

impl Difference {
    /// Of one number a question; none without questions.
    pub fn of(differences: &[f64], seed: u64) -> Option<Difference> {
        let interval = || {
            let clusters: Vec<(f64, f64)> = differences.iter().map(|&d| (d, 1.0)).collect();
            bootstrap_ratio(&clusters, seed)
        };
        (!differences.is_empty()).then(|| Difference {
            interval: (differences.len() >= FEWEST).then(interval).flatten(),
            mean: mean(differences.iter().copied()),
        })
    }
}

/// Where a cell stands in the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shade {
    /// Chosen on one half of the questions and better on the other.
    Survives,
    /// The interval lies above 0.
    Gains,
    /// The interval holds 0, or there is none yet.
    Unclear,
    /// The interval lies below 0; by quarters of the greatest loss, from 0.
    Loses(usize),
}

/// Half of the questions each: chosen on the first, tested on the second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Halves {
    /// Mean difference on the half on which cells were chosen.
    pub chosen_on: f64,
    /// Mean difference on the other half.
    pub tested_on: f64,
    /// Of the second, corrected for the number of cells chosen.
    pub p: f64,
}

impl Halves {
    /// Whether the cell is better on the half on which it was not chosen.
    pub fn survive(&self) -> bool {
        self.tested_on > 0.0 && self.p <= SMALL_P
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellReport {
    /// Which block.
    pub cell: Cell,
    /// The program that runs it twice.
    pub program: Program,
    /// Share of right answers, 0 to 1.
    pub accuracy: f64,
    /// Mean of how far the right choice's score is above the best other.
    pub margin: f64,
    /// Mean score of the right choice.
    pub log_likelihood: f64,
    /// In the measure.
    pub difference: Difference,
    /// Questions that became right, or wrong.
    pub fixed: usize,
    /// Questions that became wrong.
    pub broken: usize,
    /// Corrected for looking at all cells.
    pub p: f64,
    /// Of cells that were chosen on the first half.
    pub halves: Option<Halves>,
    /// Whether it was chosen on one half of the questions and is better on the other.
    pub survives: bool,
}

/// Chosen cells on the questions of another file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TransferReport {
    /// The other file's name, without its ending.
    pub task: String,
    /// Asked of it.
    pub questions: usize,
    /// The standard program's mean in the measure.
    pub standard: f64,
    /// One for each of [`MapReport::chosen`].
    pub cells: Vec<TransferCell>,
}

/// One cell there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TransferCell {
    /// To the standard program, in the measure.
    pub difference: Difference,
    /// Corrected for the number of cells.
    pub p: f64,
}

/// The whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MapReport {
    /// The model's name.
    pub model: String,
    /// L; of a looped model its executions.
    pub layers: usize,
    /// Of the second time that a block runs; 1 is whole.
    pub damping: f64,
    /// The name of the file of questions, without its ending.
    pub task: String,
    /// Asked of it.
    pub questions: usize,
    /// What differences are taken in.
    pub measure: Measure,
    /// The standard program.
    pub accuracy: f64,
    /// The standard program's: how far the right choice's score is above the best other, mean.
    pub margin: f64,
    /// The standard program's mean score of the right choice.
    pub log_likelihood: f64,
    /// In the order of [`MapHeader::cells`].
    pub cells: Vec<CellReport>,
    /// Indices of cells that go to other questions: those that survive, or else the best.
    pub chosen: Vec<usize>,
    /// One a file of other questions.
    pub transfers: Vec<TransferReport>,
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

/// Differences to the standard program, a row a question, a column a cell.
fn rows<'s>(scores: impl Iterator<Item = &'s QuestionScores>, measure: Measure) -> Vec<Vec<f64>> {
    let row = |s: &QuestionScores| {
        let standard = s.standard.of(measure);
        s.cells.iter().map(|cell| cell.of(measure) - standard).collect()
    };
    scores.map(row).collect()
}

fn column(rows: &[Vec<f64>], index: usize) -> Vec<f64> {
    rows.iter().map(|row| row[index]).collect()
}

impl MapReport {
    /// Of the map's questions; [`Self::add_transfer`] adds other ones. There is at least one question.
    pub fn new(header: &MapHeader, scores: &[QuestionScores], settings: ReportSettings) -> MapReport {
        let ReportSettings { measure, best, seed } = settings;
        let cells = header.cells();
        let all = rows(scores.iter(), measure);
        let p = max_t(&all, seed);
        let halves = halves(scores, settings);
        let of_standard = |measure| mean(scores.iter().map(|s| s.standard.of(measure)));
        let cell = |(index, &cell): (usize, &Cell)| {
            let score = |s: &QuestionScores| s.cells[index];
            let of = |measure| mean(scores.iter().map(|s| score(s).of(measure)));
            let flips = |to: bool| {
                let flipped = |s: &&QuestionScores| s.standard.correct != to && score(s).correct == to;
                scores.iter().filter(flipped).count()
            };
            let difference = Difference::of(&column(&all, index), seed);
            let none = Difference {
                mean: 0.0,
                interval: None,
            };
            let halves = halves.iter().find(|(at, _)| *at == index).map(|(_, halves)| *halves);
            CellReport {
                cell,
                program: cell.program(header.layers, header.damping),
                accuracy: of(Measure::Accuracy),
                margin: of(Measure::Margin),
                log_likelihood: of(Measure::LogLikelihood),
                difference: difference.unwrap_or(none),
                fixed: flips(true),
                broken: flips(false),
                p: p.get(index).copied().unwrap_or(1.0),
                survives: halves.is_some_and(|halves| halves.survive()),
                halves,
            }
        };
        let mut report = MapReport {
            model: header.model.clone(),
            layers: header.layers,
            damping: header.damping.value(),
            task: header.task.clone(),
            questions: scores.len(),
            measure,
            accuracy: of_standard(Measure::Accuracy),
            margin: of_standard(Measure::Margin),
            log_likelihood: of_standard(Measure::LogLikelihood),
            cells: cells.iter().enumerate().map(cell).collect(),
            chosen: Vec::new(),
            transfers: Vec::new(),
        };
        report.chosen = report.best();
        report.chosen.retain(|&at| report.cells[at].survives);
        if report.chosen.is_empty() {
            report.chosen = report.best();
            report.chosen.truncate(best);
        }
        report
    }

    /// Indices of all cells, the greatest difference first; of equals the shorter block.
    pub fn best(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.cells.len()).collect();
        order.sort_by(|&a, &b| {
            let [a, b] = [a, b].map(|at| &self.cells[at]);
            let by_mean = b.difference.mean.total_cmp(&a.difference.mean);
            by_mean.then(a.cell.length().cmp(&b.cell.length()))
        });
        order
    }

    /// The blocks of [`Self::chosen`].
    pub fn chosen_cells(&self) -> Vec<Cell> {
        self.chosen.iter().map(|&at| self.cells[at].cell).collect()
    }

    /// Adds what the chosen cells came to on the questions of another file; nothing without questions.
    pub fn add_transfer(&mut self, scores: &[TransferScores], seed: u64) {
        let Some(first) = scores.first() else { return };
        let rows = rows(scores.iter().map(|t| &t.scores), self.measure);
        let p = max_t(&rows, seed);
        let cell = |(index, p)| {
            let difference = Difference::of(&column(&rows, index), seed)?;
            Some(TransferCell { difference, p })
        };
        self.transfers.push(TransferReport {
            task: first.task.clone(),
            questions: scores.len(),
            standard: mean(scores.iter().map(|t| t.scores.standard.of(self.measure))),
            cells: p.into_iter().enumerate().filter_map(cell).collect(),
        });
    }

    /// The standard program in the measure.
    pub fn standard(&self) -> f64 {
        match self.measure {
            Measure::Accuracy => self.accuracy,
            Measure::Margin => self.margin,
            Measure::LogLikelihood => self.log_likelihood,
        }
    }

    /// Where each cell stands in the picture.
    pub fn shades(&self) -> Vec<Shade> {
        let greatest = greatest_loss(self.cells.iter().map(|cell| cell.difference.mean));
        let shade = |cell: &CellReport| match cell.survives {
            true => Shade::Survives,
            false => shade(cell.difference, greatest),
        };
        self.cells.iter().map(shade).collect()
    }
}

/// The greatest loss among means, which the others are drawn by.
pub fn greatest_loss(means: impl Iterator<Item = f64>) -> f64 {
    means.fold(0.0, |loss: f64, mean| loss.max(-mean))
}

/// Where a difference stands in the picture, with the greatest loss of all.
pub fn shade(difference: Difference, greatest_loss: f64) -> Shade {
    match difference.interval {
        Some((low, _)) if low > 0.0 => Shade::Gains,
        Some((_, high)) if high < 0.0 => Shade::Loses(((-4.0 * difference.mean / greatest_loss) as usize).min(3)),
        _ => Shade::Unclear,
    }
}

/// Every second question is of the half on which cells are chosen, the others are of the half on which these are tested.
/// Returns the cells chosen, by index.
pub fn halves(scores: &[QuestionScores], settings: ReportSettings) -> Vec<(usize, Halves)> {
    let ReportSettings { measure, best, seed } = settings;
    let [chosen_on, tested_on] = [0, 1].map(|half| rows(scores.iter().skip(half).step_by(2), measure));
    let columns = chosen_on.first().map_or(0, Vec::len);
    let mean_of = |rows: &[Vec<f64>], index: usize| mean(column(rows, index).into_iter());
    let means = (0..columns).map(|index| (index, mean_of(&chosen_on, index)));
    let mut gains: Vec<(usize, f64)> = means.filter(|(_, mean)| *mean > 0.0).collect();
    gains.sort_by(|a, b| b.1.total_cmp(&a.1));
    gains.truncate(best);
    let only = |row: &Vec<f64>| gains.iter().map(|(index, _)| row[*index]).collect();
    let p = max_t(&tested_on.iter().map(only).collect::<Vec<_>>(), seed);
    let halves = gains.iter().zip(p).map(|(&(index, chosen), p)| {
        let tested = mean_of(&tested_on, index);
        (
            index,
            Halves {
                chosen_on: chosen,
                tested_on: tested,
                p,
            },
        )
    });
    halves.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Scoring;
    use crate::program::Damping;
    use crate::search::loop_map::CellScore;

    const LAYERS: usize = 4;

    fn header() -> MapHeader {
        MapHeader {
            format: super::super::records::FORMAT,
            task: "t".into(),
            data_sha256: String::new(),
            model: "m".into(),
            model_sha256: String::new(),
            layers: LAYERS,
            exact: false,
            activations: crate::model::ActivationBits::default(),
            scoring: Scoring::Sum,
            generation: None,
            damping: Damping::NONE,
            longest: LAYERS,
        }
    }

    /// 80 questions; cell 3 gains on all, cell 5 on the first half alone, cell 8 loses, the others differ by nothing.
    fn scores() -> Vec<QuestionScores> {
        let question = |q: usize| {
            let margin = |cell: usize| match cell {
                3 => 0.5 + 0.01 * (q % 7) as f64,
                5 if q.is_multiple_of(2) => 2.0,
                5 => -2.0,
                8 => -1.0,
                _ => 0.0,
            };
            let base = if q.is_multiple_of(4) { 0.25 } else { -0.25 };
            let score = |margin: f64| CellScore::new(margin > 0.0, margin, 2.0 * margin);
            QuestionScores {
                id: format!("q{q}"),
                standard: score(base),
                cells: (0..10).map(|cell| score(base + margin(cell))).collect(),
            }
        };
        (0..80).map(question).collect()
    }

    fn report(measure: Measure, best: usize) -> MapReport {
        MapReport::new(&header(), &scores(), ReportSettings { measure, best, seed: 1 })
    }

    #[test]
    fn what_gains_on_both_halves_survives() {
        for measure in [Measure::Accuracy, Measure::Margin, Measure::LogLikelihood] {
            let report = report(measure, 3);
            let survivors: Vec<usize> = (0..10).filter(|&at| report.cells[at].survives).collect();
            assert_eq!(survivors, [3], "{measure:?}");
            assert_eq!(report.chosen, [3]);
            let lost = report.cells[5].halves.unwrap();
            assert!(lost.chosen_on > 0.0 && lost.tested_on <= 0.0, "{lost:?}");
            assert_eq!(report.cells[8].halves, None, "a loss is not chosen");
            assert!(report.cells[3].p < 0.01 && report.cells[0].p == 1.0);
            assert_eq!(report.best()[0], 3);
            let shades = report.shades();
            assert_eq!(shades[3], Shade::Survives);
            assert_eq!(shades[0], Shade::Unclear);
            assert_eq!(shades[8], Shade::Loses(3));
        }
    }

    #[test]
    fn few_questions_have_no_interval() {
        assert_eq!(Difference::of(&[], 1), None);
        let few = Difference::of(&[1.0; FEWEST - 1], 1).unwrap();
        assert_eq!((few.mean, few.interval, shade(few, 1.0)), (1.0, None, Shade::Unclear));
        let enough = Difference::of(&[1.0; FEWEST], 1).unwrap();
        assert_eq!((enough.interval, shade(enough, 1.0)), (Some((1.0, 1.0)), Shade::Gains));
    }

    #[test]
    fn numbers_by_hand() {
        let report = report(Measure::Accuracy, 3);
        assert_eq!((report.questions, report.accuracy), (80, 0.25));
        // Three questions of four are wrong by 0.25 and turn right.
        let gain = &report.cells[3];
        assert_eq!((gain.fixed, gain.broken, gain.accuracy), (60, 0, 1.0));
        assert_eq!(gain.difference.mean, 0.75);
        let (low, high) = gain.difference.interval.unwrap();
        assert!(low > 0.6 && high < 0.9, "{low} {high}");
        assert_eq!((report.cells[8].fixed, report.cells[8].broken), (0, 20));
        assert!((report.cells[8].log_likelihood - report.log_likelihood + 2.0).abs() < 1e-9);
        assert_eq!(
            gain.program.to_string(),
            Cell::all(LAYERS, LAYERS)[3].program(LAYERS, Damping::NONE).to_string()
        );
    }

    #[test]
    fn where_nothing_survives_the_best_go_to_other_questions() {
        let mut scores = scores();
        for question in &mut scores {
            question.cells[3] = question.standard;
        }
        let settings = ReportSettings {
            measure: Measure::Margin,
            best: 2,
            seed: 1,
        };
        let mut report = MapReport::new(&header(), &scores, settings);
        assert!(report.cells.iter().all(|cell| !cell.survives));
        assert_eq!(report.chosen.len(), 2);
        let other = |q: &QuestionScores| TransferScores {
            task: "other".into(),
            data_sha256: String::new(),
            chosen: report.chosen_cells(),
            scores: QuestionScores {
                cells: vec![q.standard, CellScore::new(true, q.standard.margin + 1.0, 0.0)],
                ..q.clone()
            },
        };
        let transfers: Vec<TransferScores> = scores.iter().take(30).map(other).collect();
        report.add_transfer(&transfers, 1);
        report.add_transfer(&[], 1);
        let [transfer] = &report.transfers[..] else {
            panic!("one transfer was added")
        };
        assert_eq!((transfer.questions, transfer.cells[0].p), (30, 1.0));
        assert!((transfer.cells[1].difference.mean - 1.0).abs() < 1e-9 && transfer.cells[1].p < 0.01);
    }
}
