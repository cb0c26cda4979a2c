//! A table with a row for each layer at each token.

use std::fmt::Write;

use crate::text::{csv_field, escape_json_controls};
use crate::trace::Trace;

const HEADINGS: &str =
    "position,part,id,token,special,depth,layer,action,by,p_skip,p_execute,p_repeat,confidence,shadow\n";

/// Tokens are written as JSON strings: nothing is lost, and no spreadsheet takes one for a formula.
pub(super) fn document(trace: &Trace) -> String {
    let mut out = HEADINGS.to_owned();
    for position in 0..trace.tokens() {
        let Some((id, text, special)) = trace.token(position) else {
            continue;
        };
        let part = match position < trace.header.prompt.len() {
            true => "prompt",
            false => "answer",
        };
        let token = serde_json::Value::from(text).to_string();
        let token = csv_field(&escape_json_controls(&token));
        let depth = trace.depth(position).unwrap_or_default();
        for layer in 0..trace.layers() {
            let Some(decision) = trace.decision(layer, position) else {
                continue;
            };
            let probability = |i: usize| decision.probs.map_or(String::new(), |p| p[i].to_string());
            let confidence = decision.confidence().map_or(String::new(), |c| c.to_string());
            let _ = writeln!(
                out,
                "{position},{part},{id},{token},{special},{depth},{layer},{},{},{},{},{},{confidence},{}",
                decision.action,
                decision.by.name(),
                probability(0),
                probability(1),
                probability(2),
                decision.shadow.map_or("", |s| s.name()),
            );
        }
    }
    out
}
