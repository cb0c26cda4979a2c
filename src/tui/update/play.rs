//! Playing traces, and holding a run that is computed.

use super::super::action::UiAction;
use super::super::app::App;
use super::super::dialogs::JumpDialog;
use super::super::playback;
use super::select_token;
use crate::engine::Command;

pub(in crate::tui) fn act(app: &mut App, action: UiAction) -> Vec<Command> {
    match action {
        UiAction::PlaySlower | UiAction::PlayFaster => {
            app.ui.speed = app.ui.speed.changed(action == UiAction::PlayFaster);
            app.info(format!("traces play at {} their speed", app.ui.speed));
            Vec::new()
        }
        _ if app.is_busy() => live(app, action),
        _ => {
            recorded(app, action);
            Vec::new()
        }
    }
}

/// A run under way: it is held in the worker, before its next token.
fn live(app: &mut App, action: UiAction) -> Vec<Command> {
    match (action, app.held) {
        (UiAction::PlayPause, true) => {
            app.held = false;
            vec![Command::Resume]
        }
        (UiAction::PlayPause | UiAction::StepToken, false) => {
            app.held = true;
            vec![Command::Pause]
        }
        (UiAction::StepToken, true) => vec![Command::Step],
        _ => {
            app.info("a run under way is stepped by token; its layers can be stepped when it has ended");
            Vec::new()
        }
    }
}

fn recorded(app: &mut App, action: UiAction) {
    let (now, layers) = (app.ui.now, app.layers());
    let Some(run) = app.shown.as_mut().filter(|run| !run.trace.steps.is_empty()) else {
        return app.info("there is no trace to play: run a prompt, or open a recording");
    };
    let (playback, end) = run.playback_mut();
    match action {
        UiAction::PlayPause => {
            playback.play_pause(end, now);
            if playback.playing && playback.shown == 0 {
                return app.begin_view();
            }
        }
        UiAction::StepToken => playback.step_token(end, true),
        UiAction::StepBack => playback.step_token(end, false),
        UiAction::StepLayer => playback.step_layer(end, layers, true),
        UiAction::StepLayerBack => playback.step_layer(end, layers, false),
        UiAction::JumpToken => app.ui.overlay = Some(JumpDialog::default().into()),
        _ => {}
    }
    match action {
        UiAction::StepLayer | UiAction::StepLayerBack => {
            let newest = app.shown.as_ref().and_then(|run| run.layers_shown());
            app.ui.cursor.layer = newest.unwrap_or(layers).saturating_sub(1);
            select_token(app, usize::MAX);
        }
        UiAction::StepToken | UiAction::StepBack => select_token(app, usize::MAX),
        _ => {}
    }
}

/// Shows `shown` tokens of a trace that is played.
pub(in crate::tui) fn seek(app: &mut App, shown: usize) {
    if let Some(run) = &mut app.shown {
        let (playback, end) = run.playback_mut();
        playback.seek(shown, end);
        select_token(app, usize::MAX);
    }
}

/// Goes where was typed: the playback where a trace is played, else the cursor.
///
/// # Errors
/// What was typed is no place; the message says what is expected.
pub(in crate::tui) fn jump(app: &mut App, text: &str) -> Result<(), String> {
    let Some(run) = &app.shown else { return Ok(()) };
    match playback::place(text, run.trace.steps.len())? {
        shown if run.is_partway() => seek(app, shown),
        shown => select_token(app, (run.prompt_len() + shown).saturating_sub(1)),
    }
    Ok(())
}
