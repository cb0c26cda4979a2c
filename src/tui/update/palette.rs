//! Keys while the command palette is open.

use super::super::action::UiAction;
use super::super::app::{App, Focus, Overlay};
use super::super::palette::{Palette, Target};
use super::{act, focus, lessons, requests, routers};
use crate::engine::Command;

/// Entries that a page moves.
const PAGE: isize = 10;

/// Opens the palette over whatever is there.
pub(super) fn open(app: &mut App) {
    let palette = Palette::new(app, app.context());
    app.overlay = Some(Overlay::Palette(palette));
}

pub(super) fn act(app: &mut App, mut palette: Palette, action: UiAction) -> Vec<Command> {
    match action {
        UiAction::Close | UiAction::Dismiss | UiAction::Palette => return Vec::new(),
        UiAction::Accept => {
            if let Some(target) = palette.target() {
                return carry_out(app, target.clone());
            }
        }
        UiAction::Up => palette.move_by(-1),
        UiAction::Down => palette.move_by(1),
        UiAction::PageLeft => palette.move_by(-PAGE),
        UiAction::PageRight => palette.move_by(PAGE),
        _ => {}
    }
    app.overlay = Some(Overlay::Palette(palette));
    Vec::new()
}

fn carry_out(app: &mut App, target: Target) -> Vec<Command> {
    match target {
        Target::Action(action) => {
            let commands = act::act(app, action);
            lessons::note(app, action);
            commands
        }
        Target::Lesson(at) => lessons::begin(app, at),
        Target::Prompt(text) => {
            app.prompt.set(&text);
            focus(app, Focus::Prompt);
            Vec::new()
        }
        Target::Recording(at) => requests::recording(app, at),
        Target::Routers(choice) => routers::choose(app, choice),
    }
}
