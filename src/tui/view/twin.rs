//! The unmodified model's answer under the routed one: what both say first, the first token that differs marked.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::super::app::App;
use super::super::diff::first_difference;
use super::super::layout::inner;
use super::super::lines::pieces;
use super::super::run::{Run, RunProgress};
use super::super::theme::Role;
use super::super::widgets::flow::{flow, wrap};
use super::pane::InSight;
use super::{pane, put};
use crate::text::escape_controls;

pub(super) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(shown) = &app.shown else { return };
    let base = app.unmodified.as_ref();
    let title = format!("Unmodified: all {} layers", shown.layers());
    pane::frame(app, area, false, &title, &remark(app, shown, base), buffer);
    let pane = area;
    let area = inner(pane);
    let Some(base) = base else {
        let why = app.twin_waits().unwrap_or_default();
        for (y, line) in (0..area.height).zip(wrap(&escape_controls(&why), area.width)) {
            put(buffer, area, 0, y, &line, app.ui.theme.style(Role::Muted));
        }
        return;
    };
    let parts = first_difference(base, shown);
    // The token at the cursor's place in the answer.
    let here = app.ui.cursor.token.checked_sub(shown.prompt_len());
    let key = |n: usize| base.prompt_len() + n;
    let lines = flow(pieces(base, false, base.prompt_len()), area.width, None);
    let wanted = here.map_or(0, key).min(base.tokens().saturating_sub(1));
    let row = lines
        .iter()
        .position(|line| line.last().is_some_and(|g| g.key >= wanted));
    let height = usize::from(area.height).max(1);
    let end = lines.len().saturating_sub(height);
    let row = row.or(lines.iter().rposition(|line| !line.is_empty()));
    let top = row.unwrap_or(0).saturating_sub(height / 2).min(end);
    let at = InSight {
        first: top,
        seen: height.min(lines.len() - top.min(lines.len())),
        all: lines.len(),
    };
    pane::position_mark(app, pane, true, at, buffer);
    for (y, line) in (0..area.height).zip(lines.iter().skip(top)) {
        let mut x = 0;
        for glyph in line {
            let n = glyph.key - base.prompt_len();
            let style = match parts {
                Some(first) if n == first => marked(app, Role::Removed),
                Some(first) if n > first => app.ui.theme.style(Role::Text),
                _ => app.ui.theme.style(Role::Muted),
            };
            let style = match Some(n) == here {
                true => style.patch(app.ui.theme.style(Role::Selection)),
                false => style,
            };
            x += put(buffer, area, x, y, &glyph.text, style);
        }
    }
}

/// The first token that differs; told by a line under it where there are no colours.
pub(super) fn marked(app: &App, role: Role) -> Style {
    app.ui
        .theme
        .style(role)
        .add_modifier(Modifier::UNDERLINED | Modifier::BOLD)
}

/// How the answers compare, or why that is not known yet.
fn remark(app: &App, shown: &Run, base: Option<&Run>) -> String {
    let Some(base) = base else {
        return match app.twin_waits() {
            // It stands in the pane, where it can be read to its end.
            Some(_) => String::new(),
            None => "reading the prompt…".to_owned(),
        };
    };
    let going = match base.progress {
        RunProgress::Running => format!(" · {}/{}", base.steps().len(), base.settings().max_tokens),
        RunProgress::Failed(_) => " · failed".to_owned(),
        RunProgress::Finished => String::new(),
    };
    let (same, all) = (
        first_difference(base, shown),
        base.steps().len().min(shown.steps().len()),
    );
    match same {
        Some(0) => format!("differs from the first token on{going}"),
        Some(n) => format!("differs from token {} on{going}", n + 1),
        None if base.is_running() || shown.is_running() || shown.is_partway() => {
            format!("same so far, {all} tokens{going}")
        }
        None => format!("the same {all} tokens{going}"),
    }
}
