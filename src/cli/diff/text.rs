//! A comparison for people.

use std::fmt::Write;

use super::{Divergence, Report, Run, Token};
use crate::text::escape_controls;
use crate::trace::StopReason;
use crate::trace::diff::cells::{ActionChange, ChangedCell, Decisions, PartChanges, SequencePart};

/// The report as lines; ends with a newline.
pub(super) fn print(report: &Report) -> String {
    let mut out = String::new();
    for (name, run) in [("A", &report.a), ("B", &report.b)] {
        line(&mut out, name, &escape_controls(&run.file));
    }
    line(&mut out, "verdict", &verdict(report));
    for field in &report.fields {
        let value = |v: &serde_json::Value| escape_controls(&v.to_string());
        let change = format!("{} → {}", value(&field.before), value(&field.after));
        line(&mut out, &field.name, &change);
    }
    line(&mut out, "prompt", &prompt(report));
    line(&mut out, "answer", &answer(report));
    match &report.decisions {
        None => {
            let sentence = format!(
                "not compared: the models have {} and {} layers",
                report.a.layers, report.b.layers
            );
            line(&mut out, "decisions", &sentence);
        }
        Some(decisions) => changes(&mut out, report, decisions),
    }
    numbers(&mut out, &report.a, &report.b);
    out
}

/// Columns of the names on the left.
const NAME: usize = 26;

fn line(out: &mut String, name: &str, text: &str) {
    let text = format!("{name:<NAME$} {text}");
    out.push_str(text.trim_end());
    out.push('\n');
}

fn verdict(report: &Report) -> String {
    match report.alike {
        true => "alike".to_owned(),
        false => {
            let names: Vec<&str> = report.differ.iter().map(|a| a.name()).collect();
            format!("differ: {}", names.join(", "))
        }
    }
}

fn prompt(report: &Report) -> String {
    match report.same_prompt {
        true => format!("the same {}", tokens(report.a.prompt_tokens)),
        false => format!(
            "differs: {} and {} tokens",
            report.a.prompt_tokens, report.b.prompt_tokens
        ),
    }
}

fn answer(report: &Report) -> String {
    let (a, b) = (&report.a, &report.b);
    match &report.diverges {
        None if a.stop == b.stop => format!("the same {}", tokens(a.totals.tokens)),
        None => format!(
            "the same {}; A ended with {}, B with {}",
            tokens(a.totals.tokens),
            stop(a.stop),
            stop(b.stop)
        ),
        Some(Divergence { token, a, b }) => {
            let text = |token: &Option<Token>| match token {
                Some(token) => format!("'{}'", escape_controls(&token.text)),
                None => "the end".to_owned(),
            };
            format!("parts at token {}: A has {}, B has {}", token + 1, text(a), text(b))
        }
    }
}

fn stop(reason: Option<StopReason>) -> &'static str {
    match reason {
        Some(StopReason::EndToken) => "an end token",
        Some(StopReason::MaxTokens) => "the most tokens asked for",
        Some(StopReason::StopString) => "a stop string",
        Some(StopReason::ContextFull) => "a full context",
        Some(StopReason::Stopped) => "a stop by the user",
        None => "no summary",
    }
}

fn changes(out: &mut String, report: &Report, decisions: &Decisions) {
    line(out, "decisions at the prompt", &part(&decisions.prompt));
    line(out, "decisions at the answer", &part(&decisions.answer));
    let probabilities = match decisions.probability_difference {
        None => "not compared".to_owned(),
        Some(0.0) => "the same".to_owned(),
        Some(difference) => format!("at most {difference:.1e} apart"),
    };
    line(out, "routers' probabilities", &probabilities);
    if report.a.program != report.b.program {
        line(out, "prompt's program, A", &report.a.program.to_string());
        line(out, "prompt's program, B", &report.b.program.to_string());
    }
    let tokens = [decisions.prompt.tokens, decisions.answer.tokens];
    for layer in 0..report.a.layers {
        let at = [SequencePart::Prompt, SequencePart::Answer].map(|part| decisions.changed_at(part, layer));
        if at == [0, 0] {
            continue;
        }
        let of = |i: usize| format!("{} of {}", at[i], tokens[i]);
        let cells = || decisions.cells.iter().filter(|c| c.layer == layer);
        let text = format!("prompt {}, answer {}: {}", of(0), of(1), arrows(cells()));
        line(out, &format!("  layer {layer}"), &text);
    }
}

fn part(part: &PartChanges) -> String {
    let mut text = match part.changed {
        0 => format!("{} cells, none changed", part.cells),
        n => format!(
            "{n} of {} cells changed; {} with another program",
            part.cells,
            tokens(part.programs)
        ),
    };
    if part.changed == 0 && part.programs > 0 {
        let _ = write!(
            text,
            "; layers in another order, or damped otherwise, at {}",
            tokens(part.programs)
        );
    }
    if !part.kinds.is_empty() {
        let kind = |k: &ActionChange| format!("{} → {} {}", k.before, k.after, k.cells);
        let kinds: Vec<String> = part.kinds.iter().map(kind).collect();
        let _ = write!(text, ": {}", kinds.join(", "));
    }
    if part.settled_otherwise > 0 {
        let _ = write!(text, "; {} alike, settled by another", part.settled_otherwise);
    }
    if part.unmatched > 0 {
        let _ = write!(text, "; {} in one run only", tokens(part.unmatched));
    }
    text
}

fn tokens(n: usize) -> String {
    let ending = if n == 1 { "" } else { "s" };
    format!("{n} token{ending}")
}

/// The kinds of change among a layer's cells, in the order of their first cell.
fn arrows<'a>(cells: impl Iterator<Item = &'a ChangedCell>) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for cell in cells {
        let kind = format!("{} → {}", cell.before, cell.after);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.join(", ")
}

fn numbers(out: &mut String, a: &Run, b: &Run) {
    let mut row = |name: &str, a: String, b: String, change: String| {
        line(out, name, &format!("{a:>10} {b:>10} {change:>10}"));
    };
    row("", "A".into(), "B".into(), "B - A".into());
    let mut number = |name: &str, a: Option<f64>, b: Option<f64>, decimals: usize| {
        let show = |x: Option<f64>| x.map_or("-".to_owned(), |x| format!("{x:.decimals$}"));
        let change = a.zip(b).map(|(a, b)| b - a);
        let change = change.map_or(String::new(), |d| format!("{d:+.decimals$}"));
        row(name, show(a), show(b), change);
    };
    let count = |n: usize| Some(n as f64);
    number("tokens", count(a.totals.tokens), count(b.totals.tokens), 0);
    number("mean depth", Some(a.totals.mean_depth), Some(b.totals.mean_depth), 2);
    let shares = [a.totals.shares, b.totals.shares].map(|s| s.map(|x| Some(100.0 * x)));
    for (i, name) in ["skipped %", "executed %", "repeated %"].into_iter().enumerate() {
        number(name, shares[0][i], shares[1][i], 1);
    }
    number(
        "planned blocks, prompt",
        count(a.cost.prompt_blocks),
        count(b.cost.prompt_blocks),
        0,
    );
    number(
        "planned blocks, answer",
        count(a.cost.answer_blocks),
        count(b.cost.answer_blocks),
        0,
    );
    number("measured ms, prompt", Some(a.cost.prompt_ms), Some(b.cost.prompt_ms), 1);
    number("measured ms, answer", Some(a.cost.answer_ms), Some(b.cost.answer_ms), 1);
    number(
        "measured tokens/s",
        a.totals.tokens_per_second,
        b.totals.tokens_per_second,
        1,
    );
}
