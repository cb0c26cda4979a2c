use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::super::app::{Against, Cursor, MapMode, ModelState};
use super::super::fixture;
use super::super::run::{Origin, Progress};
use super::super::settings::Field;
use super::super::transcript::Transcript;
use super::*;
use crate::engine::{NEUTRAL_DIAL, Prompt, Scope, Settings};
use crate::program::{Action, Program};

fn key(app: &mut App, code: KeyCode) -> Vec<Command> {
    update(app, Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn keys(app: &mut App, typed: &str) -> Vec<Command> {
    typed.chars().flat_map(|c| key(app, KeyCode::Char(c))).collect()
}

fn ctrl(app: &mut App, c: char) -> Vec<Command> {
    update(app, Event::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL)))
}

fn hear(app: &mut App, events: impl IntoIterator<Item = engine::Event>) {
    for event in events {
        update(app, Event::Worker(event));
    }
}

/// A recording is open, the model is there, the map has the keys, a prompt is typed.
fn ready() -> App {
    let mut app = fixture::app();
    update(&mut app, Event::Resize(120, 40));
    hear(&mut app, [fixture::loaded()]);
    app.notice = None;
    focus(&mut app, Focus::Map);
    app.prompt.set("Hello");
    app
}

/// The id and settings of the one run that was asked for.
fn asked(commands: &[Command]) -> (u64, Prompt, Settings) {
    match commands {
        [Command::Generate { run, prompt, settings }] => (*run, prompt.clone(), (**settings).clone()),
        other => panic!("expected one run, got {other:?}"),
    }
}

/// Runs a trace of `tokens` to its end.
fn ran(app: &mut App, seed: u64, tokens: usize) -> u64 {
    let (run, _, settings) = asked(&keys(app, "r"));
    let mut trace = fixture::trace(seed, tokens);
    trace.header.settings = settings;
    hear(app, fixture::events(run, &trace));
    run
}

#[test]
fn enter_runs_the_prompt_and_moves_on_to_the_map() {
    let mut app = ready();
    focus(&mut app, Focus::Prompt);
    let (run, prompt, settings) = asked(&key(&mut app, KeyCode::Enter));
    assert_eq!((run, prompt), (1, Prompt::Text("Hello".into())));
    assert_eq!(settings, Settings::default());
    assert_eq!(app.focus, Focus::Map);
    assert!(app.is_busy());
    // What was on the screen stays until the new run has something to show.
    assert!(app.shown.as_ref().unwrap().is_recording());
    hear(
        &mut app,
        fixture::events(run, &fixture::trace(1, 5)).into_iter().take(3),
    );
    let shown = app.shown.as_ref().unwrap();
    assert_eq!((shown.steps().len(), &shown.origin), (2, &Origin::Live));
    assert_eq!(app.cursor.token, app.last_token());
    assert!(app.previous.as_ref().unwrap().is_recording());
}

#[test]
fn an_empty_prompt_is_not_run() {
    let mut app = ready();
    focus(&mut app, Focus::Prompt);
    app.prompt.set(" \n ");
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    assert!(app.notice.as_ref().unwrap().text.contains("the prompt is empty"));
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
    let commands = update(&mut app, Event::Worker(fixture::loaded()));
    asked(&commands);
    assert!(!app.queued);

    let mut app = fixture::app();
    app.prompt.set("Hello");
    key(&mut app, KeyCode::Enter);
    assert_eq!(ctrl(&mut app, 'x'), []);
    assert!(!app.queued);
    key(&mut app, KeyCode::Enter);
    hear(&mut app, [engine::Event::LoadFailed("no network".into())]);
    assert!(!app.queued);
    assert_eq!(app.model, ModelState::Missing("no network".into()));
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    assert!(app.notice.as_ref().unwrap().text.contains("no model"));
    assert_eq!(app.prompt.text(), "Hello");
}

#[test]
fn settings_out_of_range_do_not_reach_the_worker() {
    let mut app = ready();
    app.settings.budget = Some(999);
    assert_eq!(keys(&mut app, "r"), []);
    assert!(app.notice.as_ref().unwrap().text.contains("budget is 999"));
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
    let failed = |run| engine::Event::Failed {
        run,
        message: "late".into(),
    };
    hear(&mut app, [failed(old)]);
    assert_eq!(app.notice, None);
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
    assert_eq!(app.shown.as_ref().unwrap().progress, Progress::Finished);
    assert_eq!(ctrl(&mut app, 'x'), []);
}

#[test]
fn a_failed_run_says_why_and_keeps_the_prompt() {
    let mut app = ready();
    let (run, ..) = asked(&keys(&mut app, "r"));
    let events = fixture::events(run, &fixture::trace(1, 9));
    hear(&mut app, events.into_iter().take(3));
    let message = "the context is full".to_owned();
    hear(&mut app, [engine::Event::Failed { run, message }]);
    assert!(matches!(app.shown.as_ref().unwrap().progress, Progress::Failed(_)));
    assert_eq!(app.notice.as_ref().unwrap().level, Level::Error);
    assert_eq!(app.prompt.text(), "Hello");
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.notice, None);
}

#[test]
fn pins_hold_for_a_layer_or_for_marked_cells() {
    let mut app = ready();
    app.cursor = Cursor { layer: 7, token: 20 };
    keys(&mut app, "s");
    assert_eq!(app.settings.pins, ["7=skip".parse().unwrap()]);
    assert_eq!(app.pending(), ["1 pin"]);
    keys(&mut app, "vkllld");
    let expected = ["7=skip", "7@20-23=repeat", "8@20-23=repeat"].map(|p| p.parse().unwrap());
    assert_eq!(app.settings.pins, expected);
    assert_eq!(app.mark, None);
    keys(&mut app, "je");
    assert_eq!(app.settings.pins.last().unwrap().to_string(), "7=execute");
    assert_eq!(app.settings.pins.len(), 2);
    keys(&mut app, "a");
    assert_eq!(app.settings.pins, ["8@20-23=repeat".parse().unwrap()]);
    keys(&mut app, "X");
    assert_eq!(app.settings, Settings::default());
}

#[test]
fn pins_are_pending_until_they_run() {
    let mut app = ready();
    app.cursor.layer = 7;
    keys(&mut app, "s");
    let change = app.pin_change(7, 3);
    assert_eq!(change, Some(super::super::overrides::PinChange::To(Action::Skip)));
    ran(&mut app, 3, 5);
    assert!(app.pending().is_empty());
    assert_eq!(app.pin_change(7, 3), None);
    assert_eq!(app.shown.as_ref().unwrap().settings().pins.len(), 1);
}

#[test]
fn budget_dial_and_scope_by_keys() {
    let mut app = ready();
    keys(&mut app, "---+");
    assert_eq!(app.settings.budget, Some(29));
    keys(&mut app, "]]][");
    assert_eq!(app.settings.dial, -0.4);
    keys(&mut app, "[[");
    assert_eq!(app.settings.dial, NEUTRAL_DIAL);
    keys(&mut app, "t");
    assert_eq!(app.settings.scope, Scope::Token);
    keys(&mut app, "t");
    assert_eq!(app.settings.scope, Scope::Prompt);
}

#[test]
fn programs_budgets_and_dials_are_typed() {
    let mut app = ready();
    keys(&mut app, ":0-11 13-99");
    key(&mut app, KeyCode::Enter);
    let Some(Overlay::Settings(dialog)) = &app.overlay else {
        panic!("a mistake closed the dialog")
    };
    let edit = dialog.edit.as_ref().unwrap();
    assert_eq!((edit.at, edit.error.as_ref().unwrap().column), (8, Some(9)));
    assert_eq!(app.settings.program, None);
    key(&mut app, KeyCode::End);
    key(&mut app, KeyCode::Backspace);
    key(&mut app, KeyCode::Backspace);
    keys(&mut app, "29");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.overlay, None);
    assert_eq!(app.settings.program, Some(Program::parse("0-11 13-29", 30).unwrap()));
    keys(&mut app, "B31");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.settings.budget, Some(31));
    keys(&mut app, "D");
    ctrl(&mut app, 'u');
    keys(&mut app, "0.25");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.settings.dial, 0.25);
    keys(&mut app, "D9");
    key(&mut app, KeyCode::Esc);
    assert_eq!((app.settings.dial, &app.overlay), (0.25, &None));
}

#[test]
fn the_settings_dialog_edits_and_switches() {
    let mut app = ready();
    keys(&mut app, "o ");
    assert_eq!(app.settings.scope, Scope::Token);
    for _ in 0..4 {
        key(&mut app, KeyCode::Down);
    }
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.context(), "command");
    ctrl(&mut app, 'u');
    update(&mut app, Event::Paste("7\n".into()));
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.settings.max_tokens, 7);
    keys(&mut app, "G");
    key(&mut app, KeyCode::Enter);
    assert!(app.settings.ignore_eos);
    keys(&mut app, "gj");
    let Some(Overlay::Settings(dialog)) = &app.overlay else {
        panic!("closed")
    };
    assert_eq!(dialog.field(), Field::Dial);
    keys(&mut app, "q");
    assert_eq!(app.overlay, None);
    assert!(!app.quit);
}

#[test]
fn the_cursor_moves_and_stays_on_the_map() {
    let mut app = ready();
    app.cursor = Cursor { layer: 3, token: 20 };
    keys(&mut app, "hkkl");
    assert_eq!(app.cursor, Cursor { layer: 5, token: 20 });
    assert!(!app.follow);
    keys(&mut app, "g");
    assert_eq!(app.cursor.layer, 29);
    keys(&mut app, "kG");
    assert_eq!(app.cursor.layer, 0);
    keys(&mut app, "j0");
    assert_eq!(app.cursor, Cursor { layer: 0, token: 0 });
    assert_eq!(app.map.first_token, 0);
    keys(&mut app, "h$");
    assert_eq!(app.cursor.token, 71);
    assert!(app.follow);
    keys(&mut app, "H");
    assert!(app.cursor.token < 40);
    keys(&mut app, "LL");
    assert_eq!(app.cursor.token, 71);
    keys(&mut app, "hhf");
    assert!(app.follow && app.cursor.token == 71);
    keys(&mut app, "f");
    assert!(!app.follow);
}

#[test]
fn the_newest_token_is_followed_unless_another_is_selected() {
    let mut app = ready();
    let (run, ..) = asked(&keys(&mut app, "r"));
    let events = fixture::events(run, &fixture::trace(1, 60));
    hear(&mut app, events[..30].iter().cloned());
    assert_eq!(app.cursor.token, 40);
    keys(&mut app, "hh");
    hear(&mut app, events[30..].iter().cloned());
    assert_eq!(app.cursor.token, 38);
}

#[test]
fn unsure_decisions_come_first() {
    let mut app = ready();
    keys(&mut app, "u");
    let margin = |app: &App| {
        let run = app.shown.as_ref().unwrap();
        run.decision(app.cursor.layer, app.cursor.token)
            .unwrap()
            .margin()
            .unwrap()
    };
    let first = margin(&app);
    keys(&mut app, "u");
    let second = margin(&app);
    assert!(first <= second);
    let run = app.shown.as_ref().unwrap();
    let least = (0..30).map(|l| run.decision(l, app.cursor.token).unwrap().margin().unwrap());
    assert_eq!(first, least.fold(1.0, f32::min));
}

#[test]
fn views_change_without_changing_the_run() {
    let mut app = ready();
    keys(&mut app, "m");
    assert_eq!(app.map.mode, MapMode::Confidence);
    keys(&mut app, "mm");
    assert_eq!(app.map.mode, MapMode::Decisions);
    keys(&mut app, "z");
    assert_eq!(app.map.zoom, Some(2));
    keys(&mut app, "zz");
    assert_eq!(app.map.zoom, Some(1));
    keys(&mut app, "i");
    assert!(app.template);
    keys(&mut app, "?");
    assert_eq!(app.overlay, Some(Overlay::Help { scroll: 0 }));
    keys(&mut app, "jjk");
    assert_eq!(app.overlay, Some(Overlay::Help { scroll: 1 }));
    keys(&mut app, "?");
    assert_eq!(app.overlay, None);
    assert!(app.pending().is_empty());
}

#[test]
fn tab_goes_around_and_q_is_typed_in_the_prompt() {
    let mut app = ready();
    let mut seen = Vec::new();
    for _ in 0..4 {
        key(&mut app, KeyCode::Tab);
        seen.push(app.focus);
    }
    assert_eq!(seen, [Focus::Detail, Focus::Prompt, Focus::Answer, Focus::Map]);
    key(&mut app, KeyCode::BackTab);
    assert_eq!(app.focus, Focus::Answer);
    keys(&mut app, "/q");
    assert_eq!(
        (app.focus, app.prompt.text().as_str(), app.quit),
        (Focus::Prompt, "Helloq", false)
    );
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.focus, Focus::Map);
    keys(&mut app, "q");
    assert!(app.quit);
    let mut app = ready();
    ctrl(&mut app, 'z');
    assert!(app.suspend && !app.quit);
    keys(&mut app, "o");
    ctrl(&mut app, 'c');
    assert!(app.quit);
}

#[test]
fn the_prompt_is_edited_and_remembered() {
    let mut app = ready();
    ran(&mut app, 1, 2);
    focus(&mut app, Focus::Prompt);
    ctrl(&mut app, 'u');
    keys(&mut app, "a");
    update(&mut app, Event::Key(KeyEvent::new(KeyCode::Enter, KeyModifiers::ALT)));
    keys(&mut app, "b");
    assert_eq!(app.prompt.text(), "a\nb");
    ctrl(&mut app, 'p');
    assert_eq!(app.prompt.text(), "Hello");
    ctrl(&mut app, 'n');
    assert_eq!(app.prompt.text(), "a\nb");
    key(&mut app, KeyCode::Up);
    key(&mut app, KeyCode::Up);
    assert_eq!(app.prompt.text(), "Hello");
    update(&mut app, Event::Paste("x".repeat(1 << 20)));
    assert!(app.notice.as_ref().unwrap().text.contains("too long"));
    assert!(app.prompt.text().starts_with("Hellox"));
}

#[test]
fn the_last_two_runs_are_compared() {
    let mut app = ready();
    app.shown = None;
    keys(&mut app, "c");
    assert_eq!(app.overlay, None);
    ran(&mut app, 1, 5);
    keys(&mut app, "s");
    ran(&mut app, 2, 6);
    keys(&mut app, "c");
    let against = Against::Previous;
    assert_eq!(app.overlay, Some(Overlay::Compare { against, scroll: 0 }));
    assert_eq!(app.against(against).unwrap().steps().len(), 5);
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.overlay, None);
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
        app.overlay,
        Some(Overlay::Compare {
            against: Against::Unmodified,
            ..
        })
    ));
    hear(&mut app, fixture::events(run, &fixture::trace(5, 8)));
    assert_eq!(app.shown.as_ref().unwrap().id, shown);
    assert_eq!(app.against(Against::Unmodified).unwrap().steps().len(), 8);
    key(&mut app, KeyCode::Esc);
    assert_eq!(keys(&mut app, "b"), []);
    assert!(app.overlay.is_some());
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
    assert!(
        app.notice
            .as_ref()
            .unwrap()
            .text
            .contains("not with the one that is loaded")
    );
}

#[test]
fn recordings_follow_one_another() {
    let mut app = ready();
    assert_eq!(keys(&mut app, "n"), []);
    assert!(app.notice.as_ref().unwrap().text.contains("no recordings"));
    let recording = |title: &str, seed| super::super::recordings::Recording {
        title: title.into(),
        prompt: format!("prompt of {title}"),
        text: fixture::trace(seed, 4).to_json_lines().leak(),
    };
    app.recordings = vec![recording("one", 1), recording("two", 2)];
    let title = |app: &App| app.shown.as_ref().unwrap().origin.clone();
    keys(&mut app, "n");
    assert_eq!(title(&app), Origin::Recording("two".into()));
    keys(&mut app, "n");
    assert_eq!(title(&app), Origin::Recording("one".into()));
    // What the user typed is not replaced.
    assert_eq!(app.prompt.text(), "Hello");
    app.prompt.clear();
    let (run, ..) = asked(&keys(&mut app, "r"));
    hear(
        &mut app,
        fixture::events(run, &fixture::trace(3, 9)).into_iter().take(3),
    );
    assert_eq!(keys(&mut app, "n"), [Command::Stop]);
    assert!(app.shown.as_ref().unwrap().is_recording());
    assert_eq!(app.previous.as_ref().unwrap().id, run);
}

#[test]
fn recordings_are_paused_and_replayed() {
    let mut app = ready();
    keys(&mut app, " ");
    assert!(app.shown.as_ref().unwrap().is_playing());
    assert_eq!(app.shown.as_ref().unwrap().steps().len(), 0);
    update(&mut app, Event::Tick(Duration::from_millis(500)));
    let shown = app.shown.as_ref().unwrap().steps().len();
    assert!(shown > 3, "{shown}");
    assert_eq!(app.cursor.token, app.last_token());
    keys(&mut app, " ");
    update(&mut app, Event::Tick(Duration::from_secs(50)));
    assert_eq!(app.shown.as_ref().unwrap().steps().len(), shown);
}

#[test]
fn passing_messages_pass_and_errors_stay() {
    let mut app = ready();
    app.info("for a while");
    assert!(app.is_animated());
    update(&mut app, Event::Tick(Duration::from_secs(5)));
    assert!(app.notice.is_some());
    update(&mut app, Event::Tick(Duration::from_secs(20)));
    assert_eq!(app.notice, None);
    app.error("for good");
    update(&mut app, Event::Tick(Duration::from_secs(200)));
    assert!(app.notice.is_some());
}

#[test]
fn the_model_and_its_routers_are_told() {
    let mut app = fixture::app();
    let total = Some(10);
    hear(
        &mut app,
        [engine::Event::Pulling {
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
    hear(&mut app, [engine::Event::Loading("reading".into()), fixture::loaded()]);
    assert!(app.notice.as_ref().unwrap().text.contains("ready"));
    hear(&mut app, [engine::Event::RoutersChanged(None)]);
    assert!(matches!(&app.model, ModelState::Ready { routers: None, .. }));
    hear(&mut app, [engine::Event::RoutersFailed("wrong shape".into())]);
    assert_eq!(app.notice.as_ref().unwrap().text, "wrong shape");
    // A second model that cannot be loaded leaves the first one.
    hear(&mut app, [engine::Event::LoadFailed("gone".into())]);
    assert!(app.ready().is_some());
}

fn mouse_at(app: &mut App, kind: MouseEventKind, at: Position) {
    update(
        app,
        Event::Mouse(MouseEvent {
            kind,
            column: at.x,
            row: at.y,
            modifiers: KeyModifiers::NONE,
        }),
    );
}

const LEFT: MouseEventKind = MouseEventKind::Down(MouseButton::Left);

#[test]
fn a_click_selects_a_cell_and_a_drag_marks_a_range() {
    let mut app = ready();
    focus(&mut app, Focus::Prompt);
    let map = grid(&app).unwrap();
    let at = |layer, token| Position::new(map.x(token).unwrap(), map.y(layer).unwrap());
    mouse_at(&mut app, LEFT, at(5, 30));
    assert_eq!((app.focus, app.cursor), (Focus::Map, Cursor { layer: 5, token: 30 }));
    assert_eq!(grid(&app).unwrap().first_token, map.first_token);
    mouse_at(&mut app, MouseEventKind::Drag(MouseButton::Left), at(6, 33));
    assert_eq!(app.selection(), (5..=6, Some((30, 33))));
    mouse_at(&mut app, MouseEventKind::ScrollUp, at(6, 33));
    assert_eq!(app.cursor.token, 30);
}

#[test]
fn a_click_selects_a_token_and_the_wheel_scrolls() {
    let mut app = ready();
    update(&mut app, Event::Resize(120, 28));
    let (x, y, token) = {
        let transcript = Transcript::on_screen(&app).unwrap();
        let (y, line) = transcript.visible().next().unwrap();
        (transcript.area.x, y, line[0].key)
    };
    mouse_at(&mut app, LEFT, Position::new(x, y));
    assert_eq!((app.focus, app.cursor.token), (Focus::Answer, token));
    let top = |app: &App| Transcript::on_screen(app).unwrap().top;
    mouse_at(&mut app, MouseEventKind::ScrollUp, Position::new(x, y));
    assert_eq!(top(&app), 0);
    mouse_at(&mut app, MouseEventKind::ScrollDown, Position::new(x, y));
    assert!(top(&app) > 0);
    keys(&mut app, "j");
    assert!(app.cursor.token > token);
    keys(&mut app, "k");
    assert_eq!(app.cursor.token, token);
}

#[test]
fn nothing_can_be_done_wrong_without_a_run() {
    for action in UiAction::ALL {
        let mut app = fixture::empty(super::super::color::ColorTier::None);
        act::act(&mut app, *action);
        scroll_into_view(&mut app);
        if app.overlay.is_some() {
            UiAction::ALL.iter().for_each(|a| drop(dialog::act(&mut app, *a)));
        }
    }
}
