//! The answer as lines of glyphs that know their tokens: for drawing, the mouse and moving by line.
//! Lines out of reach are counted, not laid out.

use std::borrow::Cow;

use ratatui::layout::{Position, Rect};

use super::app::App;
use super::layout::{self, Screen};
use super::lines::{LineStarts, pieces};
use super::run::Run;
use super::widgets::flow::{Glyph, lay};

/// Lines laid out above and below those in sight, for moving by line.
const MARGIN: usize = 8;

/// The answer, or the whole sequence, laid out in a pane.
pub struct Transcript<'a> {
    /// Lines there are.
    pub len: usize,
    /// The first line in sight.
    pub top: usize,
    /// Where the lines in sight are drawn: the pane without its border.
    pub area: Rect,
    /// The lines within reach, and the number of the first one.
    lines: Vec<Vec<Glyph<'a>>>,
    first: usize,
    starts: Cow<'a, LineStarts>,
    run: &'a Run,
}

impl<'a> Transcript<'a> {
    /// Lays out what `run` has said in the pane `pane`. The cursor's token is in sight unless the
    /// user scrolled away; where it is near the end, so is the end.
    pub fn new(app: &'a App, run: &'a Run, pane: Rect) -> Transcript<'a> {
        let area = layout::inner(pane);
        let starts = match app.ui.lines.fits(run, app.ui.template, area.width) {
            true => Cow::Borrowed(&app.ui.lines),
            false => Cow::Owned(LineStarts::of(run, app.ui.template, area.width)),
        };
        let height = usize::from(area.height).max(1);
        let selected = starts.row_of(run, app.ui.cursor.token);
        let place = |len: usize, selected: usize| {
            let end = len.saturating_sub(height);
            let base = match selected >= end {
                true => end,
                false => selected.saturating_sub(height / 2),
            };
            base.saturating_add_signed(app.ui.answer_scroll).min(end)
        };
        let mut top = place(starts.len(), selected);
        let first = top.saturating_sub(MARGIN);
        let from = starts.start(first);
        let most = height + 2 * MARGIN;
        let marked = Some(app.ui.cursor.token);
        let laid = lay(pieces(run, app.ui.template, from.0), area.width, marked, from, most);
        // The sign of the selected token may have made one line more.
        let len = match laid.whole {
            true => first + laid.lines.len(),
            false => starts.len(),
        };
        let on_line = |line: &Vec<Glyph>| line.iter().any(|g| g.key == app.ui.cursor.token);
        if let Some(row) = laid.lines.iter().rposition(on_line) {
            top = place(len, first + row).max(first);
        }
        Transcript {
            len,
            top,
            area,
            lines: laid.lines,
            first,
            starts,
            run,
        }
    }

    /// The transcript where it is on the screen.
    pub fn on_screen(app: &'a App) -> Option<Transcript<'a>> {
        let pane = Screen::new(app, app.ui.area)?.answer?;
        Some(Transcript::new(app, app.shown.as_ref()?, pane))
    }

    /// The lines in sight and the rows they are drawn in.
    pub fn visible(&self) -> impl Iterator<Item = (u16, &Vec<Glyph<'a>>)> {
        let rows = self.area.top()..self.area.bottom();
        rows.zip(self.lines.iter().skip(self.top - self.first))
    }

    /// The token drawn at a place on the screen.
    pub fn token_at(&self, at: Position) -> Option<usize> {
        let (_, line) = self.visible().find(|(y, _)| *y == at.y)?;
        let mut x = self.area.x;
        let glyph = line.iter().find(|g| {
            x += g.width;
            at.x < x
        });
        // Behind the line's end is its last token.
        glyph.or(line.last()).map(|g| g.key)
    }

    /// The token above, or below, a token.
    pub fn line_away(&self, token: usize, down: bool) -> Option<usize> {
        let on_line = |line: &&Vec<Glyph>| line.iter().any(|g| g.key == token);
        let Some(row) = self.lines.iter().rposition(|line| on_line(&line)) else {
            return self.far_line(self.starts.row_of(self.run, token), down);
        };
        let before = self.lines[row].iter().take_while(|g| g.key < token);
        let column: u16 = before.map(|g| g.width).sum();
        let mut rows: Box<dyn Iterator<Item = usize>> = match down {
            true => Box::new(row + 1..self.lines.len()),
            false => Box::new((0..row).rev()),
        };
        // Empty lines have no token.
        let Some(line) = rows.find_map(|r| self.lines.get(r).filter(|line| !line.is_empty())) else {
            let edge = if down { self.lines.len() - 1 } else { 0 };
            return self.far_line(self.first + edge, down);
        };
        let mut x = 0;
        let glyph = line.iter().find(|g| {
            x += g.width;
            column < x
        });
        glyph.or(line.last()).map(|g| g.key)
    }

    /// The first token of the line next to line `row`, which is out of reach.
    fn far_line(&self, row: usize, down: bool) -> Option<usize> {
        let row = if down { row + 1 } else { row.checked_sub(1)? };
        (row < self.starts.len()).then(|| self.starts.start(row).0)
    }

    /// How many of `lines` (up if negative) there are to scroll.
    pub fn scrollable(&self, lines: isize) -> isize {
        let end = self.len.saturating_sub(usize::from(self.area.height).max(1));
        let to = self.top.saturating_add_signed(lines).min(end);
        to as isize - self.top as isize
    }
}
