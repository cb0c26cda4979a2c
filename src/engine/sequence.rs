//! One sequence going through the decoder, chunk by chunk, under programs (spec §2).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use candle_core::Tensor;
use thiserror::Error;

use crate::model::fused::{Overlapped, OverlappedTask};
use crate::model::loopmoe::{Excluded, ExpertUse, Seen};
use crate::model::persistent::{TokenOutcome, TokenRequest, TokenRules};
use crate::model::{Chunk, Decoder, KvCache, PassKv, stepped};
use crate::program::{Action, Damping, Execution, MOST_EXECUTIONS, Program, StepSize};
use crate::router::policy::Proposal;
use crate::router::{Router, RouterQuery};
use crate::trace::{ExcludedExpert, KvMode};

/// The user stopped the run in the middle of a forward pass.
#[derive(Debug, Error)]
#[error("stopped")]
pub struct Stopped;

/// What the tokens of a chunk do at one layer.
#[derive(Clone, Debug)]
pub struct LayerActions {
    /// What all do, but for `rows`.
    pub shared: Action,
    /// One a token, where they differ.
    pub rows: Option<Vec<Action>>,
    /// The damping of the second execution, one a token; none where all are whole.
    pub dampings: Vec<Damping>,
}

impl From<Action> for LayerActions {
    fn from(shared: Action) -> Self {
        LayerActions {
            shared,
            rows: None,
            dampings: Vec::new(),
        }
    }
}

impl LayerActions {
    /// What the token of row `row` does.
    pub fn of_row(&self, row: usize) -> Action {
        self.rows.as_ref().map_or(self.shared, |rows| rows[row])
    }

    /// As it is, with these dampings, one a token.
    pub fn damped(self, dampings: Vec<Damping>) -> LayerActions {
        let whole = dampings.iter().all(|damping| *damping == Damping::NONE);
        LayerActions {
            dampings: if whole { Vec::new() } else { dampings },
            ..self
        }
    }

    /// What the rows become whose n-th (from 0) execution makes `after` of `before` (tokens, hidden_size).
    fn stepped(&self, n: usize, before: &Tensor, after: Tensor) -> Result<Tensor> {
        let Some(first) = self.dampings.first().filter(|_| n == 1) else {
            return Ok(after);
        };
        if self.dampings.iter().all(|damping| damping == first) {
            return Ok(stepped(before, after, StepSize::new(*first, 1))?);
        }
        let sizes: Vec<f32> = self.dampings.iter().map(|damping| damping.value() as f32).collect();
        let sizes = Tensor::from_vec(sizes, (self.dampings.len(), 1), before.device())?.to_dtype(before.dtype())?;
        Ok((before + (after - before)?.broadcast_mul(&sizes)?)?)
    }

    /// The rows that run the layer more than `n` times; `None` where all do.
    fn running(&self, n: usize) -> Option<Vec<u32>> {
        let runs = |action: &Action| action.executions() > n;
        let Some(actions) = &self.rows else {
            return (!runs(&self.shared)).then(Vec::new);
        };
        let rows = (0u32..).zip(actions).filter(|(_, a)| runs(a));
        let rows: Vec<u32> = rows.map(|(row, _)| row).collect();
        (rows.len() < actions.len()).then_some(rows)
    }
}

/// Hears before each layer of a chunk of several tokens how many layers are done, and of how many.
pub type LayerProgress<'m> = &'m (dyn Fn(usize, usize) + Sync);

/// A sequence's KV cache and length, and the decoder it runs on.
pub struct Sequence<'m> {
    decoder: &'m Decoder,
    cache: KvCache,
    len: usize,
    mode: KvMode,
    excluded: Excluded,
    stop: &'m AtomicBool,
    watch: Option<LayerProgress<'m>>,
    blocks_run: usize,
    /// Layers that the last token did not run; those after the end it did.
    left_out: Vec<bool>,
    /// Rows whose experts are noted, in a LoopMoE model, and what they did in the last execution.
    watched: Vec<(usize, Option<ExpertUse>)>,
}

impl<'m> Sequence<'m> {
    /// `stop` is looked at before every layer; when it is set the pass ends with [`Stopped`].
    pub fn new(decoder: &'m Decoder, stop: &'m AtomicBool) -> Self {
        Sequence::resume(decoder, stop, KvCache::default(), 0)
    }

    /// Goes on after `len` tokens that left `cache`.
    pub fn resume(decoder: &'m Decoder, stop: &'m AtomicBool, cache: KvCache, len: usize) -> Self {
        Sequence {
            decoder,
            cache,
            len,
            mode: KvMode::Ragged,
            excluded: Excluded::new(),
            stop,
            watch: None,
            blocks_run: 0,
            left_out: Vec::new(),
            watched: Vec::new(),
        }
    }

    /// Notes what the experts of a LoopMoE model do with the tokens of `rows` from now on; see [`Self::take_experts`].
    pub(super) fn watch(&mut self, rows: &[usize]) {
        self.watched = rows.iter().map(|&row| (row, None)).collect();
    }

    /// What the experts did with the i-th watched token in the last execution.
    pub(super) fn take_experts(&mut self, i: usize) -> Option<ExpertUse> {
        self.watched.get_mut(i)?.1.take()
    }

    /// What its tokens leave in layers that they do not run: without this, nothing.
    pub fn with_kv(self, mode: KvMode) -> Self {
        Sequence { mode, ..self }
    }

    /// Without these experts of a LoopMoE model.
    pub fn excluding(self, experts: &[ExcludedExpert]) -> Self {
        let excluded = experts
            .iter()
            .map(|excluded| (excluded.layer, excluded.expert))
            .collect();
        Sequence { excluded, ..self }
    }

    /// Tells `watch` how far its chunks are.
    pub fn watched(self, watch: Option<LayerProgress<'m>>) -> Self {
        Sequence { watch, ..self }
    }

    fn tell(&self, tokens: usize, done: usize, of: usize) {
        if let Some(watch) = self.watch.filter(|_| tokens > 1) {
            watch(done, of);
        }
    }

    /// The first `len` tokens of this sequence as a sequence of its own, by copying what they left.
    pub fn fork(&self, len: usize) -> Result<Sequence<'m>> {
        let len = len.min(self.len);
        let fork = Sequence::resume(self.decoder, self.stop, self.cache.fork(len)?, len);
        Ok(Sequence {
            excluded: self.excluded.clone(),
            ..fork.with_kv(self.mode)
        })
    }

    /// What the tokens left in the passes. A token that was stopped half-way may be among them;
    /// [`KvCache::fork`] at the length leaves it out.
    pub fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// As [`Self::cache`], for good.
    pub fn into_cache(self) -> KvCache {
        self.cache
    }

    /// What its tokens leave in layers that they do not run.
    pub fn kv(&self) -> KvMode {
        self.mode
    }

    /// Block executions since this sequence was made, chunks counting as one.
    pub fn blocks_run(&self) -> usize {
        self.blocks_run
    }

    /// The decoder it runs on.
    pub fn decoder(&self) -> &'m Decoder {
        self.decoder
    }

    /// Layers of the decoder.
    pub fn layers(&self) -> usize {
        self.decoder.config().layers
    }

    /// What ends a pass when it is set.
    pub fn stop_flag(&self) -> &AtomicBool {
        self.stop
    }

    /// Tokens that went through.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token went through yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.cache.clear();
        self.len = 0;
    }

    /// The next `tokens` tokens as a chunk.
    pub fn chunk(&self, tokens: usize) -> Result<Chunk> {
        let positions: Vec<u32> = (self.len..self.len + tokens).map(|p| p as u32).collect();
        self.decoder.chunk(&positions)
    }

    /// Runs `ids` through any program; returns the last token's logits (vocab_size).
    ///
    /// Layers that it does not run are not filled: such a program is a model of its own, the same for all tokens, and
    /// what it leaves out has no place in its order.
    pub fn run_program(&mut self, ids: &[u32], program: &Program) -> Result<Tensor> {
        let chunk = self.chunk(ids.len())?;
        let mut hidden = self.decoder.embed(ids)?;
        for (done, execution) in program.passes().enumerate() {
            self.check_stop()?;
            self.tell(ids.len(), done, program.depth());
            hidden = self.run_execution(execution, &hidden, &chunk)?;
        }
        self.finish(ids.len(), &hidden)
    }

    /// Runs `ids` layer by layer. Before each layer its router is asked, if there are routers, and
    /// `decide(layer, proposal)` says what the tokens do there. Returns the last token's logits
    /// (vocab_size).
    ///
    /// The routers of a small model wait for their weights as its blocks do. So a router whose layer ran for the
    /// token before is asked along with the first products of the layer, which are in vain where it is now left out.
    /// Under KV fill keys and values are needed either way, and every router is asked along with their products: those
    /// of the queries are among them only where the token before ran the layer.
    pub fn run_layers(
        &mut self,
        ids: &[u32],
        routers: Option<(&dyn Router, f64)>,
        mut decide: impl FnMut(usize, Option<Proposal>) -> LayerActions,
    ) -> Result<Tensor> {
        let chunk = self.chunk(ids.len())?;
        let mut hidden = self.decoder.embed(ids)?;
        let layers = self.layers();
        let fast = self.decoder.by_kernels();
        self.left_out.resize(layers, false);
        for layer in 0..layers {
            self.check_stop()?;
            self.tell(ids.len(), layer, layers);
            let along = fast && ids.len() == 1 && (self.mode == KvMode::Fill || !self.left_out[layer]);
            let question = match routers {
                Some((routers, dial)) if along => routers.question(layer, &hidden)?.zip(Some(dial)),
                _ => None,
            };
            let actions;
            if let Some((question, dial)) = question {
                let decide = |probabilities| decide(layer, Some(Proposal::new(probabilities, dial)));
                (hidden, actions) = self.run_layer_asked(layer, hidden, &chunk, &question, decide)?;
            } else {
                let proposal = match routers {
                    Some((routers, dial)) => Some(Proposal::new(routers.probabilities(layer, &hidden, fast)?, dial)),
                    None => None,
                };
                actions = decide(layer, proposal);
                hidden = self.run_layer(layer, hidden, &chunk, &actions)?;
            }
            self.left_out[layer] = actions.of_row(ids.len() - 1) == Action::Skip;
        }
        self.finish(ids.len(), &hidden)
    }

    /// Runs one token whose actions, one a layer, are settled. Routers, if there are any, are asked too, on a GPU when
    /// the token is done and of all layers at once: what they say changes nothing. Returns the logits (vocab_size) and
    /// what they propose.
    pub fn run_settled(
        &mut self,
        id: u32,
        actions: &[LayerActions],
        routers: Option<(&dyn Router, f64)>,
    ) -> Result<(Tensor, Vec<Proposal>)> {
        if let Some((set, _)) = routers
            && !set.is_asked_at_once(self.decoder.device())?
        {
            let mut proposals = Vec::with_capacity(actions.len());
            let logits = self.run_layers(&[id], routers, |layer, proposal| {
                proposals.extend(proposal);
                actions[layer].clone()
            })?;
            return Ok((logits, proposals));
        }
        let chunk = self.chunk(1)?;
        let mut hidden = self.decoder.embed(&[id])?;
        let mut entering = Vec::with_capacity(actions.len());
        for (layer, actions) in actions.iter().enumerate() {
            self.check_stop()?;
            if routers.is_some() {
                entering.push(hidden.clone());
            }
            hidden = self.run_layer(layer, hidden, &chunk, actions)?;
        }
        let logits = self.finish(1, &hidden)?;
        let proposals = match routers {
            Some((routers, dial)) => {
                let all = routers.all_probabilities(&entering, self.decoder.by_kernels())?;
                all.into_iter()
                    .map(|probabilities| Proposal::new(probabilities, dial))
                    .collect()
            }
            None => Vec::new(),
        };
        Ok((logits, proposals))
    }

    /// Runs one token in one launch of a GPU, which settles its layers by itself, under KV fill or not: `routers` are asked,
    /// where there are any, and `rules` hold beside them. `None` where the decoder or the routers have no such kernel.
    pub fn run_token(
        &mut self,
        id: u32,
        routers: Option<&dyn Router>,
        rules: &TokenRules,
    ) -> Result<Option<TokenOutcome>> {
        let Some(persistent) = self.decoder.persistent() else {
            return Ok(None);
        };
        let routers = match routers.map(|routers| routers.layer_tensors(self.decoder.device())) {
            Some(tensors) => match tensors? {
                Some(tensors) => Some(tensors),
                None => return Ok(None),
            },
            None => None,
        };
        self.check_stop()?;
        self.left_out.resize(self.layers(), false);
        let outcome = persistent.token(TokenRequest {
            id,
            position: self.len,
            cache: &mut self.cache,
            mode: self.mode,
            left_out: &self.left_out,
            rules,
            routers,
        })?;
        for (left_out, action) in self.left_out.iter_mut().zip(&outcome.actions) {
            *left_out = *action == Action::Skip;
            self.blocks_run += action.executions();
        }
        self.advance(1);
        Ok(Some(outcome))
    }

    /// Runs several continuations side by side, each after this sequence and unseen by the others,
    /// as if their tokens had been generated one by one; the sequence stays as it is. Rows are the
    /// tokens of the first branch, then those of the second, and so on. Before each layer its
    /// router is asked at every row, if there are routers, and `decide(layer, proposals)` says what the
    /// rows do there. Returns each row's logits (rows, vocab_size).
    pub fn run_branches(
        &mut self,
        branches: &[&[u32]],
        routers: Option<(&dyn Router, f64)>,
        mut decide: impl FnMut(usize, &[Proposal]) -> LayerActions,
    ) -> Result<Tensor> {
        let ids = branches.concat();
        let position = |branch: &&[u32]| (0..branch.len()).map(|i| (self.len + i) as u32).collect::<Vec<_>>();
        let positions: Vec<u32> = branches.iter().flat_map(position).collect();
        let owner = |(branch, ids): (usize, &&[u32])| vec![branch; ids.len()];
        let owners: Vec<usize> = branches.iter().enumerate().flat_map(owner).collect();
        let sees = |i: usize, j: usize| j <= i && owners[i] == owners[j];
        let chunk = self.decoder.chunk_with_visibility(&positions, &sees)?;
        let mut hidden = self.decoder.embed(&ids)?;
        let mut fork = Sequence {
            cache: self.cache.clone(),
            left_out: Vec::new(),
            watched: Vec::new(),
            excluded: self.excluded.clone(),
            ..*self
        };
        for layer in 0..self.decoder.config().layers {
            self.check_stop()?;
            let proposals = match routers {
                Some((routers, dial)) => {
                    let rows = routers.row_probabilities(layer, &hidden, self.decoder.by_kernels())?;
                    rows.into_iter()
                        .map(|probabilities| Proposal::new(probabilities, dial))
                        .collect()
                }
                None => Vec::new(),
            };
            hidden = fork.run_layer(layer, hidden, &chunk, &decide(layer, &proposals))?;
        }
        Ok(self.decoder.logits(&hidden)?)
    }

    /// As [`Self::run_layer`] of one token, which does what `decide` says to the answer to `question`.
    fn run_layer_asked(
        &mut self,
        layer: usize,
        hidden: Tensor,
        chunk: &Chunk,
        question: &RouterQuery,
        mut decide: impl FnMut([f32; 3]) -> LayerActions,
    ) -> Result<(Tensor, LayerActions)> {
        let (answer, mut actions) = (OnceLock::new(), None);
        let ask = || {
            let _ = answer.set(question.answer());
        };
        let mut runs = || {
            let settled = actions.insert(decide(*answer.get().expect("the router was asked")));
            settled.of_row(0) != Action::Skip
        };
        let beside = Overlapped {
            task: OverlappedTask {
                run: &ask,
                groups: question.groups(),
            },
            go_on: &mut runs,
            mode: self.mode,
            queries: !self.left_out[layer],
        };
        let kv = self.cache.pass(layer, 0);
        let once = self.decoder.run_block_beside(layer, &hidden, chunk, kv, beside)?;
        let actions = actions.expect("a block asks whether to go on");
        let Some(once) = once else {
            return Ok((hidden, actions));
        };
        self.blocks_run += 1;
        let twice = self.run_actions(layer, 1, &once, chunk, &actions)?;
        Ok((twice.unwrap_or(once), actions))
    }

    pub(super) fn run_layer(
        &mut self,
        layer: usize,
        mut hidden: Tensor,
        chunk: &Chunk,
        actions: &LayerActions,
    ) -> Result<Tensor> {
        for n in 0..MOST_EXECUTIONS {
            hidden = self.run_actions(layer, n, &hidden, chunk, actions)?.unwrap_or(hidden);
        }
        Ok(hidden)
    }

    /// The n-th (from 0) execution of a layer by those tokens that do it; `None` if none does. Under KV fill the others
    /// leave their entries in the first one, in the order of rows, so that those that run it see them.
    pub(super) fn run_actions(
        &mut self,
        layer: usize,
        n: usize,
        hidden: &Tensor,
        chunk: &Chunk,
        actions: &LayerActions,
    ) -> Result<Option<Tensor>> {
        let fills = self.mode == KvMode::Fill && n == 0;
        let after = match actions.running(n) {
            None => Some(self.run_pass(layer, n, hidden, chunk)?),
            Some(rows) if rows.is_empty() && fills => {
                let kv = self.cache.pass(layer, n);
                self.decoder.fill_kv(layer, hidden, chunk, kv)?;
                None
            }
            Some(rows) if rows.is_empty() => None,
            Some(rows) if fills => {
                // All rows run, since a pass takes its entries together; of the others nothing else is kept.
                let all = self.run_pass(layer, n, hidden, chunk)?;
                let index = Tensor::new(rows.as_slice(), hidden.device())?;
                Some(with_rows(hidden, &rows, &all.index_select(&index, 0)?)?)
            }
            Some(rows) => Some(self.run_rows(layer, n, hidden, chunk, &rows)?),
        };
        after.map(|after| actions.stepped(n, hidden, after)).transpose()
    }

    /// What `layer` would make of the chunk, which does not run it: nothing is kept of it.
    pub(super) fn run_aside(&mut self, layer: usize, hidden: &Tensor, chunk: &Chunk) -> Result<Tensor> {
        self.check_stop()?;
        self.blocks_run += 1;
        let mut kv = self.cache.pass(layer, 0).fork(self.len)?;
        self.run_block(layer, hidden, chunk, None, Some(&mut kv))
    }

    /// A block, whose experts are noted at the watched rows; `rows` are those that run it, where not all do.
    fn run_block(
        &mut self,
        layer: usize,
        hidden: &Tensor,
        chunk: &Chunk,
        rows: Option<&[u32]>,
        kv: Option<&mut PassKv>,
    ) -> Result<Tensor> {
        if self.watched.is_empty() && self.excluded.is_empty() {
            return Ok(self.decoder.run_block(layer, hidden, chunk, kv)?);
        }
        let (decoder, watched, excluded) = (self.decoder, &mut self.watched, &self.excluded);
        let mut observer = |seen: &Seen| {
            for (row, experts) in watched.iter_mut() {
                let row = match rows {
                    Some(rows) => rows.iter().position(|&r| r as usize == *row),
                    None => Some(*row),
                };
                *experts = row.map(|row| ExpertUse::of_row(seen, row)).transpose()?.flatten();
            }
            Ok(())
        };
        Ok(decoder.run_block_with(layer, hidden, chunk, kv, (excluded, &mut observer))?)
    }

    /// An execution of a program by all tokens of the chunk.
    pub(super) fn run_execution(&mut self, execution: Execution, hidden: &Tensor, chunk: &Chunk) -> Result<Tensor> {
        let after = self.run_pass(execution.layer, execution.n, hidden, chunk)?;
        Ok(stepped(hidden, after, execution.step)?)
    }

    /// The pass (layer, n) for all tokens of the chunk.
    pub(super) fn run_pass(&mut self, layer: usize, n: usize, hidden: &Tensor, chunk: &Chunk) -> Result<Tensor> {
        self.run_pass_of(layer, n, hidden, chunk, None)
    }

    /// As [`Self::run_pass`], where `rows` are the tokens of the chunk among more.
    fn run_pass_of(
        &mut self,
        layer: usize,
        n: usize,
        hidden: &Tensor,
        chunk: &Chunk,
        rows: Option<&[u32]>,
    ) -> Result<Tensor> {
        self.blocks_run += 1;
        let mut kv = std::mem::take(self.cache.pass(layer, n));
        let after = self.run_block(layer, hidden, chunk, rows, Some(&mut kv));
        *self.cache.pass(layer, n) = kv;
        after
    }

    /// The pass (layer, n) for some tokens of the chunk, by ascending row.
    fn run_rows(&mut self, layer: usize, n: usize, hidden: &Tensor, chunk: &Chunk, rows: &[u32]) -> Result<Tensor> {
        let index = Tensor::new(rows, hidden.device())?;
        let selected = chunk.select(rows)?;
        let some = self.run_pass_of(layer, n, &hidden.index_select(&index, 0)?, &selected, Some(rows))?;
        with_rows(hidden, rows, &some)
    }

    /// Takes a chunk's tokens as gone through.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// As [`Self::advance`]; the last token's logits (vocab_size).
    fn finish(&mut self, tokens: usize, hidden: &Tensor) -> Result<Tensor> {
        self.advance(tokens);
        let last = hidden.narrow(0, tokens - 1, 1)?;
        Ok(self.decoder.logits(&last)?.squeeze(0)?)
    }

    pub(super) fn check_stop(&self) -> Result<(), Stopped> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Stopped),
            false => Ok(()),
        }
    }
}

/// `all` (tokens, size) with the ascending `rows` replaced by those of `some` (rows, size).
fn with_rows(all: &Tensor, rows: &[u32], some: &Tensor) -> Result<Tensor> {
    let mut pieces = Vec::with_capacity(2 * rows.len() + 1);
    let mut next = 0;
    for (at, &row) in rows.iter().enumerate() {
        let row = row as usize;
        if row > next {
            pieces.push(all.narrow(0, next, row - next)?);
        }
        pieces.push(some.narrow(0, at, 1)?);
        next = row + 1;
    }
    let tokens = all.dims()[0];
    if next < tokens {
        pieces.push(all.narrow(0, next, tokens - next)?);
    }
    Ok(Tensor::cat(&pieces, 0)?)
}

#[cfg(test)]
mod tests;
