//! What happens to single rows between the products: norm, rotation, gate, normaliser.

use super::LANES;
use super::attention::greatest;
use super::vector::exp;

/// Root-mean-square norm (arXiv 1910.07467) of rows, with a gain a column, into `out`.
#[inline(always)]
pub(super) fn rms_norm(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
    let width = gain.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let scale = 1.0 / (sum_of_squares(x) / width as f32 + eps).sqrt();
        for (out, (x, gain)) in out.iter_mut().zip(x.iter().zip(gain)) {
            *out = x * scale * gain;
        }
    }
}

#[inline(always)]
fn sum_of_squares(x: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum += x * x;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>()
}

/// Turns the heads of each row by its token's angles (arXiv 2104.09864) and scales them by `scale`.
/// `x`: (tokens, heads · head_dim), `cos` and `sin`: (tokens, head_dim / 2). Pairs are neighbours
/// where `interleaved`, else an element of the first half and its counterpart of the second.
#[inline(always)]
pub(super) fn rotate(x: &mut [f32], cos: &[f32], sin: &[f32], half: usize, interleaved: bool, scale: f32) {
    let tokens = cos.len() / half;
    let width = x.len() / tokens.max(1);
    let tables = cos.chunks_exact(half).zip(sin.chunks_exact(half));
    for (row, (cos, sin)) in x.chunks_exact_mut(width).zip(tables) {
        for head in row.chunks_exact_mut(2 * half) {
            if interleaved {
                for (pair, (cos, sin)) in head.chunks_exact_mut(2).zip(cos.iter().zip(sin)) {
                    let (a, b) = (pair[0] * scale, pair[1] * scale);
                    pair[0] = a * cos - b * sin;
                    pair[1] = a * sin + b * cos;
                }
            } else {
                let (first, second) = head.split_at_mut(half);
                let pairs = first.iter_mut().zip(second);
                for ((first, second), (cos, sin)) in pairs.zip(cos.iter().zip(sin)) {
                    let (a, b) = (*first * scale, *second * scale);
                    *first = a * cos - b * sin;
                    *second = a * sin + b * cos;
                }
            }
        }
    }
}

/// gate ← silu(gate) · up (SwiGLU, arXiv 2002.05202).
#[inline(always)]
pub(super) fn silu_times<const FUSED: bool>(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp::<FUSED>(-*gate)) * up;
    }
}

/// What GELU's tanh approximation multiplies with, twice since it is taken by the logistic function.
pub(super) const TWO_SQRT_2_OVER_PI: f32 = 1.595_769;

/// x ← gelu(x) by the tanh approximation (arXiv 1606.08415): (1 + tanh u)/2 = 1/(1 + exp(−2u)).
#[inline(always)]
pub(super) fn gelu<const FUSED: bool>(x: &mut [f32]) {
    for x in x {
        let u = TWO_SQRT_2_OVER_PI * (*x + 0.044_715 * *x * *x * *x);
        *x /= 1.0 + exp::<FUSED>(-u);
    }
}

/// gate ← gelu(gate) · up, see [`gelu`].
#[inline(always)]
pub(super) fn gelu_times<const FUSED: bool>(gate: &mut [f32], up: &[f32]) {
    for (x, up) in gate.iter_mut().zip(up) {
        let u = TWO_SQRT_2_OVER_PI * (*x + 0.044_715 * *x * *x * *x);
        *x = *x / (1.0 + exp::<FUSED>(-u)) * up;
    }
}

/// ln Σ exp of one row of logits, sums in f64.
#[inline(always)]
pub(super) fn logsumexp<const FUSED: bool>(logits: &[f32]) -> f64 {
    let greatest = greatest(logits);
    let mut total = 0.0f64;
    for part in logits.chunks(4096) {
        let mut sums = [0.0f32; LANES];
        let (blocks, rest) = part.as_chunks::<LANES>();
        for block in blocks {
            for (sum, z) in sums.iter_mut().zip(block) {
                *sum += exp::<FUSED>(z - greatest);
            }
        }
        let rest: f32 = rest.iter().map(|z| exp::<FUSED>(z - greatest)).sum();
        total += sums.iter().map(|s| f64::from(*s)).sum::<f64>() + f64::from(rest);
    }
    f64::from(greatest) + total.ln()
}
