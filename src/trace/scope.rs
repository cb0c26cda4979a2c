//! When routers decide, and whether on the prompt too.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When routers decide (Dr.LLM, spec §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// At the prompt; the decisions hold for the whole continuation.
    #[default]
    Prompt,
    /// At every forward pass, so every token has its own program.
    Token,
}

impl Scope {
    /// Both of them.
    pub const ALL: [Scope; 2] = [Scope::Prompt, Scope::Token];

    /// As in settings and traces.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Prompt => "prompt",
            Scope::Token => "token",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What becomes of the prompt in scope `token`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptRouting {
    /// Routers decide on it as on one chunk, as Dr.LLM's do.
    #[default]
    Routed,
    /// It runs every layer; routers decide on the answer's tokens only (spec §8).
    Full,
}

impl PromptRouting {
    /// Both of them.
    pub const ALL: [PromptRouting; 2] = [PromptRouting::Routed, PromptRouting::Full];

    /// As in the metadata of routers.
    pub fn name(self) -> &'static str {
        match self {
            PromptRouting::Routed => "routed",
            PromptRouting::Full => "full",
        }
    }
}
