//! The map: layers × tokens, with the depth of every token above and the shares of every layer
//! beside it. Only what is in sight is computed.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::app::{App, Focus, MapMode};
use super::super::grid::{GUTTER, Grid, SHARES};
use super::super::run::Run;
use super::super::theme::Role;
use super::super::widgets::bar;
use super::{cell, pane, put};
use crate::engine::{KvMode, Scope};
use crate::program::Action;

/// Least difference between the foot and the top of the depths, in block executions.
const LEAST_RANGE: usize = 4;

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.focus == Focus::Map;
    let Some(run) = &app.shown else {
        pane::frame(app, area, focused, "Layers × tokens", "", buffer);
        return;
    };
    let grid = Grid::new(app, run, area);
    pane::frame(app, area, focused, "Layers × tokens", &remark(app, run, &grid), buffer);
    sections(app, run, &grid, buffer);
    depth(app, run, &grid, buffer);
    gutter(app, &grid, buffer);
    cells(app, run, &grid, buffer);
    shares(app, run, &grid, buffer);
    caption(app, run, &grid, area, buffer);
}

/// What is in sight, what the cells show, and when it was decided.
fn remark(app: &App, run: &Run, grid: &Grid) -> String {
    let scope = match (run.settings().program.is_some(), run.settings().scope) {
        (true, _) => "fixed program",
        (false, Scope::Prompt) => "scope prompt: decided once",
        (false, Scope::Token) => "scope token: decided at every token",
    };
    let rows = grid.rows().count();
    let last = (grid.first_layer + rows).saturating_sub(1);
    let layers = (rows < grid.layers).then(|| format!("layers {}-{last}", grid.first_layer));
    let mode = (app.map.mode != MapMode::Decisions).then(|| app.map.mode.title().to_owned());
    let kv = run.settings().kv;
    let kv = (kv != KvMode::default()).then(|| format!("kv {kv}"));
    let parts = layers.into_iter().chain(mode).chain([scope.to_owned()]).chain(kv);
    let parts: Vec<String> = parts.collect();
    parts.join(" · ")
}

/// `prompt` and `answer` over their columns, as many words as there is room for.
fn sections(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    let Some(y) = grid.sections else { return };
    let style = app.theme.style(Role::Muted);
    let mut label = |from: u16, to: u16, variants: &[&str]| {
        let area = Rect::new(from, y, to.saturating_sub(from), 1);
        let fits = |text: &&&str| text.chars().count() <= usize::from(area.width);
        if let Some(text) = variants.iter().find(fits) {
            put(buffer, area, 0, 0, text, style);
        }
    };
    let answer = grid.columns().find(|(t, _)| *t >= grid.prompt_len).map(|(_, x)| x);
    let end = grid.cells.right();
    let prompt = format!("prompt: one program for all {} tokens", grid.prompt_len);
    let prompt_end = grid.separator().or(answer).unwrap_or(end);
    label(
        grid.cells.x,
        prompt_end,
        &[&prompt, "prompt: one program", "one program", "prompt"],
    );
    if let Some(x) = answer {
        label(x, end, &[&format!("answer: {} tokens", run.steps().len()), "answer"]);
    }
    if let Some(x) = grid.shares {
        label(x, x + SHARES, &["share"]);
    }
}

/// Each token's depth as a column, between the least and the greatest there is.
fn depth(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    let Some((low, high)) = run.depth_range().filter(|_| grid.depth.height > 0) else {
        return;
    };
    // The standard depth belongs in the picture: it shows what is saved.
    let (low, high) = (low.min(grid.layers), high.max(grid.layers));
    // One layer more or less should not look like all or nothing.
    let low = low.min(high.saturating_sub(LEAST_RANGE));
    let rows = usize::from(grid.depth.height);
    let share = |depth: usize| match high - low {
        0 => 0.5,
        range => (depth - low) as f64 / range as f64,
    };
    let gutter = Rect {
        x: grid.depth.x.saturating_sub(GUTTER),
        width: GUTTER,
        ..grid.depth
    };
    let muted = app.theme.style(Role::Muted);
    put(buffer, gutter, 0, 0, &format!("{high:>3}"), muted);
    if let Some(x) = grid.shares {
        let area = Rect::new(x, grid.depth.bottom().saturating_sub(1), SHARES, 1);
        put(buffer, area, 0, 0, "← depth", muted);
    }
    if rows > 1 && low < high {
        put(buffer, gutter, 0, grid.depth.height - 1, &format!("{low:>3}"), muted);
    }
    for (token, x) in grid.columns() {
        let Some(depth) = run.depth(token) else { continue };
        let style = app.theme.depth(share(depth) as f32);
        for row in 0..rows {
            let glyph = bar::vertical(share(depth), row, rows);
            let y = grid.depth.bottom() - 1 - row as u16;
            for column in 0..grid.cell {
                buffer[(x + column, y)].set_char(glyph).set_style(style);
            }
        }
    }
}

/// Layer numbers, with the letter of a pin of the whole layer.
fn gutter(app: &App, grid: &Grid, buffer: &mut Buffer) {
    for (layer, y) in grid.rows() {
        let area = Rect::new(grid.cells.x.saturating_sub(GUTTER), y, GUTTER, 1);
        let here = layer == app.cursor.layer;
        let number = app.theme.style(if here { Role::Accent } else { Role::Muted });
        put(buffer, area, 0, 0, &format!("{layer:>3}"), number);
        let settled = app
            .settled
            .pins
            .iter()
            .rev()
            .find(|p| p.layer == layer && p.positions.is_none());
        let (sign, style) = match (app.layer_pin(layer), settled) {
            (Some(pin), Some(was)) if pin.action == was.action => {
                (cell::letter(pin.action, true), app.theme.style(Role::Pin))
            }
            (Some(pin), _) => (cell::letter(pin.action, false), cell::waiting(&app.theme)),
            (None, _) if here => ('▸', number),
            (None, _) => (' ', number),
        };
        put(buffer, area, 3, 0, &sign.to_string(), style);
    }
}

fn cells(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    let (layers, positions) = app.selection();
    let marked = |layer: usize, token: usize| {
        let range = positions.filter(|_| app.mark.is_some());
        layers.contains(&layer) && range.is_some_and(|(from, to)| (from..=to).contains(&token))
    };
    for (layer, y) in grid.rows() {
        for (token, x) in grid.columns() {
            let (glyph, mut style) = cell::look(app, run, layer, token);
            let here = layer == app.cursor.layer && token == app.cursor.token;
            if here {
                style = style.patch(app.theme.style(Role::Cursor));
            } else if marked(layer, token) {
                style = style.patch(app.theme.style(Role::Selection));
            }
            let area = Rect::new(x, y, grid.cell, 1);
            put(buffer, area, 0, 0, &cell::widen(glyph, grid.cell), style);
            buffer.set_style(area, style);
        }
    }
    if let Some(x) = grid.separator() {
        for y in grid.depth.top()..grid.cells.bottom() {
            buffer[(x, y)].set_char('│').set_style(app.theme.style(Role::Border));
        }
    }
}

/// Each layer's actions over the answer, as a stacked bar in the glyphs of the cells.
fn shares(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    let Some(x) = grid.shares else { return };
    let counts = run.layer_counts();
    for (layer, y) in grid.rows() {
        let Some(counts) = counts.get(layer) else { continue };
        let widths = bar::split(Run::shares(*counts), usize::from(SHARES));
        let area = Rect::new(x, y, SHARES, 1);
        let mut at = 0;
        for action in Action::ALL {
            let text = cell::glyph(action).to_string().repeat(widths[action.executions()]);
            at += put(buffer, area, at, 0, &text, app.theme.style(cell::role(action)));
        }
    }
}

/// The cursor's token under its column.
fn caption(app: &App, run: &Run, grid: &Grid, area: Rect, buffer: &mut Buffer) {
    let Some(y) = grid.caption else { return };
    let Some((text, special)) = run.token(app.cursor.token) else {
        return;
    };
    let place = match app.cursor.token.checked_sub(run.prompt_len()) {
        None => format!("prompt token {}", app.cursor.token + 1),
        Some(n) => format!("token {}", n + 1),
    };
    let special = if special { ", special" } else { "" };
    let text = format!("▲ {} {place}{special}", quoted(text));
    let row = Rect::new(grid.cells.x, y, area.right().saturating_sub(grid.cells.x + 2), 1);
    let width = ratatui::text::Line::raw(text.as_str()).width() as u16;
    let x = grid.x(app.cursor.token).map_or(0, |x| x - grid.cells.x);
    let style: Style = app.theme.style(Role::Accent);
    if x + width <= row.width {
        put(buffer, row, x, 0, &text, style);
        return;
    }
    // No room to the right: the words stand to the left of their sign.
    let words = text.trim_start_matches("▲ ");
    let start = x.saturating_sub(width - 1);
    put(
        buffer,
        Rect {
            width: x.saturating_sub(1),
            ..row
        },
        start,
        0,
        words,
        style,
    );
    put(buffer, row, x, 0, "▲", style);
}

/// A token's text between quotes, on one line.
pub(super) fn quoted(text: &str) -> String {
    match text {
        "" => "(part of a character)".to_owned(),
        text => format!("\"{}\"", crate::text::escape_controls(text)),
    }
}
