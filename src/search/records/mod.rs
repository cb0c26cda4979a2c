//! Search records on disk: JSON lines, a header and then one line a question.

mod writer;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

pub use writer::{Existing, RecordWriter};

use super::mcts::{SearchResult, SearchSettings};
use crate::eval::prompts::prompt;
use crate::eval::{Answer, Generation, Question, Scoring};
use crate::program::Program;
use crate::text::escape_controls;

/// Version of the layout of these lines.
pub const FORMAT: u32 = 1;

/// What holds for all records of a file. Files whose headers differ were not made alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordHeader {
    pub format: u32,
    pub task: String,
    /// Of the file of questions.
    pub data_sha256: String,
    pub model: String,
    pub model_sha256: String,
    pub layers: usize,
    /// Whether the model ran in exact f32 arithmetic.
    pub exact: bool,
    pub scoring: Scoring,
    /// How the model wrote its answers; absent where choices were scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    #[serde(flatten)]
    pub settings: SearchSettings,
}

impl RecordHeader {
    /// The first field in which two headers differ: (name, here, there).
    pub fn difference(&self, other: &RecordHeader) -> Option<(String, String, String)> {
        let fields = |header| serde_json::to_value(header).expect("a header has string keys only");
        let (here, there) = (fields(self), fields(other));
        let here = here.as_object().expect("a header is an object");
        let differs = here.iter().find(|(name, value)| there[name.as_str()] != **value);
        differs.map(|(name, value)| {
            let printed = |v: &serde_json::Value| escape_controls(&v.to_string());
            (name.clone(), printed(value), printed(&there[name.as_str()]))
        })
    }
}

/// A program and the margin of the right choice under it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoredProgram {
    pub program: Program,
    pub margin: f64,
}

/// The right answer in a record: the index of a choice, or what was to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Gold {
    Index(usize),
    Text(String),
}

/// What the search found for one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExampleRecord {
    pub id: String,
    pub task: String,
    pub question: String,
    /// None where the model writes its answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    pub answer: Gold,
    pub model: String,
    /// Whether the standard program is right.
    pub baseline: bool,
    /// The training target: the shortest right program, if there is one.
    pub best: Option<Program>,
    /// All right programs, in the order they were reached.
    pub right: Vec<ScoredProgram>,
    /// All others that were evaluated.
    pub wrong: Vec<ScoredProgram>,
    pub simulations: usize,
    pub seed: u64,
}

impl ExampleRecord {
    pub fn new(question: &Question, header: &RecordHeader, result: &SearchResult) -> Self {
        let scored = |correct: bool| {
            let programs = result.evaluated.iter().filter(move |(_, e)| e.correct == correct);
            let scored = programs.map(|(program, e)| ScoredProgram {
                program: program.clone(),
                // Four decimals: enough to rank by, and the same text wherever it is printed.
                margin: (e.margin * 1e4).round() / 1e4,
            });
            scored.collect()
        };
        ExampleRecord {
            id: question.id.clone(),
            task: header.task.clone(),
            question: question.question.clone(),
            choices: question.answer.choices().to_vec(),
            answer: match &question.answer {
                Answer::Choice { right, .. } => Gold::Index(*right),
                Answer::Number(text) | Answer::Math(text) => Gold::Text(text.clone()),
            },
            model: header.model.clone(),
            baseline: result.baseline.correct,
            best: result.best().cloned(),
            right: scored(true),
            wrong: scored(false),
            simulations: result.simulations,
            seed: header.settings.seed,
        }
    }

    /// The prompt that the programs were run on.
    pub fn prompt(&self, header: &RecordHeader) -> String {
        prompt(
            &self.question,
            &self.choices,
            header.scoring,
            header.generation.as_ref(),
        )
    }

    /// Whether the search turned a wrong answer right.
    pub fn corrected(&self) -> bool {
        !self.baseline && self.best.is_some()
    }

    /// Layers that the best program saves, if it is shorter than the model's `layers`.
    pub fn saved(&self, layers: usize) -> Option<usize> {
        let depth = self.best.as_ref()?.depth();
        (depth < layers).then(|| layers - depth)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Header(RecordHeader),
    Example(Box<ExampleRecord>),
}

impl Line {
    fn to_text(&self) -> String {
        serde_json::to_string(self).expect("records have string keys only") + "\n"
    }
}

/// The records of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordFile {
    pub path: PathBuf,
    pub header: RecordHeader,
    pub examples: Vec<ExampleRecord>,
}

/// Reads a file of records. A last line without an end is left out: it is what a kill leaves.
///
/// # Errors
/// Names file and line: damaged lines, another layout version, a missing or second header,
/// programs with layers the model does not have.
pub fn read_records(path: &Path) -> Result<RecordFile> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read the records {}", path.display()))?;
    let (file, _) = parse(path, &bytes)?;
    file.with_context(|| format!("{} holds no records; `drllm-tui search` writes them", path.display()))
}

/// The records in `bytes`, and how many bytes their whole lines take.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Option<RecordFile>, usize)> {
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let mut file: Option<RecordFile> = None;
    for (index, line) in bytes[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
        let place = || format!("{}, line {}", path.display(), index + 1);
        let line: Line = serde_json::from_slice(line)
            .with_context(|| format!("{} is no search record; take the line out or search again", place()))?;
        match (line, &mut file) {
            (Line::Header(header), None) => {
                ensure!(
                    header.format == FORMAT,
                    "{}: records of format {}, this program reads format {FORMAT}; search again",
                    place(),
                    header.format
                );
                file = Some(RecordFile {
                    path: path.to_path_buf(),
                    header,
                    examples: Vec::new(),
                });
            }
            (Line::Header(_), Some(_)) => bail!("{}: a second header; one file holds one search", place()),
            (Line::Example(_), None) => bail!("{}: records begin with their header line", place()),
            (Line::Example(example), Some(file)) => {
                check(&example, file.header.layers).with_context(place)?;
                file.examples.push(*example);
            }
        }
    }
    Ok((file, whole))
}

fn check(example: &ExampleRecord, layers: usize) -> Result<()> {
    let choices = example.choices.len();
    match &example.answer {
        Gold::Index(index) => ensure!(
            *index < choices,
            "the answer is {index}; the question has {choices} choices"
        ),
        Gold::Text(_) => ensure!(
            choices == 0,
            "the answer is a text, but the question has {choices} choices"
        ),
    }
    let scored = example.right.iter().chain(&example.wrong).map(|s| &s.program);
    for program in scored.chain(&example.best) {
        ensure!(
            program.to_actions(layers).is_some(),
            "the program '{program}' is no action vector of {layers} layers: each layer at most twice, in order"
        );
    }
    let found = |best: &Program| example.right.iter().any(|s| s.program == *best);
    ensure!(
        example.best.as_ref().is_none_or(found),
        "the best program is none of the right ones"
    );
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
