//! Training depth routers beside the screen: asking for it, stopping it, and loading what came of it.

use super::super::action::UiAction;
use super::super::app::{App, Overlay};
use super::super::job::{JobEvent, JobRequest};
use super::super::training::{Size, TrainingState, shell};
use super::routers;
use crate::engine::{Command, RouterChoice};

pub(super) fn open(app: &mut App) {
    match app.ready() {
        Some(_) => app.overlay = Some(Overlay::Training),
        None => app.info("routers are trained for a model that is loaded: wait for it, or choose one with --model"),
    }
}

/// The overlay that stays.
pub(super) fn act(app: &mut App, action: UiAction) -> Option<Overlay> {
    let at = Size::ALL
        .iter()
        .position(|size| *size == app.training.size)
        .unwrap_or(0);
    let to = match action {
        UiAction::Close | UiAction::Dismiss | UiAction::TrainRouters => return None,
        UiAction::Help => return Some(Overlay::Help { scroll: 0 }),
        UiAction::Accept => {
            accept(app);
            return Some(Overlay::Training);
        }
        UiAction::CopyProgram => {
            copy(app);
            return Some(Overlay::Training);
        }
        UiAction::Up | UiAction::TopLayer => at.saturating_sub(1),
        UiAction::Down | UiAction::BottomLayer => at + 1,
        _ => at,
    };
    if !app.training.is_running() {
        app.training.size = Size::ALL[to.min(Size::ALL.len() - 1)];
    }
    Some(Overlay::Training)
}

/// Starts the command, or asks the one under way to end.
fn accept(app: &mut App) {
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
fn copy(app: &mut App) {
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
pub(super) fn handle(app: &mut App, event: JobEvent) -> Vec<Command> {
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
        if app.overlay == Some(Overlay::Training) {
            app.overlay = None;
        }
        return routers::choose(app, RouterChoice::File(path));
    }
    app.info(format!(
        "depth routers are trained: choose {} as the routers",
        crate::text::escape_controls(&path.display().to_string())
    ));
    Vec::new()
}
