//! The unmodified answer under the routed one.

use super::super::action::UiAction;
use super::super::app::App;
use super::{inside, requests};
use crate::engine::Command;

/// Switches the twin view.
pub(super) fn toggle(app: &mut App) {
    app.ui.twin = !app.ui.twin;
    if !app.ui.twin {
        return app.info("the unmodified answer is hidden");
    }
    let Some(run) = &app.shown else {
        return app.info("the unmodified answer will stand under the routed one: run a prompt");
    };
    let key = app
        .ui
        .keymap
        .keys_for(UiAction::Twin, "grid")
        .into_iter()
        .next()
        .unwrap_or_default();
    if app.unmodified.is_some() {
        app.info(format!("under the answer: the unmodified model's; {key} hides it"));
    } else if let Some(problem) = inside::refusal(app, run) {
        app.info(format!("the unmodified answer is missing: {problem}"));
    } else if run.is_running() {
        app.info("the unmodified model runs as soon as this run has ended");
    } else {
        app.info(format!("the unmodified model runs beside it; {key} hides it"));
    }
}

/// Runs the unmodified model where the twin view lacks it and nothing else runs.
pub(super) fn ask(app: &mut App) -> Vec<Command> {
    let batch = app.batch.as_ref().is_some_and(|batch| batch.run.is_some());
    let wanted = app.ui.twin && app.unmodified.is_none() && app.ui.overlay.is_none() && !batch;
    if !wanted || app.is_busy() || app.twin_waits().is_some() || app.is_searching() {
        return Vec::new();
    }
    requests::run_unmodified(app)
}
