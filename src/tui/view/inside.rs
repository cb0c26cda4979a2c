//! Inside one token: a row for each stage, the embedding at the bottom as in the map.
//!
//! ```text
//!  next " blue" 0.62  " clear" 0.11                        entropy 1.31 nats
//!  layer    it would say   p       entropy        KL to end      turned        moved
//!   29 █    " blue"       0.62 =  ██▏    1.31               ▏    0.021         0.31
//!   28 ·    (" sky")      0.40    ███    2.02    █▌    0.51 ▎    0.040         0.42
//!   embed   "the"         0.11    …
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::inside::{InsideDialog, PendingQuestion};
use super::super::layout::inner;
use super::super::theme::Role;
use super::super::widgets::bar;
use super::super::widgets::flow::{fit, flow};
use super::map::quoted;
use super::{cell, pane, put};
use crate::engine::{Candidate, ExpertUse, Inspection, Stage};
use crate::program::Action;

/// Columns: layer and action, what the lens says, its probability.
const LAYER: usize = 8;
const SAYS: usize = 13;
const P: usize = 8;
/// A bar and its number; the last column is a number alone.
const BAR: usize = 6;
const NUMBER: usize = 7;
const LAST: usize = 5;
/// Columns of a further candidate.
const MORE: usize = SAYS + 7;

/// Rows above and below the table.
const HEAD: u16 = 3;
const FOOT: u16 = 3;

type Piece = (String, Style);

pub(super) fn draw(app: &App, dialog: &InsideDialog, body: Rect, buffer: &mut Buffer) {
    let token = app.shown.as_ref().and_then(|run| run.token(dialog.position));
    let token = token.map_or(String::new(), |(text, _)| quoted(text));
    let title = format!("Inside token {} {token}", dialog.position);
    pane::dialog(app, body, &title, &closes(app), buffer);
    let area = inner(body);
    match &dialog.inspection {
        PendingQuestion::Waiting(_) => {
            put(buffer, area, 0, 0, "looking inside…", app.theme.style(Role::Muted));
        }
        PendingQuestion::Refused(why) => refused(app, why, area, buffer),
        PendingQuestion::Here(inspection) => table(app, inspection, area, buffer),
    }
}

/// `Esc closes`, with the key as it is.
pub(super) fn closes(app: &App) -> String {
    let keys = app.keymap.keys_for(UiAction::Close, "overlay");
    keys.first().map_or(String::new(), |key| format!("{key} closes"))
}

/// Why there is no answer, on as many lines as it takes.
pub(super) fn refused(app: &App, why: &str, area: Rect, buffer: &mut Buffer) {
    let text = format!("✗ {why}");
    for (y, line) in (0..area.height).zip(flow([(0, text.as_str())].into_iter(), area.width, None)) {
        let text: String = line.iter().map(|g| g.text.as_ref()).collect();
        put(buffer, area, 0, y, &text, app.theme.style(Role::Error));
    }
}

/// `" blue" 0.62`
pub(super) fn named(candidate: &Candidate) -> String {
    format!("{} {:.2}", quoted(&candidate.text), candidate.probability)
}

fn table(app: &App, inspection: &Inspection, area: Rect, buffer: &mut Buffer) {
    let style = |role| app.theme.style(role);
    let next: Vec<String> = inspection.next.top.iter().map(named).collect();
    let x = put(buffer, area, 0, 0, "next ", style(Role::Muted));
    let entropy = format!("  entropy {:.2} nats", inspection.next.entropy);
    let room = area.width.saturating_sub(x + entropy.len() as u16);
    let line = Rect { width: room, ..area };
    let shown = Rect { x: area.x + x, ..line };
    put(buffer, shown, 0, 0, &next.join("  "), style(Role::Text));
    put(buffer, area, x + room, 0, &entropy, style(Role::Muted));
    let more = usize::from(area.width).saturating_sub(LAYER + SAYS + P + 3 * (BAR + NUMBER + 1) + LAST) / MORE;
    let has_experts = inspection.stages.iter().any(|stage| stage.experts.is_some());
    // What experts do takes a longer sentence.
    let foot = if has_experts { FOOT + 2 } else { FOOT };
    draw_row(&heading(app, more, has_experts), area, 1, buffer);
    let table = Rect {
        y: area.y + HEAD - 1,
        height: area.height.saturating_sub(HEAD - 1 + foot),
        ..area
    };
    let scales = Scales::new(inspection);
    let rows: Vec<&Stage> = inspection.stages.iter().rev().collect();
    let here = |stage: &&&Stage| stage.block.is_some_and(|(layer, _)| layer == app.cursor.layer);
    let at = rows.iter().position(|s| here(&s)).unwrap_or(0);
    let height = usize::from(table.height).max(1);
    let top = at.saturating_sub(height / 2).min(rows.len().saturating_sub(height));
    let final_id = inspection.next.top.first().map(|c| c.id);
    for (y, stage) in (0..table.height).zip(rows.iter().skip(top)) {
        let mut row = row(app, stage, &scales, final_id, if has_experts { 0 } else { more });
        if let Some(experts) = &stage.experts {
            row.push((
                format!("  {}", chosen(experts, before(app, inspection, stage))),
                style(Role::Muted),
            ));
        }
        draw_row(&row, table, y, buffer);
        if here(&stage) {
            let line = Rect {
                y: table.y + y,
                height: 1,
                ..table
            };
            buffer.set_style(line.intersection(buffer.area), style(Role::Selection));
        }
    }
    let foot = Rect {
        y: table.bottom() + 1,
        height: foot - 1,
        ..area
    };
    let text = match rows.get(at) {
        Some(stage) => in_words(app, stage),
        None => String::new(),
    };
    for (y, line) in (0..foot.height).zip(flow([(0, text.as_str())].into_iter(), foot.width, None)) {
        let text: String = line.iter().map(|g| g.text.as_ref()).collect();
        put(buffer, foot.intersection(area), 0, y, &text, style(Role::Muted));
    }
}

fn draw_row(pieces: &[Piece], area: Rect, y: u16, buffer: &mut Buffer) {
    let mut x = 0;
    for (text, style) in pieces {
        x += put(buffer, area, x, y, text, *style);
    }
}

/// What the same layer did in the iteration before.
fn before<'i>(app: &App, inspection: &'i Inspection, stage: &Stage) -> Option<&'i ExpertUse> {
    let looped = app.shown.as_ref()?.looped()?;
    let (layer, _) = stage.block?;
    let (_, Some(2..)) = looped.execution(layer) else {
        return None;
    };
    let earlier = |s: &&Stage| s.block == Some((layer - looped.layers, 0));
    inspection.stages.iter().find(earlier)?.experts.as_ref()
}

/// `3 17 5 9  J .33`: the experts, and how many they share with those of the iteration before.
fn chosen(experts: &ExpertUse, before: Option<&ExpertUse>) -> String {
    if experts.experts.is_empty() {
        return "dense".to_owned();
    }
    let names: Vec<String> = experts
        .experts
        .iter()
        .map(|(expert, _)| format!("{expert:>2}"))
        .collect();
    let shared = before.and_then(|before| experts.jaccard(before));
    let shared = shared.map_or(String::new(), |j| format!("  J {j:.2}"));
    names.join(" ") + &shared
}

fn heading(app: &App, more: usize, has_experts: bool) -> Vec<Piece> {
    let mut text = format!("{:<LAYER$}{:<SAYS$}{:<P$}", "layer", "would say", "p");
    for (name, width) in [
        ("entropy", BAR + NUMBER + 1),
        ("KL to end", BAR + NUMBER + 1),
        ("turned", BAR + NUMBER + 1),
        ("moved", LAST),
    ] {
        text += &format!("{name:<width$}");
    }
    match (has_experts, more) {
        (true, _) => text += "  experts, J with the iteration before",
        (false, 0) => {}
        (false, _) => text += "  or",
    }
    vec![(text, app.theme.style(Role::Muted))]
}

/// What fills a bar.
struct Scales {
    entropy: f32,
    kl: f32,
    turn: f32,
}

impl Scales {
    fn new(inspection: &Inspection) -> Scales {
        let greatest = |of: &dyn Fn(&Stage) -> f32| inspection.stages.iter().map(of).fold(f32::MIN_POSITIVE, f32::max);
        Scales {
            entropy: greatest(&|s| s.lens.entropy),
            kl: greatest(&|s| s.kl),
            turn: greatest(&|s| s.moved.map_or(0.0, |m| m.turn)),
        }
    }
}

fn row(app: &App, stage: &Stage, scales: &Scales, final_id: Option<u32>, more: usize) -> Vec<Piece> {
    let style = |role| app.theme.style(role);
    let text = match stage.carried_out {
        true => style(Role::Text),
        false => style(Role::Muted),
    };
    let mut pieces = name(app, stage);
    let first = stage.lens.top.first();
    let says = first.map_or(String::new(), |c| quoted(&c.text));
    let says = if stage.carried_out { says } else { format!("({says})") };
    pieces.push((pad(&says, SAYS), text));
    let agrees = first.is_some_and(|c| Some(c.id) == final_id);
    let p = first.map_or(0.0, |c| c.probability);
    pieces.push((
        format!("{p:<5.2}{:<w$}", if agrees { "=" } else { "" }, w = P - 5),
        text,
    ));
    let mut gauge = |value: f32, scale: f32, precision: usize| {
        let fill = bar::horizontal(f64::from(value / scale), BAR);
        pieces.push((fill, style(Role::Gauge)));
        pieces.push((format!(" {value:<NUMBER$.precision$}"), text));
    };
    gauge(stage.lens.entropy, scales.entropy, 2);
    gauge(stage.kl, scales.kl, 3);
    match stage.moved {
        Some(moved) => {
            gauge(moved.turn, scales.turn, 3);
            pieces.push((format!("{:<LAST$.2}", moved.step), text));
        }
        None => pieces.push((" ".repeat(BAR + 1 + NUMBER + LAST), text)),
    }
    for candidate in stage.lens.top.iter().skip(1).take(more) {
        let candidate = format!("  {}", pad(&named(candidate), MORE - 2));
        pieces.push((candidate, style(Role::Muted)));
    }
    pieces
}

/// ` 12 ▓ `, ` 12 █ 2` for a second execution, `embed`.
fn name(app: &App, stage: &Stage) -> Vec<Piece> {
    let Some((layer, n)) = stage.block else {
        return vec![(format!("{:<LAYER$}", " embed"), app.theme.style(Role::Text))];
    };
    let action = match (stage.carried_out, n) {
        (false, _) => Action::Skip,
        (true, 0) => Action::Execute,
        (true, _) => Action::Repeat,
    };
    let again = if n > 0 { format!("×{}", n + 1) } else { String::new() };
    vec![
        (format!("{layer:>3} "), app.theme.style(Role::Text)),
        (
            cell::glyph(action).to_string(),
            app.theme.confidence(cell::role(action), 1.0),
        ),
        (format!("{again:<w$}", w = LAYER - 5), app.theme.style(Role::Text)),
    ]
}

/// `text` in exactly `width` columns, the last one blank.
fn pad(text: &str, width: usize) -> String {
    let text = fit(text, width.saturating_sub(1));
    let used = ratatui::text::Line::raw(text.as_str()).width();
    text + &" ".repeat(width.saturating_sub(used))
}

/// The selected stage in a sentence.
fn in_words(app: &App, stage: &Stage) -> String {
    let says = stage.lens.top.first().map_or(String::new(), |c| quoted(&c.text));
    let (Some((layer, n)), Some(moved)) = (stage.block, stage.moved) else {
        return format!("The embedding alone would say {says}.");
    };
    let lengths = format!(
        "the state by {:.2} of its length and turn it by {:.3} (1 − cosine)",
        moved.step, moved.turn
    );
    let layer = match &app.shown {
        Some(run) => run.layer_name(layer),
        None => format!("Layer {layer}"),
    };
    let experts = stage.experts.as_ref().map_or(String::new(), modulated);
    match (stage.carried_out, n) {
        (false, _) => format!(
            "{experts}{layer} was skipped. Run here, it would move {lengths}; stopped after it, the token would say {says}."
        ),
        (true, 0) => format!("{experts}{layer} did move {lengths}; stopped after it, the token would say {says}."),
        (true, n) => {
            let since = stage.since.map_or(String::new(), |since| {
                format!(
                    " From the execution before: KL {:.3} nats, cosine {:.3}.",
                    since.kl, since.cosine
                )
            });
            format!(
                "{experts}Execution {} of {layer} moved {lengths}; stopped after it, the token would say {says}.{since}",
                n + 1
            )
        }
    }
}

/// `Experts 3 (0.31) 17 (0.27); attention α 0.82 γ 0.31 β 0.05; experts γ 0.20 β 0.03. `
fn modulated(experts: &ExpertUse) -> String {
    let mut parts = Vec::new();
    if !experts.experts.is_empty() {
        let names: Vec<String> = experts
            .experts
            .iter()
            .map(|(e, weight)| format!("{e} ({weight:.2})"))
            .collect();
        parts.push(format!("Experts {}", names.join(" ")));
    }
    for (name, size) in [("attention", &experts.attention), ("experts", &experts.feed_forward)] {
        if let Some(size) = size {
            let alpha = size.alpha.map_or(String::new(), |alpha| format!("α {alpha:.2} "));
            parts.push(format!("{name} {alpha}γ {:.2} β {:.2}", size.gamma, size.beta));
        }
    }
    match parts.is_empty() {
        true => String::new(),
        false => parts.join("; ") + ". ",
    }
}
