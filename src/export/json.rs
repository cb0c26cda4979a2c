//! One object: what was asked, every token with its decisions, what came of it.

use serde::Serialize;

use crate::program::{Action, Damping, Program};
use crate::text::escape_json_controls;
use crate::trace::{BranchPoint, Decision, ModelInfo, RouterInfo, SCHEMA, Settings, Summary, Trace};

#[derive(Serialize)]
struct Document<'a> {
    /// Of the records inside, which are those of a trace.
    schema: u32,
    version: &'a str,
    title: &'a str,
    model: &'a ModelInfo,
    device: &'a str,
    routers: Option<&'a RouterInfo>,
    settings: &'a Settings,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<BranchPoint>,
    budget_exact: Option<bool>,
    prefill_ms: f64,
    tokens: Vec<Token<'a>>,
    summary: Option<&'a Summary>,
}

#[derive(Serialize)]
struct Token<'a> {
    position: usize,
    part: &'static str,
    id: u32,
    text: &'a str,
    special: bool,
    program: Program,
    depth: usize,
    /// Of an answer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<f64>,
    decisions: Vec<Decision>,
}

pub(super) fn document(trace: &Trace, title: &str) -> String {
    let header = &trace.header;
    let document = Document {
        schema: SCHEMA,
        version: &header.version,
        title,
        model: &header.model,
        device: &header.device,
        routers: header.routers.as_ref(),
        settings: &header.settings,
        branch: header.branch,
        budget_exact: header.budget_exact,
        prefill_ms: header.prefill_ms,
        tokens: (0..trace.tokens()).filter_map(|t| token(trace, t)).collect(),
        summary: trace.summary.as_ref(),
    };
    let json = serde_json::to_string(&document).expect("the document has string keys only");
    escape_json_controls(&json) + "\n"
}

fn token(trace: &Trace, position: usize) -> Option<Token<'_>> {
    let (id, text, special) = trace.token(position)?;
    let decisions: Vec<Decision> = (0..trace.layers())
        .filter_map(|l| trace.decision(l, position))
        .collect();
    let step = trace.step(position);
    let program = match (step, trace.header.prompt.get(position)) {
        (Some(step), _) => step.program.clone(),
        (None, Some(token)) if token.pinned.is_empty() => trace.header.program.clone(),
        _ => {
            let actions: Vec<Action> = decisions.iter().map(|d| d.action).collect();
            // The tokens of a prompt share their dampings.
            let shared = trace.header.program.to_damped_actions(trace.layers());
            let damping = |layer: usize| shared.as_ref().map_or(Damping::NONE, |(_, dampings)| dampings[layer]);
            Program::from_damped_actions(&actions, damping)
        }
    };
    Some(Token {
        position,
        part: if step.is_some() { "answer" } else { "prompt" },
        id,
        text,
        special,
        program,
        depth: trace.depth(position)?,
        ms: step.map(|s| s.ms),
        decisions,
    })
}
