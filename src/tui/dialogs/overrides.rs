//! The list of overrides.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, TYPED, closed, help, moved, stays, typing};
use crate::trace::ExcludedExpert;
use crate::tui::action::UiAction::{
    self, Accept, Add, Close, Dismiss, LoadOverrides, Remove, Rerun, SaveOverrides, Toggle,
};
use crate::tui::app::App;
use crate::tui::files::{FileReport, FileRequest};
use crate::tui::line_edit::LineEdit;
use crate::tui::override_list::{self, EditPurpose, OverrideList};
use crate::tui::view;

impl Dialog for OverrideList {
    fn context(&self, _app: &App) -> &'static str {
        match self.edit {
            Some(_) => "command",
            None => "overrides",
        }
    }

    fn keys(&self, app: &App) -> Vec<Offer> {
        if self.edit.is_some() {
            return TYPED.to_vec();
        }
        let rows = override_list::rows(&app.settings, &app.off);
        let mut keys = Vec::new();
        if !rows.is_empty() {
            let on = rows.get(self.row).is_some_and(|(_, on)| *on);
            keys.push((Toggle, if on { "switch off" } else { "switch on" }));
            keys.extend([(Accept, "edit"), (Remove, "remove")]);
        }
        keys.extend([
            (Add, "add"),
            (SaveOverrides, "write to a file"),
            (LoadOverrides, "read a file"),
            (Rerun, "rerun"),
            (Close, "close"),
        ]);
        keys
    }

    fn handle(mut self, app: &mut App, action: UiAction) -> Handled {
        match self.edit.take() {
            Some(edit) => typed(app, &mut self, edit, action),
            None if matches!(action, Close | Dismiss | UiAction::Overrides) => return closed(),
            None if action == UiAction::Help => return help(),
            None => choose(app, &mut self, action),
        }
        let rows = override_list::rows(&app.settings, &app.off).len();
        self.row = self.row.min(rows.saturating_sub(1));
        stays(self)
    }

    fn field(&mut self) -> Option<&mut LineEdit> {
        self.edit.as_mut()
    }

    fn report(mut self, app: &mut App, report: FileReport) -> Handled {
        reported(app, &mut self, report);
        stays(self)
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::overrides::draw(app, self, place.body, buffer)
    }

    fn words(&self, app: &App) -> String {
        if let Some(edit) = &self.edit {
            let what = match self.purpose {
                EditPurpose::Row => "override, edited",
                EditPurpose::Add => "one more override",
                EditPurpose::Save { .. } => "overrides, the file to write",
                EditPurpose::Load => "overrides, the file to read",
            };
            return typing(what, edit);
        }
        let rows = override_list::rows(&app.settings, &app.off);
        match rows.get(self.row) {
            Some((what, on)) => {
                let (n, all) = (self.row + 1, rows.len());
                format!("override {n} of {all}: {what}, {}", if *on { "on" } else { "off" })
            }
            None => "overrides: none, the routers decide".to_owned(),
        }
    }
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
            if let Some(message) = no_such_expert(app, &edit.text) {
                edit.refuse(message);
                list.edit = Some(edit);
                return;
            }
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

/// Why the model cannot do without a typed expert, as far as is known of it without asking.
fn no_such_expert(app: &App, text: &str) -> Option<String> {
    let model = app.ready()?;
    let expert: ExcludedExpert = text.trim().strip_prefix("exclude ")?.trim().parse().ok()?;
    let Some(looped) = &model.looped else {
        return Some(format!(
            "{} has no experts: a looped model has (--model loopmoe)",
            model.name
        ));
    };
    let layers = looped.execution(model.layers - 1).0 + 1;
    (expert.layer >= layers).then(|| {
        format!(
            "there is no layer {}; those with weights of their own are 0-{}",
            expert.layer,
            layers - 1
        )
    })
}

/// In the list itself.
fn choose(app: &mut App, list: &mut OverrideList, action: UiAction) {
    let rows = override_list::rows(&app.settings, &app.off);
    match action {
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
        action => list.row = moved(list.row, rows.len().saturating_sub(1), action),
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
fn reported(app: &mut App, list: &mut OverrideList, report: FileReport) {
    let layers = app.model_layers();
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
