//! Grouped-query attention (arXiv 2305.13245) over the entries of one pass, in f32 over keys and
//! values that are kept in 16 bits, or in 8: a token reads all of them.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};

use super::vector::{Vector, across, exp, pick};
use super::{LANES, Slots};

/// Query rows that go over the entries together.
const ROWS: usize = 4;
/// Entries of a part, at least.
const PART: usize = 512;
/// Parts of the entries, at most.
const MOST_PARTS: usize = 16;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Bits of a number of the keys and values that are kept on the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum KvBits {
    /// Beside a scale for each head of a token: half the memory, and less to read in long contexts
    #[value(name = "8")]
    #[serde(rename = "8")]
    Eight,
    /// Halves
    #[default]
    #[value(name = "16")]
    #[serde(rename = "16")]
    Sixteen,
}

/// Keys and values of one pass on the CPU, in the order of positions.
#[derive(Clone, Debug)]
pub enum KeyValues {
    /// In halves.
    Halves(Entries<f16>),
    /// In bytes.
    Bytes(Entries<i8>),
}

impl Default for KeyValues {
    fn default() -> Self {
        KeyValues::new(KvBits::Sixteen)
    }
}

/// Calls the same method of either kind of entries.
macro_rules! either {
    ($self:expr, $entries:ident => $do:expr) => {
        match $self {
            KeyValues::Halves($entries) => $do,
            KeyValues::Bytes($entries) => $do,
        }
    };
}

impl KeyValues {
    /// No entries yet.
    pub fn new(bits: KvBits) -> Self {
        match bits {
            KvBits::Sixteen => KeyValues::Halves(Entries::default()),
            KvBits::Eight => KeyValues::Bytes(Entries::default()),
        }
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        either!(self, entries => entries.len)
    }

    /// A copy of the first `count` entries.
    pub fn first(&self, count: usize) -> KeyValues {
        match self {
            KeyValues::Halves(entries) => KeyValues::Halves(entries.first(count)),
            KeyValues::Bytes(entries) => KeyValues::Bytes(entries.first(count)),
        }
    }

    /// Bytes of memory that keys and values take.
    pub fn bytes(&self) -> usize {
        either!(self, entries => entries.bytes())
    }

    /// Adds entries: `keys` and `values` are (tokens, kv_heads · head_dim). What is beyond 16 bits
    /// becomes the greatest that is not.
    pub fn append(&mut self, keys: &[f32], values: &[f32], kv_heads: usize, head_dim: usize) {
        either!(self, entries => entries.append(keys, values, kv_heads, head_dim))
    }

    /// Heads of keys and values.
    pub(super) fn heads(&self) -> usize {
        either!(self, entries => entries.heads.len())
    }
}

/// A number as it is kept.
pub trait Kept: Copy + Default + Send + Sync {
    /// Adds a head's numbers to `kept`, and their scale to `scales` where they have one.
    fn keep(x: &[f32], kept: &mut Vec<Self>, scales: &mut Vec<f32>);
}

impl Kept for f16 {
    fn keep(x: &[f32], kept: &mut Vec<f16>, _: &mut Vec<f32>) {
        let greatest = f16::MAX.to_f32();
        let from = kept.len();
        kept.resize(from + x.len(), f16::ZERO);
        for (x, kept) in x.chunks(LANES).zip(kept[from..].chunks_mut(LANES)) {
            let mut held = [0.0; LANES];
            held.iter_mut()
                .zip(x)
                .for_each(|(held, x)| *held = x.clamp(-greatest, greatest));
            kept.convert_from_f32_slice(&held[..x.len()]);
        }
    }
}

impl Kept for i8 {
    fn keep(x: &[f32], kept: &mut Vec<i8>, scales: &mut Vec<f32>) {
        /// No model has keys or values beyond, and scales stay finite.
        const MOST: f32 = 1e30;
        let held = |x: &f32| x.clamp(-MOST, MOST);
        let greatest = x.iter().fold(0.0f32, |greatest, x| pick(greatest, held(x).abs()));
        let inverse = if greatest > 0.0 { 127.0 / greatest } else { 0.0 };
        kept.extend(x.iter().map(|x| (held(x) * inverse).round() as i8));
        scales.push(greatest / 127.0);
    }
}

/// What loads sixteen kept numbers.
pub(super) trait Loads: Kept {
    fn load<V: Vector>(isa: V::Isa, from: &[Self; LANES]) -> V;
}

impl Loads for f16 {
    #[inline(always)]
    fn load<V: Vector>(isa: V::Isa, from: &[f16; LANES]) -> V {
        V::load_halves(isa, from)
    }
}

impl Loads for i8 {
    #[inline(always)]
    fn load<V: Vector>(isa: V::Isa, from: &[i8; LANES]) -> V {
        V::load_bytes(isa, from)
    }
}

/// Keys and values in numbers of one kind.
#[derive(Clone, Debug, Default)]
pub struct Entries<T> {
    heads: Vec<Head<T>>,
    len: usize,
}

#[derive(Clone, Debug, Default)]
struct Head<T> {
    /// Entries in blocks of 16, the entries of a block side by side: (⌈entries / 16⌉, head_dim, 16).
    keys: Vec<T>,
    /// (entries, head_dim)
    values: Vec<T>,
    /// One an entry; none of halves.
    key_scales: Vec<f32>,
    /// One an entry; none of halves.
    value_scales: Vec<f32>,
}

impl<T: Kept> Entries<T> {
    fn first(&self, count: usize) -> Self {
        let count = count.min(self.len);
        let scales = |scales: &[f32]| scales[..count.min(scales.len())].to_vec();
        let heads = self.heads.iter().map(|head| {
            let head_dim = head.values.len() / self.len.max(1);
            Head {
                // The last block may hold keys of entries that were left out; they lie beyond the end.
                keys: head.keys[..count.div_ceil(LANES) * head_dim * LANES].to_vec(),
                values: head.values[..count * head_dim].to_vec(),
                key_scales: scales(&head.key_scales),
                value_scales: scales(&head.value_scales),
            }
        });
        Entries {
            heads: heads.collect(),
            len: count,
        }
    }

    fn bytes(&self) -> usize {
        let of = |head: &Head<T>| {
            (head.keys.capacity() + head.values.capacity()) * size_of::<T>()
                + (head.key_scales.capacity() + head.value_scales.capacity()) * size_of::<f32>()
        };
        self.heads.iter().map(of).sum()
    }

    fn append(&mut self, keys: &[f32], values: &[f32], kv_heads: usize, head_dim: usize) {
        let width = kv_heads * head_dim;
        let tokens = keys.len() / width;
        self.heads.resize_with(kv_heads, Head::default);
        let mut kept = Vec::with_capacity(head_dim);
        for (head, of_head) in self.heads.iter_mut().enumerate() {
            let blocks = (self.len + tokens).div_ceil(LANES);
            of_head.keys.resize(blocks * head_dim * LANES, T::default());
            for token in 0..tokens {
                let at = token * width + head * head_dim;
                T::keep(
                    &values[at..at + head_dim],
                    &mut of_head.values,
                    &mut of_head.value_scales,
                );
                kept.clear();
                T::keep(&keys[at..at + head_dim], &mut kept, &mut of_head.key_scales);
                let entry = self.len + token;
                let block = &mut of_head.keys[entry / LANES * head_dim * LANES..][..head_dim * LANES];
                for (column, &key) in block.chunks_exact_mut(LANES).zip(&kept) {
                    column[entry % LANES] = key;
                }
            }
        }
        self.len += tokens;
    }
}

/// Which entries the chunk's tokens see beside all earlier ones.
#[derive(Clone, Copy, Debug)]
pub enum AttentionMask<'a> {
    /// Those up to itself.
    Causal,
    /// Token i sees token j of the chunk where entry (i, j) of this (tokens, tokens) table is set.
    Custom(&'a [bool]),
}

/// Where a piece of the work stands.
#[derive(Clone, Copy)]
struct ItemPlace {
    item: usize,
    /// Of keys and values.
    head: usize,
    /// First row of the tile.
    first: usize,
    /// Of the entries.
    part: usize,
}

/// One attention over a chunk's queries.
pub(super) struct Attend<'a> {
    /// (tokens, heads · head_dim), turned, and scaled by 1/√head_dim
    queries: &'a [f32],
    entries: &'a KeyValues,
    mask: AttentionMask<'a>,
    /// For each token how many entries stand before its window; nothing where there are no windows.
    before: &'a [usize],
    /// Entries that stood there before the chunk's.
    past: usize,
    tokens: usize,
    /// Query heads a key/value head.
    groups: usize,
    head_dim: usize,
    /// Of the entries, each attended to by itself and then joined: more than one for a single token after many.
    parts: usize,
}

impl<'a> Attend<'a> {
    pub fn new(
        queries: &'a [f32],
        entries: &'a KeyValues,
        mask: AttentionMask<'a>,
        before: &'a [usize],
        tokens: usize,
        heads: usize,
    ) -> Self {
        let first = before.first().copied().unwrap_or(0);
        Attend {
            queries,
            entries,
            mask,
            before,
            past: entries.len() - tokens,
            tokens,
            groups: heads / entries.heads(),
            head_dim: queries.len() / (tokens * heads),
            // By their number alone, so that no result depends on the threads.
            parts: match (tokens, mask) {
                (1, AttentionMask::Causal) => ((entries.len() - first) / PART).clamp(1, MOST_PARTS),
                _ => 1,
            },
        }
    }

    /// Pieces of the work, which may be done in any order: (key/value head, tile of query rows, part of the entries).
    pub fn items(&self) -> usize {
        self.entries.heads() * self.tiles() * self.parts
    }

    /// Floats of the partial results; none where an item's result is final.
    pub fn partials(&self) -> usize {
        if self.parts == 1 {
            0
        } else {
            self.items() * ROWS * self.partial()
        }
    }

    /// Floats of a row's result over a part of the entries: what it mixed, the greatest score, the sum of its exponentials.
    fn partial(&self) -> usize {
        self.head_dim + 2
    }

    /// Joins partial results into `output`, (tokens, heads · head_dim).
    pub fn join(&self, partials: &[f32], output: &mut [f32]) {
        let of_tile = partials.chunks_exact(self.parts * ROWS * self.partial());
        for (at, of_tile) in of_tile.enumerate() {
            let (head, first) = (at / self.tiles(), at % self.tiles() * ROWS);
            for r in 0..ROWS.min(self.tokens * self.groups - first) {
                let rows = of_tile.chunks_exact(self.partial()).skip(r).step_by(ROWS);
                let parts = rows.map(|row| row.split_at(self.head_dim));
                let most = parts.clone().map(|(_, of)| of[0]).fold(f32::NEG_INFINITY, pick);
                let total: f32 = parts.clone().map(|(_, of)| of[1] * (of[0] - most).exp()).sum();
                let place = self.place(head, first + r);
                let out = &mut output[place..place + self.head_dim];
                for (mixed, of) in parts {
                    let share = (of[0] - most).exp() / total;
                    out.iter_mut().zip(mixed).for_each(|(out, x)| *out += share * x);
                }
            }
        }
    }

    fn tiles(&self) -> usize {
        (self.tokens * self.groups).div_ceil(ROWS)
    }

    /// Multiplications, about.
    pub fn work(&self) -> usize {
        let entries = self.entries.len() - self.before.first().copied().unwrap_or(0);
        2 * self.tokens * self.groups * self.entries.heads() * self.head_dim * entries
    }

    /// Does pieces of the work; results go to (tokens, heads · head_dim), or to the partial ones.
    #[inline(always)]
    pub fn run<V: Vector, const FUSED: bool>(&self, isa: V::Isa, items: Range<usize>, output: Slots) {
        let mut scores = Vec::new();
        for item in items {
            let (tile, part) = (item / self.parts, item % self.parts);
            let at = ItemPlace {
                item,
                head: tile / self.tiles(),
                first: tile % self.tiles() * ROWS,
                part,
            };
            either!(self.entries, entries => {
                self.rows::<V, FUSED, _>(isa, &entries.heads[at.head], at, &mut scores, output);
            });
        }
    }

    #[inline(always)]
    fn rows<V: Vector, const FUSED: bool, T: Loads>(
        &self,
        isa: V::Isa,
        of_head: &Head<T>,
        at: ItemPlace,
        scores: &mut Vec<f32>,
        output: Slots,
    ) {
        match ROWS.min(self.tokens * self.groups - at.first) {
            4 => self.tile::<V, FUSED, 4, T>(isa, of_head, at, scores, output),
            3 => self.tile::<V, FUSED, 3, T>(isa, of_head, at, scores, output),
            2 => self.tile::<V, FUSED, 2, T>(isa, of_head, at, scores, output),
            _ => self.tile::<V, FUSED, 1, T>(isa, of_head, at, scores, output),
        }
    }

    /// Where a row's query stands and its result goes. Rows of a key/value head: token by token,
    /// the heads of its group side by side.
    fn place(&self, head: usize, row: usize) -> usize {
        let width = self.entries.heads() * self.groups * self.head_dim;
        let query_head = head * self.groups + row % self.groups;
        row / self.groups * width + query_head * self.head_dim
    }

    /// Entries that may be seen by a row: 0..this.
    fn end(&self, row: usize) -> usize {
        match self.mask {
            AttentionMask::Causal => self.past + row / self.groups + 1,
            AttentionMask::Custom(_) => self.entries.len(),
        }
    }

    /// Entries before the window of a row: it sees none of 0..this.
    fn begin(&self, row: usize) -> usize {
        self.before.get(row / self.groups).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn tile<V: Vector, const FUSED: bool, const R: usize, T: Loads>(
        &self,
        isa: V::Isa,
        of_head: &Head<T>,
        at: ItemPlace,
        scores: &mut Vec<f32>,
        output: Slots,
    ) {
        let places: [usize; R] = std::array::from_fn(|r| self.place(at.head, at.first + r));
        let queries: [&[f32]; R] = std::array::from_fn(|r| &self.queries[places[r]..places[r] + self.head_dim]);
        let span = self.span(at);
        let count = span.len();
        let stride = count.next_multiple_of(2 * LANES);
        scores.clear();
        scores.resize(R * stride, 0.0);
        self.score::<V, R, T>(isa, of_head, &queries, span.clone(), stride, scores);
        let mut scale = [0.0; R];
        let mut partial = [[0.0; 2]; R];
        for (r, scores) in scores.chunks_exact_mut(stride).enumerate() {
            let scores = &mut scores[..count];
            multiply(scores, &of_head.key_scales, span.start);
            self.mask(at.first + r, span.start, scores);
            let most = greatest(scores);
            let sum = softmax::<FUSED>(scores, most);
            (scale[r], partial[r]) = (1.0 / sum, [most, sum]);
            multiply(scores, &of_head.value_scales, span.start);
        }
        let mut places = places;
        if self.parts > 1 {
            scale = [1.0; R];
            places = std::array::from_fn(|r| (at.item * ROWS + r) * self.partial());
            for (place, partial) in places.iter().zip(&partial) {
                output.write(place + self.head_dim, partial);
            }
        }
        let weights = std::array::from_fn(|r| &scores[r * stride..r * stride + count]);
        let mix = Mix::<V, R, T> {
            isa,
            values: &of_head.values[span.start * self.head_dim..span.end * self.head_dim],
            head_dim: self.head_dim,
            weights,
            scale,
            places,
            output,
        };
        mix.run();
    }

    /// The entries that the rows of a tile go over: of a part whole pairs of blocks, but for the last.
    fn span(&self, at: ItemPlace) -> Range<usize> {
        let rows = ROWS.min(self.tokens * self.groups - at.first);
        let end = self.end(at.first + rows - 1);
        let begins = (at.first..at.first + rows).map(|row| self.begin(row));
        let begin = begins.min().unwrap_or(0) / (2 * LANES) * (2 * LANES);
        let size = (end - begin).div_ceil(self.parts).next_multiple_of(2 * LANES);
        (begin + at.part * size).min(end)..(begin + (at.part + 1) * size).min(end)
    }

    /// ⟨query, key⟩ for the entries of `span`, two blocks of entries at a time.
    #[inline(always)]
    fn score<V: Vector, const R: usize, T: Loads>(
        &self,
        isa: V::Isa,
        head: &Head<T>,
        queries: &[&[f32]; R],
        span: Range<usize>,
        stride: usize,
        scores: &mut [f32],
    ) {
        let size = self.head_dim * LANES;
        // A single token's entries come from memory, and are over before the processor sees the pattern.
        let ahead = self.tokens == 1;
        let mut at = 0;
        let blocks = span.start / LANES..span.end.div_ceil(LANES);
        for pair in head.keys[blocks.start * size..blocks.end * size].chunks(2 * size) {
            let (left, right) = pair.split_at(size);
            // A last block without a neighbour is multiplied twice; its second result is unused.
            let right = if right.is_empty() { left } else { right };
            let mut sums = [[V::splat(isa, 0.0); 2]; R];
            let columns = left.as_chunks::<LANES>().0.iter().zip(right.as_chunks::<LANES>().0);
            for (d, (left, right)) in columns.enumerate() {
                if ahead {
                    // One line of the next pair, and one of this pair's values.
                    let of_line = LINE / size_of::<T>();
                    if d * of_line < 2 * size {
                        fetch(pair.as_ptr().wrapping_add(2 * size + d * of_line));
                        fetch(
                            head.values
                                .as_ptr()
                                .wrapping_add((span.start + at) * self.head_dim + d * of_line),
                        );
                    }
                }
                let (left, right) = (T::load::<V>(isa, left), T::load::<V>(isa, right));
                for (sums, query) in sums.iter_mut().zip(queries) {
                    let q = V::splat(isa, query[d]);
                    sums[0] = left.mul_add(q, sums[0]);
                    sums[1] = right.mul_add(q, sums[1]);
                }
            }
            for (r, sums) in sums.into_iter().enumerate() {
                let row = scores[r * stride + at..][..2 * LANES].as_chunks_mut::<LANES>().0;
                sums[0].store(&mut row[0]);
                sums[1].store(&mut row[1]);
            }
            at += 2 * LANES;
        }
    }

    /// −∞ where the row's token does not see, of the scores of the entries from `first` on.
    #[inline(always)]
    fn mask(&self, row: usize, first: usize, scores: &mut [f32]) {
        let hidden = self.begin(row).saturating_sub(first).min(scores.len());
        scores[..hidden].fill(f32::NEG_INFINITY);
        match self.mask {
            AttentionMask::Causal => {
                let seen = (self.end(row) - first).min(scores.len());
                scores[seen..].fill(f32::NEG_INFINITY);
            }
            AttentionMask::Custom(table) => {
                let token = row / self.groups;
                let table = &table[token * self.tokens..(token + 1) * self.tokens];
                for (score, seen) in scores[self.past - first..].iter_mut().zip(table) {
                    *score = if *seen { *score } else { f32::NEG_INFINITY };
                }
            }
        }
    }
}

/// Σ weight · value for some rows that go over the entries of a head together.
struct Mix<'a, V: Vector, const R: usize, T> {
    isa: V::Isa,
    /// (entries, head_dim)
    values: &'a [T],
    head_dim: usize,
    /// One an entry, for each row.
    weights: [&'a [f32]; R],
    /// What each row's sum is multiplied with.
    scale: [f32; R],
    /// Where each row's result goes.
    places: [usize; R],
    output: Slots,
}

impl<V: Vector, const R: usize, T: Loads> Mix<'_, V, R, T> {
    /// 64 columns at a time.
    #[inline(always)]
    fn run(&self) {
        let mut column = 0;
        while column < self.head_dim {
            if column + 4 * LANES <= self.head_dim {
                self.columns::<4>(column);
                column += 4 * LANES;
            } else {
                self.columns::<1>(column);
                column += LANES;
            }
        }
    }

    #[inline(always)]
    fn columns<const C: usize>(&self, column: usize) {
        let isa = self.isa;
        let mut sums = [[V::splat(isa, 0.0); C]; R];
        for (entry, values) in self.values.chunks_exact(self.head_dim).enumerate() {
            let values = values[column..column + C * LANES].as_chunks::<LANES>().0;
            let values: [V; C] = std::array::from_fn(|c| T::load::<V>(isa, &values[c]));
            for (sums, weights) in sums.iter_mut().zip(&self.weights) {
                let weight = V::splat(isa, weights[entry]);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = value.mul_add(weight, *sum);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (c, sum) in sums.into_iter().enumerate() {
                let mut values = [0.0; LANES];
                let scaled = sum.mul_add(V::splat(isa, self.scale[r]), V::splat(isa, 0.0));
                scaled.store(&mut values);
                self.output.write(self.places[r] + column + c * LANES, &values);
            }
        }
    }
}

/// Multiplies each of `x` with its scale, that of the first standing at `first`, where they have such.
#[inline(always)]
fn multiply(x: &mut [f32], scales: &[f32], first: usize) {
    for (x, scale) in x.iter_mut().zip(scales.get(first..).unwrap_or_default()) {
        *x *= scale;
    }
}

/// Asks for the cache line of a place that need not exist.
#[inline(always)]
pub(super) fn fetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and the instruction reads nothing that a program could see and never fails.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// exp(score − greatest) in place; returns their sum. Scores of −∞ become 0.
#[inline(always)]
fn softmax<const FUSED: bool>(scores: &mut [f32], greatest: f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (blocks, rest) = scores.as_chunks_mut::<LANES>();
    for block in blocks {
        for (score, sum) in block.iter_mut().zip(&mut sums) {
            *score = exp::<FUSED>(*score - greatest);
            *sum += *score;
        }
    }
    for score in rest.iter_mut() {
        *score = exp::<FUSED>(*score - greatest);
        sums[0] += *score;
    }
    sums.iter().sum()
}

/// The greatest of some floats; −∞ of none.
#[inline(always)]
pub fn greatest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane = pick(*lane, value);
        }
    }
    let best = across(lanes, pick);
    rest.iter().fold(best, |a, &b| pick(a, b))
}

#[cfg(test)]
mod tests;
