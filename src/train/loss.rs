//! The focal loss with effective-number class weights.

use candle_core::{D, Result, Tensor};

/// β of the effective number of samples.
pub const BETA: f64 = 0.999;

/// Class weights w_c ∝ (1−β)/(1−β^{n_c}) (Cui et al., arXiv 1901.05555), normalised to mean 1 over
/// the classes there are; 0 for a class without any decision.
pub fn class_weights(counts: [usize; 3]) -> [f32; 3] {
    let raw = counts.map(|n| match n {
        0 => 0.0,
        n => (1.0 - BETA) / (1.0 - BETA.powf(n as f64)),
    });
    let present = counts.iter().filter(|&&n| n > 0).count();
    let mean = raw.iter().sum::<f64>() / present.max(1) as f64;
    raw.map(|w| if mean > 0.0 { (w / mean) as f32 } else { 0.0 })
}

/// Mean over all decisions of −w_y·(1 − p_y)^γ·ln p_y (Lin et al., arXiv 1708.02002).
///
/// `logits` (L, B, 3), `targets` one-hot (L, B, 3), `weights` (3). γ = 0 is weighted cross-entropy.
pub fn focal(logits: &Tensor, targets: &Tensor, weights: &Tensor, gamma: f64) -> Result<Tensor> {
    let log_probs = candle_nn::ops::log_softmax(logits, D::Minus1)?;
    let log_p = (log_probs * targets)?.sum(D::Minus1)?;
    let weight = targets.broadcast_mul(weights)?.sum(D::Minus1)?;
    let weighted = (&log_p * weight)?;
    let loss = match gamma {
        0.0 => weighted,
        _ => (weighted * log_p.exp()?.affine(-1.0, 1.0)?.powf(gamma)?)?,
    };
    loss.mean_all()?.neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn weights_of_the_authors_counts() {
        let weights = class_weights([4399, 120_956, 1457]);
        for (found, expected) in weights.iter().zip([0.916, 0.905, 1.179]) {
            assert!((found - expected).abs() < 6e-4, "{weights:?}");
        }
        assert_eq!(class_weights([0, 10, 10]), [0.0, 1.0, 1.0]);
        assert_eq!(class_weights([0, 0, 0]), [0.0; 3]);
    }

    #[test]
    fn focal_by_hand() {
        let device = Device::Cpu;
        // p = (1/6, 2/6, 3/6) and (1/3, 1/3, 1/3)
        let logits = Tensor::new(&[[[1f32.ln(), 2f32.ln(), 3f32.ln()], [0.0, 0.0, 0.0]]], &device).unwrap();
        let targets = Tensor::new(&[[[0f32, 0.0, 1.0], [1.0, 0.0, 0.0]]], &device).unwrap();
        let weights = Tensor::new(&[2f32, 1.0, 0.5], &device).unwrap();
        let loss = |gamma| {
            focal(&logits, &targets, &weights, gamma)
                .unwrap()
                .to_scalar::<f32>()
                .unwrap()
        };
        // (0.5·ln 2 + 2·ln 3)/2 and (0.5·0.25·ln 2 + 2·(4/9)·ln 3)/2
        assert!((loss(0.0) - 1.271_899).abs() < 1e-5, "{}", loss(0.0));
        assert!((loss(2.0) - 0.531_596).abs() < 1e-5, "{}", loss(2.0));
    }

    #[test]
    fn the_gradient_is_that_of_the_formula() {
        let device = Device::Cpu;
        let targets = Tensor::new(&[[[0f32, 0.0, 1.0]]], &device).unwrap();
        let weights = Tensor::new(&[1f32, 1.0, 1.5], &device).unwrap();
        let at = [0.3f32, -0.2, 0.5];
        let value = |z: [f32; 3]| {
            let logits = Tensor::new(&[[z]], &device).unwrap();
            focal(&logits, &targets, &weights, 2.0)
                .unwrap()
                .to_scalar::<f32>()
                .unwrap()
        };
        let logits = Var::from_tensor(&Tensor::new(&[[at]], &device).unwrap()).unwrap();
        let grads = focal(&logits, &targets, &weights, 2.0).unwrap().backward().unwrap();
        let found = grads
            .get(&logits)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        for (i, found) in found.iter().enumerate() {
            let step = |h: f32| std::array::from_fn(|j| at[j] + if i == j { h } else { 0.0 });
            let expected = (value(step(1e-2)) - value(step(-1e-2))) / 2e-2;
            assert!((found - expected).abs() < 1e-3, "{i}: {found} {expected}");
        }
    }
}
