//! The tape as a moving picture: a line a token, coming as the model wrote it. Without motion, where a reader asks for
//! that, it is the end of the answer.

use std::fmt::Write;

use super::{asked, outcome};
use crate::program::Action;
use crate::text::{escape_controls, escape_markup};
use crate::trace::Trace;

/// In pixels: a line, a layer's cell, a column of letters.
const LINE: usize = 20;
const CELL: (usize, usize) = (12, 13);
const LETTER: usize = 8;
/// Letters of a token's text; longer ones end in `…`.
const WORD: usize = 14;
/// Around everything.
const EDGE: usize = 16;
/// Lines of tokens on the picture.
const LINES: usize = 24;
/// A word that saved so many layers is tinted.
const SHALLOW: usize = 4;
/// Tokens of a long answer that are drawn: the last ones.
const TOKENS: usize = 400;
/// Letters of the likeliest next token, and of its probability.
const NEXT: usize = 10;
const PROBABILITY: usize = 5;
/// Letters of a line of words.
const WORDS: usize = 100;
/// Seconds a token, and those that the whole stands still before it begins again.
const SECONDS: f64 = 0.35;
const REST: f64 = 5.0;

const STYLE: &str = "\
.tape{font:13px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace}.tape text{fill:#1f2328;white-space:pre}\
.tape .ground{fill:#fff}.tape .now{fill:#eaeef2}.tape .muted{fill:#656d76}.tape .skip{fill:#3b6fc4}.tape .execute{fill:#b4bbc4}\
.tape .repeat{fill:#c05600}.tape .saved{fill:#3b6fc4}.tape text.shallow{fill:#3b6fc4}\
@media(prefers-color-scheme:dark){.tape text{fill:#dadde4}.tape .ground{fill:#15171c}.tape .now{fill:#262b35}.tape .muted{fill:#9298a5}\
.tape .skip{fill:#80b4ff}.tape .execute{fill:#596273}.tape .repeat{fill:#ffb454}.tape .saved{fill:#80b4ff}\
.tape text.shallow{fill:#80b4ff}}\
@media(prefers-reduced-motion:reduce){.tape *{animation:none!important}}";

pub(super) fn document(trace: &Trace, title: &str) -> String {
    let prompt = trace.header.prompt.len();
    let tokens: Vec<usize> = (prompt.max(trace.tokens().saturating_sub(TOKENS))..trace.tokens()).collect();
    let layers = trace.layers();
    let deepest = trace.steps.iter().map(|step| step.depth).max().unwrap_or(layers);
    let saved_at = EDGE + (WORD + 2) * LETTER + layers * CELL.0 + 5 * LETTER;
    let cells_at = EDGE + (WORD + 2) * LETTER;
    let words = [asked(&trace.header), outcome(trace)].map(|phrases| fit(&phrases.join(" · "), WORDS));
    let longest = words.iter().map(|w| w.chars().count()).max().unwrap_or_default();
    let bars = layers.max(deepest)
        - trace
            .steps
            .iter()
            .map(|step| step.depth)
            .min()
            .unwrap_or(layers)
            .min(layers);
    let says_next = trace.steps.iter().any(|step| !step.next.is_empty());
    let next_at = saved_at + (bars.max(6) + 2) * LETTER;
    let end = match says_next {
        true => next_at + (NEXT + PROBABILITY) * LETTER,
        false => saved_at + bars.max(6) * LETTER,
    };
    let width = end.max(EDGE + longest * LETTER) + EDGE;
    let top = EDGE + 3 * LINE;
    let lines = LINES.min(tokens.len()).max(1);
    let height = top + lines * LINE + EDGE;
    let seconds = tokens.len() as f64 * SECONDS + REST;
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"tape\" \
         viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>{}</title>\n\
         <style>{STYLE}\n{}</style>\n<rect class=\"ground\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\n",
        escape_markup(title),
        motion(tokens.len(), lines, seconds),
    );
    for (line, words) in words.iter().enumerate() {
        text(EDGE, EDGE + 12 + line * LINE, "muted", "start", words, &mut out);
    }
    for layer in (0..layers).step_by(5) {
        let x = cells_at + layer * CELL.0;
        text(x, top - 6, "muted", "start", &layer.to_string(), &mut out);
    }
    text(saved_at, top - 6, "muted", "start", "saved", &mut out);
    if says_next {
        text(next_at, top - 6, "muted", "start", "next", &mut out);
    }
    let _ = writeln!(
        out,
        "<clipPath id=\"lines\"><rect y=\"{top}\" width=\"{width}\" height=\"{}\"/></clipPath>\n\
         <g clip-path=\"url(#lines)\"><g class=\"all\">\
         <rect class=\"now\" y=\"{top}\" width=\"{width}\" height=\"{LINE}\"/>",
        lines * LINE
    );
    for (line, &token) in tokens.iter().enumerate() {
        let y = top + line * LINE;
        let Some((_, word, _)) = trace.token(token) else {
            continue;
        };
        let depth = trace.depth(token).unwrap_or_default();
        let _ = write!(out, "<g class=\"line l{line}\">");
        let class = if depth < layers { "" } else { "muted" };
        let word_class = if depth + SHALLOW <= layers { "shallow" } else { "" };
        text(cells_at - LETTER, y + 14, word_class, "end", &one_line(word), &mut out);
        for action in [Action::Skip, Action::Execute, Action::Repeat] {
            cells(trace, token, action, (cells_at, y + 3), &mut out);
        }
        text(saved_at - LETTER, y + 14, class, "end", &depth.to_string(), &mut out);
        if let Some(saved) = layers.checked_sub(depth).filter(|saved| *saved > 0) {
            let _ = write!(
                out,
                "<rect class=\"saved\" x=\"{saved_at}\" y=\"{}\" width=\"{}\" height=\"4\"/>",
                y + 9,
                saved * LETTER
            );
        }
        if let Some(first) = trace.step(token).and_then(|step| step.next.first()) {
            text(
                next_at,
                y + 14,
                "muted",
                "start",
                &fit(&one_line(&first.text), NEXT - 1),
                &mut out,
            );
            let (x, chance) = (
                next_at + (NEXT + PROBABILITY) * LETTER,
                format!("{:.2}", first.probability),
            );
            text(x, y + 14, "muted", "end", &chance, &mut out);
        }
        out.push_str("</g>\n");
    }
    out + "</g></g>\n</svg>\n"
}

/// When each line comes, and how the whole moves up as soon as there is no room below. Times are shares of `seconds`.
fn motion(tokens: usize, lines: usize, seconds: f64) -> String {
    let share = |token: usize| 100.0 * (token as f64 * SECONDS) / seconds;
    let mut out = format!(".tape .line{{animation:{seconds:.2}s step-end infinite}}");
    for token in 1..tokens {
        let _ = write!(
            out,
            ".l{token}{{animation-name:a{token}!important}}@keyframes a{token}{{0%{{opacity:0}}{:.2}%{{opacity:1}}}}",
            share(token)
        );
    }
    // The newest line is marked.
    let down = |line: usize| format!("transform:translateY({}px)", line * LINE);
    let _ = write!(
        out,
        ".tape .now{{{};animation:now {seconds:.2}s step-end infinite}}@keyframes now{{0%{{transform:none}}",
        down(tokens.saturating_sub(1))
    );
    for token in 1..tokens {
        let _ = write!(out, "{:.2}%{{{}}}", share(token), down(token));
    }
    out.push('}');
    let moved = tokens.saturating_sub(lines);
    let up = |lines: usize| format!("transform:translateY(-{}px)", lines * LINE);
    let _ = write!(out, ".tape .all{{{}", up(moved));
    if moved > 0 {
        let _ = write!(out, ";animation:up {seconds:.2}s step-end infinite");
    }
    out.push('}');
    if moved > 0 {
        out.push_str("@keyframes up{0%{transform:none}");
        for line in 1..=moved {
            let _ = write!(out, "{:.2}%{{{}}}", share(lines + line - 1), up(line));
        }
        out.push('}');
    }
    out
}

/// All cells of one action at a token, as one shape.
fn cells(trace: &Trace, token: usize, action: Action, (x, y): (usize, usize), out: &mut String) {
    let mut path = String::new();
    for layer in 0..trace.layers() {
        if trace.decision(layer, token).is_none_or(|d| d.action != action) {
            continue;
        }
        let left = x + layer * CELL.0;
        let (width, height) = (CELL.0 - 1, CELL.1);
        let _ = match action {
            // A point in the hole.
            Action::Skip => write!(path, "M{} {}h2v2h-2z", left + width / 2 - 1, y + height / 2 - 1),
            _ => write!(path, "M{left} {y}h{width}v{height}h-{width}z"),
        };
    }
    if !path.is_empty() {
        let class = match action {
            Action::Skip => "skip",
            Action::Execute => "execute",
            Action::Repeat => "repeat",
        };
        let _ = write!(out, "<path class=\"{class}\" d=\"{path}\"/>");
    }
}

fn text(x: usize, y: usize, class: &str, anchor: &str, text: &str, out: &mut String) {
    let text = escape_markup(text);
    let _ = write!(out, "<text");
    if !class.is_empty() {
        let _ = write!(out, " class=\"{class}\"");
    }
    let _ = write!(out, " x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>");
}

/// A token's text without the spaces at its ends, line ends as signs.
fn one_line(text: &str) -> String {
    let shown = match text.trim() {
        "" if text.contains('\n') => "⏎".to_owned(),
        "" => "␣".to_owned(),
        trimmed => trimmed.replace('\n', "⏎"),
    };
    fit(&escape_controls(&shown), WORD)
}

fn fit(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
