//! State → screen. Nothing in here changes anything.

mod answer;
pub mod candidates;
mod cell;
pub mod compare;
mod depths;
mod detail;
pub mod flips;
pub mod force;
pub mod help;
pub mod inside;
mod keybar;
mod lens;
pub mod lesson;
mod line;
pub mod loop_map;
mod map;
pub mod next;
pub mod notice;
pub mod overrides;
pub mod palette;
mod pane;
pub mod playback;
mod prompt;
pub mod runs;
pub mod save;
pub mod search;
pub mod settings;
pub mod spoken;
mod stacked;
pub mod stats;
mod status;
mod tabs;
mod tape;
pub mod training;
mod twin;
mod words;

use ratatui::Frame;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::app::App;
use super::dialogs::DialogArea;
use super::layout::{MIN_HEIGHT, MIN_WIDTH, Screen};
use super::theme::Role;
use super::widgets::flow::fit;

/// Draws the whole screen.
pub fn view(app: &App, frame: &mut Frame) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    buffer.set_style(area, app.ui.theme.base());
    let Some(screen) = Screen::new(app, area) else {
        too_small(app, area, buffer);
        return;
    };
    let mut cursor = draw(app, &screen, area, buffer);
    if app.ui.screen_reader {
        spoken::draw(app, screen.spoken, buffer);
        let words = screen.spoken.map(Rect::as_position);
        cursor = cursor.or(words);
    }
    if let Some(position) = cursor.filter(|p| area.contains(*p)) {
        frame.set_cursor_position(position);
    }
}

/// Draws panes and dialogs; where the terminal's cursor belongs, if anything is typed.
fn draw(app: &App, screen: &Screen, area: Rect, buffer: &mut Buffer) -> Option<Position> {
    status::draw(app, screen.status, buffer);
    notice::draw(app, screen.notice, buffer);
    keybar::draw(app, screen.keys, buffer);
    if let Some(area) = screen.lesson {
        lesson::draw(app, area, buffer);
    }
    if let Some(row) = screen.playback {
        playback::draw(app, row, buffer);
    }
    if let Some(tabs) = screen.tabs {
        tabs::draw(app, tabs, buffer);
    }
    let cursor = screen.prompt.and_then(|pane| prompt::draw(app, pane, buffer));
    if let Some(pane) = screen.answer {
        answer::draw(app, pane, buffer);
    }
    if let Some(pane) = screen.twin {
        twin::draw(app, pane, buffer);
    }
    if let Some(pane) = screen.map {
        map::draw(app, pane, buffer);
    }
    if let Some(pane) = screen.detail {
        detail::draw(app, pane, buffer);
    }
    // A dialog leaves the words for screen readers free.
    let above = screen.status.height + screen.spoken.map_or(0, |words| words.height);
    let body = Rect {
        y: area.y + above,
        height: area.height.saturating_sub(above + screen.keys.height),
        ..area
    };
    let Some(overlay) = &app.ui.overlay else { return cursor };
    let message = Rect {
        height: notice::message_height(app, area.width).min(screen.notice.height),
        ..screen.notice
    };
    let before = cells(message, buffer);
    let cursor = overlay.dialog().draw(app, DialogArea { screen, body }, buffer);
    if cells(message, buffer) != before {
        notice::draw_over(app, body, buffer);
    }
    cursor
}

/// What stands in an area.
fn cells(area: Rect, buffer: &Buffer) -> Vec<Cell> {
    let positions = area.intersection(buffer.area).positions();
    positions.map(|position| buffer[position].clone()).collect()
}

/// One line that says what would be enough.
fn too_small(app: &App, area: Rect, buffer: &mut Buffer) {
    let long = format!(
        "{}×{} is too small: drllm needs {MIN_WIDTH}×{MIN_HEIGHT}",
        area.width, area.height
    );
    let text = match long.chars().count() <= usize::from(area.width) {
        true => long,
        false => format!("needs {MIN_WIDTH}×{MIN_HEIGHT}"),
    };
    put(buffer, area, 0, 0, &text, app.ui.theme.style(Role::Warning));
}

/// Writes one line of text at (`x`, `y`) from the area's corner, cut to the area. Columns used.
fn put(buffer: &mut Buffer, area: Rect, x: u16, y: u16, text: &str, style: Style) -> u16 {
    let area = area.intersection(buffer.area);
    if x >= area.width || y >= area.height {
        return 0;
    }
    let text = fit(text, usize::from(area.width - x));
    let (end, _) = buffer.set_stringn(area.x + x, area.y + y, text, usize::from(area.width - x), style);
    end - area.x - x
}

#[cfg(test)]
mod tests;
