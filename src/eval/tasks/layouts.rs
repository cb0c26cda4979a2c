//! The layouts that public files of questions have.

use anyhow::{Context, Result, bail, ensure};
use math_grading::{boxed, numbers};
use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Question};
use crate::text::escape_controls;

/// The question of one line, in whichever layout it is.
pub fn parse_line(line: &[u8], default_id: impl Fn() -> String) -> Result<Question> {
    let value: Value = serde_json::from_slice(line).context("this is no JSON object")?;
    let question = if value["question"].is_object() {
        let arc: ArcQuestion = serde_json::from_value(value).context("damaged question in AI2's ARC layout")?;
        arc.into_question(default_id)?
    } else if value["question"].is_string() && value["choices"].is_array() {
        let plain: PlainQuestion = serde_json::from_value(value).context("damaged question")?;
        plain.into_question(default_id)?
    } else if let Some(question) = written(&value, default_id)? {
        question
    } else {
        bail!(
            "unknown layout; expected {{\"id\", \"question\", \"choices\": [text], \"answer\": index}}, AI2's \
             {{\"id\", \"question\": {{\"stem\", \"choices\": [{{\"text\", \"label\"}}]}}, \"answerKey\"}}, GSM8K's \
             {{\"question\", \"answer\": \"… #### number\"}}, or {{\"problem\" or \"query\", \"solution\" with \
             \\boxed{{}} or \"gt_ans\" or \"answer\"}}"
        )
    };
    check_choices(question.answer.choices(), &question.answer)?;
    ensure!(!question.question.trim().is_empty(), "the question is empty");
    Ok(question)
}

fn check_choices(choices: &[String], answer: &Answer) -> Result<()> {
    if !matches!(answer, Answer::Choice { .. }) {
        return Ok(());
    }
    let count = choices.len();
    ensure!(count >= 2, "{count} choices; a question needs at least 2");
    let empty = choices.iter().position(|c| c.trim().is_empty());
    ensure!(empty.is_none(), "choice {} is empty", empty.unwrap_or_default());
    Ok(())
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
        let right = answer.with_context(|| {
            format!(
                "the answer is {}; expected an index from 0 below the {count} choices",
                self.answer
            )
        })?;
        Ok(Question {
            id: self.id.unwrap_or_else(default_id),
            question: self.question,
            answer: Answer::Choice {
                choices: self.choices,
                right,
            },
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
        let right = answer.with_context(|| {
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
            answer: Answer::Choice {
                choices: choices.into_iter().map(|c| c.text).collect(),
                right,
            },
        })
    }
}

/// A question whose answer the model writes: GSM8K's layout, else MATH's or DART's; `None` if the
/// line has no question or no answer in one of their fields.
fn written(value: &Value, default_id: impl Fn() -> String) -> Result<Option<Question>> {
    let text = |names: &[&str]| names.iter().find_map(|n| value[n].as_str()).map(str::to_owned);
    let Some(question) = text(&["problem", "query", "question"]) else {
        return Ok(None);
    };
    // Answers that are only numbers are often written as such.
    let number = ["gt_ans", "answer"].iter().find_map(|n| value[n].as_number());
    let given = text(&["gt_ans", "answer"]).or_else(|| number.map(ToString::to_string));
    let answer = match (given, text(&["solution"])) {
        (Some(answer), _) if answer.contains(numbers::MARKER) => gsm8k(&answer)?,
        (Some(answer), _) => math(boxed::last(&answer).unwrap_or(&answer))?,
        (None, Some(solution)) => math(boxed::last(&solution).context(
            "the solution has no closed \\boxed{…}; expected the answer in one, or in \"gt_ans\" or \"answer\"",
        )?)?,
        (None, None) => return Ok(None),
    };
    Ok(Some(Question {
        id: text(&["id", "unique_id"]).unwrap_or_else(default_id),
        question,
        answer,
    }))
}

fn gsm8k(answer: &str) -> Result<Answer> {
    let gold = answer.rsplit(numbers::MARKER).next().unwrap_or_default().trim();
    ensure!(
        numbers::is_number(gold),
        "the answer ends in '#### {}'; expected one number there",
        shortened(gold)
    );
    Ok(Answer::Number(gold.into()))
}

fn math(gold: &str) -> Result<Answer> {
    let gold = gold.trim();
    ensure!(
        !gold.is_empty(),
        "the answer is empty; expected what belongs into \\boxed{{}}"
    );
    ensure!(
        !gold.contains("\\boxed"),
        "the answer '{}' has a \\boxed that is not closed",
        shortened(gold)
    );
    Ok(Answer::Math(gold.into()))
}

/// The beginning of a text, for a message.
fn shortened(text: &str) -> String {
    escape_controls(&text.chars().take(60).collect::<String>())
}
