//! The words under the map: every column's token upright, where there is room, and the selected token with its depth.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::super::app::App;
use super::super::grid::{Column, Grid};
use super::super::run::Run;
use super::super::theme::Role;
use super::answer::TokenStyles;
use super::map::quoted;
use super::put;
use crate::text::escape_controls;

pub(super) fn draw(app: &App, run: &Run, grid: &Grid, pane: Rect, buffer: &mut Buffer) {
    texts(app, run, grid, buffer);
    caption(app, run, grid, pane, buffer);
}

/// A token under its column, downwards. Columns wider than one leave their last one free.
fn texts(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    if grid.words.height == 0 {
        return;
    }
    let styles = TokenStyles::new(app, run);
    let base = app.unmodified.as_ref().filter(|_| app.ui.twin);
    let other: std::collections::HashSet<usize> = base.map_or_else(Default::default, |base| {
        let pairs = base.steps().iter().zip(run.steps()).enumerate();
        pairs.filter(|(_, (a, b))| a.id != b.id).map(|(n, _)| n).collect()
    });
    for Column { token, x, width } in grid.columns(app.ui.cursor.token) {
        let Some(text) = told(run, token).filter(|_| !grid.folded || token >= grid.prompt_len) else {
            continue;
        };
        let differs = token.checked_sub(grid.prompt_len).is_some_and(|n| other.contains(&n));
        let style = match token == app.ui.cursor.token {
            true => app.ui.theme.style(Role::Accent),
            false if differs => app.ui.theme.style(Role::Disagree),
            false => styles.plain(token),
        };
        let room = width.saturating_sub(1).max(1);
        for (row, line) in upright(&text, usize::from(room), grid.words.height)
            .into_iter()
            .enumerate()
        {
            put(
                buffer,
                Rect::new(x, grid.words.y + row as u16, room, 1),
                0,
                0,
                &line,
                style,
            );
        }
    }
}

/// A token's text, or the bytes of a part of a character.
pub(super) fn told(run: &Run, token: usize) -> Option<std::borrow::Cow<'_, str>> {
    let (text, _) = run.token(token)?;
    Some(match text.is_empty() || text.contains('\u{fffd}') {
        true => run.label(token)?.0.into(),
        false => text.into(),
    })
}

/// The beginning of a text in lines of `width` columns, without the space before a word.
fn upright(text: &str, width: usize, rows: u16) -> Vec<String> {
    let text = match (text, text.trim_matches(' ')) {
        ("", _) => "…".to_owned(),
        (_, "") => "␣".to_owned(),
        (_, word) => escape_controls(word),
    };
    let mut lines = vec![String::new()];
    for glyph in text.graphemes(true) {
        // What is wider than its column has no place there.
        let glyph = if glyph.width() > width { "□" } else { glyph };
        if lines.last().is_some_and(|line| line.width() + glyph.width() > width) {
            lines.push(String::new());
        }
        if lines.len() > usize::from(rows) {
            break;
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(glyph);
        }
    }
    lines.truncate(usize::from(rows));
    lines
}

/// The cursor's token under its column: its text, its number, its depth and how that ranks.
fn caption(app: &App, run: &Run, grid: &Grid, pane: Rect, buffer: &mut Buffer) {
    let Some(y) = grid.caption else { return };
    let Some((_, special)) = run.token(app.ui.cursor.token) else {
        return;
    };
    let text = told(run, app.ui.cursor.token).unwrap_or_default();
    let place = run.place(app.ui.cursor.token);
    let special = if special { ", special" } else { "" };
    let words = format!("{} {place}{special}", quoted(&text));
    let depth = run.depth(app.ui.cursor.token).map(|depth| format!("depth {depth}"));
    let depth = depth.unwrap_or_default();
    let ranked = match run.rank(app.ui.cursor.token) {
        Some(rank) => format!("{depth}, {rank}"),
        None => depth.clone(),
    };
    let row = Rect::new(grid.cells.x, y, pane.right().saturating_sub(grid.cells.x + 2), 1);
    let x = grid.x(app.ui.cursor.token).map_or(0, |x| x - grid.cells.x);
    let style: Style = app.ui.theme.style(Role::Accent);
    // Around the sign that points to the column: all to its right, to its left, or the words left and the depth right.
    let fits = |left: &str, right: &str| {
        let (left, right) = (left.width() as u16, right.width() as u16);
        (left == 0 || left < x) && x + 2 + right <= row.width
    };
    let whole = |rest: &str| {
        if rest.is_empty() {
            words.clone()
        } else {
            format!("{words} · {rest}")
        }
    };
    let variants = [&ranked, &depth].into_iter().flat_map(|rest| {
        [
            (String::new(), whole(rest)),
            (whole(rest), String::new()),
            (words.clone(), rest.clone()),
        ]
    });
    let mut variants = variants.chain([(String::new(), words.clone()), (words.clone(), String::new())]);
    match variants.find(|(left, right)| fits(left, right)) {
        Some((left, right)) => {
            put(buffer, row, x.saturating_sub(left.width() as u16 + 1), 0, &left, style);
            put(buffer, row, x, 0, &format!("▲ {right}"), style);
        }
        None => {
            let left = Rect {
                width: x.saturating_sub(1),
                ..row
            };
            put(buffer, left, 0, 0, &words, style);
            put(buffer, row, x, 0, "▲", style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_upright_in_their_column() {
        assert_eq!(upright(" sky", 1, 6), ["s", "k", "y"]);
        assert_eq!(upright(" scattering", 1, 4), ["s", "c", "a", "t"]);
        assert_eq!(upright(" scattering", 2, 3), ["sc", "at", "te"]);
        assert_eq!(upright("cafe\u{301}", 1, 6), ["c", "a", "f", "e\u{301}"]);
        assert_eq!(upright("太陽", 1, 6), ["□", "□"]);
        assert_eq!(upright("太陽", 2, 6), ["太", "陽"]);
        assert_eq!(
            [upright("", 1, 6), upright("  ", 1, 6), upright("\n", 1, 6)],
            [["…"], ["␣"], ["⏎"]]
        );
    }
}
