//! The record of one run. The same types serve the screen, `run --json`, comparison and tests.
//!
//! As JSON lines: one [`Header`], one [`Step`] a generated token, one [`Summary`]; every line is an
//! object with a `type` field. The schema is documented in docs/trace.md.

use serde::{Deserialize, Serialize};

use super::decision::{DecidedBy, Decision};
use super::model::ModelInfo;
use super::routers::RouterInfo;
use super::settings::Settings;
use crate::program::{Action, Program};

/// Version of the JSON lines schema, in every header.
pub const SCHEMA: u32 = 1;

/// Raw logits for the position after a chunk, as asked by `--logits` and `--probe`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogitsReport {
    /// The N greatest logits, greatest first: (token id, logit).
    pub top: Vec<(u32, f32)>,
    /// ln Σ exp over the whole vocabulary.
    pub logsumexp: f32,
    /// The logits of the ids that were asked for, in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probe: Vec<(u32, f32)>,
}

/// A token that may come next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its number in the vocabulary.
    pub id: u32,
    /// Its text, unescaped; a part of a character as its bytes, `<E2 80>`.
    pub text: String,
    /// 0 to 1, over the whole vocabulary, before temperature and penalties.
    pub probability: f32,
}

/// A program that was proposed for a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateProgram {
    /// The layers in the order of their executions.
    pub program: Program,
    /// The sum of the log-probabilities of its segments' actions, after the dial: the greater, the better.
    pub score: f64,
}

/// One token of the prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptToken {
    /// Its number in the vocabulary.
    pub id: u32,
    /// Its text; unescaped, so escape it before it reaches a terminal. Bytes that are no
    /// character by themselves read as U+FFFD.
    pub text: String,
    /// Its bytes, where they are not whole characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bytes: Vec<u8>,
    /// A control token of the model, such as `<|im_start|>`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub special: bool,
    /// Layers at which this one prompt token was pinned to another action than the shared
    /// program: (layer, action).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<(usize, Action)>,
}

/// What was settled before the first token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// Version of the program that wrote this.
    pub version: String,
    /// The model that ran.
    pub model: ModelInfo,
    /// Where it was computed: `cpu`, `cuda:0`, `metal`.
    pub device: String,
    /// The routers that were asked; absent where there were none.
    pub routers: Option<RouterInfo>,
    /// What the run was asked to do.
    pub settings: Settings,
    /// The tokens of the prompt, with those of the chat template.
    pub prompt: Vec<PromptToken>,
    /// The program of the prompt (all of its tokens, but for `PromptToken::pinned`).
    pub program: Program,
    /// The prompt's decisions, one a layer.
    pub decisions: Vec<Decision>,
    /// The programs that a predictor proposed for the prompt, best first, before pins and budget; none where routers of
    /// layers or a program decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<CandidateProgram>,
    /// Under a predictor the probability, one a layer, that a segment of those programs begins there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boundaries: Vec<f32>,
    /// Whether the budget's program is the best one under the router (scope `prompt`) or only
    /// approximately so (scope `token`); absent without a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_exact: Option<bool>,
    /// Milliseconds of the prompt's forward passes.
    pub prefill_ms: f64,
    /// For the position after the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<LogitsReport>,
    /// As [`Step::next`], after the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<Candidate>,
    /// Present where the run goes on from another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchPoint>,
}

/// Where a run leaves the one it goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchPoint {
    /// The first position computed anew, under `Header::settings`. What stands before it was kept:
    /// it ran under the settings of the run before.
    pub at: usize,
    /// Tokens from there on that were put there instead of drawn.
    pub forced: usize,
}

impl Header {
    /// What was decided at a layer for the prompt's token at `position`: the prompt's decision, but
    /// for a pin of this token.
    pub fn decision(&self, layer: usize, position: usize) -> Option<Decision> {
        let shared = self.decisions.get(layer)?.clone();
        let pins = &self.prompt.get(position)?.pinned;
        Some(match pins.iter().find(|(l, _)| *l == layer) {
            Some(&(_, action)) => Decision {
                action,
                by: DecidedBy::Pin,
                ..shared
            },
            None => shared,
        })
    }

    /// Block executions of the prompt's token at `position`.
    pub fn depth(&self, position: usize) -> Option<usize> {
        let change = self.prompt.get(position)?.pinned.iter().filter_map(|&(layer, action)| {
            let before = self.decisions.get(layer)?.action.executions();
            Some(action.executions() as isize - before as isize)
        });
        let depth = self.program.depth() as isize + change.sum::<isize>();
        Some(depth.max(0) as usize)
    }
}

/// One generated token: the program that this token itself ran at its position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its number in the vocabulary.
    pub id: u32,
    /// The text that became complete with this token; empty while a character is still missing
    /// bytes. Unescaped.
    pub text: String,
    /// The token's bytes, where they are not whole characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bytes: Vec<u8>,
    /// A control token of the model.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub special: bool,
    /// Position in the sequence, from 0 at the prompt's first token.
    pub position: usize,
    /// The layers in the order of their executions.
    pub program: Program,
    /// One a layer.
    pub decisions: Vec<Decision>,
    /// Block executions at this token.
    pub depth: usize,
    /// Milliseconds of this token's forward pass, routers and sampling.
    pub ms: f64,
    /// For the position after this token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<LogitsReport>,
    /// The likeliest tokens after this one, the likeliest first, in runs of the explorer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<Candidate>,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model produced an end token.
    EndToken,
    /// As many tokens as were asked for.
    MaxTokens,
    /// The text ended in one of the stop strings.
    StopString,
    /// The model's context is full.
    ContextFull,
    /// The user stopped it.
    Stopped,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Generated tokens, an end token included.
    pub tokens: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Why generation ended.
    pub stop: StopReason,
    /// Block executions per generated token; of the prompt, if none was generated.
    pub mean_depth: f64,
    /// L − mean depth.
    pub layers_saved: f64,
    /// Of the prompt, as measured.
    pub prefill_tokens_per_second: f64,
    /// Of the answer, as measured.
    pub decode_tokens_per_second: f64,
}

/// One line of the JSON lines form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Record {
    /// The first line.
    Header(Box<Header>),
    /// One a generated token.
    Token(Box<Step>),
    /// The last line of a run that ended.
    Summary(Summary),
}

/// A whole run, finished or under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// What was settled before the first token.
    pub header: Header,
    /// The generated tokens so far.
    pub steps: Vec<Step>,
    /// Absent while the run goes on, and in a trace cut off by a kill.
    pub summary: Option<Summary>,
}

impl Trace {
    /// A run that begins.
    pub fn new(header: Header) -> Trace {
        Trace {
            header,
            steps: Vec::new(),
            summary: None,
        }
    }

    /// Number of layers of the model, L.
    pub fn layers(&self) -> usize {
        self.header.model.layers
    }

    /// This trace up to the token at position `end`, without it; the prompt stays whole.
    pub fn first(&self, end: usize) -> Trace {
        let steps = end.saturating_sub(self.header.prompt.len()).min(self.steps.len());
        Trace {
            header: self.header.clone(),
            steps: self.steps[..steps].to_vec(),
            summary: None,
        }
    }

    /// Reads JSON lines. A last line without an end is left out; it is what a kill leaves.
    ///
    /// # Errors
    /// Names the line that is damaged, of another schema, out of order or inconsistent with the
    /// header's number of layers.
    pub fn from_json_lines(text: &str) -> anyhow::Result<Trace> {
        super::io::read(text)
    }

    /// The whole trace as JSON lines.
    pub fn to_json_lines(&self) -> String {
        super::io::write(self)
    }

    /// Mean depth over generated tokens so far; of the prompt's program before the first one.
    pub fn mean_depth(&self) -> f64 {
        match self.steps.len() {
            0 => self.header.program.depth() as f64,
            n => self.steps.iter().map(|s| s.depth as f64).sum::<f64>() / n as f64,
        }
    }

    /// Tokens of prompt and answer.
    pub fn tokens(&self) -> usize {
        self.header.prompt.len() + self.steps.len()
    }

    /// Id, text (unescaped) and specialness of the token at `position`.
    pub fn token(&self, position: usize) -> Option<(u32, &str, bool)> {
        match self.header.prompt.get(position) {
            Some(token) => Some((token.id, &token.text, token.special)),
            None => self.step(position).map(|s| (s.id, s.text.as_str(), s.special)),
        }
    }

    /// The step of the token at `position`, unless it belongs to the prompt.
    pub fn step(&self, position: usize) -> Option<&Step> {
        self.steps.get(position.checked_sub(self.header.prompt.len())?)
    }

    /// What was decided at a layer for the token at `position`.
    pub fn decision(&self, layer: usize, position: usize) -> Option<Decision> {
        match self.step(position) {
            Some(step) => step.decisions.get(layer).cloned(),
            None => self.header.decision(layer, position),
        }
    }

    /// Block executions of the token at `position`.
    pub fn depth(&self, position: usize) -> Option<usize> {
        let step = self.step(position).map(|s| s.depth);
        step.or_else(|| self.header.depth(position))
    }

    /// The generated text so far, without special tokens.
    pub fn text(&self) -> String {
        let plain = self.steps.iter().filter(|s| !s.special);
        plain.map(|s| s.text.as_str()).collect()
    }
}
