//! The record of one run. The same types serve the screen, `run --json`, comparison and tests.
//!
//! As JSON lines: one [`Header`], one [`Step`] a generated token, one [`Summary`]; every line is an
//! object with a `type` field. The schema is documented in docs/trace.md.

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::program::{Action, Program};

/// Version of the JSON lines schema, in every header.
pub const SCHEMA: u32 = 1;

/// Who settled a decision. Later ones win over earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecidedBy {
    /// A fixed program: the user's, or the standard one where there are no routers.
    Program,
    /// The layer's router, by its greatest probability.
    Router,
    /// The dial moved the router's distribution to another action.
    Dial,
    /// The budget forced another action than router and dial wanted.
    Budget,
    /// The user pinned the layer, or the layer at this token.
    Pin,
}

impl DecidedBy {
    pub const ALL: [DecidedBy; 5] = [
        DecidedBy::Program,
        DecidedBy::Router,
        DecidedBy::Dial,
        DecidedBy::Budget,
        DecidedBy::Pin,
    ];

    pub fn name(self) -> &'static str {
        match self {
            DecidedBy::Program => "program",
            DecidedBy::Router => "router",
            DecidedBy::Dial => "dial",
            DecidedBy::Budget => "budget",
            DecidedBy::Pin => "pin",
        }
    }
}

/// The decision at one layer for one chunk (the prompt, or one generated token).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What was carried out. Under a fixed program that is no action vector, by how often the
    /// layer ran (twice or more reads as repeat).
    pub action: Action,
    pub by: DecidedBy,
    /// The router's p(skip), p(execute), p(repeat) at this chunk, before the dial; absent when no
    /// router was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probs: Option<[f32; 3]>,
    /// What router and dial alone would do at this chunk. Where it differs from `action`, the
    /// chunk disagrees with what was carried out (a frozen prompt program, a budget, a pin).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Action>,
}

impl Decision {
    /// Whether router and dial would have done something else here.
    pub fn disagrees(&self) -> bool {
        self.shadow.is_some_and(|shadow| shadow != self.action)
    }

    /// Probability of the likeliest action, 1/3 to 1.
    pub fn confidence(&self) -> Option<f32> {
        self.probs.map(|p| p.into_iter().fold(0.0, f32::max))
    }

    /// Difference between the two greatest probabilities, 0 to 1.
    pub fn margin(&self) -> Option<f32> {
        self.probs.map(|mut p| {
            p.sort_by(|a, b| b.total_cmp(a));
            p[0] - p[1]
        })
    }

    /// Entropy of the distribution in bits, 0 to log2(3).
    pub fn entropy(&self) -> Option<f32> {
        self.probs
            .map(|p| -p.into_iter().filter(|&x| x > 0.0).map(|x| x * x.log2()).sum::<f32>())
    }
}

/// The model that ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Catalog name or file stem.
    pub name: String,
    /// sha256 of the GGUF file; of a folder, of its safetensors index or file. Hexadecimal.
    pub sha256: String,
    /// `llama`, `qwen2` or `qwen3`.
    pub architecture: String,
    pub layers: usize,
    pub hidden_size: usize,
    pub vocab_size: usize,
    /// Greatest number of positions.
    pub context: usize,
    /// The commonest tensor type, as GGUF names it: `Q4_1`, `F16`.
    pub quantisation: String,
}

/// The routers that decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouterInfo {
    /// `built-in` or the file's name.
    pub name: String,
    pub sha256: String,
    /// Windows of the pooling, W.
    pub windows: usize,
    /// Width of the hidden layer, r.
    pub width: usize,
}

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

/// One token of the prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptToken {
    pub id: u32,
    /// Its text; unescaped, so escape it before it reaches a terminal. Bytes that are no
    /// character by themselves read as U+FFFD.
    pub text: String,
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
    pub schema: u32,
    /// Version of the program that wrote this.
    pub version: String,
    pub model: ModelInfo,
    /// Where it was computed: `cpu`, `cuda:0`, `metal`.
    pub device: String,
    pub routers: Option<RouterInfo>,
    pub settings: Settings,
    pub prompt: Vec<PromptToken>,
    /// The program of the prompt (all of its tokens, but for `PromptToken::pinned`).
    pub program: Program,
    /// The prompt's decisions, one a layer.
    pub decisions: Vec<Decision>,
    /// Whether the budget's program is the best one under the router (scope `prompt`) or only
    /// approximately so (scope `token`); absent without a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_exact: Option<bool>,
    /// Milliseconds of the prompt's forward passes.
    pub prefill_ms: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<LogitsReport>,
}

/// One generated token: the program that this token itself ran at its position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub id: u32,
    /// The text that became complete with this token; empty while a character is still missing
    /// bytes. Unescaped.
    pub text: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub special: bool,
    /// Position in the sequence, from 0 at the prompt's first token.
    pub position: usize,
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
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model produced an end token.
    EndToken,
    MaxTokens,
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
    pub prompt_tokens: usize,
    pub stop: StopReason,
    /// Block executions per generated token; of the prompt, if none was generated.
    pub mean_depth: f64,
    /// L − mean depth.
    pub layers_saved: f64,
    pub prefill_tokens_per_second: f64,
    pub decode_tokens_per_second: f64,
}

/// One line of the JSON lines form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Record {
    Header(Box<Header>),
    Token(Box<Step>),
    Summary(Summary),
}

/// A whole run, finished or under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub header: Header,
    pub steps: Vec<Step>,
    /// Absent while the run goes on, and in a trace cut off by a kill.
    pub summary: Option<Summary>,
}

impl Trace {
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

    /// Reads JSON lines. A last line without an end is left out; it is what a kill leaves.
    ///
    /// # Errors
    /// Names the line that is damaged, of another schema, out of order or inconsistent with the
    /// header's number of layers.
    pub fn from_json_lines(text: &str) -> anyhow::Result<Trace> {
        super::trace_io::read(text)
    }

    /// The whole trace as JSON lines.
    pub fn to_json_lines(&self) -> String {
        super::trace_io::write(self)
    }

    /// Mean depth over generated tokens so far; of the prompt's program before the first one.
    pub fn mean_depth(&self) -> f64 {
        match self.steps.len() {
            0 => self.header.program.depth() as f64,
            n => self.steps.iter().map(|s| s.depth as f64).sum::<f64>() / n as f64,
        }
    }

    /// The generated text so far, without special tokens.
    pub fn text(&self) -> String {
        let plain = self.steps.iter().filter(|s| !s.special);
        plain.map(|s| s.text.as_str()).collect()
    }
}
