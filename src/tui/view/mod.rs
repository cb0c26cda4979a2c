//! State → screen. Nothing in here changes anything.

mod answer;
mod candidates;
mod cell;
mod compare;
mod depths;
mod detail;
mod flips;
mod force;
mod help;
mod inside;
mod keybar;
mod lens;
mod lesson;
mod line;
mod loop_map;
mod map;
mod next;
pub mod notice;
mod overrides;
mod palette;
mod pane;
mod playback;
mod prompt;
mod runs;
pub mod save;
mod search;
mod settings;
pub mod spoken;
pub mod stats;
mod status;
mod tabs;
mod tape;
mod training;
mod twin;
mod words;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::app::{App, Overlay};
use super::layout::{MIN_HEIGHT, MIN_WIDTH, Screen};
use super::theme::Role;
use super::widgets::flow::fit;

/// Draws the whole screen.
pub fn view(app: &App, frame: &mut Frame) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    buffer.set_style(area, app.theme.base());
    let Some(screen) = Screen::new(app, area) else {
        too_small(app, area, buffer);
        return;
    };
    let mut cursor = draw(app, &screen, area, buffer);
    if app.screen_reader {
        spoken::draw(app, &screen, buffer);
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
    let body = Rect {
        y: screen.status.bottom(),
        height: area.height.saturating_sub(screen.status.height + screen.keys.height),
        ..area
    };
    match &app.overlay {
        None => cursor,
        Some(Overlay::Help { scroll }) => {
            help::draw(app, *scroll, body, buffer);
            None
        }
        Some(Overlay::Settings(dialog)) => settings::draw(app, dialog, body, buffer),
        Some(Overlay::Jump(edit)) => Some(playback::draw_jump(app, edit, body, buffer)),
        Some(Overlay::Save(dialog)) => Some(save::draw(app, dialog, body, buffer)),
        Some(Overlay::Overrides(list)) => overrides::draw(app, list, body, buffer),
        Some(Overlay::Lessons { row }) => {
            lesson::draw_list(app, *row, body, buffer);
            None
        }
        Some(Overlay::Palette(found)) => palette::draw(app, found, body, buffer),
        Some(Overlay::Compare { against, scroll }) => {
            compare::draw(app, *against, *scroll, body, buffer);
            None
        }
        Some(Overlay::Force(dialog)) => force::draw(app, dialog, body, buffer),
        Some(Overlay::Stats(dialog)) => stats::draw(app, dialog, body, buffer),
        Some(Overlay::Inside(dialog)) => inside::draw(app, dialog, body, buffer),
        Some(Overlay::Next(dialog)) => {
            next::draw(app, dialog, body, buffer);
            None
        }
        Some(Overlay::Flips(dialog)) => {
            flips::draw(app, dialog, body, buffer);
            None
        }
        Some(Overlay::Search(page)) => search::draw(app, *page, below_lesson(screen, body), buffer),
        Some(Overlay::LoopMap(page)) => loop_map::draw(app, *page, body, buffer),
        Some(Overlay::Runs { row }) => {
            runs::draw(app, *row, body, buffer);
            None
        }
        Some(Overlay::Training) => {
            training::draw(app, body, buffer);
            None
        }
        Some(Overlay::Candidates { row }) => {
            candidates::draw(app, *row, body, buffer);
            None
        }
    }
}

/// Rows that a search needs at least to leave the lesson in sight.
const SEARCH_ROWS: u16 = 18;

/// `body` without the lesson's pane, where there is room for both.
fn below_lesson(screen: &Screen, body: Rect) -> Rect {
    let top = screen.lesson.map_or(body.y, Rect::bottom);
    let height = body.bottom().saturating_sub(top);
    match height >= SEARCH_ROWS {
        true => Rect { y: top, height, ..body },
        false => body,
    }
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
    put(buffer, area, 0, 0, &text, app.theme.style(Role::Warning));
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
