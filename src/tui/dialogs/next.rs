//! The next token of a run that is held, with one layer taken otherwise.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, closed, help, moved, opened, quoted, stays};
use crate::engine::{AskId, Command, InspectionResult};
use crate::program::Action;

use crate::tui::action::UiAction::{
    self, Accept, BottomLayer, Close, Dismiss, Down, Help, Left, PinExecute, PinRepeat, PinSkip, PlayPause, Right,
    StepToken, Toggle, TopLayer, Up,
};
use crate::tui::app::App;
use crate::tui::inside::{NextDialog, PendingQuestion};
use crate::tui::{update, view};

impl Dialog for NextDialog {
    fn context(&self, _app: &App) -> &'static str {
        "intervene"
    }

    fn keys(&self, _app: &App) -> Vec<Offer> {
        vec![
            (Accept, "go on with it"),
            (StepToken, "go on without it"),
            (PinSkip, "skip"),
            (PinExecute, "execute"),
            (PinRepeat, "repeat"),
            (Up, "layer"),
            (Down, "layer"),
            (Close, "close"),
            (Help, "help"),
        ]
    }

    fn handle(self, app: &mut App, action: UiAction) -> Handled {
        let layer = app.ui.cursor.layer;
        let last = app.layers().saturating_sub(1);
        let at = Action::ALL.iter().position(|a| *a == self.action).unwrap_or(0);
        let turned = |by: usize| Action::ALL[(at + by) % Action::ALL.len()];
        let computed = |app: &mut App, action| opened(app, |app| update::intervene::compute(app, action));
        match action {
            Close | Dismiss | UiAction::Intervene => return closed(),
            Help => return help(),
            Accept => return update::intervene::go_on_with(app, self),
            StepToken => return (None, vec![Command::Step]),
            PlayPause => {
                app.held = false;
                return (None, vec![Command::Resume]);
            }
            // Layer 0 is the lowest.
            Up => app.ui.cursor.layer = moved(layer, last, Down),
            Down => app.ui.cursor.layer = moved(layer, last, Up),
            TopLayer => app.ui.cursor.layer = last,
            BottomLayer => app.ui.cursor.layer = 0,
            PinSkip => return computed(app, Action::Skip),
            PinExecute => return computed(app, Action::Execute),
            PinRepeat => return computed(app, Action::Repeat),
            Right | Toggle => return computed(app, turned(1)),
            Left => return computed(app, turned(Action::ALL.len() - 1)),
            _ => {}
        }
        match app.ui.cursor.layer == layer {
            true => stays(self),
            false => computed(app, self.action),
        }
    }

    fn is_asking(&self) -> bool {
        self.intervention.is_waiting()
    }

    fn answer(&mut self, _app: &App, ask: AskId, answer: InspectionResult) {
        if !self.intervention.waits_for(ask) {
            return;
        }
        self.intervention = match answer {
            InspectionResult::Intervened(intervention) => PendingQuestion::Here(intervention),
            InspectionResult::Refused(why) => PendingQuestion::Refused(why),
            _ => return,
        };
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::next::draw(app, self, place.body, buffer);
        None
    }

    fn words(&self, app: &App) -> String {
        let place = format!("the next token, layer {} to {}", app.ui.cursor.layer, self.action);
        let Some(intervention) = self.intervention.here() else {
            return format!("{place}: {}", self.intervention.told());
        };
        let flip = &intervention.flip;
        let likeliest = flip.shifts.iter().max_by(|a, b| a.after.total_cmp(&b.after));
        let then = likeliest.map_or(String::new(), |shift| {
            format!(
                ", then likeliest {} with {:.2}, as decided {:.2}",
                quoted(&shift.text),
                shift.after,
                shift.before
            )
        });
        format!(
            "{place}, decided {}: token {}, KL {:.4} nats{then}",
            flip.from,
            quoted(&intervention.token.text),
            flip.kl
        )
    }
}
