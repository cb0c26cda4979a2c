//! Outcomes on disk, written as questions are answered: JSON lines, a header and then one line a
//! question. An evaluation that was stopped takes them up and computes the rest.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::selector::SelectorQuestion;
use super::{GenerationSettings, Outcome, Question, Scoring, Task};
use crate::line_file::{Existing, FileWords, LineFile, difference, how_to_go_on, to_line, whole_lines};
use crate::program::Program;
use crate::text::escape_controls;

/// Version of the layout of these lines.
pub const FORMAT: u32 = 1;

const WORDS: FileWords = FileWords {
    contents: "outcomes",
    writer: "evaluation",
    option: "--outcomes",
};

/// What outcomes depend on. An evaluation whose header differs would come to others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutcomeHeader {
    /// [`FORMAT`] of the program that wrote the file.
    pub format: u32,
    /// The model's name.
    pub model: String,
    /// What identifies its weights, hexadecimal.
    pub model_sha256: String,
    /// L; of a looped model its executions.
    pub layers: usize,
    /// Whether the model ran in exact f32 arithmetic.
    pub exact: bool,
    /// Where the model ran, as traces name it.
    pub device: String,
    /// Of the routers' file, hexadecimal; absent without routers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routers_sha256: Option<String>,
    /// In the order in which they are evaluated.
    pub tasks: Vec<TaskHeader>,
    /// Names of the rows that were asked for, base first.
    pub methods: Vec<String>,
    /// Whether controls follow, at depths that the methods' outcomes or `control_depth` give.
    pub controls: bool,
    /// Mean depths of the controls, where they were given; those of the routers if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control_depth: Vec<f64>,
    /// What the best static program is sought on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub training: Vec<TaskHeader>,
    /// What a selector is fitted on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selector: Vec<TaskHeader>,
}

/// The questions of a file, and how their answers are judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskHeader {
    /// The file's, without its ending.
    pub name: String,
    /// Of the whole file.
    pub sha256: String,
    /// How many of them are asked: the first ones.
    pub questions: usize,
    /// How answers are judged.
    pub scoring: Scoring,
    /// How answers are written, where the model writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<GenerationSettings>,
}

impl TaskHeader {
    /// What outcomes of a task depend on.
    pub fn new(task: &Task, scoring: Scoring, generation: Option<GenerationSettings>) -> TaskHeader {
        TaskHeader {
            name: task.name.clone(),
            sha256: task.sha256.clone(),
            questions: task.questions.len(),
            scoring,
            generation,
        }
    }
}

/// One question under the methods of one round: those that were asked for, or the controls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// The task's name.
    pub task: String,
    /// The question's id.
    pub question: String,
    /// One a method of the round, in the order of the rows.
    pub outcomes: Vec<NamedOutcome>,
}

/// An outcome under its method's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedOutcome {
    /// The row's name.
    pub method: String,
    /// What the question came to under it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// One training question under the programs of one round of the search for a static program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingOutcome {
    /// Which round of the search, in words.
    pub round: String,
    /// The question's id.
    pub question: String,
    /// Those of the round's programs that were right.
    pub right: Vec<Program>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Header(Box<OutcomeHeader>),
    Answers(Answers),
    Training(TrainingOutcome),
    Selector(SelectorQuestion),
}

/// A file of outcomes. What a former run left in it is taken first, in the order of the evaluation,
/// which is always the same; then outcomes are appended.
pub struct OutcomeFile {
    lines: LineFile,
    /// What is there and was not taken yet, with line numbers.
    left: VecDeque<(usize, Line)>,
}

impl OutcomeFile {
    /// Opens a file for the outcomes of one evaluation.
    ///
    /// # Errors
    /// An existing file under [`Existing::Refuse`]; outcomes of other settings under
    /// [`Existing::Resume`], with the first difference named; damaged lines, by number; a file that
    /// another evaluation writes.
    pub fn open(path: &Path, header: &OutcomeHeader, existing: Existing) -> Result<OutcomeFile> {
        let mut lines = LineFile::open(path, existing, WORDS)?;
        let (mut left, mut whole) = (VecDeque::new(), 0);
        if existing == Existing::Resume {
            let bytes = lines.read()?;
            whole = whole_lines(&bytes);
            left = parse(path, &bytes[..whole])?;
            if let Some((_, first)) = left.pop_front() {
                check_header(path, &first, header)?;
            }
        }
        lines.begin(whole, &to_line(&Line::Header(Box::new(header.clone()))))?;
        Ok(OutcomeFile { lines, left })
    }

    /// The outcomes that are there of the first of `questions`, one for each of `methods`.
    ///
    /// # Errors
    /// A line that belongs to another question, task or method, by number.
    pub fn take(&mut self, task: &Task, methods: &[&str]) -> Result<Vec<Vec<Outcome>>> {
        let mut taken = Vec::new();
        while let Some(question) = task.questions.get(taken.len())
            && let Some((number, line)) = self.left.pop_front()
        {
            let found = match line {
                Line::Answers(answers) => belongs(answers, task, question, methods),
                other => Err(other.misplaced()),
            };
            taken.push(found.map_err(|wrong| self.wrong(number, &wrong))?);
        }
        Ok(taken)
    }

    /// The right programs that are there of the first of `questions` in a round of a search for a
    /// static program, which runs `programs`.
    ///
    /// # Errors
    /// A line that belongs to another question, round or program, by number.
    pub fn take_training(
        &mut self,
        round: &str,
        questions: &[&str],
        programs: &[Program],
    ) -> Result<Vec<Vec<Program>>> {
        let mut taken = Vec::new();
        while let Some(question) = questions.get(taken.len())
            && let Some((number, line)) = self.left.pop_front()
        {
            let found = match line {
                Line::Training(found) if (found.round.as_str(), found.question.as_str()) != (round, *question) => {
                    Err(format!(
                        "question '{}' of round '{}' where '{}' of '{round}' was expected",
                        escape_controls(&found.question),
                        escape_controls(&found.round),
                        escape_controls(question)
                    ))
                }
                Line::Training(found) => match found.right.iter().find(|p| !programs.contains(p)) {
                    Some(other) => Err(format!("the program '{other}', which was not run")),
                    None => Ok(found.right),
                },
                other => Err(other.misplaced()),
            };
            taken.push(found.map_err(|wrong| self.wrong(number, &wrong))?);
        }
        Ok(taken)
    }

    /// What is there of the first of the `questions` that a selector is fitted on.
    ///
    /// # Errors
    /// A line that belongs to another question, by number.
    pub fn take_selector(&mut self, questions: &[&str]) -> Result<Vec<SelectorQuestion>> {
        let mut taken = Vec::new();
        while let Some(question) = questions.get(taken.len())
            && let Some((number, line)) = self.left.pop_front()
        {
            let found = match line {
                Line::Selector(found) if found.question != *question => Err(format!(
                    "question '{}' of the selector where '{}' was expected",
                    escape_controls(&found.question),
                    escape_controls(question)
                )),
                Line::Selector(found) => Ok(found),
                other => Err(other.misplaced()),
            };
            taken.push(found.map_err(|wrong| self.wrong(number, &wrong))?);
        }
        Ok(taken)
    }

    /// Writes what a selector is shown of one question and waits until it is on the disk.
    pub fn write_selector(&mut self, question: &SelectorQuestion) -> Result<()> {
        self.lines.append(&to_line(&Line::Selector(question.clone())))
    }

    /// Writes the right programs of one training question and waits until they are on the disk.
    pub fn write_training(&mut self, round: &str, question: &str, right: &[Program]) -> Result<()> {
        self.lines.append(&to_line(&Line::Training(TrainingOutcome {
            round: round.to_owned(),
            question: question.to_owned(),
            right: right.to_vec(),
        })))
    }

    /// Writes the outcomes of one question and waits until they are on the disk.
    pub fn write(&mut self, task: &Task, question: &Question, methods: &[&str], outcomes: &[Outcome]) -> Result<()> {
        let named = methods.iter().zip(outcomes).map(|(method, outcome)| NamedOutcome {
            method: (*method).to_owned(),
            outcome: *outcome,
        });
        self.lines.append(&to_line(&Line::Answers(Answers {
            task: task.name.clone(),
            question: question.id.clone(),
            outcomes: named.collect(),
        })))
    }

    /// Checks that everything which was there was taken.
    pub fn finish(self) -> Result<()> {
        match self.left.front() {
            Some((number, _)) => Err(self.wrong(*number, "more lines than this evaluation has")),
            None => Ok(()),
        }
    }

    fn wrong(&self, number: usize, what: &str) -> anyhow::Error {
        let path = self.lines.path().display();
        anyhow::anyhow!("{path}, line {number}: {what}; {}", how_to_go_on(number))
    }
}

impl Line {
    /// Why a line of this kind does not belong where it stands.
    fn misplaced(&self) -> String {
        match self {
            Line::Header(_) => "a second header; one file holds one evaluation".into(),
            Line::Answers(answers) => format!(
                "outcomes of '{}' out of their order",
                escape_controls(&answers.question)
            ),
            Line::Selector(shown) => format!(
                "the selector's question '{}' out of its order",
                escape_controls(&shown.question)
            ),
            Line::Training(training) => {
                format!(
                    "training question '{}' out of its order",
                    escape_controls(&training.question)
                )
            }
        }
    }
}

/// The outcomes in a line, in the order of `methods`, or what is wrong with it.
fn belongs(answers: Answers, task: &Task, question: &Question, methods: &[&str]) -> Result<Vec<Outcome>, String> {
    let escaped = |a: &str, b: &str| (escape_controls(a), escape_controls(b));
    if (&answers.task, &answers.question) != (&task.name, &question.id) {
        let (found, expected) = escaped(&answers.question, &question.id);
        let (of, from) = escaped(&answers.task, &task.name);
        return Err(format!(
            "question '{found}' of {of} where '{expected}' of {from} was expected"
        ));
    }
    let names: Vec<&str> = answers.outcomes.iter().map(|named| named.method.as_str()).collect();
    if names != methods {
        let (found, expected) = escaped(&names.join("; "), &methods.join("; "));
        return Err(format!(
            "outcomes of '{found}' where those of '{expected}' were expected"
        ));
    }
    Ok(answers.outcomes.into_iter().map(|named| named.outcome).collect())
}

/// The lines of a file, numbered from 1.
fn parse(path: &Path, bytes: &[u8]) -> Result<VecDeque<(usize, Line)>> {
    let lines = bytes.split_inclusive(|&b| b == b'\n').enumerate();
    let parsed = lines.map(|(index, line)| {
        let number = index + 1;
        let line = serde_json::from_slice(line).with_context(|| {
            format!(
                "{}, line {number} holds no outcomes; {}",
                path.display(),
                how_to_go_on(number)
            )
        })?;
        Ok((number, line))
    });
    parsed.collect()
}

fn check_header(path: &Path, first: &Line, header: &OutcomeHeader) -> Result<()> {
    let Line::Header(found) = first else {
        bail!(
            "{}, line 1: outcomes begin with their header line; begin anew with --force",
            path.display()
        );
    };
    ensure!(
        found.format == FORMAT,
        "{} holds outcomes of format {}, this program writes format {FORMAT}; begin anew with --force",
        path.display(),
        found.format
    );
    if let Some((field, here, there)) = difference(header, found, &[]) {
        bail!(
            "{} was made with {field} = {there}, this evaluation has {here}; use the same settings, another \
             --outcomes, or --force to begin anew",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
