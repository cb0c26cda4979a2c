//! Statistics of the open runs, and of a file of prompts that runs one after the other.

use super::*;
use crate::tui::dialogs::Overlay;
use crate::tui::files::FileRequest;
use crate::tui::recordings::{Recording, built_in};
use crate::tui::stats::{Of, StatsDialog};

fn dialog(app: &App) -> &StatsDialog {
    match &app.ui.overlay {
        Some(Overlay::Stats(dialog)) => dialog,
        other => panic!("expected the statistics, got {other:?}"),
    }
}

/// What is counted: runs, answer tokens, and of what.
fn counted(app: &App) -> (usize, usize, Of) {
    let counted = dialog(app).counted.as_ref().expect("something is counted");
    (counted.report.runs, counted.report.answer_tokens, counted.of)
}

#[test]
fn statistics_are_of_the_runs_or_of_the_recordings_that_ship() {
    let mut app = ready();
    app.recordings = built_in();
    keys(&mut app, "A");
    let (runs, tokens, of) = counted(&app);
    assert_eq!((runs, of), (6, Of::Recordings));
    assert!(tokens > 100);
    keys(&mut app, "A");
    assert_eq!(app.ui.overlay, None);
    ran(&mut app, 1, 9);
    ran(&mut app, 2, 4);
    keys(&mut app, "A");
    assert_eq!(counted(&app), (2, 13, Of::Runs));
    key(&mut app, KeyCode::Esc);
    // A run under way is not half counted, and is counted once it has ended.
    let (run, ..) = asked(&keys(&mut app, "r"));
    let events = fixture::events(run, &fixture::trace(3, 6));
    hear(&mut app, events[..3].iter().cloned());
    keys(&mut app, "wA");
    assert_eq!(counted(&app), (2, 13, Of::Runs));
    hear(&mut app, events[3..].iter().cloned());
    assert_eq!(counted(&app), (3, 19, Of::Runs));
}

#[test]
fn opened_traces_count_once_and_other_models_are_left_out() {
    let mut app = ready();
    let mut other = fixture::trace(2, 7);
    other.header.model.sha256 = "another".into();
    app.recordings = vec![
        Recording::opened("a".into(), fixture::trace(1, 5)),
        Recording::opened("b".into(), other),
    ];
    app.recordings.extend(built_in());
    app.open_recording();
    keys(&mut app, "A");
    assert_eq!(counted(&app), (1, 5, Of::Runs));
    assert_eq!(dialog(&app).counted.as_ref().unwrap().left_out, 1);
    // The other one is on the screen.
    keys(&mut app, "AnA");
    assert_eq!(counted(&app), (1, 7, Of::Runs));
}

#[test]
fn there_may_be_nothing_to_count() {
    let mut app = fixture::empty(crate::tui::color::ColorTier::None);
    app.ui.focus = Focus::Map;
    keys(&mut app, "A");
    assert_eq!(dialog(&app).counted, None);
    keys(&mut app, "jjk");
    assert_eq!(dialog(&app).scroll, 1);
    keys(&mut app, " ");
    assert!(app.ui.notice.as_ref().unwrap().text.contains("no file of prompts"));
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.ui.overlay, None);
}

#[test]
fn sections_are_gone_through_by_the_arrows() {
    let mut app = ready();
    update(&mut app, UiEvent::Resize(80, 24));
    ran(&mut app, 1, 9);
    keys(&mut app, "A");
    let mut places = vec![0];
    loop {
        key(&mut app, KeyCode::Right);
        let at = dialog(&app).scroll;
        if places.last() == Some(&at) {
            break;
        }
        places.push(at);
    }
    // The beginning, layers, who decided, depth, confidence, calibration, programs.
    assert_eq!(places.len(), 7, "{places:?}");
    places.pop();
    for at in places.into_iter().rev() {
        key(&mut app, KeyCode::Left);
        assert_eq!(dialog(&app).scroll, at);
    }
}

/// Types the name of a file that holds `text`.
fn prompts(app: &mut App, text: &str) -> Vec<Command> {
    keys(app, "APasked.txt");
    assert_eq!(key(app, KeyCode::Enter), []);
    let path = "asked.txt".to_owned();
    assert_eq!(app.file.take(), Some(FileRequest::Load { path: path.clone() }));
    let text = text.to_owned();
    update(app, UiEvent::File(FileReport::Loaded { path, text }))
}

/// Plays the worker for the one run that was asked for.
fn answer(app: &mut App, commands: &[Command], tokens: usize) -> Vec<Command> {
    let (run, _, settings) = asked(commands);
    let mut trace = fixture::trace(run, tokens);
    trace.header.settings = settings;
    let events = fixture::events(run, &trace);
    let mut next = Vec::new();
    for event in events {
        next.extend(update(app, UiEvent::Worker(event)));
    }
    next
}

#[test]
fn a_file_of_prompts_runs_one_after_the_other() {
    let mut app = ready();
    app.settings.budget = Some(27);
    let first = prompts(&mut app, "One?\n\nTwo?\n");
    let (_, prompt, settings) = asked(&first);
    assert_eq!((prompt, settings.budget), (Prompt::Text("One?".into()), Some(27)));
    assert_eq!(
        (dialog(&app).edit.as_ref(), dialog(&app).counted.as_ref()),
        (None, None)
    );
    // What is set meanwhile is for other runs.
    app.settings.budget = None;
    let second = answer(&mut app, &first, 3);
    let (_, prompt, settings) = asked(&second);
    assert_eq!((prompt, settings.budget), (Prompt::Text("Two?".into()), Some(27)));
    assert_eq!(counted(&app), (1, 3, Of::Prompts));
    assert_eq!(answer(&mut app, &second, 4), []);
    assert_eq!(counted(&app), (2, 7, Of::Prompts));
    assert!(app.ui.notice.as_ref().unwrap().text.contains("2 prompts ran"));
    assert_eq!(app.shown.as_ref().unwrap().prompt.as_deref(), Some("Two?"));
    // Space turns to all runs, and back.
    keys(&mut app, " ");
    assert_eq!(counted(&app), (2, 7, Of::Runs));
    keys(&mut app, " ");
    assert_eq!(counted(&app), (2, 7, Of::Prompts));
    assert_eq!(app.prompt.text(), "Hello", "what was typed is left alone");
}

#[test]
fn a_file_of_prompts_is_stopped_by_a_key_another_run_or_a_failure() {
    let mut app = ready();
    let first = prompts(&mut app, "One?\nTwo?\n");
    let (run, ..) = asked(&first);
    assert_eq!(keys(&mut app, "x"), [Command::Stop]);
    let mut trace = fixture::trace(1, 2);
    trace.summary.as_mut().unwrap().stop = crate::trace::StopReason::Stopped;
    hear(&mut app, fixture::events(run, &trace));
    assert!(!app.is_busy());
    assert_eq!(
        (dialog(&app).counted.as_ref(), app.batch.as_ref().unwrap().run),
        (None, None)
    );
    keys(&mut app, "A");

    let first = prompts(&mut app, "One?\nTwo?\n");
    let (old, ..) = asked(&first);
    let (new, ..) = asked(&keys(&mut app, "r"));
    hear(&mut app, fixture::events(old, &fixture::trace(1, 2)));
    hear(&mut app, fixture::events(new, &fixture::trace(1, 2)));
    assert!(!app.is_busy() && app.batch.as_ref().unwrap().done == 0);

    let first = prompts(&mut app, "One?\n\nTwo?\n");
    let second = answer(&mut app, &first, 3);
    let (run, ..) = asked(&second);
    let message = "the prompt is too long".to_owned();
    hear(&mut app, [engine::WorkerEvent::Failed { run, message }]);
    assert_eq!(
        app.ui.notice.as_ref().unwrap().text,
        "asked.txt, line 3: the prompt is too long"
    );
    assert_eq!(app.batch.as_ref().unwrap().run, None);
    assert_eq!(counted(&app), (1, 3, Of::Prompts));
}

#[test]
fn a_file_that_holds_no_prompts_is_refused_where_it_was_typed() {
    let mut app = ready();
    let refused = |app: &App| {
        let edit = dialog(app).edit.as_ref().expect("the name stays");
        edit.error.as_ref().expect("it was refused").message.clone()
    };
    assert_eq!(prompts(&mut app, " \n"), []);
    assert!(
        refused(&app).contains("asked.txt holds no prompts"),
        "{}",
        refused(&app)
    );
    update(&mut app, UiEvent::File(FileReport::Failed("cannot read x".into())));
    assert_eq!(refused(&app), "cannot read x");
    key(&mut app, KeyCode::Esc);
    app.settings.budget = Some(999);
    keys(&mut app, "A");
    assert_eq!(prompts(&mut app, "One?"), []);
    assert!(refused(&app).contains("budget is 999"));
    let mut app = fixture::app();
    focus(&mut app, Focus::Map);
    keys(&mut app, "AP");
    key(&mut app, KeyCode::Enter);
    assert!(refused(&app).contains("expected the name of a file"));
    keys(&mut app, "x");
    key(&mut app, KeyCode::Enter);
    assert!(refused(&app).contains("the model is on its way"));
    assert_eq!(app.file, None);
}
