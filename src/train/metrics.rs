//! How well routers take their targets' decisions.

use serde::{Deserialize, Serialize};

use crate::program::Action;

/// Counts of (target, prediction) over all decisions, and of depths over examples.
#[derive(Clone, Debug, Default)]
pub struct Confusion {
    /// [target][prediction]
    counts: [[usize; 3]; 3],
    examples: usize,
}

impl Confusion {
    /// Adds an example: one target and one prediction a layer.
    pub fn add(&mut self, targets: &[Action], predictions: &[Action]) {
        for (target, prediction) in targets.iter().zip(predictions) {
            self.counts[*target as usize][*prediction as usize] += 1;
        }
        self.examples += 1;
    }

    /// F1 = 2·TP / (2·TP + FP + FN); absent where the class is neither wanted nor predicted.
    fn f1(&self, class: usize) -> Option<f64> {
        let hits = self.counts[class][class];
        let wanted: usize = self.counts[class].iter().sum();
        let predicted: usize = self.counts.iter().map(|row| row[class]).sum();
        (wanted + predicted > 0).then(|| 2.0 * hits as f64 / (wanted + predicted) as f64)
    }

    /// Share of a class's targets that were predicted; absent where there are none.
    fn recall(&self, class: usize) -> Option<f64> {
        let wanted: usize = self.counts[class].iter().sum();
        (wanted > 0).then(|| self.counts[class][class] as f64 / wanted as f64)
    }

    /// What the counts come to, with the mean loss of the same decisions.
    pub fn metrics(&self, loss: f64) -> Metrics {
        let f1 = [0, 1, 2].map(|class| self.f1(class));
        let present = f1.iter().flatten();
        let decisions: usize = self.counts.iter().flatten().sum();
        let hits: usize = (0..3).map(|c| self.counts[c][c]).sum();
        let depth = |of: fn(usize, usize) -> usize| {
            let cells = (0..3).flat_map(|t| (0..3).map(move |p| (t, p)));
            let executions: usize = cells.map(|(t, p)| of(t, p) * self.counts[t][p]).sum();
            executions as f64 / self.examples.max(1) as f64
        };
        Metrics {
            loss,
            macro_f1: present.clone().sum::<f64>() / present.count().max(1) as f64,
            f1_skip: f1[0],
            f1_execute: f1[1],
            f1_repeat: f1[2],
            accuracy: hits as f64 / decisions.max(1) as f64,
            accuracy_skip: self.recall(0),
            accuracy_repeat: self.recall(2),
            mean_predicted_depth: depth(|_, prediction| prediction),
            mean_target_depth: depth(|target, _| target),
        }
    }
}

/// What the decisions on a set of examples came to, under teacher forcing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Mean over decisions.
    pub loss: f64,
    /// Mean F1 of the classes that are wanted or predicted at all.
    pub macro_f1: f64,
    /// F1 of skip; absent where it is neither wanted nor predicted.
    pub f1_skip: Option<f64>,
    /// F1 of execute; absent where it is neither wanted nor predicted.
    pub f1_execute: Option<f64>,
    /// F1 of repeat; absent where it is neither wanted nor predicted.
    pub f1_repeat: Option<f64>,
    /// Over all decisions.
    pub accuracy: f64,
    /// Share of the skips wanted that were predicted.
    pub accuracy_skip: Option<f64>,
    /// Share of the repeats wanted that were predicted.
    pub accuracy_repeat: Option<f64>,
    /// Executed layers under the predictions, mean over examples.
    pub mean_predicted_depth: f64,
    /// Executed layers under the targets, mean over examples.
    pub mean_target_depth: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Execute as E, Repeat as R, Skip as S};

    #[test]
    fn metrics_by_hand() {
        let mut confusion = Confusion::default();
        confusion.add(&[S, S, E, E], &[S, E, E, E]);
        confusion.add(&[E, E, R, E], &[E, S, E, E]);
        let m = confusion.metrics(0.5);
        // skip: 1 hit, 2 wanted, 2 predicted; execute: 4 hits, 5 wanted, 6 predicted; repeat: none hit.
        assert_eq!(
            (m.f1_skip, m.f1_execute, m.f1_repeat),
            (Some(0.5), Some(8.0 / 11.0), Some(0.0))
        );
        assert!((m.macro_f1 - (0.5 + 8.0 / 11.0) / 3.0).abs() < 1e-12);
        assert_eq!((m.accuracy_skip, m.accuracy_repeat), (Some(0.5), Some(0.0)));
        assert_eq!((m.accuracy, m.loss), (5.0 / 8.0, 0.5));
        assert_eq!((m.mean_predicted_depth, m.mean_target_depth), (3.0, 3.5));
    }

    #[test]
    fn classes_that_do_not_occur_have_no_f1() {
        let mut confusion = Confusion::default();
        confusion.add(&[E, E], &[E, E]);
        let m = confusion.metrics(0.0);
        assert_eq!((m.f1_skip, m.f1_repeat, m.macro_f1), (None, None, 1.0));
    }
}
