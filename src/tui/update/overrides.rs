//! The list of overrides, by its keys.

use super::super::action::UiAction;
use super::super::app::{App, Focus, Overlay};
use super::super::files::{FileReport, FileRequest};
use super::super::line_edit::LineEdit;
use super::super::override_list::{self, EditPurpose, OverrideList};
use super::focus;
use crate::program::Program;

pub(super) fn act(app: &mut App, mut list: OverrideList, action: UiAction) {
    match list.edit.take() {
        Some(edit) => typed(app, &mut list, edit, action),
        None if matches!(action, UiAction::Close | UiAction::Dismiss | UiAction::Overrides) => return,
        None => choose(app, &mut list, action),
    }
    let rows = override_list::rows(&app.settings, &app.off).len();
    list.row = list.row.min(rows.saturating_sub(1));
    app.overlay = Some(Overlay::Overrides(list));
}

/// While something is typed.
fn typed(app: &mut App, list: &mut OverrideList, mut edit: LineEdit, action: UiAction) {
    match action {
        UiAction::Close | UiAction::Dismiss => {}
        UiAction::Accept if matches!(list.purpose, EditPurpose::Save { .. } | EditPurpose::Load) => {
            ask(app, &list.purpose, &mut edit);
            list.edit = Some(edit);
        }
        UiAction::Accept => {
            let row = (list.purpose == EditPurpose::Row).then_some(list.row);
            let layers = app.model_layers();
            match override_list::accept(&mut app.settings, &mut app.off, row, &edit.text, layers) {
                Ok(row) => list.row = row,
                Err(error) => {
                    edit.move_to(error.column.map_or(usize::MAX, |c| c - 1));
                    edit.error = Some(error);
                    list.edit = Some(edit);
                }
            }
        }
        _ => list.edit = Some(edit),
    }
}

/// In the list itself.
fn choose(app: &mut App, list: &mut OverrideList, action: UiAction) {
    let rows = override_list::rows(&app.settings, &app.off);
    match action {
        UiAction::Up => list.row = list.row.saturating_sub(1),
        UiAction::Down => list.row += 1,
        UiAction::TopLayer => list.row = 0,
        UiAction::BottomLayer => list.row = usize::MAX,
        UiAction::Toggle => list.row = override_list::toggle(&mut app.settings, &mut app.off, list.row),
        UiAction::Remove => override_list::remove(&mut app.settings, &mut app.off, list.row),
        UiAction::Accept if !rows.is_empty() => {
            list.purpose = EditPurpose::Row;
            list.edit = Some(LineEdit::new(rows[list.row.min(rows.len() - 1)].0.to_string()));
        }
        UiAction::Add | UiAction::Accept => {
            list.purpose = EditPurpose::Add;
            list.edit = Some(LineEdit::default());
        }
        UiAction::SaveOverrides | UiAction::LoadOverrides => {
            list.purpose = match action {
                UiAction::SaveOverrides => EditPurpose::Save { existing: None },
                _ => EditPurpose::Load,
            };
            list.edit = Some(LineEdit::new(app.overrides_path.clone()));
        }
        _ => {}
    }
}

/// Asks for the file whose name was typed.
fn ask(app: &mut App, purpose: &EditPurpose, edit: &mut LineEdit) {
    let path = edit.text.trim().to_owned();
    if path.is_empty() {
        return edit.refuse("expected the name of a file, like half.overrides".to_owned());
    }
    app.file = Some(match purpose {
        EditPurpose::Save { existing } => FileRequest::Save {
            replace: existing.as_ref() == Some(&path),
            text: override_list::to_file(&app.settings, &app.off).to_string(),
            path,
        },
        _ => FileRequest::Load { path },
    });
}

/// What came of it.
pub(super) fn hear(app: &mut App, report: FileReport) {
    let layers = app.model_layers();
    let Some(Overlay::Overrides(list)) = &mut app.overlay else {
        return;
    };
    let Some(edit) = &mut list.edit else { return };
    let typed = edit.text.trim().to_owned();
    let outcome = match report {
        FileReport::Saved(path) => Ok(format!("the overrides are in {path}")),
        FileReport::Exists(path) => {
            list.purpose = EditPurpose::Save {
                existing: Some(typed.clone()),
            };
            Err(format!(
                "{path} is there already: accept once more to replace it, or type another name"
            ))
        }
        FileReport::Loaded { path, text } => {
            match override_list::load(&mut app.settings, &mut app.off, &text, layers) {
                Ok(()) => {
                    let on = override_list::active(&app.settings).len();
                    Ok(format!("{on} on and {} off, from {path}", app.off.len()))
                }
                Err(message) => Err(format!("{path}: {message}")),
            }
        }
        FileReport::Failed(message) => Err(message),
        // Goes elsewhere.
        FileReport::Session(_) => return,
    };
    match outcome {
        Ok(message) => {
            list.edit = None;
            list.row = 0;
            app.overrides_path = typed;
            app.info(message);
        }
        Err(message) => edit.refuse(message),
    }
}

/// Makes a program an override of the next run; whether it could be, else the reason is on the screen.
pub(super) fn take_program(app: &mut App, program: &Program) -> bool {
    let layers = app.model_layers();
    let text = format!("program {program}");
    match override_list::accept(&mut app.settings, &mut app.off, None, &text, layers) {
        Ok(_) => true,
        Err(error) => {
            app.error(error.message);
            false
        }
    }
}

/// Goes where the program can be run, and says by which key; `what` is the prompt or the question.
pub(super) fn say_taken(app: &mut App, program: &Program, what: &str) {
    if app.focus == Focus::Prompt {
        focus(app, Focus::Map);
    }
    let keys = app.keymap.keys_for(UiAction::Rerun, app.focus.context());
    let key = keys.first();
    let rerun = key.map_or(String::new(), |key| format!(": {key} runs the {what} with it"));
    app.info(format!("{program} is the program now{rerun}"));
}
