//! Inside a token: what every layer would say.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, closed, help, opened, quoted, stays, typing};
use crate::engine::{AskId, InspectionResult, Stage};
use crate::trace::ExcludedExpert;
use crate::tui::action::UiAction::{
    self, Accept, BottomLayer, Branch, Close, Dismiss, Down, ExcludeExpert, Flips, FollowNext, FollowTyped, Force,
    Help, Inside, Left, Right, TopLayer, Up,
};
use crate::tui::app::App;
use crate::tui::inside::{Follow, InsideDialog, PendingQuestion};
use crate::tui::line_edit::LineEdit;
use crate::tui::{update, view};

impl InsideDialog {
    /// The next run does without the selected layer's expert of the greatest weight that is not excluded yet.
    fn exclude_expert(&self, app: &mut App) {
        let looped = app.shown.as_ref().and_then(|run| run.looped());
        let Some(looped) = looped else {
            return app.info("no experts to exclude: only a looped model has some (--model loopmoe)");
        };
        let (layer, iteration) = looped.execution(app.ui.cursor.layer);
        let inspection = self.inspection.here();
        let stage = inspection.and_then(|inspection| {
            let at = inspection.of_layer(app.ui.cursor.layer).last()?;
            inspection.stages[at].experts.as_ref()
        });
        let Some(used) = stage else {
            return app.info("its experts are not known yet");
        };
        let excluded = |expert: usize| ExcludedExpert { layer, expert };
        let mut left = used.experts.iter().map(|(expert, _)| excluded(*expert));
        match left.find(|expert| !app.settings.excluded_experts.contains(expert)) {
            None if used.experts.is_empty() => app.info(format!("layer {layer} is dense: it has no experts")),
            None => app.info(format!(
                "all experts of this execution of layer {layer} are excluded already"
            )),
            Some(expert) => {
                app.settings.excluded_experts.push(expert);
                let keys = app.ui.keymap.keys_for(UiAction::Overrides, "grid");
                let list = keys.first().map_or("the palette", String::as_str);
                let everywhere = iteration.map_or("", |_| ", in every iteration");
                app.info(format!(
                    "the next run does without expert {} of layer {layer}{everywhere}; {list} in the map takes it back",
                    expert.expert
                ));
            }
        }
    }
}

impl Dialog for InsideDialog {
    fn context(&self, _app: &App) -> &'static str {
        match self.edit {
            Some(_) => "command",
            None => "overlay",
        }
    }

    fn keys(&self, app: &App) -> Vec<Offer> {
        if self.edit.is_some() {
            return vec![(Accept, "follow it"), (Close, "cancel")];
        }
        let has_experts = app.shown.as_ref().is_some_and(|run| run.looped().is_some());
        let offers = [
            (Close, "close"),
            (Left, "token"),
            (Right, "token"),
            (Up, "layer"),
            (Down, "layer"),
            (ExcludeExpert, "exclude its expert"),
            (FollowNext, "follow a next token"),
            (FollowTyped, "follow a word"),
            (Flips, "flip"),
            (Branch, "branch"),
            (Force, "other token"),
            (Help, "help"),
        ];
        let serves = |offer: &Offer| has_experts || offer.0 != ExcludeExpert;
        offers.into_iter().filter(serves).collect()
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
            ExcludeExpert => self.exclude_expert(app),
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
