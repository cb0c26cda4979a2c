//! The list of lessons.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, closed, help, moved, opened, stays};
use crate::tui::action::UiAction::{self, Accept, Close, Dismiss, Down, Up};
use crate::tui::app::App;
use crate::tui::lesson::Listed;
use crate::tui::{update, view};

/// The lessons there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LessonsDialog {
    /// Index into [`App::lessons`].
    pub row: usize,
}

impl Dialog for LessonsDialog {
    fn keys(&self, _app: &App) -> Vec<Offer> {
        vec![(Accept, "begin"), (Up, "choose"), (Down, "choose"), (Close, "close")]
    }

    fn handle(self, app: &mut App, action: UiAction) -> Handled {
        let last = app.lessons.len().saturating_sub(1);
        match action {
            Close | Dismiss | UiAction::Lessons => closed(),
            UiAction::Help => help(),
            Accept => opened(app, |app| update::lessons::begin(app, self.row)),
            action => stays(LessonsDialog {
                row: moved(self.row, last, action),
            }),
        }
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::lesson::draw_list(app, self.row, place.body, buffer);
        None
    }

    fn words(&self, app: &App) -> String {
        match app.lessons.get(self.row) {
            Some(Listed::Usable(lesson)) => format!("lesson {}: {}", lesson.title, lesson.summary),
            Some(Listed::Broken { name, message }) => format!("lesson {name} cannot be used: {message}"),
            None => "lessons: there are none".to_owned(),
        }
    }
}
