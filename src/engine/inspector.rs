//! Who looks into runs: the model, and what is kept of its runs.

use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};

use super::prefix_cache::PrefixCache;
use super::sequence::Sequence;
use crate::model::{KvCache, Model};
use crate::router::Router;
use crate::trace::Trace;

/// Answers questions about runs that a trace tells of, whoever ran them: see
/// [`Self::inspect`], [`Self::flip`] and [`Self::divergence`].
pub struct Inspector<'m, 'k> {
    /// The model that ran the traces.
    pub model: &'m Model,
    /// Those that are loaded at present, if any.
    pub routers: Option<&'m dyn Router>,
    /// What runs left of keys and values.
    pub kept: &'k mut PrefixCache,
    /// The run under way, and what its tokens left so far.
    pub live: Option<(&'k Trace, &'k KvCache)>,
    /// Ends an answer with [`super::sequence::Stopped`].
    pub stop: &'m AtomicBool,
}

impl<'m> Inspector<'m, '_> {
    /// The sequence after `steps` generated tokens of a trace.
    ///
    /// # Errors
    /// When the trace is of another model.
    pub fn sequence(&mut self, trace: &Trace, steps: usize) -> Result<Sequence<'m>> {
        self.check(trace)?;
        self.kept
            .sequence(&self.model.decoder, self.stop, trace, steps, self.live)
    }

    /// The sequence that the token at `position` goes on from: for one of the prompt, which ran in one
    /// piece, an empty one.
    pub(super) fn before(&mut self, trace: &Trace, position: usize) -> Result<Sequence<'m>> {
        self.check(trace)?;
        match position.checked_sub(trace.header.prompt.len()) {
            None => {
                let settings = &trace.header.settings;
                let sequence = Sequence::new(&self.model.decoder, self.stop).with_kv(settings.kv);
                Ok(sequence.excluding(&settings.excluded_experts))
            }
            Some(step) => self.sequence(trace, step),
        }
    }

    /// Whether the trace was made with the model in memory.
    fn check(&self, trace: &Trace) -> Result<()> {
        let (made_with, loaded) = (&trace.header.model, &self.model.info);
        ensure!(
            made_with.is_same(loaded),
            "this run was made with the model {}, {} is loaded: load the former with --model to look into the run",
            made_with.title(),
            loaded.title()
        );
        Ok(())
    }
}
