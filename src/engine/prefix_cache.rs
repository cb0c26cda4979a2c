//! Keys and values of sequences that ran, kept for who goes on from them or looks into them.

use std::sync::atomic::AtomicBool;

use anyhow::Result;

use super::replay::{ReplayChunk, common_steps};
use super::sequence::Sequence;
use crate::model::{Decoder, KvCache};
use crate::trace::Trace;

/// Most bytes of keys and values that are kept.
pub const PREFIX_CACHE_BYTES: usize = 256 << 20;

/// Sequences that ran, the one used last at the end. Keys and values follow from model, tokens,
/// programs, KV mode and excluded experts alone, so a kept one serves every trace that begins like it.
pub struct PrefixCache {
    entries: Vec<Entry>,
    limit: usize,
}

struct Entry {
    trace: Trace,
    cache: KvCache,
    bytes: usize,
}

impl Default for PrefixCache {
    fn default() -> Self {
        PrefixCache::new(PREFIX_CACHE_BYTES)
    }
}

impl PrefixCache {
    /// Keeps at most `limit` bytes of keys and values.
    pub fn new(limit: usize) -> PrefixCache {
        PrefixCache {
            entries: Vec::new(),
            limit,
        }
    }

    /// Bytes of keys and values that are kept at present.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|e| e.bytes).sum()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Keeps what the tokens of `trace` left. What was used longest ago makes room; a sequence that
    /// needs more than the limit by itself is not kept.
    pub fn put(&mut self, trace: Trace, cache: KvCache) {
        let covers = |a: &Trace, b: &Trace| common_steps(a, b) == Some(b.steps.len());
        if let Some(i) = self.entries.iter().position(|e| covers(&e.trace, &trace)) {
            // Used once more.
            self.entries[i..].rotate_left(1);
            return;
        }
        let bytes = cache.bytes();
        if bytes > self.limit {
            return;
        }
        self.entries.retain(|e| !covers(&trace, &e.trace));
        while self.bytes() + bytes > self.limit {
            self.entries.remove(0);
        }
        self.entries.push(Entry { trace, cache, bytes });
    }

    /// The sequence after the first `steps` generated tokens of `trace`, on a copy of what is kept
    /// of it or of `live`, a run under way; what is not, is run again.
    pub fn sequence<'m>(
        &mut self,
        decoder: &'m Decoder,
        stop: &'m AtomicBool,
        trace: &Trace,
        steps: usize,
        live: Option<(&Trace, &KvCache)>,
    ) -> Result<Sequence<'m>> {
        let common = |other: &Trace| common_steps(other, trace).map(|n| n.min(steps));
        let kept = (0..self.entries.len()).filter_map(|i| Some((common(&self.entries[i].trace)?, i)));
        let kept = kept.max();
        let live = live.and_then(|(trace, cache)| Some((common(trace)?, cache)));
        let prompt = trace.header.prompt.len();
        let settings = &trace.header.settings;
        let as_asked = |sequence: Sequence<'m>| sequence.with_kv(settings.kv).excluding(&settings.excluded_experts);
        let fork = |cache: &KvCache, steps: usize| {
            let cache = cache.fork(prompt + steps)?;
            anyhow::Ok(as_asked(Sequence::resume(decoder, stop, cache, prompt + steps)))
        };
        let (mut sequence, from) = match (live, kept) {
            (Some((n, cache)), other) if other.is_none_or(|(m, _)| m <= n) => (fork(cache, n)?, n),
            (_, Some((n, i))) => {
                let entry = self.entries.remove(i);
                let sequence = fork(&entry.cache, n);
                self.entries.push(entry);
                (sequence?, n)
            }
            _ => {
                let mut sequence = as_asked(Sequence::new(decoder, stop));
                ReplayChunk::prompt(trace).run(&mut sequence)?;
                (sequence, 0)
            }
        };
        for step in from..steps {
            ReplayChunk::step(trace, step).run(&mut sequence)?;
        }
        Ok(sequence)
    }
}
