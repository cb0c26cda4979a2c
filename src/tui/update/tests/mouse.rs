//! Clicks and the wheel.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::*;
use crate::tui::app::Cursor;
use crate::tui::transcript::Transcript;

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
