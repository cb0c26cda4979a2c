//! The lines under the status: a message, the model's progress, and the legend.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Clear, Widget};
use unicode_width::UnicodeWidthStr;

use super::super::action::UiAction;
use super::super::app::{App, ModelState};
use super::super::grid::Grid;
use super::super::layout::Screen;
use super::super::theme::Role;
use super::super::ui::{Level, MapMode};
use super::super::update::requests::PROBLEM;
use super::super::widgets::bar;
use super::super::widgets::flow;
use super::{cell, put};

/// A terminal lower than this has no legend.
const LEGEND_FROM: u16 = 16;

/// Most lines of a message, so that what is to be done is read too.
const MESSAGE_LINES: usize = 3;

const MIB: f64 = 1024.0 * 1024.0;

/// Rows that are needed at present.
pub fn height(app: &App, area: Rect) -> u16 {
    let legend = u16::from(area.height >= LEGEND_FROM);
    let message = message(app, area.width).map_or(0, |(_, lines, _)| lines.len()) as u16;
    legend + message + model_lines(app, area.width).len() as u16
}

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let mut y = 0;
    if let Some((sign, lines, role)) = message(app, area.width) {
        for (i, line) in lines.iter().enumerate() {
            let sign = if i == 0 { sign } else { " " };
            put(buffer, area, 1, y, &format!("{sign} {line}"), app.ui.theme.style(role));
            y += 1;
        }
    }
    for (line, role) in model_lines(app, area.width) {
        put(buffer, area, 1, y, &line, app.ui.theme.style(role));
        y += 1;
    }
    let mut x = 1;
    for (text, style) in legend(app, area.width) {
        x += put(buffer, area, x, y, &text, style);
    }
}

/// Sign, lines and look of the message.
fn message(app: &App, width: u16) -> Option<(&'static str, Vec<String>, Role)> {
    let notice = app.ui.notice.as_ref()?;
    let dismiss = app.ui.keymap.keys_for(UiAction::Dismiss, app.ui.focus.context());
    Some(match notice.level {
        Level::Info => ("›", wrap(&notice.text, width, MESSAGE_LINES), Role::Accent),
        Level::Error => {
            let key = dismiss
                .first()
                .map_or(String::new(), |key| format!(" ({key} dismisses)"));
            (
                "✗",
                wrap(&(notice.text.clone() + &key), width, MESSAGE_LINES),
                Role::Error,
            )
        }
    })
}

/// Rows of the message alone.
pub(super) fn message_height(app: &App, width: u16) -> u16 {
    message(app, width).map_or(0, |(_, lines, _)| lines.len()) as u16
}

/// Draws the message over the last rows of a dialog that hides it, if it was said since the dialog's last key.
pub(super) fn draw_over(app: &App, body: Rect, buffer: &mut Buffer) {
    let notice = app.ui.notice.as_ref().filter(|_| app.ui.said > app.ui.said_under);
    let Some(notice) = notice else { return };
    let (sign, role) = match notice.level {
        Level::Info => ("›", Role::Accent),
        Level::Error => ("✗", Role::Error),
    };
    let lines = wrap(&notice.text, body.width, MESSAGE_LINES);
    let height = (lines.len() as u16).min(body.height);
    let area = Rect {
        y: body.bottom() - height,
        height,
        ..body
    };
    Clear.render(area.intersection(buffer.area), buffer);
    buffer.set_style(area.intersection(buffer.area), app.ui.theme.base());
    for (y, line) in (0..height).zip(&lines) {
        let sign = if y == 0 { sign } else { " " };
        put(buffer, area, 1, y, &format!("{sign} {line}"), app.ui.theme.style(role));
    }
}

fn wrap(text: &str, width: u16, most: usize) -> Vec<String> {
    let mut lines = flow::wrap(text, width.saturating_sub(4));
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            // Fitting what is too long ends it with the sign of a cut.
            let long = format!("{last}{}", " ".repeat(usize::from(width)));
            *last = flow::fit(
                &long,
                usize::from(width.saturating_sub(4)).min(last.chars().count() + 1),
            );
        }
    }
    lines
}

/// How far the model is, unless it is ready.
fn model_lines(app: &App, width: u16) -> Vec<(String, Role)> {
    match &app.model {
        ModelState::Ready { .. } => Vec::new(),
        ModelState::Missing(message) => wrap(&format!("no model: {message}{}", meanwhile(app)), width, MESSAGE_LINES)
            .into_iter()
            .enumerate()
            .map(|(i, line)| (format!("{} {line}", if i == 0 { "!" } else { " " }), Role::Warning))
            .chain(until_then(app, "prompts"))
            .collect(),
        ModelState::Loading { what, bytes } => {
            let recording = app.shown.as_ref().is_some_and(|r| r.is_recording());
            let (intro, bar) = match (recording, width) {
                (true, 100..) => ("you see a recording while the model is on its way  ", 20),
                (true, _) => ("a recording, while the model comes  ", 10),
                (false, _) => ("", 20),
            };
            let mut lines = vec![(format!("↓ {intro}{}{what}", progress(*bytes, bar)), Role::Accent)];
            lines.extend(until_then(app, "until then prompts").filter(|_| !app.queued));
            lines
        }
    }
}

/// What runs without the model that was asked for.
fn until_then(app: &App, prompts: &str) -> Option<(String, Role)> {
    let text = format!("  {prompts} like '{PROBLEM}' run, on the looped model of this program");
    app.meanwhile.as_ref().map(|_| (text, Role::Muted))
}

/// What can be done without a model.
fn meanwhile(app: &App) -> String {
    let keys = app.ui.keymap.keys_for(UiAction::NextRecording, "global");
    match (&app.shown, keys.first()) {
        (Some(_), Some(key)) if app.recordings.len() > 1 => {
            format!(". The recording can be explored; {key} opens the next one")
        }
        (Some(_), _) => ". What is on the screen can be explored".to_owned(),
        (None, _) => String::new(),
    }
}

fn progress(bytes: Option<(u64, Option<u64>)>, cells: usize) -> String {
    match bytes {
        None => String::new(),
        Some((done, None)) => format!("{:.0} MiB  ", done as f64 / MIB),
        Some((done, Some(total))) => {
            let share = done as f64 / total.max(1) as f64;
            format!(
                "▕{}▏ {:3.0} %  {:.0} of {:.0} MiB  ",
                bar::horizontal(share, cells),
                100.0 * share.min(1.0),
                done as f64 / MIB,
                total as f64 / MIB
            )
        }
    }
}

/// Whether a line of the map on the screen is two layers.
fn is_stacked(app: &App) -> bool {
    let pane = Screen::new(app, app.ui.area).and_then(|screen| screen.map);
    let run = app.shown.as_ref().filter(|_| !app.ui.map.shows_tape());
    run.zip(pane)
        .is_some_and(|(run, pane)| Grid::new(app, run, pane).stacked > 1)
}

/// What the map's glyphs mean, as many as there is room for.
fn legend(app: &App, width: u16) -> Vec<(String, Style)> {
    let muted = app.ui.theme.style(Role::Muted);
    let mut parts = Vec::new();
    if width >= 112 {
        let what = match app.ui.map.shows_tape() {
            true => "row: token, column: layer   ",
            false => "column: token, row: layer   ",
        };
        parts.push((what.to_owned(), muted));
    }
    let mut used: usize = 1 + parts.iter().map(|(text, _)| text.width()).sum::<usize>();
    for (i, (glyph, style, meaning)) in cell::legend(app, is_stacked(app)).into_iter().enumerate() {
        let (between, meaning) = (if i > 0 { "  " } else { "" }, format!(" {meaning}"));
        let columns = between.width() + glyph.width() + meaning.width();
        // An entry that is cut would mean something else.
        if used + columns > usize::from(width) {
            continue;
        }
        used += columns;
        parts.extend([(between.to_owned(), muted), (glyph, style), (meaning, muted)]);
    }
    if app.ui.map.mode == MapMode::Decisions && !app.ui.map.lens && width >= 160 {
        parts.push(("  ·  the brighter, the surer the router".to_owned(), muted));
    }
    parts
}
