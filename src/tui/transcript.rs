//! The answer as lines of glyphs that know their tokens: for drawing, the mouse and moving by line.

use ratatui::layout::{Position, Rect};

use super::app::App;
use super::layout::{self, Screen};
use super::run::Run;
use super::widgets::flow::{Glyph, flow};

/// The answer, or the whole sequence, laid out in a pane.
pub struct Transcript<'a> {
    pub lines: Vec<Vec<Glyph<'a>>>,
    /// The first line in sight.
    pub top: usize,
    pub area: Rect,
}

impl<'a> Transcript<'a> {
    /// Lays out what `run` has said in the pane `pane`. The cursor's token is in sight unless the
    /// user scrolled away; where it is near the end, so is the end.
    pub fn new(app: &App, run: &'a Run, pane: Rect) -> Transcript<'a> {
        let area = layout::inner(pane);
        let first = if app.template { 0 } else { run.prompt_len() };
        let tokens = (first..run.tokens()).filter_map(|t| {
            let (text, special) = run.token(t)?;
            (app.template || !special).then_some((t, text))
        });
        let lines = flow(tokens, area.width, Some(app.cursor.token));
        let height = usize::from(area.height).max(1);
        let end = lines.len().saturating_sub(height);
        let selected = row_of(&lines, app.cursor.token).unwrap_or(lines.len() - 1);
        let base = match selected >= end {
            true => end,
            false => selected.saturating_sub(height / 2),
        };
        Transcript {
            top: base.saturating_add_signed(app.answer_scroll).min(end),
            lines,
            area,
        }
    }

    /// The transcript where it is on the screen.
    pub fn on_screen(app: &'a App) -> Option<Transcript<'a>> {
        let pane = Screen::new(app, app.area)?.answer?;
        Some(Transcript::new(app, app.shown.as_ref()?, pane))
    }

    /// The lines in sight and the rows they are drawn in.
    pub fn visible(&self) -> impl Iterator<Item = (u16, &Vec<Glyph<'a>>)> {
        let rows = self.area.top()..self.area.bottom();
        rows.zip(self.lines.iter().skip(self.top))
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
        let row = row_of(&self.lines, token)?;
        let before = self.lines[row].iter().take_while(|g| g.key < token);
        let column: u16 = before.map(|g| g.width).sum();
        let mut rows: Box<dyn Iterator<Item = usize>> = match down {
            true => Box::new(row + 1..self.lines.len()),
            false => Box::new((0..row).rev()),
        };
        // Empty lines have no token.
        let line = rows.find_map(|r| self.lines.get(r).filter(|line| !line.is_empty()))?;
        let mut x = 0;
        let glyph = line.iter().find(|g| {
            x += g.width;
            column < x
        });
        glyph.or(line.last()).map(|g| g.key)
    }

    /// How many of `lines` (up if negative) there are to scroll.
    pub fn scrollable(&self, lines: isize) -> isize {
        let end = self.lines.len().saturating_sub(usize::from(self.area.height).max(1));
        let to = self.top.saturating_add_signed(lines).min(end);
        to as isize - self.top as isize
    }
}

/// The line a token is on: the last one, since a token's space may end the line before; of a token
/// that is not drawn, the line of the next one.
fn row_of(lines: &[Vec<Glyph>], token: usize) -> Option<usize> {
    let own = lines.iter().rposition(|line| line.iter().any(|g| g.key == token));
    own.or_else(|| lines.iter().position(|line| line.iter().any(|g| g.key > token)))
}
