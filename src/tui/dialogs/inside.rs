//! Inside a token: what every layer would say.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, closed, help, opened, quoted, stays, typing};
use crate::engine::{AskId, InspectionResult, Stage};
use crate::tui::action::UiAction::{
    self, Accept, BottomLayer, Branch, Close, Dismiss, Down, Flips, FollowNext, FollowTyped, Force, Help, Inside, Left,
    Right, TopLayer, Up,
};
use crate::tui::app::App;
use crate::tui::inside::{Follow, InsideDialog, PendingQuestion};
use crate::tui::line_edit::LineEdit;
use crate::tui::{update, view};

impl Dialog for InsideDialog {
    fn context(&self, _app: &App) -> &'static str {
        match self.edit {
            Some(_) => "command",
            None => "overlay",
        }
    }

    fn keys(&self, _app: &App) -> Vec<Offer> {
        match self.edit {
            Some(_) => vec![(Accept, "follow it"), (Close, "cancel")],
            None => vec![
                (Close, "close"),
                (Left, "token"),
                (Right, "token"),
                (Up, "layer"),
                (Down, "layer"),
                (FollowNext, "follow a next token"),
                (FollowTyped, "follow a word"),
                (Flips, "flip"),
                (Branch, "branch"),
                (Force, "other token"),
                (Help, "help"),
            ],
        }
    }

    fn handle(mut self, app: &mut App, action: UiAction) -> Handled {
        let before = app.ui.cursor.token;
        if let Some(edit) = self.edit.take() {
            match action {
                Accept => {
                    let typed = Some(edit.text).filter(|text| !text.is_empty());
                    let row = typed.is_some().then_some(0);
                    return opened(app, |app| update::inside::open_following(app, Follow { typed, row }));
                }
                Close | Dismiss => {}
                _ => self.edit = Some(edit),
            }
            return stays(self);
        }
        match action {
            FollowNext => self.follow_next(),
            FollowTyped => self.edit = Some(LineEdit::default()),
            Close | Dismiss | Inside => return closed(),
            Help => return help(),
            Flips => return opened(app, update::inside::open_flips),
            Force => return opened(app, update::inside::open_force),
            Branch => return opened(app, update::inside::branch),
            Up => app.ui.cursor.layer = (app.ui.cursor.layer + 1).min(app.layers().saturating_sub(1)),
            Down => app.ui.cursor.layer = app.ui.cursor.layer.saturating_sub(1),
            TopLayer => app.ui.cursor.layer = app.layers().saturating_sub(1),
            BottomLayer => app.ui.cursor.layer = 0,
            Left => update::select_token(app, before.saturating_sub(1)),
            Right => update::select_token(app, before + 1),
            _ => {}
        }
        match self.inspection {
            PendingQuestion::Here(_) | PendingQuestion::Waiting(_) if app.ui.cursor.token == before => stays(self),
            _ => opened(app, |app| update::inside::open_following(app, self.follow)),
        }
    }

    fn field(&mut self) -> Option<&mut LineEdit> {
        self.edit.as_mut()
    }

    fn is_asking(&self) -> bool {
        self.inspection.is_waiting()
    }

    fn answer(&mut self, _app: &App, ask: AskId, answer: InspectionResult) {
        if self.inspection.waits_for(ask) {
            self.inspection.inspected(answer);
        }
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::inside::draw(app, self, place.body, buffer)
    }

    fn words(&self, app: &App) -> String {
        if let Some(edit) = &self.edit {
            return typing("follow the next token, its text", edit);
        }
        let token = app.place_of(self.position);
        let Some(inspection) = self.inspection.here() else {
            return format!("inside {token}: {}", self.inspection.told());
        };
        let layer = app.ui.cursor.layer;
        let of_layer = |stage: &&Stage| stage.block.is_some_and(|(l, _)| l == layer);
        let Some(stage) = inspection.stages.iter().rfind(of_layer) else {
            return format!("inside {token}: layer {layer} is not in the program");
        };
        let says = match stage.lens.top.first() {
            Some(top) => format!("would say {} with {:.2}", quoted(&top.text), top.probability),
            None => "would say nothing".to_owned(),
        };
        let moved = match stage.moved {
            Some(moved) => format!(", turned {:.3}, moved {:.3}", moved.turn, moved.step),
            None => String::new(),
        };
        let skipped = if stage.carried_out { "" } else { ", skipped," };
        let at = inspection.stages.iter().rposition(|stage| of_layer(&stage));
        let followed = self.followed().zip(at).map_or(String::new(), |(followed, at)| {
            let standing = followed.at[at];
            format!(
                ", {} with {:.3}, rank {}",
                quoted(&followed.token.text),
                standing.probability,
                standing.rank
            )
        });
        format!(
            "inside {token}: layer {layer}{skipped} {says}, KL to end {:.2}{moved}{followed}",
            stage.kl
        )
    }
}
