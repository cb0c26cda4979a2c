//! Text that the model wrote itself, about whatever: what routers that learn from questions would not know otherwise.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use candle_core::{DType, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::VerifierSettings;
use super::effects::{LATER, some_rows};
use crate::engine::sampler::Sampler;
use crate::engine::sequence::Sequence;
use crate::eval::parallel::for_each_ordered;
use crate::model::Model;
use crate::program::Program;
use crate::trace::Sampling;

/// Most tokens of a question, and of what the model writes to it.
const QUESTION: usize = 32;
const ANSWER: usize = 24;

/// Temperatures, in turn: text as it is read mostly, and text that is odd.
const TEMPERATURES: [f64; 2] = [0.7, 1.0];

/// A text: what stands before, and what the model wrote.
struct Text {
    prompt: Vec<u32>,
    written: Vec<u32>,
}

/// States of some texts.
#[derive(Default)]
pub(super) struct States {
    /// That enter the verifier's layer: (rows, d).
    pub first: Vec<f32>,
    /// Some that enter each later layer of the longest span: (rows, d).
    pub later: Vec<Vec<f32>>,
}

/// States in `settings.texts` texts: of the written tokens, and of those of another text behind the same prompt, which
/// are seldom plausible there. One in four texts goes on from a word of the vocabulary; the others answer questions that
/// the model asked itself, most of them from such a word on.
///
/// Returns `None` where it was stopped. `done` hears the number of finished texts.
///
/// # Errors
/// Those of the model.
pub(super) fn states(
    model: &Model,
    settings: &VerifierSettings,
    threads: usize,
    stop: &AtomicBool,
    mut done: impl FnMut(usize),
) -> Result<Option<States>> {
    let words = words(model);
    let mut texts = Vec::with_capacity(settings.texts);
    let write = |index| Text::new(model, &words, index, settings.seed, stop).map(Some);
    for_each_ordered(0..settings.texts, threads, stop, write, |index, text| {
        texts.push(text);
        done(index + 1);
        Ok(())
    })?;
    let read = |index: usize| {
        let text = &texts[index];
        let other = &texts[(index + 4 * (1 + index % 7)) % texts.len()];
        let mut states = States::new(settings);
        states.add(States::of(model, settings, &text.prompt, &text.written)?);
        states.add(States::of(model, settings, &text.prompt, &other.written)?);
        Ok(Some(states))
    };
    let mut states = States::new(settings);
    let mut finished = 0;
    for_each_ordered(0..texts.len(), threads, stop, read, |_, of_text| {
        states.add(of_text);
        finished += 1;
        Ok(())
    })?;
    Ok((finished == settings.texts).then_some(states))
}

impl States {
    fn new(settings: &VerifierSettings) -> States {
        States {
            first: Vec::new(),
            later: vec![Vec::new(); settings.last() - settings.first],
        }
    }

    fn add(&mut self, other: States) {
        self.first.extend(other.first);
        for (all, states) in self.later.iter_mut().zip(other.later) {
            all.extend(states);
        }
    }

    /// Of the `written` tokens behind `prompt` that fit the context.
    fn of(model: &Model, settings: &VerifierSettings, prompt: &[u32], written: &[u32]) -> Result<States> {
        let mut states = States::new(settings);
        let decoder = &model.decoder;
        let room = decoder.config().context.saturating_sub(prompt.len());
        let written = &written[..written.len().min(room)];
        if written.is_empty() {
            return Ok(states);
        }
        let ids = [prompt, written].concat();
        let positions: Vec<u32> = (0..ids.len() as u32).collect();
        let chunk = decoder.chunk(&positions)?;
        let mut hidden = decoder.embed(&ids)?;
        let rows = |hidden: &Tensor| hidden.narrow(0, prompt.len(), written.len())?.to_dtype(DType::F32);
        for layer in 0..=settings.last() {
            match layer.checked_sub(settings.first) {
                Some(0) => states.first = rows(&hidden)?.flatten_all()?.to_vec1()?,
                Some(at) => states.later[at - 1] = some_rows(&rows(&hidden)?, LATER)?,
                None => {}
            }
            if layer < settings.last() {
                hidden = decoder.run_block(layer, &hidden, &chunk, None)?;
            }
        }
        Ok(states)
    }
}

/// Tokens that begin a word of three letters or more; where there are none, all that mean text.
fn words(model: &Model) -> Vec<u32> {
    let tokenizer = &model.tokenizer;
    let text = || (0..tokenizer.vocab_size() as u32).filter(|&id| !tokenizer.is_special(id));
    let is_word = |&id: &u32| {
        let piece = tokenizer.decode_piece(id);
        let word = piece.strip_prefix(' ').unwrap_or_default();
        word.chars().count() >= 3 && word.chars().all(char::is_alphabetic)
    };
    let words: Vec<u32> = text().filter(is_word).collect();
    if words.is_empty() { text().collect() } else { words }
}

impl Text {
    fn new(model: &Model, words: &[u32], index: usize, seed: u64, stop: &AtomicBool) -> Result<Text> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64);
        let word = words[rng.random_range(0..words.len())];
        let mut sampler = Sampler::new(&Sampling {
            temperature: TEMPERATURES[index / 4 % TEMPERATURES.len()],
            seed: rng.random(),
            ..Sampling::default()
        });
        let mut go_on = |prompt: &[u32], most, ends: char| go_on(model, &mut sampler, prompt, most, ends, stop);
        let prompt = match index % 4 {
            0 => vec![word],
            kind => {
                let mut asked = model.prompt_ids("Question:", true)?;
                let begins = asked.len();
                if kind > 1 {
                    asked.push(word);
                }
                asked.extend(go_on(&asked, QUESTION, '?')?);
                let question = model.tokenizer.decode(&asked[begins..]);
                match kind {
                    3 => model.prompt_ids(question.trim(), false)?,
                    _ => model.prompt_ids(&format!("Question:{question}\nAnswer:"), true)?,
                }
            }
        };
        // An empty question under no template: nothing would go through the model.
        let prompt = if prompt.is_empty() { vec![word] } else { prompt };
        let written = go_on(&prompt, ANSWER, '\n')?;
        Ok(Text { prompt, written })
    }
}

/// What the model writes after `prompt`: at most so many tokens, up to its end, a new line, or the first that holds
/// `ends`.
fn go_on(
    model: &Model,
    sampler: &mut Sampler,
    prompt: &[u32],
    most: usize,
    ends: char,
    stop: &AtomicBool,
) -> Result<Vec<u32>> {
    let standard = Program::standard(model.info.layers);
    let most = most.min(model.decoder.config().context.saturating_sub(prompt.len()));
    let mut sequence = Sequence::new(&model.decoder, stop);
    let mut written = Vec::new();
    let mut logits = sequence.run_program(prompt, &standard)?;
    while written.len() < most {
        let id = sampler.next(&logits, &[])?;
        let piece = model.tokenizer.decode_piece(id);
        if model.tokenizer.is_special(id) || model.tokenizer.eos_ids().contains(&id) || piece.contains('\n') {
            break;
        }
        written.push(id);
        if piece.contains(ends) {
            break;
        }
        logits = sequence.run_program(&[id], &standard)?;
    }
    Ok(written)
}
