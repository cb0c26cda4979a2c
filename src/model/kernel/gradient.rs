//! Gradients of what happens to single rows between the products.

use super::LANES;
use super::attention::greatest;
use super::rows::{TWO_SQRT_2_OVER_PI, logsumexp};
use super::vector::{across, exp};

/// x ← softmax of each row of `width` scores over the first `past + row + 1`, 0 after those: a token sees
/// `past` earlier ones, itself and those before it in the chunk.
#[inline(always)]
pub(super) fn softmax_causal<const FUSED: bool>(x: &mut [f32], width: usize, past: usize) {
    for (row, x) in x.chunks_exact_mut(width).enumerate() {
        let (seen, unseen) = x.split_at_mut((past + row + 1).min(width));
        let most = greatest(seen);
        let mut sums = [0.0f32; LANES];
        let (blocks, rest) = seen.as_chunks_mut::<LANES>();
        for block in blocks {
            for (sum, x) in sums.iter_mut().zip(block) {
                *x = exp::<FUSED>(*x - most);
                *sum += *x;
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *x = exp::<FUSED>(*x - most);
            *sum += *x;
        }
        let scale = 1.0 / across(sums, |a, b| a + b);
        seen.iter_mut().for_each(|x| *x *= scale);
        unseen.fill(0.0);
    }
}

/// d ← p·(d − Σ p·d) row by row: the gradient of scores from that of their softmax p.
#[inline(always)]
pub(super) fn softmax_backward(p: &[f32], d: &mut [f32], width: usize) {
    for (p, d) in p.chunks_exact(width).zip(d.chunks_exact_mut(width)) {
        let mean = dot(p, d);
        for (d, p) in d.iter_mut().zip(p) {
            *d = p * (*d - mean);
        }
    }
}

/// Adds to `to` the gradient of the rows x from `d`, that of x·s·gain with s = 1/√(mean x² + eps):
/// s·(gain·d) − x·s³·mean(gain·d·x).
#[inline(always)]
pub(super) fn rms_norm_backward(x: &[f32], gain: &[f32], eps: f32, d: &[f32], to: &mut [f32]) {
    let width = gain.len();
    let rows = x.chunks_exact(width).zip(d.chunks_exact(width));
    for ((x, d), to) in rows.zip(to.chunks_exact_mut(width)) {
        let scale = 1.0 / (dot(x, x) / width as f32 + eps).sqrt();
        let mut sums = [0.0f32; LANES];
        let mut at = 0;
        while at + LANES <= width {
            for lane in 0..LANES {
                sums[lane] += gain[at + lane] * d[at + lane] * x[at + lane];
            }
            at += LANES;
        }
        let rest: f32 = (at..width).map(|i| gain[i] * d[i] * x[i]).sum();
        let mean = (across(sums, |a, b| a + b) + rest) / width as f32;
        let along = scale * scale * scale * mean;
        for ((to, x), (gain, d)) in to.iter_mut().zip(x).zip(gain.iter().zip(d)) {
            *to += scale * gain * d - along * x;
        }
    }
}

/// From `d` (rows, inner), the gradient of activation(gate)·up, those of gate and up into `to`: (rows, 2·inner), a row's
/// gradient of gate first. `activation` gives a gate's value and slope.
#[inline(always)]
pub(super) fn gate_times_backward(
    activation: impl Fn(f32) -> (f32, f32),
    gate: &[f32],
    up: &[f32],
    d: &[f32],
    inner: usize,
    to: &mut [f32],
) {
    let rows = gate.chunks_exact(inner).zip(up.chunks_exact(inner));
    for ((gate, up), (d, to)) in rows.zip(d.chunks_exact(inner).zip(to.chunks_exact_mut(2 * inner))) {
        let (to_gate, to_up) = to.split_at_mut(inner);
        let inputs = gate.iter().zip(up).zip(d);
        for ((to_gate, to_up), ((gate, up), d)) in to_gate.iter_mut().zip(to_up).zip(inputs) {
            let (value, slope) = activation(*gate);
            *to_gate = d * up * slope;
            *to_up = d * value;
        }
    }
}

/// x·σ(x) and its slope.
#[inline(always)]
pub(super) fn silu<const FUSED: bool>(x: f32) -> (f32, f32) {
    let sigmoid = 1.0 / (1.0 + exp::<FUSED>(-x));
    (x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid)))
}

/// GELU by its tanh approximation, x·σ(u) with u = √(8/π)·(x + 0.044715·x³), and its slope.
#[inline(always)]
pub(super) fn gelu<const FUSED: bool>(x: f32) -> (f32, f32) {
    let u = TWO_SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x);
    let du = TWO_SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044_715 * x * x);
    let sigmoid = 1.0 / (1.0 + exp::<FUSED>(-u));
    (x * sigmoid, sigmoid * (1.0 + x * du * (1.0 - sigmoid)))
}

/// KL(p ‖ q) in nats of the softmaxes of one row of logits each; `student`, the logits of q, becomes the gradient by
/// them, q − p.
#[inline(always)]
pub(super) fn kl_backward<const FUSED: bool>(teacher: &[f32], student: &mut [f32]) -> f64 {
    let of_teacher = logsumexp::<FUSED>(teacher) as f32;
    let of_student = logsumexp::<FUSED>(student) as f32;
    let mut total = 0.0f64;
    for (teacher, student) in teacher.chunks(4096).zip(student.chunks_mut(4096)) {
        let mut sums = [0.0f32; LANES];
        let (teacher_blocks, teacher_rest) = teacher.as_chunks::<LANES>();
        let (student_blocks, student_rest) = student.as_chunks_mut::<LANES>();
        let each = |sum: &mut f32, t: f32, s: &mut f32| {
            let (t, log_q) = (t - of_teacher, *s - of_student);
            let p = exp::<FUSED>(t);
            *sum += p * (t - log_q);
            *s = exp::<FUSED>(log_q) - p;
        };
        for (t, s) in teacher_blocks.iter().zip(student_blocks) {
            for ((sum, t), s) in sums.iter_mut().zip(t).zip(s) {
                each(sum, *t, s);
            }
        }
        for ((sum, t), s) in sums.iter_mut().zip(teacher_rest).zip(student_rest) {
            each(sum, *t, s);
        }
        total += sums.iter().map(|s| f64::from(*s)).sum::<f64>();
    }
    total.max(0.0)
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    across(sums, |a, b| a + b) + rest
}
