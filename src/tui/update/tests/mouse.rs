//! Clicks, the wheel, and the borders of panes.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::*;
use crate::tui::transcript::Transcript;
use crate::tui::ui::Cursor;

fn mouse_at(app: &mut App, kind: MouseEventKind, at: Position) {
    update(
        app,
        UiEvent::Mouse(MouseEvent {
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
    assert_eq!(
        (app.ui.focus, app.ui.cursor),
        (Focus::Map, Cursor { layer: 5, token: 30 })
    );
    assert_eq!(grid(&app).unwrap().first_token, map.first_token);
    mouse_at(&mut app, MouseEventKind::Drag(MouseButton::Left), at(6, 33));
    assert_eq!(app.selection(), (5..=6, Some((30, 33))));
    mouse_at(&mut app, MouseEventKind::ScrollUp, at(6, 33));
    assert_eq!(app.ui.cursor.token, 30);
}

#[test]
fn a_click_selects_a_token_and_the_wheel_scrolls() {
    let mut app = ready();
    update(&mut app, UiEvent::Resize(120, 28));
    let (x, y, token) = {
        let transcript = Transcript::on_screen(&app).unwrap();
        let (y, line) = transcript.visible().next().unwrap();
        (transcript.area.x, y, line[0].key)
    };
    mouse_at(&mut app, LEFT, Position::new(x, y));
    assert_eq!((app.ui.focus, app.ui.cursor.token), (Focus::Answer, token));
    let top = |app: &App| Transcript::on_screen(app).unwrap().top;
    mouse_at(&mut app, MouseEventKind::ScrollUp, Position::new(x, y));
    assert_eq!(top(&app), 0);
    mouse_at(&mut app, MouseEventKind::ScrollDown, Position::new(x, y));
    assert!(top(&app) > 0);
    keys(&mut app, "j");
    assert!(app.ui.cursor.token > token);
    keys(&mut app, "k");
    assert_eq!(app.ui.cursor.token, token);
}

/// Drags from one place to another.
fn drag(app: &mut App, from: (u16, u16), to: (u16, u16)) {
    mouse_at(app, LEFT, from.into());
    mouse_at(app, MouseEventKind::Drag(MouseButton::Left), to.into());
    mouse_at(app, MouseEventKind::Up(MouseButton::Left), to.into());
}

fn screen(app: &App) -> Screen {
    Screen::new(app, app.ui.area).unwrap()
}

#[test]
fn a_border_is_dragged_and_two_clicks_put_it_back() {
    let mut app = ready();
    update(&mut app, UiEvent::Resize(200, 60));
    let before = screen(&app);
    let (map, detail, answer) = (before.map.unwrap(), before.detail.unwrap(), before.answer.unwrap());
    // Either of the two lines can be taken.
    drag(&mut app, (map.x - 1, 20), (map.x - 11, 20));
    let left = map.x - 10;
    assert_eq!(screen(&app).map.unwrap().x, left);
    drag(&mut app, (detail.x, 20), (detail.x - 5, 20));
    assert_eq!(screen(&app).detail.unwrap().x, detail.x - 5);
    assert_eq!(screen(&app).map.unwrap().x, left);
    drag(&mut app, (5, answer.y - 1), (5, answer.y + 3));
    assert_eq!(screen(&app).answer.unwrap().y, answer.y + 4);
    assert_eq!(app.ui.mark, None, "no cells are marked by that");
    // Let go: what follows is no drag of the border.
    mouse_at(&mut app, MouseEventKind::Drag(MouseButton::Left), Position::new(60, 30));
    assert_eq!(screen(&app).map.unwrap().x, left);

    let twice = |app: &mut App, between: u64| {
        let at = Position::new(screen(app).map.unwrap().x, 20);
        mouse_at(app, LEFT, at);
        mouse_at(app, MouseEventKind::Up(MouseButton::Left), at);
        update(app, UiEvent::Tick(app.ui.now + Duration::from_millis(between)));
        mouse_at(app, LEFT, at);
        mouse_at(app, MouseEventKind::Up(MouseButton::Left), at);
        update(app, UiEvent::Tick(app.ui.now + Duration::from_secs(1)));
    };
    twice(&mut app, 900);
    assert_eq!(screen(&app).map.unwrap().x, left, "two clicks are no double click");
    twice(&mut app, 200);
    assert_eq!(screen(&app).map.unwrap().x, map.x);
    assert_eq!(screen(&app).detail.unwrap().x, detail.x - 5, "the others stay");
    alt(&mut app, '0');
    assert_eq!(screen(&app), before);
}

#[test]
fn panes_grow_by_keys_where_there_is_room() {
    let mut app = ready();
    let press = |app: &mut App, code| {
        update(app, UiEvent::Key(KeyEvent::new(code, KeyModifiers::ALT)));
    };
    for (width, height) in [(80, 24), (120, 40), (200, 60)] {
        update(&mut app, UiEvent::Resize(width, height));
        for pane in Focus::ALL {
            focus(&mut app, pane);
            alt(&mut app, '0');
            app.ui.notice = None;
            let before = screen(&app).pane(pane).unwrap();
            press(&mut app, KeyCode::Right);
            let wider = screen(&app).pane(pane).unwrap();
            assert_eq!(app.ui.notice.is_some(), width == 80, "{pane:?} at {width}");
            // The map gives way or takes; the line of the message may take a row.
            assert_eq!(
                wider.width,
                before.width + 2 * u16::from(width > 80),
                "{pane:?} at {width}"
            );
            press(&mut app, KeyCode::Left);
            assert_eq!(screen(&app).pane(pane).unwrap().width, before.width);
            app.ui.notice = None;
            press(&mut app, KeyCode::Up);
            let taller = screen(&app).pane(pane).unwrap();
            let grew = taller.height == before.height + 2;
            assert!(
                grew != app.ui.notice.is_some(),
                "{pane:?} at {width}: {before:?} {taller:?}"
            );
        }
    }
    // However often it is pressed, every pane stays, and one press the other way is felt.
    update(&mut app, UiEvent::Resize(120, 40));
    focus(&mut app, Focus::Map);
    app.ui.notice = None;
    (0..100).for_each(|_| press(&mut app, KeyCode::Right));
    assert_eq!(screen(&app).answer.unwrap().width, crate::tui::panes::LEAST_WIDTH);
    press(&mut app, KeyCode::Left);
    assert_eq!(screen(&app).answer.unwrap().width, crate::tui::panes::LEAST_WIDTH + 2);
}
