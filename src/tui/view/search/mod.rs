//! A search: its form, or how it goes.
//!
//! ```text
//!  Which season comes after winter?                              right: spring
//!  ✓ turned right after 7 simulations, 14.0 a second
//!  ████████▍
//!  0-29 is wrong by 1.93 · 1 of 8 right · shortest 29: 0-1 3-29
//!
//!  [Tree, 2 edits deep]              depth visits   Q/v     (beside it, or behind Tab: the programs)
//!    ✗ - 0-29                           30      8  0.12
//!    ✗     skip 13                      29      1  0.00
//!  ▸ ✓     skip 2                       29      1  1.00 shortest
//!
//!  ▸ 0-1 3-29  right by 0.71, 29 layers, 1 saved
//! ```

mod form;
mod lists;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::super::action::UiAction;
use super::super::app::App;
use super::super::layout::inner;
use super::super::overrides::plural;
use super::super::search::{Pane, SearchPage, SearchProgress, Watched};
use super::super::theme::Role;
use super::super::ui::Level;
use super::super::widgets::bar;
use super::super::widgets::flow::{fit, flow};
use super::inside::closes;
use super::{pane, put};
use crate::engine::Expected;

/// Columns from which tree and programs stand side by side, and those between them.
const BESIDE: u16 = 116;
const BETWEEN: u16 = 3;

/// Rows above the lists, and below them.
const HEAD: u16 = 5;
const FOOT: u16 = 4;

/// Draws the page; where what is typed goes.
pub(in crate::tui) fn draw(app: &App, page: SearchPage, body: Rect, buffer: &mut Buffer) -> Option<Position> {
    match (page, &app.search.watched) {
        (SearchPage::Watch, Some(watched)) => {
            watch(app, watched, body, buffer);
            None
        }
        _ => form::draw(app, body, buffer),
    }
}

fn watch(app: &App, watched: &Watched, body: Rect, buffer: &mut Buffer) {
    pane::dialog(app, body, "Search", &closes(app), buffer);
    let area = inner(body);
    if let SearchProgress::Failed(message) = &watched.progress {
        super::inside::refused(app, message, area, buffer);
        return;
    }
    // On a low screen the lists come first.
    let head = HEAD.min(area.height.saturating_sub(6));
    let foot = FOOT.min(area.height.saturating_sub(head + 4));
    draw_head(app, watched, Rect { height: head, ..area }, buffer);
    let lists = Rect {
        y: area.y + head,
        height: area.height.saturating_sub(head + foot),
        ..area
    };
    draw_lists(app, watched, lists, buffer);
    let foot = Rect {
        y: lists.bottom(),
        height: foot,
        ..area
    };
    draw_foot(app, watched, foot, buffer);
}

fn draw_head(app: &App, watched: &Watched, area: Rect, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let right = format!("right: {}", watched.request.expected.text());
    let right = fit(&right, usize::from(area.width / 2));
    let at = area
        .width
        .saturating_sub(ratatui::text::Line::raw(right.as_str()).width() as u16);
    let question = Rect {
        width: at.saturating_sub(2),
        ..area
    };
    put(buffer, question, 0, 0, &watched.request.question, style(Role::Text));
    put(buffer, area, at, 0, &right, style(Role::Success));
    let (text, role) = state(watched);
    put(buffer, area, 0, 1, &text, style(role));
    let share = watched.done as f64 / watched.request.simulations.max(1) as f64;
    let gauge = bar::horizontal(share, usize::from(area.width.min(60)));
    put(buffer, area, 0, 2, &gauge, style(Role::Gauge));
    put(buffer, area, 0, 3, &found(watched), style(Role::Text));
}

/// What goes on: a sign, how far it is, how fast.
fn state(watched: &Watched) -> (String, Role) {
    let (done, of) = (watched.done, watched.request.simulations);
    let rate = watched
        .rate()
        .map_or(String::new(), |rate| format!(", {rate:.1} a second"));
    let count = format!("{done} of {of} simulations");
    let recorded = if watched.recording.is_some() {
        "recorded search, "
    } else {
        ""
    };
    let corrected = watched.nodes.first().is_some_and(|root| !root.correct) && watched.right() > 0;
    match &watched.progress {
        SearchProgress::Running => (
            format!(
                "● {}{count}{rate}",
                if recorded.is_empty() { "searching: " } else { recorded }
            ),
            Role::Accent,
        ),
        SearchProgress::Done if corrected => {
            let text = format!("✓ {recorded}turned right after {done} simulation{}{rate}", plural(done));
            (text, Role::Success)
        }
        SearchProgress::Done => (format!("✓ {recorded}done: {count}{rate}"), Role::Success),
        SearchProgress::Stopped => (format!("■ {recorded}stopped after {count}{rate}"), Role::Warning),
        SearchProgress::Failed(message) => (format!("✗ {message}"), Role::Error),
    }
}

/// What was found so far, the standard program first.
fn found(watched: &Watched) -> String {
    let Some(root) = watched.nodes.first() else {
        return "the standard program is run first".to_owned();
    };
    let base = if root.correct { "right" } else { "wrong" };
    let margin = match watched.request.expected {
        Expected::Choice { .. } => format!(" by {:.2}", root.margin.abs()),
        Expected::Number { .. } => String::new(),
    };
    let (right, all) = (watched.right(), watched.nodes.len());
    let mut text = format!("{} is {base}{margin} · {right} of {all} right", root.program);
    if let Some(best) = watched.best().map(|best| &watched.nodes[best].program) {
        text += &format!(" · shortest {}: {best}", best.depth());
    }
    text
}

/// What can be done with the selected program.
fn hint(app: &App) -> String {
    let key = |action| app.ui.keymap.keys_for(action, "search").into_iter().next();
    let does = |action, what| key(action).map(|key| format!("{key} {what}"));
    let hints = [
        does(UiAction::Accept, "makes it the next run's program"),
        does(UiAction::CopyProgram, "copies it"),
        does(UiAction::Search, "asks anew"),
    ];
    hints.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn draw_lists(app: &App, watched: &Watched, area: Rect, buffer: &mut Buffer) {
    if area.width >= BESIDE {
        let width = (area.width - BETWEEN) / 2;
        let left = Rect { width, ..area };
        let right = Rect {
            x: area.x + width + BETWEEN,
            width: area.width - width - BETWEEN,
            ..area
        };
        lists::tree(app, watched, left, "", buffer);
        lists::programs(app, watched, right, "", buffer);
        return;
    }
    let keys = app.ui.keymap.keys_for(UiAction::FocusNext, "search");
    let key = keys.first().map_or("", String::as_str);
    match watched.pane {
        Pane::Tree => lists::tree(app, watched, area, &format!("{key}: programs"), buffer),
        Pane::Programs => lists::programs(app, watched, area, &format!("{key}: tree"), buffer),
    }
}

/// The selected program, whole, and what can be done with it.
fn draw_foot(app: &App, watched: &Watched, area: Rect, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    if let Some(node) = watched.nodes.get(watched.selected) {
        let verdict = if node.correct { "right" } else { "wrong" };
        let margin = match watched.request.expected {
            Expected::Choice { .. } => format!(" by {:.2}", node.margin.abs()),
            Expected::Number { .. } => String::new(),
        };
        let saved = watched.layers().abs_diff(node.program.depth());
        let saved = match node.program.depth() < watched.layers() {
            true => format!(", {saved} saved"),
            false if saved > 0 => format!(", {saved} more"),
            false => String::new(),
        };
        let depth = node.program.depth();
        let text = format!("▸ {}  {verdict}{margin}, {depth} layers{saved}", node.program);
        // The program alone may take more than a line.
        for (y, line) in (1..area.height.min(3)).zip(flow([(0, text.as_str())].into_iter(), area.width, None)) {
            let text: String = line.iter().map(|g| g.text.as_ref()).collect();
            put(buffer, area, 0, y, &text, style(Role::Accent));
        }
    }
    // Messages are under the dialog, so they stand here too.
    let (text, role) = match &app.ui.notice {
        Some(notice) if notice.level == Level::Error => (notice.text.clone(), Role::Error),
        Some(notice) => (notice.text.clone(), Role::Accent),
        None => (hint(app), Role::Muted),
    };
    put(buffer, area, 0, 3, &text, style(role));
}
