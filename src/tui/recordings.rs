//! The recorded traces that ship: something to see before a model is there.

use anyhow::Context;

use crate::engine::Trace;

/// A recorded trace that is built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// What it shows, in a few words.
    pub title: String,
    /// What was asked.
    pub prompt: String,
    /// JSON lines.
    pub text: &'static str,
}

impl Recording {
    /// # Errors
    /// When the text is no trace; of a built-in one a test makes sure that it is.
    pub fn trace(&self) -> anyhow::Result<Trace> {
        Trace::from_json_lines(self.text).with_context(|| format!("the recording '{}' cannot be read", self.title))
    }
}
