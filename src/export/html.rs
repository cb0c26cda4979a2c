//! A page that stands alone: the run replayed as a tape, its texts, the map. Nothing is fetched, and no script runs but
//! the page's own.

use std::fmt::Write;

use serde::Serialize;

use super::{asked, outcome, svg};
use crate::engine::Trace;
use crate::text::{escape_controls_multiline, escape_markup};

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#fff;--text:#1f2328;--muted:#656d76;--line:#d0d7de;--skip:#3b6fc4;\
--execute:#b4bbc4;--repeat:#c05600;--pin:#b3126f;--cursor:#eaeef2}\
@media(prefers-color-scheme:dark){:root{--ground:#15171c;--text:#dadde4;--muted:#9298a5;--line:#474d5a;--skip:#80b4ff;\
--execute:#596273;--repeat:#ffb454;--pin:#ff7fc8;--cursor:#262b35}}\
body{margin:2rem auto;padding:0 1rem;max-width:90rem;background:var(--ground);color:var(--text);\
font:15px/1.5 system-ui,sans-serif}\
p.muted,li{color:var(--muted)}pre{white-space:pre-wrap;border-left:3px solid var(--line);padding-left:1rem}\
.scroll{overflow-x:auto;border:1px solid var(--line)}\
#tape{display:block;width:100%;height:min(36rem,70vh);border:1px solid var(--line);border-radius:6px}\
button{font:inherit;padding:.1rem .7rem}#detail{min-height:3em}kbd{border:1px solid var(--line);border-radius:3px;\
padding:0 .3em;font:13px ui-monospace,monospace}";

/// What makes the tape move; [`SCRIPT_HASH`] is its SHA-256 as a page's policy writes it, base64.
const SCRIPT: &str = include_str!("replay.js");
const SCRIPT_HASH: &str = "90xvtZDbLkLOOaH4LDwPWUYy+SCcpMSjI9755eHLe3M=";

/// The run as the script reads it.
#[derive(Serialize)]
struct Run<'a> {
    layers: usize,
    tokens: Vec<Token<'a>>,
}

/// A token of the answer.
#[derive(Serialize)]
struct Token<'a> {
    text: String,
    depth: usize,
    ms: f64,
    /// How often each layer ran, a digit a layer.
    actions: String,
    by: Vec<&'a str>,
    /// Skip, execute, repeat, as decimals of three places; none where no router was asked.
    probabilities: Vec<Option<[String; 3]>>,
}

pub(super) fn document(trace: &Trace, title: &str) -> String {
    let name = escape_markup(title);
    let line = |phrases: Vec<String>| escape_markup(&phrases.join(" · "));
    // Whatever the texts say, only this script runs and nothing is loaded.
    let policy = format!("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{SCRIPT_HASH}'");
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<h1>{name}</h1>\n<p class=\"muted\">{}<br>{}</p>\n{REPLAY}",
        line(asked(&trace.header)),
        line(outcome(trace))
    );
    let texts = [
        ("Prompt", text(trace, 0..trace.header.prompt.len())),
        ("Answer", text(trace, trace.header.prompt.len()..trace.tokens())),
    ];
    for (heading, text) in texts {
        let _ = writeln!(out, "<h2>{heading}</h2>\n<pre>{text}</pre>");
    }
    let _ = write!(
        out,
        "<h2>Layers × tokens</h2>\n<div class=\"scroll\">\n{}</div>\n{LEGEND}\
         <script type=\"application/json\" id=\"run\">{}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        svg::drawing(trace, title),
        data(trace)
    );
    out
}

/// Shown by the script: without it the page has no use for these keys.
const REPLAY: &str = "<div id=\"replay\" hidden>
<h2>Tokens × layers</h2>
<canvas id=\"tape\" role=\"img\" aria-label=\"A line a token: its layers from left to right, its depth, the layers it saved\" \
aria-describedby=\"detail\"></canvas>
<p id=\"detail\"></p>
<p class=\"muted\"><button data-key=\" \">play, pause</button> <button data-key=\",\">a token back</button> \
<button data-key=\".\">a token on</button> <button data-key=\"&lt;\">slower</button> \
<button data-key=\"&gt;\">faster</button> <span id=\"status\"></span></p>
<p class=\"muted\"><kbd>Space</kbd> play, pause · <kbd>.</kbd> <kbd>,</kbd> a token on, back · <kbd>&gt;</kbd> \
<kbd>&lt;</kbd> faster, slower · <kbd>↑</kbd> <kbd>↓</kbd> <kbd>←</kbd> <kbd>→</kbd> select a token and a layer · \
<kbd>Home</kbd> <kbd>End</kbd> first, last token · <kbd>f</kbd> follow the newest</p>
</div>
";

const LEGEND: &str = "<ul>
<li>A column is a token, a row a layer, layer 0 at the bottom; the bars that hang above are the layers that each token saved. Hover over a cell \
for the router's probabilities and who settled it.</li>
<li>A hole with a dot is a layer that was skipped, a quiet field executed, a bright one executed twice. The stronger \
it is, the surer the router was.</li>
<li>A frame is a pin. A notch in the corner says that router and dial would do something else at this token.</li>
</ul>
";

/// JSON that no text can end: `<` is written as an escape.
fn data(trace: &Trace) -> String {
    let answer = trace.header.prompt.len()..trace.tokens();
    let token = |position: usize| {
        let (_, text, _) = trace.token(position)?;
        let decisions = || (0..trace.layers()).filter_map(|layer| trace.decision(layer, position));
        Some(Token {
            text: escape_controls_multiline(text),
            depth: trace.depth(position)?,
            ms: trace.step(position)?.ms,
            actions: decisions().map(|d| d.action.executions().to_string()).collect(),
            by: decisions().map(|d| d.by.name()).collect(),
            probabilities: decisions()
                .map(|d| d.probs.map(|p| p.map(|p| format!("{p:.3}"))))
                .collect(),
        })
    };
    let run = Run {
        layers: trace.layers(),
        tokens: answer.filter_map(token).collect(),
    };
    let json = serde_json::to_string(&run).expect("the run has string keys only");
    json.replace('<', "\\u003c")
}

/// The tokens of a part, each with its position and depth as a title. Line breaks stay.
fn text(trace: &Trace, positions: std::ops::Range<usize>) -> String {
    let token = |position: usize| {
        let (id, text, _) = trace.token(position)?;
        let depth = trace.depth(position)?;
        let lines: Vec<String> = text.split('\n').map(escape_markup).collect();
        let text = lines.join("\n");
        Some(format!(
            "<span title=\"token {position}, id {id}, depth {depth}\">{text}</span>"
        ))
    };
    positions.filter_map(token).collect()
}
