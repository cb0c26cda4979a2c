//! Questions with answers, from files.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::router::checkpoint::hex;
use crate::text::escape_controls;

/// A question with choices, one of which is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub id: String,
    pub question: String,
    pub choices: Vec<String>,
    /// Index of the right choice, from 0.
    pub answer: usize,
}

impl Question {
    /// What the model reads before a choice: `Question: …\nAnswer:`.
    pub fn prompt(&self) -> String {
        prompt(&self.question)
    }
}

/// The prompt of a question's text, see [`Question::prompt`].
pub fn prompt(question: &str) -> String {
    format!("Question: {question}\nAnswer:")
}

/// The questions of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The file's name without its ending.
    pub name: String,
    /// Of the whole file, hexadecimal.
    pub sha256: String,
    pub questions: Vec<Question>,
}

impl Task {
    /// Reads JSON lines, each in the plain layout
    /// `{"id", "question", "choices": [text…], "answer": index from 0}` or in AI2's ARC layout
    /// `{"id", "question": {"stem", "choices": [{"text", "label"}…]}, "answerKey"}`.
    ///
    /// # Errors
    /// Names file and line: damaged JSON, an unknown layout, an answer that is none of the choices,
    /// ids given twice, a file without questions.
    pub fn load(path: &Path) -> Result<Task> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read the questions {}", path.display()))?;
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        let questions = parse(&bytes, &name).with_context(|| format!("in {}", path.display()))?;
        Ok(Task {
            sha256: hex(&Sha256::digest(&bytes)),
            name: name.into_owned(),
            questions,
        })
    }
}

/// The questions in `bytes`; `name` makes ids where a line has none.
fn parse(bytes: &[u8], name: &str) -> Result<Vec<Question>> {
    let mut questions = Vec::new();
    let mut ids = HashSet::new();
    for (index, line) in BufReader::new(bytes).split(b'\n').enumerate() {
        let (line, number) = (line?, index + 1);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let question = parse_line(&line, || format!("{name}-{number}")).with_context(|| format!("line {number}"))?;
        ensure!(
            ids.insert(question.id.clone()),
            "line {number}: the id '{}' was given before; ids must differ",
            escape_controls(&question.id)
        );
        questions.push(question);
    }
    ensure!(
        !questions.is_empty(),
        "the file holds no question; expected one JSON object a line"
    );
    Ok(questions)
}

fn parse_line(line: &[u8], default_id: impl Fn() -> String) -> Result<Question> {
    let value: Value = serde_json::from_slice(line).context("this is no JSON object")?;
    let question = if value["question"].is_object() {
        let arc: ArcQuestion = serde_json::from_value(value).context("damaged question in AI2's ARC layout")?;
        arc.into_question(default_id)?
    } else if value["question"].is_string() && value["choices"].is_array() {
        let plain: PlainQuestion = serde_json::from_value(value).context("damaged question")?;
        plain.into_question(default_id)?
    } else {
        bail!(
            "unknown layout; expected {{\"id\", \"question\", \"choices\": [text], \"answer\": index}} or AI2's \
             {{\"id\", \"question\": {{\"stem\", \"choices\": [{{\"text\", \"label\"}}]}}, \"answerKey\"}}"
        )
    };
    let count = question.choices.len();
    ensure!(count >= 2, "{count} choices; a question needs at least 2");
    ensure!(!question.question.trim().is_empty(), "the question is empty");
    let empty = question.choices.iter().position(|c| c.trim().is_empty());
    ensure!(empty.is_none(), "choice {} is empty", empty.unwrap_or_default());
    Ok(question)
}

#[derive(Deserialize)]
struct PlainQuestion {
    id: Option<String>,
    question: String,
    choices: Vec<String>,
    answer: i64,
}

impl PlainQuestion {
    fn into_question(self, default_id: impl Fn() -> String) -> Result<Question> {
        let count = self.choices.len();
        let answer = usize::try_from(self.answer).ok().filter(|a| *a < count);
        let answer = answer.with_context(|| {
            format!(
                "the answer is {}; expected an index from 0 below the {count} choices",
                self.answer
            )
        })?;
        Ok(Question {
            id: self.id.unwrap_or_else(default_id),
            question: self.question,
            choices: self.choices,
            answer,
        })
    }
}

#[derive(Deserialize)]
struct ArcQuestion {
    id: Option<String>,
    question: ArcStem,
    #[serde(rename = "answerKey")]
    answer_key: String,
}

#[derive(Deserialize)]
struct ArcStem {
    stem: String,
    choices: Vec<ArcChoice>,
}

#[derive(Deserialize)]
struct ArcChoice {
    text: String,
    label: String,
}

impl ArcQuestion {
    fn into_question(self, default_id: impl Fn() -> String) -> Result<Question> {
        let choices = self.question.choices;
        let answer = choices.iter().position(|c| c.label == self.answer_key);
        let answer = answer.with_context(|| {
            let labels: Vec<&str> = choices.iter().map(|c| c.label.as_str()).collect();
            format!(
                "the answerKey is '{}'; the choices are labelled {}",
                escape_controls(&self.answer_key),
                escape_controls(&labels.join(", "))
            )
        })?;
        Ok(Question {
            id: self.id.unwrap_or_else(default_id),
            question: self.question.stem,
            choices: choices.into_iter().map(|c| c.text).collect(),
            answer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", parse(text.as_bytes(), "task").unwrap_err())
    }

    const PLAIN: &str = r#"{"id": "a", "question": "Two?", "choices": ["one", "two"], "answer": 1}"#;

    #[test]
    fn both_layouts_read_alike() {
        let arc = r#"{"id":"a","question":{"stem":"Two?","choices":[{"text":"one","label":"1"},{"text":"two","label":"2"}]},"answerKey":"2"}"#;
        let expected = [Question {
            id: "a".into(),
            question: "Two?".into(),
            choices: vec!["one".into(), "two".into()],
            answer: 1,
        }];
        assert_eq!(parse(PLAIN.as_bytes(), "t").unwrap(), expected);
        assert_eq!(parse(format!("\n{arc}\n\n").as_bytes(), "t").unwrap(), expected);
    }

    #[test]
    fn a_line_without_id_is_named_by_its_number() {
        let line = r#"{"question": "Two?", "choices": ["one", "two"], "answer": 1}"#;
        assert_eq!(parse(format!("\n{line}").as_bytes(), "arc").unwrap()[0].id, "arc-2");
    }

    #[test]
    fn bad_lines_are_named() {
        let cases = [
            ("", "no question"),
            ("{\"id\": \"a\"", "line 1: this is no JSON object"),
            (&format!("{PLAIN}\n{PLAIN}"), "line 2: the id 'a' was given before"),
            (&format!("{PLAIN}\nnonsense"), "line 2"),
            (
                r#"{"question":"Q","choices":["a","b"],"answer":2}"#,
                "the answer is 2; expected an index from 0 below the 2 choices",
            ),
            (
                r#"{"question":"Q","choices":["a","b"],"answer":-1}"#,
                "the answer is -1",
            ),
            (r#"{"question":"Q","choices":["a"],"answer":0}"#, "at least 2"),
            (
                r#"{"question":"Q","choices":["a"," "],"answer":0}"#,
                "choice 1 is empty",
            ),
            (r#"{"question":"Q","answer":"4 #### 4"}"#, "unknown layout"),
            ("[1, 2]", "unknown layout"),
            (
                r#"{"question":{"stem":"Q","choices":[{"text":"a","label":"A"},{"text":"b","label":"B"}]},"answerKey":"E"}"#,
                "the answerKey is 'E'; the choices are labelled A, B",
            ),
        ];
        for (text, expected) in cases {
            let found = error(text);
            assert!(found.contains(expected), "{text}: {found}");
        }
        assert!(
            error("{\"question\":\"\u{ff}").contains("line 1"),
            "broken text is an error, not a panic"
        );
    }
}
