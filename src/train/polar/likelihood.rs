//! What the network thinks of whole programs.
//!
//! The likelihood of a program is that of its parse into segments: of each boundary from layer 1 on being there or not, and of
//! the action of each segment. Its logarithm is linear in the boundaries' logits and the actions' log-probabilities.

use anyhow::Result;
use candle_core::{D, Device, Tensor};

use crate::program::segments::Segment;

/// Stands for the logarithm of 0: where a question has fewer programs than another of its batch.
const NONE: f32 = -1e9;

/// The programs of some questions, as many rows for each as the question with the most has, and at least one.
pub(super) struct ProgramBatch {
    /// (questions, rows, layers): 1 where a segment begins; the first layer counts for nothing.
    boundaries: Tensor,
    /// (questions, rows, 3 · layers): 1 where a segment of that action begins.
    operations: Tensor,
    /// (questions, rows): the logarithm of the weight, of the rows that are none of [`NONE`].
    weights: Tensor,
}

impl ProgramBatch {
    /// The segments and weights of each question's programs, of a model of `layers` layers.
    ///
    /// # Errors
    /// None in practice.
    pub fn new(questions: &[&[(Vec<Segment>, f64)]], layers: usize) -> Result<ProgramBatch> {
        let rows = questions
            .iter()
            .map(|programs| programs.len())
            .max()
            .unwrap_or(0)
            .max(1);
        let count = questions.len() * rows;
        let (mut boundaries, mut operations) = (vec![0.0f32; count * layers], vec![0.0f32; count * 3 * layers]);
        let mut weights = vec![NONE; count];
        for (question, programs) in questions.iter().enumerate() {
            for (index, (segments, weight)) in programs.iter().enumerate() {
                let row = question * rows + index;
                weights[row] = weight.max(1e-30).ln() as f32;
                for segment in segments {
                    if segment.start > 0 {
                        boundaries[row * layers + segment.start] = 1.0;
                    }
                    operations[row * 3 * layers + 3 * segment.start + segment.action as usize] = 1.0;
                }
            }
        }
        let of = |values, last| Tensor::from_vec(values, (questions.len(), rows, last), &Device::Cpu);
        Ok(ProgramBatch {
            boundaries: of(boundaries, layers)?,
            operations: of(operations, 3 * layers)?,
            weights: Tensor::from_vec(weights, (questions.len(), rows), &Device::Cpu)?,
        })
    }

    /// (questions, rows): the logarithm of each program's weight times its likelihood, by the logits of boundaries
    /// (questions, layers) and operations (questions, layers, 3).
    ///
    /// # Errors
    /// Logits of another shape.
    pub fn weighted_log_likelihoods(&self, (boundaries, operations): &(Tensor, Tensor)) -> Result<Tensor> {
        let (questions, layers) = boundaries.dims2()?;
        let column = |values: &Tensor, rows: usize| values.reshape((questions, rows, 1));
        let log_probs = candle_nn::ops::log_softmax(operations, D::Minus1)?;
        let begins = self.boundaries.matmul(&column(boundaries, layers)?)?;
        let does = self.operations.matmul(&column(&log_probs, 3 * layers)?)?;
        let mut sum = ((begins + does)?.squeeze(2)? + &self.weights)?;
        if layers > 1 {
            let z = boundaries.narrow(1, 1, layers - 1)?;
            sum = sum.broadcast_sub(&softplus(&z)?.sum_keepdim(1)?)?;
        }
        Ok(sum)
    }
}

/// ln(1 + e^z), which does not overflow.
pub(super) fn softplus(z: &Tensor) -> Result<Tensor> {
    Ok(((z.abs()?.neg()?.exp()? + 1.0)?.log()? + z.relu()?)?)
}

/// The logarithm of the sum of each row's exponentials: (questions, rows) to (questions).
pub(super) fn log_sum_exp(values: &Tensor) -> Result<Tensor> {
    Ok(values.log_sum_exp(D::Minus1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::segments;

    /// Every program of a model of three layers that is segments, by every way to cut it: their likelihoods come to 1.
    #[test]
    fn likelihoods_of_all_cuts_and_actions_are_a_distribution() {
        let layers = 3;
        let mut all: Vec<(Vec<Segment>, f64)> = Vec::new();
        for cuts in 0..4usize {
            let begins: Vec<f32> = (0..layers)
                .map(|l| f32::from(l == 0 || cuts >> (l - 1) & 1 == 1))
                .collect();
            let segments = segments::between(begins);
            for code in 0..3usize.pow(segments.len() as u32) {
                let action = |index: usize| crate::program::Action::ALL[code / 3usize.pow(index as u32) % 3];
                let of = |(index, &(start, length)): (usize, &(usize, usize))| Segment {
                    start,
                    length,
                    action: action(index),
                };
                all.push((segments.iter().enumerate().map(of).collect(), 1.0));
            }
        }
        assert_eq!(all.len(), 3 + 9 + 9 + 27);
        let boundaries = Tensor::new(&[[9.0f32, -1.3, 0.4], [0.0, 80.0, -90.0]], &Device::Cpu).unwrap();
        let logits: Vec<f32> = (0..2 * layers * 3).map(|i| (1.7 * i as f32).sin()).collect();
        let said = (
            boundaries,
            Tensor::from_vec(logits.clone(), (2, layers, 3), &Device::Cpu).unwrap(),
        );
        // The second question has one program only.
        let batch = ProgramBatch::new(&[&all, &all[5..6]], layers).unwrap();
        let found = batch.weighted_log_likelihoods(&said).unwrap();
        let sums: Vec<f32> = log_sum_exp(&found).unwrap().to_vec1().unwrap();
        assert!(sums[0].abs() < 1e-5, "{sums:?}");

        // One of them by hand.
        let found = found.to_vec2::<f32>().unwrap();
        let (segments, _) = &all[5];
        let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
        let begins = |l: usize| segments.iter().any(|s| s.start == l);
        let one = |l: usize, z: f64| if begins(l) { sigmoid(z) } else { 1.0 - sigmoid(z) };
        let action = |s: &Segment| {
            let row = &logits[3 * s.start..3 * s.start + 3];
            f64::from(row[s.action as usize].exp()) / row.iter().map(|x| f64::from(x.exp())).sum::<f64>()
        };
        let expected = one(1, -1.3) * one(2, 0.4) * segments.iter().map(action).product::<f64>();
        assert!((f64::from(found[0][5]) - expected.ln()).abs() < 1e-5);
        assert!(found[1][1..].iter().all(|x| *x < -1e8));
    }
}
