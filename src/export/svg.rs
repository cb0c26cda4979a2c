//! The map as a picture. An action is told by shape and by colour, a router's confidence by
//! strength; titles say the rest where the pointer is.
//!
//! ```text
//!     ▔▀▔▔█▔      depth: bars hang by the layers saved
//!  29 ▓▓·▓▓▓      layers, layer 0 at the bottom: skips are holes
//!   0 ▓▓▓▓▓▓
//!     W i t b     tokens, upright
//! ```

use std::fmt::Write;

use super::{asked, describe, foot, outcome, saved};
use crate::program::Action;
use crate::text::escape_markup;
use crate::trace::{DecidedBy, Decision, Trace};

/// Width and height of a cell, in pixels like everything here.
const CELL: (usize, usize) = (12, 10);
/// Left of the cells: the layers' numbers.
const LEFT: usize = 44;
const RIGHT: usize = 16;
/// Height of the two lines of words, of the depths, of the tokens.
const WORDS: usize = 48;
const DEPTH: usize = 36;
const TOKENS: usize = 120;
/// Gap between prompt and answer.
const GAP: usize = 6;
/// Characters of a token that are drawn; its title has all of them.
const TOKEN_CHARS: usize = 16;

/// Colours, light and then dark. No variables: not every viewer of pictures knows them.
const STYLE: &str = "\
.map{font:11px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace}.map text{fill:#1f2328;white-space:pre}\
.map .ground{fill:#fff}.map .muted,.map .depth{fill:#656d76}.map .hit{fill:none;pointer-events:all}\
.map .skip{fill:#3b6fc4}.map .execute{fill:#b4bbc4}.map .repeat{fill:#c05600}\
.map .pin{fill:none;stroke:#b3126f;stroke-width:1.5}.map .other{fill:#a40e26}\
@media(prefers-color-scheme:dark){.map text{fill:#dadde4}.map .ground{fill:#15171c}\
.map .muted,.map .depth{fill:#9298a5}.map .skip{fill:#80b4ff}.map .execute{fill:#4c5563}.map .repeat{fill:#ffb454}\
.map .pin{stroke:#ff7fc8}.map .other{fill:#ff7b82}}";

pub(super) fn document(trace: &Trace, title: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", drawing(trace, title))
}

/// The `svg` element alone.
pub(super) fn drawing(trace: &Trace, title: &str) -> String {
    let layers = trace.layers() * CELL.1;
    let words = [asked(&trace.header), outcome(trace)].map(|phrases| phrases.join(" · "));
    let cells = x(trace, trace.tokens());
    // The words need about 7 pixels a character.
    let longest = words.iter().map(|w| w.chars().count()).max().unwrap_or_default();
    let width = (cells + RIGHT).max(LEFT + 7 * longest);
    let height = WORDS + DEPTH + layers + TOKENS;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"map\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n{}\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n",
        escape_markup(title),
        shapes()
    );
    for (line, words) in words.iter().enumerate() {
        let y = 18 + 16 * line;
        let _ = writeln!(
            out,
            "<text class=\"muted\" x=\"{LEFT}\" y=\"{y}\">{}</text>",
            escape_markup(words)
        );
    }
    layer_numbers(trace, &mut out);
    number(&format!("▔{}", trace.layers()), WORDS + 6, &mut out);
    number(&format!("▁{}", foot(trace)), WORDS + DEPTH - 6, &mut out);
    for token in 0..trace.tokens() {
        column(trace, token, &mut out);
    }
    out + "</svg>\n"
}

/// Each action once, to be placed at the cells.
fn shapes() -> String {
    let (w, h) = CELL;
    let hit = format!("<rect class=\"hit\" width=\"{w}\" height=\"{h}\"/>");
    let body = w - 1;
    format!(
        "<defs><g id=\"skip\">{hit}<circle class=\"skip\" cx=\"{}\" cy=\"{}\" r=\"1.5\"/></g>\
         <g id=\"execute\">{hit}<rect class=\"execute\" width=\"{}\" height=\"{}\"/></g>\
         <g id=\"repeat\">{hit}<rect class=\"repeat\" y=\"1\" width=\"{body}\" height=\"{}\"/></g></defs>\n",
        w / 2,
        h / 2,
        w,
        h,
        h - 1
    )
}

/// The left edge of a token's column.
fn x(trace: &Trace, token: usize) -> usize {
    let gap = if token >= trace.header.prompt.len() { GAP } else { 0 };
    LEFT + token * CELL.0 + gap
}

/// The upper edge of a layer's row.
fn y(trace: &Trace, layer: usize) -> usize {
    WORDS + DEPTH + (trace.layers() - 1 - layer) * CELL.1
}

fn layer_numbers(trace: &Trace, out: &mut String) {
    let last = trace.layers().saturating_sub(1);
    for layer in (0..trace.layers()).filter(|l| l % 5 == 0 || *l == last) {
        // The last number stands only where it does not run into the one before.
        if layer == last && layer % 5 == 1 {
            continue;
        }
        number(&layer.to_string(), y(trace, layer) + CELL.1 - 1, out);
    }
}

/// A number left of the cells.
fn number(text: &str, y: usize, out: &mut String) {
    let x = LEFT - 6;
    let _ = writeln!(
        out,
        "<text class=\"muted\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{text}</text>"
    );
}

/// A token: its depth, its cells, its text.
fn column(trace: &Trace, token: usize, out: &mut String) {
    let Some((id, text, special)) = trace.token(token) else {
        return;
    };
    let x = x(trace, token);
    let depth = trace.depth(token).unwrap_or_default();
    // A line where nothing was saved.
    let bar = 1 + (saved(trace, depth).min(1.0) * (DEPTH - 8) as f64).round() as usize;
    let part = if trace.step(token).is_some() {
        "answer"
    } else {
        "prompt"
    };
    let name = format!("token {token} of the {part}: '{text}'");
    let kind = if special { ", a control token" } else { "" };
    let about = escape_markup(&format!("{name}, id {id}{kind}, depth {depth}"));
    let _ = writeln!(
        out,
        "<g><title>{about}</title><rect class=\"depth\" x=\"{x}\" y=\"{}\" width=\"{}\" height=\"{bar}\"/>",
        WORDS,
        CELL.0 - 1
    );
    let foot = WORDS + DEPTH + trace.layers() * CELL.1 + 6;
    let mut shown: String = text.chars().take(TOKEN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    let class = if special { " class=\"muted\"" } else { "" };
    let _ = writeln!(
        out,
        "<text{class} transform=\"translate({} {foot}) rotate(90)\">{}</text></g>",
        x + 2,
        escape_markup(&shown)
    );
    for layer in 0..trace.layers() {
        if let Some(decision) = trace.decision(layer, token) {
            let title = format!("layer {layer}, {name}");
            cell(&decision, &title, (x, y(trace, layer)), out);
        }
    }
}

fn cell(decision: &Decision, title: &str, (x, y): (usize, usize), out: &mut String) {
    let lines: Vec<String> = std::iter::once(title.to_owned())
        .chain(describe(decision))
        .map(|line| escape_markup(&line))
        .collect();
    let shape = match decision.action {
        Action::Skip => "skip",
        Action::Execute => "execute",
        Action::Repeat => "repeat",
    };
    let strength = match (decision.confidence(), decision.action) {
        // The field stays quiet, so that the holes are what is seen.
        (Some(c), Action::Execute) => format!(" fill-opacity=\"{:.2}\"", 0.55 + 0.45 * strength(c)),
        (Some(c), _) => format!(" fill-opacity=\"{:.2}\"", strength(c)),
        (None, _) => String::new(),
    };
    let _ = write!(
        out,
        "<use href=\"#{shape}\" x=\"{x}\" y=\"{y}\"{strength}><title>{}</title></use>",
        lines.join("\n")
    );
    if decision.by == DecidedBy::Pin {
        let (w, h) = (CELL.0 - 2, CELL.1 - 1);
        let _ = write!(
            out,
            "<rect class=\"pin\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\"/>"
        );
    }
    if decision.disagrees() {
        let right = x + CELL.0 - 1;
        let _ = write!(out, "<path class=\"other\" d=\"M{right} {y}v4l-4-4z\"/>");
    }
    out.push('\n');
}

/// How opaque a cell is: a third of the probability, which says nothing, is 0.3; certainty is 1.
fn strength(confidence: f32) -> f32 {
    (0.3 + 0.7 * (confidence - 1.0 / 3.0) * 1.5).clamp(0.3, 1.0)
}
