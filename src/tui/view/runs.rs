//! The runs of this session as a tree: branches stand under the run they go on from.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::history;
use super::super::layout::inner;
use super::super::next_run;
use super::super::run::Run;
use super::super::theme::Role;
use super::super::widgets::flow::fit;
use super::map::quoted;
use super::{pane, put};
use crate::text::escape_controls;

/// Characters of what was asked.
const PROMPT: usize = 40;

/// Deepest indentation, in steps of two columns.
const DEEPEST: usize = 8;

pub(in crate::tui) fn draw(app: &App, row: usize, body: Rect, buffer: &mut Buffer) {
    let tree = history::tree(app.runs());
    let key = |action| {
        app.ui
            .keymap
            .keys_for(action, "overlay")
            .into_iter()
            .next()
            .unwrap_or_default()
    };
    let selected = tree.get(row.min(tree.len().saturating_sub(1))).map(|(_, run)| run.id);
    let compares = match selected == app.shown.as_ref().map(|run| run.id) {
        true => String::new(),
        false => format!(", {} compares", key(UiAction::Compare)),
    };
    let remark = format!("{} opens{compares}", key(UiAction::Accept));
    pane::dialog(app, body, "Runs of this session", &remark, buffer);
    let area = inner(body);
    let row = row.min(tree.len().saturating_sub(1));
    // Two lines a run: what it is, and how its answer begins.
    let height = usize::from(area.height / 2).max(1);
    let top = (row + 1).saturating_sub(height);
    for (y, (i, (depth, run))) in (0..area.height).step_by(2).zip(tree.into_iter().enumerate().skip(top)) {
        let line = Rect {
            y: area.y + y,
            height: 2.min(area.height - y),
            ..area
        };
        draw_run(app, run, depth.min(DEEPEST), i == row, line, buffer);
    }
}

fn draw_run(app: &App, run: &Run, depth: usize, here: bool, area: Rect, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let on_screen = app.shown.as_ref().is_some_and(|shown| shown.id == run.id);
    let role = if here { Role::Accent } else { Role::Text };
    let mark = match (here, on_screen) {
        (true, true) => "▸●",
        (true, false) => "▸ ",
        (false, true) => " ●",
        (false, false) => "  ",
    };
    let x = put(buffer, area, 0, 0, mark, style(role));
    let x = x + 1 + 2 * depth as u16;
    let branch = if run.parent.is_some() { "└ " } else { "" };
    let facts = format!(
        "{branch}{} · routers {} · {} tokens · depth {:.1}",
        run.what(),
        escape_controls(next_run::name(run.trace.header.routers.as_ref())),
        run.trace.steps.len(),
        run.trace.mean_depth()
    );
    put(buffer, area, x, 0, &facts, style(role));
    let at = run.parent.map_or(0, |p| p.at.saturating_sub(run.prompt_len()));
    let text: String = run
        .trace
        .steps
        .iter()
        .skip(at)
        .take(40)
        .filter(|s| !s.special)
        .map(|s| s.text.as_str())
        .collect();
    let room = usize::from(area.width.saturating_sub(x + 2));
    let asked: String = run.prompt_text().unwrap_or_default().chars().take(PROMPT).collect();
    let text = match asked.is_empty() {
        true => quoted(&text),
        false => format!("{} → {}", quoted(&asked), quoted(&text)),
    };
    put(buffer, area, x + 2, 1, &fit(&text, room), style(Role::Muted));
}
