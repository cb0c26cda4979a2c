//! Questions with answers, from files.

mod layouts;
#[cfg(test)]
mod tests;
mod worked_examples;

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::prompts;
use crate::files;
use crate::router::checkpoint::hex;
use crate::text::{escape_controls, without_mark};

/// A question and what is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// No two are the same in a file; made of its name and the line's number where a line has none.
    pub id: String,
    /// What is asked, without choices.
    pub question: String,
    /// What is right.
    pub answer: Answer,
}

/// The right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// One of several choices; `right` is its index, from 0.
    Choice {
        /// In the file's order.
        choices: Vec<String>,
        /// From 0.
        right: usize,
    },
    /// A number that the model writes, as the file gives it (GSM8K).
    Number(String),
    /// What the model writes into `\boxed{}` (MATH, DART).
    Math(String),
}

impl Question {
    /// Reads one line, see [`Task::load`].
    ///
    /// # Errors
    /// Damaged JSON, an unknown layout, an answer that is none of the choices.
    pub fn parse(line: &str) -> Result<Question> {
        layouts::parse_line(line.as_bytes(), String::new)
    }

    /// What the model reads before a choice whose text is scored: `Question: …\nAnswer:`.
    pub fn prompt(&self) -> String {
        prompts::plain(&self.question)
    }
}

/// Which kind of answers a file asks for; one file holds one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerKind {
    /// One of several given choices.
    Choice,
    /// A number that the model writes.
    Number,
    /// Mathematics that the model writes.
    Math,
}

impl Answer {
    /// Which kind it is.
    pub fn kind(&self) -> AnswerKind {
        match self {
            Answer::Choice { .. } => AnswerKind::Choice,
            Answer::Number(_) => AnswerKind::Number,
            Answer::Math(_) => AnswerKind::Math,
        }
    }

    /// The right answer's text.
    pub fn text(&self) -> &str {
        match self {
            Answer::Choice { choices, right } => &choices[*right],
            Answer::Number(text) | Answer::Math(text) => text,
        }
    }

    /// The choices; none where the model writes its answer freely.
    pub fn choices(&self) -> &[String] {
        match self {
            Answer::Choice { choices, .. } => choices,
            _ => &[],
        }
    }
}

impl AnswerKind {
    fn described(self) -> &'static str {
        match self {
            AnswerKind::Choice => "choices",
            AnswerKind::Number => "a number as its answer",
            AnswerKind::Math => "a mathematical answer",
        }
    }
}

/// The questions of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The file's name without its ending.
    pub name: String,
    /// Of the whole file, hexadecimal.
    pub sha256: String,
    /// At least one, all of one kind.
    pub questions: Vec<Question>,
}

impl Task {
    /// Reads JSON lines in one of these layouts:
    ///
    /// - choices: `{"id", "question", "choices": [text…], "answer": index from 0}`, or AI2's ARC
    ///   layout `{"id", "question": {"stem", "choices": [{"text", "label"}…]}, "answerKey"}`, or that of the
    ///   same questions elsewhere, `{"question", "choices": {"text": […], "label": […]}, "answerKey"}`;
    ///   or HellaSwag's `{"ctx", "endings": [text…], "label"}`, whose text is asked as a question; `expected_index` may
    ///   stand for `answer` and `label`;
    /// - choices in one object for the whole file, of each subject a text of worked examples: those of MMLU that
    ///   lm-evaluation-harness keeps for prompts (`_cot_prompts.json`);
    /// - a number: GSM8K's `{"question", "answer": "… #### number"}`, or `{"prompt", "expected": "number"}`;
    /// - mathematics: `{"problem", "query" or "question"}` with `gt_ans`, `answer`, or a `solution`
    ///   that ends in `\boxed{…}`.
    ///
    /// # Errors
    /// Names file and line: damaged JSON, an unknown layout, an answer that is none of the choices
    /// or cannot be read, ids given twice, a kind of answer other than the first line's, a file
    /// without questions.
    pub fn load(path: &Path) -> Result<Task> {
        let bytes =
            files::read(path, files::DATA).with_context(|| format!("cannot read the questions {}", path.display()))?;
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        let questions = parse(&bytes, &name).with_context(|| format!("in {}", path.display()))?;
        Ok(Task {
            sha256: hex(&Sha256::digest(&bytes)),
            name: name.into_owned(),
            questions,
        })
    }

    /// Which kind of answers its questions have.
    pub fn kind(&self) -> AnswerKind {
        self.questions.first().map_or(AnswerKind::Choice, |q| q.answer.kind())
    }
}

/// The questions in `bytes`; `name` makes ids where a line has none.
fn parse(bytes: &[u8], name: &str) -> Result<Vec<Question>> {
    if let Some(examples) = worked_examples::read(without_mark(bytes)) {
        return examples;
    }
    let mut questions: Vec<Question> = Vec::new();
    let mut ids = HashSet::new();
    for (index, line) in without_mark(bytes).split(|b| *b == b'\n').enumerate() {
        let number = index + 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let question =
            layouts::parse_line(line, || format!("{name}-{number}")).with_context(|| format!("line {number}"))?;
        ensure!(
            ids.insert(question.id.clone()),
            "line {number}: the id '{}' was given before; ids must differ",
            escape_controls(&question.id)
        );
        let kind = question.answer.kind();
        let first = questions.first().map_or(kind, |q| q.answer.kind());
        ensure!(
            kind == first,
            "line {number}: a question with {} where the first has {}; put them into files of their own",
            kind.described(),
            first.described()
        );
        questions.push(question);
    }
    ensure!(
        !questions.is_empty(),
        "the file holds no question; expected one JSON object a line"
    );
    Ok(questions)
}
