//! Means, intervals, and comparisons at equal depth.

use serde::Serialize;

use super::Reading;
use super::generation::WrittenTexts;
use super::removal::RemovalOrder;
use super::sweep::{DialPosition, Sweep};
use super::texts::TextOrigin;
use super::{PolicyPoint, TextMethod};
use crate::eval::statistics::{bootstrap_ratio, sign_flip};
use crate::trace::{CalibrationPoint, KvMode};

/// One policy on all texts. Means are over the counted tokens, intervals of 95 % by the bootstrap over texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextRow {
    /// Who decides.
    pub method: TextMethod,
    /// What distinguishes it from the method's other rows, in words.
    pub setting: String,
    /// The routers' position of the dial, also of what is made of their programs; absent elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dial: Option<f64>,
    /// The mean depth that the dial was chosen for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<f64>,
    /// What the routers' calibration says of the dial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<CalibrationPoint>,
    /// Executed layers of a token: mean, standard deviation, least and most.
    pub depth: f64,
    /// Standard deviation over tokens.
    pub depth_sd: f64,
    /// Of the token that ran the fewest layers.
    pub depth_least: usize,
    /// Of the token that ran the most layers.
    pub depth_most: usize,
    /// KL(full ‖ policy) in nats a token.
    pub kl: f64,
    /// The interval's lower end.
    pub kl_low: f64,
    /// The interval's upper end.
    pub kl_high: f64,
    /// In nats.
    pub kl_median: f64,
    /// Share of tokens with the same likeliest next token, 0 to 1.
    pub agreement: f64,
    /// The interval's lower end.
    pub agreement_low: f64,
    /// The interval's upper end.
    pub agreement_high: f64,
}

/// The routers at a position of the dial beside a control at the same mean depth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlComparison {
    /// The routers' position of the dial.
    pub dial: f64,
    /// Mean executed layers of the routers.
    pub depth: f64,
    /// KL(full ‖ routers) in nats a token.
    pub kl: f64,
    /// What the routers are compared with.
    pub control: TextMethod,
    /// Of the control: the routers' depth where it lies between two of its points, on a straight line between which it
    /// is taken; else that of the nearest point.
    pub control_depth: f64,
    /// KL(full ‖ control) in nats a token, at `control_depth`.
    pub control_kl: f64,
    /// KL of the routers / KL of the control, with its 95 % interval; absent where the control changes nothing.
    pub ratio: Option<f64>,
    /// The interval's lower end.
    pub ratio_low: Option<f64>,
    /// The interval's upper end.
    pub ratio_high: Option<f64>,
    /// Two-sided paired permutation test of the difference in KL, by texts.
    pub p: f64,
}

/// What was measured on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredTexts {
    /// Where the answers come from.
    pub kind: TextOrigin,
    /// Paths of the files with prompts or texts; where none were given, what was taken instead, in words.
    pub files: Vec<String>,
    /// How many were measured.
    pub texts: usize,
    /// Counted tokens: those of the answers, each judged by what it says comes next.
    pub tokens: usize,
    /// Prompts that leave no room in the model's context, and answers of too few tokens: neither is measured.
    pub passed_over_long: usize,
    /// Answers of too few tokens.
    pub passed_over_short: usize,
    /// Most tokens of an answer that were asked for.
    pub answer_tokens: usize,
    /// At which the model wrote its answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Of the texts' choice, of what the model draws, and of controls and intervals.
    pub seed: u64,
}

/// All of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextReport {
    /// Of this program.
    pub version: String,
    /// The model's name.
    pub model: String,
    /// What identifies its weights, hexadecimal.
    pub model_sha256: String,
    /// L; of a looped model its executions.
    pub layers: usize,
    /// Whether the model ran in exact f32 arithmetic.
    pub exact: bool,
    /// The routers' name.
    pub routers: String,
    /// Of the routers' file, hexadecimal.
    pub routers_sha256: String,
    /// What tokens leave in layers that they skip.
    pub kv: KvMode,
    /// On what texts.
    #[serde(rename = "text")]
    pub measured: MeasuredTexts,
    /// How the best static program was chosen.
    #[serde(rename = "static", skip_serializing_if = "Option::is_none")]
    pub removal: Option<RemovalOrder>,
    /// The layers that block influence leaves out, in turn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub influence: Vec<usize>,
    /// Method by method, the deepest first.
    pub rows: Vec<TextRow>,
    /// The routers' rows beside every control, the deepest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<ControlComparison>,
    /// What the whole model and the routers wrote by themselves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub generation: Vec<WrittenTexts>,
}

impl Sweep {
    /// A row for each point: method by method, the deepest first.
    pub fn rows(&self, seed: u64) -> Vec<TextRow> {
        let mut points: Vec<&PolicyPoint> = self.points.iter().collect();
        let place = |point: &PolicyPoint| TextMethod::ALL.iter().position(|m| *m == point.method);
        points.sort_by(|a, b| place(a).cmp(&place(b)).then(b.depth().total_cmp(&a.depth())));
        points.into_iter().map(|point| row(point, seed)).collect()
    }

    /// The routers' points, the deepest first, each beside every control.
    pub fn comparisons(&self, seed: u64) -> Vec<ControlComparison> {
        let of = |method: TextMethod| self.points.iter().filter(move |p| p.method == method);
        let mut routers: Vec<&PolicyPoint> = of(TextMethod::Routers).collect();
        routers.sort_by(|a, b| b.depth().total_cmp(&a.depth()));
        let mut comparisons = Vec::new();
        for point in routers {
            let Some(asked) = &point.asked else { continue };
            for control in TextMethod::ALL {
                let points: Vec<&PolicyPoint> = match control {
                    TextMethod::Full | TextMethod::Routers => continue,
                    TextMethod::Shuffled | TextMethod::Ragged => {
                        of(control).filter(|p| p.asked == point.asked).collect()
                    }
                    // The line goes on to the whole model.
                    _ => of(control).chain(of(TextMethod::Full)).collect(),
                };
                if points.iter().any(|p| p.method == control) {
                    comparisons.push(compare(point, asked, control, &points, seed));
                }
            }
        }
        comparisons
    }
}

fn row(point: &PolicyPoint, seed: u64) -> TextRow {
    let readings = &point.readings;
    let depths: Vec<usize> = readings.iter().flat_map(|r| r.depth.iter().copied()).collect();
    let mut kl: Vec<f64> = readings.iter().flat_map(|r| r.kl.iter().copied()).collect();
    let tokens = kl.len().max(1) as f64;
    let mean_kl = kl.iter().sum::<f64>() / tokens;
    let (depth, squares) = (point.depth(), depths.iter().map(|&d| (d * d) as f64).sum::<f64>());
    let interval = |of: fn(&Reading) -> f64, mean: f64| {
        let clusters: Vec<(f64, f64)> = readings.iter().map(|r| (of(r), r.tokens() as f64)).collect();
        bootstrap_ratio(&clusters, seed).unwrap_or((mean, mean))
    };
    let same = |reading: &Reading| reading.same.iter().filter(|same| **same).count() as f64;
    let agreement = readings.iter().map(same).sum::<f64>() / tokens;
    let (kl_low, kl_high) = interval(total, mean_kl);
    let (agreement_low, agreement_high) = interval(same, agreement);
    kl.sort_by(f64::total_cmp);
    TextRow {
        method: point.method,
        setting: point.setting.clone(),
        dial: point.asked.map(|asked| asked.dial),
        asked: point.asked.and_then(|asked| asked.depth),
        expected: point.asked.and_then(|asked| asked.expected),
        depth,
        depth_sd: (squares / tokens - depth * depth).max(0.0).sqrt(),
        depth_least: depths.iter().copied().min().unwrap_or_default(),
        depth_most: depths.iter().copied().max().unwrap_or_default(),
        kl: mean_kl,
        kl_low,
        kl_high,
        kl_median: kl.get(kl.len() / 2).copied().unwrap_or_default(),
        agreement,
        agreement_low,
        agreement_high,
    }
}

fn total(reading: &Reading) -> f64 {
    reading.kl.iter().sum()
}

/// Σ KL of each text at a mean depth, and that depth: on a straight line between the two points around it, as if one or
/// the other were drawn, or that of the nearest point where it lies outside.
fn at_depth(points: &[&PolicyPoint], depth: f64) -> (Vec<f64>, f64) {
    let sums = |point: &PolicyPoint| point.readings.iter().map(total).collect::<Vec<f64>>();
    let below = points.iter().filter(|p| p.depth() <= depth);
    let above = points.iter().filter(|p| p.depth() >= depth);
    let below = below.max_by(|a, b| a.depth().total_cmp(&b.depth()));
    let above = above.min_by(|a, b| a.depth().total_cmp(&b.depth()));
    match (below, above) {
        (Some(low), Some(high)) => {
            let span = high.depth() - low.depth();
            let share = if span > 0.0 { (depth - low.depth()) / span } else { 0.0 };
            let pairs = sums(low).into_iter().zip(sums(high));
            (pairs.map(|(a, b)| a + share * (b - a)).collect(), depth)
        }
        (Some(nearest), None) | (None, Some(nearest)) => (sums(nearest), nearest.depth()),
        (None, None) => (Vec::new(), depth),
    }
}

fn compare(
    point: &PolicyPoint,
    asked: &DialPosition,
    control: TextMethod,
    points: &[&PolicyPoint],
    seed: u64,
) -> ControlComparison {
    let depth = point.depth();
    let own: Vec<f64> = point.readings.iter().map(total).collect();
    let (others, control_depth) = at_depth(points, depth);
    let tokens = point.readings.iter().map(Reading::tokens).sum::<usize>().max(1) as f64;
    let sum: f64 = own.iter().sum();
    let of_control: f64 = others.iter().sum();
    let pairs: Vec<(f64, f64)> = own.iter().copied().zip(others.iter().copied()).collect();
    let interval = bootstrap_ratio(&pairs, seed);
    let differences: Vec<f64> = pairs.iter().map(|(own, other)| own - other).collect();
    ControlComparison {
        dial: asked.dial,
        depth,
        kl: sum / tokens,
        control,
        control_depth,
        control_kl: of_control / tokens,
        ratio: (of_control > 0.0).then(|| sum / of_control),
        ratio_low: interval.map(|(low, _)| low),
        ratio_high: interval.map(|(_, high)| high),
        p: sign_flip(&differences, seed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A point of three texts of two tokens each: KL by text, and one depth for all.
    fn point(method: TextMethod, depth: usize, kl: [f64; 3]) -> PolicyPoint {
        let reading = |kl| Reading {
            kl: vec![kl, kl],
            same: vec![true, kl < 0.2],
            depth: vec![depth; 2],
        };
        PolicyPoint {
            method,
            setting: String::new(),
            asked: matches!(method, TextMethod::Routers | TextMethod::Shuffled).then_some(DialPosition {
                dial: depth as f64 / -100.0,
                depth: None,
                expected: None,
            }),
            readings: kl.map(reading).into(),
        }
    }

    fn sweep() -> Sweep {
        Sweep {
            points: vec![
                point(TextMethod::Full, 30, [0.0; 3]),
                point(TextMethod::Routers, 26, [0.1, 0.2, 0.3]),
                point(TextMethod::Routers, 28, [0.02, 0.04, 0.06]),
                point(TextMethod::Shuffled, 26, [0.3, 0.4, 0.5]),
                point(TextMethod::Shuffled, 28, [0.1, 0.1, 0.1]),
                point(TextMethod::Static, 29, [0.1, 0.1, 0.1]),
                point(TextMethod::Static, 27, [0.3, 0.4, 0.5]),
            ],
            removal: None,
            influence: Vec::new(),
        }
    }

    #[test]
    fn rows_hold_means_and_intervals() {
        let rows = sweep().rows(1);
        let order: Vec<(TextMethod, f64)> = rows.iter().map(|r| (r.method, r.depth)).collect();
        assert_eq!(
            order[..3],
            [
                (TextMethod::Full, 30.0),
                (TextMethod::Routers, 28.0),
                (TextMethod::Routers, 26.0)
            ]
        );
        let row = &rows[2];
        assert!((row.kl - 0.2).abs() < 1e-9 && (row.kl_median - 0.2).abs() < 1e-9);
        assert!(row.kl_low < 0.2 && row.kl_high > 0.2 && row.kl_high <= 0.3);
        assert!((row.agreement - 4.0 / 6.0).abs() < 1e-9);
        assert_eq!((row.depth_sd, row.depth_least, row.depth_most), (0.0, 26, 26));
        assert_eq!((row.dial, rows[0].dial), (Some(-0.26), None));
        assert_eq!((rows[0].kl, rows[0].kl_high, rows[0].agreement_low), (0.0, 0.0, 1.0));
    }

    #[test]
    fn controls_are_compared_at_the_routers_depth() {
        let found = sweep().comparisons(1);
        let of = |depth: f64, control: TextMethod| {
            let here = |c: &&ControlComparison| c.depth == depth && c.control == control;
            found.iter().find(here).unwrap()
        };
        assert_eq!(found.len(), 4, "two controls at two depths");
        // Half-way between 29 (.1) and 27 (.4).
        let between = of(28.0, TextMethod::Static);
        assert_eq!(between.control_depth, 28.0);
        assert!((between.control_kl - 0.25).abs() < 1e-9 && (between.ratio.unwrap() - 0.04 / 0.25).abs() < 1e-9);
        // Three texts of the same sign: 2 of 8.
        assert!((between.p - 0.25).abs() < 1e-9);
        assert!(between.ratio_low.unwrap() < 0.16 && between.ratio_high.unwrap() > 0.16);
        let outside = of(26.0, TextMethod::Static);
        assert_eq!(outside.control_depth, 27.0, "the nearest");
        let shuffled = of(26.0, TextMethod::Shuffled);
        assert!((shuffled.control_kl - 0.4).abs() < 1e-9 && (shuffled.ratio.unwrap() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_line_of_a_control_ends_at_the_whole_model() {
        let points = [
            point(TextMethod::Static, 29, [0.1, 0.2, 0.3]),
            point(TextMethod::Full, 30, [0.0; 3]),
        ];
        let (sums, depth) = at_depth(&points.iter().collect::<Vec<_>>(), 29.5);
        assert_eq!(depth, 29.5);
        for (found, expected) in sums.iter().zip([0.1, 0.2, 0.3]) {
            assert!((found - expected).abs() < 1e-9, "two tokens at half the KL");
        }
    }
}
