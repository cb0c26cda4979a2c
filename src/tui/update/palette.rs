//! The command palette: opening it, and doing what was chosen.

use super::super::app::App;
use super::super::palette::{Palette, Target};
use super::super::ui::Focus;
use super::{act, focus, lessons, requests, routers};
use crate::engine::Command;

/// Opens the palette over whatever is there.
pub(in crate::tui) fn open(app: &mut App) {
    let palette = Palette::new(app, app.context());
    app.ui.overlay = Some(palette.into());
}

/// Does what an entry stands for.
pub(in crate::tui) fn carry_out(app: &mut App, target: Target) -> Vec<Command> {
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
