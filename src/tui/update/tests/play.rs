//! Playing traces and holding runs.

use super::*;
use crate::tui::dialogs::{JumpDialog, Overlay};
use crate::tui::run::RunProgress;
use crate::tui::ui::Cursor;

fn shown(app: &App) -> usize {
    app.shown.as_ref().unwrap().steps().len()
}

fn tick(app: &mut App, ms: u64) {
    let now = app.ui.now + Duration::from_millis(ms);
    update(app, UiEvent::Tick(now));
}

#[test]
fn tokens_are_stepped_both_ways_and_the_cursor_follows() {
    let mut app = ready();
    keys(&mut app, ",,");
    assert_eq!(shown(&app), 58);
    assert_eq!(app.ui.cursor.token, app.last_token());
    assert!(app.shown.as_ref().unwrap().is_partway());
    keys(&mut app, ".");
    assert_eq!(shown(&app), 59);
    keys(&mut app, "...");
    assert_eq!(shown(&app), 60);
    assert!(!app.shown.as_ref().unwrap().is_partway());
    assert_eq!(keys(&mut app, &",".repeat(90)), []);
    assert_eq!((shown(&app), app.ui.cursor.token), (0, 11));
}

#[test]
fn a_column_fills_layer_by_layer() {
    let mut app = ready();
    keys(&mut app, ",}}}");
    let run = app.shown.as_ref().unwrap();
    assert_eq!((run.steps().len(), run.layers_shown()), (60, Some(3)));
    assert_eq!(app.ui.cursor, Cursor { layer: 2, token: 71 });
    let decided = |app: &App, layer| app.shown.as_ref().unwrap().decision(layer, 71).is_some();
    assert!(decided(&app, 2) && !decided(&app, 3));
    // What is not there yet is not counted.
    assert_eq!(run.depth(71), None);
    assert_eq!(run.layer_counts()[0].iter().sum::<usize>(), 59);
    keys(&mut app, "{");
    assert!(decided(&app, 1) && !decided(&app, 2));
    keys(&mut app, &"}".repeat(28));
    let run = app.shown.as_ref().unwrap();
    assert_eq!((run.layers_shown(), run.is_partway()), (None, false));
    assert_eq!(app.ui.cursor.layer, 29);
    assert!(run.depth(71).is_some());
}

#[test]
fn speed_doubles_what_a_tick_shows() {
    let at = |typed: &str| {
        let mut app = ready();
        keys(&mut app, typed);
        keys(&mut app, " ");
        tick(&mut app, 400);
        shown(&app)
    };
    let (slow, plain, fast) = (at("<<"), at(""), at(">"));
    assert!(
        slow >= 3 && plain > 2 * slow && fast > plain + 10,
        "{slow} {plain} {fast}"
    );
    let mut app = ready();
    keys(&mut app, ">>");
    assert_eq!(app.ui.speed.to_string(), "×4");
}

#[test]
fn jumping_moves_the_cursor_and_scrubs_what_is_played() {
    let mut app = ready();
    keys(&mut app, "J");
    assert_eq!(app.context(), "command");
    keys(&mut app, "999");
    key(&mut app, KeyCode::Enter);
    let Some(Overlay::Jump(JumpDialog { edit })) = &app.ui.overlay else {
        panic!("a place that is not there was taken")
    };
    assert!(edit.error.as_ref().unwrap().message.contains("0 to 60"));
    ctrl(&mut app, 'u');
    keys(&mut app, "7");
    key(&mut app, KeyCode::Enter);
    assert_eq!(
        (app.ui.overlay.clone(), app.ui.cursor.token, shown(&app)),
        (None, 18, 60)
    );
    keys(&mut app, ",J50%");
    key(&mut app, KeyCode::Enter);
    assert_eq!((shown(&app), app.ui.cursor.token), (30, 41));
    keys(&mut app, "J");
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.ui.overlay, None);
}

#[test]
fn a_click_on_the_bar_scrubs() {
    let mut app = ready();
    keys(&mut app, ",");
    let row = Screen::new(&app, app.ui.area).unwrap().playback.unwrap();
    let bar = crate::tui::playback::bar(row);
    let click = |app: &mut App, x| {
        let kind = crossterm::event::MouseEventKind::Down(crossterm::event::MouseButton::Left);
        let event = MouseEvent {
            kind,
            column: x,
            row: bar.y,
            modifiers: KeyModifiers::NONE,
        };
        update(app, UiEvent::Mouse(event));
    };
    click(&mut app, bar.x + bar.width / 2);
    assert!((28..=32).contains(&shown(&app)), "{}", shown(&app));
    click(&mut app, bar.x);
    assert_eq!(shown(&app), 0);
}

#[test]
fn a_live_run_is_held_stepped_and_let_go() {
    let mut app = ready();
    let (run, ..) = asked(&keys(&mut app, "r"));
    let events = fixture::events(run, &fixture::trace(1, 9));
    hear(&mut app, events[..4].iter().cloned());
    assert_eq!(keys(&mut app, " "), [Command::Pause]);
    assert!(app.held && !app.is_animated());
    assert!(Screen::new(&app, app.ui.area).unwrap().playback.is_some());
    assert_eq!(keys(&mut app, ".."), [Command::Step, Command::Step]);
    assert_eq!(keys(&mut app, "}"), []);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("stepped by token"));
    assert_eq!(keys(&mut app, " "), [Command::Resume]);
    assert!(!app.held);
    // A step holds a run that was not held, and a stop sets it free.
    assert_eq!(keys(&mut app, "."), [Command::Pause]);
    assert_eq!(keys(&mut app, "x"), [Command::Stop]);
    assert!(!app.held);
    hear(&mut app, events[4..].iter().cloned());
    assert_eq!(app.shown.as_ref().unwrap().progress, RunProgress::Finished);
    // Now it is a trace like others.
    keys(&mut app, ",");
    assert_eq!(shown(&app), 8);
    keys(&mut app, " ");
    tick(&mut app, 60_000);
    assert_eq!(shown(&app), 9);
    keys(&mut app, " ");
    assert_eq!(shown(&app), 0);
    // Another run is not held by what held this one.
    asked(&keys(&mut app, "r"));
    keys(&mut app, " ");
    assert!(app.held);
    asked(&keys(&mut app, "r"));
    assert!(!app.held);
}
