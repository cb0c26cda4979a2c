//! The command palette.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::super::app::App;
use super::super::layout::{dialog as place, inner};
use super::super::palette::{FoundEntries, Palette, PaletteEntry};
use super::super::theme::Role;
use super::super::widgets::flow::fit;
use super::{line, pane, put};

/// Columns and rows it takes at most.
const WIDTH: u16 = 100;
const HEIGHT: u16 = 30;

/// Columns of the keys.
const KEYS: usize = 14;

const SIGN: &str = "› ";

/// Draws the palette; where what is typed goes.
pub(in crate::tui) fn draw(app: &App, palette: &Palette, body: Rect, buffer: &mut Buffer) -> Option<Position> {
    let area = place(body, WIDTH, HEIGHT);
    let remark = format!("{} of {}", palette.found.len(), palette.entries.len());
    pane::dialog(app, area, "What do you want to do?", &remark, buffer);
    let area = inner(area);
    let x = put(buffer, area, 0, 0, SIGN, app.ui.theme.style(Role::Accent));
    let typed = Rect {
        x: area.x + x,
        width: area.width.saturating_sub(x),
        height: area.height.min(1),
        ..area
    };
    let cursor = line::draw(app, &palette.edit, typed, buffer);
    if palette.edit.text.is_empty() {
        let hint = "type a part of it: a name, a key, words of a prompt";
        put(buffer, typed, 0, 0, hint, app.ui.theme.style(Role::Muted));
    }
    let list = Rect {
        y: area.y + 2,
        height: area.height.saturating_sub(2),
        ..area
    };
    if palette.found.is_empty() {
        let none = "nothing is called that: try fewer letters";
        put(buffer, list, 0, 0, none, app.ui.theme.style(Role::Muted));
    }
    let top = (palette.row + 1).saturating_sub(usize::from(list.height));
    for (y, (row, found)) in (0..list.height).zip(palette.found.iter().enumerate().skip(top)) {
        let entry = &palette.entries[found.entry];
        draw_row(app, entry, found, row == palette.row, list, y, buffer);
    }
    Some(cursor)
}

/// `▸ what it does            its-name  keys`, with what matches marked.
fn draw_row(
    app: &App,
    entry: &PaletteEntry,
    found: &FoundEntries,
    here: bool,
    list: Rect,
    y: u16,
    buffer: &mut Buffer,
) {
    let style = |role| app.ui.theme.style(role);
    let keys_at = list.width.saturating_sub(KEYS as u16);
    let text = entry.text.graphemes(true).count() as u32;
    let name = entry.name.graphemes(true).count() as u32;
    let plain = style(if here { Role::Accent } else { Role::Text });
    put(buffer, list, 0, y, if here { "▸" } else { " " }, plain);
    let room = usize::from(keys_at.saturating_sub(3));
    let shown = fit(&entry.text, room);
    let part = |from: u32| Marked {
        marks: &found.marks,
        from,
        on: style(Role::Pin),
    };
    part(0).put(buffer, list, 2, y, &shown, plain);
    // The name stands there only where all of it fits.
    if shown.width() + 2 + entry.name.width() <= room {
        let at = keys_at.saturating_sub(1 + entry.name.width() as u16);
        part(text + 1).put(buffer, list, at, y, &entry.name, style(Role::Muted));
    }
    let keys = fit(&entry.keys, KEYS - 1);
    part(text + name + 2).put(buffer, list, keys_at + 1, y, &keys, style(Role::KeyBarKey));
}

/// Draws a part of what was searched, which begins at its grapheme `from`.
struct Marked<'a> {
    marks: &'a [u32],
    from: u32,
    on: Style,
}

impl Marked<'_> {
    fn put(&self, buffer: &mut Buffer, area: Rect, mut x: u16, y: u16, text: &str, plain: Style) {
        for (at, grapheme) in (self.from..).zip(text.graphemes(true)) {
            let marked = self.marks.binary_search(&at).is_ok();
            let style = if marked { plain.patch(self.on) } else { plain };
            x += put(buffer, area, x, y, grapheme, style);
        }
    }
}
