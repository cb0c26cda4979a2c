//! The map as a logit lens.

use super::*;
use crate::engine::{AskId, ENDED, InspectionRequest, InspectionResult};
use crate::tui::ui::Focus;

/// The question that was asked, and its positions.
fn asked(commands: &[Command]) -> (AskId, std::ops::Range<usize>) {
    match commands {
        [
            Command::Ask {
                ask,
                question: InspectionRequest::InspectRange { trace, positions, .. },
            },
        ] => {
            assert_eq!(
                trace.tokens(),
                positions.end.max(12),
                "no more of the trace than is needed"
            );
            (*ask, positions.clone())
        }
        other => panic!("expected a question of the lens, got {other:?}"),
    }
}

/// Presses keys and answers what is asked, also by the answers.
fn filled(app: &mut App, typed: &str) -> usize {
    let commands = keys(app, typed);
    fill(app, commands)
}

/// Answers questions until there are none; how many there were.
fn fill(app: &mut App, mut commands: Vec<Command>) -> usize {
    let mut questions = 0;
    while !commands.is_empty() {
        questions += 1;
        let answers = fixture::answers(&commands);
        commands = answers
            .into_iter()
            .flat_map(|answer| update(app, UiEvent::Worker(answer)))
            .collect();
    }
    questions
}

#[test]
fn the_lens_asks_for_what_is_in_sight_and_nothing_twice() {
    let mut app = ready();
    let commands = keys(&mut app, "V");
    let (_, positions) = asked(&commands);
    assert_eq!(positions.start, app.ui.cursor.token, "the cursor's token comes first");
    let (_, all) = app.lens_progress().unwrap();
    assert!(all > 3);
    let questions = fill(&mut app, commands);
    assert!((2..=all).contains(&questions), "{questions} for {all} tokens");
    assert_eq!(app.lens_progress(), Some((all, all)));
    assert_eq!(keys(&mut app, "hjk"), []);
    // What is scrolled into sight is asked for, the prompt in one piece.
    let commands = keys(&mut app, "0");
    let (_, positions) = asked(&commands);
    assert_eq!(positions.start, 0);
    assert!(positions.len() > 3);
    fill(&mut app, commands);
    assert_eq!(keys(&mut app, "VV"), []);
    // Another run is another matter.
    app.open("another".into(), None, fixture::trace(3, 20));
    filled(&mut app, "k");
    assert!(app.lens_at(app.ui.cursor.token).is_some());
}

#[test]
fn the_lens_is_stopped_goes_on_and_gives_way_to_other_questions() {
    let mut app = ready();
    let (ask, positions) = asked(&keys(&mut app, "V"));
    assert_eq!(keys(&mut app, "x"), [Command::Stop]);
    hear(
        &mut app,
        [fixture::answered(ask, InspectionResult::Refused(ENDED.into()))],
    );
    assert_eq!(keys(&mut app, "j"), []);
    assert_eq!(app.lens_waits().as_deref(), Some("stopped"));
    let (ask, again) = asked(&keys(&mut app, "V"));
    assert_eq!(again, positions);
    // A look inside ends the question; the lens waits until it is closed.
    assert!(matches!(keys(&mut app, "I").as_slice(), [Command::Ask { .. }]));
    hear(
        &mut app,
        [fixture::answered(ask, InspectionResult::Refused(ENDED.into()))],
    );
    assert!(!app.lens.is_asking());
    let (ask, _) = asked(&key(&mut app, KeyCode::Esc));
    // What the worker cannot answer is said, and not asked again until the key is pressed.
    let refused = update(
        &mut app,
        UiEvent::Worker(fixture::answered(ask, InspectionResult::Refused("no memory".into()))),
    );
    assert_eq!(refused, []);
    assert_eq!(app.lens_waits().as_deref(), Some("no memory"));
    asked(&keys(&mut app, "V"));
    // A run ends it.
    let commands = keys(&mut app, "r");
    assert!(matches!(commands.as_slice(), [Command::Generate { .. }]));
}

#[test]
fn where_the_lens_cannot_look_it_says_what_to_do() {
    let said = |app: &App| app.ui.notice.as_ref().unwrap().text.clone();
    let mut app = fixture::app();
    focus(&mut app, Focus::Map);
    assert_eq!(keys(&mut app, "V"), []);
    assert!(said(&app).contains("as soon as the model is ready"));
    // It does by itself.
    asked(&update(&mut app, UiEvent::Worker(fixture::loaded())));
    let mut app = fixture::app();
    focus(&mut app, Focus::Map);
    hear(&mut app, [engine::WorkerEvent::LoadFailed("no network".into())]);
    assert_eq!(keys(&mut app, "V"), []);
    assert!(said(&app).contains("there is no model"), "{}", said(&app));
    let mut app = ready();
    app.shown.as_mut().unwrap().trace.header.model.sha256 = "other".into();
    assert_eq!(keys(&mut app, "V"), []);
    assert!(said(&app).contains("load the former"));
    let mut app = fixture::empty(crate::tui::color::ColorTier::None);
    focus(&mut app, Focus::Map);
    assert_eq!(keys(&mut app, "V"), []);
    assert!(said(&app).contains("run a prompt") && !app.ui.map.lens);
}

#[test]
fn why_the_lens_stands_still_is_read_to_its_end() {
    let mut app = ready();
    app.shown.as_mut().unwrap().trace.header.model.sha256 = "other".into();
    keys(&mut app, "V");
    app.ui.notice = None;
    assert_eq!(
        app.lens_waits(),
        app.cannot_go_on(&app.shown.as_ref().unwrap().trace.header.model)
    );
    for layer in [0, 12, 29] {
        app.ui.cursor.layer = layer;
        for size in [(60, 24), (80, 24), (120, 40), (200, 60)] {
            let screen = super::notices::words(&super::notices::rows(&mut app, size));
            assert!(screen.contains("--model"), "{layer}, {size:?}: {screen}");
        }
    }
    // So in the detail, and of the unmodified answer.
    app.ui.folded = Focus::Detail;
    app.ui.focus = Focus::Detail;
    let rows = super::notices::rows(&mut app, (60, 24));
    assert!(super::notices::words(&rows).contains("--model"), "{rows:?}");
    keys(&mut app, "VU");
    app.ui.notice = None;
    assert_eq!(
        app.twin_waits(),
        app.cannot_go_on(&app.shown.as_ref().unwrap().trace.header.model)
    );
    let rows = super::notices::rows(&mut app, (120, 40));
    assert!(super::notices::words(&rows).contains("--model"), "{rows:?}");
}

#[test]
fn a_loop_of_other_iterations_is_no_other_model_to_load() {
    let mut app = fixture::empty(crate::tui::color::ColorTier::None);
    app.open("looped".into(), None, fixture::looped_trace(1, 20));
    let mut model = app.shown.as_ref().unwrap().trace.header.model.clone();
    let own = model.looped.unwrap();
    model.layers += own.layers;
    model.looped = Some(crate::trace::Loop {
        iterations: own.iterations + 1,
        trained: Some(own.iterations),
        ..own
    });
    app.model = crate::tui::app::ModelState::Ready {
        info: model,
        routers: None,
        device: "cpu".into(),
    };
    for why in [app.lens_waits(), app.twin_waits()].map(Option::unwrap) {
        assert!(
            why.starts_with("this run's loop ran") && why.contains("in the map change that"),
            "{why}"
        );
    }
}

#[test]
fn a_run_under_way_is_left_alone_until_it_is_held() {
    let mut app = ready();
    let (run, ..) = super::asked(&keys(&mut app, "r"));
    let events = fixture::events(run, &fixture::trace(1, 20));
    hear(&mut app, events[..8].iter().cloned());
    assert_eq!(keys(&mut app, "V"), []);
    assert_eq!(keys(&mut app, " "), [Command::Pause]);
    let (_, positions) = asked(&keys(&mut app, "j"));
    assert!(positions.end <= app.shown.as_ref().unwrap().tokens());
}

#[test]
fn the_lens_leaves_the_tape_and_the_cells_where_they_were() {
    let mut app = ready();
    keys(&mut app, "Z");
    assert!(app.ui.map.shows_tape());
    filled(&mut app, "V");
    assert!(!app.ui.map.shows_tape());
    filled(&mut app, "zz");
    keys(&mut app, "V");
    assert!(app.ui.map.shows_tape() && app.ui.map.zoom.is_none());
    filled(&mut app, "VZ");
    assert!(app.ui.map.shows_tape() && !app.ui.map.lens);
    filled(&mut app, "V");
    let mode = app.ui.map.mode;
    keys(&mut app, "m");
    assert_eq!((app.ui.map.lens, app.ui.map.mode), (false, mode));
}
