//! What the dialogs do that look into a run, and the branches that start from them.

use super::super::app::App;
use super::super::dialogs::{Against, Overlay, RunsDialog};
use super::super::history;
use super::super::inside::{Apart, FOLLOWED, FlipDialog, Follow, ForceDialog, InsideDialog, PendingQuestion, TOP};
use super::super::line_edit::LineEdit;
use super::super::run::Run;
use super::requests::{self, Branch};
use crate::engine::{AskId, Command, InspectionRequest, InspectionResult, RunId, flip};
use crate::trace::Pin;

/// Why the worker cannot be asked about a run, if it cannot.
pub(in crate::tui) fn refusal(app: &App, run: &Run) -> Option<String> {
    app.cannot_go_on(&run.trace.header.model)
}

/// Asks about a run, or says why that cannot be.
pub(in crate::tui) fn ask<T>(
    app: &mut App,
    run: RunId,
    question: impl FnOnce(&Run) -> InspectionRequest,
) -> (PendingQuestion<T>, Vec<Command>) {
    let Some(run) = app.run(run) else {
        return (
            PendingQuestion::Refused("the run is no longer remembered".to_owned()),
            Vec::new(),
        );
    };
    if let Some(why) = refusal(app, run) {
        return (PendingQuestion::Refused(why), Vec::new());
    }
    let question = question(run);
    app.last_ask += 1;
    let ask = app.last_ask;
    (PendingQuestion::Waiting(ask), vec![Command::Ask { ask, question }])
}

fn inspect<T>(app: &mut App, run: RunId, position: usize, follow: &Follow) -> (PendingQuestion<T>, Vec<Command>) {
    ask(app, run, |run| InspectionRequest::Inspect {
        trace: Box::new(run.trace.first(position + 1)),
        position,
        top: TOP,
        follow: FOLLOWED,
        also: follow.typed.clone(),
    })
}

fn shown(app: &mut App) -> Option<RunId> {
    let id = app.shown.as_ref().map(|run| run.id);
    if id.is_none() {
        app.info("there is nothing to look into yet: run a prompt first");
    }
    id
}

/// Opens the look inside the cursor's token.
pub(in crate::tui) fn open(app: &mut App) -> Vec<Command> {
    open_following(app, Follow::default())
}

pub(in crate::tui) fn open_following(app: &mut App, follow: Follow) -> Vec<Command> {
    let Some(run) = shown(app) else { return Vec::new() };
    let position = app.ui.cursor.token;
    let (inspection, commands) = inspect(app, run, position, &follow);
    app.ui.overlay = Some(Overlay::Inside(InsideDialog {
        position,
        inspection,
        follow,
        edit: None,
    }));
    commands
}

/// Opens the list of decisions to flip.
pub(in crate::tui) fn open_flips(app: &mut App) -> Vec<Command> {
    let (layer, token) = (app.ui.cursor.layer, app.ui.cursor.token);
    let Some(run) = &app.shown else {
        shown(app);
        return Vec::new();
    };
    let program = run.step(token).map_or(&run.trace.header.program, |step| &step.program);
    if run.settings().program.is_some() && program.to_actions(run.layers()).is_none() {
        let why = "no single decision of a program that runs layers in another order or damped can be taken otherwise: change \
                   the program";
        app.info(why);
        return Vec::new();
    }
    let dialog = FlipDialog::new(run, layer, token);
    match dialog.rows.is_empty() {
        true => app.info("nothing was decided here by this run that could be flipped"),
        false => app.ui.overlay = Some(Overlay::Flips(dialog)),
    }
    Vec::new()
}

/// Reruns with the selected flip: from its token on, or the whole prompt where it was decided there.
pub(in crate::tui) fn commit(app: &mut App, dialog: &FlipDialog) -> Vec<Command> {
    let (Some(&row), Some(run)) = (dialog.selected(), &app.shown) else {
        return Vec::new();
    };
    let pin = flip::pin(&run.trace, row.layer, row.position, row.to);
    let mut settings = run.settings().clone();
    settings.pins.push(pin);
    let at = (row.position >= run.prompt_len()).then_some(row.position);
    let commands = match at {
        Some(at) => requests::branch(
            app,
            Branch {
                at,
                forced: None,
                settings,
            },
        ),
        None => requests::rerun_with(app, settings),
    };
    keep_pin(app, pin, &commands);
    commands
}

/// The next run has the pin as well, beside what else waits for it; not where nothing could be asked for with it.
pub(in crate::tui) fn keep_pin(app: &mut App, pin: Pin, commands: &[Command]) {
    if !commands.is_empty() {
        app.settings.pins.retain(|p| *p != pin);
        app.settings.pins.push(pin);
    }
}

/// Goes on from the cursor's token with what was changed.
pub(in crate::tui) fn branch(app: &mut App) -> Vec<Command> {
    let (at, settings) = (app.ui.cursor.token, app.next_settings());
    requests::branch(
        app,
        Branch {
            at,
            forced: None,
            settings,
        },
    )
}

/// Opens the choice of another token at the cursor.
pub(in crate::tui) fn open_force(app: &mut App) -> Vec<Command> {
    let position = app.ui.cursor.token;
    let Some(run) = shown(app) else { return Vec::new() };
    if position < app.shown.as_ref().map_or(0, Run::prompt_len) {
        app.info("a token of the prompt is changed by editing the prompt; choose one of the answer");
        return Vec::new();
    }
    let (before, commands) = inspect(app, run, position - 1, &Follow::default());
    app.ui.overlay = Some(Overlay::Force(ForceDialog {
        position,
        edit: LineEdit::default(),
        row: 0,
        before,
    }));
    commands
}

/// Opens the tree of runs at the one on the screen.
pub(in crate::tui) fn open_runs(app: &mut App) {
    let tree = history::tree(app.runs());
    let here = app.shown.as_ref().map(|run| run.id);
    let row = tree.iter().position(|(_, run)| Some(run.id) == here);
    match tree.is_empty() {
        true => app.info("there are no runs yet: run a prompt first"),
        false => app.ui.overlay = Some(RunsDialog { row: row.unwrap_or(0) }.into()),
    }
}

/// Why it cannot be asked how far two runs lie apart, if it cannot; unescaped.
pub(in crate::tui) fn no_divergence(app: &App, before: &Run, after: &Run) -> Option<String> {
    refusal(app, before).or(refusal(app, after))
}

/// Asks how far the compared runs lie apart.
pub(in crate::tui) fn diverge(app: &mut App, against: Against) -> Vec<Command> {
    let (Some(before), Some(after)) = (app.against(against), &app.shown) else {
        return Vec::new();
    };
    let runs = (before.id, after.id);
    let (a, b) = (before.trace.clone(), after.trace.clone());
    if let Some(why) = no_divergence(app, before, after) {
        app.info(why);
        return Vec::new();
    }
    let traces = Box::new([a, b]);
    let (divergence, commands) = ask(app, runs.1, |_| InspectionRequest::Divergence { traces });
    app.apart = Some(Apart { runs, divergence });
    commands
}

/// Puts an answer where it is waited for; that of an older question is dropped.
pub(in crate::tui) fn hear(app: &mut App, ask: AskId, answer: InspectionResult) {
    if let Some(apart) = &mut app.apart
        && apart.divergence.waits_for(ask)
    {
        apart.divergence = match answer {
            InspectionResult::Diverged(divergence) => PendingQuestion::Here(divergence),
            InspectionResult::Refused(why) => PendingQuestion::Refused(why),
            _ => return,
        };
        return;
    }
    if let Some(mut overlay) = app.ui.overlay.take() {
        overlay.dialog_mut().answer(app, ask, answer);
        app.ui.overlay = Some(overlay);
    }
}

/// Whether an answer is waited for.
pub(in crate::tui) fn is_asking(app: &App) -> bool {
    let dialog = app.ui.overlay.as_ref().is_some_and(|open| open.dialog().is_asking());
    dialog || app.apart.as_ref().is_some_and(|apart| apart.divergence.is_waiting())
}

/// Where a branch of the run on the screen may begin, and why not elsewhere.
pub(in crate::tui) fn branch_problem(run: &Run, at: usize) -> Option<String> {
    if at < run.prompt_len() {
        return Some("a branch begins at a token of the answer; rerun begins at the prompt".to_owned());
    }
    if run.step(at).is_none() {
        return Some("there is no token yet to branch from".to_owned());
    }
    None
}
