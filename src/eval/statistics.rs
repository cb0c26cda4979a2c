//! Intervals and tests: of proportions, and of means over tokens whose texts are the units.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

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

/// Resamples of an interval, and random signs of a test.
const RESAMPLES: usize = 2000;
const FLIPS: usize = 9999;

/// Differences of which all signs are tried.
const MOST_TRIED: usize = 13;

/// 95 % interval of Σ a / Σ b over some clusters (a, b) by the percentile bootstrap (Efron 1979): clusters are drawn
/// anew with replacement, since what is within one hangs together. `None` where every Σ b is 0.
pub fn bootstrap_ratio(clusters: &[(f64, f64)], seed: u64) -> Option<(f64, f64)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let drawn = (0..clusters.len()).map(|_| clusters[rng.random_range(0..clusters.len())]);
            let (a, b) = drawn.fold((0.0, 0.0), |sum, (a, b)| (sum.0 + a, sum.1 + b));
            (b != 0.0).then_some(a / b)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[(share * (ratios.len() - 1) as f64).round() as usize];
    (!ratios.is_empty()).then(|| (at(0.025), at(0.975)))
}

/// Two-sided p of a paired permutation test: how often random signs make the sum of the differences, one a cluster, as
/// far from 0. Of few differences all signs are tried, which is exact; of more, the observed ones and 9999 at random.
pub fn sign_flip(differences: &[f64], seed: u64) -> f64 {
    let observed = differences.iter().sum::<f64>().abs();
    let scale: f64 = differences.iter().map(|d| d.abs()).sum();
    // Sums that differ by rounding alone are as far.
    let is_as_far = |sum: f64| sum.abs() >= observed - 1e-12 * scale;
    if differences.len() <= MOST_TRIED {
        let signed = |signs: u32| -> f64 {
            let sign = |i: usize| if signs >> i & 1 == 1 { -1.0 } else { 1.0 };
            differences.iter().enumerate().map(|(i, d)| sign(i) * d).sum()
        };
        let all = 1u32 << differences.len();
        let far = (0..all).filter(|&signs| is_as_far(signed(signs))).count();
        return far as f64 / f64::from(all);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut signed = || -> f64 { differences.iter().map(|d| if rng.random() { -d } else { *d }).sum() };
    let far = (0..FLIPS).filter(|_| is_as_far(signed())).count();
    (1 + far) as f64 / (1 + FLIPS) as f64
}

/// Two-sided p of each of several paired differences, corrected for looking at all of them (max-T, Westfall and Young
/// 1993): how often random signs, one a row for all columns, make the greatest |sum| / √(sum of squares) of any column
/// as great as this column's. Signs are tried as in [`sign_flip`]. Rows are clusters, a column is one comparison.
pub fn max_t(rows: &[Vec<f64>], seed: u64) -> Vec<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    let mut norms = vec![0.0; columns];
    for row in rows {
        norms.iter_mut().zip(row).for_each(|(norm, d)| *norm += d * d);
    }
    let scales: Vec<f64> = norms
        .iter()
        .map(|n| if *n > 0.0 { n.sqrt().recip() } else { 0.0 })
        .collect();
    let mut sums = vec![0.0; columns];
    let mut signed = |is_negative: &mut dyn FnMut(usize) -> bool| -> Vec<f64> {
        sums.fill(0.0);
        for (index, row) in rows.iter().enumerate() {
            let sign = if is_negative(index) { -1.0 } else { 1.0 };
            sums.iter_mut().zip(row).for_each(|(sum, d)| *sum += sign * d);
        }
        sums.iter().zip(&scales).map(|(sum, scale)| sum.abs() * scale).collect()
    };
    let observed = signed(&mut |_| false);
    let mut far = vec![0usize; columns];
    let mut count = |of_signs: Vec<f64>| {
        let greatest = of_signs.into_iter().fold(0.0, f64::max);
        // Values that differ by rounding alone are as great.
        let is_as_great = |observed: &f64| greatest >= observed * (1.0 - 1e-12);
        far.iter_mut()
            .zip(&observed)
            .for_each(|(far, o)| *far += usize::from(is_as_great(o)));
    };
    if rows.len() <= MOST_TRIED {
        let all = 1u32 << rows.len();
        (0..all).for_each(|signs| count(signed(&mut |row| signs >> row & 1 == 1)));
        return far.into_iter().map(|far| far as f64 / f64::from(all)).collect();
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..FLIPS).for_each(|_| count(signed(&mut |_| rng.random())));
    far.into_iter()
        .map(|far| (1 + far) as f64 / (1 + FLIPS) as f64)
        .collect()
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

    #[test]
    fn the_bootstrap_knows_what_is_sure_and_what_is_not() {
        assert_eq!(bootstrap_ratio(&[(2.0, 4.0); 5], 1), Some((0.5, 0.5)));
        assert_eq!(bootstrap_ratio(&[(1.0, 0.0)], 1), None);
        assert_eq!(bootstrap_ratio(&[], 1), None);
        // Means of 100 values that are 0 or 1: about 0.5 ± 1.96·0.05.
        let clusters: Vec<(f64, f64)> = (0..100).map(|i| (f64::from(i % 2), 1.0)).collect();
        let (low, high) = bootstrap_ratio(&clusters, 1).unwrap();
        assert!(
            (low - 0.402).abs() < 0.025 && (high - 0.598).abs() < 0.025,
            "{low} {high}"
        );
        assert_eq!(bootstrap_ratio(&clusters, 1), Some((low, high)));
    }

    #[test]
    fn one_column_is_corrected_for_nothing() {
        let differences = [1.0, 2.0, 0.5, 3.0, -0.1];
        let rows: Vec<Vec<f64>> = differences.iter().map(|&d| vec![d]).collect();
        close(max_t(&rows, 1)[0], sign_flip(&differences, 1));
        // A column that never differs finds nothing and costs the other nothing.
        let beside: Vec<Vec<f64>> = differences.iter().map(|&d| vec![d, 0.0]).collect();
        let found = max_t(&beside, 1);
        close(found[0], sign_flip(&differences, 1));
        close(found[1], 1.0);
        assert!(max_t(&[], 1).is_empty());
    }

    #[test]
    fn many_columns_are_corrected_for_each_other() {
        // Two columns of the same signs: |±1 ± 1 ± 1| / √3 is greatest at two of 8 signs, for both at once.
        let same = [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]].map(Vec::from);
        assert_eq!(max_t(&same, 1), [0.25, 0.25]);
        // Of three columns of other signs one is greatest at six of 8.
        let other = [[1.0, 1.0, 1.0], [1.0, 1.0, -1.0], [1.0, -1.0, 1.0]].map(Vec::from);
        assert_eq!(max_t(&other, 1), [0.75, 1.0, 1.0]);
        // Noise in 200 columns of 60 rows, and one that gains: alone it stands out, and it is not lost.
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut noise = || rng.random_range(-1.0..1.0);
        let rows: Vec<Vec<f64>> = (0..60)
            .map(|_| {
                (0..200)
                    .map(|column| noise() + if column == 7 { 0.6 } else { 0.0 })
                    .collect()
            })
            .collect();
        let found = max_t(&rows, 1);
        assert_eq!(found, max_t(&rows, 1));
        assert!(found[7] < 0.01, "{}", found[7]);
        let others = found
            .iter()
            .enumerate()
            .filter(|(column, p)| *column != 7 && **p < 0.05);
        assert!(others.count() <= 1);
        let uncorrected = |column: usize| sign_flip(&rows.iter().map(|row| row[column]).collect::<Vec<_>>(), 1);
        assert!((0..200).all(|column| found[column] >= uncorrected(column) - 0.02));
    }

    #[test]
    fn sign_flips_by_hand() {
        // Of 2^5 signs two give a sum as far from 0.
        close(sign_flip(&[1.0, 2.0, 0.5, 3.0, 0.1], 1), 2.0 / 32.0);
        // 3 − 1: ±(3 + 1) and ±(3 − 1) are all as far.
        close(sign_flip(&[3.0, -1.0], 1), 1.0);
        close(sign_flip(&[0.0; 4], 1), 1.0);
        close(sign_flip(&[], 1), 1.0);
        close(sign_flip(&[1.0; 40], 1), 1e-4);
        let mixed: Vec<f64> = (0..40).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        close(sign_flip(&mixed, 1), 1.0);
    }
}
