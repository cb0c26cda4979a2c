//! The texts of a training: prompts, and the answers that the model writes to them.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::DepthSettings;
use crate::eval::parallel::for_each_ordered;
use crate::eval::text::answers::{Prompts, Text, answer, in_turns, least_answer, sampling};
use crate::line_file::{Existing, FileWords, LineFile, difference, to_line, whole_lines};
use crate::model::Model;

const WORDS: FileWords = FileWords {
    contents: "texts",
    writer: "training",
    option: "--out",
};

/// The texts of a training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts {
    /// Those that routers learn from.
    pub training: Vec<Text>,
    /// Of prompts that no training text has.
    pub held_out: Vec<Text>,
}

/// What texts depend on; where it differs, those of a file are of no use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    format: u32,
    model_sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iterations: Option<usize>,
    prompts_sha256: String,
    texts: usize,
    held_out: usize,
    prompt_tokens: usize,
    answer_tokens: usize,
    temperature: f64,
    seed: u64,
}

/// The prompts of all texts: first those held out, each once, then those to train on, again and again as often as it
/// takes.
///
/// # Errors
/// Too few prompts of a length that can be used.
pub fn choose(model: &Model, prompts: &Prompts, settings: &DepthSettings) -> Result<Vec<Vec<u32>>> {
    let context = model.decoder.config().context;
    let most = settings
        .prompt_tokens
        .min(context.saturating_sub(settings.answer_tokens));
    let needed = settings.held_out + settings.texts;
    let mut usable: Vec<Vec<u32>> = Vec::with_capacity(needed);
    let (mut long, mut characters) = (0, 0);
    for text in in_turns(&prompts.files, settings.seed) {
        if usable.len() == needed {
            break;
        }
        let ids = model.prompt_ids(&text, false)?;
        if ids.len() > most {
            long += 1;
        } else {
            characters += text.chars().count();
            usable.push(ids);
        }
    }
    if long > 0 {
        crate::note!("{long} prompts are longer than {most} tokens and passed over");
    }
    let needed = settings.held_out + 1;
    ensure!(
        usable.len() >= needed,
        "{} prompts can be used, {needed} are needed at least: {} held out for the calibration and one to train on; give \
         more with --prompts, or hold out fewer with --held-out",
        usable.len(),
        settings.held_out
    );
    // The template's own tokens are the same in all.
    let fixed = model.prompt_ids("a", false)?.len() - 1;
    let tokens: usize = usable.iter().map(|ids| ids.len().saturating_sub(fixed)).sum();
    if tokens > characters {
        crate::note!(
            "the prompts take {tokens} tokens for {characters} characters: this model hardly knows their language, and \
             what it writes to them may be of no use"
        );
    }
    let training = usable.split_off(settings.held_out);
    let training = training.iter().cycle().take(settings.texts).cloned();
    Ok(usable.into_iter().chain(training.collect::<Vec<_>>()).collect())
}

/// Has the model write an answer to each of the chosen prompts; those in the file at `path` are taken from there, and
/// new ones added. `None` where it was stopped. `done` hears the number of finished texts.
///
/// # Errors
/// Those of [`choose`], a file of other settings, and those of the model.
pub fn write(
    model: &Model,
    prompts: &Prompts,
    settings: &DepthSettings,
    (path, existing): (&Path, Existing),
    threads: usize,
    stop: &AtomicBool,
    mut done: impl FnMut(usize),
) -> Result<Option<Texts>> {
    let chosen = choose(model, prompts, settings)?;
    let header = Header {
        format: 1,
        model_sha256: model.info.sha256.clone(),
        iterations: model.info.other_iterations(),
        prompts_sha256: prompts.sha256.clone(),
        texts: settings.texts,
        held_out: settings.held_out,
        prompt_tokens: settings.prompt_tokens,
        answer_tokens: settings.answer_tokens,
        temperature: settings.temperature,
        seed: settings.seed,
    };
    let (mut file, mut answers) = open(path, existing, &header)?;
    done(answers.len());
    let write = |index: usize| {
        let sampling = sampling(settings.temperature, settings.seed, index);
        answer(model, &chosen[index], &sampling, settings.answer_tokens, stop)
    };
    for_each_ordered(answers.len()..chosen.len(), threads, stop, write, |index, answer| {
        file.append(&to_line(&answer))?;
        answers.push(answer);
        done(index + 1);
        Ok(())
    })?;
    if answers.len() < chosen.len() {
        return Ok(None);
    }
    let texts = chosen.into_iter().zip(answers);
    let texts = texts.map(|(prompt, answer)| Text { prompt, answer });
    let least = least_answer(&model.decoder);
    let long_enough = |texts: &[Text]| {
        let texts = texts.iter().filter(|text| text.answer.len() >= least);
        texts.cloned().collect::<Vec<_>>()
    };
    let texts: Vec<Text> = texts.collect();
    let (held_out, training) = texts.split_at(settings.held_out);
    let texts = Texts {
        training: long_enough(training),
        held_out: long_enough(held_out),
    };
    ensure!(
        !texts.training.is_empty() && (settings.held_out == 0 || !texts.held_out.is_empty()),
        "the model ends its answers to these prompts at once: give other prompts with --prompts"
    );
    Ok(Some(texts))
}

fn open(path: &Path, existing: Existing, header: &Header) -> Result<(LineFile, Vec<Vec<u32>>)> {
    let mut file = LineFile::open(path, existing, WORDS)?;
    let mut bytes = file.read()?;
    if existing != Existing::Resume {
        // Its name follows from --out; nobody has said that what stands there may be replaced.
        let first = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
        let own = bytes.is_empty() || serde_json::from_slice::<Header>(first).is_ok();
        ensure!(
            own,
            "{} is no file of a training's texts, and one would be written there; move it away or choose another --out",
            path.display()
        );
        bytes.clear();
    }
    let whole = whole_lines(&bytes);
    let damaged = || {
        format!(
            "{} holds no texts of a training; begin anew with --force",
            path.display()
        )
    };
    let text = std::str::from_utf8(&bytes[..whole]).with_context(damaged)?;
    let mut lines = text.lines();
    let mut answers: Vec<Vec<u32>> = Vec::new();
    if let Some(first) = lines.next() {
        let found: Header = serde_json::from_str(first).with_context(damaged)?;
        if let Some((field, here, there)) = difference(header, &found, &[]) {
            bail!(
                "{} was made with {field} = {there}, this training has {here}; use the same settings, another --out, or \
                 --force to begin anew",
                path.display()
            );
        }
        for line in lines {
            answers.push(serde_json::from_str(line).with_context(damaged)?);
        }
    }
    file.begin(whole, &to_line(header))?;
    Ok((file, answers))
}
