//! Everything known about the cursor's layer and token.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::describe;
use super::super::dial;
use super::super::layout;
use super::super::next_run;
use super::super::overrides::PinChange;
use super::super::run::Run;
use super::super::theme::Role;
use super::super::ui::Focus;
use super::super::widgets::bar;
use super::super::widgets::flow::{Glyph, flow};
use super::map::quoted;
use super::{cell, pane, put};
use crate::program::{Action, Damping};
use crate::router::policy::Proposal;
use crate::text::escape_controls;
use crate::trace::{DecidedBy, Decision, NEUTRAL_DIAL, Scope};

/// Columns before and after a probability's bar.
const NAME: u16 = 9;
const NUMBER: u16 = 6;

/// A text and how it looks.
type Piece = (String, Style);

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.ui.focus == Focus::Detail;
    let cursor = app.ui.cursor;
    let Some((run, decision)) = app
        .shown
        .as_ref()
        .and_then(|run| Some((run, run.decision(cursor.layer, cursor.token)?)))
    else {
        pane::frame(app, area, focused, "Detail", "", buffer);
        return;
    };
    let title = format!(
        "{} at {}",
        run.layer_name(cursor.layer),
        super::words::told(run, cursor.token).map_or(String::new(), |text| quoted(&text))
    );
    pane::frame(app, area, focused, &title, &run.place(cursor.token), buffer);
    let area = layout::inner(area);
    let mut rows = vec![outcome(app, run, &decision)];
    match app.ui.map.lens {
        true => rows.extend(
            super::lens::facts(app, area.width)
                .into_iter()
                .map(|(text, role)| vec![(text, app.ui.theme.style(role))]),
        ),
        false => rows.extend(probabilities(app, run, &decision, area.width)),
    }
    rows.extend(facts(app, run, &decision, area.width));
    rows.push(program(app, run));
    rows.push(Vec::new());
    rows.extend(overview(app, run));
    let rows: Vec<_> = rows.into_iter().flat_map(|row| wrapped(row, area.width)).collect();
    lines(app, &rows, area, buffer);
}

/// Draws rows of pieces; where there is no room for all, the last line says how many are missing.
fn lines(app: &App, rows: &[Vec<Piece>], area: Rect, buffer: &mut Buffer) {
    let height = usize::from(area.height);
    let shown = if rows.len() > height {
        height.saturating_sub(1)
    } else {
        rows.len()
    };
    for (y, row) in (0..area.height).zip(&rows[..shown]) {
        let mut x = 0;
        for (text, style) in row {
            x += put(buffer, area, x, y, text, *style);
        }
    }
    if shown < rows.len() {
        let more = format!("… {} more lines in a taller pane", rows.len() - shown);
        put(buffer, area, 0, shown as u16, &more, app.ui.theme.style(Role::Muted));
    }
}

/// A row on as many lines as it takes.
fn wrapped(row: Vec<Piece>, width: u16) -> Vec<Vec<Piece>> {
    let used: usize = row.iter().map(|(text, _)| text.as_str().width()).sum();
    if used <= usize::from(width) {
        return vec![row];
    }
    let pieces = row.iter().enumerate().map(|(at, (text, _))| (at, text.as_str()));
    let piece = |glyph: &Glyph| (glyph.text.as_ref().to_owned(), row[glyph.key].1);
    let lines = flow(pieces, width, None);
    lines.iter().map(|line| line.iter().map(piece).collect()).collect()
}

/// `▓ executed by the router`, or why no router decided.
fn outcome(app: &App, run: &Run, decision: &Decision) -> Vec<Piece> {
    let theme = &app.ui.theme;
    let did = match decision.action {
        Action::Skip => "skipped",
        Action::Execute => "executed",
        Action::Repeat => "repeated",
    };
    let (by, role) = match decision.by {
        DecidedBy::Program => (describe::unrouted(run, app.ui.cursor.token), Role::Text),
        DecidedBy::Router => (" by the router", Role::Text),
        DecidedBy::Predictor => (" by the predictor", Role::Text),
        DecidedBy::Dial => (" by the dial", Role::Dial),
        DecidedBy::Budget => (" by the budget", Role::Budget),
        DecidedBy::Pin => (" by your pin", Role::Pin),
    };
    let action = theme.confidence(cell::role(decision.action), 1.0);
    let damped = match run.damping(app.ui.cursor.layer, app.ui.cursor.token) {
        Damping::NONE => String::new(),
        damping => format!(" damped by {damping},"),
    };
    vec![
        (format!("{} {did}{damped}", cell::glyph(app, decision.action)), action),
        (by.to_owned(), theme.style(role)),
    ]
}

/// No router was asked; where the run had none at all, what can be done about it.
fn unasked(app: &App, run: &Run) -> Vec<Piece> {
    let key = |action| {
        let keys = app.ui.keymap.keys_for(action, Focus::Map.context());
        keys.into_iter().next().unwrap_or_else(|| "-".to_owned())
    };
    let text = match run.trace.header.routers.is_some() {
        true => "no router was asked here".to_owned(),
        false => format!(
            "no router was asked: the run had none. {} trains some, {} chooses others; by hand: {} skips this layer, {} \
             repeats it, {} types a program, {} searches one",
            key(UiAction::TrainRouters),
            key(UiAction::EditRouters),
            key(UiAction::PinSkip),
            key(UiAction::PinRepeat),
            key(UiAction::EditProgram),
            key(UiAction::Search)
        ),
    };
    vec![(text, app.ui.theme.style(Role::Muted))]
}

/// A bar for each action, the largest probability full.
fn probabilities(app: &App, run: &Run, decision: &Decision, width: u16) -> Vec<Vec<Piece>> {
    let theme = &app.ui.theme;
    let Some(probs) = decision.probs else {
        return vec![unasked(app, run)];
    };
    let room = usize::from(width.saturating_sub(NAME + NUMBER));
    let row = |action: Action| {
        let p = probs[action.executions()];
        let chosen = action == decision.action;
        let name = theme.style(if chosen { Role::Text } else { Role::Muted });
        let mark = if chosen { "▸" } else { " " };
        let fill = bar::horizontal(f64::from(p), room);
        vec![
            (
                format!("{:<w$}", format!("{mark}{action}"), w = usize::from(NAME)),
                name,
            ),
            (format!("{fill:<room$}"), theme.style(cell::role(action))),
            (format!("{p:6.3}"), name),
        ]
    };
    Action::ALL.map(row).into()
}

fn facts(app: &App, run: &Run, decision: &Decision, width: u16) -> Vec<Vec<Piece>> {
    let theme = &app.ui.theme;
    let (text, muted) = (theme.style(Role::Text), theme.style(Role::Muted));
    let pair = |name: &str, value: String| vec![(format!("{name} "), muted), (value, text)];
    let mut rows = Vec::new();
    if let (Some(margin), Some(entropy)) = (decision.margin(), decision.entropy()) {
        let mut row = pair("margin", format!("{margin:.3}  "));
        row.extend(pair("router entropy", format!("{:.2} nats", entropy.abs())));
        rows.push(row);
    }
    rows.extend(shadow(app, run, decision));
    rows.extend(segment(app, run).map(|(segment, p)| {
        let mut row = pair("segment", format!("{segment}  "));
        row.extend(pair("begins here", format!("{p:.3}")));
        row
    }));
    let next: Vec<String> = run.next(app.ui.cursor.token).iter().map(super::inside::named).collect();
    if !next.is_empty() && !app.ui.map.lens {
        rows.push(pair("next", next.join(" ")));
    }
    if let Some(change) = app.pin_change(app.ui.cursor.layer, app.ui.cursor.token) {
        let to = match change {
            PinChange::To(action, Damping::NONE) => format!("pinned to {action}"),
            PinChange::To(action, damping) => format!("pinned to {action}, damped by {damping}"),
            PinChange::Off => "no longer pinned".to_owned(),
        };
        rows.push(vec![(format!("next run: {to}"), cell::waiting(theme))]);
    }
    let mut row = match run.depth(app.ui.cursor.token) {
        Some(depth) => pair("depth", format!("{depth} of {}  ", run.layers())),
        // Its column is still being filled.
        None => pair("depth", "not yet known  ".to_owned()),
    };
    row.extend(match run.step(app.ui.cursor.token) {
        Some(step) => pair("time", format!("{:.1} ms", step.ms)),
        None => pair("prefill", format!("{:.0} ms", run.trace.header.prefill_ms)),
    });
    let position = pair("  position", app.ui.cursor.token.to_string());
    let pieces = row.iter().chain(&position);
    let all: usize = pieces.map(|(text, _)| text.as_str().width()).sum();
    match all <= usize::from(width) {
        true => {
            row.extend(position);
            rows.push(row);
        }
        // A number is not cut.
        false => rows.extend([row, pair("position", app.ui.cursor.token.to_string())]),
    }
    rows
}

/// The segment of the selected layer, and the probability that one begins there.
fn segment(app: &App, run: &Run) -> Option<(String, f32)> {
    let layer = app.ui.cursor.layer;
    let p = *run.trace.header.boundaries.get(layer)?;
    let has = |(start, length): &(usize, usize)| (*start..start + length).contains(&layer);
    let (start, length) = run.segments().into_iter().find(has)?;
    Some((layer_range(start, length), p))
}

/// `4` or `4-6`.
pub(super) fn layer_range(start: usize, length: usize) -> String {
    match length {
        1 => start.to_string(),
        _ => format!("{start}-{}", start + length - 1),
    }
}

/// The token's program.
fn program(app: &App, run: &Run) -> Vec<Piece> {
    let (program, remark) = match run.step(app.ui.cursor.token) {
        Some(step) => (&step.program, ""),
        None => (&run.trace.header.program, " · shared by all prompt tokens"),
    };
    let program = match program.is_empty() {
        true => "empty".to_owned(),
        false => program.to_string(),
    };
    let style = |role| app.ui.theme.style(role);
    vec![
        ("program ".to_owned(), style(Role::Muted)),
        (program, style(Role::Text)),
        (remark.to_owned(), style(Role::Muted)),
    ]
}

/// What the router would have done here, where that is another question than what was done.
fn shadow(app: &App, run: &Run, decision: &Decision) -> Option<Vec<Piece>> {
    let shadow = decision.shadow?;
    let theme = &app.ui.theme;
    if let (DecidedBy::Dial, Some(probs)) = (decision.by, decision.probs) {
        let alone = Proposal::new(probs, NEUTRAL_DIAL).action();
        let text = format!("≠ the router alone says {alone}: the dial turned it");
        return Some(vec![(text, theme.style(Role::Dial))]);
    }
    if decision.disagrees() {
        let why = match decision.by {
            DecidedBy::Pin => "your pin overruled it",
            DecidedBy::Budget => "the budget overruled it",
            _ if run.settings().scope == Scope::Prompt => "the prompt's program is frozen",
            _ => "overruled",
        };
        let text = format!("≠ here the router says {shadow}: {why}");
        return Some(vec![(text, theme.style(Role::Disagree))]);
    }
    // Where every token is routed by itself, and at the prompt, there is nothing to agree with.
    let frozen = run.settings().scope == Scope::Prompt && run.step(app.ui.cursor.token).is_some();
    frozen.then(|| vec![("= the router at this token agrees".to_owned(), theme.style(Role::Muted))])
}

/// When what was decided.
fn decides(run: &Run) -> String {
    match (run.settings().program.is_some(), run.leaves_prompt_whole()) {
        (true, _) => "none, a fixed program".to_owned(),
        _ if run.trace.header.routers.is_none() => "none, no routers".to_owned(),
        (false, true) => "token, the prompt whole".to_owned(),
        (false, false) => run.settings().scope.to_string(),
    }
}

/// The run as a whole.
fn overview(app: &App, run: &Run) -> Vec<Vec<Piece>> {
    let theme = &app.ui.theme;
    let (text, muted) = (theme.style(Role::Text), theme.style(Role::Muted));
    let pair = |name: &str, value: String| vec![(format!("{name:<14}"), muted), (value, text)];
    let share = |action| format!("{:.1} %", 100.0 * run.share_of(action));
    let saved = run.layers() as f64 - run.mean_depth();
    let settings = run.settings();
    let mut rows = vec![
        vec![("This run".to_owned(), theme.style(Role::Title))],
        pair("tokens", format!("{} + {} prompt", run.steps().len(), run.prompt_len())),
        pair(
            "mean depth",
            format!("{:.2} of {}, {saved:+.2} saved", run.mean_depth(), run.layers()),
        ),
        pair(
            "routers",
            escape_controls(next_run::name(run.trace.header.routers.as_ref())),
        ),
        pair("scope", decides(run)),
        pair("skipped", share(Action::Skip)),
        pair("executed", share(Action::Execute)),
        pair("repeated", share(Action::Repeat)),
    ];
    if let Some(table) = dial::calibration(settings, run.trace.header.routers.as_ref()) {
        let expected = dial::short(table, settings.dial);
        let name = if dial::is_alone(settings) {
            "expected"
        } else {
            "routers alone"
        };
        rows.insert(3, pair(name, expected));
    }
    if let Some(speed) = run.tokens_per_second() {
        rows.push(pair("speed", format!("{speed:.1} tokens/s")));
    }
    rows.push(pair("kv", settings.kv.to_string()));
    rows.push(pair("seed", settings.sampling.seed.to_string()));
    rows.push(pair("temperature", settings.sampling.temperature.to_string()));
    if let Some(exact) = run.trace.header.budget_exact {
        let how = if exact {
            "the best program within it"
        } else {
            "approximately the best"
        };
        rows.push(pair("budget", how.to_owned()));
    }
    if !settings.pins.is_empty() {
        let pins: Vec<String> = settings.pins.iter().map(ToString::to_string).collect();
        rows.push(pair("pins", pins.join(" ")));
    }
    rows
}
