//! Another token is put at a place of the answer.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, closed, opened, quoted, stays, typing};
use crate::engine::{AskId, InspectionResult, Prompt};
use crate::tui::action::UiAction::{self, Accept, Close, Dismiss};
use crate::tui::app::App;
use crate::tui::inside::ForceDialog;
use crate::tui::line_edit::LineEdit;
use crate::tui::update::requests::{self, Branch};
use crate::tui::view;

impl Dialog for ForceDialog {
    fn context(&self, _app: &App) -> &'static str {
        "command"
    }

    fn keys(&self, _app: &App) -> Vec<Offer> {
        vec![(Accept, "run on with it"), (Close, "cancel")]
    }

    fn handle(mut self, app: &mut App, action: UiAction) -> Handled {
        match action {
            Close | Dismiss => return closed(),
            Accept => {}
            _ => return stays(self),
        }
        let candidate = self.before.here().and_then(|i| i.next.top.get(self.row));
        let forced = match (self.edit.text.is_empty(), candidate) {
            (false, _) => Prompt::Text(self.edit.text.clone()),
            (true, Some(candidate)) => Prompt::Ids(vec![candidate.id]),
            (true, None) => {
                self.edit
                    .refuse("type a token's text, or wait for the likely ones and choose".to_owned());
                return stays(self);
            }
        };
        let settings = app.next_settings();
        let (at, forced) = (self.position, Some(forced));
        opened(app, |app| requests::branch(app, Branch { at, forced, settings }))
    }

    fn field(&mut self) -> Option<&mut LineEdit> {
        Some(&mut self.edit)
    }

    /// Up and down choose among the likely tokens.
    fn key(&mut self, _app: &mut App, key: KeyEvent) {
        match key.code {
            KeyCode::Up => self.move_by(-1),
            KeyCode::Down => self.move_by(1),
            _ => self.edit.key(key),
        }
    }

    fn scroll(&mut self, _app: &mut App, lines: isize) {
        self.move_by(lines.signum());
    }

    fn is_asking(&self) -> bool {
        self.before.is_waiting()
    }

    fn answer(&mut self, app: &App, ask: AskId, answer: InspectionResult) {
        if !self.before.waits_for(ask) {
            return;
        }
        self.before.inspected(answer);
        // The likeliest one that is not there already.
        let there = app.shown.as_ref().and_then(|run| Some(run.step(self.position)?.id));
        let first = self.before.here().and_then(|i| Some(i.next.top.first()?.id));
        self.move_by(isize::from(first.is_some() && first == there));
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::force::draw(app, self, place.body, buffer)
    }

    fn words(&self, app: &App) -> String {
        let place = format!("another token for {}", app.place_of(self.position));
        if !self.edit.text.is_empty() || self.edit.error.is_some() {
            return typing(&place, &self.edit);
        }
        let Some(inspection) = self.before.here() else {
            return format!("{place}: {}", self.before.told());
        };
        let top = &inspection.next.top;
        match top.get(self.row) {
            Some(candidate) => {
                let text = quoted(&candidate.text);
                let (n, all) = (self.row + 1, top.len());
                format!(
                    "{place}: candidate {n} of {all}, {text} with {:.2}",
                    candidate.probability
                )
            }
            None => format!("{place}: type its text"),
        }
    }
}
