//! A page that stands alone: no scripts, nothing fetched.

use std::fmt::Write;

use super::{asked, outcome, svg};
use crate::engine::Trace;
use crate::text::escape_markup;

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#fff;--text:#1f2328;--muted:#656d76;--line:#d0d7de}\
@media(prefers-color-scheme:dark){:root{--ground:#15171c;--text:#dadde4;--muted:#9298a5;--line:#474d5a}}\
body{margin:2rem;background:var(--ground);color:var(--text);font:15px/1.5 system-ui,sans-serif}\
p.muted,li{color:var(--muted)}pre{white-space:pre-wrap;border-left:3px solid var(--line);padding-left:1rem}\
.scroll{overflow-x:auto;border:1px solid var(--line)}";

/// Nothing runs and nothing is loaded, whatever the page's text says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

pub(super) fn document(trace: &Trace, title: &str) -> String {
    let name = escape_markup(title);
    let line = |phrases: Vec<String>| escape_markup(&phrases.join(" · "));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<h1>{name}</h1>\n<p class=\"muted\">{}<br>{}</p>\n",
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
        "<h2>Layers × tokens</h2>\n<div class=\"scroll\">\n{}</div>\n{LEGEND}</body>\n</html>\n",
        svg::drawing(trace, title)
    );
    out
}

const LEGEND: &str = "<ul>
<li>A column is a token, a row a layer, layer 0 at the bottom; the bars that hang above are the layers that each token saved. Hover over a cell \
for the router's probabilities and who settled it.</li>
<li>A hole with a dot is a layer that was skipped, a quiet field executed, a bright one executed twice. The stronger \
it is, the surer the router was.</li>
<li>A frame is a pin. A notch in the corner says that router and dial would do something else at this token.</li>
</ul>
";

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
