//! Lessons: opening them, going through their steps, and noticing that a task is done.

use super::super::action::UiAction;
use super::super::app::App;
use super::super::dialogs::LessonsDialog;
use super::super::lesson::{self, Listed, Show, Tour};
use super::super::overrides;
use super::{focus, requests, select_token};
use crate::engine::Command;
use crate::trace::Trace;

pub(in crate::tui) fn act(app: &mut App, action: UiAction) -> Vec<Command> {
    match action {
        UiAction::Lessons => {
            let row = app.tour.as_ref().map_or(0, |tour| tour.lesson);
            app.ui.overlay = Some(LessonsDialog { row }.into());
            Vec::new()
        }
        UiAction::LessonNext => turn(app, true),
        UiAction::LessonPrevious => turn(app, false),
        _ => {
            if app.tour.take().is_some() {
                app.info("the lesson is closed; what is on the screen stays");
            }
            Vec::new()
        }
    }
}

/// Begins a lesson.
pub(in crate::tui) fn begin(app: &mut App, lesson: usize) -> Vec<Command> {
    match app.lessons.get(lesson) {
        Some(Listed::Usable(_)) => enter(app, lesson, 0),
        Some(Listed::Broken { message, .. }) => {
            let message = format!("this lesson cannot be used: {message}");
            app.error(message);
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// The next or the last page or step; behind the last step the lesson is over.
fn turn(app: &mut App, forward: bool) -> Vec<Command> {
    let Some(tour) = &app.tour else {
        return act(app, UiAction::Lessons);
    };
    let (lesson, step, page) = (tour.lesson, tour.step, tour.page);
    let steps = tour.of(app).map_or(0, |(lesson, _)| lesson.steps.len());
    let pages = lesson::pages(app);
    match forward {
        true if page + 1 < pages => set_page(app, page + 1),
        true if step + 1 < steps => return enter(app, lesson, step + 1),
        true => {
            app.tour = None;
            app.info("the lesson is over");
        }
        false if page > 0 => set_page(app, page.min(pages) - 1),
        false if step > 0 => {
            let before = shown_before(app, step - 1);
            let opened = before.map_or_else(Vec::new, |show| open(app, show));
            return [opened, enter(app, lesson, step - 1)].concat();
        }
        false => {}
    }
    Vec::new()
}

/// What a step that opens nothing itself speaks of, where it is no run of the user's: what the last step before it opened.
fn shown_before(app: &App, at: usize) -> Option<Show> {
    let (lesson, _) = app.tour.as_ref()?.of(app)?;
    let from = lesson.steps[..=at].iter().rposition(|step| step.show.is_some())?;
    let own = lesson.steps[from + 1..=at].iter().any(|step| step.model);
    (from < at && !own).then(|| lesson.steps[from].show.clone())?
}

fn set_page(app: &mut App, page: usize) {
    if let Some(tour) = &mut app.tour {
        tour.page = page;
    }
}

/// Puts what a step shows on the screen.
fn enter(app: &mut App, lesson: usize, at: usize) -> Vec<Command> {
    let tour = Tour::at(lesson, at, app.last_run);
    let Some((_, step)) = tour.of(app) else {
        return Vec::new();
    };
    let step = step.clone();
    app.ui.overlay = None;
    app.ui.notice = None;
    app.tour = Some(tour);
    if step.clear {
        overrides::clear(&mut app.settings);
    }
    let commands = step.show.map_or_else(Vec::new, |show| open(app, show));
    if let Some(prompt) = &step.prompt {
        app.prompt.set(prompt);
    }
    if let Some(layer) = step.layer {
        app.ui.cursor.layer = layer;
    }
    if let (Some(shown), Some(run)) = (step.shown, &mut app.shown) {
        let (playback, end) = run.playback_mut();
        playback.seek(shown, end);
        playback.playing = false;
        select_token(app, usize::MAX);
    }
    if let Some(token) = step.token {
        let prompt = app.shown.as_ref().map_or(0, |run| run.prompt_len());
        select_token(app, prompt + token - 1);
    }
    if let Some(pane) = step.focus {
        // A lesson speaks of the map unless it says otherwise.
        (app.ui.map.tape, app.ui.map.lens) = (step.tape, false);
        focus(app, pane);
    }
    commands
}

/// Opens a trace whole: a lesson says itself what is to be played.
fn open(app: &mut App, show: Show) -> Vec<Command> {
    let commands = match show {
        Show::Recording(name) => match app.recordings.iter().position(|r| r.name == name) {
            Some(at) => requests::recording(app, at),
            None => Vec::new(),
        },
        // The text was read as a trace when the lesson was loaded.
        Show::Trace { name, text } => match Trace::from_json_lines(&text) {
            Ok(trace) => requests::trace(app, name, trace),
            Err(error) => {
                app.error(format!("{name}: {error:#}"));
                Vec::new()
            }
        },
    };
    if let Some(run) = &mut app.shown {
        run.playback = None;
    }
    select_token(app, usize::MAX);
    commands
}

/// Remembers that an action was carried out.
pub(in crate::tui) fn note(app: &mut App, action: UiAction) {
    let asked = |tour: &Tour, app: &App| {
        let (_, step) = tour.of(app)?;
        step.task.as_ref()?.check.action
    };
    let acted = app.tour.as_ref().is_some_and(|tour| asked(tour, app) == Some(action));
    if let Some(tour) = &mut app.tour {
        tour.touched |= !lesson::is_own(action);
        tour.acted |= acted;
    }
}

/// Notices that the task is done.
pub(in crate::tui) fn check(app: &mut App) {
    let Some(tour) = app.tour.as_ref().filter(|tour| tour.touched && !tour.done) else {
        return;
    };
    let task = tour.of(app).and_then(|(_, step)| step.task.as_ref());
    if task.is_some_and(|task| tour.holds(app, &task.check))
        && let Some(tour) = &mut app.tour
    {
        tour.done = true;
    }
}
