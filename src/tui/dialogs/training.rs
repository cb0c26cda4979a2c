//! Depth routers are trained beside the screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, closed, help, moved, stays};
use crate::text::escape_controls;
use crate::tui::action::UiAction::{self, Accept, Close, CopyProgram, Dismiss, Down, Help, Up};
use crate::tui::app::App;
use crate::tui::training::{Size, TrainingState};
use crate::tui::{update, view};

/// What is seen of [`App::training`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingDialog;

impl Dialog for TrainingDialog {
    fn keys(&self, app: &App) -> Vec<Offer> {
        let mut keys = match app.training.is_running() {
            true => vec![(Accept, "stop")],
            false => vec![(Accept, "start"), (Up, "size"), (Down, "size")],
        };
        keys.extend([(CopyProgram, "copy the command"), (Close, "close"), (Help, "help")]);
        keys
    }

    fn handle(self, app: &mut App, action: UiAction) -> Handled {
        match action {
            Close | Dismiss | UiAction::TrainRouters => return closed(),
            Help => return help(),
            Accept => update::training::accept(app),
            CopyProgram => update::training::copy(app),
            action if !app.training.is_running() => {
                let at = Size::ALL.iter().position(|size| *size == app.training.size);
                let to = moved(at.unwrap_or(0), Size::ALL.len() - 1, action);
                app.training.size = Size::ALL[to];
            }
            _ => {}
        }
        stays(self)
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::training::draw(app, place.body, buffer);
        None
    }

    fn words(&self, app: &App) -> String {
        let training = &app.training;
        let state = match training.state {
            TrainingState::Idle => "not begun",
            TrainingState::Running => "under way",
            TrainingState::Stopping => "stopping",
            TrainingState::Stopped => "stopped, what was done is kept",
            TrainingState::Failed => "failed",
            TrainingState::Trained => "trained",
        };
        let said = training
            .lines
            .back()
            .map_or(String::new(), |line| format!("; {}", escape_controls(line)));
        format!(
            "training of depth routers, {}: {}; {state}{said}",
            training.size.name(),
            training.size.describe()
        )
    }
}
