//! Clicks select, the wheel scrolls, a drag on the map marks cells, one on a border moves it.

use std::time::Duration;

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::super::app::App;
use super::super::layout::Screen;
use super::super::panes::{self, Edge};
use super::super::playback;
use super::super::transcript::Transcript;
use super::super::ui::Focus;
use super::{cell_at, focus, play, select_token};

/// Lines, or tokens, of one notch of the wheel.
const NOTCH: isize = 3;

/// Longest time between the clicks of a double click.
const DOUBLE_CLICK: Duration = Duration::from_millis(400);

pub(super) fn mouse(app: &mut App, event: MouseEvent) {
    let at = Position::new(event.column, event.row);
    let wheel = match event.kind {
        MouseEventKind::ScrollDown | MouseEventKind::ScrollRight => NOTCH,
        MouseEventKind::ScrollUp | MouseEventKind::ScrollLeft => -NOTCH,
        _ => 0,
    };
    // What was dragged is let go by everything else.
    let dragged = app.ui.drag.take();
    if let Some(mut overlay) = app.ui.overlay.take() {
        if wheel != 0 {
            overlay.dialog_mut().scroll(app, wheel);
        }
        app.ui.overlay = Some(overlay);
        return;
    }
    let Some(screen) = Screen::new(app, app.ui.area) else {
        return;
    };
    match event.kind {
        MouseEventKind::Down(MouseButton::Left) | MouseEventKind::Drag(MouseButton::Left)
            if screen.playback.is_some_and(|row| row.contains(at)) =>
        {
            scrub(app, &screen, at);
        }
        MouseEventKind::Drag(MouseButton::Left) if dragged.is_some() => {
            app.ui.drag = dragged;
            // A border that was moved is not clicked twice.
            app.ui.clicked = None;
            dragged.into_iter().for_each(|edge| panes::drag(app, edge, at));
        }
        MouseEventKind::Down(MouseButton::Left) => {
            app.ui.mark = None;
            if let Some(pane) = screen.tab_at(app, at).or(screen.pane_at(at)) {
                focus(app, pane);
            }
            match screen.edge_at(at) {
                Some(edge) => grab(app, edge),
                None => click(app, &screen, at),
            }
        }
        MouseEventKind::Drag(MouseButton::Left) if app.ui.focus == Focus::Map => {
            if let Some(cell) = cell_at(app, at).filter(|c| *c != app.ui.cursor) {
                app.ui.mark.get_or_insert(app.ui.cursor);
                app.ui.cursor.layer = cell.layer;
                select_token(app, cell.token);
            }
        }
        _ if wheel != 0 => match screen.pane_at(at) {
            Some(Focus::Answer) => scroll_answer(app, wheel),
            Some(Focus::Map) => select_token(app, app.ui.cursor.token.saturating_add_signed(wheel)),
            Some(Focus::Detail) => app.ui.cursor.layer = app.ui.cursor.layer.saturating_add_signed(-wheel.signum()),
            _ => {}
        },
        _ => {}
    }
}

/// Takes hold of a border; two clicks give it back its own place.
fn grab(app: &mut App, edge: Edge) {
    let twice = |(clicked, at): (Edge, Duration)| clicked == edge && app.ui.now.saturating_sub(at) <= DOUBLE_CLICK;
    if app.ui.clicked.take().is_some_and(twice) {
        *app.ui.panes.size(edge) = None;
        return;
    }
    app.ui.drag = Some(edge);
    app.ui.clicked = Some((edge, app.ui.now));
}

/// Goes to the place of the position bar that was clicked.
fn scrub(app: &mut App, screen: &Screen, at: Position) {
    let bar = screen.playback.map(playback::bar).filter(|bar| bar.contains(at));
    let end = app
        .shown
        .as_ref()
        .filter(|run| run.is_partway())
        .map(|run| run.trace.steps.len());
    if let (Some(bar), Some(end)) = (bar, end) {
        play::seek(app, playback::scrub(bar, at.x, end));
    }
}

fn click(app: &mut App, screen: &Screen, at: Position) {
    if let Some(cell) = cell_at(app, at) {
        app.ui.cursor.layer = cell.layer;
        select_token(app, cell.token);
    } else if screen.answer.is_some_and(|r| r.contains(at))
        && let Some(token) = Transcript::on_screen(app).and_then(|t| t.token_at(at))
    {
        // A click must not move what was clicked.
        let scroll = app.ui.answer_scroll;
        let top = Transcript::on_screen(app).map(|t| t.top);
        select_token(app, token);
        let moved = Transcript::on_screen(app).map(|t| t.top);
        app.ui.answer_scroll = match (top, moved) {
            (Some(top), Some(moved)) => top as isize - moved as isize,
            _ => scroll,
        };
    }
}

fn scroll_answer(app: &mut App, wheel: isize) {
    if let Some(transcript) = Transcript::on_screen(app) {
        app.ui.answer_scroll += transcript.scrollable(wheel);
    }
}
