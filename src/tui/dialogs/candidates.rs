//! The programs that a predictor proposed.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, closed, help, moved, stays};
use crate::tui::action::UiAction::{self, Accept, Close, Dismiss, Down, Help, Up};
use crate::tui::app::App;
use crate::tui::{update, view};

/// What was proposed for the run on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandidatesDialog {
    /// The selected program, from 0.
    pub row: usize,
}

impl Dialog for CandidatesDialog {
    fn keys(&self, _app: &App) -> Vec<Offer> {
        vec![
            (Accept, "run and compare"),
            (Close, "close"),
            (Up, "choose"),
            (Down, "choose"),
            (Help, "help"),
        ]
    }

    fn handle(self, app: &mut App, action: UiAction) -> Handled {
        let last = app.candidates().len().saturating_sub(1);
        match action {
            Close | Dismiss | UiAction::Candidates => closed(),
            Help => help(),
            Accept => update::candidates::run(app, self.row.min(last)),
            action => stays(CandidatesDialog {
                row: moved(self.row, last, action),
            }),
        }
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::candidates::draw(app, self.row, place.body, buffer);
        None
    }

    fn words(&self, app: &App) -> String {
        let candidates = app.candidates();
        match candidates.get(self.row) {
            Some(candidate) => format!(
                "predicted program {} of {}: score {:.2}, depth {}, {}",
                self.row + 1,
                candidates.len(),
                candidate.score,
                candidate.program.depth(),
                candidate.program
            ),
            None => "predicted programs: there are none".to_owned(),
        }
    }
}
