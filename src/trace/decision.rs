//! What was decided at a layer, and by whom.

use serde::{Deserialize, Serialize};

use crate::program::Action;

/// Who settled a decision. Later ones win over earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecidedBy {
    /// A fixed program: the user's, or the standard one where there are no routers.
    Program,
    /// The layer's router, by its greatest probability.
    Router,
    /// The program that a predictor named for the prompt.
    Predictor,
    /// The dial moved the router's distribution to another action.
    Dial,
    /// The budget forced another action than router and dial wanted.
    Budget,
    /// The user pinned the layer, or the layer at this token.
    Pin,
}

impl DecidedBy {
    /// In the order of the least to the strongest word.
    pub const ALL: [DecidedBy; 6] = [
        DecidedBy::Program,
        DecidedBy::Router,
        DecidedBy::Predictor,
        DecidedBy::Dial,
        DecidedBy::Budget,
        DecidedBy::Pin,
    ];

    /// As in traces and tables.
    pub fn name(self) -> &'static str {
        match self {
            DecidedBy::Program => "program",
            DecidedBy::Router => "router",
            DecidedBy::Predictor => "predictor",
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
    /// Whose word it was.
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

    /// Entropy of the distribution in nats, 0 to ln 3.
    pub fn entropy(&self) -> Option<f32> {
        self.probs
            .map(|p| -p.into_iter().filter(|&x| x > 0.0).map(|x| x * x.ln()).sum::<f32>())
    }
}

/// The likeliest action; of equals the first in class order.
pub fn argmax(probs: [f32; 3]) -> Action {
    let better = |best: Action, a: Action| {
        if probs[a as usize] > probs[best as usize] {
            a
        } else {
            best
        }
    };
    Action::ALL.into_iter().fold(Action::Skip, better)
}
