//! The command palette, by its keys.

use super::*;
use crate::tui::dialogs::Overlay;
use crate::tui::palette::Target;
use crate::tui::run::Origin;
use crate::tui::ui::MapMode;

fn palette(app: &App) -> &crate::tui::palette::Palette {
    match &app.ui.overlay {
        Some(Overlay::Palette(palette)) => palette,
        other => panic!("the palette is not open: {other:?}"),
    }
}

#[test]
fn what_is_typed_is_found_and_carried_out() {
    let mut app = ready();
    keys(&mut app, "p");
    assert_eq!(app.context(), "palette");
    // Letters that are keys elsewhere are typed here.
    keys(&mut app, "map shows qj");
    assert_eq!(palette(&app).edit.text, "map shows qj");
    assert!(!app.quit && palette(&app).found.is_empty());
    assert_eq!(key(&mut app, KeyCode::Enter), []);
    assert!(app.ui.overlay.is_some(), "there was nothing to carry out");
    ctrl(&mut app, 'u');
    update(&mut app, UiEvent::Paste("map-mode\n".into()));
    assert_eq!(palette(&app).target(), Some(&Target::Action(UiAction::MapMode)));
    key(&mut app, KeyCode::Enter);
    assert_eq!((app.ui.overlay, app.ui.map.mode), (None, MapMode::Confidence));
}

#[test]
fn it_opens_everywhere_and_runs_what_asks_the_worker() {
    let mut app = ready();
    focus(&mut app, Focus::Prompt);
    ctrl(&mut app, 'p');
    keys(&mut app, "rerun");
    asked(&key(&mut app, KeyCode::Enter));
    let mut app = ready();
    keys(&mut app, "?");
    ctrl(&mut app, 'p');
    assert_eq!(app.context(), "palette");
    ctrl(&mut app, 'p');
    assert_eq!(app.ui.overlay, None);
    // Not while a setting is typed: that would be lost.
    keys(&mut app, ":0-3");
    ctrl(&mut app, 'p');
    assert_eq!(app.context(), "command");
}

#[test]
fn prompts_come_into_the_editor_and_recordings_open() {
    let mut app = ready();
    app.recordings = crate::tui::recordings::built_in();
    ran(&mut app, 1, 3);
    app.prompt.set("another");
    keys(&mut app, "p");
    keys(&mut app, "hello earlier");
    key(&mut app, KeyCode::Enter);
    assert_eq!((app.prompt.text().as_str(), app.ui.focus), ("Hello", Focus::Prompt));
    ctrl(&mut app, 'p');
    keys(&mut app, "two pins recording");
    key(&mut app, KeyCode::Enter);
    let Origin::Recording(title) = &app.shown.as_ref().unwrap().origin else {
        panic!("no recording is open")
    };
    assert!(title.starts_with("two pins"), "{title}");
    assert_eq!(app.previous.as_ref().unwrap().origin, Origin::Live);
}

#[test]
fn recordings_opened_by_name_are_compared_whole() {
    let mut app = ready();
    app.recordings = crate::tui::recordings::built_in();
    keys(&mut app, "n,,,");
    let before = app.shown.clone().unwrap();
    assert!(before.is_partway());
    keys(&mut app, "p");
    keys(&mut app, "two pins recording");
    key(&mut app, KeyCode::Enter);
    let kept = app.previous.as_ref().unwrap();
    assert_eq!((kept.id, kept.steps().len()), (before.id, before.trace.steps.len()));
    keys(&mut app, "c");
    assert!(matches!(app.ui.overlay, Some(Overlay::Compare(_))));
}

#[test]
fn the_selection_stays_within_what_was_found() {
    let mut app = ready();
    keys(&mut app, "p");
    key(&mut app, KeyCode::Up);
    assert_eq!(palette(&app).row, 0);
    for _ in 0..40 {
        key(&mut app, KeyCode::PageDown);
    }
    assert_eq!(palette(&app).row + 1, palette(&app).found.len());
    keys(&mut app, "quit");
    assert_eq!(palette(&app).row, 0);
    key(&mut app, KeyCode::Enter);
    assert!(app.quit);
}
