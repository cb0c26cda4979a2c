//! The generation loop: prompt in, header, steps and a summary out.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use candle_core::{DType, Tensor};

use super::decide::{DecisionPolicy, RoutedChunk};
use super::distribution::likeliest;
use super::events::Prompt;
use super::sampler::{Sampler, report};
use super::sequence::{LayerProgress, Sequence, Stopped};
use crate::model::{Model, StreamDecoder};
use crate::program::Action;
use crate::router::Router;
use crate::trace::{
    BranchPoint, Candidate, Header, PromptToken, RouterInfo, SCHEMA, Settings, Step, StopReason, Summary, Trace, pinned,
};

/// What a run tells while it goes on.
pub enum Output {
    /// Once, before the first step.
    Header(Box<Header>),
    /// One generated token.
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
/// As [`Generation::start`].
pub fn generate(
    model: &Model,
    routers: Option<&dyn Router>,
    prompt: &Prompt,
    settings: &Settings,
    stop: &AtomicBool,
    sink: &mut dyn FnMut(Output),
) -> Result<Summary> {
    let (mut generation, header) = Generation::start(model, routers, prompt, settings, stop)?;
    sink(Output::Header(Box::new(header)));
    while let Some(step) = generation.step()? {
        sink(Output::Step(Box::new(step)));
    }
    Ok(generation.summary())
}

/// What was asked of a run does not fit the model: ids, layers or experts that it lacks.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

/// One run, a token at a time.
pub struct Generation<'a> {
    model: &'a Model,
    settings: &'a Settings,
    policy: DecisionPolicy<'a>,
    sampler: Sampler,
    text: StreamDecoder<'a>,
    /// The end of the text, as long as the longest stop string.
    tail: String,
    sequence: Sequence<'a>,
    /// Prompt and answer so far.
    ids: Vec<u32>,
    prompt_tokens: usize,
    /// Of the next token, (vocab_size); absent where it is forced.
    logits: Option<Tensor>,
    /// Tokens to come that are not drawn.
    forced: VecDeque<u32>,
    /// Block executions of the generated tokens.
    depth: usize,
    /// Block executions of a prompt token.
    prompt_depth: usize,
    /// Seconds that the prompt took.
    prefill: f64,
    /// Tokens computed here, and the seconds they took.
    computed: usize,
    decode: f64,
    ended: Option<StopReason>,
}

impl<'a> Generation<'a> {
    /// Reads the prompt.
    ///
    /// # Errors
    /// Settings that contradict each other, [`Unfit`] for what contradicts the model, an empty prompt or one beyond the
    /// context, and [`Stopped`] when stopped before the first token.
    pub fn start(
        model: &'a Model,
        routers: Option<&'a dyn Router>,
        prompt: &Prompt,
        settings: &'a Settings,
        stop: &'a AtomicBool,
    ) -> Result<(Self, Header)> {
        Generation::start_watched(model, routers, prompt, settings, stop, None)
    }

    /// As [`Self::start`]; `watch` hears how far the prompt is.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_watched(
        model: &'a Model,
        routers: Option<&'a dyn Router>,
        prompt: &Prompt,
        settings: &'a Settings,
        stop: &'a AtomicBool,
        watch: Option<LayerProgress<'a>>,
    ) -> Result<(Self, Header)> {
        let config = model.decoder.config();
        let mut policy = DecisionPolicy::new(settings, routers, config.layers)?;
        let fits = check_probe(settings, config.vocab_size)
            .and_then(|()| check_experts(settings, model))
            .and_then(|()| check_ids(prompt, config.vocab_size));
        fits.map_err(|error| Unfit(error.to_string()))?;
        let ids = prompt_ids(model, prompt, settings.raw)?;
        let sequence = Sequence::new(&model.decoder, stop).with_kv(settings.kv);
        let mut sequence = sequence.excluding(&settings.excluded_experts).watched(watch);
        let start = Instant::now();
        let routed = policy.prompt(&mut sequence, &ids)?;
        check_finite(model, routers.map(Router::info), &routed)?;
        let logits = report(&routed.logits, settings.logits, &settings.probe)?;
        let prefill = start.elapsed().as_secs_f64();
        let header = Header {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            model: model.info.clone(),
            device: model.device_name(),
            routers: routers.map(|r| r.info().clone()),
            settings: settings.clone(),
            prompt: prompt_tokens(model, &ids, settings, &routed),
            budget_exact: policy.budget_exact(ids.len()),
            program: routed.program,
            decisions: routed.decisions,
            candidates: policy.candidates().to_vec(),
            boundaries: policy.boundaries().to_vec(),
            prefill_ms: prefill * 1e3,
            logits,
            next: Vec::new(),
            branch: None,
        };
        let generation = Generation {
            model,
            settings,
            policy,
            sampler: Sampler::new(&settings.sampling),
            text: StreamDecoder::new(&model.tokenizer),
            tail: String::new(),
            sequence,
            prompt_tokens: ids.len(),
            ids,
            logits: Some(routed.logits),
            forced: VecDeque::new(),
            depth: 0,
            prompt_depth: header.program.depth(),
            prefill,
            computed: 0,
            decode: 0.0,
            ended: None,
        };
        Ok((generation, header))
    }

    /// Goes on after all steps of `kept`, which left `sequence`, under other `settings`: first the
    /// tokens `forced`, at least one, then what is drawn. Returns the header of the run that this
    /// makes; its steps begin with those of `kept`.
    ///
    /// A seed draws what it would have drawn if the whole run had gone this way.
    ///
    /// # Errors
    /// As [`Self::start`], and where the settings need routers that the kept run was not asked by.
    pub fn resume(
        model: &'a Model,
        routers: Option<&'a dyn Router>,
        kept: &Trace,
        sequence: Sequence<'a>,
        forced: Vec<u32>,
        settings: &'a Settings,
    ) -> Result<(Self, Header)> {
        let config = model.decoder.config();
        ensure!(
            !forced.is_empty(),
            "a branch begins with a token: choose one, or type some text"
        );
        ensure!(
            kept.steps.len() + forced.len() <= settings.max_tokens,
            "the branch begins at token {} of the answer and the run may have {}: raise max tokens in the settings",
            kept.steps.len() + forced.len(),
            settings.max_tokens
        );
        check_probe(settings, config.vocab_size)?;
        let mut policy = DecisionPolicy::new(settings, routers, config.layers)?;
        let info = routers.map(|r| r.info().clone());
        let (made_with, asked) = (kept.header.settings.kv, settings.kv);
        ensure!(
            made_with == asked,
            "the run was made with kv {made_with} and a branch keeps it: set kv to {made_with}, or run the prompt again \
             with kv {asked}"
        );
        let experts = |settings: &Settings| -> String {
            let names: Vec<String> = settings.excluded_experts.iter().map(ToString::to_string).collect();
            if names.is_empty() {
                "no expert".into()
            } else {
                names.join(" ")
            }
        };
        ensure!(
            kept.header.settings.excluded_experts == settings.excluded_experts,
            "the run was made with {} excluded and a branch keeps that: exclude the same, or run the prompt again with {} \
             excluded",
            experts(&kept.header.settings),
            experts(settings)
        );
        ensure!(
            !policy.is_routed() || are_same(kept.header.routers.as_ref(), info.as_ref()),
            "the run was made with other routers than those that are loaded: run the prompt again, or give a program"
        );
        policy.resume(kept, kept.steps.len(), &sequence)?;
        let mut sampler = Sampler::new(&settings.sampling);
        sampler.skip(kept.steps.len())?;
        let prompt = kept.header.prompt.iter().map(|t| t.id);
        let header = Header {
            settings: settings.clone(),
            routers: info,
            candidates: policy.candidates().to_vec(),
            boundaries: policy.boundaries().to_vec(),
            budget_exact: settings.budget.map(|_| false),
            branch: Some(BranchPoint {
                at: kept.header.prompt.len() + kept.steps.len(),
                forced: forced.len(),
            }),
            ..kept.header.clone()
        };
        let mut generation = Generation {
            model,
            settings,
            policy,
            sampler,
            text: StreamDecoder::new(&model.tokenizer),
            tail: String::new(),
            sequence,
            prompt_tokens: kept.header.prompt.len(),
            ids: prompt.chain(kept.steps.iter().map(|s| s.id)).collect(),
            logits: None,
            forced: forced.into(),
            depth: kept.steps.iter().map(|s| s.depth).sum(),
            prompt_depth: kept.header.program.depth(),
            prefill: kept.header.prefill_ms / 1e3,
            computed: 0,
            decode: 0.0,
            ended: None,
        };
        for step in kept.steps.iter().filter(|s| !s.special) {
            let mut text = generation.text.push(step.id);
            generation.cut_at_stop(&mut text);
        }
        Ok((generation, header))
    }

    /// The next token; `None` when the run is over.
    pub fn step(&mut self) -> Result<Option<Step>> {
        if let Some(reason) = self.over() {
            self.ended = Some(reason);
            return Ok(None);
        }
        let start = Instant::now();
        let id = self.next_id()?;
        let routed = match self.policy.token(&mut self.sequence, id) {
            Err(e) if e.is::<Stopped>() => {
                self.ended = Some(StopReason::Stopped);
                return Ok(None);
            }
            routed => routed?,
        };
        check_finite(self.model, self.policy.routers(), &routed)?;
        let tokenizer = &self.model.tokenizer;
        let special = tokenizer.is_special(id);
        if tokenizer.eos_ids().contains(&id) && !self.settings.ignore_eos {
            self.ended = Some(StopReason::EndToken);
        }
        let mut text = if special {
            tokenizer.decode_piece(id)
        } else {
            self.text.push(id)
        };
        if !special && self.cut_at_stop(&mut text) {
            self.ended = self.ended.or(Some(StopReason::StopString));
        }
        let depth = routed.program.depth();
        let step = Step {
            id,
            text,
            bytes: tokenizer.part_of_character(id).unwrap_or_default().to_vec(),
            special,
            position: self.ids.len(),
            next: Vec::new(),
            logits: report(&routed.logits, self.settings.logits, &self.settings.probe)?,
            program: routed.program,
            decisions: routed.decisions,
            depth,
            ms: start.elapsed().as_secs_f64() * 1e3,
        };
        self.ids.push(id);
        self.depth += depth;
        self.logits = Some(routed.logits);
        self.computed += 1;
        self.decode += start.elapsed().as_secs_f64();
        Ok(Some(step))
    }

    /// Why there is no further token, if there is none.
    fn over(&self) -> Option<StopReason> {
        let stopped = self.computed > 0 && self.sequence.stop_flag().load(Ordering::Relaxed);
        self.ended
            .or(stopped.then_some(StopReason::Stopped))
            .or((self.tokens() >= self.settings.max_tokens).then_some(StopReason::MaxTokens))
            .or((self.ids.len() >= self.model.decoder.config().context).then_some(StopReason::ContextFull))
    }

    /// The `count` likeliest tokens of those that may come next, the likeliest first; none where it is forced.
    pub fn likeliest(&self, count: usize) -> Result<Vec<Candidate>> {
        match &self.logits {
            Some(logits) => likeliest(logits, count, &self.model.tokenizer),
            None => Ok(Vec::new()),
        }
    }

    /// Of the next token, (vocab_size), as they come from the model; none where it is forced.
    pub fn logits(&self) -> Option<&Tensor> {
        self.logits.as_ref()
    }

    /// Forced, or drawn. A forced token uses up the number that would have drawn one.
    fn next_id(&mut self) -> Result<u32> {
        if let Some(id) = self.forced.pop_front() {
            self.sampler.skip(1)?;
            return Ok(id);
        }
        let logits = self
            .logits
            .as_ref()
            .expect("a run without logits begins with a forced token");
        self.sampler.next(logits, &self.ids)
    }

    /// Generated tokens so far, those kept from another run too.
    fn tokens(&self) -> usize {
        self.ids.len() - self.prompt_tokens
    }

    /// What the tokens so far left in the passes.
    pub fn sequence(&self) -> &Sequence<'a> {
        &self.sequence
    }

    /// As [`Self::sequence`], when the run is over.
    pub fn into_sequence(self) -> Sequence<'a> {
        self.sequence
    }

    /// What the run came to.
    pub fn summary(&self) -> Summary {
        let tokens = self.tokens();
        let mean_depth = match tokens {
            0 => self.prompt_depth as f64,
            n => self.depth as f64 / n as f64,
        };
        Summary {
            tokens,
            prompt_tokens: self.prompt_tokens,
            stop: self.ended.unwrap_or(StopReason::Stopped),
            mean_depth,
            layers_saved: self.model.decoder.config().layers as f64 - mean_depth,
            prefill_tokens_per_second: match self.prefill {
                s if s > 0.0 => self.prompt_tokens as f64 / s,
                _ => 0.0,
            },
            decode_tokens_per_second: match self.computed {
                0 => 0.0,
                n => n as f64 / self.decode,
            },
        }
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

/// Whether a run's routers are those that are loaded.
pub(super) fn are_same(made_with: Option<&RouterInfo>, loaded: Option<&RouterInfo>) -> bool {
    match (made_with, loaded) {
        (Some(a), Some(b)) => a.is_same(b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// Refuses what no trace could hold and no sampler could draw from, before it reaches either.
fn check_finite(model: &Model, routers: Option<&RouterInfo>, routed: &RoutedChunk) -> Result<()> {
    let mut probs = routed
        .decisions
        .iter()
        .map(|decision| decision.probs.unwrap_or_default());
    if let Some(layer) = probs.position(|probs| !probs.iter().all(|p| p.is_finite())) {
        let name = routers.map_or("", |info| info.name.as_str());
        bail!(
            "the routers {name} answer with numbers that are not finite at layer {layer}: they are damaged, or made for \
             another model; train them anew, or run with --routers none"
        );
    }
    // One number that is not finite makes the sum so.
    let sum: f32 = routed.logits.to_dtype(DType::F32)?.sum_all()?.to_scalar()?;
    ensure!(
        sum.is_finite(),
        "the model {} computes numbers that are not finite: its weights are damaged (`drllm-tui models inspect` reads \
         them), or too large for this precision; get the model again",
        model.info.name
    );
    Ok(())
}

fn check_probe(settings: &Settings, vocab_size: usize) -> Result<()> {
    let outside = settings.probe.iter().find(|&&id| id as usize >= vocab_size);
    match outside {
        Some(id) => bail!(
            "the probed token id {id} is outside the vocabulary of {vocab_size}: expected 0 to {}",
            vocab_size - 1
        ),
        None => Ok(()),
    }
}

/// Ids that were given as such; those of a text come from the tokenizer.
fn check_ids(prompt: &Prompt, vocab_size: usize) -> Result<()> {
    let Prompt::Ids(ids) = prompt else { return Ok(()) };
    match ids.iter().find(|&&id| id as usize >= vocab_size) {
        Some(id) => bail!(
            "the token id {id} of the prompt is outside the vocabulary of {vocab_size}: expected 0 to {}",
            vocab_size - 1
        ),
        None => Ok(()),
    }
}

/// Excluded experts are of the model, and leave each token as many as it needs.
fn check_experts(settings: &Settings, model: &Model) -> Result<()> {
    let excluded = &settings.excluded_experts;
    let Some(first) = excluded.first() else {
        return Ok(());
    };
    let Some(looped) = model.decoder.loopmoe() else {
        bail!(
            "expert {first} cannot be excluded: {} has no experts, as a looped model (--model loopmoe) has",
            model.info.name
        );
    };
    let config = looped.model().config();
    for of in excluded {
        let (layers, experts) = (config.unique_layers(), config.n_routed_experts);
        ensure!(
            of.layer < layers,
            "expert {of}: there is no layer {}; its layers with weights of their own are 0-{}, whatever executions run them",
            of.layer,
            layers - 1
        );
        ensure!(
            !config.is_dense(of.layer),
            "expert {of}: layer {} is dense and has no experts; the others have",
            of.layer
        );
        ensure!(
            of.expert < experts,
            "expert {of}: there is no expert {}; a layer has 0-{}",
            of.expert,
            experts - 1
        );
        let gone: BTreeSet<usize> = excluded
            .iter()
            .filter(|e| e.layer == of.layer)
            .map(|e| e.expert)
            .collect();
        let left = experts - gone.len();
        ensure!(
            left >= config.num_experts_per_tok,
            "layer {} would have {left} experts left, a token needs {}: exclude fewer",
            of.layer,
            config.num_experts_per_tok
        );
    }
    Ok(())
}

fn prompt_tokens(model: &Model, ids: &[u32], settings: &Settings, routed: &RoutedChunk) -> Vec<PromptToken> {
    let shared = |layer: usize| routed.decisions[layer].action;
    let differs = |position: usize| -> Vec<(usize, Action)> {
        let layers = 0..routed.decisions.len();
        let pins = layers.filter_map(|l| Some((l, pinned(&settings.pins, l, position)?)));
        pins.filter(|(l, a)| *a != shared(*l)).collect()
    };
    let token = |(position, &id): (usize, &u32)| PromptToken {
        id,
        text: model.tokenizer.decode_piece(id),
        bytes: model.tokenizer.part_of_character(id).unwrap_or_default().to_vec(),
        special: model.tokenizer.is_special(id),
        pinned: differs(position),
    };
    ids.iter().enumerate().map(token).collect()
}
