//! What the worker says.

use super::super::action::UiAction;
use super::super::app::{App, ModelState};
use super::super::diff;
use super::super::overrides::plural;
use super::super::run::{Origin, Run, RunProgress};
use super::super::ui::Focus;
use super::{inside, lens, loop_map, requests, routers, search, stats};
use crate::engine::notes::notes;
use crate::engine::{Command, RunId, WorkerEvent};
use crate::trace::{Header, Step, StopReason, Summary};

pub(super) fn hear(app: &mut App, event: WorkerEvent) -> Vec<Command> {
    match event {
        WorkerEvent::Pulling { what, done, total } => {
            let bytes = Some((done, total));
            app.model = ModelState::Loading { what, bytes };
        }
        WorkerEvent::Meanwhile(info) => {
            app.meanwhile = Some(*info);
            // A prompt that waits shows something at once.
            if app.queued && app.starting.is_none() {
                return requests::run_meanwhile(app);
            }
        }
        WorkerEvent::Loading(what) => app.model = ModelState::Loading { what, bytes: None },
        WorkerEvent::Loaded {
            model: info,
            routers,
            device,
            note,
            ..
        } => {
            let without = routers.is_none();
            if app.ready().is_none_or(|before| !before.is_same(&info)) {
                app.lens.clear();
            }
            app.meanwhile = None;
            app.model = ModelState::Ready {
                info: *info,
                routers,
                device,
            };
            return loaded(app, note, without);
        }
        WorkerEvent::LoadFailed(message) => {
            app.asked_loop = None;
            let waited = std::mem::take(&mut app.queued);
            match app.ready() {
                Some(_) => app.error(message),
                None => {
                    app.model = ModelState::Missing(message);
                    if waited {
                        app.error("the prompt that waited does not run: there is no model for it");
                    }
                }
            }
        }
        WorkerEvent::RoutersChanged(routers) => return routers::changed(app, routers),
        WorkerEvent::RoutersFailed(message) => return routers::failed(app, message),
        WorkerEvent::Reading { run, done, of } => {
            if let Some(starting) = app.starting.as_mut().filter(|s| s.id == run) {
                starting.reading = Some((done, of));
            }
        }
        WorkerEvent::Started { run, header } => started(app, run, *header),
        WorkerEvent::Stepped { run, step } => stepped(app, run, *step),
        WorkerEvent::Finished { run, summary } => {
            finished(app, run, summary);
            // No dialog has asked for it, so it lies over none.
            app.ui.said_under = app.ui.said;
            return stats::finished(app, run);
        }
        WorkerEvent::Failed { run, message } => {
            let message = stats::failed(app, run, message);
            failed(app, run, message);
        }
        WorkerEvent::Answered { ask, answer } => {
            if let Some(answer) = lens::hear(app, ask, answer) {
                inside::hear(app, ask, answer);
            }
        }
        WorkerEvent::Searched { search: id, step } => {
            if let Some(watched) = app.search.expecting(id) {
                watched.hear(*step);
            }
        }
        WorkerEvent::SearchEnded { search: id, end } => search::ended(app, id, end),
        WorkerEvent::Mapped { map, step } => {
            if let Some(watched) = app.loop_map.expecting(map) {
                watched.hear(step);
            }
        }
        WorkerEvent::LoopMapEnded { map, end } => loop_map::ended(app, map, end),
    }
    Vec::new()
}

fn loaded(app: &mut App, note: Option<String>, without_routers: bool) -> Vec<Command> {
    let ready = app.ready().cloned();
    let other = |run: &Run| {
        ready
            .as_ref()
            .is_some_and(|ready| !ready.is_same(&run.trace.header.model))
    };
    if app.taken_over().is_some_and(other) {
        app.give_back();
    }
    // How often the loop runs and ran in training, where the user has asked for another number.
    let looped = ready.as_ref().and_then(|model| model.looped);
    let iterations = looped.filter(|looped| looped.trained.is_some() || app.asked_loop.is_some());
    let iterations = iterations.map(|looped| (looped.iterations, looped.trained));
    let commands = match std::mem::take(&mut app.queued) {
        true => requests::run(app, false),
        false => {
            app.info(match without_routers {
                _ if let Some((now, trained)) = iterations => {
                    let keys = app.ui.keymap.keys_for(UiAction::Rerun, Focus::Map.context());
                    let again = keys.first().map_or("the palette", String::as_str);
                    let times = match now {
                        1 => "once".to_owned(),
                        now => format!("{now} times"),
                    };
                    match trained {
                        Some(trained) if without_routers => {
                            format!("the loop runs {times}, {trained} in training, so without routers; {again} runs the prompt")
                        }
                        Some(trained) => format!("the loop runs {times}, {trained} in training; {again} runs the prompt"),
                        None => format!("the loop runs {times}, as in training; {again} runs the prompt"),
                    }
                }
                true => {
                    let keys = app.ui.keymap.keys_for(UiAction::TrainRouters, Focus::Map.context());
                    let train = keys.first().map_or("the palette", String::as_str);
                    format!(
                        "the model is ready, without routers: every layer is executed. Enter runs the prompt; {train} in the \
                         map trains routers for it"
                    )
                }
                false if app.shown.as_ref().is_some_and(|run| !run.is_recording() && other(run)) => {
                    "the model is ready: type a question, then press Enter".to_owned()
                }
                false if app.prompt.is_blank() && app.shown.is_some() => {
                    let keys = app.ui.keymap.keys_for(UiAction::Rerun, Focus::Map.context());
                    let again = keys.first().map_or("the palette", String::as_str);
                    format!("the model is ready: {again} in the map runs this prompt again")
                }
                false => "the model is ready: Enter runs the prompt".to_owned(),
            });
            Vec::new()
        }
    };
    // What the user should know stays until it was read.
    if let Some(note) = note {
        app.error(note);
    }
    commands
}

fn started(app: &mut App, id: RunId, header: Header) {
    let Some(starting) = app.starting.take_if(|s| s.id == id) else {
        return;
    };
    if starting.unmodified {
        app.unmodified = Some(Run::started(id, Origin::Unmodified, None, header));
        return;
    }
    let mut run = Run::started(id, Origin::Live, starting.prompt, header);
    run.parent = starting.parent;
    if app.shown.is_none() {
        // Half-way up there is most to see.
        app.ui.cursor.layer = run.layers() / 2;
    }
    let notes = notes(run.trace.header.routers.as_ref(), run.settings());
    app.show(run);
    app.continues = false;
    app.begin_view();
    if let Some(note) = notes.into_iter().next() {
        app.info(note);
    }
}

/// The run on the screen, or in the comparison, that expects events of `id`.
fn expecting(app: &mut App, id: RunId) -> Option<&mut Run> {
    let runs = [&mut app.shown, &mut app.unmodified].into_iter().flatten();
    runs.into_iter().find(|run| run.id == id && run.is_running())
}

fn stepped(app: &mut App, id: RunId, step: Step) {
    if let Some(run) = expecting(app, id) {
        run.trace.steps.push(step);
        if app.ui.follow {
            app.ui.cursor.token = app.last_token();
        }
    }
}

fn finished(app: &mut App, id: RunId, summary: Summary) {
    app.starting.take_if(|s| s.id == id);
    let Some(run) = expecting(app, id) else { return };
    let (tokens, stop) = (summary.tokens, summary.stop);
    let beside = run.origin == Origin::Unmodified;
    run.trace.summary = Some(summary);
    run.progress = RunProgress::Finished;
    app.held = false;
    if let (Some(before), Some(after)) = (&app.previous, &app.shown)
        && after.id == id
        && let Some(changed) = diff::in_a_line(before, after)
    {
        return app.info(changed);
    }
    match stop {
        _ if beside => {}
        StopReason::ContextFull => app.info(format!(
            "the model's context is full after {tokens} token{}",
            plural(tokens)
        )),
        StopReason::MaxTokens => app.info(format!(
            "the answer was cut after {tokens} token{}: more are allowed in the settings",
            plural(tokens)
        )),
        _ => {}
    }
}

fn failed(app: &mut App, id: RunId, message: String) {
    let starting = app.starting.take_if(|s| s.id == id);
    let unmodified = starting.as_ref().is_some_and(|s| s.unmodified);
    let starting = starting.is_some();
    let running = match expecting(app, id) {
        Some(run) => {
            run.progress = RunProgress::Failed(message.clone());
            true
        }
        None => false,
    };
    if starting || running {
        app.held = false;
        // Not once more for the twin view.
        app.ui.twin &= !unmodified;
        app.error(message);
    }
}
