//! The thread that runs the model: one request at a time, in the order in which they came.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use candle_core::Tensor;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, UnboundedSender};

use super::method_name::{self, NamedMethod};
use super::reply::{Choice, Envelope, Finish, StopCutter};
use super::request::CompletionRequest;
use super::score::{ScoredText, TextScorer, as_floats};
use super::{ServeError, ServeLimits};
use crate::engine::sampler::Sampler;
use crate::engine::sequence::Stopped;
use crate::engine::{Generation, Prompt, RouterChoice, load_routers};
use crate::guard;
use crate::model::Model;
use crate::router::Router;
use crate::text::escape_controls;
use crate::trace::{Settings, StopReason};

/// Longest text whose tokens are asked for, in tokens or bytes.
const MOST_TEXT: usize = 1 << 20;

/// What is asked of the model.
pub enum Asked {
    /// Answers to prompts, or log-probabilities of the prompts' own tokens.
    Completion(Box<CompletionRequest>),
    /// The ids of a text.
    Tokenize {
        /// At most 1 MiB, else it is refused.
        text: String,
        /// Whether it is taken as a prompt, with the model's begin token where it wants one.
        special: bool,
    },
    /// The text of these ids.
    Detokenize(Vec<u32>),
}

/// One request.
pub struct Job {
    /// What is to be done.
    pub asked: Asked,
    /// Set once nobody waits for the answer any more.
    pub gone: Arc<AtomicBool>,
    /// Where the answer goes.
    pub answers: UnboundedSender<ServeAnswer>,
}

/// What comes back: pieces where they are asked for, then one of the others.
#[derive(Debug)]
pub enum ServeAnswer {
    /// A part of a streamed answer, as the interface has it.
    Piece(Value),
    /// The whole answer; of a streamed one its last part.
    Done(Value),
    /// Why there is no answer.
    Failed(ServeError),
}

/// What the thread works with.
pub struct ServeWorker<'a> {
    /// The one model that is served.
    pub model: &'a Model,
    /// The checkpoint behind the name `drllm:routers`.
    pub routers: Option<PathBuf>,
    /// What the server was started with.
    pub limits: ServeLimits,
    loaded: HashMap<String, Option<Box<dyn Router>>>,
}

/// Numbers answers.
static ANSWERS: AtomicU64 = AtomicU64::new(1);

impl<'a> ServeWorker<'a> {
    /// A worker with no routers loaded yet; `routers` is the checkpoint behind the name `drllm:routers`.
    pub fn new(model: &'a Model, routers: Option<PathBuf>, limits: ServeLimits) -> Self {
        ServeWorker {
            model,
            routers,
            limits,
            loaded: HashMap::new(),
        }
    }

    /// Names of routers that there are for the model, the server's own among them.
    ///
    /// # Errors
    /// Own routers that cannot be read, or are another model's.
    pub fn names(&mut self) -> Result<Vec<String>> {
        if let Some(path) = &self.routers {
            load_routers(&RouterChoice::File(path.clone()), self.model)?;
        }
        let shipped = [RouterChoice::BuiltIn, RouterChoice::Verifier, RouterChoice::DrLlm];
        let there = |choice: &RouterChoice| matches!(load_routers(choice, self.model), Ok(Some(_)));
        let shipped: Vec<RouterChoice> = shipped.into_iter().filter(there).collect();
        Ok(method_name::names(self.routers.is_some(), &shipped))
    }

    /// Answers until nobody can ask any more.
    pub fn run(&mut self, mut jobs: Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            if job.gone.load(Ordering::Relaxed) {
                continue;
            }
            let answered = guard::catch(|| self.answer(&job));
            let answer = match answered {
                Ok(Ok(value)) => ServeAnswer::Done(value),
                Ok(Err(error)) => ServeAnswer::Failed(error),
                Err(panic) => ServeAnswer::Failed(ServeError::new(500, escape_controls(&panic.to_string()))),
            };
            // Who asked may be gone.
            let _ = job.answers.send(answer);
        }
    }

    fn answer(&mut self, job: &Job) -> Result<Value, ServeError> {
        let tokenizer = &self.model.tokenizer;
        match &job.asked {
            Asked::Completion(request) => self.complete(request, job),
            Asked::Tokenize { text, special } => {
                too_long("prompt", text.len())?;
                let ids = match special {
                    true => tokenizer.encode_prompt(text),
                    false => tokenizer.encode(text),
                };
                let ids = ids.map_err(|e| ServeError::field("prompt", e.to_string()))?;
                Ok(json!({"count": ids.len(), "max_model_len": self.model.info.context, "tokens": ids}))
            }
            Asked::Detokenize(ids) => {
                too_long("tokens", ids.len())?;
                check_ids("tokens", ids, self.model)?;
                Ok(json!({"prompt": tokenizer.decode(ids)}))
            }
        }
    }

    fn complete(&mut self, request: &CompletionRequest, job: &Job) -> Result<Value, ServeError> {
        let own = self.routers.as_deref();
        let method = method_name::parse(&request.model, &self.model.info, own)?;
        let model = self.model;
        let routers = self.load(&method.routers)?;
        let settings = settings(&method, request, routers)?;
        let ids: Vec<Vec<u32>> = request
            .prompts
            .iter()
            .map(|prompt| ids(prompt, request, model))
            .collect::<Result<_, _>>()?;
        let envelope = Envelope {
            id: format!("cmpl-{}", ANSWERS.fetch_add(1, Ordering::Relaxed)),
            created: chrono::Utc::now().timestamp(),
            model: request.model.clone(),
        };
        let one = PromptRun {
            model,
            routers,
            settings: &settings,
            request,
            stop: &job.gone,
        };
        let (mut choices, mut generated) = (Vec::new(), 0);
        let mut tell = |text: &str| {
            if request.stream && !text.is_empty() {
                // Who asked may be gone, which ends the run by its flag.
                let _ = job.answers.send(ServeAnswer::Piece(envelope.piece(text, None)));
            }
        };
        for (index, ids) in ids.iter().enumerate() {
            let (choice, tokens) = one.answer(index, ids, &mut tell).map_err(failed)?;
            generated += tokens;
            choices.push(choice);
        }
        if let (true, Some(choice)) = (request.stream, choices.last()) {
            return Ok(envelope.piece("", Some(choice.finish)));
        }
        let read = ids.iter().map(Vec::len).sum();
        Ok(envelope.completion(&choices, (read, generated), &model.tokenizer))
    }

    /// The routers of a choice, loaded once.
    fn load(&mut self, choice: &RouterChoice) -> Result<Option<&dyn Router>, ServeError> {
        let name = choice.to_string();
        if !self.loaded.contains_key(&name) {
            let routers = load_routers(choice, self.model);
            let routers = routers.map_err(|e| ServeError::field("model", escape_controls(&format!("{e:#}"))))?;
            if routers.is_none() && *choice != RouterChoice::None {
                let message = format!(
                    "no routers ship for {}: name a program, or drllm:none",
                    self.model.info.name
                );
                return Err(ServeError::field("model", message));
            }
            self.loaded.insert(name.clone(), routers);
        }
        Ok(self.loaded[&name].as_deref())
    }
}

fn settings(
    method: &NamedMethod,
    request: &CompletionRequest,
    routers: Option<&dyn Router>,
) -> Result<Settings, ServeError> {
    let mut settings = method.settings.clone();
    if let Some(depth) = method.depth {
        let dial = crate::engine::dial_for_depth(routers.map(Router::info), depth);
        settings.dial = dial.map_err(|e| ServeError::field("model", e.replace("--depth", "depth")))?;
    }
    settings.max_tokens = request.max_tokens;
    settings.ignore_eos = request.ignore_eos;
    settings.sampling = request.sampling.clone();
    settings.check_alone().map_err(|e| ServeError::new(400, e))?;
    Ok(settings)
}

/// A prompt's ids, and that it leaves room for what is asked for.
fn ids(prompt: &Prompt, request: &CompletionRequest, model: &Model) -> Result<Vec<u32>, ServeError> {
    let wrong = |message: String| ServeError::field("prompt", message);
    let ids = match prompt {
        Prompt::Text(text) => {
            too_long("prompt", text.len())?;
            model.prompt_ids(text, true).map_err(|e| wrong(format!("{e:#}")))?
        }
        Prompt::Ids(ids) => {
            check_ids("prompt", ids, model)?;
            ids.clone()
        }
    };
    if ids.is_empty() {
        return Err(wrong("it has no tokens: there is nothing to go on from".into()));
    }
    let (length, more, context) = (ids.len(), request.max_tokens, model.info.context);
    if length + more > context || length == context {
        return Err(wrong(format!(
            "its {length} tokens and max_tokens {more} are more than the model's context of {context}; shorten one of them"
        )));
    }
    if let Some(prompt) = request.prompt_tokens.filter(|n| !(1..=length).contains(n)) {
        let message = format!("it is {prompt}: expected 1 to the {length} tokens that the text has");
        return Err(ServeError::field("prompt_tokens", message));
    }
    Ok(ids)
}

fn too_long(field: &'static str, length: usize) -> Result<(), ServeError> {
    match length > MOST_TEXT {
        true => Err(ServeError::field(
            field,
            format!("it is longer than {MOST_TEXT}, no model's context holds it"),
        )),
        false => Ok(()),
    }
}

fn check_ids(field: &'static str, ids: &[u32], model: &Model) -> Result<(), ServeError> {
    let vocabulary = model.info.vocab_size;
    match ids.iter().find(|&&id| id as usize >= vocabulary) {
        Some(id) => {
            let message = format!(
                "there is no token {id}; this model has 0-{}",
                vocabulary.saturating_sub(1)
            );
            Err(ServeError::field(field, message))
        }
        None => Ok(()),
    }
}

/// What went wrong with the model; nobody hears of a request that was given up.
fn failed(error: anyhow::Error) -> ServeError {
    match error.is::<Stopped>() {
        true => ServeError::new(503, "the request was given up before it was answered"),
        false => ServeError::new(500, escape_controls(&format!("{error:#}"))),
    }
}

/// How a request's prompts are run.
struct PromptRun<'a> {
    model: &'a Model,
    routers: Option<&'a dyn Router>,
    settings: &'a Settings,
    request: &'a CompletionRequest,
    stop: &'a AtomicBool,
}

impl PromptRun<'_> {
    /// The answer to one prompt, `tell` hearing its text as it comes, and how many tokens were generated.
    fn answer(&self, index: usize, ids: &[u32], tell: &mut dyn FnMut(&str)) -> Result<(Choice, usize)> {
        let request = self.request;
        let scorer = TextScorer {
            model: self.model,
            routers: self.routers,
            settings: self.settings,
            top: request.logprobs.unwrap_or(0),
            stop: self.stop,
        };
        let mut choice = Choice {
            index,
            text: String::new(),
            finish: Finish::Length,
            tokens: request.logprobs.map(|_| Vec::new()),
            depth: 0.0,
        };
        let mut read = None;
        if request.echo {
            choice.text = match &request.prompts[index] {
                Prompt::Text(text) => text.clone(),
                Prompt::Ids(ids) => self.model.tokenizer.decode(ids),
            };
            if request.logprobs.is_some() {
                let text = scorer.score(ids, request.prompt_tokens.unwrap_or(1))?;
                choice.depth = text.depth;
                choice.tokens = Some(text.tokens.clone());
                read = Some(text);
            }
        }
        let generated = match (request.max_tokens, read) {
            (0, _) => 0,
            // One token needs no second pass over what was just read.
            (1, Some(read)) => self.next(&read, ids, &scorer, &mut choice)?,
            _ => self.generate(ids, &scorer, &mut choice, tell)?,
        };
        Ok((choice, generated))
    }

    /// Draws the one token after a text.
    fn next(&self, read: &ScoredText, ids: &[u32], scorer: &TextScorer, choice: &mut Choice) -> Result<usize> {
        let id = Sampler::new(&self.settings.sampling).next(&read.next, ids)?;
        let text = Token {
            id,
            special: self.model.tokenizer.is_special(id),
            text: self.model.tokenizer.decode(&[id]),
        };
        let ends = self.model.tokenizer.eos_ids().contains(&id) && !self.settings.ignore_eos;
        let mut cutter = StopCutter::new(&self.request.stop);
        let met = self.take(&text, Some(&read.next), scorer, &mut cutter, choice, &mut |_| ())?;
        if met || ends {
            choice.finish = Finish::Stop;
        }
        choice.text += &cutter_rest(met, &mut cutter);
        Ok(1)
    }

    fn generate(
        &self,
        ids: &[u32],
        scorer: &TextScorer,
        choice: &mut Choice,
        tell: &mut dyn FnMut(&str),
    ) -> Result<usize> {
        let prompt = Prompt::Ids(ids.to_vec());
        let (mut generation, _) = Generation::start(self.model, self.routers, &prompt, self.settings, self.stop)?;
        let mut cutter = StopCutter::new(&self.request.stop);
        let mut count = 0;
        let mut met = false;
        while !met {
            let before = match self.request.logprobs {
                Some(_) => generation.logits().cloned(),
                None => None,
            };
            let Some(step) = generation.step()? else { break };
            count += 1;
            let token = Token {
                id: step.id,
                special: step.special,
                text: step.text,
            };
            met = self.take(&token, before.as_ref(), scorer, &mut cutter, choice, tell)?;
        }
        let summary = generation.summary();
        if !met && summary.stop == StopReason::Stopped {
            return Err(Stopped.into());
        }
        if met || summary.stop == StopReason::EndToken {
            choice.finish = Finish::Stop;
        }
        let rest = cutter_rest(met, &mut cutter);
        tell(&rest);
        choice.text += &rest;
        choice.depth = summary.mean_depth;
        Ok(count)
    }

    /// Adds a generated token; whether its text completes a stop text.
    fn take(
        &self,
        token: &Token,
        before: Option<&Tensor>,
        scorer: &TextScorer,
        cutter: &mut StopCutter,
        choice: &mut Choice,
        tell: &mut dyn FnMut(&str),
    ) -> Result<bool> {
        if let (Some(tokens), Some(before)) = (&mut choice.tokens, before) {
            tokens.push(scorer.token(&as_floats(before)?, token.id)?);
        }
        if token.special {
            return Ok(false);
        }
        let (text, met) = cutter.push(&token.text);
        tell(&text);
        choice.text += &text;
        Ok(met)
    }
}

/// A generated token.
struct Token {
    id: u32,
    special: bool,
    text: String,
}

/// What a cutter held back, unless a stop text was met.
fn cutter_rest(met: bool, cutter: &mut StopCutter) -> String {
    match met {
        true => String::new(),
        false => cutter.finish(),
    }
}
