//! Which of the programs that a predictor proposes counts, learnt from questions whose answers are known.
//!
//! A logistic regression on what can be said of a program and the model's answer under it without knowing what is right:
//! P(right) = 1 / (1 + exp(−(b + w · x))), x standardised on the questions that it was fitted on, fitted by the mean
//! cross-entropy with a ridge of [`RIDGE`] on w. Of the programs proposed for a question the one with the greatest P(right)
//! counts.

use serde::{Deserialize, Serialize};

/// The names of what a selector reads, in the order of [`SelectorFeatures`].
pub const FEATURES: [&str; 7] = [
    "confidence",
    "confidence less that under the first program",
    "the first program's answer",
    "share of the programs with this answer",
    "standard program",
    "share of the layers",
    "the predictor's score",
];

/// Of one program proposed for a question, in the order of [`FEATURES`].
pub type SelectorFeatures = [f64; FEATURES.len()];

/// What a program came to on a question, as a selector is shown it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnsweredCandidate<'a> {
    /// What the model answered under it; none where that cannot be read.
    pub answer: Option<&'a str>,
    /// How sure the model was: a log-odds, or a mean log-probability.
    pub confidence: f64,
    /// Whether it is the standard program.
    pub standard: bool,
    /// Executed layers over the model's.
    pub depth: f64,
    /// The predictor's: a log-probability.
    pub score: f64,
}

/// The features of each of the programs that were proposed for one question, the best program first.
pub fn features(candidates: &[AnsweredCandidate]) -> Vec<SelectorFeatures> {
    let Some(first) = candidates.first() else {
        return Vec::new();
    };
    let flag = |is: bool| f64::from(u8::from(is));
    let of = |one: &AnsweredCandidate| {
        let same = |other: &&AnsweredCandidate| one.answer.is_some() && other.answer == one.answer;
        [
            one.confidence,
            one.confidence - first.confidence,
            flag(same(&first)),
            candidates.iter().filter(same).count() as f64 / candidates.len() as f64,
            flag(one.standard),
            one.depth,
            one.score,
        ]
        // What is no number tells nothing.
        .map(|x| if x.is_finite() { x.clamp(-LARGEST, LARGEST) } else { 0.0 })
    };
    candidates.iter().map(of).collect()
}

/// A question that a selector is fitted on: of each proposed program its features, and whether it is right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelectorQuestion {
    /// The question's id.
    pub question: String,
    /// The best program first.
    pub candidates: Vec<(SelectorFeatures, bool)>,
}

/// Beyond this a feature is cut, so that one answer of an odd model does not decide all.
const LARGEST: f64 = 1e3;
/// Ridge on the weights, beside a mean loss.
pub const RIDGE: f64 = 1e-3;
const STEPS: usize = 4000;

/// A fitted selector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Selector {
    /// Of the features on the questions that it was fitted on.
    pub mean: SelectorFeatures,
    /// Their standard deviations; 1 for a feature that does not vary.
    pub deviation: SelectorFeatures,
    /// Of the standardised features.
    pub weights: SelectorFeatures,
    /// b.
    pub bias: f64,
}

impl Selector {
    /// Fits one. Nothing to fit on gives one that takes the first program always.
    pub fn fit(questions: &[SelectorQuestion]) -> Selector {
        let rows: Vec<&(SelectorFeatures, bool)> = questions.iter().flat_map(|q| &q.candidates).collect();
        let n = rows.len().max(1) as f64;
        let over = |of: &dyn Fn(&SelectorFeatures, usize) -> f64| -> SelectorFeatures {
            std::array::from_fn(|k| rows.iter().map(|(x, _)| of(x, k)).sum::<f64>() / n)
        };
        let mean = over(&|x, k| x[k]);
        let deviation = over(&|x, k| (x[k] - mean[k]).powi(2)).map(|v| if v > 1e-12 { v.sqrt() } else { 1.0 });
        let mut fitted = Selector {
            mean,
            deviation,
            weights: [0.0; FEATURES.len()],
            bias: 0.0,
        };
        let standardised: Vec<(SelectorFeatures, f64)> = rows
            .iter()
            .map(|(x, right)| (fitted.standardised(x), f64::from(u8::from(*right))))
            .collect();
        // The loss is convex, and its curvature at most a quarter of 1 + the number of standardised features.
        let step = 1.0 / (0.25 * (1 + FEATURES.len()) as f64 + RIDGE);
        for _ in 0..STEPS {
            let (mut slope, mut bias) = (fitted.weights.map(|w| w * RIDGE), 0.0);
            for (x, right) in &standardised {
                let wrong_by = (fitted.probability_of(x) - right) / n;
                bias += wrong_by;
                for (slope, x) in slope.iter_mut().zip(x) {
                    *slope += wrong_by * x;
                }
            }
            fitted.bias -= step * bias;
            for (weight, slope) in fitted.weights.iter_mut().zip(slope) {
                *weight -= step * slope;
            }
        }
        fitted
    }

    /// The probability that a program's answer is right.
    pub fn probability(&self, features: &SelectorFeatures) -> f64 {
        self.probability_of(&self.standardised(features))
    }

    /// Which of the programs of one question counts; of equals the first.
    pub fn pick(&self, candidates: &[SelectorFeatures]) -> usize {
        let probabilities: Vec<f64> = candidates.iter().map(|x| self.probability(x)).collect();
        let better = |best: usize, i: usize| {
            if probabilities[i] > probabilities[best] {
                i
            } else {
                best
            }
        };
        (1..probabilities.len()).fold(0, better)
    }

    fn standardised(&self, x: &SelectorFeatures) -> SelectorFeatures {
        std::array::from_fn(|k| (x[k] - self.mean[k]) / self.deviation[k])
    }

    fn probability_of(&self, standardised: &SelectorFeatures) -> f64 {
        let sum: f64 = self.weights.iter().zip(standardised).map(|(w, x)| w * x).sum();
        1.0 / (1.0 + (-(self.bias + sum)).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(answer: Option<&str>, confidence: f64, score: f64) -> AnsweredCandidate<'_> {
        AnsweredCandidate {
            answer,
            confidence,
            standard: score == 0.0,
            depth: 0.5,
            score,
        }
    }

    #[test]
    fn features_are_those_of_their_names() {
        let of = features(&[
            candidate(Some("A"), 1.0, 0.0),
            candidate(Some("B"), 3.0, -1.0),
            candidate(Some("A"), f64::NAN, -2.0),
            candidate(None, -1.0, f64::NEG_INFINITY),
        ]);
        assert_eq!(of[0], [1.0, 0.0, 1.0, 0.5, 1.0, 0.5, 0.0]);
        assert_eq!(of[1], [3.0, 2.0, 0.0, 0.25, 0.0, 0.5, -1.0]);
        assert_eq!(of[2], [0.0, 0.0, 1.0, 0.5, 0.0, 0.5, -2.0]);
        // An answer that cannot be read is no one's.
        assert_eq!(of[3], [-1.0, -2.0, 0.0, 0.0, 0.0, 0.5, 0.0]);
        assert!(features(&[]).is_empty());
    }

    /// `count` questions of two programs: the second is right where its confidence is above 1, the first where it is not.
    fn made(count: usize) -> Vec<SelectorQuestion> {
        let one = |i: usize| {
            let confidence = 2.0 * ((i * 37 % 101) as f64 / 101.0);
            let shown = features(&[candidate(Some("A"), 1.0, 0.0), candidate(Some("B"), confidence, -1.0)]);
            let second = confidence > 1.0;
            SelectorQuestion {
                question: format!("q{i}"),
                candidates: shown.into_iter().zip([!second, second]).collect(),
            }
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn it_picks_what_it_was_shown_to_be_right() {
        let selector = Selector::fit(&made(200));
        for question in made(60) {
            let shown: Vec<SelectorFeatures> = question.candidates.iter().map(|(x, _)| *x).collect();
            let confidence = shown[1][0];
            if (confidence - 1.0).abs() > 0.1 {
                let picked = selector.pick(&shown);
                assert!(
                    question.candidates[picked].1,
                    "at {confidence} the {picked}th was picked"
                );
            }
        }
    }

    #[test]
    fn the_fit_is_where_the_slope_is_zero() {
        let questions = made(150);
        let fitted = Selector::fit(&questions);
        let loss = |s: &Selector| {
            let rows: Vec<_> = questions.iter().flat_map(|q| &q.candidates).collect();
            let one = |(x, right): &(SelectorFeatures, bool)| {
                let p = s.probability(x);
                -(if *right { p } else { 1.0 - p }).ln()
            };
            let ridge: f64 = s.weights.iter().map(|w| w * w).sum();
            rows.iter().map(|row| one(row)).sum::<f64>() / rows.len() as f64 + 0.5 * RIDGE * ridge
        };
        let at = loss(&fitted);
        for k in 0..FEATURES.len() {
            for by in [-0.05, 0.05] {
                let mut moved = fitted;
                moved.weights[k] += by;
                assert!(loss(&moved) > at - 1e-6, "feature {k} moved by {by}");
            }
        }
    }

    #[test]
    fn without_questions_the_first_counts() {
        let selector = Selector::fit(&[]);
        assert_eq!(selector.pick(&[[1.0; 7], [2.0; 7]]), 0);
        assert_eq!(selector.pick(&[]), 0);
    }
}
