//! Search records on disk: JSON lines, a header and then one line a question.

mod merge;
mod read;
mod writer;

use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use merge::{Merged, merge};
pub use read::{SKIP_DAMAGED, read_records, read_records_advised, read_records_skipping};
pub use writer::{Existing, RecordWriter};

use super::Shard;
use super::mcts::{SearchResult, SearchSettings};
use crate::eval::prompts::prompt;
use crate::eval::{Answer, GenerationSettings, Question, Scoring};
use crate::line_file::{self, to_line};
use crate::model::ActivationBits;
use crate::program::Program;

/// Version of the layout of these lines.
pub const FORMAT: u32 = 1;

/// What holds for all records of a file. Files whose headers differ were not made alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordHeader {
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
    /// What of the search this file holds, where that is not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<SearchShard>,
    /// The layout these records were imported from: what that does not hold is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<String>,
    /// The numbers of the search.
    #[serde(flatten)]
    pub settings: SearchSettings,
}

/// One shard of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchShard {
    /// Which one, of how many.
    pub shard: Shard,
    /// Of the whole search.
    pub questions: usize,
}

impl RecordHeader {
    /// The first field in which two headers differ: (name, here, there). Which part of a search a
    /// file holds is none of them: what a record means does not depend on it.
    pub fn difference(&self, other: &RecordHeader) -> Option<(String, String, String)> {
        line_file::difference(self, other, &["part"])
    }

    /// What of a search these records are, in words.
    pub fn extent(&self) -> String {
        match self.part {
            Some(part) => format!("shard {} of {} questions", part.shard, part.questions),
            None => "a whole search".to_owned(),
        }
    }
}

/// A program and the margin of the right choice under it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoredProgram {
    /// What the question was run under.
    pub program: Program,
    /// Unknown in records that were imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
}

/// The right answer in a record: the index of a choice, or what was to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Gold {
    /// The right choice, from 0.
    Index(usize),
    /// The number or the mathematics.
    Text(String),
}

impl From<&Answer> for Gold {
    fn from(answer: &Answer) -> Gold {
        match answer {
            Answer::Choice { right, .. } => Gold::Index(*right),
            Answer::Number(text) | Answer::Math(text) => Gold::Text(text.clone()),
        }
    }
}

/// What the search found for one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExampleRecord {
    /// The question's.
    pub id: String,
    /// As in the header.
    pub task: String,
    /// Without choices.
    pub question: String,
    /// None where the model writes its answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// What is right.
    pub answer: Gold,
    /// As in the header.
    pub model: String,
    /// Whether the standard program is right.
    pub baseline: bool,
    /// The training target: the shortest right program, if there is one.
    pub best: Option<Program>,
    /// All right programs, in the order they were reached.
    pub right: Vec<ScoredProgram>,
    /// All others that were evaluated.
    pub wrong: Vec<ScoredProgram>,
    /// How many were carried out; in imported records how many programs there are beside the standard one.
    pub simulations: usize,
    /// As in the header.
    pub seed: u64,
}

impl ExampleRecord {
    /// What a search of `question` found, under the settings of `header`.
    pub fn new(question: &Question, header: &RecordHeader, result: &SearchResult) -> Self {
        let scored = |correct: bool| {
            let programs = result.evaluated.iter().filter(move |(_, e)| e.correct == correct);
            let scored = programs.map(|(program, e)| ScoredProgram {
                program: program.clone(),
                // Four decimals: enough to rank by, and the same text wherever it is printed.
                margin: Some((e.margin * 1e4).round() / 1e4),
            });
            scored.collect()
        };
        ExampleRecord {
            id: question.id.clone(),
            task: header.task.clone(),
            question: question.question.clone(),
            choices: question.answer.choices().to_vec(),
            answer: Gold::from(&question.answer),
            model: header.model.clone(),
            baseline: result.baseline.correct,
            best: result.best().cloned(),
            right: scored(true),
            wrong: scored(false),
            simulations: result.simulations,
            seed: header.settings.seed,
        }
    }

    /// The right answer in words: the text of the choice, or what was to be written.
    pub fn answer_text(&self) -> &str {
        match &self.answer {
            Gold::Index(index) => self.choices.get(*index).map_or("", String::as_str),
            Gold::Text(text) => text,
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
    Header(Box<RecordHeader>),
    Example(Box<ExampleRecord>),
}

/// Writes a header and records as [`RecordWriter`] does, into a file that is made whole.
pub fn write_records<'a>(
    out: &mut dyn Write,
    header: &RecordHeader,
    examples: impl IntoIterator<Item = &'a ExampleRecord>,
) -> std::io::Result<()> {
    out.write_all(to_line(&Line::Header(Box::new(header.clone()))).as_bytes())?;
    for example in examples {
        out.write_all(to_line(&Line::Example(Box::new(example.clone()))).as_bytes())?;
    }
    Ok(())
}

/// The records of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// What holds for all of its records.
    pub header: RecordHeader,
    /// In the order of the file.
    pub examples: Vec<ExampleRecord>,
}

#[cfg(test)]
pub(crate) mod tests;
