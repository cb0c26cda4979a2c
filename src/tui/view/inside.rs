//! Inside one token: a row for each stage, the embedding at the bottom as in the map.
//!
//! ```text
//!  next " blue" 0.62  " clear" 0.11                        entropy 1.31 nats
//!  layer    it would say   p       entropy        KL to end      turned        moved
//!   29 █    " blue"       0.62 =  ██▏    1.31               ▏    0.021         0.31
//!   28 ·    (" sky")      0.40    ███    2.02    █▌    0.51 ▎    0.040         0.42
//!   embed   "the"         0.11    …
//!  " blue" ▁▁▁▂▃▅█  0.00 → 0.62, rank 512 → 1, the likeliest from layer 21 on
//! ```
//!
//! A token that is followed has a column of its own: its probability and its rank at each stage.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
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
use crate::engine::{ExpertUse, Followed, Inspection, Stage, Standing};
use crate::program::Action;
use crate::trace::{Candidate, ExcludedExpert};

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

/// Columns of the token that is followed: a bar, its probability, its rank.
const FOLLOW: usize = BAR + 7 + 6;
/// Between it and how far the state moved.
const GAP: &str = "  ";
/// Columns of the experts of a looped model.
const EXPERTS: usize = 26;

/// Rows above and below the table.
const HEAD: u16 = 3;
const FOOT: u16 = 3;

type Piece = (String, Style);

/// Draws the dialog; where the cursor of what is typed is.
pub(in crate::tui) fn draw(app: &App, dialog: &InsideDialog, body: Rect, buffer: &mut Buffer) -> Option<Position> {
    let inside = app
        .shown
        .as_ref()
        .and_then(|run| Some((run.place(dialog.position), run.token(dialog.position)?.0)));
    let title = inside.map_or("Inside a token".to_owned(), |(place, text)| {
        format!("Inside {place} {}", quoted(text))
    });
    pane::dialog(app, body, &title, &closes(app), buffer);
    let area = inner(body);
    match &dialog.inspection {
        PendingQuestion::Waiting(_) => {
            put(buffer, area, 0, 0, "looking inside…", app.ui.theme.style(Role::Muted));
        }
        PendingQuestion::Refused(why) => refused(app, why, area, buffer),
        PendingQuestion::Here(inspection) => table(app, inspection, dialog.followed(), area, buffer),
    }
    let edit = dialog.edit.as_ref()?;
    let line = Rect { height: 1, ..area };
    let name = "follow the next token, with its space before it: ";
    buffer.set_style(line.intersection(buffer.area), Style::reset());
    put(buffer, line, 0, 0, &" ".repeat(usize::from(line.width)), Style::new());
    let x = put(buffer, line, 0, 0, name, app.ui.theme.style(Role::Muted));
    let typed = Rect {
        x: line.x + x,
        width: line.width.saturating_sub(x),
        ..line
    };
    Some(super::line::draw(app, edit, typed, buffer))
}

/// `Esc closes`, with the key as it is.
pub(super) fn closes(app: &App) -> String {
    let keys = app.ui.keymap.keys_for(UiAction::Close, "overlay");
    keys.first().map_or(String::new(), |key| format!("{key} closes"))
}

/// Why there is no answer, on as many lines as it takes.
pub(super) fn refused(app: &App, why: &str, area: Rect, buffer: &mut Buffer) {
    let text = format!("✗ {why}");
    for (y, line) in (0..area.height).zip(flow([(0, text.as_str())].into_iter(), area.width, None)) {
        let text: String = line.iter().map(|g| g.text.as_ref()).collect();
        put(buffer, area, 0, y, &text, app.ui.theme.style(Role::Error));
    }
}

/// `" blue" 0.62`
pub(super) fn named(candidate: &Candidate) -> String {
    format!("{} {:.2}", quoted(&candidate.text), candidate.probability)
}

fn table(app: &App, inspection: &Inspection, followed: Option<&Followed>, area: Rect, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let next: Vec<String> = inspection.next.top.iter().map(named).collect();
    let x = put(buffer, area, 0, 0, "next ", style(Role::Muted));
    let entropy = format!("  entropy {:.2} nats", inspection.next.entropy);
    let room = area.width.saturating_sub(x + entropy.len() as u16);
    let line = Rect { width: room, ..area };
    let shown = Rect { x: area.x + x, ..line };
    put(buffer, shown, 0, 0, &next.join("  "), style(Role::Text));
    put(buffer, area, x + room, 0, &entropy, style(Role::Muted));
    let has_experts = inspection.stages.iter().any(|stage| stage.experts.is_some());
    let columns = Columns::new(usize::from(area.width), followed.is_some(), has_experts);
    // What experts do takes a longer sentence.
    let course = followed.map_or(String::new(), |followed| course(inspection, followed));
    let course: Vec<String> = match followed {
        Some(_) => flow([(0, course.as_str())].into_iter(), area.width, None)
            .iter()
            .map(|line| line.iter().map(|g| g.text.as_ref()).collect())
            .collect(),
        None => Vec::new(),
    };
    let foot = if has_experts { FOOT + 2 } else { FOOT } + course.len() as u16;
    draw_row(&heading(app, &columns, followed), area, 1, buffer);
    let table = Rect {
        y: area.y + HEAD - 1,
        height: area.height.saturating_sub(HEAD - 1 + foot),
        ..area
    };
    let scales = Scales::new(inspection);
    let rows: Vec<(usize, &Stage)> = inspection.stages.iter().enumerate().rev().collect();
    let here = |stage: &Stage| stage.block.is_some_and(|(layer, _)| layer == app.ui.cursor.layer);
    let at = rows.iter().position(|(_, stage)| here(stage)).unwrap_or(0);
    let height = usize::from(table.height).max(1);
    let top = at.saturating_sub(height / 2).min(rows.len().saturating_sub(height));
    let final_id = inspection.next.top.first().map(|c| c.id);
    for (y, &(n, stage)) in (0..table.height).zip(rows.iter().skip(top)) {
        let standing = followed.map(|followed| followed.at[n]);
        let mut row = row(app, stage, &scales, final_id, &columns, standing);
        if let Some(experts) = &stage.experts {
            row.push((
                format!("  {}", chosen(experts, before(app, inspection, stage))),
                style(Role::Muted),
            ));
        }
        draw_row(&row, table, y, buffer);
        if here(stage) {
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
        Some((_, stage)) => in_words(app, stage),
        None => String::new(),
    };
    for (y, line) in (0..).zip(&course) {
        put(buffer, foot.intersection(area), 0, y, line, style(Role::Text));
    }
    let foot = Rect {
        y: foot.y + course.len() as u16,
        height: foot.height - course.len() as u16,
        ..foot
    };
    for (y, line) in (0..foot.height).zip(flow([(0, text.as_str())].into_iter(), foot.width, None)) {
        let text: String = line.iter().map(|g| g.text.as_ref()).collect();
        put(buffer, foot.intersection(area), 0, y, &text, style(Role::Muted));
    }
}

/// What there is room for.
struct Columns {
    /// How far the state moved; gives way to a token that is followed.
    moved: bool,
    /// Further candidates.
    more: usize,
    experts: bool,
}

impl Columns {
    fn new(width: usize, follows: bool, experts: bool) -> Columns {
        let moved = BAR + NUMBER + 1 + LAST;
        let follow = if follows { GAP.len() + FOLLOW } else { 0 };
        let all = LAYER + SAYS + P + 2 * (BAR + NUMBER + 1) + moved + follow;
        let needed = all + if experts { EXPERTS } else { 0 };
        Columns {
            moved: !follows || width >= needed,
            more: if experts { 0 } else { width.saturating_sub(all) / MORE },
            experts,
        }
    }
}

/// A followed token in a line: its probability over the stages that were carried out, how it begins and ends, and from
/// where on it is the likeliest. A point stands for a layer that was skipped.
fn course(inspection: &Inspection, followed: &Followed) -> String {
    let carried = || {
        inspection
            .stages
            .iter()
            .zip(&followed.at)
            .filter(|(stage, _)| stage.carried_out)
    };
    let greatest = carried()
        .map(|(_, standing)| standing.probability)
        .fold(f32::MIN_POSITIVE, f32::max);
    let line: String = inspection
        .stages
        .iter()
        .zip(&followed.at)
        .map(|(stage, standing)| match stage.carried_out {
            true => bar::vertical(f64::from(standing.probability / greatest), 0, 1),
            false => '·',
        })
        .collect();
    let ends = carried().next().zip(carried().next_back());
    let ends = ends.map_or(String::new(), |((_, first), (_, last))| {
        format!(
            "{:.2} → {:.2}, rank {} → {}",
            first.probability, last.probability, first.rank, last.rank
        )
    });
    let leads = inspection.leads(followed).map_or(String::new(), |at| {
        format!(
            ", likeliest from {} on",
            super::lens::stage_name(&inspection.stages[at])
        )
    });
    format!("{} {line} {ends}{leads}", quoted(&followed.token.text))
}

fn draw_row(pieces: &[Piece], area: Rect, y: u16, buffer: &mut Buffer) {
    let mut x = 0;
    for (text, style) in pieces {
        x += put(buffer, area, x, y, text, *style);
    }
}

/// What the same layer did in the last iteration before that ran.
pub(in crate::tui) fn before<'i>(app: &App, inspection: &'i Inspection, stage: &Stage) -> Option<&'i ExpertUse> {
    let looped = app.shown.as_ref()?.looped()?;
    let (layer, _) = stage.block?;
    let (_, Some(iteration)) = looped.execution(layer) else {
        return None;
    };
    let ran = |back: usize| {
        let earlier = |s: &&Stage| s.carried_out && s.block.is_some_and(|(l, _)| l + back * looped.layers == layer);
        inspection.stages.iter().rfind(earlier)?.experts.as_ref()
    };
    (1..iteration).find_map(ran)
}

/// `3 17 5 9  J .33`: the experts, and how many they share with those of the last iteration that ran.
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

fn heading(app: &App, columns: &Columns, followed: Option<&Followed>) -> Vec<Piece> {
    let mut text = format!("{:<LAYER$}{:<SAYS$}{:<P$}", "layer", "would say", "p");
    for (name, width) in [("entropy", BAR + NUMBER + 1), ("KL to end", BAR + NUMBER + 1)] {
        text += &format!("{name:<width$}");
    }
    if columns.moved {
        text += &format!("{:<w$}{:<LAST$}", "turned", "moved", w = BAR + NUMBER + 1);
    }
    if let Some(followed) = followed {
        text += if columns.moved { GAP } else { "" };
        let name = pad(&quoted(&followed.token.text), BAR + 7);
        text += &format!("{name}{:<w$}", "rank", w = FOLLOW - BAR - 7);
    }
    match (columns.experts, columns.more) {
        (true, _) => text += "  experts, J with the last iteration",
        (false, 0) => {}
        (false, _) => text += "  or",
    }
    vec![(text, app.ui.theme.style(Role::Muted))]
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

fn row(
    app: &App,
    stage: &Stage,
    scales: &Scales,
    final_id: Option<u32>,
    columns: &Columns,
    followed: Option<Standing>,
) -> Vec<Piece> {
    let style = |role| app.ui.theme.style(role);
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
        _ if !columns.moved => {}
        Some(moved) => {
            gauge(moved.turn, scales.turn, 3);
            pieces.push((format!("{:<LAST$.2}", moved.step), text));
        }
        None => pieces.push((" ".repeat(BAR + 1 + NUMBER + LAST), text)),
    }
    if let Some(standing) = followed {
        pieces.push((if columns.moved { GAP } else { "" }.to_owned(), text));
        let fill = bar::horizontal(f64::from(standing.probability), BAR);
        pieces.push((fill, style(Role::Gauge)));
        pieces.push((format!(" {:<6.3}{:<6}", standing.probability, standing.rank), text));
    }
    for candidate in stage.lens.top.iter().skip(1).take(columns.more) {
        let candidate = format!("  {}", pad(&named(candidate), MORE - 2));
        pieces.push((candidate, style(Role::Muted)));
    }
    pieces
}

/// ` 12 ▓ `, ` 12 █ 2` for a second execution, `embed`.
fn name(app: &App, stage: &Stage) -> Vec<Piece> {
    let Some((layer, n)) = stage.block else {
        return vec![(format!("{:<LAYER$}", " embed"), app.ui.theme.style(Role::Text))];
    };
    let action = match (stage.carried_out, n) {
        (false, _) => Action::Skip,
        (true, 0) => Action::Execute,
        (true, _) => Action::Repeat,
    };
    let again = if n > 0 { format!("×{}", n + 1) } else { String::new() };
    vec![
        (format!("{layer:>3} "), app.ui.theme.style(Role::Text)),
        (
            cell::glyph(app, action).to_string(),
            app.ui.theme.confidence(cell::role(action), 1.0),
        ),
        (format!("{again:<w$}", w = LAYER - 5), app.ui.theme.style(Role::Text)),
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
    let lengths = |turned: &str| {
        format!(
            "the state by {:.2} of its length and {turned} it by {:.3} (1 − cosine)",
            moved.step, moved.turn
        )
    };
    let looped = app.shown.as_ref().and_then(|run| run.looped());
    let own = looped.map(|looped| looped.execution(layer).0);
    let layer = match &app.shown {
        Some(run) => run.layer_name(layer),
        None => format!("Layer {layer}"),
    };
    let experts = stage.experts.as_ref();
    let experts = experts.map_or(String::new(), |experts| modulated(app, own, experts));
    match (stage.carried_out, n) {
        (false, _) => format!(
            "{experts}{layer} was skipped. Run here, it would move {}; stopped after it, the token would say {says}.",
            lengths("turn")
        ),
        (true, 0) => format!(
            "{experts}{layer} moved {}; stopped after it, the token would say {says}.",
            lengths("turned")
        ),
        (true, n) => {
            let since = stage.since.map_or(String::new(), |since| {
                format!(
                    " From the execution before: KL {:.3} nats, cosine {:.3}.",
                    since.kl, since.cosine
                )
            });
            format!(
                "{experts}Execution {} of {layer} moved {}; stopped after it, the token would say {says}.{since}",
                n + 1,
                lengths("turned")
            )
        }
    }
}

/// `Experts 3 (0.31) ✗17 (0.27); attention α 0.82 γ 0.31 β 0.05; experts γ 0.20 β 0.03. `
///
/// Marked are those that the next run does without.
fn modulated(app: &App, layer: Option<usize>, experts: &ExpertUse) -> String {
    let mut parts = Vec::new();
    let next = app.next_settings().excluded_experts;
    let excluded = |expert: usize| layer.is_some_and(|layer| next.contains(&ExcludedExpert { layer, expert }));
    if !experts.experts.is_empty() {
        let names: Vec<String> = experts
            .experts
            .iter()
            .map(|(e, weight)| format!("{}{e} ({weight:.2})", if excluded(*e) { "✗" } else { "" }))
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
