//! Outcomes on disk, written as questions are answered: JSON lines, a header and then one line a
//! question. An evaluation that was stopped takes them up and computes the rest.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{Generation, Outcome, Question, Scoring, Task};
use crate::line_file::{Existing, LineFile, Words, difference, to_line, whole_lines};
use crate::text::escape_controls;

/// Version of the layout of these lines.
pub const FORMAT: u32 = 1;

const WORDS: Words = Words {
    contents: "outcomes",
    writer: "evaluation",
    option: "--outcomes",
};

/// What outcomes depend on. An evaluation whose header differs would come to others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutcomeHeader {
    pub format: u32,
    pub model: String,
    pub model_sha256: String,
    pub layers: usize,
    /// Whether the model ran in exact f32 arithmetic.
    pub exact: bool,
    pub device: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routers_sha256: Option<String>,
    /// In the order in which they are evaluated.
    pub tasks: Vec<TaskHeader>,
    /// Names of the rows that were asked for, base first.
    pub methods: Vec<String>,
    /// Whether controls follow, at depths that the methods' outcomes or `control_depth` give.
    pub controls: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control_depth: Vec<f64>,
}

/// The questions of a file, and how their answers are judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskHeader {
    pub name: String,
    /// Of the whole file.
    pub sha256: String,
    /// How many of them are asked: the first ones.
    pub questions: usize,
    pub scoring: Scoring,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
}

impl TaskHeader {
    pub fn new(task: &Task, scoring: Scoring, generation: Option<Generation>) -> TaskHeader {
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
    pub task: String,
    /// The question's id.
    pub question: String,
    pub outcomes: Vec<Named>,
}

/// An outcome under its method's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named {
    pub method: String,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Header(Box<OutcomeHeader>),
    Answers(Answers),
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
        lines.keep(whole)?;
        if lines.is_empty() {
            lines.append(&to_line(&Line::Header(Box::new(header.clone()))))?;
        }
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
                Line::Header(_) => Err("a second header; one file holds one evaluation".into()),
            };
            taken.push(found.map_err(|wrong| self.wrong(number, &wrong))?);
        }
        Ok(taken)
    }

    /// Writes the outcomes of one question and waits until they are on the disk.
    pub fn write(&mut self, task: &Task, question: &Question, methods: &[&str], outcomes: &[Outcome]) -> Result<()> {
        let named = methods.iter().zip(outcomes).map(|(method, outcome)| Named {
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
        anyhow::anyhow!("{path}, line {number}: {what}; begin anew with --force, or choose another --outcomes")
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
                "{}, line {number} holds no outcomes; begin anew with --force, or choose another --outcomes",
                path.display()
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
mod tests {
    use super::*;
    use crate::eval::Answer;

    fn task() -> Task {
        let question = |i: usize| Question {
            id: format!("q{i}"),
            question: "Which?".into(),
            answer: Answer::Number("1".into()),
        };
        Task {
            name: "t".into(),
            sha256: "d".into(),
            questions: (0..4).map(question).collect(),
        }
    }

    fn header() -> OutcomeHeader {
        OutcomeHeader {
            format: FORMAT,
            model: "m".into(),
            model_sha256: "s".into(),
            layers: 4,
            exact: false,
            device: "cpu".into(),
            routers_sha256: None,
            tasks: vec![TaskHeader::new(&task(), Scoring::Sum, None)],
            methods: vec!["base".into()],
            controls: true,
            control_depth: vec![2.5],
        }
    }

    const ROUNDS: [&[&str]; 2] = [&["base", "program 0"], &["early exit at 2.50"]];

    /// Runs both rounds, or until `most` questions were answered anew; what all came to.
    fn evaluate(path: &Path, existing: Existing, most: usize) -> Result<Vec<Vec<Outcome>>> {
        let task = task();
        let mut file = OutcomeFile::open(path, &header(), existing)?;
        let (mut all, mut anew) = (Vec::new(), 0);
        for methods in ROUNDS {
            let taken = file.take(&task, methods)?;
            let first = taken.len();
            all.extend(taken);
            for (index, question) in task.questions.iter().enumerate().skip(first) {
                if anew == most {
                    return Ok(all);
                }
                let outcome = |m: usize| Outcome {
                    correct: (index + m).is_multiple_of(2),
                    depth: 1.0 / (index + 3) as f64,
                    seconds: 0.1,
                };
                let outcomes: Vec<Outcome> = (0..methods.len()).map(outcome).collect();
                file.write(&task, question, methods, &outcomes)?;
                all.push(outcomes);
                anew += 1;
            }
        }
        file.finish()?;
        Ok(all)
    }

    #[test]
    fn cut_at_any_byte_a_file_is_completed_to_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.jsonl");
        let expected = evaluate(&path, Existing::Refuse, 100).unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.iter().filter(|&&b| b == b'\n').count(), 1 + 8);
        for cut in (0..=whole.len()).step_by(61).chain([whole.len()]) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(
                evaluate(&path, Existing::Resume, 100).unwrap(),
                expected,
                "cut at {cut}"
            );
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
        // A run that is stopped twice.
        evaluate(&path, Existing::Overwrite, 3).unwrap();
        evaluate(&path, Existing::Resume, 2).unwrap();
        assert_eq!(evaluate(&path, Existing::Resume, 100).unwrap(), expected);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn what_does_not_belong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("o.jsonl");
        evaluate(&path, Existing::Refuse, 100).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        let cases = [
            (
                good.replacen("\"layers\":4", "\"layers\":5", 1),
                "layers = 5, this evaluation has 4",
            ),
            (
                good.replacen("\"sha256\":\"d\"", "\"sha256\":\"e\"", 1),
                "tasks[0].sha256 = \"e\"",
            ),
            (good.replacen("\"format\":1", "\"format\":9", 1), "format 9"),
            (
                good.replacen("\"question\":\"q1\"", "\"question\":\"x\"", 1),
                "line 3: question 'x' of t where 'q1'",
            ),
            (
                good.replacen("program 0", "program 1", 1),
                "line 2: outcomes of 'base; program 1'",
            ),
            (good.replacen("\"depth\"", "\"deep\"", 1), "line 2 holds no outcomes"),
            (good.lines().last().unwrap().to_owned() + "\n", "line 1: outcomes begin"),
            (
                good.clone() + good.lines().last().unwrap() + "\n",
                "line 10: more lines",
            ),
        ];
        for (text, expected) in cases {
            std::fs::write(&path, &text).unwrap();
            let error = format!("{:#}", evaluate(&path, Existing::Resume, 100).unwrap_err());
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(
                error.contains("--force") || error.contains("--outcomes"),
                "what to do: {error}"
            );
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing was changed");
        }
        assert!(evaluate(&path, Existing::Refuse, 1).is_err());
    }
}
