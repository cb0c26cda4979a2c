//! Grouped-query attention (arXiv 2305.13245) over the entries of one pass, in f32 over keys and
//! values that are kept in 16 bits: a token reads all of them.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::vector::{Vector, across, exp, pick};
use super::{LANES, Slots};

/// Query rows that go over the entries together.
const ROWS: usize = 4;
/// Halves in a cache line.
const LINE: usize = 32;

/// Keys and values of one pass on the CPU, in the order of positions.
#[derive(Clone, Debug, Default)]
pub struct KeyValues {
    heads: Vec<Head>,
    len: usize,
}

#[derive(Clone, Debug, Default)]
struct Head {
    /// Entries in blocks of 16, the entries of a block side by side: (⌈entries / 16⌉, head_dim, 16).
    keys: Vec<f16>,
    /// (entries, head_dim)
    values: Vec<f16>,
}

impl KeyValues {
    /// Entries held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A copy of the first `count` entries.
    pub fn first(&self, count: usize) -> KeyValues {
        let count = count.min(self.len);
        let heads = self.heads.iter().map(|head| {
            let head_dim = head.values.len() / self.len.max(1);
            Head {
                // The last block may hold keys of entries that were left out; they lie beyond the end.
                keys: head.keys[..count.div_ceil(LANES) * head_dim * LANES].to_vec(),
                values: head.values[..count * head_dim].to_vec(),
            }
        });
        KeyValues {
            heads: heads.collect(),
            len: count,
        }
    }

    /// Bytes of memory that keys and values take.
    pub fn bytes(&self) -> usize {
        let floats = self
            .heads
            .iter()
            .map(|head| head.keys.capacity() + head.values.capacity());
        floats.sum::<usize>() * size_of::<f16>()
    }

    /// Adds entries: `keys` and `values` are (tokens, kv_heads · head_dim). What is beyond 16 bits
    /// becomes the greatest that is not.
    pub fn append(&mut self, keys: &[f32], values: &[f32], kv_heads: usize, head_dim: usize) {
        let width = kv_heads * head_dim;
        let tokens = keys.len() / width;
        let (keys, values) = (halves(keys), halves(values));
        self.heads.resize_with(kv_heads, Head::default);
        for (head, of_head) in self.heads.iter_mut().enumerate() {
            let blocks = (self.len + tokens).div_ceil(LANES);
            of_head.keys.resize(blocks * head_dim * LANES, f16::ZERO);
            for token in 0..tokens {
                let from = token * width + head * head_dim;
                of_head.values.extend_from_slice(&values[from..from + head_dim]);
                let entry = self.len + token;
                let block = &mut of_head.keys[entry / LANES * head_dim * LANES..][..head_dim * LANES];
                for (column, &key) in block.chunks_exact_mut(LANES).zip(&keys[from..from + head_dim]) {
                    column[entry % LANES] = key;
                }
            }
        }
        self.len += tokens;
    }
}

fn halves(values: &[f32]) -> Vec<f16> {
    let greatest = f16::MAX.to_f32();
    let held: Vec<f32> = values.iter().map(|x| x.clamp(-greatest, greatest)).collect();
    let mut halves = vec![f16::ZERO; values.len()];
    halves.convert_from_f32_slice(&held);
    halves
}

/// Which entries the chunk's tokens see beside all earlier ones.
#[derive(Clone, Copy, Debug)]
pub enum AttentionMask<'a> {
    /// Those up to itself.
    Causal,
    /// Token i sees token j of the chunk where entry (i, j) of this (tokens, tokens) table is set.
    Custom(&'a [bool]),
}

/// One attention over a chunk's queries.
pub(super) struct Attend<'a> {
    /// (tokens, heads · head_dim), turned, and scaled by 1/√head_dim
    queries: &'a [f32],
    entries: &'a KeyValues,
    mask: AttentionMask<'a>,
    /// Entries that stood there before the chunk's.
    past: usize,
    tokens: usize,
    /// Query heads a key/value head.
    groups: usize,
    head_dim: usize,
}

impl<'a> Attend<'a> {
    pub fn new(
        queries: &'a [f32],
        entries: &'a KeyValues,
        mask: AttentionMask<'a>,
        tokens: usize,
        heads: usize,
    ) -> Self {
        Attend {
            queries,
            entries,
            mask,
            past: entries.len - tokens,
            tokens,
            groups: heads / entries.heads.len(),
            head_dim: queries.len() / (tokens * heads),
        }
    }

    /// Parts of the work, which may be done in any order: (key/value head, tile of query rows).
    pub fn items(&self) -> usize {
        self.entries.heads.len() * self.tiles()
    }

    fn tiles(&self) -> usize {
        (self.tokens * self.groups).div_ceil(ROWS)
    }

    /// Multiplications, about.
    pub fn work(&self) -> usize {
        2 * self.tokens * self.groups * self.entries.heads.len() * self.head_dim * self.entries.len
    }

    /// Does parts of the work; results go to (tokens, heads · head_dim).
    #[inline(always)]
    pub fn run<V: Vector, const FUSED: bool>(&self, isa: V::Isa, items: Range<usize>, output: Slots) {
        let mut scores = Vec::new();
        for item in items {
            let (head, tile) = (item / self.tiles(), item % self.tiles());
            let first = tile * ROWS;
            let rows = ROWS.min(self.tokens * self.groups - first);
            match rows {
                4 => self.tile::<V, FUSED, 4>(isa, head, first, &mut scores, output),
                3 => self.tile::<V, FUSED, 3>(isa, head, first, &mut scores, output),
                2 => self.tile::<V, FUSED, 2>(isa, head, first, &mut scores, output),
                _ => self.tile::<V, FUSED, 1>(isa, head, first, &mut scores, output),
            }
        }
    }

    /// Where a row's query stands and its result goes. Rows of a key/value head: token by token,
    /// the heads of its group side by side.
    fn place(&self, head: usize, row: usize) -> usize {
        let width = self.entries.heads.len() * self.groups * self.head_dim;
        let query_head = head * self.groups + row % self.groups;
        row / self.groups * width + query_head * self.head_dim
    }

    /// Entries that may be seen by a row: 0..this.
    fn end(&self, row: usize) -> usize {
        match self.mask {
            AttentionMask::Causal => self.past + row / self.groups + 1,
            AttentionMask::Custom(_) => self.entries.len,
        }
    }

    #[inline(always)]
    fn tile<V: Vector, const FUSED: bool, const R: usize>(
        &self,
        isa: V::Isa,
        head: usize,
        first: usize,
        scores: &mut Vec<f32>,
        output: Slots,
    ) {
        let of_head = &self.entries.heads[head];
        let places: [usize; R] = std::array::from_fn(|r| self.place(head, first + r));
        let queries: [&[f32]; R] = std::array::from_fn(|r| &self.queries[places[r]..places[r] + self.head_dim]);
        let end = self.end(first + R - 1);
        let stride = end.next_multiple_of(2 * LANES);
        scores.clear();
        scores.resize(R * stride, 0.0);
        self.score::<V, R>(isa, of_head, &queries, end, stride, scores);
        let mut scale = [0.0; R];
        for (r, scores) in scores.chunks_exact_mut(stride).enumerate() {
            self.mask(first + r, &mut scores[..end]);
            scale[r] = 1.0 / softmax::<FUSED>(&mut scores[..end]);
        }
        let weights = std::array::from_fn(|r| &scores[r * stride..r * stride + end]);
        let mix = Mix::<V, R> {
            isa,
            values: &of_head.values[..end * self.head_dim],
            head_dim: self.head_dim,
            weights,
            scale,
            places,
            output,
        };
        mix.run();
    }

    /// ⟨query, key⟩ for the first `end` entries, two blocks of entries at a time.
    #[inline(always)]
    fn score<V: Vector, const R: usize>(
        &self,
        isa: V::Isa,
        head: &Head,
        queries: &[&[f32]; R],
        end: usize,
        stride: usize,
        scores: &mut [f32],
    ) {
        let size = self.head_dim * LANES;
        // A single token's entries come from memory, and are over before the processor sees the pattern.
        let ahead = self.tokens == 1;
        let mut at = 0;
        for pair in head.keys[..end.div_ceil(LANES) * size].chunks(2 * size) {
            let (left, right) = pair.split_at(size);
            // A last block without a neighbour is multiplied twice; its second result is unused.
            let right = if right.is_empty() { left } else { right };
            let mut sums = [[V::splat(isa, 0.0); 2]; R];
            let columns = left.as_chunks::<LANES>().0.iter().zip(right.as_chunks::<LANES>().0);
            for (d, (left, right)) in columns.enumerate() {
                if ahead {
                    // One line of the next pair, and one of this pair's values.
                    fetch(pair.as_ptr().wrapping_add(2 * size + d * LINE));
                    fetch(head.values.as_ptr().wrapping_add(at * self.head_dim + d * LINE));
                }
                let (left, right) = (V::load_halves(isa, left), V::load_halves(isa, right));
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

    /// −∞ where the row's token does not see.
    #[inline(always)]
    fn mask(&self, row: usize, scores: &mut [f32]) {
        match self.mask {
            AttentionMask::Causal => scores[self.end(row)..].fill(f32::NEG_INFINITY),
            AttentionMask::Custom(table) => {
                let token = row / self.groups;
                let table = &table[token * self.tokens..(token + 1) * self.tokens];
                for (score, seen) in scores[self.past..].iter_mut().zip(table) {
                    *score = if *seen { *score } else { f32::NEG_INFINITY };
                }
            }
        }
    }
}

/// Σ weight · value for some rows that go over the entries of a head together.
struct Mix<'a, V: Vector, const R: usize> {
    isa: V::Isa,
    /// (entries, head_dim)
    values: &'a [f16],
    head_dim: usize,
    /// One an entry, for each row.
    weights: [&'a [f32]; R],
    /// What each row's sum is multiplied with.
    scale: [f32; R],
    /// Where each row's result goes.
    places: [usize; R],
    output: Slots,
}

impl<V: Vector, const R: usize> Mix<'_, V, R> {
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
            let values: [V; C] = std::array::from_fn(|c| V::load_halves(isa, &values[c]));
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
fn softmax<const FUSED: bool>(scores: &mut [f32]) -> f32 {
    let greatest = greatest(scores);
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
