//! Messages go when what they speak of is gone, and are seen over the dialog whose key they answer.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::tui::run::Origin;
use crate::tui::ui::Level;

fn said(app: &App) -> &str {
    app.ui.notice.as_ref().map_or("", |notice| &notice.text)
}

/// The screen's rows.
pub(super) fn rows(app: &mut App, (width, height): (u16, u16)) -> Vec<String> {
    update(app, UiEvent::Resize(width, height));
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| crate::tui::view::view(app, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect();
    (0..height).map(row).collect()
}

/// The words of a screen's rows without borders, one space between them.
pub(super) fn words(rows: &[String]) -> String {
    let plain = |c: char| {
        if "│┃║┏┓┗┛╭╮╰╯━─".contains(c) {
            ' '
        } else {
            c
        }
    };
    let text: String = rows.join(" ").chars().map(plain).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_message_goes_with_the_run_that_it_speaks_of() {
    let mut app = ready();
    let first = ran(&mut app, 1, 20);
    let second = ran(&mut app, 1, 20);
    assert!(said(&app).starts_with("the same text; depth"), "{}", said(&app));
    // The cursor moves over the run without a loss.
    keys(&mut app, "hjk");
    assert!(said(&app).starts_with("the same text"));
    assert_eq!(app.shown.as_ref().unwrap().id, second);
    keys(&mut app, "w");
    app.reopen(first);
    app.info("of this run");
    key(&mut app, KeyCode::Esc);
    assert_eq!(said(&app), "of this run");
    keys(&mut app, "w");
    keys(&mut app, "j");
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.shown.as_ref().unwrap().id, second);
    assert_eq!(said(&app), "");
    // Another recording is another run too.
    app.recordings = crate::tui::recordings::built_in();
    app.open_recording();
    keys(&mut app, "C");
    assert!(said(&app).contains("no programs were proposed"), "{}", said(&app));
    keys(&mut app, "n");
    assert!(matches!(app.shown.as_ref().unwrap().origin, Origin::Recording(_)));
    assert_eq!(said(&app), "");
}

#[test]
fn a_message_goes_when_what_it_says_holds_no_more() {
    let mut app = ready();
    keys(&mut app, "X");
    assert!(said(&app).starts_with("all overrides are cleared"));
    keys(&mut app, "hk");
    assert!(said(&app).starts_with("all overrides are cleared"));
    for change in ["s", "t", "]", "oj "] {
        keys(&mut app, "X");
        assert!(said(&app).starts_with("all overrides are cleared"), "{change}");
        keys(&mut app, change);
        assert!(!said(&app).starts_with("all overrides"), "{change}: {}", said(&app));
        key(&mut app, KeyCode::Esc);
    }
    keys(&mut app, "Z");
    assert!(said(&app).starts_with("the tape:"), "{}", said(&app));
    keys(&mut app, "m");
    assert_eq!(said(&app), "");
    // An error stays until it is dismissed.
    app.error("no space left");
    keys(&mut app, "s");
    assert_eq!(app.ui.notice.as_ref().unwrap().level, Level::Error);
}

#[test]
fn a_hidden_unmodified_answer_is_not_offered_to_be_hidden() {
    let mut app = ready();
    keys(&mut app, "U");
    assert!(said(&app).ends_with("hides it"), "{}", said(&app));
    keys(&mut app, "U");
    assert_eq!(said(&app), "the unmodified answer is hidden");
}

#[test]
fn what_a_key_of_a_dialog_answers_is_seen_over_the_dialog() {
    for size in [(80, 24), (120, 40), (200, 60)] {
        let mut app = ready();
        ran(&mut app, 1, 20);
        ran(&mut app, 2, 20);
        keys(&mut app, "w");
        // It is the run on the screen.
        let offers = |app: &App| app.ui.overlay.as_ref().unwrap().dialog().keys(app);
        assert!(offers(&app).iter().all(|(action, _)| *action != UiAction::Compare));
        keys(&mut app, "c");
        let after = words(&rows(&mut app, size));
        assert!(after.contains("select another one to compare it with"), "{after}");
        // It goes with the next key.
        keys(&mut app, "k");
        let moved = words(&rows(&mut app, size));
        assert!(!moved.contains("select another one"), "{moved}");
        assert!(offers(&app).iter().any(|(action, _)| *action == UiAction::Compare));
    }
}

#[test]
fn what_a_run_came_to_lies_over_no_dialog() {
    let mut app = ready();
    ran(&mut app, 1, 20);
    let (run, _, settings) = asked(&keys(&mut app, "r"));
    keys(&mut app, "w");
    let mut trace = fixture::trace(2, 20);
    trace.header.settings = settings;
    hear(&mut app, fixture::events(run, &trace));
    assert!(
        app.ui.overlay.is_some() && said(&app).starts_with("the same text"),
        "{}",
        said(&app)
    );
    let beside = words(&rows(&mut app, (80, 24)));
    assert!(!beside.contains("the same text; depth"), "{beside}");
}

#[test]
fn how_far_runs_of_another_model_lie_apart_is_not_offered() {
    let mut app = ready();
    ran(&mut app, 1, 20);
    ran(&mut app, 2, 20);
    keys(&mut app, "c");
    let offered = |app: &App| {
        let keys = app.ui.overlay.as_ref().unwrap().dialog().keys(app);
        keys.iter().any(|(action, _)| *action == UiAction::Divergence)
    };
    assert!(offered(&app));
    assert!(words(&rows(&mut app, (80, 24))).contains("K computes it"));
    app.previous.as_mut().unwrap().trace.header.model.sha256 = "other".into();
    assert!(!offered(&app));
    for size in [(80, 24), (120, 40)] {
        let screen = words(&rows(&mut app, size));
        assert!(!screen.contains("K computes it"), "{screen}");
        assert!(screen.contains("load the former with --model"), "{screen}");
    }
}

#[test]
fn a_held_run_is_said_to_be_held() {
    let mut app = ready();
    let (run, ..) = asked(&keys(&mut app, "r"));
    hear(
        &mut app,
        fixture::events(run, &fixture::trace(1, 20)).into_iter().take(6),
    );
    let status = |app: &mut App| rows(app, (120, 40)).swap_remove(0);
    assert!(status(&mut app).contains("running 5/128"), "{}", status(&mut app));
    keys(&mut app, " ");
    assert!(status(&mut app).contains("‖ held 5/128"), "{}", status(&mut app));
    keys(&mut app, " ");
    assert!(status(&mut app).contains("running 5/128"));
}
