//! Intervening in a run that is held: its next token both ways, and going on with either.

use super::super::action::UiAction;
use super::super::app::App;
use super::super::dialogs::Overlay;
use super::super::inside::{NextDialog, PendingQuestion};
use super::inside::{ask, keep_pin, refusal};
use super::requests::{self, Branch};
use crate::engine::{Command, InspectionRequest, Prompt};
use crate::program::Action;

/// The next tokens that are named of either way.
const TOP: usize = 5;

/// Opens the choice for the next token, or says why there is none.
pub(in crate::tui) fn open(app: &mut App) -> Vec<Command> {
    if let Some(problem) = problem(app) {
        app.info(problem);
        return Vec::new();
    }
    let layer = app.ui.cursor.layer;
    let action = app.layer_pin(layer).map_or(Action::Skip, |pin| pin.action);
    compute(app, action)
}

fn problem(app: &App) -> Option<String> {
    let key = |action| {
        app.ui
            .keymap
            .keys_for(action, "grid")
            .into_iter()
            .next()
            .unwrap_or_default()
    };
    let (hold, here) = (key(UiAction::PlayPause), key(UiAction::Intervene));
    let Some(run) = &app.shown else {
        return Some(format!(
            "there is no run yet: run a prompt, hold it with {hold}, then press {here}"
        ));
    };
    if app.starting.is_some() {
        return Some(format!(
            "the prompt is still being read: hold the run with {hold}, then press {here}"
        ));
    }
    if !run.is_running() {
        return Some(format!(
            "for a run that is held: {} runs again, {hold} holds, then {here}; {} tries one here",
            key(UiAction::Rerun),
            key(UiAction::Flips)
        ));
    }
    (!app.held).then(|| format!("hold the run before its next token with {hold}, then press {here}"))
}

/// Asks for the next token with the cursor's layer pinned.
pub(in crate::tui) fn compute(app: &mut App, action: Action) -> Vec<Command> {
    let Some(run) = app.shown.as_ref().map(|run| run.id) else {
        return Vec::new();
    };
    let layer = app.ui.cursor.layer;
    let (intervention, commands) = ask(app, run, |run| InspectionRequest::Intervene {
        trace: Box::new(run.trace.clone()),
        layer,
        action,
        top: TOP,
    });
    app.ui.overlay = Some(Overlay::Next(NextDialog { action, intervention }));
    commands
}

/// A branch at the next token with the pin; held again behind that token.
pub(in crate::tui) fn go_on_with(app: &mut App, dialog: NextDialog) -> (Option<Overlay>, Vec<Command>) {
    let PendingQuestion::Here(intervention) = &dialog.intervention else {
        return (Some(dialog.into()), Vec::new());
    };
    if intervention.changes_nothing() {
        app.info("the next token does that already: choose another action or layer, or step on without a pin");
        return (Some(dialog.into()), Vec::new());
    }
    let Some(run) = &app.shown else {
        return (None, Vec::new());
    };
    if let Some(why) = refusal(app, run) {
        app.error(why);
        return (None, Vec::new());
    }
    let pin = intervention.flip.pin;
    let mut settings = run.settings().clone();
    settings.pins.push(pin);
    let branch = Branch {
        at: intervention.position,
        forced: Some(Prompt::Ids(vec![intervention.token.id])),
        settings,
    };
    let mut commands = requests::branch(app, branch);
    keep_pin(app, pin, &commands);
    if matches!(commands.last(), Some(Command::Branch { .. })) {
        app.held = true;
        commands.extend([Command::Pause, Command::Step]);
    }
    (app.ui.overlay.take(), commands)
}
