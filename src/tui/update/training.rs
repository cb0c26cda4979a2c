//! Training depth routers beside the screen: asking for it, stopping it, and loading what came of it.

use super::super::app::App;
use super::super::dialogs::Overlay;
use super::super::dialogs::TrainingDialog;
use super::super::job::{JobEvent, JobRequest};
use super::super::training::{TrainingState, shell};
use super::routers;
use crate::engine::{Command, RouterChoice};

pub(in crate::tui) fn open(app: &mut App) {
    match app.ready() {
        Some(_) => app.ui.overlay = Some(TrainingDialog.into()),
        None => app.info("routers are trained for a model that is loaded: wait for it, or choose one with --model"),
    }
}

/// Starts the command, or asks the one under way to end.
pub(in crate::tui) fn accept(app: &mut App) {
    if app.training.state == TrainingState::Running {
        app.training.state = TrainingState::Stopping;
        app.job = Some(JobRequest::Stop);
        return;
    }
    let Some(model) = app.ready().cloned().filter(|_| !app.training.is_running()) else {
        return;
    };
    match app.training.start(&model) {
        Ok(request) => app.job = Some(request),
        Err(message) => app.error(message),
    }
}

/// Copies the command, for a time without the explorer.
pub(in crate::tui) fn copy(app: &mut App) {
    let Some(model) = app.ready() else { return };
    match app.training.command(model) {
        Ok((args, _)) => {
            app.clipboard = Some(shell(&args));
            app.info("the command is on its way to the clipboard");
        }
        Err(message) => app.error(message),
    }
}

/// What the command says; routers that are done are loaded.
pub(in crate::tui) fn handle(app: &mut App, event: JobEvent) -> Vec<Command> {
    let before = app.training.state;
    app.training.handle(event);
    if app.training.state == before {
        return Vec::new();
    }
    match app.training.state {
        TrainingState::Trained => trained(app),
        TrainingState::Failed => {
            let why = app.training.lines.back().cloned().unwrap_or_default();
            app.error(format!(
                "the routers were not trained: {}",
                why.trim_start_matches("drllm-tui: ")
            ));
            Vec::new()
        }
        TrainingState::Stopped => {
            app.info("the training is stopped; it goes on from there when it is started again");
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn trained(app: &mut App) -> Vec<Command> {
    let Some((path, sha256)) = app.training.out.clone() else {
        return Vec::new();
    };
    let same = app.ready().is_some_and(|model| model.sha256 == sha256);
    if same && !app.is_busy() && !app.search.is_running() {
        if matches!(app.ui.overlay, Some(Overlay::Training(_))) {
            app.ui.overlay = None;
        }
        return routers::choose(app, RouterChoice::File(path));
    }
    app.info(format!(
        "depth routers are trained: choose {} as the routers",
        crate::text::escape_controls(&path.display().to_string())
    ));
    Vec::new()
}
