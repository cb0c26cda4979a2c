//! A page that stands alone: the run replayed as tape or map, with the keys of the explorer. Nothing is fetched, and no
//! script runs but the page's own.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{asked, outcome};
use crate::text::{escape_controls_multiline, escape_markup};
use crate::trace::{Candidate, DecidedBy, Decision, Loop, Trace};

const STYLE: &str = include_str!("replay/page.css");

const SCRIPT: &str = concat!(
    "\"use strict\";\n{\n",
    include_str!("replay/run.js"),
    include_str!("replay/draw.js"),
    include_str!("replay/tell.js"),
    include_str!("replay/play.js"),
    "}\n"
);

/// What the script fills: hidden until it runs.
const REPLAY: &str = include_str!("replay/replay.html");
/// What the cells mean, and the keys.
const HELP: &str = include_str!("replay/help.html");

/// The run as the script reads it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    layers: usize,
    #[serde(rename = "loop")]
    looped: Option<Loop>,
    /// Who decides, by the digit that stands for it in [`Decisions::by`].
    deciders: [&'static str; DecidedBy::ALL.len()],
    prompt: Prompt,
    tokens: Vec<Token>,
    /// Whether there are next tokens anywhere.
    has_next: bool,
}

/// The prompt's tokens share a program and its decisions.
#[derive(Serialize)]
struct Prompt {
    program: String,
    decisions: Decisions,
    tokens: Vec<PromptToken>,
    next: Vec<Next>,
}

#[derive(Serialize)]
struct PromptToken {
    id: u32,
    text: String,
    special: bool,
    depth: usize,
    /// Layer and executions, where a pin of this token differs from the prompt's program.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pinned: Vec<(usize, usize)>,
}

/// A token of the answer.
#[derive(Serialize)]
struct Token {
    id: u32,
    text: String,
    special: bool,
    program: String,
    decisions: Decisions,
    depth: usize,
    ms: f64,
    next: Vec<Next>,
}

/// Text and probability of a token that may come next.
#[derive(Serialize)]
struct Next(String, f64);

/// One a layer.
#[derive(Serialize)]
struct Decisions {
    /// How often each layer ran, a digit a layer.
    actions: String,
    /// Who decided, a digit a layer.
    by: String,
    /// What router and dial would do, as `actions`; `-` where they were not asked.
    shadow: String,
    /// Skip, execute, repeat in thousandths; none where no router was asked.
    probabilities: Vec<Option<[u32; 3]>>,
}

impl Decisions {
    fn new(decisions: &[Decision]) -> Decisions {
        let by = |d: &Decision| DecidedBy::ALL.iter().position(|by| *by == d.by).unwrap_or_default();
        let shadow = |d: &Decision| d.shadow.map_or("-".to_owned(), |s| s.executions().to_string());
        let thousandths = |p: f32| (p * 1e3).round() as u32;
        Decisions {
            actions: decisions.iter().map(|d| d.action.executions().to_string()).collect(),
            by: decisions.iter().map(|d| by(d).to_string()).collect(),
            shadow: decisions.iter().map(shadow).collect(),
            probabilities: decisions.iter().map(|d| d.probs.map(|p| p.map(thousandths))).collect(),
        }
    }
}

pub(super) fn document(trace: &Trace, title: &str) -> String {
    let name = escape_markup(title);
    let line = |phrases: Vec<String>| escape_markup(&phrases.join(" · "));
    // Whatever the texts say, only this script and this style hold, and nothing is loaded.
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let (script, style) = (hash(SCRIPT), hash(STYLE));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    );
    let prompt = trace.header.prompt.len();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{name}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n<p class=\"muted\">{}<br>{}</p>\n{}{HELP}\
         <details>\n<summary>Prompt: {prompt} tokens</summary>\n<pre id=\"prompt\">{}</pre>\n</details>\n{}{}\
         <script type=\"application/json\" id=\"run\">{}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        line(asked(&trace.header)),
        line(outcome(trace)),
        REPLAY.replace("{answer}", &text(trace, prompt..trace.tokens())),
        text(trace, 0..prompt),
        candidates(trace),
        settings(trace),
        data(trace)
    )
}

/// JSON that no text can end: `<` is written as an escape.
fn data(trace: &Trace) -> String {
    let header = &trace.header;
    let tokens = trace.steps.iter().map(|step| Token {
        id: step.id,
        text: told(&step.text, &step.bytes),
        special: step.special,
        program: step.program.to_string(),
        decisions: Decisions::new(&step.decisions),
        depth: step.depth,
        ms: rounded(step.ms),
        next: next(&step.next),
    });
    let prompt = header.prompt.iter().enumerate().map(|(position, token)| PromptToken {
        id: token.id,
        text: told(&token.text, &token.bytes),
        special: token.special,
        depth: header.depth(position).unwrap_or_default(),
        pinned: token
            .pinned
            .iter()
            .map(|&(layer, action)| (layer, action.executions()))
            .collect(),
    });
    let run = Run {
        layers: trace.layers(),
        looped: header.model.looped,
        deciders: DecidedBy::ALL.map(DecidedBy::name),
        prompt: Prompt {
            program: header.program.to_string(),
            decisions: Decisions::new(&header.decisions),
            tokens: prompt.collect(),
            next: next(&header.next),
        },
        tokens: tokens.collect(),
        has_next: !header.next.is_empty() || trace.steps.iter().any(|step| !step.next.is_empty()),
    };
    let json = serde_json::to_string(&run).expect("the run has string keys only");
    json.replace('<', "\\u003c")
}

/// A token's text, or its bytes where they are a part of a character.
fn told(text: &str, bytes: &[u8]) -> String {
    match !bytes.is_empty() && (text.is_empty() || text.contains('\u{fffd}')) {
        true => crate::text::bytes_in_words(bytes),
        false => escape_controls_multiline(text),
    }
}

fn next(candidates: &[Candidate]) -> Vec<Next> {
    let named = |c: &Candidate| {
        Next(
            escape_controls_multiline(&c.text),
            (f64::from(c.probability) * 1e4).round() / 1e4,
        )
    };
    candidates.iter().map(named).collect()
}

/// To two places.
fn rounded(x: f64) -> f64 {
    (x * 1e2).round() / 1e2
}

/// The tokens of a part, each with its position, id and depth as a title. Line breaks stay.
fn text(trace: &Trace, positions: std::ops::Range<usize>) -> String {
    let token = |position: usize| {
        let (id, text, special) = trace.token(position)?;
        let depth = trace.depth(position)?;
        let lines: Vec<String> = text.split('\n').map(escape_markup).collect();
        let class = if special { "class=\"special\" " } else { "" };
        Some(format!(
            "<span {class}title=\"position {position}, id {id}, depth {depth}\">{}</span>",
            lines.join("\n")
        ))
    };
    positions.filter_map(token).collect()
}

/// The programs that a predictor proposed.
fn candidates(trace: &Trace) -> String {
    let header = &trace.header;
    if header.candidates.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<details open>\n<summary>Programs that the predictor proposed: {}</summary>\n<table id=\"candidates\">\n\
         <tr><th scope=\"col\">score<th scope=\"col\">depth<th scope=\"col\">program<th scope=\"col\"></tr>\n",
        header.candidates.len()
    );
    for candidate in &header.candidates {
        let ran = if candidate.program == header.program { "ran" } else { "" };
        let _ = writeln!(
            out,
            "<tr><td class=\"number\">{:.2}<td class=\"number\">{}<td>{}<td>{ran}</tr>",
            candidate.score,
            candidate.program.depth(),
            escape_markup(&candidate.program.to_string())
        );
    }
    out + "</table>\n</details>\n"
}

/// Everything that was asked, a row a field, as a trace has it.
fn settings(trace: &Trace) -> String {
    let header = &trace.header;
    let groups = serde_json::json!({
        "": {"version": header.version, "device": header.device, "prefill ms": rounded(header.prefill_ms),
             "branch": header.branch, "budget exact": header.budget_exact},
        "model": header.model,
        "routers": header.routers,
        "settings": header.settings,
        "summary": trace.summary,
    });
    let mut out = "<details>\n<summary>Settings and model</summary>\n<table id=\"settings\">\n".to_owned();
    for (group, fields) in groups.as_object().into_iter().flatten() {
        for (name, value) in fields.as_object().into_iter().flatten() {
            let value = match value {
                Value::Null => continue,
                Value::Array(items) if items.is_empty() => continue,
                // A table of some hundred numbers; the trace has it.
                Value::Object(_) if name == "calibration" => continue,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let name = format!("{group} {}", name.replace('_', " "));
            let (name, value) = (escape_markup(name.trim()), escape_markup(&value));
            let _ = writeln!(out, "<tr><th scope=\"row\">{name}<td>{value}</tr>");
        }
    }
    out + "</table>\n</details>\n"
}
