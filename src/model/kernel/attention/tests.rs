use rand::{Rng, SeedableRng};

use super::super::vector::Lanes;
use super::*;

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-2.0..2.0)).collect()
}

struct Case {
    past: usize,
    tokens: usize,
    kv_heads: usize,
    groups: usize,
    head_dim: usize,
    table: Option<Vec<bool>>,
}

impl Case {
    /// softmax(q·k)·v by its formula, in f64.
    fn reference(&self, queries: &[f32], keys: &[f32], values: &[f32]) -> Vec<f64> {
        let (width, heads) = (self.kv_heads * self.head_dim, self.kv_heads * self.groups);
        let mut out = Vec::new();
        for token in 0..self.tokens {
            for head in 0..heads {
                let at = |entry: usize, d: usize| entry * width + head / self.groups * self.head_dim + d;
                let query = &queries[(token * heads + head) * self.head_dim..][..self.head_dim];
                let sees = |entry: usize| match (&self.table, entry.checked_sub(self.past)) {
                    (_, None) => true,
                    (Some(table), Some(own)) => table[token * self.tokens + own],
                    (None, Some(own)) => own <= token,
                };
                let seen: Vec<usize> = (0..self.past + self.tokens).filter(|&e| sees(e)).collect();
                let dot = |&e: &usize| {
                    (0..self.head_dim)
                        .map(|d| f64::from(query[d]) * f64::from(keys[at(e, d)]))
                        .sum()
                };
                let weights: Vec<f64> = seen.iter().map(dot).map(|score: f64| score.exp()).collect();
                let total: f64 = weights.iter().sum();
                out.extend((0..self.head_dim).map(|d| {
                    let mixed = seen.iter().zip(&weights).map(|(&e, w)| w * f64::from(values[at(e, d)]));
                    mixed.sum::<f64>() / total
                }));
            }
        }
        out
    }

    fn check(&self) {
        let width = self.kv_heads * self.head_dim;
        let entries = self.past + self.tokens;
        // What 16 bits hold, so that keeping them changes nothing.
        let held = |seed| -> Vec<f32> {
            let values = random(entries * width, seed);
            values.iter().map(|x| f16::from_f32(*x).to_f32()).collect()
        };
        let (keys, values) = (held(1), held(2));
        let queries: Vec<f32> = random(self.tokens * self.groups * width, 3)
            .iter()
            .map(|q| q / 4.0)
            .collect();
        let mut kept = KeyValues::default();
        let (before, own) = (self.past * width, self.past * width);
        kept.append(&keys[..before], &values[..before], self.kv_heads, self.head_dim);
        kept.append(&keys[own..], &values[own..], self.kv_heads, self.head_dim);
        assert_eq!(kept.len(), entries);
        let seen = self
            .table
            .as_deref()
            .map_or(AttentionMask::Causal, AttentionMask::Custom);
        let attend = Attend::new(&queries, &kept, seen, self.tokens, self.kv_heads * self.groups);
        let expected = self.reference(&queries, &keys, &values);
        let close = |found: &[f32], kernel: &str| {
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-5,
                    "{kernel}: {found} for {expected}"
                );
            }
        };
        let mut portable = vec![f32::NAN; queries.len()];
        attend.run::<Lanes<false>, false>((), 0..attend.items(), Slots::new(&mut portable));
        close(&portable, "portable");
        let mut fused = vec![f32::NAN; queries.len()];
        attend.run::<Lanes<true>, true>((), 0..attend.items(), Slots::new(&mut fused));
        close(&fused, "fused");
        let detected = super::super::attention(&queries, &kept, seen, self.tokens, self.kv_heads * self.groups);
        close(&detected, "detected");
    }
}

#[test]
fn attention_follows_its_formula() {
    let branches = |tokens: usize| {
        (0..tokens * tokens).map(move |at| (at % tokens <= at / tokens && at % 3 != 1) || at % tokens == at / tokens)
    };
    for (past, tokens, kv_heads, groups, head_dim) in [
        (0, 1, 1, 1, 16),
        (5, 1, 3, 3, 64),
        (0, 37, 2, 1, 48),
        (16, 17, 2, 4, 80),
        (40, 3, 1, 2, 128),
    ] {
        for table in [None, Some(branches(tokens).collect())] {
            Case {
                past,
                tokens,
                kv_heads,
                groups,
                head_dim,
                table,
            }
            .check();
        }
    }
}

#[test]
fn what_sixteen_bits_cannot_hold_is_not_infinite() {
    let mut kept = KeyValues::default();
    kept.append(&[1e9, -1e9, 0.0, 1.0], &[1e9; 4], 1, 4);
    assert!(
        kept.heads[0]
            .keys
            .iter()
            .chain(&kept.heads[0].values)
            .all(|x| x.is_finite())
    );
    assert_eq!(kept.bytes() % size_of::<f16>(), 0);
}

#[test]
fn exp_is_exact_to_a_few_units_and_0_for_what_is_masked() {
    for fused in [false, true] {
        let exp = |x: f32| if fused { exp::<true>(x) } else { exp::<false>(x) };
        for at in -8700..8800 {
            let x = at as f32 / 100.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!(
                (found / expected - 1.0).abs() < 3e-7,
                "exp({x}) = {found}, not {expected}"
            );
        }
        assert_eq!((exp(f32::NEG_INFINITY), exp(-100.0), exp(0.0)), (0.0, 0.0, 1.0));
        assert!(exp(f32::NAN).is_nan());
    }
}
