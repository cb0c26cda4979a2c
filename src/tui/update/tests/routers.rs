//! Depth routers and their dial, routers that are loaded without a new start, recordings that are gone on with.

use super::*;
use crate::engine::RouterChoice;
use crate::trace::{KvMode, RouterInfo, Scope};
use crate::tui::color::ColorTier;
use crate::tui::dialogs::Overlay;

/// A recording under depth routers is on the screen; the model is there with `routers`.
fn with(routers: RouterInfo) -> App {
    let mut app = fixture::empty(ColorTier::Truecolor);
    update(&mut app, UiEvent::Resize(160, 50));
    app.open(
        "depths".into(),
        Some("Why is the sky blue?".into()),
        fixture::depth_trace(40),
    );
    app.propose_prompt();
    hear(&mut app, [fixture::loaded_with(Some(routers))]);
    app.ui.notice = None;
    focus(&mut app, Focus::Map);
    app
}

fn expected(app: &App) -> f64 {
    app.calibration().unwrap().expected(app.settings.dial).unwrap().depth
}

fn said(app: &App) -> &str {
    app.ui.notice.as_ref().map_or("", |notice| &notice.text)
}

#[test]
fn the_dial_steps_by_half_a_layer_where_it_was_measured() {
    let mut app = with(fixture::depth_routers());
    keys(&mut app, "]]");
    assert!((expected(&app) - 27.0).abs() < 1e-9);
    keys(&mut app, &"[".repeat(40));
    assert_eq!(app.settings.dial, -0.8);
    assert!(said(&app).contains("21.3 to 29.4 layers"), "{}", said(&app));
    // In scope prompt nothing was measured.
    keys(&mut app, "t]");
    assert_eq!((app.calibration(), app.settings.dial), (None, -0.75));
    keys(&mut app, "tojjj");
    key(&mut app, KeyCode::Right);
    assert!((expected(&app) - 22.5).abs() < 1e-9, "{}", expected(&app));
}

#[test]
fn a_mean_depth_is_typed_for_the_dial() {
    let mut app = with(fixture::depth_routers());
    for (typed, dial) in [("24 layers", -0.62), ("26.1", -0.5), ("0.5", 0.5)] {
        keys(&mut app, "D");
        ctrl(&mut app, 'u');
        keys(&mut app, typed);
        key(&mut app, KeyCode::Enter);
        assert!(
            (app.settings.dial - dial).abs() < 1e-9,
            "{typed}: {}",
            app.settings.dial
        );
    }
    keys(&mut app, "D");
    ctrl(&mut app, 'u');
    keys(&mut app, "12");
    key(&mut app, KeyCode::Enter);
    let Some(Overlay::Settings(dialog)) = &app.ui.overlay else {
        panic!("a mistake closed the dialog")
    };
    let error = dialog.edit.as_ref().unwrap().error.as_ref().unwrap();
    assert!(error.message.contains("21.3 to 29.4 layers"), "{}", error.message);
}

#[test]
fn a_recording_is_gone_on_with_as_it_was_made() {
    let mut trace = fixture::depth_trace(40);
    trace.header.settings.max_tokens = 40;
    trace.header.settings.dial = -0.4;
    let mut app = with(fixture::depth_routers());
    app.open("depths".into(), Some("Why is the sky blue?".into()), trace.clone());
    assert!(app.pending().is_empty());
    let (run, prompt, settings) = asked(&keys(&mut app, "r"));
    assert_eq!(prompt, Prompt::Text("Why is the sky blue?".into()));
    assert_eq!(settings, trace.header.settings);
    hear(&mut app, fixture::events(run, &trace));
    assert!(app.pending().is_empty());
    let (_, _, settings) = asked(&keys(&mut app, "r"));
    assert_eq!(settings, trace.header.settings, "once more");

    // Another prompt runs under the settings from before, and what was changed since.
    let mut app = with(fixture::routers());
    app.open("depths".into(), Some("Why is the sky blue?".into()), trace);
    assert_eq!(app.prompt.text(), "Why is the sky blue?");
    keys(&mut app, "-");
    app.prompt.set("Say hi.");
    let pending = [
        "routers built-in",
        "budget 29",
        "dial -0.50",
        "scope prompt",
        "kv ragged",
        "128 tokens",
    ];
    assert_eq!(app.pending(), pending);
    let (_, _, settings) = asked(&keys(&mut app, "r"));
    let own = Settings {
        budget: Some(29),
        ..Settings::default()
    };
    assert_eq!(settings, own);
}

#[test]
fn a_recordings_routers_are_loaded_before_it_is_gone_on_with() {
    let mut app = with(fixture::routers());
    assert!(app.pending().is_empty(), "the recording's own routers decide");
    assert_eq!(keys(&mut app, "r"), [Command::Routers(RouterChoice::BuiltIn)]);
    // They go by another name than when the recording was made.
    let changed = |routers| UiEvent::Worker(engine::WorkerEvent::RoutersChanged(Some(routers)));
    let next = update(&mut app, changed(fixture::routers()));
    assert_eq!(next, [Command::Routers(RouterChoice::DrLlm)]);
    let (_, _, settings) = asked(&update(&mut app, changed(fixture::depth_routers())));
    assert_eq!((settings.scope, settings.kv), (Scope::Token, KvMode::Fill));
    assert!(said(&app).contains("loaded the routers with which this run was made: depth"));
    assert_eq!(app.routers, RouterChoice::DrLlm);
}

#[test]
fn routers_that_are_nowhere_are_named_and_the_old_ones_come_back() {
    let mut app = with(fixture::routers());
    keys(&mut app, "r");
    let other = || engine::WorkerEvent::RoutersChanged(Some(fixture::routers()));
    update(&mut app, UiEvent::Worker(other()));
    update(
        &mut app,
        UiEvent::Worker(engine::WorkerEvent::RoutersFailed("no such routers".into())),
    );
    let last = update(&mut app, UiEvent::Worker(other()));
    assert_eq!(last, [Command::Routers(RouterChoice::BuiltIn)]);
    assert!(said(&app).contains("the routers depth (sha256 de97"), "{}", said(&app));
    assert_eq!((app.starting.clone(), app.wanted.clone()), (None, None));
    update(&mut app, UiEvent::Worker(other()));
    assert!(said(&app).contains("do not ship"), "coming back is silent");
    // With the routers that are there it goes on.
    keys(&mut app, "M");
    ctrl(&mut app, 'u');
    keys(&mut app, "built-in");
    assert_eq!(key(&mut app, KeyCode::Enter), [Command::Routers(RouterChoice::BuiltIn)]);
    update(&mut app, UiEvent::Worker(other()));
    assert_eq!(app.pending(), ["routers built-in", "scope prompt", "kv ragged"]);
    asked(&keys(&mut app, "r"));
}

#[test]
fn routers_are_chosen_without_a_new_start() {
    let mut app = ready();
    keys(&mut app, "M");
    ctrl(&mut app, 'u');
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    keys(&mut app, "depth.safetensors");
    let file = RouterChoice::File("depth.safetensors".into());
    assert_eq!(key(&mut app, KeyCode::Enter), [Command::Routers(file.clone())]);
    hear(
        &mut app,
        [engine::WorkerEvent::RoutersChanged(Some(fixture::depth_routers()))],
    );
    assert_eq!((app.settings.scope, app.settings.kv), (Scope::Token, KvMode::Fill));
    assert_eq!((&app.routers, app.ui.overlay.is_none()), (&file, true));
    assert!(app.calibration().is_some());
    // Clearing the overrides keeps what the routers were made for.
    keys(&mut app, "t-X");
    assert_eq!((app.settings.scope, app.settings.budget), (Scope::Token, None));
    hear(&mut app, [engine::WorkerEvent::RoutersFailed("wrong shape".into())]);
    assert_eq!(said(&app), "wrong shape");

    asked(&keys(&mut app, "r"));
    assert_eq!(keys(&mut app, "o "), [], "not while a run is under way");
    assert!(said(&app).contains("a run is under way"));
}

#[test]
fn a_prompt_is_folded_until_it_is_unfolded() {
    let mut app = with(fixture::depth_routers());
    let folded = |app: &App| grid(app).unwrap().folded;
    assert!(folded(&app));
    keys(&mut app, "P");
    assert!(!folded(&app));
    keys(&mut app, "P0");
    assert!(folded(&app) && app.ui.cursor.token == 0);
    let mut app = ready();
    assert!(folded(&app), "in scope prompt too");
    keys(&mut app, "P");
    assert!(!folded(&app));
}

#[test]
fn a_recording_of_another_model_leaves_nothing_of_the_one_before() {
    let pinned = || {
        let mut trace = fixture::depth_trace(20);
        trace.header.settings.pins = vec!["12=skip".parse().unwrap(), "20@1-2=repeat".parse().unwrap()];
        trace.header.settings.kv = KvMode::Ragged;
        trace.header.settings.scope = Scope::Prompt;
        trace
    };
    let foreign = || {
        let mut trace = fixture::depth_trace(20);
        trace.header.model.sha256 = "other".into();
        trace
    };
    let mut app = with(fixture::depth_routers());
    app.give_back();
    app.settings.budget = Some(40);
    let own = app.settings.clone();
    app.open("pins".into(), None, pinned());
    assert_eq!(app.settings.pins.len(), 2);
    app.open("foreign".into(), None, foreign());
    assert_eq!(app.settings, own);
    app.open("foreign again".into(), None, foreign());
    assert_eq!(app.settings, own);
    // Nor what was gone on with.
    app.open("pins".into(), None, pinned());
    app.prompt.clear();
    let (run, _, settings) = asked(&keys(&mut app, "r"));
    assert_eq!(settings.pins.len(), 2);
    let mut trace = pinned();
    trace.header.settings = settings;
    hear(&mut app, fixture::events(run, &trace));
    app.open("foreign".into(), None, foreign());
    assert_eq!(app.settings, own);
}
