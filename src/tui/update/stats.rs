//! The statistics, and the file of prompts that is run for them.

use super::super::app::App;
use super::super::dialogs::Overlay;
use super::super::overrides::plural;
use super::super::stats::{PromptBatch, StatsDialog};
use super::{requests, routers};
use crate::engine::{Command, RunId, prompt_file};
use crate::text::escape_controls;
use crate::trace::StopReason;
use crate::trace::aggregate::Aggregate;

/// Opens the statistics.
pub(in crate::tui) fn open(app: &mut App) {
    app.ui.overlay = Some(StatsDialog::new(app).into());
}

/// Takes the prompts in and asks for the first run.
pub(in crate::tui) fn begin(app: &mut App, name: String, text: &str) -> Result<Vec<Command>, String> {
    let prompts = prompt_file::parse(&name, text).map_err(|e| escape_controls(&format!("{e:#}")))?;
    let layers = app.ready().map(|model| model.layers);
    let layers = layers.ok_or("the model is not there: accept again when it is ready")?;
    app.settings.check(layers)?;
    let made = app.continued().map(|run| run.trace.header.routers.clone());
    requests::abandon(app);
    app.queued = false;
    app.ui.notice = None;
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
pub(in crate::tui) fn finished(app: &mut App, id: RunId) -> Vec<Command> {
    let commands = advance(app, id);
    if let Some(Overlay::Stats(mut dialog)) = app.ui.overlay.take_if(|open| matches!(open, Overlay::Stats(_))) {
        dialog.count(app);
        app.ui.overlay = Some(Overlay::Stats(dialog));
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
pub(in crate::tui) fn failed(app: &mut App, id: RunId, message: String) -> String {
    let Some(batch) = app.batch.as_mut().filter(|batch| batch.run == Some(id)) else {
        return message;
    };
    batch.run = None;
    let line = batch.prompts.get(batch.done).map_or(0, |(line, _)| *line);
    format!("{}, line {line}: {message}", batch.name)
}
