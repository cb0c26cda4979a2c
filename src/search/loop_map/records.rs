//! A loop map on disk: JSON lines, a header, then a line a question, then those of the transfer.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{Cell, CellScore};
use crate::eval::{GenerationSettings, Question, Scoring};
use crate::line_file::{Existing, FileWords, LineFile, difference, how_to_go_on, to_line, whole_lines};
use crate::model::ActivationBits;
use crate::program::{Damping, MOST_LAYERS};
use crate::text::{escape_controls, without_mark};

/// Version of the layout of these lines.
pub const FORMAT: u32 = 1;

const WORDS: FileWords = FileWords {
    contents: "loop map",
    writer: "map",
    option: "--out",
};

/// What holds for all lines of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapHeader {
    /// [`FORMAT`] of the program that wrote the file.
    pub format: u32,
    /// The name of the file of questions, without its ending.
    pub task: String,
    /// Of the file of questions.
    pub data_sha256: String,
    /// The model's name.
    pub model: String,
    /// What identifies its weights, hexadecimal.
    pub model_sha256: String,
    /// L; of a looped model its executions.
    pub layers: usize,
    /// Whether the model ran in exact f32 arithmetic.
    pub exact: bool,
    /// To how many bits activations were rounded, where not exact.
    #[serde(default, skip_serializing_if = "ActivationBits::is_usual")]
    pub activations: ActivationBits,
    /// How answers were judged.
    pub scoring: Scoring,
    /// How the model wrote its answers; absent where choices were scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<GenerationSettings>,
    /// Of the second time.
    pub damping: Damping,
    /// Layers of a block, at most.
    pub longest: usize,
}

impl MapHeader {
    /// The cells in the order in which a line has their scores.
    pub fn cells(&self) -> Vec<Cell> {
        Cell::all(self.layers, self.longest)
    }
}

/// What a question of the map came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuestionScores {
    /// The question's id.
    pub id: String,
    /// Under the standard program.
    pub standard: CellScore,
    /// In the order of [`MapHeader::cells`].
    pub cells: Vec<CellScore>,
}

/// What a question of another file came to under chosen cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransferScores {
    /// The other file's name, without its ending.
    pub task: String,
    /// Of the other file.
    pub data_sha256: String,
    /// The cells that were run, in the order of `scores`.
    pub chosen: Vec<Cell>,
    /// Of the question: one for each of `chosen`.
    #[serde(flatten)]
    pub scores: QuestionScores,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    LoopMap(Box<MapHeader>),
    Question(Box<QuestionScores>),
    Transfer(Box<TransferScores>),
}

/// What a file holds already.
#[derive(Debug, Default, PartialEq)]
pub struct Done {
    /// Of the map, in the order of the questions.
    pub questions: Vec<QuestionScores>,
    /// Of other files' questions.
    pub transfers: Vec<TransferScores>,
}

/// Appends lines, each written and synced whole. One process at a time: the file is locked.
pub struct MapWriter {
    lines: LineFile,
}

impl MapWriter {
    /// Opens a file for the scores of `questions`, taken in this order; also returns what it holds already.
    ///
    /// # Errors
    /// An existing file under [`Existing::Refuse`]; a map of other settings or other questions under
    /// [`Existing::Resume`], with the first difference named; a file that another map writes.
    pub fn open(
        path: &Path,
        header: &MapHeader,
        questions: &[Question],
        existing: Existing,
    ) -> Result<(MapWriter, Done)> {
        let mut lines = LineFile::open(path, existing, WORDS)?;
        let bytes = lines.read()?;
        let (done, whole) = match existing {
            Existing::Resume => resume(path, &bytes, header, questions)?,
            Existing::Overwrite | Existing::Refuse => (Done::default(), 0),
        };
        lines.begin(whole, &to_line(&Line::LoopMap(Box::new(header.clone()))))?;
        Ok((MapWriter { lines }, done))
    }

    /// Writes a question's line and waits until it is on the disk.
    pub fn question(&mut self, scores: &QuestionScores) -> Result<()> {
        self.lines.append(&to_line(&Line::Question(Box::new(scores.clone()))))
    }

    /// As [`Self::question`], of the transfer.
    pub fn transfer(&mut self, scores: &TransferScores) -> Result<()> {
        self.lines.append(&to_line(&Line::Transfer(Box::new(scores.clone()))))
    }
}

/// What of `bytes` belongs to this map, and how many bytes its whole lines take.
fn resume(path: &Path, bytes: &[u8], header: &MapHeader, questions: &[Question]) -> Result<(Done, usize)> {
    let whole = whole_lines(bytes);
    let mut done = Done::default();
    for (index, line) in bytes[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
        let place = || format!("{}, line {}", path.display(), index + 1);
        let line = if index == 0 { without_mark(line) } else { line };
        let line: Line = serde_json::from_slice(line)
            .with_context(|| format!("{} is no line of a loop map; {}", place(), how_to_go_on(index + 1)))?;
        match (index, line) {
            (0, Line::LoopMap(found)) => check_header(path, header, &found)?,
            (0, _) => bail!(
                "{}: a loop map begins with its header line; {}",
                place(),
                how_to_go_on(1)
            ),
            (_, Line::LoopMap(_)) => bail!(
                "{}: a second header; one file holds one map: {}",
                place(),
                how_to_go_on(index + 1)
            ),
            (_, Line::Question(scores)) => {
                let expected = questions.get(done.questions.len()).map(|q| q.id.as_str());
                // More lines than this map asks for are no conflict: --limit may be less now.
                ensure!(
                    expected.is_none_or(|id| id == scores.id),
                    "{}: question '{}' where '{}' was expected; these are scores of other questions, or a line is missing: \
                     {}",
                    place(),
                    escape_controls(&scores.id),
                    escape_controls(expected.unwrap_or_default()),
                    how_to_go_on(index + 1)
                );
                let cells = header.cells().len();
                ensure!(
                    scores.cells.len() == cells,
                    "{}: {} cells where {cells} were expected; the line is damaged: {}",
                    place(),
                    scores.cells.len(),
                    how_to_go_on(index + 1)
                );
                done.questions.push(*scores);
            }
            (_, Line::Transfer(scores)) => {
                ensure!(
                    scores.scores.cells.len() == scores.chosen.len(),
                    "{}: {} cells where {} were expected; the line is damaged: {}",
                    place(),
                    scores.scores.cells.len(),
                    scores.chosen.len(),
                    how_to_go_on(index + 1)
                );
                done.transfers.push(*scores);
            }
        }
    }
    Ok((done, whole))
}

fn check_header(path: &Path, header: &MapHeader, found: &MapHeader) -> Result<()> {
    ensure!(
        found.format == FORMAT,
        "{}: a loop map of format {}, this program reads format {FORMAT}; begin anew with --force",
        path.display(),
        found.format
    );
    ensure!(
        (1..=MOST_LAYERS).contains(&found.layers),
        "{}: a loop map of a model of {} layers, 1 to {MOST_LAYERS} are possible; the file is damaged",
        path.display(),
        found.layers
    );
    if let Some((field, here, there)) = difference(header, found, &[]) {
        bail!(
            "{} was made with {field} = {there}, this map has {here}; use the same settings, another --out, or --force \
             to begin anew",
            path.display()
        );
    }
    Ok(())
}
