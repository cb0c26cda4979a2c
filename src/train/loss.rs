//! The focal loss with effective-number class weights, and the plainer ones it is compared with.

use serde::{Deserialize, Serialize};

/// β of the effective number of samples.
pub const BETA: f64 = 0.999;

/// Which loss; the paper's is focal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Focal, weighted by class
    #[default]
    Focal,
    /// Cross-entropy, weighted by class
    Weighted,
    /// Cross-entropy
    Plain,
}

/// The loss of a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// γ; 0 is cross-entropy.
    pub gamma: f64,
    /// Of skip, execute, repeat.
    pub class_weights: [f32; 3],
}

/// What a router should decide, and how much that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Wanted shares of skip, execute, repeat; one of them 1 where one action is wanted.
    pub target: [f32; 3],
    /// 1 as a rule, 0 leaves the decision out.
    pub weight: f32,
}

impl Loss {
    /// A loss for decisions of these counts.
    pub fn new(kind: LossKind, gamma: f64, counts: [usize; 3]) -> Self {
        Loss {
            gamma: if kind == LossKind::Focal { gamma } else { 0.0 },
            class_weights: match kind {
                LossKind::Plain => [1.0; 3],
                _ => class_weights(counts),
            },
        }
    }

    /// The loss −w·Σ_c t_c·w_c·(1 − p_c)^γ·ln p_c (Lin et al., arXiv 1708.02002, summed over a soft
    /// target) at p = softmax(logits), and its derivative by each logit.
    pub fn at(&self, logits: [f32; 3], goal: Goal) -> (f64, [f64; 3]) {
        let logits = logits.map(f64::from);
        let greatest = logits.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = greatest + logits.iter().map(|z| (z - greatest).exp()).sum::<f64>().ln();
        let log_p = logits.map(|z| z - log_sum);
        let p = log_p.map(f64::exp);
        let mut loss = 0.0;
        // p_c·∂loss/∂p_c
        let mut slope = [0.0; 3];
        for c in 0..3 {
            let share = f64::from(goal.weight * goal.target[c] * self.class_weights[c]);
            let rest = 1.0 - p[c];
            if share == 0.0 || (rest <= 0.0 && self.gamma > 0.0) {
                continue;
            }
            let focus = rest.powf(self.gamma);
            loss -= share * focus * log_p[c];
            slope[c] = share * (-focus);
            if self.gamma > 0.0 {
                slope[c] += share * self.gamma * p[c] * rest.powf(self.gamma - 1.0) * log_p[c];
            }
        }
        let sum: f64 = slope.iter().sum();
        (loss, std::array::from_fn(|c| slope[c] - p[c] * sum))
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(target: [f32; 3]) -> Goal {
        Goal { target, weight: 1.0 }
    }

    #[test]
    fn weights_of_the_authors_counts() {
        let weights = class_weights([4399, 120_956, 1457]);
        for (found, expected) in weights.iter().zip([0.916, 0.905, 1.179]) {
            assert!((found - expected).abs() < 6e-4, "{weights:?}");
        }
        assert_eq!(class_weights([0, 10, 10]), [0.0, 1.0, 1.0]);
        assert_eq!(class_weights([0, 0, 0]), [0.0; 3]);
        assert_eq!(Loss::new(LossKind::Plain, 2.0, [0, 1, 2]).class_weights, [1.0; 3]);
        let weighted = Loss::new(LossKind::Weighted, 2.0, [1, 5, 9]);
        assert_eq!(
            (weighted.gamma, weighted.class_weights),
            (0.0, class_weights([1, 5, 9]))
        );
    }

    #[test]
    fn focal_by_hand() {
        // p = (1/6, 2/6, 3/6) and (1/3, 1/3, 1/3)
        let (first, second) = ([0.0, 2f32.ln(), 3f32.ln()], [0.0; 3]);
        let mean = |gamma| {
            let loss = Loss {
                gamma,
                class_weights: [2.0, 1.0, 0.5],
            };
            (loss.at(first, goal([0.0, 0.0, 1.0])).0 + loss.at(second, goal([1.0, 0.0, 0.0])).0) / 2.0
        };
        // (0.5·ln 2 + 2·ln 3)/2 and (0.5·0.25·ln 2 + 2·(4/9)·ln 3)/2
        assert!((mean(0.0) - 1.271_899).abs() < 1e-6, "{}", mean(0.0));
        assert!((mean(2.0) - 0.531_594).abs() < 1e-6, "{}", mean(2.0));
    }

    #[test]
    fn the_gradient_is_that_of_the_formula() {
        for (gamma, target) in [
            (2.0, [0.0, 0.0, 1.0]),
            (0.0, [0.0, 1.0, 0.0]),
            (0.5, [1.0, 0.0, 0.0]),
            (2.0, [0.2, 0.5, 0.3]),
        ] {
            let loss = Loss {
                gamma,
                class_weights: [1.0, 0.9, 1.5],
            };
            let goal = Goal { target, weight: 0.7 };
            let at = [0.3f32, -0.2, 0.5];
            let found = loss.at(at, goal).1;
            for (i, found) in found.iter().enumerate() {
                let step = |h: f32| std::array::from_fn(|j| at[j] + if i == j { h } else { 0.0 });
                let expected = (loss.at(step(1e-3), goal).0 - loss.at(step(-1e-3), goal).0) / 2e-3;
                assert!((found - expected).abs() < 1e-4, "{gamma} {i}: {found} {expected}");
            }
        }
    }

    #[test]
    fn certain_decisions_have_finite_gradients() {
        for gamma in [0.0, 0.5, 1.0, 2.0] {
            let loss = Loss {
                gamma,
                class_weights: [1.0; 3],
            };
            for logits in [[2000.0, 0.0, -2000.0], [-2000.0, 0.0, 2000.0]] {
                let (value, gradient) = loss.at(logits, goal([1.0, 0.0, 0.0]));
                assert!(
                    value.is_finite() && gradient.iter().all(|g| g.is_finite()),
                    "{gamma} {logits:?}"
                );
            }
        }
    }

    #[test]
    fn a_decision_of_weight_0_teaches_nothing() {
        let loss = Loss::new(LossKind::Focal, 2.0, [5, 5, 5]);
        let left_out = Goal {
            target: [1.0, 0.0, 0.0],
            weight: 0.0,
        };
        assert_eq!(loss.at([0.3, 0.1, -0.2], left_out), (0.0, [0.0; 3]));
    }
}
