//! The screen for screen readers: the selection in words, where the terminal's cursor stands too, and
//! letters, digits and blanks instead of borders and block characters.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::app::App;
use super::super::describe;
use super::super::theme::Role;
use super::super::widgets::flow::wrap;
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
    let mut lines = wrap(&text, width);
    lines.truncate(LINES);
    lines
}

/// Writes the words over whatever is in their rows, and puts plain characters into the place of all that is drawn.
pub(super) fn draw(app: &App, area: Option<Rect>, buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if let Some(plain) = plain(cell.symbol()) {
            cell.set_symbol(plain);
        }
    }
    let Some(area) = area else { return };
    for (y, line) in (0..area.height).zip(lines(app, area.width)) {
        let style = app.ui.theme.style(Role::Text);
        put(buffer, area, 0, y, &" ".repeat(usize::from(area.width)), style);
        put(buffer, area, 0, y, &line, style);
    }
}

/// What stands for a drawn character. Decisions are digits where they are drawn already.
fn plain(symbol: &str) -> Option<&'static str> {
    let c = symbol.chars().next()?;
    Some(match c {
        '\u{2500}'..='\u{259f}' => " ",
        '▸' | '▷' | '›' | '→' => ">",
        '▲' => "^",
        '◆' | '◐' | '◓' | '◑' | '◒' | '●' | '○' | '□' | '■' | '‖' => "*",
        '✓' => "+",
        '✗' | '≠' => "!",
        '·' => "-",
        '…' => ".",
        _ => return None,
    })
}
