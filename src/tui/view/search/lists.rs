//! The tree of programs and the list of them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::super::app::App;
use super::super::super::search::{Pane, TreeRow, Watched, WatchedNode, change, rows};
use super::super::super::theme::Role;
use super::super::super::widgets::flow::fit;
use super::super::put;
use crate::engine::Expected;

/// Columns before a line's text: the sign of the selected one, and right or wrong.
const SIGNS: usize = 4;

/// Deepest indentation, in steps of two columns.
const DEEPEST: usize = 8;

/// Columns of a number.
const DEPTH: usize = 6;
const MARGIN: usize = 8;
const VISITS: usize = 7;
const MEAN: usize = 6;
/// ` shortest`, where there is room; else `*`.
const REMARK: usize = 9;
const ROOMY: u16 = 60;

/// Rows of the title.
const TITLE: u16 = 1;

pub(super) fn tree(app: &App, watched: &Watched, area: Rect, hint: &str, buffer: &mut Buffer) {
    let rows = rows(watched);
    let numbers = format!("{:>DEPTH$}{:>VISITS$}{:>MEAN$}", "depth", "visits", "Q/v");
    let deepest = rows.iter().map(|row| row.depth).max().unwrap_or(0);
    let title = format!("Tree, {deepest} edit{} deep", super::plural(deepest));
    head(app, watched.pane == Pane::Tree, area, (&title, hint), &numbers, buffer);
    let selected = rows.iter().position(|row| row.node == watched.selected && !row.again);
    let list = below(area);
    for (y, row) in (0..list.height).zip(rows.iter().skip(top(selected, rows.len(), list))) {
        let line = Rect {
            y: list.y + y,
            height: 1,
            ..list
        };
        draw_row(app, watched, row, line, buffer);
    }
}

/// `▸ ✓   - skip 12            29     12  0.83`
fn draw_row(app: &App, watched: &Watched, row: &TreeRow, line: Rect, buffer: &mut Buffer) {
    let node = &watched.nodes[row.node];
    let fold = match (row.again, node.children.is_empty(), watched.folded.contains(&row.node)) {
        (true, ..) | (_, true, _) => " ",
        (_, _, true) => "+",
        (_, _, false) => "-",
    };
    let edit = match row.parent {
        Some(parent) => change(&watched.nodes[parent].program, &node.program),
        None => node.program.to_string(),
    };
    let again = if row.again { " (above)" } else { "" };
    let indent = " ".repeat(2 * row.depth.min(DEEPEST));
    let text = format!("{indent}{fold} {edit}{again}");
    let numbers = match row.again {
        true => String::new(),
        false => format!(
            "{:>DEPTH$}{:>VISITS$}{:>MEAN$.2}",
            node.program.depth(),
            node.visits,
            node.mean()
        ),
    };
    let here = row.node == watched.selected && !row.again;
    let best = watched.best() == Some(row.node) && !row.again;
    draw_line(app, node, (here, best, row.again), &text, &numbers, line, buffer);
}

pub(super) fn programs(app: &App, watched: &Watched, area: Rect, hint: &str, buffer: &mut Buffer) {
    let order = watched.sorted();
    let numbers = format!("{:>DEPTH$}{:>MARGIN$}{:>VISITS$}", "depth", "margin", "visits");
    let title = format!("Programs, {}", watched.sort.title());
    head(
        app,
        watched.pane == Pane::Programs,
        area,
        (&title, hint),
        &numbers,
        buffer,
    );
    let selected = order.iter().position(|&node| node == watched.selected);
    let list = below(area);
    let best = watched.best();
    for (y, &at) in (0..list.height).zip(order.iter().skip(top(selected, order.len(), list))) {
        let node = &watched.nodes[at];
        let margin = match watched.request.expected {
            Expected::Choice { .. } => format!("{:+.2}", node.margin),
            Expected::Number { .. } => String::new(),
        };
        let numbers = format!(
            "{:>DEPTH$}{margin:>MARGIN$}{:>VISITS$}",
            node.program.depth(),
            node.visits
        );
        let line = Rect {
            y: list.y + y,
            height: 1,
            ..list
        };
        let marks = (at == watched.selected, best == Some(at), false);
        draw_line(app, node, marks, &node.program.to_string(), &numbers, line, buffer);
    }
}

/// A list's title, in brackets where it has the keys, and the names of its columns.
fn head(app: &App, focused: bool, area: Rect, (title, hint): (&str, &str), numbers: &str, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let title = if focused {
        format!("[{title}]")
    } else {
        format!(" {title} ")
    };
    let role = if focused { Role::Title } else { Role::Muted };
    let at = numbers_at(area, numbers);
    let room = Rect {
        width: at.saturating_sub(1),
        ..area
    };
    let x = put(buffer, room, 0, 0, &title, style(role));
    put(buffer, room, x + 2, 0, hint, style(Role::KeyBarText));
    put(buffer, area, at, 0, numbers, style(Role::Muted));
}

/// Where the numbers begin: at the right, with room for a remark behind them.
fn numbers_at(area: Rect, numbers: &str) -> u16 {
    let behind = if area.width >= ROOMY { REMARK } else { 2 };
    area.width.saturating_sub((numbers.len() + behind) as u16)
}

fn below(area: Rect) -> Rect {
    Rect {
        y: area.y + TITLE.min(area.height),
        height: area.height.saturating_sub(TITLE),
        ..area
    }
}

/// The first line in sight: the selected one stays in the middle third where there are lines around it.
fn top(selected: Option<usize>, lines: usize, list: Rect) -> usize {
    let height = usize::from(list.height);
    let selected = selected.unwrap_or(0);
    let last = lines.saturating_sub(height);
    match lines <= height {
        true => 0,
        false => (selected + 1 + height / 3).saturating_sub(height).min(last),
    }
}

/// One program, `(here, best, again)`: selected, the shortest right one, a line that is another's twin.
fn draw_line(
    app: &App,
    node: &WatchedNode,
    (here, best, again): (bool, bool, bool),
    text: &str,
    numbers: &str,
    line: Rect,
    buffer: &mut Buffer,
) {
    let style = |role| app.ui.theme.style(role);
    let role = match (here, best, again || !node.correct) {
        (true, ..) => Role::Accent,
        (_, true, _) => Role::Pin,
        (_, _, true) => Role::Muted,
        (_, _, false) => Role::Text,
    };
    let verdict = if node.correct {
        ("✓", Role::Success)
    } else {
        ("✗", Role::Muted)
    };
    put(buffer, line, 0, 0, if here { "▸" } else { " " }, style(role));
    put(
        buffer,
        line,
        2,
        0,
        verdict.0,
        style(if here { role } else { verdict.1 }),
    );
    let at = match numbers.is_empty() {
        true => line.width,
        false => numbers_at(line, numbers),
    };
    let room = usize::from(at).saturating_sub(SIGNS + 1);
    put(buffer, line, SIGNS as u16, 0, &fit(text, room), style(role));
    put(buffer, line, at, 0, numbers, style(role));
    if best {
        let mark = if line.width >= ROOMY { " shortest" } else { "*" };
        put(
            buffer,
            line,
            line.width.saturating_sub(mark.len() as u16),
            0,
            mark,
            style(role),
        );
    }
}
