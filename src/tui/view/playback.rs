//! Where a trace that is played stands, or the run that is held.
//!
//! ```text
//!  ▷ token 12 of 42              ━━━━━━━━━━━━──────────────────────────────    ×2
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use unicode_width::UnicodeWidthStr;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::layout::{dialog as place, inner};
use super::super::line_edit::LineEdit;
use super::super::playback::bar;
use super::super::run::Run;
use super::super::theme::Role;
use super::super::widgets::flow::flow;
use super::{line, pane, put};

pub(in crate::tui) fn draw(app: &App, row: Rect, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let Some(run) = app.shown.as_ref().filter(|run| run.is_partway() && !app.held) else {
        put(buffer, row, 1, 0, &held(app, row.width), style(Role::Accent));
        return;
    };
    let (shown, end) = (run.steps().len(), run.trace.steps.len());
    put(buffer, row, 1, 0, &position(run, shown, end), style(Role::Accent));
    let bar = bar(row);
    let filled = usize::from(bar.width) * shown / end.max(1);
    put(buffer, bar, 0, 0, &"━".repeat(filled), style(Role::Gauge));
    let rest = "─".repeat(usize::from(bar.width) - filled);
    put(buffer, bar, filled as u16, 0, &rest, style(Role::Border));
    let speed = app.ui.speed.to_string();
    let at = (bar.right() - row.x).saturating_add(2);
    put(buffer, row, at, 0, &speed, style(Role::Text));
}

/// `▷ token 12 of 42`, or with the layer that is next.
fn position(run: &Run, shown: usize, end: usize) -> String {
    let sign = if run.is_playing() { "▷" } else { "‖" };
    match run.layers_shown() {
        Some(layers) => format!("{sign} {shown}/{end}, layer {layers} of {}", run.layers()),
        None => format!("{sign} token {shown} of {end}"),
    }
}

/// The run under way waits in the worker, and what can be done with it; shorter where there is less room.
fn held(app: &App, width: u16) -> String {
    let key = |action| {
        let keys = app.ui.keymap.keys_for(action, "grid");
        keys.into_iter().next().unwrap_or_default()
    };
    let (step, go) = (key(UiAction::StepToken), key(UiAction::PlayPause));
    let tries = key(UiAction::Intervene);
    let ways = [
        format!("‖ held before the next token: {step} computes it, {tries} tries a layer there, {go} goes on"),
        format!("‖ held: {step} one token, {tries} tries a layer, {go} goes on"),
        format!("‖ held: {go} goes on"),
    ];
    let fits = |text: &&String| text.width() + 2 <= usize::from(width);
    ways.iter().find(fits).unwrap_or(&ways[2]).clone()
}

/// The dialog that asks for a token; where its cursor is.
pub(in crate::tui) fn draw_jump(app: &App, edit: &LineEdit, body: Rect, buffer: &mut Buffer) -> Position {
    let end = app.shown.as_ref().map_or(0, |run| run.trace.steps.len());
    let hint = "the number of a token of the answer, or a share of the trace like 50%";
    asking(app, "Jump to token", &format!("1 to {end}"), edit, hint, body, buffer)
}

/// A dialog with one line to type into, and under it a hint or why the line was refused; where its cursor is.
pub(super) fn asking(
    app: &App,
    title: &str,
    right: &str,
    edit: &LineEdit,
    hint: &str,
    body: Rect,
    buffer: &mut Buffer,
) -> Position {
    let area = place(body, 78, 6);
    pane::dialog(app, area, title, right, buffer);
    let area = inner(area);
    let typed = Rect {
        height: area.height.min(1),
        ..area
    };
    let cursor = line::draw(app, edit, typed, buffer);
    let (text, role) = match &edit.error {
        Some(error) => (error.message.as_str(), Role::Error),
        None => (hint, Role::Muted),
    };
    let lines = flow([(0, text)].into_iter(), area.width, None);
    for (y, glyphs) in (2..area.height).zip(&lines) {
        let text: String = glyphs.iter().map(|g| g.text.as_ref()).collect();
        put(buffer, area, 0, y, &text, app.ui.theme.style(role));
    }
    cursor
}
