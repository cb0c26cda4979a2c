//! The choice of another token: what was likely there, or some text.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::super::app::App;
use super::super::inside::{ForceDialog, PendingQuestion, TOP};
use super::super::layout::{dialog as place, inner};
use super::super::theme::Role;
use super::super::widgets::bar;
use super::super::widgets::flow::fit;
use super::inside::refused;
use super::map::quoted;
use super::{line, pane, put};

/// Columns of a token's text and of its bar.
const TOKEN: u16 = 24;
const BAR: u16 = 20;

/// Draws the dialog; where the cursor is.
pub(in crate::tui) fn draw(app: &App, dialog: &ForceDialog, body: Rect, buffer: &mut Buffer) -> Option<Position> {
    let area = place(body, 78, TOP as u16 + 6);
    let there = app
        .shown
        .as_ref()
        .and_then(|run| Some((run.place(dialog.position), run.token(dialog.position)?.0)));
    let title = there.map_or("Another token".to_owned(), |(place, text)| {
        format!("Another token for {place} {}", quoted(text))
    });
    pane::dialog(app, area, &title, "Enter runs on from it", buffer);
    let area = inner(area);
    let typed = Rect {
        height: area.height.min(1),
        ..area
    };
    let cursor = line::draw(app, &dialog.edit, typed, buffer);
    let below = Rect {
        y: area.y + 1,
        height: area.height.saturating_sub(1),
        ..area
    };
    let style = |role| app.ui.theme.style(role);
    let (hint, role) = match &dialog.edit.error {
        Some(error) => (format!("✗ {}", error.message), Role::Error),
        None => (
            "Type its text as it is, spaces too, or choose what was likely:".to_owned(),
            Role::Muted,
        ),
    };
    put(buffer, below, 0, 0, &hint, style(role));
    let list = Rect {
        y: below.y + 2,
        height: below.height.saturating_sub(2),
        ..below
    };
    match &dialog.before {
        PendingQuestion::Waiting(_) => {
            put(buffer, list, 0, 0, "looking at what was likely…", style(Role::Muted));
        }
        PendingQuestion::Refused(why) => refused(app, why, list, buffer),
        PendingQuestion::Here(inspection) => {
            // In a low terminal the list scrolls with its selection.
            let top = (dialog.row + 1).saturating_sub(usize::from(list.height).max(1));
            for (y, (i, candidate)) in (0..list.height).zip(inspection.next.top.iter().enumerate().skip(top)) {
                let here = i == dialog.row && dialog.edit.text.is_empty();
                let role = if here { Role::Accent } else { Role::Text };
                put(buffer, list, 0, y, if here { "▸" } else { " " }, style(role));
                let text = fit(&quoted(&candidate.text), usize::from(TOKEN) - 3);
                put(buffer, list, 2, y, &text, style(role));
                let p = candidate.probability;
                let fill = bar::horizontal(f64::from(p), usize::from(BAR));
                put(buffer, list, TOKEN, y, &fill, style(Role::Gauge));
                put(buffer, list, TOKEN + BAR + 1, y, &format!("{p:.3}"), style(role));
            }
        }
    }
    Some(cursor)
}
