//! The decisions that could be flipped.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, closed, help, moved, opened, quoted, stays};
use crate::engine::flip::all_else;
use crate::engine::{AskId, InspectionRequest, InspectionResult};
use crate::text::escape_controls;
use crate::tui::action::UiAction::{
    self, Accept, Branch, Close, Dismiss, Down, Flips, Freeze, Help, Inside, Toggle, Up,
};
use crate::tui::app::App;
use crate::tui::inside::{FlipDialog, PendingQuestion, TOP};
use crate::tui::{update, view};

impl Dialog for FlipDialog {
    fn keys(&self, _app: &App) -> Vec<Offer> {
        vec![
            (Accept, "try it"),
            (Toggle, "another action"),
            (
                Freeze,
                if self.frozen {
                    "let later layers decide"
                } else {
                    "freeze the rest"
                },
            ),
            (Branch, "run on with it"),
            (Inside, "inside"),
            (Up, "choose"),
            (Down, "choose"),
            (Close, "close"),
            (Help, "help"),
        ]
    }

    fn handle(mut self, app: &mut App, action: UiAction) -> Handled {
        match action {
            Close | Dismiss | Flips => return closed(),
            Help => return help(),
            Inside => return opened(app, update::inside::open),
            Accept => return self.try_it(app),
            Branch => return opened(app, |app| update::inside::commit(app, &self)),
            Toggle => self.turn(),
            Freeze => {
                self.frozen = !self.frozen;
                if self.flip.take().is_some() {
                    return self.try_it(app);
                }
            }
            action => {
                let to = moved(self.row, self.rows.len().saturating_sub(1), action);
                self.go_to(app, to);
            }
        }
        stays(self)
    }

    fn scroll(&mut self, app: &mut App, lines: isize) {
        let last = self.rows.len().saturating_sub(1);
        self.go_to(app, self.row.saturating_add_signed(lines.signum()).min(last));
    }

    fn is_asking(&self) -> bool {
        self.flip.as_ref().is_some_and(PendingQuestion::is_waiting)
    }

    fn answer(&mut self, _app: &App, ask: AskId, answer: InspectionResult) {
        if !self.flip.as_ref().is_some_and(|flip| flip.waits_for(ask)) {
            return;
        }
        self.flip = match answer {
            InspectionResult::Flipped(flip) => Some(PendingQuestion::Here(flip)),
            InspectionResult::Refused(why) => Some(PendingQuestion::Refused(why)),
            _ => return,
        };
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::flips::draw(app, self, place.body, buffer);
        None
    }

    fn words(&self, app: &App) -> String {
        let Some(row) = self.selected() else {
            return "flips: there is nothing to flip".to_owned();
        };
        let (n, all) = (self.row + 1, self.rows.len());
        let margin = row.margin.map_or(String::new(), |m| format!(", margin {m:.3}"));
        let came = match &self.flip {
            None => String::new(),
            Some(PendingQuestion::Here(flip)) => {
                let next = flip.shifts.iter().max_by(|a, b| a.after.total_cmp(&b.after));
                let next = next.map_or(String::new(), |s| {
                    format!(
                        ", likeliest then {} with {:.2}, before {:.2}",
                        quoted(&s.text),
                        s.after,
                        s.before
                    )
                });
                let note = flip
                    .note
                    .as_ref()
                    .map_or(String::new(), |note| format!(", {}", escape_controls(note)));
                format!(
                    "; flipped: KL {:.4} nats{next}, {}{note}",
                    flip.kl,
                    all_else(flip.frozen)
                )
            }
            Some(asked) => format!("; {}", asked.told()),
        };
        format!(
            "flip {n} of {all}: layer {}, {}, {} to {}{margin}{came}",
            row.layer,
            app.place_of(row.position),
            row.from,
            row.to
        )
    }
}

impl FlipDialog {
    /// Selects a row; the map's cursor goes with it.
    fn go_to(&mut self, app: &mut App, row: usize) {
        if row == self.row {
            return;
        }
        (self.row, self.flip) = (row, None);
        if let Some(&selected) = self.selected() {
            app.ui.cursor.layer = selected.layer;
            update::select_token(app, selected.position);
        }
    }

    /// Asks what the selected row changes.
    fn try_it(mut self, app: &mut App) -> Handled {
        let (Some(&row), Some(run)) = (self.selected(), app.shown.as_ref().map(|r| r.id)) else {
            return stays(self);
        };
        let made = app.run(run).and_then(|run| run.trace.header.routers.clone());
        let (flip, commands) = update::inside::ask(app, run, |run| InspectionRequest::Flip {
            trace: Box::new(run.trace.first(row.position + 1)),
            layer: row.layer,
            position: row.position,
            action: row.to,
            top: TOP,
            frozen: self.frozen,
        });
        self.flip = Some(flip);
        // A run under way would be ended by other routers, and has the right ones.
        let commands = match commands.is_empty() || app.is_busy() {
            true => commands,
            false => update::routers::bring(app, made, commands),
        };
        (Some(self.into()), commands)
    }
}
