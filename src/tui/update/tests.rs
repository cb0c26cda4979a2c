mod controls;
mod guess;
mod inside;
mod intervene;
mod lens;
mod lessons;
mod loop_map;
mod mouse;
mod notices;
mod palette;
mod play;
mod routers;
mod runs;
mod search;
mod stats;
mod tape;
mod twin;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::fixture;
use super::*;
use crate::engine::Prompt;
use crate::trace::Settings;

pub(super) fn key(app: &mut App, code: KeyCode) -> Vec<Command> {
    update(app, UiEvent::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

pub(super) fn keys(app: &mut App, typed: &str) -> Vec<Command> {
    typed.chars().flat_map(|c| key(app, KeyCode::Char(c))).collect()
}

pub(super) fn ctrl(app: &mut App, c: char) -> Vec<Command> {
    update(
        app,
        UiEvent::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL)),
    )
}

pub(super) fn alt(app: &mut App, c: char) -> Vec<Command> {
    update(app, UiEvent::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::ALT)))
}

pub(super) fn hear(app: &mut App, events: impl IntoIterator<Item = engine::WorkerEvent>) {
    for event in events {
        update(app, UiEvent::Worker(event));
    }
}

/// A recording is open, the model is there, the map has the keys, a prompt is typed.
pub(super) fn ready() -> App {
    let mut app = fixture::app();
    update(&mut app, UiEvent::Resize(120, 40));
    hear(&mut app, [fixture::loaded()]);
    app.ui.notice = None;
    focus(&mut app, Focus::Map);
    app.prompt.set("Hello");
    app
}

/// The id and settings of the one run that was asked for.
pub(super) fn asked(commands: &[Command]) -> (u64, Prompt, Settings) {
    match commands {
        [Command::Generate { run, prompt, settings }] => (*run, prompt.clone(), (**settings).clone()),
        other => panic!("expected one run, got {other:?}"),
    }
}

/// Runs a trace of `tokens` to its end.
pub(super) fn ran(app: &mut App, seed: u64, tokens: usize) -> u64 {
    let (run, _, settings) = asked(&keys(app, "r"));
    let mut trace = fixture::trace(seed, tokens);
    trace.header.settings = settings;
    hear(app, fixture::events(run, &trace));
    run
}
