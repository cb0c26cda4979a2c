//! Watching a loop map, by its keys and by what the worker says.

use super::*;
use crate::engine::SearchEnd;
use crate::engine::loop_map::LoopMapRequest;
use crate::search::loop_map::report::Shade;
use crate::search::loop_map::{Cell, Measure};
use crate::tui::app::ModelState;
use crate::tui::dialogs::{LoopMapDialog, Overlay};
use crate::tui::loop_map::{Field, SearchPage, SearchProgress, WatchedLoopMap};

const FORM: Option<Overlay> = Some(Overlay::LoopMap(LoopMapDialog(SearchPage::Form)));
const WATCH: Option<Overlay> = Some(Overlay::LoopMap(LoopMapDialog(SearchPage::Watch)));

fn watched(app: &App) -> &WatchedLoopMap {
    app.loop_map.watched.as_ref().expect("a map was begun")
}

/// The one map that was asked for.
fn asked(commands: &[Command]) -> (u64, LoopMapRequest) {
    match commands {
        [Command::LoopMap { map, request }] => (*map, (**request).clone()),
        other => panic!("expected one map, got {other:?}"),
    }
}

/// A map of all questions that ship, to its end.
fn done() -> App {
    let mut app = ready();
    keys(&mut app, "@");
    let (id, request) = asked(&key(&mut app, KeyCode::Enter));
    hear(&mut app, fixture::mapped(id, &fixture::map_steps(&request)));
    hear(&mut app, [fixture::map_ended(id, SearchEnd::Done)]);
    app
}

#[test]
fn a_map_is_asked_for_and_fills() {
    let mut app = ready();
    app.ui.reduced_motion = false;
    keys(&mut app, "@");
    assert_eq!((&app.ui.overlay, app.context()), (&FORM, "loop-map-form"));
    key(&mut app, KeyCode::Tab);
    assert_eq!(app.loop_map.form.field, Field::File);
    // Letters that are keys elsewhere are typed here.
    update(&mut app, UiEvent::Paste("my @q.jsonl".into()));
    key(&mut app, KeyCode::Down);
    ctrl(&mut app, 'u');
    keys(&mut app, "3");
    key(&mut app, KeyCode::Down);
    ctrl(&mut app, 'u');
    keys(&mut app, "0.5");
    let (id, request) = asked(&key(&mut app, KeyCode::Enter));
    assert_eq!(request.data.as_deref(), Some(std::path::Path::new("my @q.jsonl")));
    assert_eq!((request.limit, request.damping.to_string()), (3, "0.5".to_owned()));
    assert_eq!((&app.ui.overlay, app.context()), (&WATCH, "loop-map"));
    assert!(app.is_animated() && watched(&app).shades().iter().all(Option::is_none));
    let steps = fixture::map_steps(&request);
    hear(&mut app, fixture::mapped(id, &steps[..8]));
    // What an older map says is not heard.
    hear(&mut app, fixture::mapped(id - 1, &steps[8..]));
    assert_eq!((watched(&app).done(), watched(&app).right().1), (7, 1));
    assert_eq!(watched(&app).shades().iter().flatten().count(), 7);
    assert_eq!(watched(&app).cursor, Cell { first: 0, last: 6 }, "it goes along");
    assert_eq!(keys(&mut app, "x"), [Command::Stop]);
    hear(&mut app, [fixture::map_ended(id, SearchEnd::Stopped)]);
    assert_eq!(watched(&app).progress, SearchProgress::Stopped);
    hear(&mut app, fixture::mapped(id, &steps[8..]));
    assert_eq!(watched(&app).done(), 7);
    // It stays when the dialog is closed, and the form when another one is asked for.
    key(&mut app, KeyCode::Esc);
    assert_eq!(app.ui.overlay, None);
    keys(&mut app, "@n");
    assert_eq!(app.ui.overlay, FORM);
    assert_eq!(app.loop_map.form.damping.text, "0.5");
    let (second, _) = asked(&key(&mut app, KeyCode::Enter));
    assert_eq!(second, id + 1);
}

#[test]
fn what_survives_is_told_in_the_end() {
    let mut app = done();
    let map = watched(&app);
    assert_eq!(map.cursor, Cell { first: 4, last: 6 }, "the best one");
    assert_eq!(map.selected().unwrap().shade, Shade::Survives);
    let shades = map.shades();
    assert!(shades.contains(&Some(Shade::Unclear)) && shades.contains(&Some(Shade::Loses(3))));
    let words = crate::tui::describe::loop_map::cell(map);
    for part in [
        "layers 4-6 twice: margin +",
        "(95 %) on 24 questions",
        "better on the other half of the questions too",
    ] {
        assert!(words.contains(part), "{words}");
    }
    let margin = map.selected().unwrap().difference;
    keys(&mut app, "m");
    assert_eq!(watched(&app).measure, Measure::LogLikelihood);
    let likelihood = watched(&app).selected().unwrap().difference;
    assert!((likelihood.mean - 2.0 * margin.mean).abs() < 1e-3);
    keys(&mut app, "m");
    let accuracy = watched(&app).selected().unwrap();
    let by_hand = (accuracy.fixed as f64 - accuracy.broken as f64) / 24.0;
    assert!((accuracy.difference.mean - by_hand).abs() < 1e-9 && accuracy.fixed > 0);
}

#[test]
fn the_cursor_stays_within_the_triangle() {
    let mut app = done();
    let end = watched(&app).layers - 1;
    for (typed, first, last) in [
        ("g", 0, 0),
        ("kh", 0, 0),
        ("j", 1, 1),
        ("lll", 1, 4),
        ("jjjj", 5, 5),
        ("h", 4, 4),
        ("G", end, end),
        ("jl", end, end),
        ("k", end - 1, end),
    ] {
        keys(&mut app, typed);
        assert_eq!(watched(&app).cursor, Cell { first, last }, "{typed}");
    }
    keys(&mut app, "b");
    assert_eq!(watched(&app).cursor, Cell { first: 4, last: 6 });
    keys(&mut app, "b");
    assert_ne!(watched(&app).cursor, Cell { first: 4, last: 6 }, "the next best one");
}

#[test]
fn a_program_is_taken_over_and_copied() {
    let mut app = done();
    keys(&mut app, "y");
    assert_eq!(app.clipboard.as_deref(), Some("0-3 (4-6)x2 7-29"));
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.ui.overlay, None);
    assert_eq!(app.settings.program.as_ref().unwrap().to_string(), "0-3 (4-6)x2 7-29");
    assert!(app.ui.notice.as_ref().unwrap().text.contains("is the program now"));
    // Damped, it is taken over damped.
    keys(&mut app, "@n");
    app.loop_map.form.damping = crate::tui::line_edit::LineEdit::new("-0.25".into());
    key(&mut app, KeyCode::Enter);
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.settings.program.as_ref().unwrap().to_string(), "0x2~-0.25 1-29");
}

#[test]
fn what_cannot_be_mapped_says_what_to_do() {
    let mut app = ready();
    keys(&mut app, "@");
    app.loop_map.form.questions = crate::tui::line_edit::LineEdit::new("500".into());
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    assert_eq!(app.loop_map.form.field, Field::Questions);
    assert!(app.loop_map.form.error.as_ref().unwrap().contains("search map"));
    let mut app = fixture::app();
    app.model = ModelState::Missing("none".into());
    app.ui.focus = Focus::Map;
    keys(&mut app, "@");
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    assert!(app.loop_map.form.error.as_ref().unwrap().contains("there is no model"));
    // What fails with the dialog closed is said all the same.
    let mut app = ready();
    keys(&mut app, "@");
    let (id, _) = asked(&key(&mut app, KeyCode::Enter));
    key(&mut app, KeyCode::Esc);
    hear(&mut app, [fixture::map_ended(id, SearchEnd::Failed("no file".into()))]);
    assert!(
        app.ui
            .notice
            .as_ref()
            .unwrap()
            .text
            .contains("the loop map failed: no file")
    );
}
