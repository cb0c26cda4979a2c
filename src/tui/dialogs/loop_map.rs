//! A loop map.

use crossterm::event::KeyEvent;
use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer};
use crate::tui::action::UiAction::{
    self, Accept, Close, CopyProgram, Down, FocusNext, Follow, Help, Left, LoopBest, LoopMap, LoopMeasure, Right, Stop,
    Up,
};
use crate::tui::app::App;
use crate::tui::search::SearchPage;
use crate::tui::{describe, update, view};

/// What is seen of [`App::loop_map`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopMapDialog(pub SearchPage);

impl Dialog for LoopMapDialog {
    fn context(&self, _app: &App) -> &'static str {
        match self.0 {
            SearchPage::Form => "loop-map-form",
            SearchPage::Watch => "loop-map",
        }
    }

    fn keys(&self, app: &App) -> Vec<Offer> {
        if self.0 == SearchPage::Form {
            return vec![(Accept, "start"), (FocusNext, "next field"), (Close, "close")];
        }
        let first = match app.loop_map.is_running() {
            true => vec![(Stop, "stop"), (Accept, "take the program")],
            false => vec![(Accept, "take the program"), (CopyProgram, "copy it")],
        };
        let moving = [
            (Up, "first"),
            (Down, "first"),
            (Left, "last"),
            (Right, "last"),
            (LoopBest, "best"),
        ];
        let last = match app.loop_map.is_running() {
            true => vec![(LoopMeasure, "measure"), (Follow, "follow")],
            false => vec![(LoopMeasure, "measure"), (LoopMap, "another map")],
        };
        [first, moving.to_vec(), last, vec![(Close, "close"), (Help, "help")]].concat()
    }

    fn handle(self, app: &mut App, action: UiAction) -> Handled {
        update::loop_map::act(app, self.0, action)
    }

    fn key(&mut self, app: &mut App, key: KeyEvent) {
        if self.0 == SearchPage::Form {
            app.loop_map.form.key(key);
        }
    }

    fn paste(&mut self, app: &mut App, text: &str) {
        if self.0 == SearchPage::Form {
            app.loop_map.form.paste(text);
        }
    }

    fn scroll(&mut self, app: &mut App, lines: isize) {
        if let (SearchPage::Watch, Some(watched)) = (self.0, &mut app.loop_map.watched) {
            watched.move_by(lines.signum(), 0);
        }
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::loop_map::draw(app, self.0, place.body, buffer)
    }

    fn words(&self, app: &App) -> String {
        describe::loop_map::dialog(&app.loop_map, self.0)
    }
}
