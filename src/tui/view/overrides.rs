//! The list of overrides.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::super::app::App;
use super::super::dial;
use super::super::layout::{dialog as place, inner};
use super::super::override_list::{EditPurpose, OverrideList, rows};
use super::super::settings::rounded;
use super::super::theme::Role;
use super::super::widgets::flow::wrap;
use super::{line, pane, put};
use crate::trace::overrides::Override;

/// Rows below the list: a blank, what is typed, why it was refused.
const FOOT: u16 = 5;

/// Column of the text: behind the sign of the row and its switch.
const TEXT: u16 = 8;

/// An override as its file has it, but for a dial: rounded, with what was measured of it.
fn text(app: &App, what: &Override) -> String {
    let Override::Dial(position) = what else {
        return what.to_string();
    };
    let dial = format!("dial {}", rounded(*position));
    match app.calibration() {
        Some(table) => format!("{dial} ({})", dial::words(table, *position)),
        None => dial,
    }
}

/// Draws the list; where the cursor is while something is typed.
pub(in crate::tui) fn draw(app: &App, list: &OverrideList, body: Rect, buffer: &mut Buffer) -> Option<Position> {
    let rows = rows(&app.settings, &app.off);
    let area = place(body, 78, rows.len().clamp(2, 40) as u16 + FOOT + 2);
    pane::dialog(app, area, "Overrides", "of the next run", buffer);
    let area = inner(area);
    let style = |role| app.ui.theme.style(role);
    let height = area.height.saturating_sub(FOOT).max(1);
    if rows.is_empty() {
        let none = "none: the routers decide. Pins, a program, a budget, a dial can be typed here";
        text_at(app, none, Role::Muted, Rect { height, ..area }, buffer);
    }
    let top = (list.row + 1).saturating_sub(usize::from(height));
    for (y, (at, (what, on))) in (0..height).zip(rows.iter().enumerate().skip(top)) {
        let here = at == list.row && (list.edit.is_none() || list.purpose == EditPurpose::Row);
        let role = match (here, on) {
            (true, _) => Role::Accent,
            (false, true) => Role::Pin,
            (false, false) => Role::Muted,
        };
        put(buffer, area, 0, y, if here { "▸" } else { " " }, style(role));
        put(buffer, area, 2, y, if *on { "[on]" } else { "[off]" }, style(role));
        put(buffer, area, TEXT, y, &text(app, what), style(role));
    }
    let foot = Rect {
        y: area.y + (height + 1).min(area.height),
        height: area.height.saturating_sub(height + 1),
        ..area
    };
    let Some(edit) = &list.edit else {
        let hint = "what is off is kept, and can be switched on again; the next run has what is on";
        text_at(app, hint, Role::Muted, foot, buffer);
        return None;
    };
    let typed = Rect {
        height: foot.height.min(1),
        ..foot
    };
    let cursor = line::draw(app, edit, typed, buffer);
    let (text, role) = match &edit.error {
        Some(error) => (error.message.as_str(), Role::Error),
        None => (hint(&list.purpose), Role::Muted),
    };
    let below = Rect {
        y: foot.y + typed.height,
        height: foot.height - typed.height,
        ..foot
    };
    text_at(app, text, role, below, buffer);
    Some(cursor)
}

/// A text on as many lines as it takes and there are.
fn text_at(app: &App, text: &str, role: Role, area: Rect, buffer: &mut Buffer) {
    for (y, line) in (0..area.height).zip(wrap(text, area.width)) {
        put(buffer, area, 0, y, &line, app.ui.theme.style(role));
    }
}

/// What can be typed.
fn hint(purpose: &EditPurpose) -> &'static str {
    match purpose {
        EditPurpose::Row | EditPurpose::Add => {
            "pin 7=skip, pin 7@12-14=repeat, program 0-11 13-29, budget 26, dial -0.4"
        }
        EditPurpose::Save { .. } => "the file to write, for --overrides too; what is switched off is kept in it",
        EditPurpose::Load => "the file to read, in the place of this list",
    }
}
