//! The loop map: its form, or the triangle of blocks as it fills.
//!
//! ```text
//!  built-in questions: every block of layers twice
//!  ● mapping: question 3 of 24, 58 cells a second
//!  ████▍
//!  standard program: margin 2.193, 2 of 3 right
//!
//!  first\last  0         5         10                         best
//!           0  · · ▒ ▓ ▒ █ · · · · ░                          4-5    +0.846 (+0.522 to +1.323)
//!           1    ▒ ▓ ▓ · · · · · · ·
//!
//!  ▸ layers 4-5 twice: margin +0.846 (+0.522 to +1.323) nats (95 %) on 24 questions, …
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::super::action::UiAction;
use super::super::app::App;
use super::super::describe;
use super::super::layout::{dialog as place, inner};
use super::super::loop_map::{Field, SearchPage, SearchProgress, WatchedLoopMap};
use super::super::theme::Role;
use super::super::ui::Level;
use super::super::widgets::bar;
use super::super::widgets::flow::wrap;
use super::inside::closes;
use super::{line, pane, put};
use crate::search::loop_map::picture::{interval, symbol};
use crate::search::loop_map::report::Shade;

/// Rows above the triangle, and below it.
const HEAD: u16 = 5;
const FOOT: u16 = 5;

/// Columns of the numbers of first layers.
const NUMBERS: u16 = 12;

/// Columns of the list of the best cells, which stands where it has room.
const BEST: u16 = 40;

/// The form's size, and columns of the names of its fields and of a number.
const FORM: (u16, u16) = (92, 16);
const NAME: u16 = 14;
const NUMBER: u16 = 22;

/// What the dialog is for.
const WHAT: &str = "Every block of neighbouring layers is run twice, one block at a time, on each question. Does the \
    model answer better with one of them?";

/// What takes more questions.
const MORE: &str = "`drllm-tui search map` takes more questions and tests what it finds";

/// What the signs mean; without block characters, for screen readers.
const LEGEND: [&str; 2] = [
    "* gains on the other half too, + interval above 0, · holds 0, ░▒▓█ below",
    "* gains on the other half too, + interval above 0, o holds 0, - below",
];

/// Draws the page; where what is typed goes.
pub(in crate::tui) fn draw(app: &App, page: SearchPage, body: Rect, buffer: &mut Buffer) -> Option<Position> {
    match (page, &app.loop_map.watched) {
        (SearchPage::Watch, Some(watched)) => {
            watch(app, watched, body, buffer);
            None
        }
        _ => form(app, body, buffer),
    }
}

fn form(app: &App, body: Rect, buffer: &mut Buffer) -> Option<Position> {
    let form = &app.loop_map.form;
    let area = place(body, FORM.0, FORM.1);
    pane::dialog(app, area, "Loop map", &closes(app), buffer);
    let area = inner(area);
    let style = |role| app.ui.theme.style(role);
    let (text, role) = match &form.error {
        Some(error) => (format!("✗ {error}"), Role::Error),
        None => (WHAT.to_owned(), Role::Muted),
    };
    let mut y = paragraph(
        app,
        &text,
        role,
        Rect {
            height: area.height.min(3),
            ..area
        },
        buffer,
    ) + 1;
    let mut cursor = None;
    for (field, name, edit, hint) in [
        (
            Field::File,
            "File",
            Some(&form.file),
            "questions with choices, JSON lines; empty: the built-in ones",
        ),
        (
            Field::Questions,
            "Questions",
            Some(&form.questions),
            "at most; each runs every block once",
        ),
        (
            Field::Damping,
            "Damping",
            Some(&form.damping),
            "of the second time: 1 a plain repeat, 0.5 half of what it adds",
        ),
        (Field::Start, "", None, ""),
    ] {
        if y >= area.height {
            break;
        }
        let here = form.field == field;
        let role = style(if here { Role::Accent } else { Role::Text });
        put(buffer, area, 0, y, if here { "▸" } else { " " }, role);
        let Some(edit) = edit else {
            put(buffer, area, 2, y, "[ Start ]", role);
            y += 2;
            continue;
        };
        put(buffer, area, 2, y, name, role);
        let width = if field == Field::File { area.width } else { NUMBER };
        let value = Rect {
            x: area.x + NAME.min(area.width),
            y: area.y + y,
            width: area.width.saturating_sub(NAME).min(width),
            height: 1,
        };
        match here && !value.is_empty() {
            true => cursor = Some(line::draw(app, edit, value, buffer)),
            false => {
                put(buffer, value, 0, 0, &edit.text, style(Role::Text));
            }
        }
        put(buffer, area, NAME, y + 1, hint, style(Role::Muted));
        y += 2;
    }
    put(buffer, area, 0, y, MORE, style(Role::Muted));
    cursor
}

/// Draws text on as many rows as it takes; how many those are.
fn paragraph(app: &App, text: &str, role: Role, area: Rect, buffer: &mut Buffer) -> u16 {
    let lines = wrap(text, area.width);
    for (y, line) in (0..area.height).zip(&lines) {
        put(buffer, area, 0, y, line, app.ui.theme.style(role));
    }
    area.height.min(lines.len() as u16)
}

fn watch(app: &App, watched: &WatchedLoopMap, body: Rect, buffer: &mut Buffer) {
    pane::dialog(app, body, "Loop map", &closes(app), buffer);
    let area = inner(body);
    if let SearchProgress::Failed(message) = &watched.progress {
        super::inside::refused(app, message, area, buffer);
        return;
    }
    // On a low screen the triangle comes first.
    let head = HEAD.min(area.height.saturating_sub(8));
    let foot = FOOT.min(area.height.saturating_sub(head + 4));
    draw_head(app, watched, Rect { height: head, ..area }, buffer);
    let middle = Rect {
        y: area.y + head,
        height: area.height.saturating_sub(head + foot),
        ..area
    };
    let triangle = NUMBERS + 2 * watched.layers as u16;
    let beside = area.width >= triangle + BEST + 2;
    draw_triangle(app, watched, middle, buffer);
    if beside {
        let list = Rect {
            x: area.x + triangle + 2,
            width: area.width - triangle - 2,
            ..middle
        };
        draw_best(app, watched, list, buffer);
    }
    let foot = Rect {
        y: middle.bottom(),
        height: foot,
        ..area
    };
    draw_foot(app, watched, foot, buffer);
}

fn draw_head(app: &App, watched: &WatchedLoopMap, area: Rect, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let measure = watched.measure;
    let (right, asked) = watched.right();
    let standard = match watched.standard() {
        Some(mean) => format!(
            "standard program: {} {}, {right} of {asked} right",
            measure.name(),
            measure.mean(mean)
        ),
        None => "the standard program is run first".to_owned(),
    };
    put(
        buffer,
        area,
        0,
        0,
        &describe::loop_map::asked(watched),
        style(Role::Text),
    );
    let (text, role) = state(watched);
    put(buffer, area, 0, 1, &text, style(role));
    let gauge = bar::horizontal(watched.share(), usize::from(area.width.min(60)));
    put(buffer, area, 0, 2, &gauge, style(Role::Gauge));
    put(buffer, area, 0, 3, &standard, style(Role::Text));
}

/// What goes on: a sign, how far it is, how fast.
fn state(watched: &WatchedLoopMap) -> (String, Role) {
    let rate = watched
        .rate()
        .map_or(String::new(), |rate| format!(", {rate:.0} cells a second"));
    let (_, asked) = watched.right();
    let count = format!("question {asked} of {}", watched.questions);
    match &watched.progress {
        SearchProgress::Running if watched.questions == 0 => ("● mapping".to_owned(), Role::Accent),
        SearchProgress::Running => (format!("● mapping: {count}{rate}"), Role::Accent),
        SearchProgress::Done => (format!("✓ done: {asked} questions{rate}"), Role::Success),
        SearchProgress::Stopped => (format!("■ stopped at {count}{rate}"), Role::Warning),
        SearchProgress::Failed(message) => (format!("✗ {message}"), Role::Error),
    }
}

/// The first of `total` lines in sight of `room`, so that the one at `at` is.
fn first_in_sight(at: usize, total: usize, room: usize) -> usize {
    match total <= room {
        true => 0,
        false => at.saturating_sub(room / 2).min(total - room),
    }
}

/// What gains stands out, also where that is not sure.
fn role(shade: Shade, gains: bool) -> Role {
    match shade {
        Shade::Survives => Role::Pin,
        Shade::Gains => Role::Success,
        Shade::Unclear if gains => Role::Accent,
        Shade::Unclear => Role::Muted,
        Shade::Loses(_) => Role::Warning,
    }
}

fn draw_triangle(app: &App, watched: &WatchedLoopMap, area: Rect, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let rows = usize::from(area.height.saturating_sub(1));
    let room = usize::from(area.width.saturating_sub(NUMBERS));
    let step = if 2 * watched.layers <= room { 2 } else { 1 };
    let columns = room / step;
    let top = first_in_sight(watched.cursor.first, watched.layers, rows);
    let left = first_in_sight(watched.cursor.last, watched.layers, columns);
    let x = |last: usize| NUMBERS + ((last - left) * step) as u16;
    put(buffer, area, 0, 0, "first\\last", style(Role::Muted));
    let visible = left..watched.layers.min(left + columns);
    for last in visible.clone().filter(|last| last.is_multiple_of(5)) {
        put(buffer, area, x(last), 0, &last.to_string(), style(Role::Muted));
    }
    for (y, first) in (1..area.height).zip(top..watched.layers) {
        let here = if first == watched.cursor.first {
            Role::Accent
        } else {
            Role::Muted
        };
        put(buffer, area, 0, y, &format!("{first:>10}"), style(here));
    }
    for ((cell, shade), gains) in watched.cells().iter().zip(watched.shades()).zip(watched.gains()) {
        if cell.first < top || cell.first >= top + rows || !visible.contains(&cell.last) {
            continue;
        }
        let y = (cell.first - top + 1) as u16;
        let (text, role) = match shade {
            // Blocks say nothing to who hears the screen.
            Some(Shade::Loses(_)) if app.ui.screen_reader => ('-', Role::Warning),
            Some(Shade::Unclear) if app.ui.screen_reader => ('o', role(Shade::Unclear, gains)),
            Some(shade) => (symbol(shade), role(shade, gains)),
            None => (' ', Role::Muted),
        };
        let role = if *cell == watched.cursor { Role::Selection } else { role };
        put(buffer, area, x(cell.last), y, &text.to_string(), style(role));
    }
    draw_cursor(app, watched, (area, x(watched.cursor.last)), top, buffer);
}

/// Without colours the cursor stands out by a sign beside the row.
fn draw_cursor(app: &App, watched: &WatchedLoopMap, (area, x): (Rect, u16), top: usize, buffer: &mut Buffer) {
    let y = (watched.cursor.first - top + 1) as u16;
    let style = app.ui.theme.style(Role::Accent);
    if x > NUMBERS && y < area.height {
        put(buffer, area, x - 1, y, "▸", style);
    }
}

/// The cells of greatest gain.
fn draw_best(app: &App, watched: &WatchedLoopMap, area: Rect, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let measure = watched.measure;
    put(
        buffer,
        area,
        0,
        0,
        &format!("greatest gains, {} (95 %)", measure.unit()),
        style(Role::Muted),
    );
    for (y, (cell, difference)) in (1..area.height).zip(watched.best()) {
        let role = if cell == watched.cursor {
            Role::Accent
        } else {
            Role::Text
        };
        let text = format!("{:<8}{}", cell.to_string(), interval(measure, difference));
        put(buffer, area, 0, y, &text, style(role));
    }
}

/// What can be done with the cell.
fn hint(app: &App) -> String {
    let key = |action| app.ui.keymap.keys_for(action, "loop-map").into_iter().next();
    let does = |action, what| key(action).map(|key| format!("{key} {what}"));
    let hints = [
        does(UiAction::Accept, "makes it the next run's program"),
        does(UiAction::LoopBest, "the best"),
        does(UiAction::LoopMeasure, "another measure"),
        does(UiAction::LoopMap, "anew"),
    ];
    hints.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The cell at the cursor in words, what the signs mean, and what can be done.
fn draw_foot(app: &App, watched: &WatchedLoopMap, area: Rect, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let text = format!("▸ {}", describe::loop_map::cell(watched));
    let words = Rect {
        height: area.height.saturating_sub(2).min(3),
        ..area
    };
    paragraph(app, &text, Role::Accent, words, buffer);
    let legend = LEGEND[usize::from(app.ui.screen_reader)];
    put(
        buffer,
        area,
        0,
        area.height.saturating_sub(2),
        legend,
        style(Role::Muted),
    );
    // Messages are under the dialog, so they stand here too.
    let (text, role) = match &app.ui.notice {
        Some(notice) if notice.level == Level::Error => (notice.text.clone(), Role::Error),
        Some(notice) => (notice.text.clone(), Role::Accent),
        None => (hint(app), Role::Muted),
    };
    put(buffer, area, 0, area.height.saturating_sub(1), &text, style(role));
}

#[cfg(test)]
mod tests {
    use super::first_in_sight;

    #[test]
    fn the_cursor_is_in_sight() {
        for at in 0..30 {
            let first = first_in_sight(at, 30, 9);
            assert!((first..first + 9).contains(&at) && first + 9 <= 30);
        }
        assert_eq!(first_in_sight(11, 12, 12), 0);
    }
}
