//! The tape: a line a token, its layers from first to last, its depth and the layers it saved.

use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Widget;

use super::super::app::App;
use super::super::run::Run;
use super::super::tape::{DEPTH, Tape, TapeRow};
use super::super::theme::Role;
use super::super::ui::Focus;
use super::answer::TokenStyles;
use super::pane::InSight;
use super::{cell, pane, put, words};
use crate::text::escape_controls;
use crate::trace::Candidate;

/// Most candidates for the next token, and columns of a candidate's text.
const NEXT: usize = 3;
const WORD: usize = 9;

/// Layers between two numbers of the scale.
const SCALE: usize = 5;

pub(super) fn draw(app: &App, run: &Run, area: Rect, remark: &str, buffer: &mut Buffer) {
    let focused = app.ui.focus == Focus::Map;
    pane::frame(app, area, focused, "Tape: tokens × layers", remark, buffer);
    let tape = Tape::new(app, run, area);
    let at = InSight {
        first: tape.top,
        seen: tape.rows().count(),
        all: tape.lines(),
    };
    pane::position_mark(app, area, true, at, buffer);
    let says_next = run.steps().last().is_some_and(|step| !step.next.is_empty());
    scale(app, run, &tape, says_next, buffer);
    let styles = TokenStyles::new(app, run);
    for (row, y) in tape.rows() {
        let token = match row {
            TapeRow::Prompt => run.prompt_len().saturating_sub(1),
            TapeRow::Token(position) => position,
        };
        let here = match row {
            TapeRow::Prompt => app.ui.cursor.token < run.prompt_len(),
            TapeRow::Token(position) => app.ui.cursor.token == position,
        };
        let text = match row {
            TapeRow::Prompt => format!("prompt ×{}", run.prompt_len()),
            TapeRow::Token(position) => word(run, position),
        };
        let label = Rect::new(tape.area.x, y, tape.text, 1);
        let style = match here {
            true => app.ui.theme.style(Role::Cursor),
            false => styles.plain(token),
        };
        Line::styled(super::fit(&text, usize::from(tape.text)), style)
            .alignment(Alignment::Right)
            .render(label, buffer);
        layers(app, run, &tape, token, y, buffer);
        depth(app, run, &tape, token, y, buffer);
        if tape.next > 0 {
            let area = Rect::new(tape.end() + DEPTH + tape.bar, y, tape.next, 1);
            match app.ui.twin {
                true => unmodified(app, run, token, area, buffer),
                false => next(app, run, token, area, buffer),
            }
        }
    }
}

/// A token's text on one line: spaces at its ends left out, line ends as signs.
fn word(run: &Run, position: usize) -> String {
    words::told(run, position).map_or("…".to_owned(), |text| one_line(&text))
}

/// The likeliest tokens after this one, as many as there is room for.
fn next(app: &App, run: &Run, token: usize, area: Rect, buffer: &mut Buffer) {
    let own = run.next(token);
    let seen = app.lens.of(run.id, token).map(|seen| seen.next.top.as_slice());
    let candidates = if own.is_empty() { seen.unwrap_or_default() } else { own };
    let Some((first, rest)) = candidates.split_first() else {
        return;
    };
    // The first stand below each other.
    let word = |candidate: &Candidate, width: usize| super::fit(&one_line(&candidate.text), width);
    let room = usize::from(area.width);
    let width = WORD.min(room.saturating_sub(6));
    put(buffer, area, 1, 0, &word(first, width), app.ui.theme.style(Role::Text));
    let muted = app.ui.theme.style(Role::Muted);
    put(
        buffer,
        area,
        width as u16 + 2,
        0,
        &format!("{:.2}", first.probability),
        muted,
    );
    let others = &rest[..rest.len().min(NEXT - 1)];
    let with = others.iter().map(|c| format!("{} {:.2}", word(c, WORD), c.probability));
    let words = others.iter().map(|c| word(c, WORD));
    let variants = [
        with.collect::<Vec<_>>().join("  "),
        words.collect::<Vec<_>>().join("  "),
    ];
    let x = width + 7;
    let fits = |text: &&String| x + Line::raw(text.as_str()).width() <= room;
    if let Some(text) = variants.iter().find(fits).or(variants.last().filter(|_| room >= x + 5)) {
        put(buffer, area, x as u16, 0, text, muted);
    }
}

/// What the unmodified model says at this place of the answer, where it is something else.
fn unmodified(app: &App, run: &Run, token: usize, area: Rect, buffer: &mut Buffer) {
    let (Some(base), Some(n)) = (&app.unmodified, token.checked_sub(run.prompt_len())) else {
        return;
    };
    let Some(there) = base.steps().get(n) else { return };
    if run.step(token).is_some_and(|step| step.id == there.id) {
        put(buffer, area, 1, 0, "=", app.ui.theme.style(Role::Muted));
        return;
    }
    let first = super::super::diff::first_difference(base, run) == Some(n);
    let style = match first {
        true => super::twin::marked(app, Role::Removed),
        false => app.ui.theme.style(Role::Removed),
    };
    let sign = if first { "≠ " } else { "  " };
    let x = 1 + put(buffer, area, 1, 0, sign, app.ui.theme.style(Role::Disagree));
    put(buffer, area, x, 0, &word(base, base.prompt_len() + n), style);
}

/// A text on one line, as [`word`].
pub(super) fn one_line(text: &str) -> String {
    match text {
        "" => "…".to_owned(),
        text if text.chars().all(|c| c.is_whitespace() || c.is_control()) => match text.matches('\n').count() {
            0 => "␣".to_owned(),
            lines => "⏎".repeat(lines.min(4)),
        },
        text => escape_controls(text.trim()),
    }
}

/// Every fifth layer's number, of a looped model the iterations, and a mark over the selected one.
fn scale(app: &App, run: &Run, tape: &Tape, says_next: bool, buffer: &mut Buffer) {
    let Some(y) = tape.scale else { return };
    let row = Rect::new(tape.area.x, y, tape.area.width, 1);
    loop_scale(app, run, tape, row, buffer);
    let in_loop = |layer: usize| run.looped().is_some_and(|l| l.execution(layer).1.is_some());
    for (layer, x) in tape.columns() {
        let is_numbered = match run.looped() {
            Some(looped) => !in_loop(layer) && (layer == 0 || layer == looped.end()),
            None => layer % SCALE == 0,
        };
        if is_numbered {
            put(
                buffer,
                row,
                x - row.x,
                0,
                &layer.to_string(),
                app.ui.theme.style(Role::Muted),
            );
        }
    }
    segments(app, run, tape, row, buffer);
    let selected = tape.columns().find(|(layer, _)| *layer == app.ui.cursor.layer);
    match selected {
        // The number there is the iteration's.
        Some((layer, x)) if in_loop(layer) => {
            let here = Rect::new(x, y, tape.cell, 1).intersection(buffer.area);
            buffer.set_style(here, app.ui.theme.style(Role::Accent));
        }
        Some((layer, x)) => {
            put(
                buffer,
                row,
                x - row.x,
                0,
                &layer.to_string(),
                app.ui.theme.style(Role::Accent),
            );
        }
        None => {}
    }
    let end = tape.end();
    let style = app.ui.theme.style(Role::Muted);
    put(
        buffer,
        row,
        end + 1 - row.x,
        0,
        if tape.bar >= 6 { "ran saved" } else { "" },
        style,
    );
    let heading = match (app.ui.twin, says_next) {
        (true, _) => "unmodified",
        (false, true) => "next",
        (false, false) => "",
    };
    if tape.next > 0 {
        put(buffer, row, end + DEPTH + tape.bar + 1 - row.x, 0, heading, style);
    }
}

/// `├2─┤` over a block of layers that the program of the cursor's token runs twice in a row.
fn segments(app: &App, run: &Run, tape: &Tape, row: Rect, buffer: &mut Buffer) {
    let style = app.ui.theme.style(Role::Repeat);
    for (layers, times) in run.loops(app.ui.cursor.token) {
        let inside = tape.columns().filter(|(layer, _)| layers.contains(layer));
        let inside: Vec<u16> = inside.map(|(_, x)| x).collect();
        let (Some(&from), Some(&last)) = (inside.first(), inside.last()) else {
            continue;
        };
        let Some(between) = usize::from(last + tape.cell - from).checked_sub(2) else {
            continue;
        };
        let times = Some(times.to_string())
            .filter(|times| times.len() <= between)
            .unwrap_or_default();
        let line = "─".repeat(between - times.len());
        put(buffer, row, from - row.x, 0, &format!("├{times}{line}┤"), style);
    }
}

/// `├1──├2──├3──├4──┤` over the executions of a loop.
fn loop_scale(app: &App, run: &Run, tape: &Tape, row: Rect, buffer: &mut Buffer) {
    let Some(looped) = run.looped() else { return };
    let style = app.ui.theme.style(Role::Muted);
    let width = usize::from(tape.cell);
    let iteration = |layer: usize| Some((layer, looped.execution(layer).1?));
    let inside: Vec<_> = tape
        .columns()
        .filter_map(|(layer, x)| Some((iteration(layer)?, x)))
        .collect();
    for (_, x) in &inside {
        put(buffer, row, x - row.x, 0, &"─".repeat(width), style);
    }
    for ((layer, iteration), x) in inside {
        if layer == looped.iteration(iteration).start {
            // A layer a column leaves room for the number alone.
            let mark = if width > 1 { "├" } else { "" };
            put(buffer, row, x - row.x, 0, &format!("{mark}{iteration}"), style);
        }
    }
    let end = tape.columns().find(|(layer, _)| *layer + 1 == looped.end());
    if let Some((_, x)) = end.filter(|_| tape.cell > 1) {
        put(buffer, row, x + tape.cell - 1 - row.x, 0, "┤", style);
    }
}

fn layers(app: &App, run: &Run, tape: &Tape, token: usize, y: u16, buffer: &mut Buffer) {
    let (marked_layers, positions) = app.selection();
    let marked = |layer: usize| {
        let range = positions.filter(|_| app.ui.mark.is_some());
        marked_layers.contains(&layer) && range.is_some_and(|(from, to)| (from..=to).contains(&token))
    };
    for (layer, x) in tape.columns() {
        let over = match layer == app.ui.cursor.layer && token == app.ui.cursor.token {
            true => app.ui.theme.style(Role::Cursor),
            false if marked(layer) => app.ui.theme.style(Role::Selection),
            false => Style::new(),
        };
        let look = cell::look(app, run, layer, token);
        for (x, (glyph, style)) in (x..).zip(look.columns(tape.cell)) {
            buffer[(x, y)].set_char(glyph).set_style(style.patch(over));
        }
    }
}

/// The depth, and a bar of a block a layer that is saved.
fn depth(app: &App, run: &Run, tape: &Tape, token: usize, y: u16, buffer: &mut Buffer) {
    let Some(depth) = run.depth(token) else { return };
    let all = run.layers();
    let area = Rect::new(tape.end(), y, DEPTH + tape.bar, 1);
    let style = app.ui.theme.style(if depth == all { Role::Muted } else { Role::Text });
    put(buffer, area, 0, 0, &format!("{depth:>3}"), style);
    if tape.bar == 0 || depth == all {
        return;
    }
    let (sign, role, count) = match all.checked_sub(depth) {
        Some(saved) => ('▂', Role::Skip, saved),
        None => ('▆', Role::Repeat, depth - all),
    };
    if app.ui.screen_reader {
        let saved = all as i64 - depth as i64;
        put(buffer, area, DEPTH + 1, 0, &saved.to_string(), app.ui.theme.style(role));
        return;
    }
    let width = usize::from(tape.bar.saturating_sub(1));
    let mut text: String = std::iter::repeat_n(sign, count.min(width)).collect();
    if count > width {
        text.pop();
        text.push('+');
    }
    put(buffer, area, DEPTH, 0, &text, app.ui.theme.style(role));
}
