//! The file is named that the run goes to.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, closed, stays, typing};
use crate::tui::action::UiAction::{self, Accept, Close, Dismiss};
use crate::tui::app::App;
use crate::tui::files::FileReport;
use crate::tui::line_edit::LineEdit;
use crate::tui::save::SaveDialog;
use crate::tui::view;

impl Dialog for SaveDialog {
    fn context(&self, _app: &App) -> &'static str {
        "command"
    }

    fn keys(&self, _app: &App) -> Vec<Offer> {
        vec![(Accept, "write"), (Close, "cancel")]
    }

    fn handle(mut self, app: &mut App, action: UiAction) -> Handled {
        if let (Accept, Some(run)) = (action, &app.shown) {
            app.file = self.ask(run);
        }
        match action {
            Close | Dismiss => closed(),
            _ => stays(self),
        }
    }

    fn field(&mut self) -> Option<&mut LineEdit> {
        Some(&mut self.edit)
    }

    fn report(mut self, app: &mut App, report: FileReport) -> Handled {
        match self.reported(report) {
            Some(path) => {
                app.info(format!("the run is in {path}"));
                closed()
            }
            None => stays(self),
        }
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        Some(view::save::draw(app, self, place.body, buffer))
    }

    fn words(&self, _app: &App) -> String {
        typing("save the run, the file to write", &self.edit)
    }
}
