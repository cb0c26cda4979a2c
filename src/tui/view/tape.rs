//! The tape: a line a token, its layers from first to last, its depth and the layers it saved.

use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Widget;

use super::super::app::{App, Focus};
use super::super::run::Run;
use super::super::tape::{DEPTH, Row, Tape};
use super::super::theme::Role;
use super::answer::TokenStyles;
use super::{cell, pane, put};
use crate::text::escape_controls;

/// Layers between two numbers of the scale.
const SCALE: usize = 5;

pub(super) fn draw(app: &App, run: &Run, area: Rect, remark: &str, buffer: &mut Buffer) {
    let focused = app.focus == Focus::Map;
    pane::frame(app, area, focused, "Tokens × layers", remark, buffer);
    let tape = Tape::new(app, run, area);
    scale(app, &tape, buffer);
    let styles = TokenStyles::new(app, run);
    for (row, y) in tape.rows() {
        let token = match row {
            Row::Prompt => run.prompt_len().saturating_sub(1),
            Row::Token(position) => position,
        };
        let here = match row {
            Row::Prompt => app.cursor.token < run.prompt_len(),
            Row::Token(position) => app.cursor.token == position,
        };
        let text = match row {
            Row::Prompt => format!("prompt ×{}", run.prompt_len()),
            Row::Token(position) => word(run, position),
        };
        let label = Rect::new(tape.area.x, y, tape.text, 1);
        let style = match here {
            true => app.theme.style(Role::Cursor),
            false => styles.plain(token),
        };
        Line::styled(super::fit(&text, usize::from(tape.text)), style)
            .alignment(Alignment::Right)
            .render(label, buffer);
        layers(app, run, &tape, token, y, buffer);
        depth(app, run, &tape, token, y, buffer);
    }
}

/// A token's text on one line: spaces at its ends left out, line ends as signs.
fn word(run: &Run, position: usize) -> String {
    run.token(position).map_or("…".to_owned(), |(text, _)| one_line(text))
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

/// Every fifth layer's number, and a mark over the selected one.
fn scale(app: &App, tape: &Tape, buffer: &mut Buffer) {
    let Some(y) = tape.scale else { return };
    let row = Rect::new(tape.area.x, y, tape.area.width, 1);
    for (layer, x) in tape.columns() {
        if layer % SCALE == 0 {
            put(
                buffer,
                row,
                x - row.x,
                0,
                &layer.to_string(),
                app.theme.style(Role::Muted),
            );
        }
    }
    let selected = tape.columns().find(|(layer, _)| *layer == app.cursor.layer);
    if let Some((layer, x)) = selected {
        put(
            buffer,
            row,
            x - row.x,
            0,
            &layer.to_string(),
            app.theme.style(Role::Accent),
        );
    }
    let end = tape.end();
    let style = app.theme.style(Role::Muted);
    put(
        buffer,
        row,
        end + 1 - row.x,
        0,
        if tape.bar >= 6 { "ran saved" } else { "" },
        style,
    );
}

fn layers(app: &App, run: &Run, tape: &Tape, token: usize, y: u16, buffer: &mut Buffer) {
    let (marked_layers, positions) = app.selection();
    let marked = |layer: usize| {
        let range = positions.filter(|_| app.mark.is_some());
        marked_layers.contains(&layer) && range.is_some_and(|(from, to)| (from..=to).contains(&token))
    };
    for (layer, x) in tape.columns() {
        let over = match layer == app.cursor.layer && token == app.cursor.token {
            true => app.theme.style(Role::Cursor),
            false if marked(layer) => app.theme.style(Role::Selection),
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
    let style = app.theme.style(if depth == all { Role::Muted } else { Role::Text });
    put(buffer, area, 0, 0, &format!("{depth:>3}"), style);
    if tape.bar == 0 || depth == all {
        return;
    }
    let (sign, role, count) = match all.checked_sub(depth) {
        Some(saved) => ('▂', Role::Skip, saved),
        None => ('▆', Role::Repeat, depth - all),
    };
    let width = usize::from(tape.bar.saturating_sub(1));
    let text: String = std::iter::repeat_n(sign, count.min(width)).collect();
    put(buffer, area, DEPTH, 0, &text, app.theme.style(role));
}
