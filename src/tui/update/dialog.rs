//! Keys while a dialog is open.

use super::super::action::UiAction;
use super::super::app::App;
use super::{lessons, palette, requests};
use crate::engine::Command;

pub(super) fn act(app: &mut App, action: UiAction) -> Vec<Command> {
    match action {
        UiAction::Rerun => {
            app.ui.overlay = None;
            return requests::run(app, true);
        }
        UiAction::Stop => return requests::stop(app),
        UiAction::LessonNext | UiAction::LessonPrevious | UiAction::LessonLeave => return lessons::act(app, action),
        // What is typed stays; the palette itself is closed by its key.
        UiAction::Palette if !matches!(app.context(), "command" | "palette") => {
            palette::open(app);
            return Vec::new();
        }
        _ => {}
    }
    let Some(overlay) = app.ui.overlay.take() else {
        return Vec::new();
    };
    let (overlay, commands) = overlay.handle(app, action);
    app.ui.overlay = overlay;
    commands
}
