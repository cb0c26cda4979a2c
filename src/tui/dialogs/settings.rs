//! The settings of the next run.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, TYPED, closed, moved, stays, typing};
use crate::engine::{Command, RouterChoice};
use crate::tui::action::UiAction::{self, Accept, Close, Dismiss, Left, Rerun, Right, Toggle};
use crate::tui::app::App;
use crate::tui::line_edit::LineEdit;
use crate::tui::next_run;
use crate::tui::settings::{SettingsDialog, SettingsField};
use crate::tui::{update, view};

impl Dialog for SettingsDialog {
    fn context(&self, _app: &App) -> &'static str {
        match self.edit {
            Some(_) => "command",
            None => "overlay",
        }
    }

    fn keys(&self, _app: &App) -> Vec<Offer> {
        if self.edit.is_some() {
            return TYPED.to_vec();
        }
        let switches = self.field().is_switch();
        let mut keys = match self.field() {
            SettingsField::Routers => vec![(Toggle, "the next ones"), (Accept, "type a file")],
            SettingsField::Dial | SettingsField::Budget => vec![(Left, "less"), (Right, "more"), (Accept, "type")],
            _ if switches => vec![(Accept, "switch")],
            _ => vec![(Accept, "type")],
        };
        keys.extend([(Rerun, "rerun"), (Close, "close")]);
        keys
    }

    fn handle(mut self, app: &mut App, action: UiAction) -> Handled {
        let last = SettingsField::ALL.len() - 1;
        let mut commands = Vec::new();
        match (action, self.edit.is_some()) {
            (Close | Dismiss, true) if !self.single => self.edit = None,
            (Close | Dismiss, _) => return closed(),
            (Accept, true) => return self.accept(app),
            (_, true) => {}
            (UiAction::Help | UiAction::Settings, false) => return closed(),
            (Left | Right, false) => turn(app, self.field(), action == Right),
            (Toggle, false) if self.field() == SettingsField::Routers => {
                let at = next_run::SHIPPED.iter().position(|choice| *choice == app.routers);
                let choice = match at.map(|at| at + 1) {
                    Some(at) => next_run::SHIPPED.get(at).cloned().unwrap_or(RouterChoice::None),
                    None => RouterChoice::BuiltIn,
                };
                commands = update::routers::choose(app, choice);
            }
            (Toggle, false) => {
                self.field().toggle(&mut app.settings);
            }
            (Accept, false) => {
                let switched = self.field().toggle(&mut app.settings);
                self.edit = (!switched).then(|| LineEdit::new(self.field().shown(app)));
            }
            (action, false) => self.row = moved(self.row, last, action),
        }
        (Some(self.into()), commands)
    }

    fn field(&mut self) -> Option<&mut LineEdit> {
        self.edit.as_mut()
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::settings::draw(app, self, place.body, buffer)
    }

    fn words(&self, app: &App) -> String {
        let field = self.field();
        if let Some(edit) = &self.edit {
            return typing(&format!("setting {}", field.name()), edit);
        }
        let value = field.shown(app);
        let value = if value.is_empty() { "none".to_owned() } else { value };
        format!("setting {}: {value}", field.name())
    }
}

impl SettingsDialog {
    /// Takes what was typed.
    fn accept(mut self, app: &mut App) -> Handled {
        let layers = app.model_layers();
        let (field, single) = (self.field(), self.single);
        let Some(edit) = &mut self.edit else { return stays(self) };
        if field == SettingsField::Routers {
            let typed = edit.text.trim();
            if typed.is_empty() {
                edit.refuse("name routers: built-in, dr-llm, verifier, none, or the path of a checkpoint".to_owned());
                return stays(self);
            }
            let choice = RouterChoice::from(typed);
            self.edit = None;
            let commands: Vec<Command> = update::routers::choose(app, choice);
            return ((!single).then(|| self.into()), commands);
        }
        let calibration = app.calibration().cloned();
        match field.set(&mut app.settings, &edit.text, layers, calibration.as_ref()) {
            Ok(()) if single => return closed(),
            Ok(()) => self.edit = None,
            Err(error) => {
                edit.move_to(error.column.map_or(usize::MAX, |c| c - 1));
                edit.error = Some(error);
            }
        }
        stays(self)
    }
}

/// Turns a setting that has steps, as its keys do.
fn turn(app: &mut App, field: SettingsField, up: bool) {
    match field {
        SettingsField::Dial => update::act::turn_dial(app, up),
        SettingsField::Budget => update::act::turn_budget(app, up),
        _ => {}
    }
}
