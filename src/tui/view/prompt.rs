//! The prompt editor.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::super::action::UiAction;
use super::super::app::App;
use super::super::layout;
use super::super::theme::Role;
use super::super::ui::Focus;
use super::{pane, put};

/// Draws the editor; where its cursor is, while it has the keys.
pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) -> Option<Position> {
    let focused = app.ui.focus == Focus::Prompt;
    if area.height < 3 {
        folded(app, area, buffer);
        return None;
    }
    pane::frame(app, area, focused, "Prompt", &remark(app, focused), buffer);
    let area = layout::inner(area);
    if area.is_empty() {
        return None;
    }
    if app.prompt.is_blank() && !focused {
        put(
            buffer,
            area,
            0,
            0,
            "type a question here",
            app.ui.theme.style(Role::Muted),
        );
        return None;
    }
    let drawn = app.prompt.draw(area.width);
    let height = usize::from(area.height);
    let top = (drawn.cursor.0 + 1).saturating_sub(height);
    let mut style = app.ui.theme.style(Role::Text);
    if focused && app.prompt.is_selected() {
        style = style.patch(app.ui.theme.style(Role::Selection));
    }
    for (y, line) in (area.top()..area.bottom()).zip(drawn.lines.iter().skip(top)) {
        let mut x = area.x;
        for glyph in line {
            let room = usize::from(area.right().saturating_sub(x));
            let code = app.ui.prompt_code.style(glyph.key).unwrap_or_default();
            buffer.set_stringn(x, y, &glyph.text, room, style.patch(code));
            x = x.saturating_add(glyph.width).min(area.right());
        }
    }
    let cursor = Position::new(area.x + drawn.cursor.1, area.y + (drawn.cursor.0 - top) as u16);
    (focused && area.contains(cursor)).then_some(cursor)
}

/// The prompt as one line, where there is no room for a pane.
fn folded(app: &App, area: Rect, buffer: &mut Buffer) {
    let (muted, text) = (app.ui.theme.style(Role::Muted), app.ui.theme.style(Role::Text));
    let x = 1 + put(buffer, area, 1, 0, "Prompt › ", muted);
    let remark = remark(app, false);
    let width = (remark.chars().count() as u16 + 1).min(area.width);
    let line = Rect {
        width: area.width.saturating_sub(width + 1),
        ..area
    };
    match app.prompt.is_blank() {
        true => put(buffer, line, x, 0, "type a question here", muted),
        false => put(buffer, line, x, 0, &app.prompt.text(), text),
    };
    put(buffer, area, area.width - width, 0, &remark, muted);
}

/// The key that matters here.
fn remark(app: &App, focused: bool) -> String {
    let key = |action, context| app.ui.keymap.keys_for(action, context).into_iter().next();
    match focused {
        true if app.prompt.is_selected() => "an example: type to replace it, or run it".to_owned(),
        true => key(UiAction::Run, "prompt").map_or(String::new(), |k| format!("{k} runs")),
        false => key(UiAction::FocusPrompt, app.ui.focus.context()).map_or(String::new(), |k| format!("{k} edits")),
    }
}
