//! Actions that ask the worker for something.

use super::super::action::UiAction;
use super::super::app::{App, ModelState, Starting};
use super::super::dialogs::{Against, CompareDialog, Overlay};
use super::super::history::Parent;
use super::super::overrides;
use super::super::run::{Run, RunProgress};
use super::super::ui::Focus;
use super::{focus, inside, lens, routers};
use crate::engine::{Command, Prompt, RunId};
use crate::model::loopmoe::words::WordList;
use crate::trace::{Settings, Trace};

/// Runs what stands in the prompt editor. `again`: an empty editor means the prompt of the run on
/// the screen.
pub(in crate::tui) fn run(app: &mut App, again: bool) -> Vec<Command> {
    let Some((prompt, text)) = prompt(app, again) else {
        let keys = app.ui.keymap.keys_for(UiAction::Rerun, "grid");
        app.error(match keys.first().filter(|_| app.shown.is_some()) {
            Some(again) => format!(
                "the prompt is empty: type a question, then press Enter; {again} in the map runs the prompt of this run again"
            ),
            None => "the prompt is empty: type a question, then press Enter".to_owned(),
        });
        focus(app, Focus::Prompt);
        return Vec::new();
    };
    let meanwhile = app.meanwhile.as_ref().map(|model| model.layers);
    let meanwhile = meanwhile.filter(|_| app.ready().is_none() && is_known(&prompt));
    let layers = match (&app.model, meanwhile) {
        (ModelState::Ready { info, .. }, _) => info.layers,
        (_, Some(layers)) => layers,
        (ModelState::Loading { .. }, None) => {
            let waits = std::mem::replace(&mut app.queued, true);
            app.info("the prompt runs as soon as the model is ready");
            return if waits { Vec::new() } else { run_meanwhile(app) };
        }
        (ModelState::Missing(_), None) => {
            app.error(match (&app.meanwhile, foreign_word(&prompt)) {
                (Some(_), Some(word)) => {
                    format!("there is no model for the prompt, and of the looped model's words {word}")
                }
                _ => "there is no model to run the prompt; recordings can be explored".to_owned(),
            });
            return Vec::new();
        }
    };
    if let (Prompt::Ids(_), Some(run), Some(ready)) = (&prompt, &app.shown, app.ready())
        && ready.sha256 != run.trace.header.model.sha256
    {
        app.error(format!(
            "this run's prompt is known as tokens of {} alone, which mean nothing to {}: start with --model for the former",
            run.trace.header.model.name, ready.name
        ));
        return Vec::new();
    }
    // Those of a recording are another model's.
    let settings = match meanwhile.and(app.taken_over()) {
        Some(_) => app.start.clone(),
        None => app.next_settings(),
    };
    if let Err(message) = settings.check(layers) {
        app.error(message);
        return Vec::new();
    }
    let routers = app.continued().map(|run| run.trace.header.routers.clone());
    app.leave_recording();
    if !app.repeats_prompt() {
        app.own = None;
    }
    if !app.prompt.is_blank() {
        app.prompt.remember();
    }
    abandon(app);
    app.queued = false;
    app.ui.notice = None;
    app.ui.overlay = None;
    focus(
        app,
        if app.ui.focus == Focus::Prompt {
            Focus::Map
        } else {
            app.ui.focus
        },
    );
    let command = start(app, prompt, text, settings, false);
    match routers {
        Some(made) => routers::bring(app, made, vec![command]),
        None => vec![command],
    }
}

/// A problem for the model inside this program.
pub(in crate::tui) const PROBLEM: &str = "sort 7 2 9 4 1 3 8 =";

/// Whether the model inside this program has the words of a prompt.
fn is_known(prompt: &Prompt) -> bool {
    matches!(prompt, Prompt::Text(_)) && foreign_word(prompt).is_none()
}

/// Why the model inside this program cannot read a prompt.
fn foreign_word(prompt: &Prompt) -> Option<String> {
    match prompt {
        Prompt::Text(text) => WordList::default()
            .encode(text)
            .err()
            .map(|unknown| unknown.to_string()),
        Prompt::Ids(_) => None,
    }
}

/// Runs a problem on the model inside this program, where it is there and nothing runs, while a prompt waits for the
/// other one.
pub(in crate::tui) fn run_meanwhile(app: &mut App) -> Vec<Command> {
    if app.meanwhile.is_none() || app.is_busy() {
        return Vec::new();
    }
    app.info(format!(
        "the prompt waits for the model; meanwhile the looped model of this program solves '{PROBLEM}'"
    ));
    let problem = PROBLEM.to_owned();
    let settings = app.start.clone();
    vec![start(
        app,
        Prompt::Text(problem.clone()),
        Some(problem),
        settings,
        false,
    )]
}

/// What is to be run, and its text if it is known.
fn prompt(app: &App, again: bool) -> Option<(Prompt, Option<String>)> {
    if !app.prompt.is_blank() {
        let text = app.prompt.text();
        let shown = app
            .shown
            .as_ref()
            .filter(|run| run.prompt.is_none() && run.is_recording());
        if let Some(run) = shown.filter(|run| run.prompt_text().as_ref() == Some(&text)) {
            return Some((as_made(app, run), Some(text)));
        }
        return Some((Prompt::Text(text.clone()), Some(text)));
    }
    let run = app.shown.as_ref().filter(|_| again)?;
    Some(match &run.prompt {
        Some(text) => (Prompt::Text(text.clone()), Some(text.clone())),
        None => (as_made(app, run), None),
    })
}

/// The prompt of a run as it was read: token by token, on another model in words where they are known.
fn as_made(app: &App, run: &Run) -> Prompt {
    let is_other = app
        .ready()
        .is_some_and(|ready| ready.sha256 != run.trace.header.model.sha256);
    match run.prompt_text().filter(|_| is_other) {
        Some(text) => Prompt::Text(text),
        None => Prompt::Ids(ids(run)),
    }
}

fn ids(run: &Run) -> Vec<u32> {
    run.trace.header.prompt.iter().map(|t| t.id).collect()
}

/// Runs the next prompt of a file; nothing is under way then.
pub(in crate::tui) fn next_prompt(app: &mut App, text: String, settings: Settings) -> (RunId, Command) {
    let command = start(app, Prompt::Text(text.clone()), Some(text), settings, false);
    (app.last_run, command)
}

fn start(app: &mut App, prompt: Prompt, text: Option<String>, settings: Settings, unmodified: bool) -> Command {
    app.last_run += 1;
    app.held = false;
    app.starting = Some(Starting {
        id: app.last_run,
        prompt: text,
        settings: settings.clone(),
        unmodified,
        reading: None,
        parent: None,
    });
    Command::Generate {
        run: app.last_run,
        prompt,
        settings: Box::new(settings),
    }
}

/// A run that goes on from the one on the screen.
pub(in crate::tui) struct Branch {
    /// The first position that is computed anew.
    pub at: usize,
    /// What is put there; the token that is there already, if absent.
    pub forced: Option<Prompt>,
    pub settings: Settings,
}

/// Starts a branch, or says why it cannot be.
pub(in crate::tui) fn branch(app: &mut App, branch: Branch) -> Vec<Command> {
    let Some(run) = &app.shown else {
        app.info("there is nothing to branch from yet: run a prompt first");
        return Vec::new();
    };
    let Branch { at, forced, settings } = branch;
    let layers = run.layers();
    // What is put behind the newest token goes on from there.
    let appends = forced.is_some() && at == run.tokens();
    let problem = inside::branch_problem(run, at).filter(|_| !appends);
    let problem = problem.or(inside::refusal(app, run));
    if let Some(problem) = problem.or(settings.check(layers).err()) {
        app.error(problem);
        return Vec::new();
    }
    let there = run.step(at).map(|step| step.id);
    let forced = forced.unwrap_or(Prompt::Ids(there.into_iter().collect()));
    let kept = Box::new(run.trace.first(at));
    let parent = Some(Parent { run: run.id, at });
    let (text, routers) = (run.prompt.clone(), run.trace.header.routers.clone());
    abandon(app);
    app.ui.notice = None;
    app.last_run += 1;
    app.starting = Some(Starting {
        id: app.last_run,
        prompt: text,
        settings: settings.clone(),
        unmodified: false,
        reading: None,
        parent,
    });
    let command = Command::Branch {
        run: app.last_run,
        kept,
        forced,
        settings: Box::new(settings),
    };
    routers::bring(app, routers, vec![command])
}

/// Runs the prompt of the run on the screen again under `settings`.
pub(in crate::tui) fn rerun_with(app: &mut App, settings: Settings) -> Vec<Command> {
    let Some(run) = &app.shown else { return Vec::new() };
    let problem = inside::refusal(app, run).or(settings.check(run.layers()).err());
    if let Some(problem) = problem {
        app.error(problem);
        return Vec::new();
    }
    let (prompt, text) = (Prompt::Ids(ids(run)), run.prompt.clone());
    let routers = run.trace.header.routers.clone();
    abandon(app);
    app.ui.notice = None;
    let command = start(app, prompt, text, settings, false);
    routers::bring(app, routers, vec![command])
}

/// Runs under way get nothing more: the worker is asked for another one.
pub(in crate::tui) fn abandon(app: &mut App) {
    if let Some(batch) = &mut app.batch {
        batch.run = None;
    }
    app.starting = None;
    app.wanted = None;
    app.held = false;
    if let Some(run) = app.shown.as_mut().filter(|run| run.is_running()) {
        run.progress = RunProgress::Finished;
    }
    app.unmodified = app.unmodified.take().filter(|run| !run.is_running());
}
/// Stops what runs; where nothing does, the explorer ends.
pub(in crate::tui) fn interrupt(app: &mut App) -> Vec<Command> {
    let runs = app.is_busy() || app.queued || app.is_searching() || app.search.is_running() || app.wanted.is_some();
    app.quit = !runs;
    let commands = if runs { stop(app) } else { Vec::new() };
    if runs && app.ui.notice.is_none() {
        let keys = app.ui.keymap.keys_for(UiAction::Interrupt, app.context());
        let key = keys
            .first()
            .map_or(String::new(), |key| format!(": {key} once more quits"));
        app.info(format!("stopped{key}"));
    }
    commands
}

/// Stops the run, the search or the question under way.
pub(in crate::tui) fn stop(app: &mut App) -> Vec<Command> {
    if std::mem::take(&mut app.queued) {
        app.info("the prompt is no longer waiting for the model");
        return Vec::new();
    }
    if app.search.stop_recorded() {
        return Vec::new();
    }
    if app.wanted.take().is_some() {
        app.starting = None;
        app.info("stopped before the routers were loaded");
        return Vec::new();
    }
    if lens::stop(app) && !app.is_busy() {
        return vec![Command::Stop];
    }
    match app.is_busy() || inside::is_asking(app) || app.is_searching() {
        true => {
            app.held = false;
            if let Some(batch) = &mut app.batch {
                batch.run = None;
            }
            vec![Command::Stop]
        }
        false => {
            app.info("nothing is running");
            Vec::new()
        }
    }
}

/// Shows the run on the screen beside the unmodified model on the same prompt with the same seed;
/// runs it first, unless that was done.
pub(in crate::tui) fn unmodified(app: &mut App) -> Vec<Command> {
    let Some(run) = &app.shown else {
        app.info("there is nothing to compare yet: run a prompt first");
        return Vec::new();
    };
    let compare = Some(Overlay::Compare(CompareDialog {
        against: Against::Unmodified,
        scroll: 0,
    }));
    if app
        .unmodified
        .as_ref()
        .is_some_and(|run| run.progress == RunProgress::Finished)
    {
        app.ui.overlay = compare;
        return Vec::new();
    }
    let problem = app.cannot_go_on(&run.trace.header.model).or_else(|| {
        let wait = "wait for the run to end, or stop it, then compare";
        run.is_running().then(|| wait.to_owned())
    });
    if let Some(problem) = problem {
        app.info(problem);
        return Vec::new();
    }
    // What the twin view has begun goes on.
    let under_way = app.unmodified.is_some() || app.starting.as_ref().is_some_and(|s| s.unmodified);
    let commands = match under_way {
        true => Vec::new(),
        false => run_unmodified(app),
    };
    app.ui.overlay = compare;
    commands
}

/// Runs the prompt of the run on the screen with every layer executed once.
pub(in crate::tui) fn run_unmodified(app: &mut App) -> Vec<Command> {
    let Some(run) = &app.shown else { return Vec::new() };
    let settings = overrides::unmodified(run.settings(), run.layers());
    let prompt = Prompt::Ids(ids(run));
    abandon(app);
    vec![start(app, prompt, None, settings, true)]
}

/// Opens the recordings one after another; a run under way is stopped.
pub(in crate::tui) fn next_recording(app: &mut App) -> Vec<Command> {
    if app.recordings.is_empty() {
        app.info("there are no recordings in this build");
        return Vec::new();
    }
    let at = match app.shown.as_ref().is_some_and(Run::is_recording) {
        true => (app.recording + 1) % app.recordings.len(),
        false => app.recording,
    };
    recording(app, at)
}

/// Opens the recording `at`; a run under way is stopped.
pub(in crate::tui) fn recording(app: &mut App, at: usize) -> Vec<Command> {
    let commands = make_room(app);
    app.recording = at;
    app.open_recording();
    commands
}

/// Opens a trace; a run under way is stopped.
pub(in crate::tui) fn trace(app: &mut App, title: String, trace: Trace) -> Vec<Command> {
    let commands = make_room(app);
    app.open(title, None, trace);
    app.propose_prompt();
    commands
}

/// Ends what runs, and keeps what is on the screen for a comparison.
fn make_room(app: &mut App) -> Vec<Command> {
    let busy = app.is_busy();
    abandon(app);
    match app.shown.take_if(|run| !run.is_recording()) {
        Some(run) => {
            if let Some(run) = app.previous.replace(run) {
                app.history.put(run);
            }
        }
        None => keep_recording(app),
    }
    if busy { vec![Command::Stop] } else { Vec::new() }
}

/// Makes the recording on the screen the run before, whole: two recordings can be compared. A run of
/// this session is not given up for one.
fn keep_recording(app: &mut App) {
    if app.previous.as_ref().is_some_and(|run| !run.is_recording()) {
        return;
    }
    let Some(mut run) = app.shown.take() else { return };
    run.playback = None;
    run.follow();
    let before = app.previous.replace(run);
    if let Some(run) = before.filter(|run| app.has_branches(run.id)) {
        app.history.put(run);
    }
}
