//! Programs that become an override of the next run.

use super::super::action::UiAction;
use super::super::app::App;
use super::super::override_list;
use super::super::ui::Focus;
use super::focus;
use crate::program::Program;

/// Makes a program an override of the next run; whether it could be, else the reason is on the screen.
pub(super) fn take_program(app: &mut App, program: &Program) -> bool {
    let layers = app.model_layers();
    let text = format!("program {program}");
    match override_list::accept(&mut app.settings, &mut app.off, None, &text, layers) {
        Ok(_) => true,
        Err(error) => {
            app.error(error.message);
            false
        }
    }
}

/// Goes where the program can be run, and says by which key; `what` is the prompt or the question.
pub(super) fn say_taken(app: &mut App, program: &Program, what: &str) {
    if app.ui.focus == Focus::Prompt {
        focus(app, Focus::Map);
    }
    let keys = app.ui.keymap.keys_for(UiAction::Rerun, app.ui.focus.context());
    let key = keys.first();
    let rerun = key.map_or(String::new(), |key| format!(": {key} runs the {what} with it"));
    app.info(format!("{program} is the program now{rerun}"));
}
