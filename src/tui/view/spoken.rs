//! The screen for screen readers: the selection in words, where the terminal's cursor stands too, and
//! letters and digits instead of borders and block characters.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::app::App;
use super::super::describe;
use super::super::grid::Grid;
use super::super::layout::Screen;
use super::super::theme::Role;
use super::super::widgets::flow::flow;
use super::put;

/// Most lines of the words.
const LINES: usize = 3;

/// Rows that the words take.
pub fn height(app: &App, width: u16) -> u16 {
    match app.ui.screen_reader {
        true => lines(app, width).len() as u16,
        false => 0,
    }
}

fn lines(app: &App, width: u16) -> Vec<String> {
    let text = describe::selected(app).unwrap_or_else(|| "nothing is selected".to_owned());
    let lines = flow([(0, text.as_str())].into_iter(), width, None);
    let text = |line: &Vec<super::super::widgets::flow::Glyph>| line.iter().map(|g| g.text.as_ref()).collect();
    lines.iter().take(LINES).map(text).collect()
}

/// Writes the words, and puts plain characters into the place of all that is drawn.
pub(super) fn draw(app: &App, screen: &Screen, buffer: &mut Buffer) {
    let map = map_cells(app, screen);
    for position in buffer.area.positions() {
        let in_map = map.is_some_and(|cells| cells.contains(position));
        // The legend is beside the messages.
        let digits = in_map || screen.notice.contains(position);
        let cell = &mut buffer[position];
        if let Some(plain) = plain(cell.symbol(), digits, in_map) {
            cell.set_symbol(plain);
        }
    }
    let Some(area) = screen.spoken else { return };
    for (y, line) in (0..area.height).zip(lines(app, area.width)) {
        put(buffer, area, 0, y, &line, app.ui.theme.style(Role::Text));
    }
}

/// Where glyphs are decisions.
fn map_cells(app: &App, screen: &Screen) -> Option<Rect> {
    let (run, pane) = (app.shown.as_ref()?, screen.map?);
    (app.ui.overlay.is_none() && !app.ui.map.lens).then(|| Grid::new(app, run, pane).cells)
}

/// What stands for a drawn character. Executions are digits in the map and the legend; colons are
/// skips in the map alone.
fn plain(symbol: &str, digits: bool, in_map: bool) -> Option<&'static str> {
    let c = symbol.chars().next()?;
    Some(match (c, digits) {
        (':', _) if in_map => "0",
        ('·', true) => "0",
        ('▓' | '▙', true) => "1",
        ('█' | '▛', true) => "2",
        ('\u{2500}'..='\u{259f}', _) => " ",
        ('▸' | '▷' | '›', _) => ">",
        ('▲', _) => "^",
        ('◆', _) => "*",
        ('→', _) => ">",
        ('◐' | '◓' | '◑' | '◒' | '●' | '○' | '□' | '■' | '‖', _) => "*",
        ('✓', _) => "+",
        ('✗' | '≠', _) => "!",
        ('·', _) => "-",
        ('…', _) => ".",
        _ => return None,
    })
}
