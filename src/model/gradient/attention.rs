//! Grouped-query attention of rows behind known tokens, forward and backward, head by head.

use half::slice::HalfFloatSliceExt;

use super::{Past, halves};
use crate::model::kernel;
use crate::model::kernel::dense::{Matrix, product};

/// The score of what a row does not see: its weight is 0.
const HIDDEN: f32 = -1e30;

/// Numbers of heads, a head's size, and what its scores are.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub queries: usize,
    pub keys: usize,
    pub size: usize,
    /// What queries are multiplied with: 1/√head_dim in most models.
    pub scale: f32,
    /// How many entries a row sees, its own the last; all before it where there is none.
    pub window: Option<usize>,
}

impl Heads {
    /// Query heads that share a key head.
    fn groups(self) -> usize {
        self.queries / self.keys
    }

    /// Hides from the scores (rows, past + rows) what is before each row's window.
    fn hide(self, scores: &mut [f32], entries: usize, past: usize) {
        let Some(window) = self.window else { return };
        for (row, scores) in scores.chunks_exact_mut(entries).enumerate() {
            scores[..(past + row + 1).saturating_sub(window)].fill(HIDDEN);
        }
    }
}

/// What attention leaves for its backward pass.
pub(super) struct Attended {
    /// (heads, rows, head_dim), turned and scaled.
    queries: Vec<f32>,
    /// Of the rows themselves, (kv_heads, rows, head_dim).
    keys: Vec<f32>,
    values: Vec<f32>,
    /// (heads, rows, past + rows)
    weights: Vec<f32>,
    heads: Heads,
}

impl Attended {
    /// Keys and values of these rows behind those of `past`.
    pub fn extend(&self, past: &Past) -> Past {
        let heads = self.heads;
        let rows = self.keys.len() / (heads.keys * heads.size);
        let joined = |before: &[half::f16], own: &[f32]| {
            let own = halves(own);
            let mut all = Vec::with_capacity(before.len() + own.len());
            for head in 0..heads.keys {
                let of = |tokens: usize| head * tokens * heads.size..(head + 1) * tokens * heads.size;
                all.extend_from_slice(&before[of(past.tokens)]);
                all.extend_from_slice(&own[of(rows)]);
            }
            all
        };
        Past {
            tokens: past.tokens + rows,
            keys: joined(&past.keys, &self.keys),
            values: joined(&past.values, &self.values),
            ..Past::default()
        }
    }
}

/// Attention of rows whose queries (rows, heads · head_dim) are turned and scaled and whose keys (rows, kv_heads ·
/// head_dim) are turned: what it mixes, (rows, heads · head_dim).
pub(super) fn forward(heads: Heads, query: &[f32], key: &[f32], value: &[f32], past: &Past) -> (Vec<f32>, Attended) {
    let rows = key.len() / (heads.keys * heads.size);
    let entries = past.tokens + rows;
    let attended = Attended {
        queries: by_head(query, heads.queries, heads.size),
        keys: by_head(key, heads.keys, heads.size),
        values: by_head(value, heads.keys, heads.size),
        weights: vec![0.0; heads.queries * rows * entries],
        heads,
    };
    let mut attended = attended;
    let mut mixed = vec![0.0; query.len()];
    let area = rows * heads.size;
    for group in 0..heads.keys {
        let keys = entries_of(group, &past.keys, &attended.keys, past.tokens, rows, heads.size);
        let values = entries_of(group, &past.values, &attended.values, past.tokens, rows, heads.size);
        for head in group * heads.groups()..(group + 1) * heads.groups() {
            let weights = &mut attended.weights[head * rows * entries..(head + 1) * rows * entries];
            let queries = Matrix::new(&attended.queries[head * area..(head + 1) * area], rows, heads.size);
            product(weights, queries, Matrix::new(&keys, entries, heads.size).t(), false);
            heads.hide(weights, entries, past.tokens);
            kernel::softmax_causal(weights, entries, past.tokens);
            let to = &mut mixed[head * area..(head + 1) * area];
            let weights = Matrix::new(weights, rows, entries);
            product(to, weights, Matrix::new(&values, entries, heads.size), false);
        }
    }
    (by_row(&mixed, heads.queries, heads.size), attended)
}

/// The gradients of queries, keys and values of the rows, as they were given to [`forward`], from that of what it
/// mixed.
pub(super) fn backward(heads: Heads, attended: &Attended, d_mixed: &[f32], past: &Past) -> [Vec<f32>; 3] {
    let rows = attended.keys.len() / (heads.keys * heads.size);
    let entries = past.tokens + rows;
    let area = rows * heads.size;
    let d_mixed = by_head(d_mixed, heads.queries, heads.size);
    let mut d_queries = vec![0.0; attended.queries.len()];
    let mut d_keys = vec![0.0; attended.keys.len()];
    let mut d_values = vec![0.0; attended.values.len()];
    let mut d_scores = vec![0.0; rows * entries];
    let mut own = vec![0.0; rows * rows];
    // The columns of the rows themselves: nothing goes back to the tokens before them.
    let own_columns = |all: &[f32], own: &mut [f32]| {
        for (all, own) in all.chunks_exact(entries).zip(own.chunks_exact_mut(rows)) {
            own.copy_from_slice(&all[past.tokens..]);
        }
    };
    for group in 0..heads.keys {
        let keys = entries_of(group, &past.keys, &attended.keys, past.tokens, rows, heads.size);
        let values = entries_of(group, &past.values, &attended.values, past.tokens, rows, heads.size);
        let of_group = group * area..(group + 1) * area;
        for head in group * heads.groups()..(group + 1) * heads.groups() {
            let of_head = head * area..(head + 1) * area;
            let weights = &attended.weights[head * rows * entries..(head + 1) * rows * entries];
            let d = Matrix::new(&d_mixed[of_head.clone()], rows, heads.size);
            own_columns(weights, &mut own);
            product(
                &mut d_values[of_group.clone()],
                Matrix::new(&own, rows, rows).t(),
                d,
                true,
            );
            product(&mut d_scores, d, Matrix::new(&values, entries, heads.size).t(), false);
            kernel::softmax_backward(weights, &mut d_scores, entries);
            let scores = Matrix::new(&d_scores, rows, entries);
            product(
                &mut d_queries[of_head.clone()],
                scores,
                Matrix::new(&keys, entries, heads.size),
                false,
            );
            own_columns(&d_scores, &mut own);
            let queries = Matrix::new(&attended.queries[of_head], rows, heads.size);
            product(
                &mut d_keys[of_group.clone()],
                Matrix::new(&own, rows, rows).t(),
                queries,
                true,
            );
        }
    }
    [
        by_row(&d_queries, heads.queries, heads.size),
        by_row(&d_keys, heads.keys, heads.size),
        by_row(&d_values, heads.keys, heads.size),
    ]
}

/// Entries of one key head, those of the past first: (past + rows, head_dim).
fn entries_of(head: usize, past: &[half::f16], own: &[f32], tokens: usize, rows: usize, size: usize) -> Vec<f32> {
    let mut entries = vec![0.0; (tokens + rows) * size];
    past[head * tokens * size..(head + 1) * tokens * size].convert_to_f32_slice(&mut entries[..tokens * size]);
    entries[tokens * size..].copy_from_slice(&own[head * rows * size..(head + 1) * rows * size]);
    entries
}

/// (rows, heads · size) → (heads, rows, size)
fn by_head(x: &[f32], heads: usize, size: usize) -> Vec<f32> {
    let rows = x.len() / (heads * size);
    let mut out = Vec::with_capacity(x.len());
    for head in 0..heads {
        for row in 0..rows {
            let from = (row * heads + head) * size;
            out.extend_from_slice(&x[from..from + size]);
        }
    }
    out
}

/// (heads, rows, size) → (rows, heads · size)
fn by_row(x: &[f32], heads: usize, size: usize) -> Vec<f32> {
    let rows = x.len() / (heads * size);
    let mut out = Vec::with_capacity(x.len());
    for row in 0..rows {
        for head in 0..heads {
            let from = (head * rows + row) * size;
            out.extend_from_slice(&x[from..from + size]);
        }
    }
    out
}
