//! From what the network says to programs.

use crate::program::segments::{self, Segment, expand};
use crate::program::{Action, Program};
use crate::router::mlp::softmax;
use crate::router::policy::dial;
use crate::router::programs::ProposedPrograms;
use crate::trace::{CandidateProgram, NEUTRAL_DIAL};

/// Candidates that are kept at every segment, and so in the end.
pub const BEAM: usize = 5;

/// Actions that are tried for a segment: the likeliest ones.
const TRIED: usize = 2;

/// The least likelihood that the logarithm is taken of.
const LEAST: f64 = 1e-30;

/// What the network says, one a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logits {
    /// Of a segment beginning at the layer. The first one counts for nothing.
    pub boundaries: Vec<f32>,
    /// Of skip, execute and repeat.
    pub operations: Vec<[f32; 3]>,
}

impl Logits {
    /// Whether all logits are finite numbers.
    pub fn is_finite(&self) -> bool {
        let operations = self.operations.iter().flatten();
        self.boundaries.iter().chain(operations).all(|x| x.is_finite())
    }

    /// The probability that a segment begins at each layer.
    pub fn boundary_probabilities(&self) -> Vec<f32> {
        let sigmoid = |x: &f32| (1.0 / (1.0 + (-f64::from(*x)).exp())) as f32;
        self.boundaries.iter().map(sigmoid).collect()
    }

    /// First layers and lengths of the segments: one begins where the boundary is at least as likely as not.
    pub fn segments(&self) -> Vec<(usize, usize)> {
        segments::between(self.boundary_probabilities())
    }

    /// The likeliest programs at a position of the dial, best first, with their scores: a beam of [`BEAM`] over the two
    /// likeliest actions of each segment. Since a score is a sum over segments, these are the best of all programs of such
    /// actions.
    pub fn candidates(&self, position: f64) -> Vec<CandidateProgram> {
        let mut beam: Vec<(Vec<Segment>, f64)> = vec![(Vec::new(), 0.0)];
        for (start, length) in self.segments() {
            let probs = dial(softmax(self.operations[start]), position);
            let mut actions = Action::ALL;
            // Stable: of equals the first in class order, and of equal programs the one that was better before.
            actions.sort_by(|a, b| probs[*b as usize].total_cmp(&probs[*a as usize]));
            let longer = |(segments, score): &(Vec<Segment>, f64)| {
                actions[..TRIED]
                    .iter()
                    .map(|&action| {
                        let segment = Segment { start, length, action };
                        let worth = f64::from(probs[action as usize]).max(LEAST).ln();
                        ([&segments[..], &[segment]].concat(), score + worth)
                    })
                    .collect::<Vec<_>>()
            };
            beam = beam.iter().flat_map(longer).collect();
            beam.sort_by(|a, b| b.1.total_cmp(&a.1));
            beam.truncate(BEAM);
        }
        let candidate = |(segments, score): (Vec<Segment>, f64)| CandidateProgram {
            program: expand(&segments),
            score,
        };
        // They are distinct: the segments are the same in all, and every layer stands in one of them.
        beam.into_iter().map(candidate).collect()
    }

    /// All that is proposed at a position of the dial.
    pub fn propose(&self, position: f64) -> ProposedPrograms {
        let best = |position| self.candidates(position).into_iter().next();
        let undialled: Program = best(NEUTRAL_DIAL).map(|best| best.program).unwrap_or_default();
        let boundaries = self.boundary_probabilities();
        let segments = segments::between(boundaries.iter().copied());
        let of_segment = |&(start, length): &(usize, usize)| vec![softmax(self.operations[start]); length];
        ProposedPrograms {
            candidates: self.candidates(position),
            undialled,
            probs: segments.iter().flat_map(of_segment).collect(),
            boundaries,
        }
    }
}
