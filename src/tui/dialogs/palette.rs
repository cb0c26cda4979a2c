//! The command palette.

use crossterm::event::KeyEvent;
use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, PAGE, closed, opened, stays};
use crate::text::escape_controls;
use crate::tui::action::UiAction::{self, Accept, Close, Dismiss, Down, PageLeft, PageRight, Up};
use crate::tui::app::App;
use crate::tui::line_edit::LineEdit;
use crate::tui::palette::Palette;
use crate::tui::{update, view};

impl Dialog for Palette {
    fn context(&self, _app: &App) -> &'static str {
        "palette"
    }

    fn keys(&self, _app: &App) -> Vec<Offer> {
        vec![(Accept, "do it"), (Up, "choose"), (Down, "choose"), (Close, "close")]
    }

    fn handle(mut self, app: &mut App, action: UiAction) -> Handled {
        match action {
            Close | Dismiss | UiAction::Palette => return closed(),
            Accept => {
                if let Some(target) = self.target() {
                    return opened(app, |app| update::palette::carry_out(app, target.clone()));
                }
            }
            Up => self.move_by(-1),
            Down => self.move_by(1),
            PageLeft => self.move_by(-(PAGE as isize)),
            PageRight => self.move_by(PAGE as isize),
            _ => {}
        }
        stays(self)
    }

    fn field(&mut self) -> Option<&mut LineEdit> {
        Some(&mut self.edit)
    }

    fn key(&mut self, _app: &mut App, key: KeyEvent) {
        self.edit.key(key);
        self.search();
    }

    fn paste(&mut self, _app: &mut App, text: &str) {
        self.edit.insert(text);
        self.search();
    }

    fn scroll(&mut self, _app: &mut App, lines: isize) {
        self.move_by(lines);
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::palette::draw(app, self, place.body, buffer)
    }

    fn words(&self, _app: &App) -> String {
        match self.found.get(self.row) {
            Some(found) => {
                let entry = &self.entries[found.entry];
                let (n, all) = (self.row + 1, self.found.len());
                format!("command {n} of {all}: {} {}", entry.text, entry.keys)
            }
            None => format!("commands: nothing matches {}", escape_controls(&self.edit.text)),
        }
    }
}
