//! The statistics, and the file of prompts that is run for them.

use super::super::action::UiAction;
use super::super::app::{App, ModelState, Overlay};
use super::super::files::{FileReport, FileRequest};
use super::super::line_edit::LineEdit;
use super::super::overrides::plural;
use super::super::stats::{PromptBatch, StatsDialog};
use super::super::view::stats::starts;
use super::{dialog, requests, routers};
use crate::engine::aggregate::Aggregate;
use crate::engine::{Command, RunId, StopReason, prompt_file};
use crate::text::escape_controls;

/// Opens the statistics.
pub(super) fn open(app: &mut App) {
    app.overlay = Some(Overlay::Stats(Box::new(StatsDialog::new(app))));
}

pub(super) fn act(app: &mut App, mut open: StatsDialog, action: UiAction) {
    if let Some(edit) = open.edit.take() {
        typed(app, &mut open, edit, action);
    } else {
        match action {
            UiAction::Stats => return,
            UiAction::Help => return app.overlay = Some(Overlay::Help { scroll: 0 }),
            UiAction::Palette => return super::palette::open(app),
            UiAction::LoadPrompts => open.edit = Some(LineEdit::default()),
            UiAction::Toggle if app.batch.is_some() => {
                (open.prompts, open.scroll) = (!open.prompts, 0);
                open.count(app);
            }
            UiAction::Toggle => app.info("there is no file of prompts yet to turn to"),
            UiAction::Left | UiAction::Right => turn(app, &mut open, action == UiAction::Right),
            action => match dialog::scrolled(open.scroll, action) {
                Some(scroll) => open.scroll = scroll,
                None => return,
            },
        }
    }
    app.overlay = Some(Overlay::Stats(Box::new(open)));
}

/// Goes to the next section, or to the one before.
fn turn(app: &App, dialog: &mut StatsDialog, forward: bool) {
    let Some(counted) = &dialog.counted else { return };
    let starts = starts(app, counted);
    let at = dialog.scroll;
    dialog.scroll = match forward {
        true => starts.into_iter().find(|start| *start > at).unwrap_or(at),
        false => starts.into_iter().rfind(|start| *start < at).unwrap_or(0),
    };
}

/// While the name of a file is typed.
fn typed(app: &mut App, dialog: &mut StatsDialog, mut edit: LineEdit, action: UiAction) {
    match action {
        UiAction::Close | UiAction::Dismiss => return,
        UiAction::Accept => {
            let path = edit.text.trim().to_owned();
            let problem = match &app.model {
                _ if path.is_empty() => Some("expected the name of a file: a prompt a line, or JSON lines"),
                ModelState::Loading { .. } => Some("the model is on its way: accept again when it is ready"),
                ModelState::Missing(_) => Some("there is no model to run prompts with"),
                ModelState::Ready { .. } => None,
            };
            match problem {
                Some(problem) => edit.refuse(problem.to_owned()),
                None => app.file = Some(FileRequest::Load { path }),
            }
        }
        _ => {}
    }
    dialog.edit = Some(edit);
}

/// The file of prompts is here, or why it is not.
pub(super) fn hear(app: &mut App, report: FileReport) -> Vec<Command> {
    let begun = match report {
        FileReport::Loaded { path, text } => begin(app, path, &text),
        FileReport::Failed(message) => Err(message),
        // Nothing is written here.
        FileReport::Saved(_) | FileReport::Exists(_) | FileReport::Session(_) => return Vec::new(),
    };
    let (commands, refused) = match begun {
        Ok(commands) => (commands, None),
        Err(message) => (Vec::new(), Some(message)),
    };
    let Some(Overlay::Stats(dialog)) = &mut app.overlay else {
        return commands;
    };
    match (&mut dialog.edit, refused) {
        (Some(edit), Some(message)) => edit.refuse(message),
        (_, Some(_)) => {}
        (edit, None) => {
            *edit = None;
            (dialog.prompts, dialog.counted, dialog.scroll) = (true, None, 0);
        }
    }
    commands
}

/// Takes the prompts in and asks for the first run.
fn begin(app: &mut App, name: String, text: &str) -> Result<Vec<Command>, String> {
    let prompts = prompt_file::parse(&name, text).map_err(|e| escape_controls(&format!("{e:#}")))?;
    let layers = app.ready().map(|model| model.layers);
    let layers = layers.ok_or("the model is not there: accept again when it is ready")?;
    app.settings.check(layers)?;
    let made = app.continued().map(|run| run.trace.header.routers.clone());
    requests::abandon(app);
    app.queued = false;
    app.notice = None;
    app.batch = Some(PromptBatch {
        name,
        prompts,
        settings: app.settings.clone(),
        done: 0,
        run: None,
        aggregate: None,
    });
    let commands = next(app);
    Ok(match made {
        Some(made) => routers::bring(app, made, commands),
        None => commands,
    })
}

/// Asks for the run of the next prompt, or says that there is none.
fn next(app: &mut App) -> Vec<Command> {
    let Some(batch) = &app.batch else { return Vec::new() };
    let Some((_, text)) = batch.prompts.get(batch.done) else {
        let n = batch.done;
        app.info(format!("{n} prompt{} ran, all of the file", plural(n)));
        return Vec::new();
    };
    let (text, settings) = (text.clone(), batch.settings.clone());
    let (run, command) = requests::next_prompt(app, text, settings);
    if let Some(batch) = &mut app.batch {
        batch.run = Some(run);
    }
    vec![command]
}

/// Keeps the statistics up with a run that has ended.
pub(super) fn finished(app: &mut App, id: RunId) -> Vec<Command> {
    let commands = advance(app, id);
    if let Some(Overlay::Stats(mut dialog)) = app.overlay.take_if(|open| matches!(open, Overlay::Stats(_))) {
        dialog.count(app);
        app.overlay = Some(Overlay::Stats(dialog));
    }
    commands
}

/// Counts the run if it is one of a prompt of the file, and goes on with the next. Half a run would
/// count for less than it is.
fn advance(app: &mut App, id: RunId) -> Vec<Command> {
    let Some(batch) = app.batch.as_mut().filter(|batch| batch.run == Some(id)) else {
        return Vec::new();
    };
    batch.run = None;
    let Some(run) = app.shown.as_ref().filter(|run| run.id == id) else {
        return Vec::new();
    };
    let trace = &run.trace;
    let whole = |stop| stop != StopReason::Stopped;
    if !trace.summary.as_ref().is_some_and(|summary| whole(summary.stop)) {
        return Vec::new();
    }
    let model = || Aggregate::new(trace.header.model.clone());
    if let Err(error) = batch.aggregate.get_or_insert_with(model).add(trace) {
        app.error(error.to_string());
        return Vec::new();
    }
    batch.done += 1;
    next(app)
}

/// Ends the file of prompts at a run that failed; the message, with its place in the file.
pub(super) fn failed(app: &mut App, id: RunId, message: String) -> String {
    let Some(batch) = app.batch.as_mut().filter(|batch| batch.run == Some(id)) else {
        return message;
    };
    batch.run = None;
    let line = batch.prompts.get(batch.done).map_or(0, |(line, _)| *line);
    format!("{}, line {line}: {message}", batch.name)
}
