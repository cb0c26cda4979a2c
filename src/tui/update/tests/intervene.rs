//! The next token of a run that is held.

use super::*;
use crate::engine::{InspectionRequest, InspectionResult};
use crate::program::Action;
use crate::tui::dialogs::Overlay;
use crate::tui::inside::PendingQuestion;

/// A run of which seven tokens are there, held.
fn held() -> App {
    let mut app = ready();
    let (run, ..) = asked(&keys(&mut app, "r"));
    hear(
        &mut app,
        fixture::events(run, &fixture::trace(1, 20)).into_iter().take(8),
    );
    assert_eq!(keys(&mut app, " "), [Command::Pause]);
    app
}

/// What was asked of which layer; the question is answered.
fn tried(app: &mut App, commands: Vec<Command>) -> (usize, Action) {
    let [
        Command::Ask {
            question: InspectionRequest::Intervene {
                trace, layer, action, ..
            },
            ..
        },
    ] = commands.as_slice()
    else {
        panic!("{commands:?}")
    };
    assert_eq!(trace.steps.len(), 7);
    let tried = (*layer, *action);
    hear(app, fixture::answers(&commands));
    let Some(Overlay::Next(dialog)) = &app.ui.overlay else {
        panic!("{:?}", app.ui.overlay)
    };
    assert!(matches!(dialog.intervention, PendingQuestion::Here(_)));
    tried
}

#[test]
fn the_next_token_is_tried_for_any_layer_and_action() {
    let mut app = held();
    app.ui.cursor.layer = 12;
    let commands = keys(&mut app, "N");
    assert_eq!(tried(&mut app, commands), (12, Action::Skip));
    let commands = keys(&mut app, "d");
    assert_eq!(tried(&mut app, commands), (12, Action::Repeat));
    let commands = keys(&mut app, "k");
    assert_eq!(tried(&mut app, commands), (13, Action::Repeat));
    let commands = keys(&mut app, "l");
    assert_eq!(tried(&mut app, commands), (13, Action::Skip));
    // Keys that mean nothing here leave it as it is.
    assert_eq!(keys(&mut app, "zwT"), []);
    assert!(matches!(app.ui.overlay, Some(Overlay::Next(_))));
    assert!(app.settings.pins.is_empty(), "nothing is pinned by trying");
    key(&mut app, KeyCode::Esc);
    assert!(app.ui.overlay.is_none() && app.held);
}

#[test]
fn what_is_decided_already_is_no_choice() {
    let mut app = held();
    app.ui.cursor.layer = 12;
    let commands = keys(&mut app, "N");
    tried(&mut app, commands);
    let from = match &app.ui.overlay {
        Some(Overlay::Next(dialog)) => dialog.intervention.here().unwrap().flip.from,
        other => panic!("{other:?}"),
    };
    let same = ["s", "e", "d"][Action::ALL.iter().position(|action| *action == from).unwrap()];
    let commands = keys(&mut app, same);
    assert_eq!(tried(&mut app, commands), (12, from));
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    assert!(matches!(app.ui.overlay, Some(Overlay::Next(_))));
    assert!(app.ui.notice.as_ref().unwrap().text.contains("does that already"));
}

#[test]
fn the_run_goes_on_with_the_choice_or_without_it() {
    let mut app = held();
    app.ui.cursor.layer = 12;
    let parent = app.shown.as_ref().unwrap().id;
    let commands = keys(&mut app, "N");
    tried(&mut app, commands);
    let commands = key(&mut app, KeyCode::Enter);
    let [
        Command::Branch {
            run,
            kept,
            forced,
            settings,
        },
        Command::Pause,
        Command::Step,
    ] = commands.as_slice()
    else {
        panic!("{commands:?}")
    };
    assert_eq!((kept.steps.len(), forced), (7, &Prompt::Ids(vec![77])));
    assert_eq!(settings.pins, ["12@19=skip".parse().unwrap()]);
    assert!(app.held && app.ui.overlay.is_none());
    let branch = fixture::branched(kept, forced, settings, 5);
    hear(&mut app, fixture::events(*run, &branch).into_iter().take(9));
    let shown = app.shown.as_ref().unwrap();
    assert_eq!(shown.parent.unwrap().run, parent);
    assert!(app.pending().is_empty(), "{:?}", app.pending());
    // Without it: a token of the run as it is.
    let mut app = held();
    let commands = keys(&mut app, "N");
    tried(&mut app, commands);
    assert_eq!(keys(&mut app, "."), [Command::Step]);
    assert!(app.held && app.ui.overlay.is_none());
}

#[test]
fn where_no_token_is_next_it_says_what_to_do() {
    let refused = |app: &mut App, why: &str| {
        app.ui.notice = None;
        assert_eq!(keys(app, "N"), []);
        assert!(app.ui.overlay.is_none());
        let said = app.ui.notice.as_ref().unwrap().text.clone();
        assert!(said.contains(why), "{said}");
    };
    let mut app = fixture::empty(crate::tui::color::ColorTier::None);
    focus(&mut app, Focus::Map);
    refused(&mut app, "run a prompt, hold it with Space");
    let mut app = ready();
    refused(&mut app, "r runs again, Space holds, then N");
    let (run, ..) = asked(&keys(&mut app, "r"));
    refused(&mut app, "still being read");
    hear(
        &mut app,
        fixture::events(run, &fixture::trace(1, 20)).into_iter().take(8),
    );
    refused(&mut app, "before its next token with Space");
    keys(&mut app, " ");
    let [Command::Ask { ask, .. }] = keys(&mut app, "N")[..] else {
        panic!("not asked")
    };
    hear(
        &mut app,
        [fixture::answered(
            ask,
            InspectionResult::Refused("there is no next one".into()),
        )],
    );
    // There is nothing to go on with.
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    assert!(matches!(app.ui.overlay, Some(Overlay::Next(_))));
}
