//! The map in characters, as the screen shows it: a row for each layer, a column for each token.

use super::{asked, depth_range, glyph, outcome};
use crate::text::{escape_controls, escape_controls_multiline};
use crate::trace::{Decision, Trace};

/// Tokens beside each other; a longer run is cut into bands.
const BAND: usize = 100;

const LEGEND: &str = "· skipped  ▓ executed  █ executed twice  S E R pinned  : ▙ ▛ router and dial would do otherwise";

pub(super) fn document(trace: &Trace, title: &str) -> String {
    let mut out = format!("{}\n", escape_controls(title));
    for phrases in [asked(&trace.header), outcome(trace)] {
        out += &escape_controls(&phrases.join(" · "));
        out.push('\n');
    }
    out += &format!("\n{}\n", escape_controls_multiline(trace.text().trim()));
    out += &format!("\ndecisions: {LEGEND}\n");
    out += &bands(trace, &glyph);
    if (0..trace.tokens()).any(|t| (0..trace.layers()).any(|l| is_asked(trace, l, t))) {
        out += "\nconfidence, in tenths: - no router was asked\n";
        out += &bands(trace, &decile);
    }
    out
}

fn is_asked(trace: &Trace, layer: usize, token: usize) -> bool {
    trace.decision(layer, token).is_some_and(|d| d.probs.is_some())
}

fn decile(decision: &Decision) -> char {
    let tenths = decision.confidence().map(|c| (c * 10.0).clamp(0.0, 9.0) as u32);
    tenths.and_then(|t| char::from_digit(t, 10)).unwrap_or('-')
}

/// The map, band below band.
fn bands(trace: &Trace, sign: &dyn Fn(&Decision) -> char) -> String {
    let tokens = trace.tokens();
    let (low, high) = depth_range(trace).unwrap_or_default();
    let mut out = String::new();
    for first in (0..tokens).step_by(BAND) {
        let last = (first + BAND).min(tokens);
        let mut row = |name: &str, cell: &dyn Fn(usize) -> char| {
            let mut line = format!("{name:>6} ");
            for token in first..last {
                if token == trace.header.prompt.len() && token > first {
                    line.push('│');
                }
                line.push(cell(token));
            }
            out += line.trim_end();
            out.push('\n');
        };
        row("saved", &|token| layers_saved(trace, token));
        for layer in (0..trace.layers()).rev() {
            let cell = |token| trace.decision(layer, token).map_or(' ', |d| sign(&d));
            row(&layer.to_string(), &cell);
        }
        let depths = if low == high {
            format!("{low}")
        } else {
            format!("{low}-{high}")
        };
        out += &format!("       tokens {first}-{}, depth {depths}\n", last - 1);
    }
    out
}

/// The layers that a token saved, in a digit or, from 10 on, a letter; a dot where it ran all of them and a plus where it
/// ran more.
fn layers_saved(trace: &Trace, token: usize) -> char {
    let layers = trace.layers();
    match trace.depth(token).unwrap_or(layers) {
        depth if depth > layers => '+',
        depth if depth == layers => '·',
        depth => char::from_digit((layers - depth).min(35) as u32, 36).unwrap_or('z'),
    }
}
