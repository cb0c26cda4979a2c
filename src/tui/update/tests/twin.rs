//! The unmodified answer under the routed one, and what a rerun says it changed.

use super::*;
use crate::trace::Trace;

/// The run of the unmodified model that was asked for, to its end.
fn base(app: &mut App, commands: &[Command], change: impl FnOnce(&mut Trace)) -> u64 {
    let (run, prompt, settings) = asked(commands);
    assert_eq!(prompt, Prompt::Ids((1..=12).collect()));
    let mut trace = fixture::trace(5, 20);
    trace.header.settings = settings;
    change(&mut trace);
    hear(app, fixture::events(run, &trace));
    run
}

fn said(app: &App) -> &str {
    app.ui.notice.as_ref().map_or("", |notice| &notice.text)
}

#[test]
fn one_key_runs_the_unmodified_model_once_and_hides_it_again() {
    let mut app = ready();
    ran(&mut app, 1, 20);
    let commands = keys(&mut app, "U");
    assert!(app.ui.twin && app.ui.overlay.is_none());
    // Nothing is asked twice while it is read and runs.
    assert_eq!(keys(&mut app, "hj"), []);
    let id = base(&mut app, &commands, |_| {});
    assert_eq!(app.unmodified.as_ref().unwrap().id, id);
    assert_eq!(keys(&mut app, "UU"), []);
    // The comparison has it too.
    assert_eq!(keys(&mut app, "b"), []);
    assert!(app.ui.overlay.is_some());
    key(&mut app, KeyCode::Esc);
    // A rerun with other pins has the same unmodified answer, another seed has not.
    keys(&mut app, "s");
    ran(&mut app, 2, 20);
    assert_eq!(app.unmodified.as_ref().unwrap().id, id);
    app.settings.sampling.seed = 7;
    let (run, _, settings) = asked(&keys(&mut app, "r"));
    let mut trace = fixture::trace(3, 20);
    trace.header.settings = settings;
    let commands: Vec<Command> = fixture::events(run, &trace)
        .into_iter()
        .flat_map(|event| update(&mut app, UiEvent::Worker(event)))
        .collect();
    let again = base(&mut app, &commands, |_| {});
    assert_ne!(again, id);
    keys(&mut app, "U");
    assert!(!app.ui.twin && app.unmodified.is_some());
}

#[test]
fn where_there_is_no_unmodified_answer_it_says_why() {
    let mut app = fixture::app();
    focus(&mut app, Focus::Map);
    assert_eq!(keys(&mut app, "U"), []);
    assert!(said(&app).contains("on its way"), "{}", said(&app));
    // It comes by itself.
    asked(&update(&mut app, UiEvent::Worker(fixture::loaded())));
    let mut app = ready();
    app.shown.as_mut().unwrap().trace.header.model.sha256 = "other".into();
    assert_eq!(keys(&mut app, "U"), []);
    assert!(said(&app).contains("load the former"));
    let mut app = ready();
    let (run, ..) = asked(&keys(&mut app, "r"));
    hear(
        &mut app,
        fixture::events(run, &fixture::trace(1, 20)).into_iter().take(5),
    );
    assert_eq!(keys(&mut app, "U"), []);
    assert!(said(&app).contains("as soon as this run has ended"));
    let mut app = fixture::empty(crate::tui::color::ColorTier::None);
    focus(&mut app, Focus::Map);
    assert_eq!(keys(&mut app, "U"), []);
    assert!(said(&app).contains("run a prompt"));
    // What fails is not tried again and again.
    let mut app = ready();
    let (run, ..) = asked(&keys(&mut app, "U"));
    let message = "no memory".to_owned();
    assert_eq!(
        update(&mut app, UiEvent::Worker(engine::WorkerEvent::Failed { run, message })),
        []
    );
    assert!(!app.ui.twin && said(&app).contains("no memory"));
}

#[test]
fn a_rerun_says_what_it_changed() {
    let mut app = ready();
    ran(&mut app, 1, 20);
    key(&mut app, KeyCode::Esc);
    app.ui.cursor.layer = 7;
    keys(&mut app, "s");
    let (run, _, settings) = asked(&keys(&mut app, "r"));
    let mut trace = fixture::trace(1, 20);
    trace.header.settings = settings;
    trace.steps[4].id = 7;
    trace.steps[4].text = " green".into();
    hear(&mut app, fixture::events(run, &trace));
    let line = said(&app);
    assert!(
        line.starts_with("same text for 4 tokens, then \" because\" became \" green\"; depth ")
            && line.ends_with("(pins none → 7=skip)"),
        "{line}"
    );
}

#[test]
fn the_first_step_of_the_budget_is_below_the_deepest_token() {
    let mut app = ready();
    let deepest = app.shown.as_ref().unwrap().depth_range().unwrap().1;
    keys(&mut app, "-");
    assert_eq!(app.settings.budget, Some(deepest - 1));
    assert!(said(&app).contains(&format!("the next run: at most {} layers a token", deepest - 1)));
    keys(&mut app, "-+");
    assert_eq!(app.settings.budget, Some(deepest - 1));
    app.settings.budget = None;
    keys(&mut app, "+");
    assert_eq!(app.settings.budget, None);
    assert!(said(&app).contains("no budget to raise"));
}

#[test]
fn the_status_line_says_how_far_a_prompt_is_read() {
    let mut app = ready();
    let (run, ..) = asked(&keys(&mut app, "r"));
    hear(&mut app, [engine::WorkerEvent::Reading { run, done: 12, of: 30 }]);
    assert_eq!(app.starting.as_ref().unwrap().reading, Some((12, 30)));
    let late = engine::WorkerEvent::Reading {
        run: run + 1,
        done: 20,
        of: 30,
    };
    hear(&mut app, [late]);
    assert_eq!(app.starting.as_ref().unwrap().reading, Some((12, 30)));
}
