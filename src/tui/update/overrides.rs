//! The list of overrides, by its keys.

use super::super::action::UiAction;
use super::super::app::{App, Overlay};
use super::super::line_edit::LineEdit;
use super::super::override_list::{self, OverrideList};

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

/// While an override is typed.
fn typed(app: &mut App, list: &mut OverrideList, mut edit: LineEdit, action: UiAction) {
    match action {
        UiAction::Close | UiAction::Dismiss => {}
        UiAction::Accept => {
            let row = (!list.adding).then_some(list.row);
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
            list.adding = false;
            list.edit = Some(LineEdit::new(rows[list.row.min(rows.len() - 1)].0.to_string()));
        }
        UiAction::Add | UiAction::Accept => {
            list.adding = true;
            list.edit = Some(LineEdit::default());
        }
        _ => {}
    }
}
