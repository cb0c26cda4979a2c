//! The question that is to be searched, as it is typed.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::super::super::action::UiAction;
use super::super::super::app::App;
use super::super::super::layout::{dialog as place, inner};
use super::super::super::prompt::PromptEditor;
use super::super::super::search::SearchField;
use super::super::super::theme::Role;
use super::super::super::widgets::flow::flow;
use super::super::inside::closes;
use super::super::{line, pane, put};

const WIDTH: u16 = 96;

/// Columns of the names of the fields, and of a number.
const NAME: u16 = 14;
const NUMBER: u16 = 22;

/// Rows of the question and of the answers, at most; rows of everything else.
const QUESTION: u16 = 4;
const ANSWERS: u16 = 10;
const OTHERS: u16 = 12;

/// What the dialog is for.
const WHAT: &str = "Monte Carlo tree search leaves layers out or runs them twice. Which programs answer rightly, \
    and which is the shortest?";

/// What stands in the answers.
const HINT: &str = "choices one a line, * before the right one; or one number, to be written";

/// Draws the form; where the cursor is.
pub(super) fn draw(app: &App, body: Rect, buffer: &mut Buffer) -> Option<Position> {
    let form = &app.search.form;
    let width = inner(Rect {
        width: WIDTH.min(body.width),
        ..body
    })
    .width
    .saturating_sub(NAME);
    let lines = |editor: &PromptEditor| editor.draw(width).lines.len() as u16;
    let question = lines(&form.question).clamp(1, QUESTION);
    let wanted = question + lines(&form.answers).clamp(4, ANSWERS) + OTHERS;
    let area = place(body, WIDTH, wanted + 2);
    pane::dialog(app, area, "Search programs", &closes(app), buffer);
    let mut rows = Rows { app, left: inner(area) };
    // On a low screen there is room for what is typed and for what is wrong with it.
    let low = rows.left.height < wanted;
    let answers = lines(&form.answers).clamp(if low { 1 } else { 4 }, ANSWERS);
    match &form.error {
        Some(error) => rows.text(&format!("✗ {error}"), Role::Error, buffer),
        None if low => {}
        None => rows.text(WHAT, Role::Muted, buffer),
    }
    rows.skip(u16::from(!low));
    let mut cursor = None;
    for (field, editor, height) in [
        (SearchField::Question, &form.question, question),
        (SearchField::Answers, &form.answers, answers),
    ] {
        let area = rows.field(field, height, buffer);
        let at = draw_editor(app, editor, form.field == field, area, buffer);
        cursor = cursor.or(at);
    }
    if !low {
        rows.text(HINT, Role::Muted, buffer);
        rows.skip(1);
    }
    for (field, edit) in [
        (SearchField::Simulations, &form.simulations),
        (SearchField::Seed, &form.seed),
    ] {
        let area = rows.field(field, 1, buffer);
        let area = Rect {
            width: area.width.min(NUMBER),
            ..area
        };
        match form.field == field && !area.is_empty() {
            true => cursor = Some(line::draw(app, edit, area, buffer)),
            false => {
                put(buffer, area, 0, 0, &edit.text, app.ui.theme.style(Role::Text));
            }
        }
    }
    rows.field(SearchField::Start, 1, buffer);
    rows.skip(1);
    rows.text(&about(app), Role::Muted, buffer);
    cursor
}

/// What the example shows, or how to get one.
fn about(app: &App) -> String {
    let key = |action| app.ui.keymap.keys_for(action, "search-form").into_iter().next();
    let next = key(UiAction::SearchExample);
    let form = &app.search.form;
    match form.example.and_then(|at| form.examples().into_iter().nth(at)) {
        Some(example) => {
            let next = next.map_or(String::new(), |key| format!(" ({key}: another one)"));
            format!("example: {}{next}", example.about)
        }
        None => next.map_or(String::new(), |key| format!("{key} takes an example question")),
    }
}

/// The rows of the dialog from the top down.
struct Rows<'a> {
    app: &'a App,
    left: Rect,
}

impl Rows<'_> {
    fn take(&mut self, height: u16) -> Rect {
        let height = height.min(self.left.height);
        let rows = Rect { height, ..self.left };
        self.left.y += height;
        self.left.height -= height;
        rows
    }

    fn skip(&mut self, rows: u16) {
        self.take(rows);
    }

    fn text(&mut self, text: &str, role: Role, buffer: &mut Buffer) {
        for line in flow([(0, text)].into_iter(), self.left.width, None) {
            let area = self.take(1);
            let text: String = line.iter().map(|g| g.text.as_ref()).collect();
            put(buffer, area, 0, 0, &text, self.app.ui.theme.style(role));
        }
    }

    /// A field's name; the place behind it.
    fn field(&mut self, field: SearchField, height: u16, buffer: &mut Buffer) -> Rect {
        let here = self.app.search.form.field == field;
        let area = self.take(height);
        let style = self.app.ui.theme.style(if here { Role::Accent } else { Role::Text });
        put(buffer, area, 0, 0, if here { "▸" } else { " " }, style);
        put(buffer, area, 2, 0, &name(self.app, field), style);
        Rect {
            x: area.x + NAME.min(area.width),
            width: area.width.saturating_sub(NAME),
            ..area
        }
    }
}

fn name(app: &App, field: SearchField) -> String {
    match field {
        SearchField::Question => "Question".to_owned(),
        SearchField::Answers => "Answers".to_owned(),
        SearchField::Simulations => "Simulations".to_owned(),
        SearchField::Seed => "Seed".to_owned(),
        SearchField::Start => {
            let keys = app.ui.keymap.keys_for(UiAction::Search, "search-form");
            let key = keys.first().map_or(String::new(), |key| format!(", or {key} anywhere"));
            format!("[ Start ]{key}")
        }
    }
}

/// Draws what stands in a field of several lines; where its cursor is.
fn draw_editor(app: &App, editor: &PromptEditor, here: bool, area: Rect, buffer: &mut Buffer) -> Option<Position> {
    if area.is_empty() {
        return None;
    }
    let style = app.ui.theme.style(if here { Role::Selection } else { Role::Text });
    if here {
        buffer.set_style(area.intersection(buffer.area), style);
    }
    let drawn = editor.draw(area.width);
    let top = (drawn.cursor.0 + 1).saturating_sub(usize::from(area.height));
    let top = if here { top } else { 0 };
    for (y, line) in (0..area.height).zip(drawn.lines.iter().skip(top)) {
        let text: String = line.iter().map(|g| g.text.as_ref()).collect();
        put(buffer, area, 0, y, &text, style);
    }
    let cursor = Position::new(area.x + drawn.cursor.1, area.y + (drawn.cursor.0 - top) as u16);
    (here && area.contains(cursor)).then_some(cursor)
}
