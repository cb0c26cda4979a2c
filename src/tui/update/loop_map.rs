//! Watching a loop map, by its keys.

use super::super::action::UiAction;
use super::super::app::{App, ModelState, Overlay};
use super::super::loop_map::{SearchPage, WatchedLoopMap};
use super::{overrides, requests};
use crate::engine::{Command, SearchEnd, SearchId};
use crate::search::loop_map::Cell;

/// The dialog, if it stays, and what is asked.
type Outcome = (Option<Overlay>, Vec<Command>);

/// Opens the map under way or done, or else the form.
pub(super) fn open(app: &mut App) {
    let page = match app.loop_map.watched {
        Some(_) => SearchPage::Watch,
        None => SearchPage::Form,
    };
    app.overlay = Some(Overlay::LoopMap(page));
}

pub(super) fn act(app: &mut App, page: SearchPage, action: UiAction) -> Outcome {
    match (page, action) {
        (_, UiAction::Close | UiAction::Dismiss) => (None, Vec::new()),
        (SearchPage::Form, _) => type_form(app, action),
        (SearchPage::Watch, _) => watch(app, action),
    }
}

/// While it is typed what is to be mapped.
fn type_form(app: &mut App, action: UiAction) -> Outcome {
    let form = &mut app.loop_map.form;
    match action {
        UiAction::FocusNext => form.turn(1),
        UiAction::FocusPrevious => form.turn_back(),
        UiAction::ClearPrompt => {
            if let Some(edit) = form.edit() {
                edit.clear();
            }
            form.error = None;
        }
        UiAction::Accept | UiAction::LoopMap => return begin(app),
        _ => {}
    }
    (Some(Overlay::LoopMap(SearchPage::Form)), Vec::new())
}

/// Begins the map, or says what is in the way.
fn begin(app: &mut App) -> Outcome {
    let request = match app.loop_map.form.request() {
        Ok(request) => request,
        Err((field, why)) => {
            app.loop_map.form.field = field;
            return refuse(app, &why);
        }
    };
    let layers = match &app.model {
        ModelState::Ready { .. } => app.model_layers().unwrap_or_default(),
        ModelState::Loading { .. } => return refuse(app, "the model is on its way: start again when it is ready"),
        ModelState::Missing(_) => return refuse(app, "there is no model to run: a map needs one"),
    };
    // What runs is ended by the worker.
    requests::abandon(app);
    app.notice = None;
    let follow = !app.reduced_motion;
    let map = &mut app.loop_map;
    map.last += 1;
    map.form.error = None;
    map.watched = Some(WatchedLoopMap::new(map.last, request.clone(), layers, follow));
    let command = Command::LoopMap {
        map: map.last,
        request: Box::new(request),
    };
    (Some(Overlay::LoopMap(SearchPage::Watch)), vec![command])
}

fn refuse(app: &mut App, why: &str) -> Outcome {
    app.loop_map.form.error = Some(why.to_owned());
    (Some(Overlay::LoopMap(SearchPage::Form)), Vec::new())
}

/// While the map is looked at.
fn watch(app: &mut App, action: UiAction) -> Outcome {
    let Some(watched) = &mut app.loop_map.watched else {
        return (None, Vec::new());
    };
    let end = watched.layers.saturating_sub(1);
    match action {
        UiAction::Up => watched.move_by(-1, 0),
        UiAction::Down => watched.move_by(1, 0),
        UiAction::Left => watched.move_by(0, -1),
        UiAction::Right => watched.move_by(0, 1),
        UiAction::TopLayer => watched.move_to(Cell { first: 0, last: 0 }),
        UiAction::BottomLayer => watched.move_to(Cell { first: end, last: end }),
        UiAction::LoopBest => watched.to_best(),
        UiAction::LoopMeasure => watched.next_measure(),
        UiAction::Follow => watched.toggle_follow(),
        UiAction::Accept => return (take_over(app), Vec::new()),
        UiAction::CopyProgram => {
            let program = watched.program();
            app.info(format!("{program} went to the terminal's clipboard"));
            app.clipboard = Some(program.to_string());
        }
        UiAction::LoopMap => return (Some(Overlay::LoopMap(SearchPage::Form)), Vec::new()),
        UiAction::Help => return (Some(Overlay::Help { scroll: 0 }), Vec::new()),
        _ => {}
    }
    (Some(Overlay::LoopMap(SearchPage::Watch)), Vec::new())
}

/// Makes the program of the cell at the cursor an override of the next run.
fn take_over(app: &mut App) -> Option<Overlay> {
    let stays = Some(Overlay::LoopMap(SearchPage::Watch));
    let program = app.loop_map.watched.as_ref().map(WatchedLoopMap::program)?;
    match overrides::take_program(app, &program) {
        true => {
            overrides::say_taken(app, &program, "prompt");
            None
        }
        false => stays,
    }
}

/// What came of a map.
pub(super) fn ended(app: &mut App, id: SearchId, end: SearchEnd) {
    let watching = matches!(app.overlay, Some(Overlay::LoopMap(SearchPage::Watch)));
    let Some(watched) = app.loop_map.expecting(id) else {
        return;
    };
    watched.end(end.clone());
    if watching {
        return;
    }
    match end {
        SearchEnd::Failed(message) => app.error(format!("the loop map failed: {message}")),
        SearchEnd::Done => app.info("the loop map is done"),
        SearchEnd::Stopped => {}
    }
}
