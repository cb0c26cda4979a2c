//! PoLar's programs: the layers cut into segments of 1 to 4, each skipped, kept or repeated as a whole
//! (arXiv 2606.06574; spec §6).
//!
//! ```
//! use drllm::program::segments::{self, Segment};
//! use drllm::program::{Action, Program};
//!
//! let program = Program::parse("0-3 (5-6)x2 7", 8)?;
//! let parsed = segments::parse(&program, 8).unwrap();
//! assert_eq!(parsed[1], Segment { start: 4, length: 1, action: Action::Skip });
//! assert_eq!(segments::expand(&parsed), program);
//! # Ok::<(), drllm::program::ProgramError>(())
//! ```

use std::cmp::Reverse;

use super::{Action, Program};

/// Layers of a segment, at most.
pub const LONGEST: usize = 4;

/// Neighbouring layers with one action for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Its first layer.
    pub start: usize,
    /// Its number of layers, 1 to [`LONGEST`].
    pub length: usize,
    /// Repeat runs the whole segment and then the whole segment again.
    pub action: Action,
}

/// The program of segments in the order of their layers.
pub fn expand(segments: &[Segment]) -> Program {
    let run = |s: &Segment| {
        (s.start..s.start + s.length)
            .collect::<Vec<_>>()
            .repeat(s.action.executions())
    };
    Program::from_layers(segments.iter().flat_map(run))
}

/// First layers and lengths of the segments that begin where a boundary is at least as likely as not; none is longer than
/// [`LONGEST`].
pub fn between(boundaries: impl IntoIterator<Item = f32>) -> Vec<(usize, usize)> {
    let mut segments: Vec<(usize, usize)> = Vec::new();
    for (layer, boundary) in boundaries.into_iter().enumerate() {
        match segments.last_mut() {
            Some((_, length)) if boundary < 0.5 && *length < LONGEST => *length += 1,
            _ => segments.push((layer, 1)),
        }
    }
    segments
}

/// The unique parse of a program of a model of `layers` layers into segments that cover all of them;
/// `None` where there is none. Of several the one with fewer segments, then fewer skipped segments,
/// then more repeated ones, then the larger segments first.
pub fn parse(program: &Program, layers: usize) -> Option<Vec<Segment>> {
    let run = program.layers();
    if program.is_damped() || run.iter().any(|&layer| layer >= layers) {
        return None;
    }
    let executions = program.executions(layers);
    // Every layer stands in one segment only, so how often it runs is what its segment does, and the
    // layers before a segment say where in the program it begins.
    let mut begins = vec![0; layers + 1];
    for layer in 0..layers {
        begins[layer + 1] = begins[layer] + executions[layer];
    }
    let segment = |start: usize, length: usize| {
        let end = start + length;
        let action = *Action::ALL.get(executions[start])?;
        let segment = Segment { start, length, action };
        (run[begins[start]..begins[end]] == *expand(&[segment]).layers()).then_some(segment)
    };
    // From the last layer backwards: the best parse of all layers from each one on.
    let mut best: Vec<Option<Vec<Segment>>> = vec![None; layers + 1];
    best[layers] = Some(Vec::new());
    for start in (0..layers).rev() {
        let parses = (1..=LONGEST.min(layers - start)).filter_map(|length| {
            let rest = best[start + length].as_ref()?;
            Some([&[segment(start, length)?], &rest[..]].concat())
        });
        best[start] = parses.min_by_key(|parse| rank(parse));
    }
    best.swap_remove(0)
}

/// The less, the better a parse.
fn rank(parse: &[Segment]) -> (usize, usize, Reverse<usize>, Vec<Reverse<usize>>) {
    let count = |action| parse.iter().filter(|s| s.action == action).count();
    let lengths = parse.iter().map(|s| Reverse(s.length)).collect();
    (
        parse.len(),
        count(Action::Skip),
        Reverse(count(Action::Repeat)),
        lengths,
    )
}

#[cfg(test)]
mod tests;
