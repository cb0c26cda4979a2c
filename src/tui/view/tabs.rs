//! The tabs of a narrow screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::app::App;
use super::super::layout::{TABS, tab_width};
use super::super::theme::Role;
use super::super::ui::Focus;
use super::put;

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let mut x = 0;
    for pane in TABS {
        let shown = match app.ui.folded {
            Focus::Prompt => pane == Focus::Map,
            folded => pane == folded,
        };
        // Brackets tell the open tab without colours.
        let (text, role) = match shown {
            true => (format!("[{}]", app.tab_title(pane)), Role::Title),
            false => (format!(" {} ", app.tab_title(pane)), Role::Muted),
        };
        put(buffer, area, x, 0, &text, app.ui.theme.style(role));
        x += tab_width(app, pane);
    }
    let hint = "Tab turns";
    if let Some(at) = area.width.checked_sub(hint.len() as u16 + 1).filter(|at| *at > x) {
        put(buffer, area, at, 0, hint, app.ui.theme.style(Role::Muted));
    }
}
