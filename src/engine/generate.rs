//! The generation loop: prompt in, header, steps and a summary out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};

use super::events::Prompt;
use super::route::{Route, Routed};
use super::sampler::{Sampler, report};
use super::sequence::{Sequence, Stopped};
use super::settings::Settings;
use super::trace::{Header, PromptToken, SCHEMA, Step, StopReason, Summary};
use crate::model::{Model, StreamDecoder};
use crate::program::Action;
use crate::router::RouterSet;
use crate::router::policy::pinned;

/// What a run tells while it goes on.
pub enum Output {
    Header(Box<Header>),
    Step(Box<Step>),
}

/// A message of a conversation under the model's chat template, or the raw text.
pub fn prompt_ids(model: &Model, prompt: &Prompt, raw: bool) -> Result<Vec<u32>> {
    let ids = match prompt {
        Prompt::Ids(ids) => ids.clone(),
        Prompt::Text(text) => {
            ensure!(
                !text.trim().is_empty(),
                "the prompt is empty: type something for the model to answer"
            );
            model.prompt_ids(text, raw)?
        }
    };
    ensure!(!ids.is_empty(), "the prompt is empty: it has no tokens");
    let context = model.decoder.config().context;
    ensure!(
        ids.len() < context,
        "the prompt has {} tokens, the model's context holds {context}: shorten it",
        ids.len()
    );
    Ok(ids)
}

/// Runs a prompt until it ends, `sink` hearing of every step when it is computed. `stop` ends it
/// after the layer in work.
///
/// # Errors
/// Settings that contradict each other or the model, an empty prompt or one beyond the context, and
/// [`Stopped`] when stopped before the first token.
pub fn generate(
    model: &Model,
    routers: Option<&RouterSet>,
    prompt: &Prompt,
    settings: &Settings,
    stop: &AtomicBool,
    sink: &mut dyn FnMut(Output),
) -> Result<Summary> {
    let config = model.decoder.config();
    let mut route = Route::new(settings, routers, config.layers)?;
    if let Some(id) = settings.probe.iter().find(|&&id| id as usize >= config.vocab_size) {
        anyhow::bail!(
            "the probed token id {id} is outside the vocabulary of {}",
            config.vocab_size
        );
    }
    let ids = prompt_ids(model, prompt, settings.raw)?;
    let mut sequence = Sequence::new(&model.decoder, stop);
    let start = Instant::now();
    let routed = route.prompt(&mut sequence, &ids)?;
    let logits = report(&routed.logits, settings.logits, &settings.probe)?;
    let prefill = start.elapsed().as_secs_f64();
    sink(Output::Header(Box::new(Header {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").into(),
        model: model.info.clone(),
        device: model.device_name(),
        routers: routers.map(|r| r.info.clone()),
        settings: settings.clone(),
        prompt: prompt_tokens(model, &ids, settings, &routed),
        program: routed.program.clone(),
        decisions: routed.decisions.clone(),
        budget_exact: route.budget_exact(ids.len()),
        prefill_ms: prefill * 1e3,
        logits,
    })));
    let mut run = Run {
        model,
        settings,
        sampler: Sampler::new(&settings.sampling),
        text: StreamDecoder::new(&model.tokenizer),
        tail: String::new(),
        sequence,
        ids: ids.clone(),
        depth: 0,
        ms: 0.0,
    };
    let stop_reason = run.decode(&mut route, &routed, sink)?;
    // Without the time that the sink took, which may hold the run.
    let decode = run.ms / 1e3;
    let tokens = run.ids.len() - ids.len();
    let mean_depth = match tokens {
        0 => routed.program.depth() as f64,
        n => run.depth as f64 / n as f64,
    };
    Ok(Summary {
        tokens,
        prompt_tokens: ids.len(),
        stop: stop_reason,
        mean_depth,
        layers_saved: config.layers as f64 - mean_depth,
        prefill_tokens_per_second: ids.len() as f64 / prefill,
        decode_tokens_per_second: if tokens == 0 { 0.0 } else { tokens as f64 / decode },
    })
}

struct Run<'a> {
    model: &'a Model,
    settings: &'a Settings,
    sampler: Sampler,
    text: StreamDecoder<'a>,
    /// The end of the text, as long as the longest stop string.
    tail: String,
    sequence: Sequence<'a>,
    ids: Vec<u32>,
    /// Block executions of the generated tokens.
    depth: usize,
    /// Milliseconds of the generated tokens.
    ms: f64,
}

impl Run<'_> {
    fn decode(&mut self, route: &mut Route, prompt: &Routed, sink: &mut dyn FnMut(Output)) -> Result<StopReason> {
        let mut logits = prompt.logits.clone();
        for _ in 0..self.settings.max_tokens {
            if self.ids.len() >= self.model.decoder.config().context {
                return Ok(StopReason::ContextFull);
            }
            let start = Instant::now();
            let id = self.sampler.next(&logits, &self.ids)?;
            let routed = match route.token(&mut self.sequence, id) {
                Err(e) if e.is::<Stopped>() => return Ok(StopReason::Stopped),
                routed => routed?,
            };
            let special = self.model.tokenizer.is_special(id);
            let ended = self.model.tokenizer.eos_ids().contains(&id) && !self.settings.ignore_eos;
            let mut text = if special {
                self.model.tokenizer.decode_piece(id)
            } else {
                self.text.push(id)
            };
            let stopped = !special && self.cut_at_stop(&mut text);
            let depth = routed.program.depth();
            let step = Step {
                id,
                text,
                special,
                position: self.ids.len(),
                logits: report(&routed.logits, self.settings.logits, &self.settings.probe)?,
                program: routed.program,
                decisions: routed.decisions,
                depth,
                ms: start.elapsed().as_secs_f64() * 1e3,
            };
            self.ids.push(id);
            self.depth += depth;
            self.ms += step.ms;
            logits = routed.logits;
            sink(Output::Step(Box::new(step)));
            if ended {
                return Ok(StopReason::EndToken);
            }
            if stopped {
                return Ok(StopReason::StopString);
            }
            if self.sequence_stopped() {
                return Ok(StopReason::Stopped);
            }
        }
        Ok(StopReason::MaxTokens)
    }

    fn sequence_stopped(&self) -> bool {
        self.sequence.stop_flag().load(Ordering::Relaxed)
    }

    /// Whether a stop string is complete with `text`; then cuts from it on what `text` holds of it.
    fn cut_at_stop(&mut self, text: &mut String) -> bool {
        let before = self.tail.len();
        self.tail.push_str(text);
        let found = self.settings.stop.iter().filter(|s| !s.is_empty());
        if let Some(at) = found.filter_map(|s| self.tail.find(s.as_str())).min() {
            text.truncate(at.saturating_sub(before));
            return true;
        }
        let keep = self.settings.stop.iter().map(String::len).max().unwrap_or(0);
        let mut cut = self.tail.len().saturating_sub(keep);
        while !self.tail.is_char_boundary(cut) {
            cut -= 1;
        }
        self.tail.drain(..cut);
        false
    }
}

fn prompt_tokens(model: &Model, ids: &[u32], settings: &Settings, routed: &Routed) -> Vec<PromptToken> {
    let shared = |layer: usize| routed.decisions[layer].action;
    let differs = |position: usize| -> Vec<(usize, Action)> {
        let layers = 0..routed.decisions.len();
        let pins = layers.filter_map(|l| Some((l, pinned(&settings.pins, l, position)?)));
        pins.filter(|(l, a)| *a != shared(*l)).collect()
    };
    let token = |(position, &id): (usize, &u32)| PromptToken {
        id,
        text: model.tokenizer.decode_piece(id),
        special: model.tokenizer.is_special(id),
        pinned: differs(position),
    };
    ids.iter().enumerate().map(token).collect()
}
