//! A line being typed.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Modifier;
use unicode_width::UnicodeWidthStr;

use super::super::app::App;
use super::super::line_edit::LineEdit;
use super::super::theme::Role;
use super::put;

/// Draws the line over the whole of `area`; where its cursor is.
pub(super) fn draw(app: &App, edit: &LineEdit, area: Rect, buffer: &mut Buffer) -> Position {
    let style = app.ui.theme.style(Role::Selection);
    buffer.set_style(area.intersection(buffer.area), style);
    let (text, cursor) = scrolled(edit, area.width);
    // A mark that needs no colours either.
    let text_style = match edit.is_selected() {
        true => style.add_modifier(Modifier::UNDERLINED | Modifier::BOLD),
        false => style,
    };
    put(buffer, area, 0, 0, &text, text_style);
    if edit.is_selected() {
        let hint = "selected: typing replaces it";
        let room = area.width.saturating_sub(cursor + 2);
        if usize::from(room) >= hint.len() {
            put(
                buffer,
                area,
                cursor + 2,
                0,
                hint,
                style.patch(app.ui.theme.style(Role::Muted)),
            );
        }
    }
    Position::new(area.x + cursor, area.y)
}

/// What is in sight of a line in `width` columns, and the cursor's column in it.
pub(super) fn scrolled(edit: &LineEdit, width: u16) -> (String, u16) {
    let room = usize::from(width).max(1);
    let columns = |chars: &[char]| chars.iter().collect::<String>().width();
    let before: Vec<char> = edit.text.chars().take(edit.at).collect();
    let start = (0..before.len())
        .find(|s| columns(&before[*s..]) < room)
        .unwrap_or(before.len());
    (
        edit.text.chars().skip(start).collect(),
        columns(&before[start..]) as u16,
    )
}
