//! Prompts, and what the model writes to them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::sampler::Sampler;
use crate::engine::sequence::Sequence;
use crate::eval::problems::{LmTask, Problem};
use crate::files;
use crate::model::{Decoder, Model};
use crate::program::Program;
use crate::router::checkpoint::hex;
use crate::trace::Sampling;

/// Answers of fewer tokens say too little.
pub const LEAST_ANSWER: usize = 4;

/// As many problems stand for the prompts of a LoopMoE model.
const PROBLEMS: usize = 4000;
const HELD_OUT_PROBLEMS: usize = 400;

/// Seeds of theirs; a training's own problems come from other streams.
const PROBLEM_SEED: u64 = 3;
const HELD_OUT_SEED: u64 = 4;

/// Bytes of a prompt file, at most.
const MOST_BYTES: u64 = 256 << 20;

/// Prompts that ship: they serve where the user names none.
const SHIPPED: &str = include_str!("../../../assets/depth-prompts.txt");

/// Others that ship, to measure on: none of them is among those.
const HELD_OUT: &str = include_str!("../../../assets/depth-prompts-held-out.txt");

/// Prompts of some files, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompts {
    /// Those of each file, in their order.
    pub files: Vec<Vec<String>>,
    /// Of all texts in turn.
    pub sha256: String,
}

/// A field of a JSON line that holds its prompt, the first that is there.
#[derive(Deserialize)]
struct PromptLine {
    prompt: Option<String>,
    question: Option<String>,
}

impl Prompts {
    /// The prompts that ship.
    fn shipped() -> Prompts {
        Prompts::new([SHIPPED.lines().map(str::to_owned).collect()])
    }

    /// The prompts that ship to measure on.
    fn held_out() -> Prompts {
        Prompts::new([HELD_OUT.lines().map(str::to_owned).collect()])
    }

    /// Those that serve a model where the user names none, to train on.
    pub fn of_model(decoder: &Decoder) -> Prompts {
        match decoder.loopmoe() {
            None => Prompts::shipped(),
            Some(_) => Prompts::problems(PROBLEMS, PROBLEM_SEED).without(&Prompts::held_out_of_model(decoder)),
        }
    }

    /// Others, to measure on.
    pub fn held_out_of_model(decoder: &Decoder) -> Prompts {
        match decoder.loopmoe() {
            None => Prompts::held_out(),
            Some(_) => Prompts::problems(HELD_OUT_PROBLEMS, HELD_OUT_SEED),
        }
    }

    /// Problems in the words of a LoopMoE model, of all kinds and as hard as its training had them.
    fn problems(count: usize, seed: u64) -> Prompts {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let problem = |_| Problem::any(&LmTask::ALL, &mut rng).question.join(" ");
        Prompts::new([(0..count).map(problem).collect()])
    }

    /// Those that `others` have not.
    pub fn without(self, others: &Prompts) -> Prompts {
        let others: HashSet<&String> = others.files.iter().flatten().collect();
        let files = self.files.into_iter();
        Prompts::new(files.map(|file| file.into_iter().filter(|text| !others.contains(text)).collect()))
    }

    /// Reads prompts: of a file whose name ends in `jsonl` or `json` the field `prompt` or `question` of each line, of
    /// another one each line.
    ///
    /// # Errors
    /// Names the file that cannot be read or holds none, and the line without a prompt.
    pub fn read(paths: &[PathBuf]) -> Result<Prompts> {
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let mut texts: Vec<String> = Vec::new();
            let text = read_text(path)?;
            let json = path.extension().is_some_and(|e| e == "jsonl" || e == "json");
            for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                if !json {
                    texts.push(line.trim().to_owned());
                    continue;
                }
                let place = || format!("{} line {}", path.display(), index + 1);
                let fields: PromptLine = serde_json::from_str(line)
                    .with_context(|| format!("{} is no JSON object with a field 'prompt' or 'question'", place()))?;
                let prompt = fields.prompt.or(fields.question);
                let prompt = prompt.with_context(|| format!("{} has neither 'prompt' nor 'question'", place()))?;
                texts.push(prompt.trim().to_owned());
            }
            ensure!(
                texts.iter().any(|text| !text.is_empty()),
                "{} holds no prompts: expected one a line, or JSON lines with a field 'prompt' or 'question'",
                path.display()
            );
            files.push(texts);
        }
        Ok(Prompts::new(files))
    }

    fn new(files: impl IntoIterator<Item = Vec<String>>) -> Prompts {
        let mut seen = HashSet::new();
        let mut once = |text: &String| !text.is_empty() && seen.insert(text.clone());
        let files = files
            .into_iter()
            .map(|file| file.into_iter().filter(&mut once).collect());
        let files: Vec<Vec<String>> = files.collect();
        let sha256 = hex(&Sha256::digest(files.concat().join("\n")));
        Prompts { files, sha256 }
    }
}

/// The text of a file of prompts.
///
/// # Errors
/// Names the file that is none, is too large or cannot be read.
pub fn read_text(path: &Path) -> Result<String> {
    let context = || format!("cannot read the prompts {}", path.display());
    let size = std::fs::metadata(path).with_context(context)?;
    ensure!(
        size.is_file() && size.len() <= MOST_BYTES,
        "{} is no file of prompts: expected a text file of at most {} MB",
        path.display(),
        MOST_BYTES >> 20
    );
    let text = files::read_text(path, files::DATA).with_context(context)?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(marked) => marked.to_owned(),
        None => text,
    })
}

/// The fewest tokens of an answer that serves. Those of a LoopMoE model are short, and each of their tokens counts.
pub fn least_answer(decoder: &Decoder) -> usize {
    match decoder.loopmoe() {
        None => LEAST_ANSWER,
        Some(_) => 1,
    }
}

/// The most tokens of an answer where `asked` were, so that a model of a short context has room for prompts.
pub fn most_answer(decoder: &Decoder, asked: usize) -> usize {
    asked.min((decoder.config().context / 4).max(LEAST_ANSWER))
}

/// A prompt and what the model wrote to it, without the end token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// Token ids, with what the chat template adds where there is one.
    pub prompt: Vec<u32>,
    /// Token ids.
    pub answer: Vec<u32>,
}

/// What some files hold, that of each in a random order. Files take turns, so that a large one does not drown the
/// others.
pub fn in_turns<T: Clone>(files: &[Vec<T>], seed: u64) -> Vec<T> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let shuffled = |file: &Vec<T>| {
        let mut items = file.clone();
        items.shuffle(&mut rng);
        items.into_iter()
    };
    let mut files: Vec<_> = files.iter().map(shuffled).collect();
    let mut all = Vec::new();
    loop {
        let before = all.len();
        all.extend(files.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            return all;
        }
    }
}

/// How the answer to the prompt of an index is drawn: each has a seed of its own.
pub fn sampling(temperature: f64, seed: u64, index: usize) -> Sampling {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1 + index as u64);
    Sampling {
        temperature,
        seed: rng.random(),
        ..Sampling::default()
    }
}

/// What the model writes after a prompt, at most `most` tokens, without the token that ends it; `None` where it was
/// stopped.
///
/// # Errors
/// Those of the model.
pub fn answer(
    model: &Model,
    prompt: &[u32],
    sampling: &Sampling,
    most: usize,
    stop: &AtomicBool,
) -> Result<Option<Vec<u32>>> {
    let mut sampler = Sampler::new(sampling);
    let standard = Program::standard(model.info.layers);
    let mut sequence = Sequence::new(&model.decoder, stop);
    let run = |sequence: &mut Sequence, ids: &[u32]| match sequence.run_program(ids, &standard) {
        Err(e) if e.is::<crate::engine::sequence::Stopped>() => Ok(None),
        logits => logits.map(Some),
    };
    let mut written = Vec::new();
    let Some(mut logits) = run(&mut sequence, prompt)? else {
        return Ok(None);
    };
    while written.len() < most {
        let id = sampler.next(&logits, &[])?;
        if model.tokenizer.eos_ids().contains(&id) {
            break;
        }
        written.push(id);
        let Some(next) = run(&mut sequence, &[id])? else {
            return Ok(None);
        };
        logits = next;
    }
    Ok(Some(written))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::loopmoe;

    #[test]
    fn prompts_of_lines_and_of_json_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let plain = path("a.txt", "One\n\n two \nOne\n");
        let json = path(
            "b.jsonl",
            "{\"question\": \"three\", \"choices\": []}\n{\"prompt\": \"two\"}\n",
        );
        let prompts = Prompts::read(&[plain.clone(), json]).unwrap();
        assert_eq!(prompts.files, [vec!["One", "two"], vec!["three"]]);
        assert_ne!(prompts.sha256, Prompts::read(&[plain]).unwrap().sha256);
        let refused = |name, text: &str| format!("{:#}", Prompts::read(&[path(name, text)]).unwrap_err());
        assert!(refused("empty.txt", "\n").contains("empty.txt holds no prompts"));
        assert!(refused("c.jsonl", "{\"text\": \"x\"}").contains("c.jsonl line 1 has neither"));
        assert!(refused("d.jsonl", "\n{").contains("d.jsonl line 2 is no JSON object"));
        let error = Prompts::read(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("is no file of prompts"), "{error}");
    }

    #[test]
    fn shipped_prompts_are_many_and_different() {
        let (shipped, held_out) = (Prompts::shipped(), Prompts::held_out());
        assert!(shipped.files[0].len() >= 400 && held_out.files[0].len() >= 64);
        assert_eq!(shipped.clone().without(&held_out), shipped, "no prompt is in both");
        assert!(shipped.clone().without(&shipped).files[0].is_empty());
    }

    #[test]
    fn a_looped_model_has_problems_for_prompts() {
        let looped = loopmoe::testing::model(&loopmoe::testing::tiny(), 3);
        let decoder = Decoder::of_loopmoe(looped, 64).unwrap();
        let (training, held_out) = (Prompts::of_model(&decoder), Prompts::held_out_of_model(&decoder));
        assert!(training.files[0].len() >= 2000 && held_out.files[0].len() >= 200);
        assert_eq!(training.clone().without(&held_out), training, "no problem is in both");
        assert!(training.files[0].iter().all(|text| text.ends_with(" =")));
        assert_eq!(most_answer(&decoder, 112), 16);
        assert_eq!(most_answer(&decoder, 8), 8);
        assert_eq!(least_answer(&decoder), 1);
    }

    #[test]
    fn files_take_turns() {
        let files = [vec![1, 2, 3, 4], vec![10], vec![20, 21]];
        let all = in_turns(&files, 7);
        assert_eq!(all, in_turns(&files, 7));
        let origins: Vec<i32> = all.iter().map(|item| item / 10).collect();
        assert_eq!(origins, [0, 1, 2, 0, 2, 0, 0]);
        assert!(in_turns::<i32>(&[], 7).is_empty());
    }
}
