//! A search of programs.

use crossterm::event::KeyEvent;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::{Dialog, DialogArea, Handled, Offer};
use crate::tui::action::UiAction::{
    self, Accept, Close, CopyProgram, Down, FocusNext, Follow, Help, NewLine, Search, SearchExample, SearchSort, Stop,
    Toggle, Up,
};
use crate::tui::app::App;
use crate::tui::search::{self, SearchField, SearchPage};
use crate::tui::{update, view};

/// Rows that a search needs at least to leave the lesson in sight.
const LEAST_ROWS: u16 = 18;

/// What is seen of [`App::search`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchDialog(pub SearchPage);

impl Dialog for SearchDialog {
    fn context(&self, _app: &App) -> &'static str {
        match self.0 {
            SearchPage::Form => "search-form",
            SearchPage::Watch => "search",
        }
    }

    fn keys(&self, app: &App) -> Vec<Offer> {
        match self.0 {
            SearchPage::Form => match app.search.form.field {
                SearchField::Answers => vec![
                    (Search, "search"),
                    (NewLine, "one more answer"),
                    (FocusNext, "next field"),
                    (SearchExample, "example"),
                    (Close, "close"),
                ],
                SearchField::Start => vec![
                    (Accept, "search"),
                    (FocusNext, "next field"),
                    (SearchExample, "example"),
                    (Close, "close"),
                ],
                _ => vec![
                    (Search, "search"),
                    (FocusNext, "next field"),
                    (SearchExample, "example"),
                    (Close, "close"),
                ],
            },
            SearchPage::Watch => {
                let moving = [(Up, "choose"), (Down, "choose"), (FocusNext, "tree/list")];
                let shown = [(SearchSort, "sort"), (Toggle, "fold"), (Close, "close"), (Help, "help")];
                match app.search.is_running() {
                    true => [
                        vec![(Stop, "stop")],
                        moving.to_vec(),
                        vec![(Accept, "take the program"), (Follow, "follow")],
                        shown.to_vec(),
                    ]
                    .concat(),
                    false => [
                        vec![(Accept, "take the program"), (CopyProgram, "copy it")],
                        moving.to_vec(),
                        vec![(Search, "another search")],
                        shown.to_vec(),
                    ]
                    .concat(),
                }
            }
        }
    }

    fn handle(self, app: &mut App, action: UiAction) -> Handled {
        update::search::act(app, self.0, action)
    }

    fn key(&mut self, app: &mut App, key: KeyEvent) {
        if self.0 == SearchPage::Form {
            app.search.form.key(key);
        }
    }

    fn paste(&mut self, app: &mut App, text: &str) {
        if self.0 == SearchPage::Form {
            app.search.form.paste(text);
        }
    }

    fn scroll(&mut self, app: &mut App, lines: isize) {
        if let (SearchPage::Watch, Some(watched)) = (self.0, &mut app.search.watched) {
            watched.move_by(lines.signum());
        }
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        // The lesson stays in sight where there is room for both.
        let body = place.body;
        let top = place.screen.lesson.map_or(body.y, Rect::bottom);
        let height = body.bottom().saturating_sub(top);
        let body = match height >= LEAST_ROWS {
            true => Rect { y: top, height, ..body },
            false => body,
        };
        view::search::draw(app, self.0, body, buffer)
    }

    fn words(&self, app: &App) -> String {
        search::describe(&app.search, self.0).unwrap_or_else(|| "search: nothing tried yet".to_owned())
    }
}
