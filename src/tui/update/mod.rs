//! Event → state. No terminal, no model and no clock in here: time comes in ticks.

pub(super) mod act;
pub(super) mod candidates;
mod dialog;
mod guess;
pub(super) mod inside;
pub(super) mod intervene;
mod lens;
pub(super) mod lessons;
pub(super) mod loop_map;
mod mouse;
mod notices;
mod overrides;
pub(super) mod palette;
pub(super) mod play;
pub(super) mod requests;
pub(super) mod routers;
pub(super) mod search;
pub(super) mod stats;
pub(super) mod training;
mod twin;
mod worker;

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseEvent};
use ratatui::layout::{Position, Rect};

use super::action::UiAction;
use super::app::App;
use super::files::FileReport;
use super::grid::Grid;
use super::job::JobEvent;
use super::keymap::Lookup;
use super::layout::{self, Screen};
use super::overrides::plural;
use super::session::Session;
use super::tape::Tape;
use super::ui::{Cursor, Focus};
use crate::engine::{self, Command};
use crate::text::escape_controls;

/// Everything that happens to the screen.
// Events are handled one by one and never kept, so their size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq)]
pub enum UiEvent {
    /// A key was pressed, repeated or released.
    Key(KeyEvent),
    /// Text was pasted.
    Paste(String),
    /// A button was pressed or released, the pointer moved or the wheel turned.
    Mouse(MouseEvent),
    /// Columns and rows.
    Resize(u16, u16),
    /// Time since the start.
    Tick(Duration),
    /// The worker has something to say.
    Worker(engine::WorkerEvent),
    /// What came of [`App::file`].
    File(FileReport),
    /// What comes of [`App::job`].
    Job(JobEvent),
    /// Code can be highlighted from now on.
    GrammarsReady,
}

/// Changes the state by one event; what comes back is for the worker.
pub fn update(app: &mut App, event: UiEvent) -> Vec<Command> {
    let passing = notices::passing(app);
    let commands = match event {
        UiEvent::Key(key) => press(app, key),
        UiEvent::Paste(text) => {
            paste(app, &text);
            Vec::new()
        }
        UiEvent::Mouse(event) => {
            mouse::mouse(app, event);
            Vec::new()
        }
        UiEvent::Resize(width, height) => {
            app.ui.area = Rect::new(0, 0, width, height);
            Vec::new()
        }
        UiEvent::Tick(now) => {
            tick(app, now);
            Vec::new()
        }
        UiEvent::Worker(event) => worker::hear(app, event),
        UiEvent::File(report) => file(app, report),
        UiEvent::Job(event) => training::handle(app, event),
        UiEvent::GrammarsReady => {
            highlight(app, true);
            Vec::new()
        }
    };
    lessons::check(app);
    notices::drop_stale(app, passing);
    highlight(app, false);
    for run in [&mut app.shown, &mut app.previous, &mut app.unmodified]
        .into_iter()
        .flatten()
    {
        run.follow();
    }
    scroll_into_view(app);
    lay_out(app);
    // A command would end the question.
    let asks = [twin::ask, lens::ask];
    match commands.is_empty() {
        true => asks
            .into_iter()
            .map(|ask| ask(app))
            .find(|c| !c.is_empty())
            .unwrap_or_default(),
        false => commands,
    }
}

/// Begins the lesson of this index; what comes back is for the worker.
pub fn begin_lesson(app: &mut App, lesson: usize) -> Vec<Command> {
    lessons::begin(app, lesson)
}

/// Opens the statistics of the runs that are there.
pub fn open_stats(app: &mut App) {
    stats::open(app);
}

/// What came of a file goes to the dialog that asked for it.
fn file(app: &mut App, report: FileReport) -> Vec<Command> {
    if let FileReport::Session(session) = report {
        restore(app, session.map(|session| *session));
        return Vec::new();
    }
    let Some(overlay) = app.ui.overlay.take() else {
        return Vec::new();
    };
    let (overlay, commands) = overlay.report(app, report);
    app.ui.overlay = overlay;
    commands
}

/// Puts back a session that was kept.
fn restore(app: &mut App, session: Result<Session, String>) {
    match session {
        Ok(session) => {
            let n = session.runs.len();
            app.ui.overlay = None;
            app.settings = session.state.settings.clone();
            (app.own, app.continues) = (None, false);
            let whole = session.damaged.is_empty();
            session.restore(app);
            if whole {
                app.info(format!("the last session is back: {n} run{}", plural(n)));
            }
        }
        Err(message) => app.error(message),
    }
}

fn press(app: &mut App, key: KeyEvent) -> Vec<Command> {
    if key.kind == KeyEventKind::Release {
        return Vec::new();
    }
    // What was said of the last key of a dialog lies over it no more.
    app.ui.said_under = app.ui.said;
    let context = app.context();
    let mut pending = app.ui.pending_key.take();
    let is_first = pending.is_none();
    let lookup = app.ui.keymap.press(&mut pending, context, key);
    app.ui.pending_key = pending;
    match lookup {
        Lookup::Action(action @ (UiAction::Quit | UiAction::Interrupt | UiAction::Suspend)) => act::act(app, action),
        Lookup::Action(action) => {
            let commands = match app.ui.overlay {
                Some(_) => dialog::act(app, action),
                None => act::act(app, action),
            };
            lessons::note(app, action);
            commands
        }
        Lookup::Prefix => Vec::new(),
        Lookup::Nothing => {
            match app.ui.overlay.is_none() && app.ui.focus != Focus::Prompt {
                true if is_first => say_unknown(app, key),
                true => {}
                false => type_key(app, key),
            }
            Vec::new()
        }
    }
}

/// A key without an action is typed, where there is something to type into.
fn type_key(app: &mut App, key: KeyEvent) {
    match app.ui.overlay.take() {
        Some(mut overlay) => {
            overlay.dialog_mut().key(app, key);
            app.ui.overlay = Some(overlay);
        }
        None => type_prompt(app, key),
    }
}

/// Says that a letter does nothing in the focused pane, and where it does.
fn say_unknown(app: &mut App, key: KeyEvent) {
    let KeyCode::Char(letter) = key.code else { return };
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return;
    }
    let letter = escape_controls(&letter.to_string());
    let keys = app.ui.keymap.keys_for(UiAction::Help, app.context());
    let help = keys.into_iter().next().unwrap_or_default();
    let map = app.tab_title(Focus::Map).to_lowercase();
    app.info(match app.ui.keymap.lookup(Focus::Map.context(), key) {
        Some(action) if app.ui.focus == Focus::Answer => {
            format!("{letter} ({}) is a key of the {map}: Tab goes there", action.label())
        }
        _ => format!("{letter} does nothing here: {help} shows the keys"),
    });
}

fn type_prompt(app: &mut App, key: KeyEvent) {
    let browse = match key.code {
        KeyCode::Up => app.prompt.at_edge(true).then_some(true),
        KeyCode::Down => app.prompt.at_edge(false).then_some(false),
        _ => None,
    };
    match browse {
        Some(back) => app.prompt.browse(back),
        None => {
            if let Err(message) = app.prompt.key(key) {
                app.error(message);
            }
        }
    }
}

fn paste(app: &mut App, text: &str) {
    if let Some(mut overlay) = app.ui.overlay.take() {
        overlay.dialog_mut().paste(app, text);
        app.ui.overlay = Some(overlay);
        return;
    }
    focus(app, Focus::Prompt);
    if let Err(message) = app.prompt.paste(text) {
        app.error(message);
    }
}

fn tick(app: &mut App, now: Duration) {
    app.ui.now = now;
    notices::expire(app, now);
    app.search.play(now);
    let speed = app.ui.speed;
    if app.shown.as_mut().is_some_and(|run| run.advance(now, speed)) && app.ui.follow {
        app.ui.cursor.token = app.last_token();
    }
}

/// Gives a pane the keys.
fn focus(app: &mut App, pane: Focus) {
    app.ui.focus = pane;
    if pane != Focus::Prompt {
        app.ui.folded = pane;
    }
}

/// Moves the cursor to a token and stays there, but for the newest one, which is followed.
pub(super) fn select_token(app: &mut App, token: usize) {
    app.ui.cursor.token = token.min(app.last_token());
    app.ui.follow = app.ui.cursor.token == app.last_token();
    app.ui.answer_scroll = 0;
}

/// The map's geometry, if the map is on the screen.
fn tape(app: &App) -> Option<Tape> {
    let pane = Screen::new(app, app.ui.area)?.map.filter(|_| app.ui.map.shows_tape())?;
    Some(Tape::new(app, app.shown.as_ref()?, pane))
}

/// The cell of the map or the tape at a place on the screen.
fn cell_at(app: &App, at: Position) -> Option<Cursor> {
    match app.ui.map.shows_tape() {
        true => tape(app)?.cell_at(at, app.ui.cursor),
        false => grid(app)?.cell_at(at),
    }
}

fn grid(app: &App) -> Option<Grid> {
    let pane = Screen::new(app, app.ui.area)?.map?;
    Some(Grid::new(app, app.shown.as_ref()?, pane))
}

/// Keeps the colours of code up with the texts.
fn highlight(app: &mut App, anew: bool) {
    match &app.shown {
        Some(run) => app.ui.answer_code.follow_run(run, anew),
        None => app.ui.answer_code.follow("", anew),
    }
    app.ui.prompt_code.follow(&app.prompt.text(), anew);
}

/// Keeps the answer's lines up with it.
fn lay_out(app: &mut App) {
    let pane = Screen::new(app, app.ui.area).and_then(|screen| screen.answer);
    if let (Some(pane), Some(run)) = (pane, &app.shown) {
        app.ui.lines.follow(run, app.ui.template, layout::inner(pane).width);
    }
}

/// Keeps the cursor on the map and the map where the cursor is.
fn scroll_into_view(app: &mut App) {
    app.ui.cursor.layer = app.ui.cursor.layer.min(app.layers().saturating_sub(1));
    app.ui.cursor.token = app.ui.cursor.token.min(app.last_token());
    if let Some(grid) = grid(app) {
        app.ui.map.first_token = grid.scroll_to_token(app.ui.cursor.token);
        app.ui.map.first_layer = grid.scroll_to_layer(app.ui.cursor.layer);
    }
}

#[cfg(test)]
mod tests;
