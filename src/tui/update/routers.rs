//! Loading other routers: those that the user asks for, and those that a run was made with before it is gone on with.

use super::super::app::{App, ModelState};
use super::super::next_run::{WantedRouters, name, same};
use super::inside;
use crate::engine::{Command, InspectionResult, RouterChoice};
use crate::trace::RouterInfo;

/// Sends `commands` once the routers are loaded with which a run was made: at once where they are.
pub(in crate::tui) fn bring(app: &mut App, routers: Option<RouterInfo>, commands: Vec<Command>) -> Vec<Command> {
    let ModelState::Ready { routers: loaded, .. } = &app.model else {
        return commands;
    };
    if same(loaded.as_ref(), routers.as_ref()) {
        return commands;
    }
    let mut choices = WantedRouters::choices(routers.as_ref());
    let Some(trying) = choices.pop() else {
        return commands;
    };
    app.wanted = Some(WantedRouters {
        routers,
        choices,
        trying: trying.clone(),
        then: commands,
        before: app.routers.clone(),
    });
    vec![Command::Routers(trying)]
}

/// Loads the routers that the user asks for.
pub(in crate::tui) fn choose(app: &mut App, choice: RouterChoice) -> Vec<Command> {
    if app.ready().is_none() {
        app.info("routers can be chosen once the model is loaded");
        return Vec::new();
    }
    if app.is_busy() {
        app.info("a run is under way: wait for its end, or stop it, then choose other routers");
        return Vec::new();
    }
    app.asked_routers = Some(choice.clone());
    vec![Command::Routers(choice)]
}

/// Routers were loaded.
pub(in crate::tui) fn changed(app: &mut App, routers: Option<RouterInfo>) -> Vec<Command> {
    if let ModelState::Ready { routers: loaded, .. } = &mut app.model {
        *loaded = routers.clone();
    }
    let Some(mut wanted) = app.wanted.take() else {
        let Some(choice) = app.asked_routers.take() else {
            return Vec::new();
        };
        app.routers = choice;
        app.suit(routers.as_ref());
        let settings = &app.settings;
        app.info(match &routers {
            Some(routers) => format!(
                "the routers are now {}, in scope {} and kv {}, as they were made for",
                routers.name, settings.scope, settings.kv
            ),
            None => "there are no routers now: every layer is executed".to_owned(),
        });
        return Vec::new();
    };
    if same(routers.as_ref(), wanted.routers.as_ref()) {
        app.routers = wanted.trying;
        app.info(format!(
            "loaded the routers with which this run was made: {}",
            name(routers.as_ref())
        ));
        return std::mem::take(&mut wanted.then);
    }
    next(app, wanted)
}

/// Routers could not be loaded.
pub(in crate::tui) fn failed(app: &mut App, message: String) -> Vec<Command> {
    match app.wanted.take() {
        Some(wanted) => next(app, wanted),
        None => {
            app.asked_routers = None;
            app.error(message);
            Vec::new()
        }
    }
}

/// Tries the next place; where there is none, says so and loads again what was loaded.
fn next(app: &mut App, mut wanted: WantedRouters) -> Vec<Command> {
    if let Some(choice) = wanted.choices.pop() {
        wanted.trying = choice.clone();
        app.wanted = Some(wanted);
        return vec![Command::Routers(choice)];
    }
    let sha: String = wanted
        .routers
        .as_ref()
        .map_or("", |r| &r.sha256)
        .chars()
        .take(12)
        .collect();
    let message = format!(
        "this run was made with the routers {} (sha256 {sha}…), which do not ship with this program: load their file, or \
         choose built-in to go on with those, in the settings under routers",
        name(wanted.routers.as_ref())
    );
    for command in &wanted.then {
        match command {
            Command::Ask { ask, .. } => inside::hear(app, *ask, InspectionResult::Refused(message.clone())),
            _ => app.starting = None,
        }
    }
    if let Some(batch) = &mut app.batch {
        batch.run = None;
    }
    app.error(message);
    // Those from before come back without a word.
    vec![Command::Routers(wanted.before)]
}
