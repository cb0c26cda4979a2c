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
    /// How many entries a token sees up to its own.
    window: Option<usize>,
}

impl Case {
    /// Entries before each token's window; under a table those of the past alone, and for some a token fewer than for the one
    /// before, as where branches begin anew.
    fn before(&self) -> Vec<usize> {
        let Some(window) = self.window else {
            return Vec::new();
        };
        let of = |token: usize| (self.past + token + 1).saturating_sub(window);
        match self.table {
            Some(_) => (0..self.tokens).map(|t| of(t % 5).min(self.past)).collect(),
            None => (0..self.tokens).map(of).collect(),
        }
    }

    /// softmax(q·k)·v by its formula, in f64.
    fn reference(&self, queries: &[f32], keys: &[f32], values: &[f32]) -> Vec<f64> {
        let (width, heads) = (self.kv_heads * self.head_dim, self.kv_heads * self.groups);
        let mut out = Vec::new();
        for token in 0..self.tokens {
            for head in 0..heads {
                let at = |entry: usize, d: usize| entry * width + head / self.groups * self.head_dim + d;
                let query = &queries[(token * heads + head) * self.head_dim..][..self.head_dim];
                let before = self.before().get(token).copied().unwrap_or(0);
                let sees = |entry: usize| match (&self.table, entry.checked_sub(self.past)) {
                    (_, None) => entry >= before,
                    (Some(table), Some(own)) => table[token * self.tokens + own],
                    (None, Some(own)) => entry >= before && own <= token,
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

    fn check(&self, bits: KvBits) {
        let width = self.kv_heads * self.head_dim;
        let entries = self.past + self.tokens;
        // What the numbers hold, so that keeping them changes nothing: of eight bits the scale is 1/64.
        let held = |seed| -> Vec<f32> {
            let values = random(entries * width, seed).into_iter().enumerate();
            let hold = |(at, x): (usize, f32)| match bits {
                KvBits::Sixteen => f16::from_f32(x).to_f32(),
                KvBits::Eight if at % self.head_dim == 3 => 127.0 / 64.0,
                KvBits::Eight => (x * 63.0).round() / 64.0,
            };
            values.map(hold).collect()
        };
        let (keys, values) = (held(1), held(2));
        let queries: Vec<f32> = random(self.tokens * self.groups * width, 3)
            .iter()
            .map(|q| q / 4.0)
            .collect();
        let mut kept = KeyValues::new(bits);
        let (before, own) = (self.past * width, self.past * width);
        kept.append(&keys[..before], &values[..before], self.kv_heads, self.head_dim);
        kept.append(&keys[own..], &values[own..], self.kv_heads, self.head_dim);
        assert_eq!(kept.len(), entries);
        let seen = self
            .table
            .as_deref()
            .map_or(AttentionMask::Causal, AttentionMask::Custom);
        let before = self.before();
        let attend = Attend::new(&queries, &kept, seen, &before, self.tokens, self.kv_heads * self.groups);
        let expected = self.reference(&queries, &keys, &values);
        let close = |found: &[f32], kernel: &str| {
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-5,
                    "{kernel}: {found} for {expected}"
                );
            }
        };
        let run = |work: &dyn Fn(Slots)| {
            let (mut out, mut partials) = (vec![f32::NAN; queries.len()], vec![f32::NAN; attend.partials()]);
            if partials.is_empty() {
                work(Slots::new(&mut out));
            } else {
                work(Slots::new(&mut partials));
                out.fill(0.0);
                attend.join(&partials, &mut out);
            }
            out
        };
        let portable = run(&|out| attend.run::<Lanes<false>, false>((), 0..attend.items(), out));
        close(&portable, "portable");
        let fused = run(&|out| attend.run::<Lanes<true>, true>((), 0..attend.items(), out));
        close(&fused, "fused");
        let detected = super::super::attention(
            &queries,
            &kept,
            (seen, &before),
            self.tokens,
            self.kv_heads * self.groups,
        );
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
        // A single token after so many that they are attended to in parts, of which the last is short.
        (1055, 1, 3, 3, 64),
        (1900, 1, 2, 7, 16),
    ] {
        for (table, bits) in [None, Some(branches(tokens).collect::<Vec<bool>>())]
            .into_iter()
            .flat_map(|table| [KvBits::Sixteen, KvBits::Eight].map(|bits| (table.clone(), bits)))
        {
            for window in [None, Some(1), Some(33), Some(600), Some(1100), Some(5000)] {
                let case = Case {
                    past,
                    tokens,
                    kv_heads,
                    groups,
                    head_dim,
                    table: table.clone(),
                    window,
                };
                case.check(bits);
            }
        }
    }
}

#[test]
fn what_the_numbers_cannot_hold_is_not_infinite() {
    for bits in [KvBits::Sixteen, KvBits::Eight] {
        let mut kept = KeyValues::new(bits);
        kept.append(
            &[1e9, -1e9, 0.0, 1.0],
            &[f32::INFINITY, 1e9, f32::NEG_INFINITY, 1e38],
            1,
            4,
        );
        match &kept {
            KeyValues::Halves(entries) => {
                let Head { keys, values, .. } = &entries.heads[0];
                assert!(keys.iter().chain(values).all(|x| x.is_finite()));
            }
            KeyValues::Bytes(entries) => {
                let Head {
                    key_scales,
                    value_scales,
                    values,
                    ..
                } = &entries.heads[0];
                assert!(
                    key_scales
                        .iter()
                        .chain(value_scales)
                        .all(|scale| (127.0 * scale).is_finite())
                );
                assert_eq!((values[0], values[2]), (127, -127));
            }
        }
    }
}

#[test]
fn entries_that_were_cut_go_on_as_if_no_other_had_been_there() {
    for bits in [KvBits::Sixteen, KvBits::Eight] {
        let (keys, values, queries) = (random(40 * 32, 1), random(40 * 32, 2), random(64, 3));
        let appended = |mut kept: KeyValues, from: usize, to: usize| {
            kept.append(&keys[from * 32..to * 32], &values[from * 32..to * 32], 2, 16);
            kept
        };
        let whole = appended(KeyValues::new(bits), 0, 33);
        let cut = appended(appended(KeyValues::new(bits), 0, 40).first(17), 17, 33);
        let attend = |kept: &KeyValues| super::super::attention(&queries, kept, (AttentionMask::Causal, &[]), 1, 4);
        assert_eq!(attend(&whole), attend(&cut));
        assert_eq!(whole.first(5).len(), 5);
    }
    let of = |bits| {
        let mut kept = KeyValues::new(bits);
        kept.append(&random(64 * 128, 1), &random(64 * 128, 2), 2, 64);
        kept.bytes()
    };
    assert!(of(KvBits::Eight) * 10 < of(KvBits::Sixteen) * 6, "half, and the scales");
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
