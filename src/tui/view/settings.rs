//! The settings dialog.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::super::app::App;
use super::super::dial;
use super::super::layout::{dialog as place, inner};
use super::super::line_edit::LineEdit;
use super::super::overrides::dial_meaning;
use super::super::settings::{SettingsDialog, SettingsField, is_set};
use super::super::theme::Role;
use super::super::widgets::flow::{flow, wrap};
use super::{line, pane, put};

/// Column of the values.
const VALUES: u16 = 22;

/// Rows below the list: a blank, what the field means, why a value was refused.
const FOOT: u16 = 5;

/// Draws the dialog; where the cursor is while something is typed.
pub(in crate::tui) fn draw(app: &App, dialog: &SettingsDialog, body: Rect, buffer: &mut Buffer) -> Option<Position> {
    match &dialog.edit {
        Some(edit) if dialog.single => Some(draw_field(app, dialog.field(), edit, body, buffer)),
        _ => draw_list(app, dialog, body, buffer),
    }
}

/// One setting by itself: what is typed, and under it where it is wrong and why.
fn draw_field(app: &App, field: SettingsField, edit: &LineEdit, body: Rect, buffer: &mut Buffer) -> Position {
    let area = place(body, 78, 8);
    pane::dialog(
        app,
        area,
        &format!("Set the {}", field.name()),
        "of the next run",
        buffer,
    );
    let area = inner(area);
    let typed = Rect {
        height: area.height.min(1),
        ..area
    };
    let cursor = line::draw(app, edit, typed, buffer);
    if edit.error.as_ref().is_some_and(|e| e.column.is_some()) {
        put(buffer, area, cursor.x - area.x, 1, "▲", app.ui.theme.style(Role::Error));
    }
    let foot = Rect {
        y: area.y + 2,
        height: area.height.saturating_sub(2),
        ..area
    };
    explain(app, field, Some(edit), foot, buffer);
    cursor
}

fn draw_list(app: &App, dialog: &SettingsDialog, body: Rect, buffer: &mut Buffer) -> Option<Position> {
    let rows = SettingsField::ALL.len() as u16;
    let area = place(body, 78, rows + FOOT + 2);
    pane::dialog(app, area, "Settings", "of the next run", buffer);
    let area = inner(area);
    // In a low terminal the list scrolls with its row.
    let list = area.height.saturating_sub(FOOT).max(1);
    let top = (dialog.row as u16 + 1).saturating_sub(list);
    for (y, row) in (top..rows).take(usize::from(list)).enumerate() {
        draw_row(app, dialog, usize::from(row), area, y as u16, buffer);
    }
    let foot = Rect {
        y: area.y + (list + 1).min(area.height),
        height: area.height.saturating_sub(list + 1),
        ..area
    };
    explain(app, dialog.field(), dialog.edit.as_ref(), foot, buffer);
    let (_, cursor) = line::scrolled(dialog.edit.as_ref()?, area.width.saturating_sub(VALUES));
    Some(Position::new(
        area.x + VALUES + cursor,
        area.y + dialog.row as u16 - top,
    ))
}

fn draw_row(app: &App, dialog: &SettingsDialog, row: usize, area: Rect, y: u16, buffer: &mut Buffer) {
    let theme = &app.ui.theme;
    let field = SettingsField::ALL[row];
    let here = row == dialog.row;
    let name = theme.style(if here { Role::Accent } else { Role::Text });
    put(buffer, area, 0, y, if here { "▸" } else { " " }, name);
    put(buffer, area, 2, y, field.name(), name);
    if let Some(edit) = dialog.edit.as_ref().filter(|_| here) {
        let typed = Rect::new(area.x + VALUES, area.y + y, area.width.saturating_sub(VALUES), 1);
        line::draw(app, edit, typed, buffer);
        return;
    }
    let mut value = field.shown(app);
    if value.is_empty() {
        value = "none".to_owned();
    }
    if field == SettingsField::Dial {
        value = match app.calibration() {
            Some(table) => format!("{value}: {}{}", alone(app), dial::short(table, app.settings.dial)),
            None => format!("{value} ({})", dial_meaning(app.settings.dial)),
        };
    }
    let changed = field.is_pending(app);
    let role = match (changed, is_set(field, &app.settings)) {
        (true, _) => Role::Pin,
        (false, true) => Role::Text,
        (false, false) => Role::Muted,
    };
    let mark = if changed { " (next run)" } else { "" };
    put(buffer, area, VALUES, y, &(value + mark), theme.style(role));
}

/// Before what the dial's table says of the next run, where more than the routers decides in it.
fn alone(app: &App) -> &'static str {
    if dial::is_alone(&app.next_settings()) {
        ""
    } else {
        "routers alone "
    }
}

/// Most columns of the slider.
const SLIDER: usize = 40;

/// Where the dial stands, or would with what is typed, between the least and the greatest depth that was measured; its words
/// below it where a line is too short for both.
fn slider(app: &App, field: SettingsField, edit: Option<&LineEdit>, width: u16) -> Option<Vec<String>> {
    let table = app.calibration().filter(|_| field == SettingsField::Dial)?;
    let typed = edit.and_then(|edit| dial::parse(edit.text.trim(), Some(table)).ok());
    let at = typed.unwrap_or(app.settings.dial);
    let words = alone(app).to_owned() + &dial::words(table, at);
    let width = usize::from(width);
    match dial::slider(table, at, width.saturating_sub(words.len() + 2).min(SLIDER)) {
        Some(slider) => Some(vec![format!("{slider}  {words}")]),
        None => {
            let slider = dial::slider(table, at, width.min(SLIDER))?;
            Some(std::iter::once(slider).chain(wrap(&words, width as u16)).collect())
        }
    }
}

/// What the setting means, or why what was typed is wrong.
fn explain(app: &App, field: SettingsField, edit: Option<&LineEdit>, area: Rect, buffer: &mut Buffer) {
    let (text, role) = match edit.and_then(|e| e.error.as_ref()) {
        Some(error) => (format!("✗ {}", error.message), Role::Error),
        None => (field.hint().to_owned(), Role::Muted),
    };
    let slider = slider(app, field, edit, area.width).unwrap_or_default();
    for (y, text) in (0..area.height).zip(&slider) {
        put(buffer, area, 0, y, text, app.ui.theme.style(Role::Dial));
    }
    let from = slider.len() as u16;
    let lines = flow([(0, text.as_str())].into_iter(), area.width, None);
    for (y, line) in (from..area.height).zip(lines) {
        let text: String = line.iter().map(|g| g.text.as_ref()).collect();
        put(buffer, area, 0, y, &text, app.ui.theme.style(role));
    }
}
