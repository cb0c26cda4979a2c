//! Intervals and tests for proportions.

/// 97.5 % quantile of the standard normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % score interval (Wilson 1927) of `successes` out of `trials`, as proportions.
/// Without trials nothing is known: (0, 1).
pub fn wilson(successes: usize, trials: usize) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let (n, z2) = (trials as f64, Z_95 * Z_95);
    let p = successes as f64 / n;
    let centre = p + z2 / (2.0 * n);
    let spread = Z_95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    (
        ((centre - spread) / scale).max(0.0),
        ((centre + spread) / scale).min(1.0),
    )
}

/// Two-sided exact p of McNemar's test (McNemar 1947): the chance that of `fixed + broken` fair
/// coins as many or more agree. 1 where nothing flipped.
pub fn mcnemar_exact(fixed: usize, broken: usize) -> f64 {
    let n = fixed + broken;
    let less = fixed.min(broken);
    // Terms of the binomial with p = 1/2, in logarithms so that thousands of flips do not underflow.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = log_term.exp();
    for k in 1..=less {
        log_term += ((n - k + 1) as f64).ln() - (k as f64).ln();
        tail += log_term.exp();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 5e-5, "{found} is not {expected}");
    }

    #[test]
    fn wilson_by_hand() {
        // n = 10, p = 0.5: centre (0.5 + 0.19207)/1.38415 = 0.5, half width 0.26340.
        let (low, high) = wilson(5, 10);
        close(low, 0.236_59);
        close(high, 0.763_41);
        let (low, high) = wilson(0, 10);
        close(low, 0.0);
        close(high, 0.277_53);
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn mcnemar_by_hand() {
        close(mcnemar_exact(0, 0), 1.0);
        close(mcnemar_exact(5, 0), 2.0 / 32.0);
        // 2·(C(10,0) + C(10,1) + C(10,2))/2^10 = 112/1024
        close(mcnemar_exact(8, 2), 0.109_375);
        close(mcnemar_exact(2, 8), 0.109_375);
        close(mcnemar_exact(4, 4), 1.0);
        assert!(mcnemar_exact(3000, 2000) < 1e-40);
    }
}
