//! What is selected, in a line of words: for the clipboard and for screen readers.

pub mod loop_map;

use super::app::App;
use super::run::Run;
use crate::program::Action;
use crate::text::escape_controls;
use crate::trace::{DecidedBy, Decision};

/// A token's text between quotes.
pub fn quoted(text: &str) -> String {
    match text {
        "" => "part of a character".to_owned(),
        text => format!("\"{}\"", escape_controls(text)),
    }
}

/// The cell at the cursor: where it is, what was done, who decided, what the router said.
pub fn cell(app: &App) -> Option<String> {
    let run = app.shown.as_ref()?;
    let (layer, token) = (app.ui.cursor.layer, app.ui.cursor.token);
    let (text, _) = run.token(token)?;
    let place = run.place(token);
    let text = quoted(text);
    let what = match run.decision(layer, token) {
        Some(decision) => outcome(run, &decision, token),
        None => "not reached yet".to_owned(),
    };
    let lens = if app.ui.map.lens { lens(app) } else { String::new() };
    Some(format!(
        "layer {layer}, {place} {text}: {what}{}{lens}",
        depth(run, token)
    ))
}

/// What the lens says at the cursor.
fn lens(app: &App) -> String {
    let Some(said) = app.lens_at(app.ui.cursor.token) else {
        let why = app.lens_waits().unwrap_or_else(|| "not computed yet".to_owned());
        return format!("; lens: {}", escape_controls(&why));
    };
    let said_by = |at: usize| said.stages[at].lens.top.first();
    let words = said.of_layer(app.ui.cursor.layer).filter_map(said_by);
    let words: Vec<String> = words
        .map(|top| format!("\"{}\" {:.2}", escape_controls(&top.text), top.probability))
        .collect();
    match words.is_empty() {
        true => "; lens: this layer is not in the program".to_owned(),
        false => format!("; it would say {}", words.join(", then ")),
    }
}

/// Who decided where no router did, as it follows on what was done.
pub fn unrouted(run: &Run, token: usize) -> &'static str {
    match run.settings().program {
        Some(_) => " by the fixed program",
        None if run.trace.header.routers.is_none() => ": the run has no routers",
        None if token < run.prompt_len() => ": no router is asked at the prompt, they decide at the answer",
        None => ": no router was asked",
    }
}

fn outcome(run: &Run, decision: &Decision, token: usize) -> String {
    let did = match decision.action {
        Action::Skip => "skipped",
        Action::Execute => "executed once",
        Action::Repeat => "executed twice",
    };
    let by = match decision.by {
        DecidedBy::Program => unrouted(run, token),
        DecidedBy::Router => " by the router",
        DecidedBy::Predictor => " by the predictor",
        DecidedBy::Dial => " by the dial",
        DecidedBy::Budget => " by the budget",
        DecidedBy::Pin => " by your pin",
    };
    let mut out = format!("{did}{by}");
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

/// What has the user's attention: the dialog that is open and what is selected in it, else the cell at
/// the cursor.
pub fn selected(app: &App) -> Option<String> {
    match &app.ui.overlay {
        None => cell(app),
        Some(overlay) => Some(overlay.dialog().words(app)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    #[test]
    fn the_cell_is_told_in_words() {
        let mut app = fixture::app();
        (app.ui.cursor.layer, app.ui.cursor.token) = (8, 13);
        let text = cell(&app).unwrap();
        assert!(
            text.starts_with("layer 8, token 2 \" sky\": executed twice by the router; router: skip 0."),
            "{text}"
        );
        assert!(text.contains("the router here would execute; depth 31 of 30"), "{text}");
        app.ui.cursor.token = 6;
        assert!(cell(&app).unwrap().contains("prompt token 7 \" sky\""));
        app.shown = None;
        assert_eq!(cell(&app), None);
    }

    /// Opens a dialog by its keys; what is asked for it is answered.
    fn opened(app: &mut App, keys: &str) -> String {
        use crate::tui::update::{UiEvent, update};
        use crossterm::event::{KeyCode, KeyEvent};
        for key in keys.chars() {
            let code = if key == '\n' {
                KeyCode::Enter
            } else {
                KeyCode::Char(key)
            };
            let asked = update(app, UiEvent::Key(KeyEvent::from(code)));
            for answer in fixture::answers(&asked) {
                update(app, UiEvent::Worker(answer));
            }
        }
        selected(app).unwrap()
    }

    /// Begins a run that goes on.
    fn opened_run(app: &mut App) {
        use crate::tui::update::{UiEvent, update};
        use crossterm::event::{KeyCode, KeyEvent};
        update(app, UiEvent::Key(KeyEvent::from(KeyCode::Char('r'))));
        let run = app.starting.as_ref().unwrap().id;
        for event in fixture::events(run, &fixture::trace(1, 20)).into_iter().take(8) {
            update(app, UiEvent::Worker(event));
        }
    }

    #[test]
    fn every_dialog_is_named_with_what_is_selected_in_it() {
        use crate::tui::dialogs::{LessonsDialog, Overlay};
        use crate::tui::ui::Focus;
        use crate::tui::update::{UiEvent, update};
        let mut kinds = std::collections::HashSet::new();
        for (keys, said) in [
            (
                "?",
                "help: what the screen shows and what the keys do, from its beginning; ",
            ),
            (
                "?jj",
                "help: what the screen shows and what the keys do, scrolled by 2; ",
            ),
            ("o", "setting routers: built-in"),
            ("oj", "setting scope: prompt"),
            ("B26", "setting budget: typed 26"),
            ("Bx\n", "setting budget: typed x; refused: "),
            ("c", "comparison of A, recording: another, depth "),
            ("p", "command 1 of "),
            ("pzzzq", "commands: nothing matches zzzq"),
            ("O", "overrides: none, the routers decide"),
            ("sO", "override 1 of 1: pin 15=skip, on"),
            ("Onpin", "one more override: typed pin"),
            (
                "Os",
                "overrides, the file to write: run.overrides, selected: typing replaces it",
            ),
            ("J5", "jump: the number of a token, or a share like 50%: typed 5"),
            ("I", "inside token 60 \" is all.\": layer 15 would say "),
            ("Ik", "inside token 60 \" is all.\": layer 16 would say "),
            ("F", "flip 1 of "),
            ("Fj\n", "flip 2 of "),
            ("T", "another token for token 60 \" is all.\": candidate "),
            ("Tmoon", "another token for token 60 \" is all.\": typed moon"),
            ("w", "run 2 of 2: recording: why the sky is blue, 60 tokens, depth "),
            ("wk", "run 1 of 2: recording: another, 5 tokens, depth "),
            ("A", "statistics of 6 recordings of SmolLM2-135M-Instruct: skipped "),
            ("AP", "statistics, a file of prompts: nothing typed yet"),
            (
                "E",
                "save the run, the file to write: run.trace.jsonl, selected: typing replaces it",
            ),
            ("Cj", "predicted program 2 of 5: score -1.20, depth 30, 0-29"),
            ("S", "search: "),
            ("@", "loop map: start the map"),
            ("Y", "training of depth routers, quick: 160 answers"),
            ("L", "lesson What a layer program is: "),
        ] {
            let mut app = fixture::empty(crate::tui::color::ColorTier::None);
            app.lessons = crate::tui::lesson::list(None);
            app.recordings = crate::tui::recordings::built_in();
            for (title, tokens) in [("another", 5), ("why the sky is blue", 60)] {
                app.previous = app.shown.take();
                app.open(title.into(), None, fixture::trace(7, tokens));
            }
            update(&mut app, UiEvent::Worker(fixture::loaded()));
            app.ui.focus = Focus::Map;
            if keys.starts_with('C') {
                app.open("predicted".into(), None, fixture::predicted_trace(7, 20));
            }
            if keys == "L" {
                app.ui.overlay = Some(Overlay::Lessons(LessonsDialog { row: 0 }));
            }
            let text = opened(&mut app, keys.trim_start_matches('L'));
            assert!(text.starts_with(said), "{keys:?}: {text}");
            let overlay = app.ui.overlay.as_ref().unwrap();
            if let Overlay::Flips(dialog) = overlay {
                assert_eq!(
                    text.contains("; flipped: KL 0.1345 nats"),
                    dialog.flip.is_some(),
                    "{text}"
                );
            }
            kinds.insert(std::mem::discriminant(overlay));
        }
        let mut app = fixture::app();
        update(&mut app, UiEvent::Worker(fixture::loaded()));
        app.ui.focus = Focus::Map;
        app.prompt.set("Hello");
        opened_run(&mut app);
        let text = opened(&mut app, " N");
        assert!(text.starts_with("the next token, layer 15 to skip, decided "), "{text}");
        kinds.insert(std::mem::discriminant(app.ui.overlay.as_ref().unwrap()));
        assert_eq!(kinds.len(), Overlay::KINDS, "a dialog is not told here");
    }
}
