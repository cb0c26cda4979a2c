//! Dr.LLM's routers: one small MLP per layer (arXiv 2510.12773 §3).

use candle_core::{Result, Tensor};

use crate::model::kernel::across;

/// z = W₂·gelu(W₁·x + b₁) + b₂, with the tanh approximation of GELU. Classes: skip, execute, repeat.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpRouter {
    /// (width, hidden_size), row by row
    pub w1: Vec<f32>,
    /// (width)
    pub b1: Vec<f32>,
    /// (3, width), row by row
    pub w2: Vec<f32>,
    /// (3)
    pub b2: Vec<f32>,
}

impl MlpRouter {
    /// p(skip), p(execute), p(repeat) for pooled windows (n, hidden_size): the softmax of the mean
    /// of the windows' logits.
    pub fn probabilities(&self, windows: &Tensor) -> Result<[f32; 3]> {
        let windows = windows.to_vec2::<f32>()?;
        let mut mean = [0.0f32; 3];
        for window in &windows {
            for (mean, logit) in mean.iter_mut().zip(self.logits(window)) {
                *mean += logit / windows.len() as f32;
            }
        }
        Ok(softmax(mean))
    }

    /// The logits of one window (hidden_size).
    pub fn logits(&self, x: &[f32]) -> [f32; 3] {
        let width = self.b1.len();
        let rows = self.w1.chunks_exact(x.len()).zip(&self.b1);
        let inner: Vec<f32> = rows.map(|(row, bias)| gelu(dot(row, x) + bias)).collect();
        std::array::from_fn(|class| dot(&self.w2[class * width..(class + 1) * width], &inner) + self.b2[class])
    }
}

impl MlpRouter {
    /// What it says of every state alike, where no state can change its mind.
    pub fn constant(&self) -> Option<[f32; 3]> {
        let zero = |weights: &[f32]| weights.iter().all(|w| *w == 0.0);
        if zero(&self.w2) {
            return Some(softmax(std::array::from_fn(|class| self.b2[class])));
        }
        let size = self.w1.len() / self.b1.len();
        zero(&self.w1).then(|| softmax(self.logits(&vec![0.0; size])))
    }
}

/// GELU by its tanh approximation (arXiv 1606.08415).
pub(super) fn gelu(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + (SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x)).tanh())
}

/// Softmax of three logits.
pub fn softmax(logits: [f32; 3]) -> [f32; 3] {
    let greatest = logits.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let exps = logits.map(|z| (z - greatest).exp());
    let sum: f32 = exps.iter().sum();
    exps.map(|e| e / sum)
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the CPU was just seen to have AVX2 and FMA.
        return unsafe { dot_avx2(a, b) };
    }
    dot_inline(a, b)
}

/// # Safety
/// The CPU must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
    dot_inline(a, b)
}

/// Sums in 32 lanes, so that the compiler can use vectors.
#[inline(always)]
fn dot_inline(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 32];
    let (a_chunks, b_chunks) = (a.chunks_exact(32), b.chunks_exact(32));
    let tail = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let tail: f32 = tail.map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    across(lanes, |a, b| a + b) + tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn follows_the_formula() {
        // By hand: inner = gelu(1·1 + 2·0.5 − 1) = gelu(1) = 0.841192; logits (0.841192, 0.1, −1.682384).
        let router = MlpRouter {
            w1: vec![1.0, 2.0],
            b1: vec![-1.0],
            w2: vec![1.0, 0.0, -2.0],
            b2: vec![0.0, 0.1, 0.0],
        };
        let logits = router.logits(&[1.0, 0.5]);
        for (found, expected) in logits.iter().zip([0.841_192, 0.1, -1.682_384]) {
            assert!((found - expected).abs() < 1e-5, "{logits:?}");
        }
        // Windows are averaged as logits, not as probabilities.
        let windows = Tensor::new(&[[1.0f32, 0.5], [1.0, 0.0]], &Device::Cpu).unwrap();
        let second = router.logits(&[1.0, 0.0]);
        let expected = softmax(std::array::from_fn(|i| (logits[i] + second[i]) / 2.0));
        let found = router.probabilities(&windows).unwrap();
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn a_router_that_hears_no_state_is_a_constant() {
        let mut router = MlpRouter {
            w1: vec![1.0, 2.0],
            b1: vec![0.5],
            w2: vec![0.0; 3],
            b2: vec![-1e9, 0.0, -1e9],
        };
        assert_eq!(router.constant(), Some([0.0, 1.0, 0.0]));
        router.w2[1] = 1.0;
        assert_eq!(router.constant(), None);
        router.w1.fill(0.0);
        assert_eq!(router.constant(), Some([0.0, 1.0, 0.0]));
    }

    #[test]
    fn dot_covers_lanes_and_tail() {
        let a: Vec<f32> = (0..70).map(|i| i as f32).collect();
        let b: Vec<f32> = (0..70).map(|i| (i % 5) as f32).collect();
        let expected: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
        // As this machine runs it, and as those without its instructions do.
        assert_eq!((dot(&a, &b), dot_inline(&a, &b)), (expected, expected));
    }
}
