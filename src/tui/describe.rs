//! What is selected, in a line of words: for the clipboard and for screen readers.

use super::app::{App, Overlay};
use super::lesson::Listed;
use super::override_list;
use super::run::Run;
use super::search;
use crate::engine::{DecidedBy, Decision};
use crate::program::Action;
use crate::text::escape_controls;

/// The cell at the cursor: where it is, what was done, who decided, what the router said.
pub fn cell(app: &App) -> Option<String> {
    let run = app.shown.as_ref()?;
    let (layer, token) = (app.cursor.layer, app.cursor.token);
    let (text, _) = run.token(token)?;
    let place = match token.checked_sub(run.prompt_len()) {
        None => format!("prompt token {}", token + 1),
        Some(n) => format!("token {}", n + 1),
    };
    let text = match text {
        "" => "part of a character".to_owned(),
        text => format!("\"{}\"", escape_controls(text)),
    };
    let what = match run.decision(layer, token) {
        Some(decision) => outcome(&decision),
        None => "not reached yet".to_owned(),
    };
    Some(format!("layer {layer}, {place} {text}: {what}{}", depth(run, token)))
}

fn outcome(decision: &Decision) -> String {
    let did = match decision.action {
        Action::Skip => "skipped",
        Action::Execute => "executed once",
        Action::Repeat => "executed twice",
    };
    let by = match decision.by {
        DecidedBy::Program => "the fixed program",
        DecidedBy::Router => "the router",
        DecidedBy::Dial => "the dial",
        DecidedBy::Budget => "the budget",
        DecidedBy::Pin => "your pin",
    };
    let mut out = format!("{did} by {by}");
    if let Some([skip, execute, repeat]) = decision.probs {
        out += &format!("; router: skip {skip:.2}, execute {execute:.2}, repeat {repeat:.2}");
    }
    if let Some(shadow) = decision.shadow.filter(|_| decision.disagrees()) {
        out += &format!("; the router here would {shadow}");
    }
    out
}

fn depth(run: &Run, token: usize) -> String {
    run.depth(token)
        .map_or(String::new(), |depth| format!("; depth {depth} of {}", run.layers()))
}

/// What has the user's attention: the selected line of a dialog, else the cell at the cursor.
pub fn selected(app: &App) -> Option<String> {
    match &app.overlay {
        None => cell(app),
        Some(Overlay::Settings(dialog)) => {
            let field = dialog.field();
            let value = field.value(&app.settings);
            let value = if value.is_empty() { "none".to_owned() } else { value };
            Some(format!("setting {}: {value}", field.name()))
        }
        Some(Overlay::Overrides(list)) => {
            let rows = override_list::rows(&app.settings, &app.off);
            let (what, on) = rows.get(list.row)?;
            Some(format!("override {what}, {}", if *on { "on" } else { "off" }))
        }
        Some(Overlay::Palette(palette)) => {
            let found = palette.found.get(palette.row)?;
            let entry = &palette.entries[found.entry];
            Some(format!(
                "command {} of {}: {} {}",
                palette.row + 1,
                palette.found.len(),
                entry.text,
                entry.keys
            ))
        }
        Some(Overlay::Lessons { row }) => match app.lessons.get(*row)? {
            Listed::Usable(lesson) => Some(format!("lesson {}: {}", lesson.title, lesson.summary)),
            Listed::Broken { name, message } => Some(format!("lesson {name} cannot be used: {message}")),
        },
        Some(Overlay::Search(page)) => search::describe(&app.search, *page),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    #[test]
    fn the_cell_is_told_in_words() {
        let mut app = fixture::app();
        (app.cursor.layer, app.cursor.token) = (8, 13);
        let text = cell(&app).unwrap();
        assert!(
            text.starts_with("layer 8, token 2 \" sky\": executed twice by the router; router: skip 0."),
            "{text}"
        );
        assert!(text.contains("the router here would execute; depth 31 of 30"), "{text}");
        app.cursor.token = 6;
        assert!(cell(&app).unwrap().contains("prompt token 7 \" sky\""));
        app.shown = None;
        assert_eq!(cell(&app), None);
    }
}
