//! The programs of records that were run on every question, ranked.

use std::collections::HashMap;

use super::ExampleRecord;
use crate::program::Program;

/// One program over all questions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProgramStats {
    /// Questions that it was run on.
    pub seen: usize,
    /// Of them, those that it got right.
    pub right: usize,
    /// Questions that the standard program gets wrong and this one right.
    pub fixed: usize,
    /// Questions that the standard program gets right and this one wrong.
    pub broken: usize,
    /// Sum over questions of the right choice's margin; NaN where one is unknown.
    pub margin: f64,
}

/// The programs that were run on all of `examples`: most right answers first, of equals the first
/// as text.
pub fn ranking<'a>(examples: &[&'a ExampleRecord]) -> Vec<(&'a Program, ProgramStats)> {
    let mut programs: HashMap<&Program, ProgramStats> = HashMap::new();
    for example in examples {
        let right = example.right.iter().map(|s| (s, true));
        for (scored, right) in right.chain(example.wrong.iter().map(|s| (s, false))) {
            let stats = programs.entry(&scored.program).or_default();
            stats.seen += 1;
            stats.right += usize::from(right);
            stats.fixed += usize::from(right && !example.baseline);
            stats.broken += usize::from(!right && example.baseline);
            stats.margin += scored.margin.unwrap_or(f64::NAN);
        }
    }
    let mut everywhere: Vec<(&Program, ProgramStats)> = programs.into_iter().collect();
    everywhere.retain(|(_, s)| s.seen == examples.len());
    everywhere.sort_by(|(p, a), (q, b)| (b.right.cmp(&a.right)).then_with(|| p.to_string().cmp(&q.to_string())));
    everywhere
}
