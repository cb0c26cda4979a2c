//! The map: layers × tokens, with the depth of every token above and the shares of every layer
//! beside it. Only what is in sight is computed.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::action::UiAction;
use super::super::app::{App, Focus, MapMode};
use super::super::diff::first_difference;
use super::super::grid::{Column, GUTTER, Grid, SHARES};
use super::super::run::Run;
use super::super::theme::Role;
use super::super::widgets::bar;
use super::{cell, depths, lens, pane, put, tape, words};
use crate::engine::{KvMode, Scope};
use crate::program::Action;
use crate::router::Pin;

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.focus == Focus::Map;
    let Some(run) = &app.shown else {
        pane::frame(app, area, focused, "Layers × tokens", "", buffer);
        return;
    };
    if app.map.shows_tape() {
        return tape::draw(app, run, area, &how_decided(app, run).join(" · "), buffer);
    }
    let grid = Grid::new(app, run, area);
    let (title, remark) = match app.map.lens {
        true => ("Logit lens: layers × tokens", lens::remark(app)),
        false => ("Layers × tokens", remark(app, run, &grid)),
    };
    pane::frame(app, area, focused, title, &remark, buffer);
    sections(app, run, &grid, buffer);
    depths::draw(app, run, &grid, buffer);
    gutter(app, run, &grid, buffer);
    match app.map.lens {
        true => lens::cells(app, run, &grid, buffer),
        false => cells(app, run, &grid, buffer),
    }
    shares(app, run, &grid, buffer);
    words::draw(app, run, &grid, area, buffer);
}

/// What is in sight, what the cells show, and when it was decided.
fn remark(app: &App, run: &Run, grid: &Grid) -> String {
    let rows = grid.rows().count();
    let last = (grid.first_layer + rows).saturating_sub(1);
    let layers = (rows < grid.layers).then(|| format!("layers {}-{last}", grid.first_layer));
    let parts: Vec<String> = layers.into_iter().chain(how_decided(app, run)).collect();
    parts.join(" · ")
}

/// What the cells show, and when it was decided.
fn how_decided(app: &App, run: &Run) -> Vec<String> {
    let scope = match (run.settings().program.is_some(), run.settings().scope) {
        (true, _) => "fixed program",
        (false, _) if run.trace.header.routers.is_none() => "no routers",
        (false, Scope::Prompt) => "scope prompt: decided once",
        (false, Scope::Token) => "scope token: decided at every token",
    };
    let mode = (app.map.mode != MapMode::Decisions).then(|| app.map.mode.title().to_owned());
    let kv = run.settings().kv;
    let kv = (kv != KvMode::default()).then(|| format!("kv {kv}"));
    mode.into_iter().chain([scope.to_owned()]).chain(kv).collect()
}

/// `prompt` and `answer` over their columns, as many words as there is room for.
fn sections(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    let Some(y) = grid.sections else { return };
    let style = app.theme.style(Role::Muted);
    // Where the unmodified answer parts from this one.
    let base = app.unmodified.as_ref().filter(|_| app.twin);
    let parts = base.and_then(|base| first_difference(base, run));
    let mut label = |from: u16, to: u16, variants: &[&str]| {
        let area = Rect::new(from, y, to.saturating_sub(from), 1);
        let fits = |text: &&&str| text.chars().count() <= usize::from(area.width);
        if let Some(text) = variants.iter().find(fits) {
            put(buffer, area, 0, 0, text, style);
        }
    };
    let answer: Vec<Column> = grid
        .columns(app.cursor.token)
        .filter(|c| c.token >= grid.prompt_len)
        .collect();
    let end = grid.cells.right();
    let prompt_end = grid.separator().or(answer.first().map(|c| c.x)).unwrap_or(end);
    let n = grid.prompt_len;
    if grid.folded {
        label(grid.cells.x, prompt_end, &[&format!("{n}▸"), &n.to_string(), "▸"]);
    } else {
        let prompt = format!("prompt: one program for all {n} tokens");
        label(
            grid.cells.x,
            prompt_end,
            &[&prompt, "prompt: one program", "one program", "prompt"],
        );
    }
    if let (Some(first), Some(last)) = (answer.first(), answer.last()) {
        let tokens = run.steps().len();
        let shown = match (first.token - n, last.token + 1 - n) {
            (0, to) if to == tokens => format!("answer: {tokens} tokens"),
            (from, to) => format!("answer: {} to {to} of {tokens} tokens", from + 1),
        };
        let shown = match parts {
            Some(at) => format!("{shown} · ≠ from token {}", at + 1),
            None => shown,
        };
        let unfold = match (grid.folded, app.keymap.keys_for(UiAction::FoldPrompt, "grid").first()) {
            (true, Some(key)) => format!("{shown} · {key} unfolds the prompt's {n}"),
            _ => shown.clone(),
        };
        label(first.x, end, &[&unfold, &shown, "answer"]);
    }
    if let Some(x) = grid.shares {
        label(x, x + SHARES, &["share"]);
    }
    let free = |x: &u16| buffer[(*x, y)].symbol() == " ";
    if let Some(x) = parts.and_then(|first| grid.x(n + first)).filter(free) {
        buffer[(x, y)].set_char('≠').set_style(app.theme.style(Role::Disagree));
    }
}

/// Layer numbers, those of a loop's iterations bracketed, with the letter of a pin of the whole layer.
fn gutter(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    for (layer, y) in grid.rows() {
        let area = Rect::new(grid.cells.x.saturating_sub(GUTTER), y, GUTTER, 1);
        let here = layer == app.cursor.layer;
        let number = app.theme.style(if here { Role::Accent } else { Role::Muted });
        let label = match bracket(run, layer).filter(|_| layer < 100) {
            Some(sign) => format!("{sign}{layer:>2}"),
            None => format!("{layer:>3}"),
        };
        put(buffer, area, 0, 0, &label, number);
        let whole = |p: &&Pin| p.layer == layer && p.positions.is_none();
        let settled = app.settled().pins.iter().rev().find(whole);
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

/// The part of the bracket around a loop's iteration that stands before a layer; later layers stand above.
fn bracket(run: &Run, layer: usize) -> Option<char> {
    let looped = run.looped()?;
    let iteration = looped.iteration(looped.execution(layer).1?);
    Some(match layer {
        _ if iteration.len() == 1 => '╶',
        l if l == iteration.start => '╰',
        l if l + 1 == iteration.end => '╭',
        _ => '│',
    })
}

fn cells(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    let (layers, positions) = app.selection();
    let marked = |layer: usize, token: usize| {
        let range = positions.filter(|_| app.mark.is_some());
        layers.contains(&layer) && range.is_some_and(|(from, to)| (from..=to).contains(&token))
    };
    for (layer, y) in grid.rows() {
        for Column { token, x, width } in grid.columns(app.cursor.token) {
            let here = layer == app.cursor.layer && token == app.cursor.token;
            let over = match here {
                true => app.theme.style(Role::Cursor),
                false if marked(layer, token) => app.theme.style(Role::Selection),
                false => Style::new(),
            };
            let look = cell::look(app, run, layer, token);
            for (x, (glyph, style)) in (x..).zip(look.columns(width)) {
                buffer[(x, y)].set_char(glyph).set_style(style.patch(over));
            }
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
            at += put(buffer, area, at, 0, &text, cell::glyph_style(&app.theme, action));
        }
    }
}

/// A token's text between quotes, on one line.
pub(super) fn quoted(text: &str) -> String {
    match text {
        "" => "(part of a character)".to_owned(),
        text => format!("\"{}\"", crate::text::escape_controls(text)),
    }
}
