//! Runs, recordings and what the worker says.

use super::*;
use crate::program::{Action, Damping, Program};
use crate::trace::NEUTRAL_DIAL;
use crate::tui::app::ModelState;
use crate::tui::dialogs::{Against, CompareDialog, Overlay};
use crate::tui::history::Parent;
use crate::tui::run::{Origin, RunProgress};
use crate::tui::ui::Level;

#[test]
fn enter_runs_the_prompt_and_moves_on_to_the_map() {
    let mut app = ready();
    focus(&mut app, Focus::Prompt);
    let (run, prompt, settings) = asked(&key(&mut app, KeyCode::Enter));
    assert_eq!(prompt, Prompt::Text("Hello".into()));
    assert_ne!(run, app.shown.as_ref().unwrap().id);
    assert_eq!(settings, Settings::default());
    assert_eq!(app.ui.focus, Focus::Map);
    assert!(app.is_busy());
    // What was on the screen stays until the new run has something to show.
    assert!(app.shown.as_ref().unwrap().is_recording());
    hear(
        &mut app,
        fixture::events(run, &fixture::trace(1, 5)).into_iter().take(3),
    );
    let shown = app.shown.as_ref().unwrap();
    assert_eq!((shown.steps().len(), &shown.origin), (2, &Origin::Live));
    assert_eq!(app.ui.cursor.token, app.last_token());
    assert!(app.previous.as_ref().unwrap().is_recording());
}

#[test]
fn an_empty_prompt_is_not_run() {
    let mut app = ready();
    focus(&mut app, Focus::Prompt);
    app.prompt.set(" \n ");
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("the prompt is empty"));
}

#[test]
fn rerun_without_a_text_repeats_what_is_on_the_screen() {
    let mut app = ready();
    app.prompt.clear();
    let (_, prompt, _) = asked(&keys(&mut app, "r"));
    assert_eq!(prompt, Prompt::Text("Why is the sky blue?".into()));
    let mut app = ready();
    app.prompt.clear();
    app.shown.as_mut().unwrap().prompt = None;
    let (_, prompt, _) = asked(&keys(&mut app, "r"));
    assert_eq!(prompt, Prompt::Ids((1..=12).collect()));
}

#[test]
fn a_prompt_waits_for_the_model() {
    let mut app = fixture::app();
    app.prompt.set("Hello");
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    assert!(app.queued);
    let commands = update(&mut app, UiEvent::Worker(fixture::loaded()));
    asked(&commands);
    assert!(!app.queued);

    let mut app = fixture::app();
    app.prompt.set("Hello");
    key(&mut app, KeyCode::Enter);
    assert_eq!(ctrl(&mut app, 'x'), []);
    assert!(!app.queued);
    key(&mut app, KeyCode::Enter);
    hear(&mut app, [engine::WorkerEvent::LoadFailed("no network".into())]);
    assert!(!app.queued);
    assert_eq!(app.model, ModelState::Missing("no network".into()));
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("no model"));
    assert_eq!(app.prompt.text(), "Hello");
}

#[test]
fn settings_out_of_range_do_not_reach_the_worker() {
    let mut app = ready();
    app.settings.budget = Some(999);
    assert_eq!(keys(&mut app, "r"), []);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("budget is 999"));
}

#[test]
fn events_of_an_abandoned_run_are_dropped() {
    let mut app = ready();
    let (old, ..) = asked(&keys(&mut app, "r"));
    let events = fixture::events(old, &fixture::trace(1, 9));
    hear(&mut app, events[..4].iter().cloned());
    let (new, ..) = asked(&keys(&mut app, "r"));
    assert_ne!(old, new);
    hear(&mut app, events[4..].iter().cloned());
    assert_eq!(app.shown.as_ref().unwrap().steps().len(), 3);
    let failed = |run| engine::WorkerEvent::Failed {
        run,
        message: "late".into(),
    };
    hear(&mut app, [failed(old)]);
    assert_eq!(app.ui.notice, None);
    hear(&mut app, fixture::events(new, &fixture::trace(2, 4)));
    hear(&mut app, events);
    let shown = app.shown.as_ref().unwrap();
    assert_eq!((shown.id, shown.steps().len()), (new, 4));
    // A second start is dropped too, before it has begun.
    let (third, ..) = asked(&keys(&mut app, "r"));
    asked(&keys(&mut app, "r"));
    hear(&mut app, fixture::events(third, &fixture::trace(3, 9)));
    assert_eq!(app.shown.as_ref().unwrap().id, new);
}

#[test]
fn stop_asks_the_worker_only_while_something_runs() {
    let mut app = ready();
    assert_eq!(keys(&mut app, "x"), []);
    let (run, ..) = asked(&keys(&mut app, "r"));
    assert_eq!(keys(&mut app, "x"), [Command::Stop]);
    hear(&mut app, fixture::events(run, &fixture::trace(1, 3)));
    assert_eq!(app.shown.as_ref().unwrap().progress, RunProgress::Finished);
    assert_eq!(ctrl(&mut app, 'x'), []);
}

#[test]
fn ctrl_c_stops_what_runs_before_it_quits() {
    let mut app = ready();
    let (run, ..) = asked(&keys(&mut app, "r"));
    assert_eq!(ctrl(&mut app, 'c'), [Command::Stop]);
    assert!(!app.quit);
    let said = app.ui.notice.take().unwrap().text;
    assert_eq!(said, "stopped: Ctrl-c once more quits");
    hear(&mut app, fixture::events(run, &fixture::trace(1, 3)));
    assert_eq!(ctrl(&mut app, 'c'), []);
    assert!(app.quit);
    let mut app = ready();
    keys(&mut app, "r");
    ctrl(&mut app, 'q');
    assert!(app.quit, "the other key does not ask");
}

#[test]
fn a_failed_run_says_why_and_keeps_the_prompt() {
    let mut app = ready();
    let (run, ..) = asked(&keys(&mut app, "r"));
    let events = fixture::events(run, &fixture::trace(1, 9));
    hear(&mut app, events.into_iter().take(3));
    let message = "the context is full".to_owned();
    hear(&mut app, [engine::WorkerEvent::Failed { run, message }]);
    assert!(matches!(app.shown.as_ref().unwrap().progress, RunProgress::Failed(_)));
    assert_eq!(app.ui.notice.as_ref().unwrap().level, Level::Error);
    assert_eq!(app.prompt.text(), "Hello");
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.ui.notice, None);
}

#[test]
fn pins_are_pending_until_they_run() {
    let mut app = ready();
    app.ui.cursor.layer = 7;
    keys(&mut app, "s");
    let change = app.pin_change(7, 3);
    assert_eq!(
        change,
        Some(crate::tui::overrides::PinChange::To(Action::Skip, Damping::NONE))
    );
    ran(&mut app, 3, 5);
    assert!(app.pending().is_empty());
    assert_eq!(app.pin_change(7, 3), None);
    assert_eq!(app.shown.as_ref().unwrap().settings().pins.len(), 1);
}

#[test]
fn the_newest_token_is_followed_unless_another_is_selected() {
    let mut app = ready();
    let (run, ..) = asked(&keys(&mut app, "r"));
    let events = fixture::events(run, &fixture::trace(1, 60));
    hear(&mut app, events[..30].iter().cloned());
    assert_eq!(app.ui.cursor.token, 40);
    keys(&mut app, "hh");
    hear(&mut app, events[30..].iter().cloned());
    assert_eq!(app.ui.cursor.token, 38);
}

#[test]
fn the_last_two_runs_are_compared() {
    let mut app = ready();
    app.shown = None;
    keys(&mut app, "c");
    assert_eq!(app.ui.overlay, None);
    ran(&mut app, 1, 5);
    keys(&mut app, "s");
    ran(&mut app, 2, 6);
    keys(&mut app, "c");
    let against = Against::Previous;
    assert_eq!(
        app.ui.overlay,
        Some(Overlay::Compare(CompareDialog { against, scroll: 0 }))
    );
    assert_eq!(app.against(against).unwrap().steps().len(), 5);
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.ui.overlay, None);
}

#[test]
fn the_unmodified_model_runs_beside_and_only_once() {
    let mut app = ready();
    keys(&mut app, "s-]");
    let shown = ran(&mut app, 1, 5);
    let (run, prompt, settings) = asked(&keys(&mut app, "b"));
    assert_eq!(prompt, Prompt::Ids((1..=12).collect()));
    assert_eq!(settings.program, Some(Program::standard(30)));
    assert_eq!(
        (settings.pins.len(), settings.budget, settings.dial),
        (0, None, NEUTRAL_DIAL)
    );
    assert!(matches!(
        app.ui.overlay,
        Some(Overlay::Compare(CompareDialog {
            against: Against::Unmodified,
            ..
        }))
    ));
    hear(&mut app, fixture::events(run, &fixture::trace(5, 8)));
    assert_eq!(app.shown.as_ref().unwrap().id, shown);
    assert_eq!(app.against(Against::Unmodified).unwrap().steps().len(), 8);
    key(&mut app, KeyCode::Esc);
    assert_eq!(keys(&mut app, "b"), []);
    assert!(app.ui.overlay.is_some());
    // Another run needs another comparison, and the pins are still there for it.
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.settings.pins.len(), 1);
    ran(&mut app, 2, 5);
    asked(&keys(&mut app, "b"));
}

#[test]
fn a_recording_of_another_model_is_not_compared() {
    let mut app = ready();
    app.shown.as_mut().unwrap().trace.header.model.sha256 = "other".into();
    assert_eq!(keys(&mut app, "b"), []);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("load the former"));
}

#[test]
fn tokens_of_another_model_are_not_run() {
    let mut app = ready();
    app.prompt.clear();
    // Known in words, it runs in words.
    let mut trace = fixture::trace(3, 4);
    trace.header.model.sha256 = "other".into();
    app.open("words".into(), None, trace.clone());
    let text = app.shown.as_ref().unwrap().prompt_text().unwrap();
    let (_, prompt, _) = asked(&keys(&mut app, "r"));
    assert_eq!(prompt, Prompt::Text(text));
    // Known as tokens alone, it does not.
    let mut app = ready();
    app.prompt.clear();
    trace.header.prompt.iter_mut().for_each(|token| token.special = false);
    app.open("tokens".into(), None, trace);
    assert_eq!(app.shown.as_ref().unwrap().prompt_text(), None);
    assert_eq!(keys(&mut app, "r"), []);
    let notice = &app.ui.notice.as_ref().unwrap().text;
    assert!(notice.contains("which mean nothing to"), "{notice}");
}

#[test]
fn a_prompt_that_waited_in_vain_is_told_of() {
    let mut app = fixture::app();
    focus(&mut app, Focus::Map);
    app.prompt.set("Why?");
    assert_eq!(keys(&mut app, "r"), []);
    assert!(app.queued);
    hear(&mut app, [engine::WorkerEvent::LoadFailed("no network".into())]);
    assert!(!app.queued);
    assert!(
        app.ui
            .notice
            .as_ref()
            .unwrap()
            .text
            .contains("that waited does not run")
    );
}

#[test]
fn recordings_follow_one_another() {
    let mut app = ready();
    assert_eq!(keys(&mut app, "n"), []);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("no recordings"));
    let recording = |title: &str, seed| crate::tui::recordings::Recording {
        name: title.into(),
        title: title.into(),
        prompt: Some(format!("prompt of {title}")),
        source: crate::tui::recordings::RecordingSource::BuiltIn(fixture::trace(seed, 4).to_json_lines().leak()),
    };
    app.recordings = vec![recording("one", 1), recording("two", 2)];
    let title = |app: &App| app.shown.as_ref().unwrap().origin.clone();
    keys(&mut app, "n");
    assert_eq!(title(&app), Origin::Recording("two".into()));
    keys(&mut app, "n");
    assert_eq!(title(&app), Origin::Recording("one".into()));
    let previous = app.previous.as_ref().unwrap();
    assert_eq!(previous.origin, Origin::Recording("two".into()));
    assert_eq!(previous.steps().len(), 4, "compared whole, wherever it was left");
    keys(&mut app, "c");
    assert!(matches!(app.ui.overlay, Some(Overlay::Compare(_))));
    key(&mut app, KeyCode::Esc);
    // The prompt is that of the answer beneath it; what the user typed is remembered.
    assert_eq!(app.prompt.text(), "prompt of one");
    assert_eq!(app.prompt.history().next(), Some("Hello"));
    app.prompt.clear();
    let (run, ..) = asked(&keys(&mut app, "r"));
    hear(
        &mut app,
        fixture::events(run, &fixture::trace(3, 9)).into_iter().take(3),
    );
    assert_eq!(keys(&mut app, "n"), [Command::Stop]);
    assert!(app.shown.as_ref().unwrap().is_recording());
    assert_eq!(app.previous.as_ref().unwrap().id, run);
    keys(&mut app, "n");
    assert_eq!(app.previous.as_ref().unwrap().id, run, "no recording takes its place");
}

#[test]
fn a_recording_with_branches_is_not_forgotten() {
    let mut app = ready();
    let source = crate::tui::recordings::RecordingSource::BuiltIn(fixture::trace(5, 4).to_json_lines().leak());
    let recording = crate::tui::recordings::Recording {
        name: String::new(),
        title: "another".into(),
        prompt: None,
        source,
    };
    app.recordings = vec![recording];
    let mut branch = app.shown.clone().unwrap();
    let first = branch.id;
    branch.id = app.last_run + 1;
    branch.parent = Some(Parent { run: first, at: 14 });
    app.last_run = branch.id;
    app.history.put(branch);
    keys(&mut app, "n");
    let second = app.shown.as_ref().unwrap().id;
    keys(&mut app, "nn");
    assert!(app.run(first).is_some(), "the tree still has it");
    assert!(app.run(second).is_none(), "nothing goes on from this one");
}

#[test]
fn recordings_are_paused_and_replayed() {
    let mut app = ready();
    keys(&mut app, " ");
    assert!(app.shown.as_ref().unwrap().is_playing());
    assert_eq!(app.shown.as_ref().unwrap().steps().len(), 0);
    update(&mut app, UiEvent::Tick(Duration::from_millis(500)));
    let shown = app.shown.as_ref().unwrap().steps().len();
    assert!(shown > 3, "{shown}");
    assert_eq!(app.ui.cursor.token, app.last_token());
    keys(&mut app, " ");
    update(&mut app, UiEvent::Tick(Duration::from_secs(50)));
    assert_eq!(app.shown.as_ref().unwrap().steps().len(), shown);
}

#[test]
fn passing_messages_pass_and_errors_stay() {
    let mut app = ready();
    app.info("for a while");
    assert!(app.is_animated());
    update(&mut app, UiEvent::Tick(Duration::from_secs(5)));
    assert!(app.ui.notice.is_some());
    update(&mut app, UiEvent::Tick(Duration::from_secs(20)));
    assert_eq!(app.ui.notice, None);
    app.error("for good");
    update(&mut app, UiEvent::Tick(Duration::from_secs(200)));
    assert!(app.ui.notice.is_some());
}

#[test]
fn the_model_and_its_routers_are_told() {
    let mut app = fixture::app();
    let total = Some(10);
    hear(
        &mut app,
        [engine::WorkerEvent::Pulling {
            what: "x".into(),
            done: 3,
            total,
        }],
    );
    let bytes = Some((3, total));
    assert_eq!(
        app.model,
        ModelState::Loading {
            what: "x".into(),
            bytes
        }
    );
    hear(
        &mut app,
        [engine::WorkerEvent::Loading("reading".into()), fixture::loaded()],
    );
    assert!(app.ui.notice.as_ref().unwrap().text.contains("ready"));
    hear(&mut app, [engine::WorkerEvent::RoutersChanged(None)]);
    assert!(matches!(&app.model, ModelState::Ready { routers: None, .. }));
    hear(&mut app, [engine::WorkerEvent::RoutersFailed("wrong shape".into())]);
    assert_eq!(app.ui.notice.as_ref().unwrap().text, "wrong shape");
    // A second model that cannot be loaded leaves the first one.
    hear(&mut app, [engine::WorkerEvent::LoadFailed("gone".into())]);
    assert!(app.ready().is_some());
}

#[test]
fn what_the_user_should_know_about_the_model_stays() {
    let mut app = fixture::app();
    app.prompt.set("Hello");
    key(&mut app, KeyCode::Enter);
    let engine::WorkerEvent::Loaded { model, device, .. } = fixture::loaded() else {
        panic!("the fixture loads a model")
    };
    let loaded = engine::WorkerEvent::Loaded {
        model,
        routers: None,
        device,
        chat: true,
        note: Some("the routers are of another model".into()),
    };
    asked(&update(&mut app, UiEvent::Worker(loaded)));
    let notice = app.ui.notice.as_ref().unwrap();
    assert_eq!(
        (notice.level, notice.text.as_str()),
        (Level::Error, "the routers are of another model")
    );
}

#[test]
fn the_first_run_begins_half_way_up() {
    let mut app = fixture::empty(crate::tui::color::ColorTier::None);
    hear(&mut app, [fixture::loaded()]);
    app.prompt.set("Hello");
    let (run, ..) = asked(&key(&mut app, KeyCode::Enter));
    hear(&mut app, fixture::events(run, &fixture::trace(1, 3)));
    assert_eq!(app.ui.cursor.layer, 15);
}

#[test]
fn a_run_that_is_played_is_compared_whole() {
    let mut app = ready();
    ran(&mut app, 1, 9);
    let (playback, end) = app.shown.as_mut().unwrap().playback_mut();
    playback.seek(1, end);
    assert!(app.shown.as_ref().unwrap().is_partway());
    let (run, _, settings) = asked(&keys(&mut app, "sr"));
    let mut trace = fixture::trace(1, 9);
    trace.header.settings = settings;
    hear(&mut app, fixture::events(run, &trace));
    let said = app.ui.notice.take().unwrap().text;
    assert!(said.contains("the same text; depth"), "{said}");
    let before = app.previous.as_ref().unwrap();
    let shown = app.shown.as_ref().unwrap();
    let comparison = crate::trace::diff::Comparison::new(before, shown);
    assert_eq!((comparison.before.tokens, comparison.after.tokens), (9, 9));
}
