//! Worked examples of multiple choice, as lm-evaluation-harness keeps those of MMLU for its prompts.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use super::layouts::check_choices;
use super::{Answer, Question};
use crate::text::escape_controls;

const LABELS: [&str; 4] = ["(A) ", "(B) ", "(C) ", "(D) "];

/// The questions of one JSON object, of each subject a text of `Q: …`, `(A) … (B) … (C) … (D) …` and a line `A: …` that ends
/// in `The answer is (C).`. `None` for bytes that are no such object. An example whose answer is a letter that none of its
/// choices has (there is one in the harness's file) is left out.
///
/// # Errors
/// Names the example that is otherwise than that; a file in which no example is left.
pub fn read(bytes: &[u8]) -> Option<Result<Vec<Question>>> {
    let subjects: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let texts = subjects
        .iter()
        .map(|(name, text)| Some((name.as_str(), text.as_str()?)));
    let texts: Vec<(&str, &str)> = texts.collect::<Option<_>>()?;
    let are_examples = texts.iter().any(|(_, text)| text.contains("\n(A) "));
    are_examples.then(|| all(&texts))
}

fn all(texts: &[(&str, &str)]) -> Result<Vec<Question>> {
    let mut questions = Vec::new();
    for (subject, text) in texts {
        // What stands before the first question says what follows.
        for (index, example) in text.split("\n\nQ: ").skip(1).enumerate() {
            let id = format!("{subject}-{index}");
            let read = question(id.clone(), example);
            questions.extend(read.with_context(|| format!("example {}", escape_controls(&id)))?);
        }
    }
    ensure!(
        !questions.is_empty(),
        "the file holds no worked example whose answer is one of its choices"
    );
    Ok(questions)
}

/// One example, after its `Q: `; none where its answer is no choice.
fn question(id: String, text: &str) -> Result<Option<Question>> {
    let (asked, answer) = text
        .split_once("\nA: ")
        .context("it has no line that begins with 'A: '")?;
    let (question, choices) = asked
        .split_once("\n(A) ")
        .context("it has no line that begins with '(A) '")?;
    let mut rest = choices;
    let mut choices = Vec::new();
    for label in &LABELS[1..] {
        // Behind a space or on a line of its own.
        let mut places = rest.match_indices(label).map(|(at, _)| at);
        let at = places.find(|&at| rest[..at].ends_with(char::is_whitespace));
        let at = at.with_context(|| format!("it has no choice '{}'", label.trim()))?;
        choices.push(rest[..at].trim().to_owned());
        rest = &rest[at + label.len()..];
    }
    choices.push(rest.trim().to_owned());
    let letter = answer
        .rsplit_once("The answer is (")
        .and_then(|(_, rest)| rest.chars().next());
    let letter = letter.filter(char::is_ascii_uppercase);
    let letter = letter.context("its answer does not end in 'The answer is (A).', or another letter")?;
    let Some(right) = LABELS.iter().position(|label| label.contains(letter)) else {
        return Ok(None);
    };
    let question = Question {
        id,
        question: question.to_owned(),
        answer: Answer::Choice { choices, right },
    };
    check_choices(question.answer.choices(), &question.answer)?;
    Ok(Some(question))
}
