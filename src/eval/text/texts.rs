//! The texts that are measured on.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use super::answers::{answer, in_turns, least_answer, read_text, sampling};
use super::{Prompts, Text};
use crate::eval::parallel::for_each_ordered;
use crate::eval::tasks::Question;
use crate::model::Model;
use crate::progress::{Progress, Tell};

/// Where the answers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TextOrigin {
    /// The model wrote them to the prompts.
    Own,
    /// They stand in the files.
    Ordinary,
}

/// How many texts, and how they are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most texts.
    pub texts: usize,
    /// Most tokens of an answer; longer ones are cut.
    pub answer_tokens: usize,
    /// At which the model draws its own answers; 0 is greedy.
    pub temperature: f64,
    /// Of the order in which prompts are taken, and of what is drawn after each.
    pub seed: u64,
}

/// Texts, and what did not become one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeldOut {
    /// At least one token each of prompt and answer.
    pub texts: Vec<Text>,
    /// The prompt's index, which seeds what is drawn after it.
    pub indices: Vec<usize>,
    /// Prompts that leave no room in the context.
    pub long: usize,
    /// Answers of too few tokens to measure on.
    pub short: usize,
}

impl HeldOut {
    /// Tokens of all answers.
    pub fn tokens(&self) -> usize {
        self.texts.iter().map(|text| text.answer.len()).sum()
    }

    fn add(&mut self, index: usize, text: Text, least: usize) {
        if text.answer.len() < least {
            self.short += 1;
            return;
        }
        self.texts.push(text);
        self.indices.push(index);
    }

    fn check(self) -> Result<HeldOut> {
        ensure!(
            !self.texts.is_empty(),
            "no text can be measured: {} prompts leave no room in the model's context, {} answers are too short; give \
             others after --text",
            self.long,
            self.short
        );
        Ok(self)
    }
}

/// Has the model write answers to prompts, files taking turns. `None` where it was stopped.
///
/// # Errors
/// No prompt that can be used, and those of the model.
pub fn own(
    model: &Model,
    prompts: &Prompts,
    limits: Limits,
    threads: usize,
    stop: &AtomicBool,
    (what, tell): (&str, Tell),
) -> Result<Option<HeldOut>> {
    let room = model.decoder.config().context.saturating_sub(limits.answer_tokens);
    let mut held_out = HeldOut::default();
    let mut chosen: Vec<Vec<u32>> = Vec::new();
    for text in in_turns(&prompts.files, limits.seed) {
        if chosen.len() == limits.texts {
            break;
        }
        let ids = model.prompt_ids(&text, false)?;
        match ids.len() <= room {
            true => chosen.push(ids),
            false => held_out.long += 1,
        }
    }
    tell(Progress::new(what, 0, chosen.len()));
    let write = |index: usize| {
        let sampling = sampling(limits.temperature, limits.seed, index);
        answer(model, &chosen[index], &sampling, limits.answer_tokens, stop)
    };
    let mut done = 0;
    for_each_ordered(0..chosen.len(), threads, stop, write, |index, answer| {
        done = index + 1;
        let prompt = chosen[index].clone();
        held_out.add(index, Text { prompt, answer }, least_answer(&model.decoder));
        tell(Progress::new(what, done, chosen.len()));
        Ok(())
    })?;
    match done < chosen.len() {
        true => Ok(None),
        false => held_out.check().map(Some),
    }
}

/// A text as it stands in a file.
#[derive(Clone, Debug, PartialEq)]
enum Written {
    /// A line; its first half is the prompt.
    Line(String),
    /// A question, under the chat template, and what answers it.
    Answered(String, String),
}

/// Reads texts as they are, files taking turns: of a file whose name ends in `jsonl` or `json` each line's question and
/// answer, of another one each line.
///
/// # Errors
/// Names the file that cannot be read, and the line without a question or an answer.
pub fn ordinary(model: &Model, paths: &[PathBuf], limits: Limits) -> Result<HeldOut> {
    let files = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let context = model.decoder.config().context;
    let mut held_out = HeldOut::default();
    for (index, written) in in_turns(&files, limits.seed).into_iter().enumerate() {
        if held_out.texts.len() == limits.texts {
            break;
        }
        let (prompt, mut answer) = match &written {
            Written::Line(line) => {
                let mut ids = model.prompt_ids(line, true)?;
                let answer = ids.split_off(ids.len() / 2);
                (ids, answer)
            }
            Written::Answered(question, answer) => {
                let prompt = model.prompt_ids(question, false)?;
                (prompt, model.tokenizer.encode_plain(answer)?)
            }
        };
        answer.truncate(limits.answer_tokens);
        if prompt.len() + answer.len() > context {
            held_out.long += 1;
        } else {
            let least = if prompt.is_empty() { usize::MAX } else { 1 };
            held_out.add(index, Text { prompt, answer }, least);
        }
    }
    held_out.check()
}

fn read(path: &Path) -> Result<Vec<Written>> {
    let text = read_text(path)?;
    let json = path.extension().is_some_and(|e| e == "jsonl" || e == "json");
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let one = |(index, line): (usize, &str)| match json {
        false => Ok(Written::Line(line.trim().to_owned())),
        true => answered(line).with_context(|| format!("{} line {}", path.display(), index + 1)),
    };
    let texts = lines.map(one).collect::<Result<Vec<_>>>()?;
    ensure!(
        !texts.is_empty(),
        "{} holds no texts: expected one a line, or JSON lines with a question and an answer",
        path.display()
    );
    Ok(texts)
}

/// The question of a JSON line and the text that answers it: a worked solution as it stands there, of choices the right
/// one.
fn answered(line: &str) -> Result<Written> {
    let value: Value = serde_json::from_str(line).context("this is no JSON object")?;
    let text = |names: &[&str]| names.iter().find_map(|name| value[name].as_str()).map(str::to_owned);
    if let (Some(question), Some(answer)) = (text(&["question", "prompt", "problem"]), text(&["solution", "answer"])) {
        return Ok(Written::Answered(question, answer));
    }
    let question = Question::parse(line).context("it has no question with an answer")?;
    let answer = question.answer.text().to_owned();
    Ok(Written::Answered(question.question, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_lines_and_of_questions() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let lines = read(&path("a.txt", "One two.\n\n  Three.\n")).unwrap();
        assert_eq!(lines, ["One two.", "Three."].map(|l| Written::Line(l.into())));
        let json = path(
            "b.jsonl",
            "{\"question\": \"2+2?\", \"answer\": \"It is 4.\\n#### 4\"}\n\
             {\"id\": \"q\", \"question\": \"Warm?\", \"choices\": [\"ice\", \"tea\"], \"answer\": 1}\n",
        );
        let of = |question: &str, answer: &str| Written::Answered(question.into(), answer.into());
        assert_eq!(
            read(&json).unwrap(),
            [of("2+2?", "It is 4.\n#### 4"), of("Warm?", "tea")]
        );
        let refused = |name: &str, text: &str| format!("{:#}", read(&path(name, text)).unwrap_err());
        assert!(refused("c.jsonl", "{\"question\": \"Why?\"}").contains("c.jsonl line 1: it has no question"));
        assert!(refused("d.jsonl", "\n{").contains("d.jsonl line 2: this is no JSON object"));
        assert!(refused("e.txt", "\n \n").contains("e.txt holds no texts"));
        assert!(format!("{:#}", read(folder.path()).unwrap_err()).contains("is no file"));
    }

    #[test]
    fn answers_too_short_to_measure_are_counted() {
        let mut held_out = HeldOut::default();
        let text = |tokens: usize| Text {
            prompt: vec![1],
            answer: vec![2; tokens],
        };
        held_out.add(0, text(3), 4);
        held_out.add(1, text(4), 4);
        assert_eq!(
            (held_out.short, held_out.tokens(), held_out.indices.as_slice()),
            (1, 4, &[1][..])
        );
        let error = HeldOut {
            short: 2,
            long: 1,
            ..HeldOut::default()
        }
        .check()
        .unwrap_err();
        assert!(error.to_string().contains("1 prompts leave no room"), "{error}");
    }
}
