//! The programs that a predictor proposed, best first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::layout::inner;
use super::super::theme::Role;
use super::super::widgets::flow::fit;
use super::{pane, put};

/// Columns before the program.
const BEFORE: u16 = 27;

pub(in crate::tui) fn draw(app: &App, row: usize, body: Rect, buffer: &mut Buffer) {
    let key = |action| {
        app.ui
            .keymap
            .keys_for(action, "overlay")
            .into_iter()
            .next()
            .unwrap_or_default()
    };
    let remark = format!("{} runs and compares", key(UiAction::Accept));
    pane::dialog(app, body, "Programs that the predictor proposed", &remark, buffer);
    let area = inner(body);
    let style = |role| app.ui.theme.style(role);
    put(buffer, area, 3, 0, " #   score  depth  program", style(Role::Muted));
    let ran = app.shown.as_ref().map(|run| &run.trace.header.program);
    for (y, (index, candidate)) in (1..area.height).zip(app.candidates().iter().enumerate()) {
        let here = index == row;
        let role = if here { Role::Accent } else { Role::Text };
        let mark = match (here, Some(&candidate.program) == ran) {
            (true, true) => "▸●",
            (true, false) => "▸ ",
            (false, true) => " ●",
            (false, false) => "  ",
        };
        let facts = format!(
            "{mark} {:>2}  {:>6.2}  {:>5}",
            index + 1,
            candidate.score,
            candidate.program.depth()
        );
        put(buffer, area, 0, y, &facts, style(role));
        let room = usize::from(area.width.saturating_sub(BEFORE - 4));
        let text = match candidate.program.is_empty() {
            true => "(empty)".to_owned(),
            false => candidate.program.to_string(),
        };
        put(buffer, area, BEFORE - 4, y, &fit(&text, room), style(role));
    }
    let below = app.candidates().len() as u16 + 2;
    if below < area.height {
        let text = "score: summed log-probability of the segments' actions; ●: what ran";
        let room = usize::from(area.width);
        put(buffer, area, 0, below, &fit(text, room), style(Role::Muted));
    }
}
