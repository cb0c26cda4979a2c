//! Watching a loop map, by its keys.

use super::super::action::UiAction;
use super::super::app::{App, ModelState};
use super::super::dialogs::Overlay;
use super::super::dialogs::{Handled, HelpDialog, LoopMapDialog};
use super::super::loop_map::{SearchPage, WatchedLoopMap};
use super::{overrides, requests};
use crate::engine::{Command, SearchEnd, SearchId};
use crate::search::loop_map::Cell;

/// Opens the map under way or done, or else the form.
pub(in crate::tui) fn open(app: &mut App) {
    let page = match app.loop_map.watched {
        Some(_) => SearchPage::Watch,
        None => SearchPage::Form,
    };
    app.ui.overlay = Some(LoopMapDialog(page).into());
}

pub(in crate::tui) fn act(app: &mut App, page: SearchPage, action: UiAction) -> Handled {
    match (page, action) {
        (_, UiAction::Close | UiAction::Dismiss) => (None, Vec::new()),
        (SearchPage::Form, _) => type_form(app, action),
        (SearchPage::Watch, _) => watch(app, action),
    }
}

/// While it is typed what is to be mapped.
fn type_form(app: &mut App, action: UiAction) -> Handled {
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
    (Some(LoopMapDialog(SearchPage::Form).into()), Vec::new())
}

/// Begins the map, or says what is in the way.
fn begin(app: &mut App) -> Handled {
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
    app.ui.notice = None;
    let follow = !app.ui.reduced_motion;
    let map = &mut app.loop_map;
    map.last += 1;
    map.form.error = None;
    map.watched = Some(WatchedLoopMap::new(map.last, request.clone(), layers, follow));
    let command = Command::LoopMap {
        map: map.last,
        request: Box::new(request),
    };
    (Some(LoopMapDialog(SearchPage::Watch).into()), vec![command])
}

fn refuse(app: &mut App, why: &str) -> Handled {
    app.loop_map.form.error = Some(why.to_owned());
    (Some(LoopMapDialog(SearchPage::Form).into()), Vec::new())
}

/// While the map is looked at.
fn watch(app: &mut App, action: UiAction) -> Handled {
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
        UiAction::LoopMap => return (Some(LoopMapDialog(SearchPage::Form).into()), Vec::new()),
        UiAction::Help => return (Some(HelpDialog { scroll: 0 }.into()), Vec::new()),
        _ => {}
    }
    (Some(LoopMapDialog(SearchPage::Watch).into()), Vec::new())
}

/// Makes the program of the cell at the cursor an override of the next run.
fn take_over(app: &mut App) -> Option<Overlay> {
    let stays = Some(LoopMapDialog(SearchPage::Watch).into());
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
pub(in crate::tui) fn ended(app: &mut App, id: SearchId, end: SearchEnd) {
    let watching = app.ui.overlay == Some(LoopMapDialog(SearchPage::Watch).into());
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
