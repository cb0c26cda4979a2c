//! What the dialogs do that look into a run, and the branches that start from them.

use crossterm::event::{KeyCode, KeyEvent};

use super::super::action::UiAction;
use super::super::app::{Against, App, ModelState, Overlay};
use super::super::history;
use super::super::inside::{Apart, FOLLOWED, FlipDialog, Follow, ForceDialog, InsideDialog, PendingQuestion, TOP};
use super::super::line_edit::LineEdit;
use super::super::run::Run;
use super::requests::{self, Branch};
use super::{routers, select_token};
use crate::engine::{AskId, Command, InspectionRequest, InspectionResult, Prompt, RunId, flip};

/// Rows that a page moves in a list.
const PAGE: isize = 10;

/// What opening or changing a dialog comes to: the dialog, if it stays, and what is asked.
type Outcome = (Option<Overlay>, Vec<Command>);

/// Why the worker cannot be asked about a run, if it cannot.
pub(super) fn refusal(app: &App, run: &Run) -> Option<String> {
    let model = &run.trace.header.model;
    match &app.model {
        ModelState::Ready { info, .. } if info.sha256 == model.sha256 => None,
        ModelState::Ready { info, .. } => Some(format!(
            "this run was made with the model {}, {} is loaded: load the former with --model to look into the run",
            model.name, info.name
        )),
        ModelState::Loading { .. } => Some("the model is on its way: ask again when it is ready".to_owned()),
        ModelState::Missing(_) => Some("there is no model to look into this run with".to_owned()),
    }
}

/// Asks about a run, or says why that cannot be.
pub(super) fn ask<T>(
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
pub(super) fn open(app: &mut App) -> Vec<Command> {
    open_following(app, Follow::default())
}

fn open_following(app: &mut App, follow: Follow) -> Vec<Command> {
    let Some(run) = shown(app) else { return Vec::new() };
    let position = app.cursor.token;
    let (inspection, commands) = inspect(app, run, position, &follow);
    app.overlay = Some(Overlay::Inside(InsideDialog {
        position,
        inspection,
        follow,
        edit: None,
    }));
    commands
}

pub(super) fn act(app: &mut App, mut dialog: InsideDialog, action: UiAction) -> Outcome {
    let before = app.cursor.token;
    if let Some(edit) = dialog.edit.take() {
        match action {
            UiAction::Accept => {
                let typed = Some(edit.text).filter(|text| !text.is_empty());
                let row = typed.is_some().then_some(0);
                return opened(app, |app| open_following(app, Follow { typed, row }));
            }
            UiAction::Close | UiAction::Dismiss => {}
            _ => dialog.edit = Some(edit),
        }
        return (Some(Overlay::Inside(dialog)), Vec::new());
    }
    match action {
        UiAction::FollowNext => dialog.follow_next(),
        UiAction::FollowTyped => dialog.edit = Some(LineEdit::default()),
        UiAction::Close | UiAction::Dismiss | UiAction::Inside => return (None, Vec::new()),
        UiAction::Help => return (Some(Overlay::Help { scroll: 0 }), Vec::new()),
        UiAction::Flips => return opened(app, open_flips),
        UiAction::Force => return opened(app, open_force),
        UiAction::Branch => return opened(app, branch),
        UiAction::Up => app.cursor.layer = (app.cursor.layer + 1).min(app.layers().saturating_sub(1)),
        UiAction::Down => app.cursor.layer = app.cursor.layer.saturating_sub(1),
        UiAction::TopLayer => app.cursor.layer = app.layers().saturating_sub(1),
        UiAction::BottomLayer => app.cursor.layer = 0,
        UiAction::Left => select_token(app, before.saturating_sub(1)),
        UiAction::Right => select_token(app, before + 1),
        _ => {}
    }
    if app.cursor.token == before
        && matches!(
            dialog.inspection,
            PendingQuestion::Here(_) | PendingQuestion::Waiting(_)
        )
    {
        return (Some(Overlay::Inside(dialog)), Vec::new());
    }
    opened(app, |app| open_following(app, dialog.follow))
}

/// What `open` makes of the screen when a dialog calls it.
fn opened(app: &mut App, open: impl FnOnce(&mut App) -> Vec<Command>) -> Outcome {
    app.overlay = None;
    let commands = open(app);
    (app.overlay.take(), commands)
}

/// Opens the list of decisions to flip.
pub(super) fn open_flips(app: &mut App) -> Vec<Command> {
    let (layer, token) = (app.cursor.layer, app.cursor.token);
    let Some(run) = &app.shown else {
        shown(app);
        return Vec::new();
    };
    let dialog = FlipDialog::new(run, layer, token);
    match dialog.rows.is_empty() {
        true => app.info("nothing was decided here by this run that could be flipped"),
        false => app.overlay = Some(Overlay::Flips(dialog)),
    }
    Vec::new()
}

pub(super) fn act_flips(app: &mut App, mut dialog: FlipDialog, action: UiAction) -> Outcome {
    let last = dialog.rows.len() - 1;
    let to = match action {
        UiAction::Close | UiAction::Dismiss | UiAction::Flips => return (None, Vec::new()),
        UiAction::Help => return (Some(Overlay::Help { scroll: 0 }), Vec::new()),
        UiAction::Inside => return opened(app, open),
        UiAction::Accept => return try_flip(app, dialog),
        UiAction::Branch => return opened(app, |app| commit(app, &dialog)),
        UiAction::Toggle => {
            dialog.turn();
            dialog.row
        }
        UiAction::Freeze => {
            dialog.frozen = !dialog.frozen;
            if dialog.flip.take().is_some() {
                return try_flip(app, dialog);
            }
            dialog.row
        }
        UiAction::Up => dialog.row.saturating_sub(1),
        UiAction::Down => dialog.row + 1,
        UiAction::PageLeft => dialog.row.saturating_add_signed(-PAGE),
        UiAction::PageRight => dialog.row.saturating_add_signed(PAGE),
        UiAction::TopLayer => 0,
        UiAction::BottomLayer => last,
        _ => dialog.row,
    };
    go_to_row(app, &mut dialog, to.min(last));
    (Some(Overlay::Flips(dialog)), Vec::new())
}

/// Selects a row; the map's cursor goes with it.
fn go_to_row(app: &mut App, dialog: &mut FlipDialog, row: usize) {
    if row == dialog.row {
        return;
    }
    (dialog.row, dialog.flip) = (row, None);
    if let Some(&selected) = dialog.selected() {
        app.cursor.layer = selected.layer;
        select_token(app, selected.position);
    }
}

/// Asks what the selected row changes.
fn try_flip(app: &mut App, mut dialog: FlipDialog) -> Outcome {
    let (Some(&row), Some(run)) = (dialog.selected(), app.shown.as_ref().map(|r| r.id)) else {
        return (Some(Overlay::Flips(dialog)), Vec::new());
    };
    let made = app.run(run).and_then(|run| run.trace.header.routers.clone());
    let (flip, commands) = ask(app, run, |run| InspectionRequest::Flip {
        trace: Box::new(run.trace.first(row.position + 1)),
        layer: row.layer,
        position: row.position,
        action: row.to,
        top: TOP,
        frozen: dialog.frozen,
    });
    dialog.flip = Some(flip);
    // A run under way would be ended by other routers, and has the right ones.
    let commands = match commands.is_empty() || app.is_busy() {
        true => commands,
        false => routers::bring(app, made, commands),
    };
    (Some(Overlay::Flips(dialog)), commands)
}

/// Reruns with the selected flip: from its token on, or the whole prompt where it was decided there.
fn commit(app: &mut App, dialog: &FlipDialog) -> Vec<Command> {
    let (Some(&row), Some(run)) = (dialog.selected(), &app.shown) else {
        return Vec::new();
    };
    let pin = flip::pin(&run.trace, row.layer, row.position, row.to);
    let mut settings = run.settings().clone();
    settings.pins.push(pin);
    let at = (row.position >= run.prompt_len()).then_some(row.position);
    // The next run has the pin as well, beside what else waits for it.
    app.settings.pins.retain(|p| *p != pin);
    app.settings.pins.push(pin);
    match at {
        Some(at) => requests::branch(
            app,
            Branch {
                at,
                forced: None,
                settings,
            },
        ),
        None => requests::rerun_with(app, settings),
    }
}

/// Goes on from the cursor's token with what was changed.
pub(super) fn branch(app: &mut App) -> Vec<Command> {
    let (at, settings) = (app.cursor.token, app.next_settings());
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
pub(super) fn open_force(app: &mut App) -> Vec<Command> {
    let position = app.cursor.token;
    let Some(run) = shown(app) else { return Vec::new() };
    if position < app.shown.as_ref().map_or(0, Run::prompt_len) {
        app.info("a token of the prompt is changed by editing the prompt; choose one of the answer");
        return Vec::new();
    }
    let (before, commands) = inspect(app, run, position - 1, &Follow::default());
    app.overlay = Some(Overlay::Force(ForceDialog {
        position,
        edit: LineEdit::default(),
        row: 0,
        before,
    }));
    commands
}

pub(super) fn act_force(app: &mut App, mut dialog: ForceDialog, action: UiAction) -> Outcome {
    match action {
        UiAction::Close | UiAction::Dismiss => return (None, Vec::new()),
        UiAction::Accept => {}
        _ => return (Some(Overlay::Force(dialog)), Vec::new()),
    }
    let candidate = dialog.before.here().and_then(|i| i.next.top.get(dialog.row));
    let forced = match dialog.edit.text.is_empty() {
        false => Prompt::Text(dialog.edit.text.clone()),
        true => match candidate {
            Some(candidate) => Prompt::Ids(vec![candidate.id]),
            None => {
                dialog
                    .edit
                    .refuse("type a token's text, or wait for the likely ones and choose".to_owned());
                return (Some(Overlay::Force(dialog)), Vec::new());
            }
        },
    };
    let settings = app.next_settings();
    let at = dialog.position;
    let forced = Some(forced);
    opened(app, |app| requests::branch(app, Branch { at, forced, settings }))
}

/// Types into the choice of a token; up and down choose among the likely ones.
pub(super) fn type_force(dialog: &mut ForceDialog, key: KeyEvent) {
    match key.code {
        KeyCode::Up => dialog.move_by(-1),
        KeyCode::Down => dialog.move_by(1),
        _ => dialog.edit.key(key),
    }
}

/// Opens the tree of runs at the one on the screen.
pub(super) fn open_runs(app: &mut App) {
    let tree = history::tree(app.runs());
    let here = app.shown.as_ref().map(|run| run.id);
    let row = tree.iter().position(|(_, run)| Some(run.id) == here);
    match tree.is_empty() {
        true => app.info("there are no runs yet: run a prompt first"),
        false => app.overlay = Some(Overlay::Runs { row: row.unwrap_or(0) }),
    }
}

pub(super) fn act_runs(app: &mut App, row: usize, action: UiAction) -> Option<Overlay> {
    let tree = history::tree(app.runs());
    let last = tree.len().saturating_sub(1);
    let selected = tree.get(row.min(last)).map(|(_, run)| run.id);
    let row = match (action, selected) {
        (UiAction::Close | UiAction::Dismiss | UiAction::Runs, _) => return None,
        (UiAction::Help, _) => return Some(Overlay::Help { scroll: 0 }),
        (UiAction::Accept, Some(id)) => {
            app.reopen(id);
            return None;
        }
        (UiAction::Compare, Some(id)) if app.shown.as_ref().is_some_and(|run| run.id != id) => {
            let against = Against::Run(id);
            return Some(Overlay::Compare { against, scroll: 0 });
        }
        (UiAction::Compare, _) => {
            app.info("this is the run on the screen: select another one to compare it with");
            row
        }
        (UiAction::Up, _) => row.saturating_sub(1),
        (UiAction::Down, _) => row + 1,
        (UiAction::PageLeft, _) => row.saturating_add_signed(-PAGE),
        (UiAction::PageRight, _) => row.saturating_add_signed(PAGE),
        (UiAction::TopLayer, _) => 0,
        (UiAction::BottomLayer, _) => last,
        _ => row,
    };
    Some(Overlay::Runs { row: row.min(last) })
}

/// Asks how far the compared runs lie apart.
pub(super) fn diverge(app: &mut App, against: Against) -> Vec<Command> {
    let (Some(before), Some(after)) = (app.against(against), &app.shown) else {
        return Vec::new();
    };
    let runs = (before.id, after.id);
    let (a, b) = (before.trace.clone(), after.trace.clone());
    if let Some(why) = refusal(app, before).or(refusal(app, after)) {
        app.info(why);
        return Vec::new();
    }
    let traces = Box::new([a, b]);
    let (divergence, commands) = ask(app, runs.1, |_| InspectionRequest::Divergence { traces });
    app.apart = Some(Apart { runs, divergence });
    commands
}

/// Puts an answer where it is waited for; that of an older question is dropped.
pub(super) fn hear(app: &mut App, ask: AskId, answer: InspectionResult) {
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
    match &mut app.overlay {
        Some(Overlay::Inside(dialog)) if dialog.inspection.waits_for(ask) => inspected(&mut dialog.inspection, answer),
        Some(Overlay::Force(dialog)) if dialog.before.waits_for(ask) => {
            inspected(&mut dialog.before, answer);
            // The likeliest one that is not there already.
            let there = app.shown.as_ref().and_then(|run| Some(run.step(dialog.position)?.id));
            let first = dialog.before.here().and_then(|i| Some(i.next.top.first()?.id));
            dialog.move_by(isize::from(first.is_some() && first == there));
        }
        Some(Overlay::Next(dialog)) if dialog.intervention.waits_for(ask) => {
            dialog.intervention = match answer {
                InspectionResult::Intervened(intervention) => PendingQuestion::Here(intervention),
                InspectionResult::Refused(why) => PendingQuestion::Refused(why),
                _ => return,
            };
        }
        Some(Overlay::Flips(dialog)) if dialog.flip.as_ref().is_some_and(|f| f.waits_for(ask)) => {
            dialog.flip = match answer {
                InspectionResult::Flipped(flip) => Some(PendingQuestion::Here(flip)),
                InspectionResult::Refused(why) => Some(PendingQuestion::Refused(why)),
                _ => return,
            };
        }
        _ => {}
    }
}

fn inspected(place: &mut PendingQuestion<Box<crate::engine::Inspection>>, answer: InspectionResult) {
    *place = match answer {
        InspectionResult::Inspected(inspection) => PendingQuestion::Here(inspection),
        InspectionResult::Refused(why) => PendingQuestion::Refused(why),
        _ => return,
    };
}

/// Whether an answer is waited for.
pub(super) fn is_asking(app: &App) -> bool {
    let dialog = match &app.overlay {
        Some(Overlay::Inside(dialog)) => dialog.inspection.is_waiting(),
        Some(Overlay::Force(dialog)) => dialog.before.is_waiting(),
        Some(Overlay::Next(dialog)) => dialog.intervention.is_waiting(),
        Some(Overlay::Flips(dialog)) => dialog.flip.as_ref().is_some_and(PendingQuestion::is_waiting),
        _ => false,
    };
    dialog || app.apart.as_ref().is_some_and(|apart| apart.divergence.is_waiting())
}

/// Where a branch of the run on the screen may begin, and why not elsewhere.
pub(super) fn branch_problem(run: &Run, at: usize) -> Option<String> {
    if at < run.prompt_len() {
        return Some("a branch begins at a token of the answer; rerun begins at the prompt".to_owned());
    }
    if run.step(at).is_none() {
        return Some("there is no token yet to branch from".to_owned());
    }
    None
}
