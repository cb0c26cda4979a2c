//! A search that someone watches, as plain data: what is asked, and what each simulation came to. The
//! search itself, [`crate::search`], stands above the engine; the worker is given it as a [`Searcher`].

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::model::Model;
use crate::program::Program;

/// Identifies a search; events of an older one are dropped.
pub type SearchId = u64;

/// A question whose programs are searched.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchRequest {
    /// What is asked, without choices.
    pub question: String,
    /// What is right.
    pub expected: Expected,
    /// Simulations at most; the standard program's evaluation comes before them.
    pub simulations: usize,
    /// Of the search's random numbers.
    pub seed: u64,
}

/// The right answer, and how the model is asked for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// The text of greatest log-likelihood is the model's answer; `right` is an index into `texts`.
    Choice {
        /// In the question's order.
        texts: Vec<String>,
        /// From 0.
        right: usize,
    },
    /// The model writes an answer of at most `tokens` tokens, which has to end with this number.
    Number {
        /// As the user wrote it.
        text: String,
        /// Most new tokens.
        tokens: usize,
    },
}

impl Expected {
    /// The right answer's text.
    pub fn text(&self) -> &str {
        match self {
            Expected::Choice { texts, right } => texts.get(*right).map_or("", String::as_str),
            Expected::Number { text, .. } => text,
        }
    }
}

/// What one simulation came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchStep {
    /// How many were done; 0 for the evaluation of the standard program.
    pub simulation: usize,
    /// Nodes from the root to the one whose reward was added to all of them.
    pub path: Vec<Visited>,
    /// Of the path's last node, where it was reached for the first time. Nodes are numbered in the order
    /// in which they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
    /// Milliseconds since the search began.
    pub ms: f64,
}

/// A node of the tree after a simulation that passed it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Visited {
    /// 0 is the root; others are numbered in the order in which they were reached first.
    pub node: usize,
    /// v: simulations that passed or ended there.
    pub visits: u32,
    /// Q: sum of their rewards.
    pub reward: f64,
}

/// A program and what it came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// What the question was run under.
    pub program: Program,
    /// Whether the answer under it is right.
    pub correct: bool,
    /// How far the right choice's score is above the best other; of a written answer 1 or −1.
    pub margin: f64,
}

/// How a search ended.
#[derive(Clone, Debug, PartialEq)]
pub enum SearchEnd {
    /// The simulations are spent, or the question turned right.
    Done,
    /// By its flag.
    Stopped,
    /// What went wrong and what to do.
    Failed(String),
}

/// Carries a search out and tells of every simulation.
///
/// # Errors
/// [`super::sequence::Stopped`] when the flag ended it, anything else where the question cannot be asked.
pub type Searcher = fn(&Model, &SearchRequest, &mut dyn FnMut(SearchStep), &AtomicBool) -> Result<()>;
