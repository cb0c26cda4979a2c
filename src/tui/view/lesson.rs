//! The lesson under way, and the list of lessons.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::super::action::UiAction;
use super::super::app::App;
use super::super::layout::{dialog as place, inner};
use super::super::lesson::{Listed, page};
use super::super::theme::Role;
use super::super::widgets::flow::{fit, flow};
use super::{pane, put};

/// The pane over the others: what to read, and what to do.
pub(in crate::tui) fn draw(app: &App, area: Rect, buffer: &mut Buffer) {
    let Some(tour) = &app.tour else { return };
    let (Some((lesson, _)), Some(page)) = (tour.of(app), page(app, area.width, app.ui.area.height)) else {
        return;
    };
    let title = format!("Lesson: {} · {} of {}", lesson.title, tour.step + 1, lesson.steps.len());
    let key = |action| app.ui.keymap.keys_for(action, "global").into_iter().next();
    let turn = |action, word| key(action).map(|key| format!("{key} {word}"));
    let more = (page.page + 1 < page.pages).then(|| format!("page {} of {}", page.page + 1, page.pages));
    let remark = [
        more,
        turn(UiAction::LessonPrevious, "back"),
        turn(UiAction::LessonNext, "next"),
    ];
    let remark: Vec<String> = remark.into_iter().flatten().collect();
    pane::frame(app, area, page.done, &title, &remark.join(" · "), buffer);
    let area = inner(area);
    let text = page.lines.iter().map(|line| (line, Role::Text));
    let role = if page.done { Role::Success } else { Role::Accent };
    let task = page.task.iter().map(|line| (line, role));
    for (y, (line, role)) in (0..area.height).zip(text.chain(task)) {
        put(buffer, area, 0, y, line, app.ui.theme.style(role));
    }
}

/// The list: a lesson a row, and what the selected one is about.
pub(in crate::tui) fn draw_list(app: &App, row: usize, body: Rect, buffer: &mut Buffer) {
    let rows = app.lessons.len().max(1) as u16;
    let area = place(body, 90, rows + 6);
    pane::dialog(app, area, "Lessons", "Enter begins one", buffer);
    let area = inner(area);
    if app.lessons.is_empty() {
        put(
            buffer,
            area,
            0,
            0,
            "there are no lessons",
            app.ui.theme.style(Role::Muted),
        );
        return;
    }
    let list = area.height.saturating_sub(4).max(1);
    let top = (row + 1).saturating_sub(usize::from(list));
    let names = app.lessons.iter().map(|l| l.name().width()).max().unwrap_or(0).min(30) as u16;
    for (y, (at, lesson)) in (0..list).zip(app.lessons.iter().enumerate().skip(top)) {
        let here = at == row;
        let name = app.ui.theme.style(if here { Role::Accent } else { Role::Text });
        put(buffer, area, 0, y, if here { "▸" } else { " " }, name);
        put(buffer, area, 2, y, &fit(lesson.name(), usize::from(names)), name);
        let (text, role) = match lesson {
            Listed::Usable(lesson) => (lesson.title.as_str(), Role::Text),
            Listed::Broken { .. } => ("cannot be used", Role::Error),
        };
        put(buffer, area, names + 4, y, text, app.ui.theme.style(role));
    }
    let about = match app.lessons.get(row) {
        Some(Listed::Usable(lesson)) => lesson.summary.as_str(),
        Some(Listed::Broken { message, .. }) => message.as_str(),
        None => "",
    };
    let lines = flow([(0, about)].into_iter(), area.width, None);
    for (y, line) in (list + 1..area.height).zip(&lines) {
        let text: String = line.iter().map(|g| g.text.as_ref()).collect();
        put(buffer, area, 0, y, &text, app.ui.theme.style(Role::Muted));
    }
}
