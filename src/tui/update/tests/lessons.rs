//! Lessons: their steps, their tasks, and that the shipped ones can be gone through.

use super::*;
use crate::tui::dialogs::{LessonsDialog, Overlay};
use crate::tui::lesson::{self, Listed};
use crate::tui::run::Origin;

/// The lessons and recordings that ship, without a model.
fn school() -> App {
    let mut app = fixture::empty(crate::tui::color::ColorTier::None);
    app.recordings = crate::tui::recordings::built_in();
    app.lessons = lesson::list(None);
    update(&mut app, UiEvent::Resize(120, 40));
    app
}

fn next(app: &mut App) -> Vec<Command> {
    key(app, KeyCode::F(8))
}

fn done(app: &App) -> bool {
    app.tour.as_ref().unwrap().done
}

fn step(app: &App) -> usize {
    app.tour.as_ref().unwrap().step
}

#[test]
fn the_first_lesson_is_gone_through_without_a_model() {
    let mut app = school();
    key(&mut app, KeyCode::F(9));
    assert_eq!(app.ui.overlay, Some(Overlay::Lessons(LessonsDialog { row: 0 })));
    key(&mut app, KeyCode::Enter);
    let Origin::Recording(title) = &app.shown.as_ref().unwrap().origin else {
        panic!("no recording")
    };
    assert_eq!(
        (title.as_str(), app.ui.focus, app.ui.cursor.layer),
        ("the paper's routers, and a budget of 27 layers", Focus::Map, 15)
    );
    keys(&mut app, "llll");
    assert!(!done(&app));
    keys(&mut app, "l");
    assert!(done(&app), "layer 20 is skipped");
    // Once done it stays so.
    keys(&mut app, "h");
    assert!(done(&app));
    next(&mut app);
    assert!(!done(&app));
    keys(&mut app, "h");
    assert!(done(&app));
    next(&mut app);
    keys(&mut app, "0");
    assert!(done(&app));
    next(&mut app);
    assert_eq!(app.ui.cursor.token, app.shown.as_ref().unwrap().prompt_len());
    keys(&mut app, "jjjjjjj");
    assert!(done(&app));
    next(&mut app);
    // Carried out by the palette it counts as well.
    keys(&mut app, "p");
    keys(&mut app, "map-mode");
    key(&mut app, KeyCode::Enter);
    assert!(done(&app));
    next(&mut app);
    keys(&mut app, ",}");
    assert!(done(&app));
    next(&mut app);
    assert_eq!(app.tour, None);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("over"));
}

/// What steps say of the text, the depths and the panes beside them.
#[test]
fn lessons_say_of_their_recordings_what_is_in_them() {
    let mut app = school();
    let text = |app: &App, lesson: &str, step: usize| {
        let Listed::Usable(lesson) = &app.lessons[lesson::find(&app.lessons, lesson).unwrap()] else {
            panic!("{lesson} is broken")
        };
        (lesson.steps[step].text.clone(), lesson.steps[step].tape)
    };
    let at = lesson::find(&app.lessons, "budget").unwrap();
    begin_lesson(&mut app, at);
    let steps = &app.shown.as_ref().unwrap().trace.steps;
    let answer: String = steps.iter().map(|step| step.text.as_str()).collect();
    let (said, _) = text(&app, "budget", 0);
    for word in ["atmosphere", "gases", "sunlight", "surface"] {
        assert_eq!(said.contains(word), answer.contains(word), "{word}");
    }
    let mean = steps.iter().map(|step| step.depth as f64).sum::<f64>() / steps.len() as f64;
    let least = steps.iter().map(|step| step.depth).min().unwrap();
    assert!(said.contains(&format!("{mean:.1} layers")) && said.contains(&format!("{least} at the shallowest")));
    // A line of the map may be two layers, one of the tape is a token at every size.
    for step in [0, 3] {
        let (said, tape) = text(&app, "program", step);
        assert!(tape && !said.contains("map") && !said.contains("hang"), "{said}");
    }
    let (said, _) = text(&app, "easy-and-hard", 5);
    assert!(
        said.contains("next tokens agree") && !said.contains("come out the same"),
        "{said}"
    );
}

#[test]
fn a_task_that_needs_a_run_is_done_by_one() {
    let mut app = school();
    hear(&mut app, [fixture::loaded()]);
    app.lessons.retain(|l| l.name() == "4-budget");
    begin_lesson(&mut app, 0);
    next(&mut app);
    app.settings.pins.push("3=skip".parse().unwrap());
    next(&mut app);
    assert!(app.settings.pins.is_empty(), "the step takes overrides back");
    assert_eq!(app.prompt.text(), "Why is the sky blue?");
    ran(&mut app, 1, 3);
    assert!(done(&app));
    next(&mut app);
    ran(&mut app, 2, 3);
    assert!(!done(&app), "a run without the budget");
    app.settings.budget = Some(26);
    ran(&mut app, 3, 3);
    assert!(done(&app));
    key(&mut app, KeyCode::F(7));
    assert_eq!(step(&app), 2);
    key(&mut app, KeyCode::F(10));
    assert_eq!(app.tour, None);
}

#[test]
fn the_search_is_part_of_a_lesson_without_a_model() {
    let mut app = school();
    app.lessons.retain(|l| l.name() == "5-training");
    begin_lesson(&mut app, 0);
    for _ in 0..4 {
        next(&mut app);
    }
    assert_eq!(step(&app), 4);
    keys(&mut app, "S");
    key(&mut app, KeyCode::F(6));
    key(&mut app, KeyCode::F(5));
    assert!(!done(&app), "nothing is taken over yet");
    // The standard program, the first one, is no edit.
    keys(&mut app, "g");
    key(&mut app, KeyCode::Enter);
    assert!(app.settings.program.is_some() && !done(&app));
    keys(&mut app, "SG");
    key(&mut app, KeyCode::Enter);
    assert!(done(&app));
}

#[test]
fn what_runs_is_stopped_when_a_step_opens_a_recording() {
    let mut app = school();
    hear(&mut app, [fixture::loaded()]);
    app.prompt.set("Hello");
    let (run, ..) = asked(&key(&mut app, KeyCode::Enter));
    hear(
        &mut app,
        fixture::events(run, &fixture::trace(1, 9)).into_iter().take(3),
    );
    assert_eq!(begin_lesson(&mut app, 1), [Command::Stop]);
    assert!(app.shown.as_ref().unwrap().is_recording());
    assert_eq!(app.previous.as_ref().unwrap().id, run);
}

/// Every step of every lesson can be entered, and tasks that need no model are not done at once.
#[test]
fn every_step_can_be_entered() {
    let mut app = school();
    for lesson in 0..app.lessons.len() {
        assert_eq!(begin_lesson(&mut app, lesson), []);
        while let Some(tour) = app.tour.clone() {
            let (of, now) = tour.of(&app).unwrap();
            let (name, task, model) = (of.name.clone(), now.task.clone(), now.model);
            assert_eq!(app.ui.notice, None, "{name} {}", tour.step);
            if let Some(task) = task.filter(|_| !model) {
                assert!(
                    !tour.holds(&app, &task.check),
                    "{name}, step {}: done at once",
                    tour.step + 1
                );
            }
            next(&mut app);
        }
    }
}

/// A step that opens nothing speaks of what the step before it opened, also for who comes back to it.
#[test]
fn going_back_shows_what_the_step_speaks_of() {
    let mut app = school();
    let loops = app
        .lessons
        .iter()
        .position(|listed| listed.name() == "7-loops")
        .unwrap();
    begin_lesson(&mut app, loops);
    let title = |app: &App| app.shown.as_ref().unwrap().origin.clone();
    let mut seen = vec![title(&app)];
    while app.tour.as_ref().unwrap().step < 4 {
        next(&mut app);
        seen.push(title(&app));
    }
    seen.dedup();
    assert_eq!(seen.len(), 3, "{seen:?}");
    for expected in [&seen[1], &seen[1], &seen[0], &seen[0]] {
        let step = app.tour.as_ref().unwrap().step;
        while app.tour.as_ref().unwrap().step == step {
            key(&mut app, KeyCode::F(7));
        }
        assert_eq!(title(&app), *expected, "step {}", step);
    }
}

#[test]
fn a_broken_lesson_says_why_and_long_texts_have_pages() {
    let mut app = school();
    app.lessons.push(Listed::Broken {
        name: "mine".into(),
        message: "mine.toml:3:8: expected".into(),
    });
    key(&mut app, KeyCode::F(9));
    keys(&mut app, "G");
    key(&mut app, KeyCode::Enter);
    assert!(app.ui.notice.as_ref().unwrap().text.contains("mine.toml:3:8"));
    let text = format!("title = 'T'\nsummary = 'S'\n[[step]]\ntext = '{}'", "word ".repeat(300));
    app.lessons = vec![Listed::Usable(lesson::parse("long", "long.toml", &text, None).unwrap())];
    update(&mut app, UiEvent::Resize(80, 24));
    begin_lesson(&mut app, 0);
    let pages = lesson::pages(&app);
    assert!(pages > 2);
    for page in 1..pages {
        next(&mut app);
        assert_eq!(app.tour.as_ref().unwrap().page, page);
    }
    key(&mut app, KeyCode::F(7));
    next(&mut app);
    next(&mut app);
    assert_eq!(app.tour, None);
}
