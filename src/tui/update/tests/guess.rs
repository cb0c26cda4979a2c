//! Guessing shallow or deep.

use super::*;
use crate::tui::lesson;

fn said(app: &App) -> String {
    app.ui
        .notice
        .as_ref()
        .map_or(String::new(), |notice| notice.text.clone())
}

fn done(app: &App) -> bool {
    app.tour.as_ref().unwrap().done
}

/// The sixth lesson, without a model.
fn game() -> App {
    let mut app = fixture::empty(crate::tui::color::ColorTier::None);
    app.recordings = crate::tui::recordings::built_in();
    app.lessons = lesson::list(None);
    update(&mut app, UiEvent::Resize(120, 40));
    begin_lesson(&mut app, 5);
    update(&mut app, UiEvent::Resize(120, 40));
    app
}

/// Guesses right, or wrong; whether the next token is deep is known here.
fn guess(app: &mut App, right: bool) {
    let run = app.shown.as_ref().unwrap();
    let deep = run.trace.steps[run.steps().len()].depth as f64 > run.trace.mean_depth();
    let key = if deep == right { ")" } else { "(" };
    keys(app, key);
}

#[test]
fn the_sixth_lesson_hides_what_is_guessed_and_counts() {
    let mut app = game();
    let shown = |app: &App| app.shown.as_ref().unwrap().steps().len();
    assert_eq!(shown(&app), 5);
    let task = lesson::page(&app, 120, 40).unwrap().task.join(" ");
    assert!(task.contains("next: \" the\""), "{task}");
    // Looking about and stepping on is no guess.
    keys(&mut app, "hlkjm.");
    assert!(!done(&app));
    key(&mut app, KeyCode::F(7));
    key(&mut app, KeyCode::F(8));
    assert_eq!(shown(&app), 6);
    for n in 0..8 {
        assert!(!done(&app), "{n}");
        guess(&mut app, n % 2 == 0);
    }
    assert!(done(&app));
    assert!(
        said(&app).contains("of 8 right") || said(&app).contains("of 9 right"),
        "{}",
        said(&app)
    );
    key(&mut app, KeyCode::F(8));
    assert_eq!(shown(&app), 30);
    for right in [true, true, true, false, true, true, true] {
        guess(&mut app, right);
        assert!(!done(&app), "not four in a row yet");
    }
    guess(&mut app, true);
    assert!(done(&app));
    key(&mut app, KeyCode::F(8));
    assert_eq!(shown(&app), 72);
    keys(&mut app, "kkkkk");
    assert!(!done(&app));
    let shallowest = app.shown.as_ref().unwrap().prompt_len() + 55;
    while app.ui.cursor.token > shallowest {
        assert!(!done(&app));
        keys(&mut app, "k");
    }
    assert!(done(&app));
}

#[test]
fn what_the_sixth_lesson_says_of_the_story_is_true() {
    let recordings = crate::tui::recordings::built_in();
    let trace = recordings
        .iter()
        .find(|r| r.name == "fox-depth")
        .unwrap()
        .trace()
        .unwrap();
    assert_eq!((trace.steps.len(), trace.mean_depth()), (72, 27.25));
    let of = |word: &str| -> Vec<usize> {
        let named = trace
            .steps
            .iter()
            .filter(|step| step.text.trim().eq_ignore_ascii_case(word));
        named.map(|step| step.depth).collect()
    };
    for word in ["the", "a", "and"] {
        assert!(
            of(word).len() >= 4 && of(word).iter().all(|d| (23..=26).contains(d)),
            "{word}"
        );
    }
    assert_eq!((of("course"), of("their")), (vec![25], vec![25]));
    let shallowest: Vec<usize> = (1..=72).filter(|n| trace.steps[n - 1].depth == 19).collect();
    assert_eq!(shallowest, [56]);
    assert_eq!(
        (trace.steps[55].text.as_str(), trace.steps[56].text.as_str()),
        ("\n", "\n")
    );
    assert!(trace.steps.iter().all(|step| step.depth >= 19));
    assert_eq!(trace.steps[29].text, ".", "the second sentence begins behind it");
    let all = trace.steps.iter().filter(|step| step.depth == 30).count();
    assert!(all >= 15, "many words ran everything: {all}");
}

#[test]
fn where_nothing_can_be_guessed_it_says_why() {
    let mut app = fixture::empty(crate::tui::color::ColorTier::None);
    focus(&mut app, Focus::Map);
    keys(&mut app, "(");
    assert!(said(&app).contains("open a recording"));
    let mut app = ready();
    keys(&mut app, ")");
    assert!(
        said(&app).contains("every token of this run has the depth 31"),
        "{}",
        said(&app)
    );
    app.open("t".into(), None, fixture::token_trace(3, 12));
    app.shown.as_mut().unwrap().playback = None;
    keys(&mut app, ")");
    assert!(said(&app).contains(", takes tokens back"), "{}", said(&app));
    keys(&mut app, ",)");
    assert!(said(&app).contains("of 1 right"), "{}", said(&app));
    let (run, ..) = asked(&keys(&mut app, "r"));
    hear(
        &mut app,
        fixture::events(run, &fixture::trace(1, 20)).into_iter().take(5),
    );
    keys(&mut app, "(");
    assert!(said(&app).contains("under way"));
}
