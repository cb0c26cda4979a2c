//! Free text under routers: how far what they say lies from what the whole model says, and at what depth (spec §8).
//!
//! The whole model reads a text once. Then each policy reads the same text: the prompt runs every layer, the tokens of
//! the answer what the policy says. At each of them, with p the whole model's distribution of the next token and q the
//! policy's, KL(p ‖ q) = Σ p·(ln p − ln q) in nats, whether both have the same likeliest token, and the number of
//! executed layers are written down.
//!
//! `answers` are prompts and what the model writes to them, `texts` those that are held out, `reading` is one text under one policy, `programs` and `exits` the policies that
//! nobody learnt, `removal` what of them is chosen on other texts, `sweep` all policies on all texts, `generation` what
//! the routers write by themselves, `report` means, intervals and comparisons at equal depth.

pub mod answers;
pub mod curve;
pub mod exits;
pub mod generation;
pub mod programs;
pub mod reading;
pub mod removal;
pub mod report;
pub mod sweep;
pub mod texts;

use std::fmt;
use std::ops::Range;

use serde::{Serialize, Serializer};

pub use answers::{Prompts, Text};
pub use report::TextReport;
pub use sweep::{DialPosition, Sweep};
pub use texts::{HeldOut, TextOrigin};

/// What a reading comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Of each token of the answer: KL(full ‖ routed) of what comes next, in nats.
    pub kl: Vec<f64>,
    /// Whether the same token is likeliest.
    pub same: Vec<bool>,
    /// Layers that each token ran.
    pub depth: Vec<usize>,
}

impl Reading {
    /// Tokens of the answer, each of which is counted.
    pub fn tokens(&self) -> usize {
        self.kl.len()
    }
}

/// Layers that always run at the beginning, and at the end: what follows needs them (leaving one out costs the default
/// model over 1.5 nats a token).
const ALWAYS_FIRST: usize = 2;
const ALWAYS_LAST: usize = 1;

/// The layers that a token may leave out, of a model of so many.
pub fn routed(layers: usize) -> Range<usize> {
    ALWAYS_FIRST.min(layers)..layers.saturating_sub(ALWAYS_LAST).max(ALWAYS_FIRST.min(layers))
}

/// Who decides which layers a token runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextMethod {
    /// Every layer.
    Full,
    /// Routers in scope `token`, at a position of the dial.
    Routers,
    /// The same routers, and tokens leave nothing in layers that they skip.
    Ragged,
    /// The routers' own programs, given to other tokens of the same answer.
    Shuffled,
    /// The layers that were missed least on other texts, left out by every token.
    Static,
    /// Layers drawn anew for each token.
    Random,
    /// A token ends where the logit lens is sure.
    Entropy,
    /// A token ends where the logit lens has said the same for some layers.
    Agreement,
    /// The layers that change the state least on other texts (ShortGPT, arXiv 2403.03853), left out by every token.
    Influence,
}

impl TextMethod {
    /// All methods, in the order of reports.
    pub const ALL: [TextMethod; 9] = [
        TextMethod::Full,
        TextMethod::Routers,
        TextMethod::Ragged,
        TextMethod::Shuffled,
        TextMethod::Static,
        TextMethod::Random,
        TextMethod::Entropy,
        TextMethod::Agreement,
        TextMethod::Influence,
    ];

    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            TextMethod::Full => "full model",
            TextMethod::Routers => "routers",
            TextMethod::Ragged => "routers, ragged caches",
            TextMethod::Shuffled => "shuffled",
            TextMethod::Static => "best static",
            TextMethod::Random => "random layers",
            TextMethod::Entropy => "exit by entropy",
            TextMethod::Agreement => "exit by agreement",
            TextMethod::Influence => "block influence",
        }
    }
}

impl fmt::Display for TextMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for TextMethod {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A policy on all texts.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyPoint {
    /// Who decides.
    pub method: TextMethod,
    /// What distinguishes it from the method's other points, in words.
    pub setting: String,
    /// Of the routers' points and what is made of them.
    pub asked: Option<DialPosition>,
    /// One a text.
    pub readings: Vec<Reading>,
}

impl PolicyPoint {
    /// Mean executed layers of a token.
    pub fn depth(&self) -> f64 {
        let all = || self.readings.iter().flat_map(|reading| &reading.depth);
        all().sum::<usize>() as f64 / all().count().max(1) as f64
    }
}
