//! A run as a document: the map of layers × tokens as a picture, a page, a table or text.

mod csv;
mod html;
mod json;
mod svg;
mod tape;
mod text;

use crate::program::Action;
use crate::text::counted;
use crate::trace::{BranchPoint, DecidedBy, Decision, Header, NEUTRAL_DIAL, Overrides, Trace};

/// How a run is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// A picture, light or dark as its reader likes it
    Svg,
    /// The tape as a moving picture: a line a token, as the answer came
    Tape,
    /// A page that stands alone and replays the run: tape and map, what every cell means, the answer
    Html,
    /// A row for each layer at each token
    Csv,
    /// One object
    Json,
    /// As the screen shows the map
    Text,
    /// What was overridden, as `--overrides` reads it
    Overrides,
}

impl ExportFormat {
    /// The format of files with this ending.
    pub fn of_extension(extension: &str) -> Option<ExportFormat> {
        match extension {
            "svg" => Some(ExportFormat::Svg),
            "html" | "htm" => Some(ExportFormat::Html),
            "csv" => Some(ExportFormat::Csv),
            "json" => Some(ExportFormat::Json),
            "txt" => Some(ExportFormat::Text),
            "overrides" => Some(ExportFormat::Overrides),
            _ => None,
        }
    }
}

/// The document; it ends with a newline. `title` is what the run is called, unescaped.
pub fn export(trace: &Trace, title: &str, format: ExportFormat) -> String {
    match format {
        ExportFormat::Svg => svg::document(trace, title),
        ExportFormat::Tape => tape::document(trace, title),
        ExportFormat::Html => html::document(trace, title),
        ExportFormat::Csv => csv::document(trace),
        ExportFormat::Json => json::document(trace, title),
        ExportFormat::Text => text::document(trace, title),
        ExportFormat::Overrides => overrides(&trace.header),
    }
}

/// What was overridden. Of a branch that is not all there was; what stands before it is not known here.
fn overrides(header: &Header) -> String {
    let items = Overrides::from(&header.settings);
    match header.branch {
        Some(BranchPoint { at, .. }) => format!("# a branch: before position {at} other settings held\n{items}"),
        None => items.to_string(),
    }
}

/// What was asked, in a few phrases; unescaped.
fn asked(header: &Header) -> Vec<String> {
    let settings = &header.settings;
    let routers = header.routers.as_ref().map_or("none", |r| &r.name);
    let mut phrases = vec![
        format!("model {}, {}", header.model.name, counted(header.model.layers, "layer")),
        format!("routers {routers}"),
    ];
    match &settings.program {
        Some(_) => phrases.push("a fixed program".to_owned()),
        None => phrases.push(format!("scope {}", settings.scope)),
    }
    phrases.push(format!("kv {}", settings.kv));
    phrases.extend(header.branch.map(|b| format!("a branch from position {}", b.at)));
    phrases.extend(settings.budget.map(|b| format!("budget {b}")));
    if settings.dial != NEUTRAL_DIAL {
        phrases.push(format!("dial {}", settings.dial));
    }
    phrases.extend(settings.pins.iter().map(|pin| format!("pin {pin}")));
    let experts = settings.excluded_experts.iter();
    phrases.extend(experts.map(|expert| format!("without expert {expert}")));
    phrases
}

/// What came of it, in a few phrases.
fn outcome(trace: &Trace) -> Vec<String> {
    let mut phrases = vec![
        format!(
            "{}, {}",
            counted(trace.header.prompt.len(), "prompt token"),
            counted(trace.steps.len(), "answer token")
        ),
        format!("mean depth {:.2} of {}", trace.mean_depth(), trace.layers()),
    ];
    let speed = trace.summary.as_ref().map(|s| s.decode_tokens_per_second);
    phrases.extend(speed.map(|s| format!("{s:.1} tokens/s")));
    phrases
}

/// The sign of a cell, as on the screen: a letter for a pin, a block with a corner missing where router and dial
/// would have done otherwise.
fn glyph(decision: &Decision) -> char {
    let at = |glyphs: [char; 3]| glyphs[decision.action.executions()];
    match decision.by {
        DecidedBy::Pin => at(['S', 'E', 'R']),
        _ if decision.disagrees() => at([':', '▙', '▛']),
        _ => at(['·', '▓', '█']),
    }
}

/// What is to be known of a cell, line by line; unescaped.
fn describe(decision: &Decision) -> Vec<String> {
    let mut lines = vec![format!("{}, settled by {}", past(decision.action), decision.by.name())];
    if let Some([skip, execute, repeat]) = decision.probs {
        lines.push(format!(
            "router: skip {skip:.3}, execute {execute:.3}, repeat {repeat:.3}"
        ));
    }
    if let Some(shadow) = decision.shadow.filter(|_| decision.disagrees()) {
        lines.push(format!("router and dial would {shadow} here"));
    }
    lines
}

fn past(action: Action) -> &'static str {
    match action {
        Action::Skip => "skipped",
        Action::Execute => "executed",
        Action::Repeat => "repeated",
    }
}

/// How far the bar of a depth hangs down, 0 to 1: as on the screen from a line at the model's layers to half of them, or
/// to none where a token ran fewer than that.
fn saved(trace: &Trace, depth: usize) -> f64 {
    let layers = trace.layers();
    let foot = foot(trace);
    layers.saturating_sub(depth) as f64 / (layers - foot).max(1) as f64
}

/// The depth at the foot of the axis.
fn foot(trace: &Trace) -> usize {
    let half = trace.layers() / 2;
    match depth_range(trace) {
        Some((low, _)) if low < half => 0,
        _ => half,
    }
}

/// Least and greatest depth of all tokens; `None` without tokens.
fn depth_range(trace: &Trace) -> Option<(usize, usize)> {
    let depths = || (0..trace.tokens()).filter_map(|t| trace.depth(t));
    depths().min().zip(depths().max())
}

#[cfg(test)]
mod tests;
