//! Sums over the tokens of a run, kept with it so that a frame costs what is in sight.

use crate::trace::{Decision, Header, Step};

/// What is known of a run's tokens together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Tokens counted: those whose layers are all shown.
    pub steps: usize,
    /// For each layer how many of them skipped, executed and repeated it.
    pub counts: Vec<[usize; 3]>,
    /// Sum of their depths.
    pub depth: usize,
    /// Least and greatest depth, prompt included.
    pub range: Option<(usize, usize)>,
    /// The same of the answer alone.
    pub answer: Option<(usize, usize)>,
    /// Where each token's text begins in the answer, in bytes.
    pub starts: Vec<usize>,
    /// Bytes of the answer.
    pub bytes: usize,
}

impl Tally {
    /// Counts the prompt.
    fn new(header: &Header) -> Tally {
        let mut tally = Tally {
            counts: vec![[0; 3]; header.model.layers],
            ..Tally::default()
        };
        for depth in (0..header.prompt.len()).filter_map(|position| header.depth(position)) {
            meet(&mut tally.range, depth);
        }
        tally
    }

    /// Counts what was added to `steps`; anew where they became fewer.
    pub fn follow(&mut self, header: &Header, steps: &[Step]) {
        if self.steps == 0 || self.steps > steps.len() {
            *self = Tally::new(header);
        }
        for step in &steps[self.steps..] {
            count(&mut self.counts, &step.decisions);
            self.depth += step.depth;
            meet(&mut self.range, step.depth);
            meet(&mut self.answer, step.depth);
            self.starts.push(self.bytes);
            self.bytes += step.text.len();
        }
        self.steps = steps.len();
    }
}

/// Widens a range to a depth.
fn meet(range: &mut Option<(usize, usize)>, depth: usize) {
    let (low, high) = range.unwrap_or((depth, depth));
    *range = Some((low.min(depth), high.max(depth)));
}

/// Adds a token's decisions to the counts of the layers.
pub fn count(counts: &mut [[usize; 3]], decisions: &[Decision]) {
    for (count, decision) in counts.iter_mut().zip(decisions) {
        count[decision.action.executions()] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    #[test]
    fn following_comes_to_the_same_as_counting_anew() {
        let trace = fixture::token_trace(3, 40);
        let mut followed = Tally::default();
        for n in [0, 1, 7, 40, 12, 13, 0, 40] {
            followed.follow(&trace.header, &trace.steps[..n]);
            let mut anew = Tally::default();
            anew.follow(&trace.header, &trace.steps[..n]);
            assert_eq!(followed, anew, "{n}");
            assert_eq!(followed.counts[4].iter().sum::<usize>(), n);
            assert_eq!(followed.starts.len(), n);
        }
        assert_eq!(followed.bytes, trace.steps.iter().map(|s| s.text.len()).sum::<usize>());
    }
}
