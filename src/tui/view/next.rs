//! The next token of a held run both ways: as it is decided, and with the choice that is tried.
//!
//! ```text
//!  token 37 " blue" 0.62 comes next, whatever is chosen
//!  layer 12            ▓ execute                  · skip
//!  depth               27                         26            2 other layers change
//!  then comes          as decided                 with your choice
//!  " because"          ██████▏        0.62        ███▏           0.41   -0.21
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::inside::{NextDialog, PendingQuestion};
use super::super::layout::{dialog as place, inner};
use super::super::overrides::plural;
use super::super::theme::Role;
use super::super::widgets::bar;
use super::super::widgets::flow::fit;
use super::inside::refused;
use super::map::quoted;
use super::{cell, pane, put};
use crate::engine::Intervention;
use crate::program::Action;

/// Tokens that either way may name.
const ROWS: u16 = 10;

/// Columns: names, a side, a bar.
const NAME: u16 = 20;
const SIDE: u16 = 24;
const BAR: usize = 16;

pub(in crate::tui) fn draw(app: &App, dialog: &NextDialog, body: Rect, buffer: &mut Buffer) {
    let area = place(body, 78, ROWS + 13);
    let layer = app.ui.cursor.layer;
    let title = format!("The next token: layer {layer} to {}", dialog.action);
    pane::dialog(app, area, &title, "the run is held", buffer);
    let area = inner(area);
    let style = |role| app.ui.theme.style(role);
    match &dialog.intervention {
        PendingQuestion::Waiting(_) => {
            put(
                buffer,
                area,
                0,
                0,
                "computing the next token both ways…",
                style(Role::Muted),
            );
        }
        PendingQuestion::Refused(why) => refused(app, why, area, buffer),
        PendingQuestion::Here(intervention) => both_ways(app, dialog, intervention, area, buffer),
    }
    let keys = |action| {
        app.ui
            .keymap
            .keys_for(action, "intervene")
            .into_iter()
            .next()
            .unwrap_or_default()
    };
    let lines = [
        format!(
            "{} {} {} choose what layer {layer} does, {} {} the layer",
            keys(UiAction::PinSkip),
            keys(UiAction::PinExecute),
            keys(UiAction::PinRepeat),
            keys(UiAction::Up),
            keys(UiAction::Down)
        ),
        match dialog
            .intervention
            .here()
            .is_some_and(|intervention| intervention.changes_nothing())
        {
            true => "this is decided already: choose another action, or another layer".to_owned(),
            false => format!(
                "{} goes on with it: a branch, held again behind this token",
                keys(UiAction::Accept)
            ),
        },
        format!(
            "{} goes on without it, one token; {} leaves the run held as it is",
            keys(UiAction::StepToken),
            keys(UiAction::Close)
        ),
    ];
    let foot = Rect {
        y: area.bottom().saturating_sub(lines.len() as u16),
        height: (lines.len() as u16).min(area.height),
        ..area
    };
    for (y, line) in (0..foot.height).zip(&lines) {
        put(buffer, foot, 0, y, line, style(Role::Muted));
    }
}

fn both_ways(app: &App, dialog: &NextDialog, intervention: &Intervention, area: Rect, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let flip = &intervention.flip;
    let prompt = app.shown.as_ref().map_or(0, |run| run.prompt_len());
    let head = format!(
        "token {} is {} ({:.2}) either way; what may follow it:",
        intervention.position + 1 - prompt,
        quoted(&intervention.token.text),
        intervention.token.probability
    );
    put(buffer, area, 0, 0, &head, style(Role::Text));
    let right = NAME + SIDE;
    put(buffer, area, NAME, 2, "as decided", style(Role::Muted));
    put(buffer, area, right, 2, "with your choice", style(Role::Muted));
    put(
        buffer,
        area,
        0,
        3,
        &format!("layer {}", flip.pin.layer),
        style(Role::Muted),
    );
    let mut action = |x: u16, action: Action| {
        let look = app.ui.theme.confidence(cell::role(action), 1.0);
        put(
            buffer,
            area,
            x,
            3,
            &format!("{} {action}", cell::glyph(app, action)),
            look,
        );
    };
    action(NAME, flip.from);
    action(right, dialog.action);
    let (before, after) = (intervention.program.depth(), flip.program.depth());
    put(buffer, area, 0, 4, "depth", style(Role::Muted));
    put(buffer, area, NAME, 4, &before.to_string(), style(Role::Text));
    let others = match flip.others {
        0 => after.to_string(),
        n => format!(
            "{after}, {n} other layer{} change{}",
            plural(n),
            if n == 1 { "s" } else { "" }
        ),
    };
    put(buffer, area, right, 4, &others, style(Role::Text));
    put(buffer, area, 0, 5, "entropy, nats", style(Role::Muted));
    put(
        buffer,
        area,
        NAME,
        5,
        &format!("{:.2}", flip.entropy.0),
        style(Role::Text),
    );
    put(
        buffer,
        area,
        right,
        5,
        &format!("{:.2}", flip.entropy.1),
        style(Role::Text),
    );
    let apart = match flip.from == dialog.action {
        true => "the run does this by itself: nothing changes".to_owned(),
        false => format!("KL {:.4} nats (as decided ‖ with your choice)", flip.kl),
    };
    put(buffer, area, 0, 6, &apart, style(Role::Accent));
    put(buffer, area, 0, 7, "then comes", style(Role::Muted));
    let rows = area.height.saturating_sub(3);
    for (y, shift) in (8..rows).zip(&flip.shifts) {
        let name = fit(&quoted(&shift.text), usize::from(NAME) - 2);
        put(buffer, area, 0, y, &name, style(Role::Text));
        for (x, p, role) in [(NAME, shift.before, Role::Removed), (right, shift.after, Role::Added)] {
            let fill = bar::horizontal(f64::from(p), BAR);
            put(buffer, area, x, y, &fill, super::flips::bars(app, role));
            put(
                buffer,
                area,
                x + BAR as u16 + 1,
                y,
                &format!("{p:.3}"),
                style(Role::Text),
            );
        }
        let change = format!("{:+.3}", shift.after - shift.before);
        put(buffer, area, right + SIDE, y, &change, style(Role::Muted));
    }
}
