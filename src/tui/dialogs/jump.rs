//! The number of a token is typed.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, closed, stays, typing};
use crate::tui::action::UiAction::{self, Accept, Close, Dismiss};
use crate::tui::app::App;
use crate::tui::line_edit::LineEdit;
use crate::tui::{update, view};

/// Where in the answer to go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JumpDialog {
    /// A token's number, or a share like 50%.
    pub edit: LineEdit,
}

impl Dialog for JumpDialog {
    fn context(&self, _app: &App) -> &'static str {
        "command"
    }

    fn keys(&self, _app: &App) -> Vec<Offer> {
        vec![(Accept, "go there"), (Close, "cancel")]
    }

    fn handle(mut self, app: &mut App, action: UiAction) -> Handled {
        match action {
            Close | Dismiss => closed(),
            Accept => match update::play::jump(app, &self.edit.text) {
                Ok(()) => closed(),
                Err(message) => {
                    self.edit.refuse(message);
                    stays(self)
                }
            },
            _ => stays(self),
        }
    }

    fn field(&mut self) -> Option<&mut LineEdit> {
        Some(&mut self.edit)
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        Some(view::playback::draw_jump(app, &self.edit, place.body, buffer))
    }

    fn words(&self, _app: &App) -> String {
        typing("jump: the number of a token, or a share like 50%", &self.edit)
    }
}
