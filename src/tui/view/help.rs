//! The help: what the screen shows, and every key from the keymap.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::keymap::KeyAction;
use super::super::layout::{dialog as place, inner};
use super::super::theme::Role;
use super::super::widgets::flow::flow;
use super::{cell, pane, put};
use crate::program::Action;

/// What am I seeing? In a few sentences.
const WHAT: &[&str] = &[
    "A language model is a stack of layers. Here a small router at each layer decides whether it is skipped, run once or run twice.",
    "In the tape a line is a token, its layers from left to right; then come its depth, the layers it saved, and what is likely next. In the map a column is a token and a row is a layer, layer 0 at the bottom. Above it stands each token's depth: how many layers it ran. Beside it stands how often each layer was skipped, run and repeated.",
    "Change the routers' mind: go to a layer, pin it, rerun. The prompt and the seed stay the same, so what changes is your doing. Compare shows what it did.",
    "All prompt tokens share one program. In scope prompt the answer keeps it; in scope token every token has its own.",
];

/// Keymap contexts in the order of the help, and their headings.
const CONTEXTS: [(&str, &str); 12] = [
    ("grid", "in map and detail"),
    ("prompt", "in the prompt"),
    ("answer", "in the answer"),
    ("overlay", "in dialogs"),
    ("intervene", "at the next token of a held run"),
    ("overrides", "in the list of overrides"),
    ("search", "in a search"),
    ("search-form", "in the question of a search"),
    ("loop-map", "in a loop map"),
    ("loop-map-form", "in the settings of a loop map"),
    ("command", "while typing a setting"),
    ("global", "everywhere"),
];

/// Width of one column of keys.
const COLUMN: u16 = 76;
const KEYS: usize = 16;

type Piece = (String, Style);

pub(in crate::tui) fn draw(app: &App, scroll: usize, body: Rect, buffer: &mut Buffer) {
    let columns = if body.width >= 2 * COLUMN + 8 { 2 } else { 1 };
    let wide = COLUMN * columns + 2 * (columns - 1) + 4;
    let room = place(body, wide, body.height);
    let width = inner(room).width.saturating_sub(2 * (columns - 1)) / columns;
    let lines = lines(app, width);
    let rows = lines.len().div_ceil(usize::from(columns));
    let area = place(body, wide, (rows + 2).min(usize::from(u16::MAX)) as u16);
    let height = usize::from(inner(area).height);
    let end = rows.saturating_sub(height);
    let top = scroll.min(end);
    let remark = match end {
        0 => String::new(),
        end => format!("{}-{} of {rows}", top + 1, (top + height).min(end + height)),
    };
    pane::dialog(app, area, "Help", &remark, buffer);
    let area = inner(area);
    for column in 0..columns {
        let part = lines.iter().skip(rows * usize::from(column)).take(rows);
        let own = Rect {
            x: area.x + column * (width + 2),
            width,
            ..area
        };
        for (y, line) in (0..area.height).zip(part.skip(top)) {
            let mut x = 0;
            for (text, style) in line {
                x += put(buffer, own, x, y, text, *style);
            }
        }
    }
}

/// Of a map with two layers a line, what its cells have that others have not.
const HALVES: [(&str, &str); 3] = [
    ("▀", "of two layers the lower skipped"),
    ("▄", "of two layers the upper skipped"),
    ("2", "of two layers one twice"),
];

fn lines(app: &App, width: u16) -> Vec<Vec<Piece>> {
    let style = |role| app.ui.theme.style(role);
    let mut lines = vec![vec![("What am I seeing?".to_owned(), style(Role::Title))]];
    for paragraph in WHAT {
        for line in flow([(0, *paragraph)].into_iter(), width, None) {
            let text = line.iter().map(|g| g.text.as_ref()).collect();
            lines.push(vec![(text, style(Role::Text))]);
        }
    }
    lines.push(Vec::new());
    for (glyph, look, meaning) in cell::legend(app, false) {
        lines.push(vec![
            (format!("  {glyph:<4}"), look),
            (meaning.to_owned(), style(Role::Text)),
        ]);
    }
    if !app.ui.screen_reader {
        let ran = cell::glyph_style(&app.ui.theme, Action::Execute);
        lines.extend(
            HALVES.map(|(glyphs, meaning)| {
                vec![(format!("  {glyphs:<4}"), ran), (meaning.to_owned(), style(Role::Text))]
            }),
        );
    }
    let mut group = "";
    for action in UiAction::ALL {
        let keys = keys(app, *action);
        if keys.is_empty() {
            continue;
        }
        if action.group() != group {
            group = action.group();
            lines.push(Vec::new());
            lines.push(vec![(group.to_owned(), style(Role::Title))]);
        }
        let keys = pad(&keys, KEYS);
        let used = Line::raw(keys.as_str()).width();
        let room = width.saturating_sub(used as u16).max(1);
        for (n, line) in flow([(0, action.description())].into_iter(), room, None)
            .iter()
            .enumerate()
        {
            let text: String = line.iter().map(|g| g.text.as_ref()).collect();
            let keys = if n == 0 { keys.clone() } else { " ".repeat(used) };
            lines.push(vec![(keys, style(Role::KeyBarKey)), (text, style(Role::Text))]);
        }
    }
    lines
}

fn pad(text: &str, width: usize) -> String {
    let used = Line::raw(text).width();
    text.to_owned() + &" ".repeat(width.saturating_sub(used).max(1))
}

/// The keys of an action: those of the first context that has any.
fn keys(app: &App, action: UiAction) -> String {
    let of = |context: &str| app.ui.keymap.keys_for(action, context);
    let found = CONTEXTS
        .iter()
        .map(|(context, _)| of(context))
        .find(|keys| !keys.is_empty());
    found
        .unwrap_or_default()
        .iter()
        .take(3)
        .cloned()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_description_is_there_to_its_end() {
        let app = crate::tui::fixture::app();
        for width in [40, COLUMN] {
            let lines = lines(&app, width);
            for line in &lines {
                let text: String = line.iter().map(|(text, _)| text.as_str()).collect();
                assert!(Line::raw(text.trim_end()).width() <= usize::from(width), "{text}");
            }
            let texts: Vec<&str> = lines.iter().flatten().map(|(text, _)| text.trim()).collect();
            let all = texts.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
            for action in UiAction::ALL {
                assert!(all.contains(action.description()), "{}", action.name());
            }
        }
    }
}
