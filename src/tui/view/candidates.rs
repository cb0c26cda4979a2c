//! The programs that a predictor proposed, best first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::layout::inner;
use super::super::run::Run;
use super::super::theme::Role;
use super::super::widgets::flow::fit;
use super::detail::layer_range;
use super::{pane, put};

/// Rows between the programs' legend and the segments' names, and these.
const ABOVE: u16 = 3;

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
    let below = Rect {
        y: area.y + below.min(area.height),
        height: area.height.saturating_sub(below),
        ..area
    };
    segments(app, below, buffer);
}

/// What the predictor said of each segment, as far as there is room: its layers, how likely it begins there, and the
/// probabilities of its actions.
fn segments(app: &App, area: Rect, buffer: &mut Buffer) {
    let proposing = |run: &&Run| run.candidates() == app.candidates() && !run.trace.header.boundaries.is_empty();
    let Some(run) = [&app.shown, &app.previous].into_iter().flatten().find(proposing) else {
        return;
    };
    let all = run.segments();
    let room = usize::from(area.height.saturating_sub(ABOVE));
    if room == 0 {
        return;
    }
    let shown = if all.len() > room { room - 1 } else { all.len() };
    let style = |role| app.ui.theme.style(role);
    let head = " segment  begins    skip execute  repeat";
    put(buffer, area, 3, ABOVE - 1, head, style(Role::Muted));
    for (y, &(start, length)) in (ABOVE..).zip(&all[..shown]) {
        let header = &run.trace.header;
        let probs = header.decisions.get(start).and_then(|decision| decision.probs);
        let [skip, execute, repeat] = probs.unwrap_or_default();
        let begins = header.boundaries[start];
        let layers = layer_range(start, length);
        let text = format!("{layers:>8}  {begins:>6.3}  {skip:>6.3}  {execute:>6.3}  {repeat:>6.3}");
        put(buffer, area, 3, y, &text, style(Role::Text));
    }
    if shown < all.len() {
        let more = format!("… {} more: the detail beside the map has each", all.len() - shown);
        put(buffer, area, 3, ABOVE + shown as u16, &more, style(Role::Muted));
    }
}
