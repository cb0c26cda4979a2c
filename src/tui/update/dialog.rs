//! Keys while a dialog is open.

use super::super::action::UiAction;
use super::super::app::{App, Overlay};
use super::super::line_edit::LineEdit;
use super::super::next_run;
use super::super::settings::{SettingsDialog, SettingsField};
use super::{
    act, candidates, inside, intervene, lessons, loop_map, overrides, palette, play, requests, routers, search, stats,
    training,
};
use crate::engine::{Command, RouterChoice};

/// Lines that a page scrolls.
const PAGE: usize = 10;

pub(super) fn act(app: &mut App, action: UiAction) -> Vec<Command> {
    match action {
        UiAction::Rerun => {
            app.overlay = None;
            return requests::run(app, true);
        }
        UiAction::Stop => return requests::stop(app),
        UiAction::LessonNext | UiAction::LessonPrevious | UiAction::LessonLeave => return lessons::act(app, action),
        _ => {}
    }
    let Some(overlay) = app.overlay.take() else {
        return Vec::new();
    };
    let overlay = match overlay {
        Overlay::Palette(open) => return palette::act(app, open, action),
        Overlay::Overrides(list) => {
            overrides::act(app, list, action);
            return Vec::new();
        }
        Overlay::Lessons { row } => return lessons::list(app, row, action),
        Overlay::Jump(edit) => {
            match action {
                UiAction::Accept => play::jump(app, edit),
                UiAction::Close | UiAction::Dismiss => {}
                _ => app.overlay = Some(Overlay::Jump(edit)),
            }
            return Vec::new();
        }
        Overlay::Save(mut dialog) => {
            if action == UiAction::Accept
                && let Some(run) = &app.shown
            {
                app.file = dialog.ask(run);
            }
            if !matches!(action, UiAction::Close | UiAction::Dismiss) {
                app.overlay = Some(Overlay::Save(dialog));
            }
            return Vec::new();
        }
        Overlay::Next(dialog) => return intervene::act(app, dialog, action),
        Overlay::Stats(dialog) => {
            stats::act(app, *dialog, action);
            return Vec::new();
        }
        // What is typed there stays.
        Overlay::Settings(dialog) if dialog.edit.is_some() => Overlay::Settings(dialog),
        Overlay::Force(dialog) => Overlay::Force(dialog),
        Overlay::Inside(dialog) if dialog.edit.is_some() => Overlay::Inside(dialog),
        _ if action == UiAction::Palette => {
            palette::open(app);
            return Vec::new();
        }
        Overlay::Runs { .. } if action == UiAction::Stats => {
            stats::open(app);
            return Vec::new();
        }
        overlay => overlay,
    };
    let mut commands = Vec::new();
    app.overlay = match overlay {
        Overlay::Settings(dialog) => settings(app, dialog, action, &mut commands).map(Overlay::Settings),
        Overlay::Help { scroll } => match action {
            UiAction::Help => None,
            action => scrolled(scroll, action).map(|scroll| Overlay::Help { scroll }),
        },
        Overlay::Compare { against, scroll } => match action {
            UiAction::Help => Some(Overlay::Help { scroll: 0 }),
            UiAction::Compare | UiAction::Baseline => None,
            UiAction::Divergence => {
                commands = inside::diverge(app, against);
                Some(Overlay::Compare { against, scroll })
            }
            action => scrolled(scroll, action).map(|scroll| Overlay::Compare { against, scroll }),
        },
        Overlay::Inside(dialog) => kept(inside::act(app, dialog, action), &mut commands),
        Overlay::Flips(dialog) => kept(inside::act_flips(app, dialog, action), &mut commands),
        Overlay::Force(dialog) => kept(inside::act_force(app, dialog, action), &mut commands),
        Overlay::Runs { row } => inside::act_runs(app, row, action),
        Overlay::Candidates { row } => kept(candidates::act(app, row, action), &mut commands),
        Overlay::Training => training::act(app, action),
        Overlay::Search(page) => kept(search::act(app, page, action), &mut commands),
        Overlay::LoopMap(page) => kept(loop_map::act(app, page, action), &mut commands),
        other @ (Overlay::Palette(_)
        | Overlay::Jump(_)
        | Overlay::Next(_)
        | Overlay::Save(_)
        | Overlay::Lessons { .. }
        | Overlay::Overrides(_)
        | Overlay::Stats(_)) => Some(other),
    };
    commands
}

/// The dialog that stays; what was asked with it goes to `commands`.
fn kept(outcome: (Option<Overlay>, Vec<Command>), commands: &mut Vec<Command>) -> Option<Overlay> {
    commands.extend(outcome.1);
    outcome.0
}

/// The new place of a scrolled text; `None` closes it. The view stops at the text's end.
pub(super) fn scrolled(at: usize, action: UiAction) -> Option<usize> {
    Some(match action {
        UiAction::Close | UiAction::Dismiss => return None,
        UiAction::Up => at.saturating_sub(1),
        UiAction::Down => at.saturating_add(1),
        UiAction::PageLeft => at.saturating_sub(PAGE),
        UiAction::PageRight => at.saturating_add(PAGE),
        UiAction::TopLayer => 0,
        UiAction::BottomLayer => usize::MAX / 2,
        _ => at,
    })
}

fn settings(
    app: &mut App,
    mut dialog: SettingsDialog,
    action: UiAction,
    commands: &mut Vec<Command>,
) -> Option<SettingsDialog> {
    let last = SettingsField::ALL.len() - 1;
    match (action, dialog.edit.is_some()) {
        (UiAction::Close | UiAction::Dismiss, true) if !dialog.single => dialog.edit = None,
        (UiAction::Close | UiAction::Dismiss, _) => return None,
        (UiAction::Accept, true) => return accept(app, dialog, commands),
        (_, true) => {}
        (UiAction::Help | UiAction::Settings, false) => return None,
        (UiAction::Up, false) => dialog.row = dialog.row.saturating_sub(1),
        (UiAction::Down, false) => dialog.row = (dialog.row + 1).min(last),
        (UiAction::TopLayer, false) => dialog.row = 0,
        (UiAction::BottomLayer, false) => dialog.row = last,
        (UiAction::Left | UiAction::Right, false) => turn(app, dialog.field(), action == UiAction::Right),
        (UiAction::Toggle, false) if dialog.field() == SettingsField::Routers => {
            let at = next_run::SHIPPED.iter().position(|choice| *choice == app.routers);
            let choice = match at.map(|at| at + 1) {
                Some(at) => next_run::SHIPPED.get(at).cloned().unwrap_or(RouterChoice::None),
                None => RouterChoice::BuiltIn,
            };
            commands.extend(routers::choose(app, choice));
        }
        (UiAction::Toggle, false) => {
            dialog.field().toggle(&mut app.settings);
        }
        (UiAction::Accept, false) => {
            let switched = dialog.field().toggle(&mut app.settings);
            dialog.edit = (!switched).then(|| LineEdit::new(dialog.field().shown(app)));
        }
        _ => {}
    }
    Some(dialog)
}

/// Turns a setting that has steps, as its keys do.
fn turn(app: &mut App, field: SettingsField, up: bool) {
    match field {
        SettingsField::Dial => act::turn_dial(app, up),
        SettingsField::Budget => act::turn_budget(app, up),
        _ => {}
    }
}

fn accept(app: &mut App, mut dialog: SettingsDialog, commands: &mut Vec<Command>) -> Option<SettingsDialog> {
    let layers = app.model_layers();
    let field = dialog.field();
    let edit = dialog.edit.as_mut()?;
    if field == SettingsField::Routers {
        let typed = edit.text.trim();
        if typed.is_empty() {
            edit.refuse("name routers: built-in, dr-llm, verifier, none, or the path of a checkpoint".to_owned());
            return Some(dialog);
        }
        let choice = RouterChoice::from(typed);
        dialog.edit = None;
        commands.extend(routers::choose(app, choice));
        return (!dialog.single).then_some(dialog);
    }
    let calibration = app.calibration().cloned();
    match field.set(&mut app.settings, &edit.text, layers, calibration.as_ref()) {
        Ok(()) if dialog.single => return None,
        Ok(()) => dialog.edit = None,
        Err(error) => {
            edit.move_to(error.column.map_or(usize::MAX, |c| c - 1));
            edit.error = Some(error);
        }
    }
    Some(dialog)
}
