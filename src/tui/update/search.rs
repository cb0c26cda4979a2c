//! Watching a search, by its keys.

use std::collections::VecDeque;

use super::super::action::UiAction;
use super::super::app::{App, ModelState};
use super::super::dialogs::Overlay;
use super::super::dialogs::{Handled, HelpDialog, SearchDialog};
use super::super::search::{SearchField, SearchPage, SearchRecording, Watched, bare};
use super::{overrides, requests};
use crate::engine::{Command, SearchEnd, SearchId, SearchRequest, SearchStep};
use crate::program::Program;

/// Lines that a page moves.
const PAGE: isize = 10;

/// Opens the search under way or done, or else the form.
pub(in crate::tui) fn open(app: &mut App) {
    match app.search.watched {
        Some(_) => app.ui.overlay = Some(SearchDialog(SearchPage::Watch).into()),
        None => open_form(app),
    }
}

fn open_form(app: &mut App) {
    let shown = app.shown.as_ref().and_then(|run| run.prompt.clone());
    let prompt = match app.prompt.is_blank() {
        true => shown.unwrap_or_default(),
        false => app.prompt.text(),
    };
    app.search.form.architecture = app.ready().map(|model| model.architecture.clone());
    app.search.form.fill(&prompt);
    app.ui.overlay = Some(SearchDialog(SearchPage::Form).into());
}

pub(in crate::tui) fn act(app: &mut App, page: SearchPage, action: UiAction) -> Handled {
    match (page, action) {
        (_, UiAction::Close | UiAction::Dismiss) => (None, Vec::new()),
        (SearchPage::Form, _) => type_form(app, action),
        (SearchPage::Watch, _) => watch(app, action),
    }
}

/// While the question is typed.
fn type_form(app: &mut App, action: UiAction) -> Handled {
    let form = &mut app.search.form;
    match action {
        UiAction::FocusNext => form.turn(1),
        UiAction::FocusPrevious => form.turn_back(),
        UiAction::SearchExample => form.next_example(),
        UiAction::NewLine => form.new_line(),
        UiAction::ClearPrompt => form.clear(),
        UiAction::Accept if form.field == SearchField::Question => form.turn(1),
        UiAction::Accept if form.field == SearchField::Answers => form.new_line(),
        UiAction::Accept | UiAction::Search => return begin(app),
        _ => {}
    }
    (Some(SearchDialog(SearchPage::Form).into()), Vec::new())
}

/// Begins the search, or says what is in the way.
fn begin(app: &mut App) -> Handled {
    let form = &mut app.search.form;
    let request = match form.request() {
        Ok(request) => request,
        Err((field, why)) => {
            form.field = field;
            form.error = Some(why);
            return (Some(SearchDialog(SearchPage::Form).into()), Vec::new());
        }
    };
    let recorded = form.recorded();
    let commands = match (&app.model, recorded) {
        (ModelState::Ready { .. }, _) => {
            // What runs is ended by the worker.
            requests::abandon(app);
            let search = app.search.last + 1;
            let request = Box::new(request.clone());
            vec![Command::Search { search, request }]
        }
        (_, Some(steps)) => return (replay(app, request, steps), Vec::new()),
        (ModelState::Loading { .. }, None) => {
            return refuse(app, "the model is on its way: start again when it is ready");
        }
        (ModelState::Missing(_), None) => {
            return refuse(
                app,
                "there is no model to search with: take an example, its search is recorded",
            );
        }
    };
    watch_new(app, request);
    (Some(SearchDialog(SearchPage::Watch).into()), commands)
}

fn refuse(app: &mut App, why: &str) -> Handled {
    app.search.form.error = Some(why.to_owned());
    (Some(SearchDialog(SearchPage::Form).into()), Vec::new())
}

fn watch_new(app: &mut App, request: SearchRequest) -> &mut Watched {
    let search = &mut app.search;
    search.last += 1;
    search.form.error = None;
    // Messages stand in the dialog from now on: those of before are not about it.
    app.ui.notice = None;
    let watched = Watched::new(search.last, request, !app.ui.reduced_motion);
    search.watched.insert(watched)
}

/// Plays the search as it was recorded.
fn replay(app: &mut App, request: SearchRequest, steps: VecDeque<SearchStep>) -> Option<Overlay> {
    let since = (!app.ui.reduced_motion).then_some(app.ui.now);
    let now = app.ui.now;
    let watched = watch_new(app, request);
    watched.recording = Some(SearchRecording { steps, since });
    watched.play(now);
    Some(SearchDialog(SearchPage::Watch).into())
}

/// While the search is looked at.
fn watch(app: &mut App, action: UiAction) -> Handled {
    let Some(watched) = &mut app.search.watched else {
        return (None, Vec::new());
    };
    match action {
        UiAction::Up => watched.move_by(-1),
        UiAction::Down => watched.move_by(1),
        UiAction::PageLeft => watched.move_by(-PAGE),
        UiAction::PageRight => watched.move_by(PAGE),
        UiAction::TopLayer => watched.move_by(isize::MIN),
        UiAction::BottomLayer => watched.move_by(isize::MAX),
        UiAction::Left => watched.fold(),
        UiAction::Right => watched.unfold(),
        UiAction::Toggle => watched.toggle(),
        UiAction::FocusNext | UiAction::FocusPrevious => watched.pane = watched.pane.other(),
        UiAction::SearchSort => watched.sort = watched.sort.next(),
        UiAction::Follow => watched.toggle_follow(),
        UiAction::Accept => return (take_over(app), Vec::new()),
        UiAction::CopyProgram => copy(app),
        UiAction::Search => {
            open_form(app);
            return (app.ui.overlay.take(), Vec::new());
        }
        UiAction::Help => return (Some(HelpDialog { scroll: 0 }.into()), Vec::new()),
        _ => {}
    }
    (Some(SearchDialog(SearchPage::Watch).into()), Vec::new())
}

fn selected(app: &App) -> Option<Program> {
    let watched = app.search.watched.as_ref()?;
    Some(watched.nodes.get(watched.selected)?.program.clone())
}

fn copy(app: &mut App) {
    if let Some(program) = selected(app) {
        app.info(format!("{program} went to the terminal's clipboard"));
        app.clipboard = Some(program.to_string());
    }
}

/// Makes the selected program an override of the next run, which runs the question it was found for.
fn take_over(app: &mut App) -> Option<Overlay> {
    let stays = Some(SearchDialog(SearchPage::Watch).into());
    let Some(program) = selected(app) else {
        app.info("no program was tried yet");
        return stays;
    };
    if !overrides::take_program(app, &program) {
        return stays;
    }
    let question = app.search.watched.as_ref().map(|w| w.request.question.clone());
    if let Some(question) = question.filter(|question| bare(&app.prompt.text()) != question) {
        if !app.prompt.is_blank() {
            app.prompt.remember();
        }
        app.prompt.set(&question);
    }
    overrides::say_taken(app, &program, "question");
    None
}

/// What came of a search.
pub(in crate::tui) fn ended(app: &mut App, id: SearchId, end: SearchEnd) {
    let watching = app.ui.overlay == Some(SearchDialog(SearchPage::Watch).into());
    let Some(watched) = app.search.expecting(id) else {
        return;
    };
    watched.end(end.clone());
    if watching {
        return;
    }
    let right = watched.right();
    match end {
        SearchEnd::Failed(message) => app.error(format!("the search failed: {message}")),
        SearchEnd::Done => app.info(format!(
            "the search is done: {right} right program{}",
            super::super::overrides::plural(right)
        )),
        SearchEnd::Stopped => {}
    }
}
