//! The map: layers × tokens, with the depth of every token above and the shares of every layer
//! beside it. Only what is in sight is computed.

use std::ops::{Range, RangeInclusive};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::diff::first_difference;
use super::super::grid::{Column, GUTTER, Grid, SHARES};
use super::super::run::Run;
use super::super::theme::Role;
use super::super::ui::{Focus, MapMode};
use super::super::widgets::bar;
use super::pane::InSight;
use super::{cell, depths, lens, pane, put, stacked, tape, words};
use crate::program::Action;
use crate::trace::{KvMode, Pin, Scope};

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let focused = app.ui.focus == Focus::Map;
    let Some(run) = &app.shown else {
        pane::frame(app, area, focused, "Layers × tokens", "", buffer);
        return;
    };
    if app.ui.map.shows_tape() {
        return tape::draw(app, run, area, &how_decided(app, run).join(" · "), buffer);
    }
    let grid = Grid::new(app, run, area);
    let (title, remark) = match app.ui.map.lens {
        true => (lens::title(app), lens::remark(app, area.width)),
        false => ("Layers × tokens", remark(app, run, &grid)),
    };
    pane::frame(app, area, focused, title, &remark, buffer);
    let in_answer = |token: &usize| !grid.folded || *token >= grid.prompt_len;
    let tokens = grid.columns(app.ui.cursor.token).map(|column| column.token);
    let at = InSight {
        first: grid.first_token - if grid.folded { grid.prompt_len } else { 0 },
        seen: tokens.filter(in_answer).count(),
        all: grid.tokens - if grid.folded { grid.prompt_len } else { 0 },
    };
    pane::position_mark(app, area, false, at, buffer);
    sections(app, run, &grid, buffer);
    depths::draw(app, run, &grid, buffer);
    gutter(app, run, &grid, buffer);
    match app.ui.map.lens {
        true => {
            lens::cells(app, run, &grid, buffer);
            lens::reason(app, &grid, area.width, buffer);
        }
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
    let stacked = (grid.stacked > 1).then(|| "two layers a line".to_owned());
    let parts = layers.into_iter().chain(stacked).chain(how_decided(app, run));
    let parts: Vec<String> = parts.collect();
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
    let mode = (app.ui.map.mode != MapMode::Decisions).then(|| app.ui.map.mode.title().to_owned());
    let kv = run.settings().kv;
    let kv = (kv != KvMode::default()).then(|| format!("kv {kv}"));
    mode.into_iter().chain([scope.to_owned()]).chain(kv).collect()
}

/// `prompt` and `answer` over their columns, as many words as there is room for.
fn sections(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    let Some(y) = grid.sections else { return };
    let style = app.ui.theme.style(Role::Muted);
    // Where the unmodified answer parts from this one.
    let base = app.unmodified.as_ref().filter(|_| app.ui.twin);
    let parts = base.and_then(|base| first_difference(base, run));
    let mut label = |from: u16, to: u16, variants: &[&str]| {
        let area = Rect::new(from, y, to.saturating_sub(from), 1);
        let fits = |text: &&&str| text.chars().count() <= usize::from(area.width);
        if let Some(text) = variants.iter().find(fits) {
            put(buffer, area, 0, 0, text, style);
        }
    };
    let answer: Vec<Column> = grid
        .columns(app.ui.cursor.token)
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
        let unfold = match (
            grid.folded,
            app.ui.keymap.keys_for(UiAction::FoldPrompt, "grid").first(),
        ) {
            (true, Some(key)) => format!("{shown} · {key} unfolds the prompt's {n}"),
            _ => shown.clone(),
        };
        label(first.x, end, &[&unfold, &shown, "answer"]);
    }
    if let Some(x) = grid.shares {
        let name = if app.ui.screen_reader { "skipped" } else { "share" };
        label(x, x + SHARES, &[name]);
    }
    let free = |x: &u16| buffer[(*x, y)].symbol() == " ";
    if let Some(x) = parts.and_then(|first| grid.x(n + first)).filter(free) {
        buffer[(x, y)]
            .set_char('≠')
            .set_style(app.ui.theme.style(Role::Disagree));
    }
}

/// Layer numbers, those of a loop's iterations bracketed, with the letter of a pin of the whole layer. A line of two
/// layers has the number of its lower one, or of the cursor's.
fn gutter(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    let loops = run.loops(app.ui.cursor.token);
    for (line, y) in grid.lines() {
        let area = Rect::new(grid.cells.x.saturating_sub(GUTTER), y, GUTTER, 1);
        let here = line.contains(&app.ui.cursor.layer);
        let layer = if here { app.ui.cursor.layer } else { line.start };
        let number = app.ui.theme.style(if here { Role::Accent } else { Role::Muted });
        let label = match bracket(run, &loops, line.clone()).filter(|_| layer < 100) {
            Some(sign) => format!("{sign}{layer:>2}"),
            None => format!("{layer:>3}"),
        };
        put(buffer, area, 0, 0, &label, number);
        let (sign, style) = match line.rev().find_map(|layer| layer_pin(app, layer)) {
            Some(pin) => pin,
            None if here => ('▸', number),
            None => (' ', number),
        };
        put(buffer, area, 3, 0, &sign.to_string(), style);
    }
}

/// The letter of a layer's pin for all tokens, as the next run will have it.
fn layer_pin(app: &App, layer: usize) -> Option<(char, Style)> {
    let whole = |p: &&Pin| p.layer == layer && p.positions.is_none();
    let settled = app.settled().pins.iter().rev().find(whole);
    let pin = app.layer_pin(layer)?;
    Some(match settled.is_some_and(|was| was.action == pin.action) {
        true => (cell::letter(pin.action, true), app.ui.theme.style(Role::Pin)),
        false => (cell::letter(pin.action, false), cell::waiting(&app.ui.theme)),
    })
}

/// The part of the bracket around a loop's iteration, or around one of `loops`, that stands before a line of layers; later
/// layers stand above.
fn bracket(run: &Run, loops: &[(RangeInclusive<usize>, usize)], line: Range<usize>) -> Option<char> {
    let (first, last) = match run.looped() {
        Some(looped) => {
            let inside = |layer: usize| Some(looped.iteration(looped.execution(layer).1?));
            let iteration = inside(line.start).or(inside(line.end - 1))?;
            (iteration.start, iteration.end)
        }
        None => {
            let meets = |layers: &RangeInclusive<usize>| *layers.start() < line.end && line.start <= *layers.end();
            let (layers, _) = loops.iter().find(|(layers, _)| meets(layers))?;
            (*layers.start(), layers.end() + 1)
        }
    };
    Some(match (first >= line.start, last <= line.end) {
        (true, true) => '╶',
        (true, false) => '╰',
        (false, true) => '╭',
        (false, false) => '│',
    })
}

fn cells(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    let (layers, positions) = app.selection();
    let marked = |layer: usize, token: usize| {
        let range = positions.filter(|_| app.ui.mark.is_some());
        layers.contains(&layer) && range.is_some_and(|(from, to)| (from..=to).contains(&token))
    };
    for (line, y) in grid.lines() {
        for Column { token, x, width } in grid.columns(app.ui.cursor.token) {
            let over = |layer: usize| match layer == app.ui.cursor.layer && token == app.ui.cursor.token {
                true => app.ui.theme.style(Role::Cursor),
                false if marked(layer, token) => app.ui.theme.style(Role::Selection),
                false => Style::new(),
            };
            let (look, over) = match grid.stacked {
                1 => (cell::look(app, run, line.start, token), over(line.start)),
                _ => (stacked::look(app, run, line.clone(), token, over), Style::new()),
            };
            for (x, (glyph, style)) in (x..).zip(look.columns(width)) {
                buffer[(x, y)].set_char(glyph).set_style(style.patch(over));
            }
        }
    }
    if let Some(x) = grid.separator() {
        for y in grid.depth.top()..grid.cells.bottom() {
            buffer[(x, y)].set_char('│').set_style(app.ui.theme.style(Role::Border));
        }
    }
}

/// Each layer's actions over the answer, as a stacked bar in the glyphs of the cells.
fn shares(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    let Some(x) = grid.shares else { return };
    let counts = run.layer_counts();
    for (line, y) in grid.lines() {
        let of_layers = counts.get(line).unwrap_or_default();
        let Some(counts) = of_layers
            .iter()
            .copied()
            .reduce(|a, b| std::array::from_fn(|i| a[i] + b[i]))
        else {
            continue;
        };
        let area = Rect::new(x, y, SHARES, 1);
        if app.ui.screen_reader {
            let share = 100.0 * Run::shares(counts)[Action::Skip.executions()];
            put(
                buffer,
                area,
                0,
                0,
                &format!("{share:>3.0} %"),
                app.ui.theme.style(Role::Text),
            );
            continue;
        }
        let widths = bar::split(Run::shares(counts), usize::from(SHARES));
        let mut at = 0;
        for action in Action::ALL {
            let text = cell::glyph(app, action).to_string().repeat(widths[action.executions()]);
            at += put(buffer, area, at, 0, &text, cell::glyph_style(&app.ui.theme, action));
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
