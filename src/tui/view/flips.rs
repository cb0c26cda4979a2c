//! The least confident decisions, and what the selected one changes when it is taken otherwise.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::inside::{FlipDialog, Flippable, PendingQuestion};
use super::super::layout::inner;
use super::super::overrides::plural;
use super::super::run::Run;
use super::super::theme::Role;
use super::super::widgets::bar;
use super::super::widgets::flow::{fit, flow};
use super::inside::{closes, refused};
use super::map::quoted;
use super::{cell, pane, put};
use crate::engine::Flip;
use crate::engine::flip::all_else as all_else_of;
use crate::text::escape_controls;

/// Rows of the result, rule and the line of what else changes included, and of its head.
const RESULT: u16 = 12;
const HEAD: u16 = 3;

/// Columns of a token's text and of a bar.
const TOKEN: usize = 18;
const BAR: usize = 14;

pub(in crate::tui) fn draw(app: &App, dialog: &FlipDialog, body: Rect, buffer: &mut Buffer) {
    pane::dialog(
        app,
        body,
        "Flip: the least confident decisions first",
        &closes(app),
        buffer,
    );
    let area = inner(body);
    let Some(run) = &app.shown else { return };
    let result = RESULT.min(area.height / 2);
    let list = Rect {
        height: area.height.saturating_sub(result),
        ..area
    };
    let height = usize::from(list.height.saturating_sub(1)).max(1);
    let top = (dialog.row + 1).saturating_sub(height);
    put(
        buffer,
        list,
        2,
        0,
        "margin  layer  token",
        app.ui.theme.style(Role::Muted),
    );
    for (y, (i, flippable)) in (1..list.height).zip(dialog.rows.iter().enumerate().skip(top)) {
        draw_row(app, run, flippable, i, i == dialog.row, list, y, buffer);
    }
    let rule = "─".repeat(usize::from(area.width));
    put(buffer, area, 0, list.height, &rule, app.ui.theme.style(Role::Border));
    let area = Rect {
        y: list.bottom() + 1,
        height: result.saturating_sub(1),
        ..area
    };
    put(
        buffer,
        area,
        0,
        0,
        &all_else(app, dialog),
        app.ui.theme.style(Role::Muted),
    );
    let area = Rect {
        y: area.y + 1,
        height: area.height.saturating_sub(1),
        ..area
    };
    match &dialog.flip {
        None => hint(app, area, buffer),
        Some(PendingQuestion::Waiting(_)) => {
            put(
                buffer,
                area,
                0,
                0,
                "running this token otherwise…",
                app.ui.theme.style(Role::Muted),
            );
        }
        Some(PendingQuestion::Refused(why)) => refused(app, why, area, buffer),
        Some(PendingQuestion::Here(flip)) => draw_flip(app, run, flip, area, buffer),
    }
}

#[allow(clippy::too_many_arguments)]
fn draw_row(app: &App, run: &Run, row: &Flippable, i: usize, here: bool, area: Rect, y: u16, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let role = if here { Role::Accent } else { Role::Text };
    let margin = row.margin.map_or("  -  ".to_owned(), |m| format!("{m:.3}"));
    let place = match row.position < run.prompt_len() {
        true => "the prompt".to_owned(),
        false => {
            let text = run.token(row.position).map_or(String::new(), |(text, _)| quoted(text));
            format!("{:>4} {text}", row.position + 1 - run.prompt_len())
        }
    };
    let mark = if here { "▸ " } else { "  " };
    let mut x = put(buffer, area, 0, y, mark, style(role));
    let text = format!("{margin}   {:>4}   {}", row.layer, fit(&place, 24));
    x += put(buffer, area, x, y, &text, style(role));
    x = x.max(46);
    for (i, action) in [row.from, row.to].into_iter().enumerate() {
        if i > 0 {
            x += put(buffer, area, x, y, " → ", style(Role::Muted));
        }
        let look = app.ui.theme.confidence(cell::role(action), 1.0);
        x += put(
            buffer,
            area,
            x,
            y,
            &format!("{} {action}", cell::glyph(app, action)),
            look,
        );
    }
    if i == 0 {
        put(buffer, area, x, y, "  here", style(Role::Muted));
    }
}

/// What becomes of everything else, and the key that changes that.
fn all_else(app: &App, dialog: &FlipDialog) -> String {
    let flip = dialog.flip.as_ref().and_then(PendingQuestion::here);
    let now = all_else_of(flip.map_or(dialog.frozen, |flip| flip.frozen));
    if let Some(note) = flip.and_then(|flip| flip.note.as_deref()) {
        return format!("{now}: {}", escape_controls(note));
    }
    let keys = app.ui.keymap.keys_for(UiAction::Freeze, "overlay");
    match keys.first() {
        Some(key) => format!("{now}   ({key}: {})", all_else_of(!dialog.frozen)),
        None => now.to_owned(),
    }
}

/// The keys that do something here.
fn hint(app: &App, area: Rect, buffer: &mut Buffer) {
    let key = |action| {
        app.ui
            .keymap
            .keys_for(action, "overlay")
            .into_iter()
            .next()
            .unwrap_or_default()
    };
    let text = format!(
        "{} tries the alternative on the spot, {} turns to the other one, {} reruns with it from that token on",
        key(UiAction::Accept),
        key(UiAction::Toggle),
        key(UiAction::Branch)
    );
    for (y, line) in (0..area.height).zip(flow([(0, text.as_str())].into_iter(), area.width, None)) {
        let text: String = line.iter().map(|g| g.text.as_ref()).collect();
        put(buffer, area, 0, y, &text, app.ui.theme.style(Role::Muted));
    }
}

fn draw_flip(app: &App, run: &Run, flip: &Flip, area: Rect, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let others = match flip.others {
        _ if flip.frozen => String::new(),
        0 => "no other layer changes".to_owned(),
        n => format!("{n} other layer{} change{}", plural(n), if n == 1 { "s" } else { "" }),
    };
    let head = format!(
        "KL {:.4} nats   entropy {:.2} → {:.2}   depth {} of {}   {others}",
        flip.kl,
        flip.entropy.0,
        flip.entropy.1,
        flip.program.depth(),
        run.layers()
    );
    put(buffer, area, 0, 0, &head, style(Role::Accent));
    let columns = |name: &str| format!("{name:<w$}", w = BAR + 8);
    let names = format!("{:TOKEN$}{}{}", "next token", columns("as it ran"), columns("flipped"));
    put(buffer, area, 0, 1, &names, style(Role::Muted));
    for (y, shift) in (HEAD - 1..area.height).zip(&flip.shifts) {
        let text = fit(&quoted(&shift.text), TOKEN - 2);
        put(buffer, area, 0, y, &text, style(Role::Text));
        let mut x = TOKEN as u16;
        for (p, role) in [(shift.before, Role::Removed), (shift.after, Role::Added)] {
            put(buffer, area, x, y, &bar::horizontal(f64::from(p), BAR), bars(app, role));
            put(
                buffer,
                area,
                x + BAR as u16 + 1,
                y,
                &format!("{p:.3}"),
                style(Role::Text),
            );
            x += BAR as u16 + 8;
        }
        let change = format!("{:+.3}", shift.after - shift.before);
        put(buffer, area, x, y, &change, style(Role::Muted));
    }
}

/// A role's colour without what would hide a bar's end.
pub(super) fn bars(app: &App, role: Role) -> Style {
    let style = app.ui.theme.style(role);
    Style {
        add_modifier: ratatui::style::Modifier::empty(),
        ..style
    }
}
