//! Where the tape's rows are: a line a token, its layers from first to last. One place for drawing and the mouse.
//!
//! ```text
//!                 0    5    10   15   20   25        layers
//!   prompt ×36  ██████████████████████████████ 30    one line while one program holds for it
//!          the  ███··█··██████████████████████ 26 ▕▂▂▂▂
//!         moon  ██████████████████████████████ 30 ▕
//! ```

use ratatui::layout::{Position, Rect};

use super::app::App;
use super::layout;
use super::run::Run;
use super::ui::Cursor;

/// Columns of a token's text, at least and at most.
const LEAST_TEXT: u16 = 8;
const MOST_TEXT: u16 = 16;

/// Columns behind the layers: the depth, and a bar of the layers saved.
pub const DEPTH: u16 = 4;
const BAR: u16 = 10;

/// Least columns of the likeliest next token: a word and its probability.
const LEAST_NEXT: u16 = 12;

/// A line of the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapeRow {
    /// All tokens of the prompt, which share a program.
    Prompt,
    /// The token at a position.
    Token(usize),
}

/// The tape's geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tape {
    /// The rows, without the line of layer numbers.
    pub area: Rect,
    /// The line of layer numbers.
    pub scale: Option<u16>,
    /// Columns of a token's text.
    pub text: u16,
    /// Where layer `first_layer` begins.
    pub x: u16,
    /// Columns of a layer.
    pub cell: u16,
    /// The first layer in sight.
    pub first_layer: usize,
    /// How many layers are in sight.
    pub layers: usize,
    /// Columns of the bar of saved layers.
    pub bar: u16,
    /// Columns behind it: the likeliest next tokens, or the unmodified model's token.
    pub next: u16,
    /// Lines above the first in sight.
    pub top: usize,
    /// Whether the prompt is one line.
    folded: bool,
    prompt: usize,
    tokens: usize,
}

impl Tape {
    /// The tape of `run` in the pane `pane`.
    pub fn new(app: &App, run: &Run, pane: Rect) -> Tape {
        let inside = layout::inner(pane);
        let scale = inside.height >= 5;
        let area = Rect {
            y: inside.y + u16::from(scale),
            height: inside.height.saturating_sub(u16::from(scale)),
            ..inside
        };
        let all = run.layers();
        let text = (area.width / 5).clamp(LEAST_TEXT, MOST_TEXT).min(area.width);
        let room = area.width.saturating_sub(text + 1);
        let for_layers = room.saturating_sub(DEPTH);
        let cell = (usize::from(for_layers.saturating_sub(BAR)) / all.max(1)).clamp(1, 3) as u16;
        let layers = all.min(usize::from(for_layers / cell));
        let rest = for_layers.saturating_sub(layers as u16 * cell);
        let next = rest.saturating_sub(BAR + 1);
        let (bar, next) = match next >= LEAST_NEXT {
            true => (BAR, next),
            false => (rest.min(all as u16), 0),
        };
        let bar = if bar >= 3 { bar } else { 0 };
        let first_layer = match layers < all {
            true => app.ui.cursor.layer.saturating_sub(layers / 2).min(all - layers),
            false => 0,
        };
        let folded = app.ui.map.fold.unwrap_or(true) && run.prompt_len() > 0;
        let mut tape = Tape {
            area,
            scale: scale.then_some(inside.y),
            text,
            x: area.x + text + 1,
            cell,
            first_layer,
            layers,
            bar,
            next,
            top: 0,
            folded,
            prompt: run.prompt_len(),
            tokens: run.tokens(),
        };
        let (height, here) = (usize::from(area.height), tape.line_of(app.ui.cursor.token));
        let most = tape.lines().saturating_sub(height);
        tape.top = here.saturating_sub(height / 2).min(most);
        tape
    }

    /// Lines there are.
    pub fn lines(&self) -> usize {
        match self.folded {
            true => 1 + self.tokens - self.prompt,
            false => self.tokens,
        }
    }

    /// The line of the token at `position`.
    fn line_of(&self, position: usize) -> usize {
        match self.folded {
            true if position < self.prompt => 0,
            true => 1 + position - self.prompt,
            false => position,
        }
    }

    fn row(&self, line: usize) -> TapeRow {
        match (self.folded, line) {
            (true, 0) => TapeRow::Prompt,
            (true, line) => TapeRow::Token(self.prompt + line - 1),
            (false, line) => TapeRow::Token(line),
        }
    }

    /// Lines in sight, and where they are.
    pub fn rows(&self) -> impl Iterator<Item = (TapeRow, u16)> + '_ {
        let lines = self.top..self.lines().min(self.top + usize::from(self.area.height));
        lines.map(|line| (self.row(line), self.area.y + (line - self.top) as u16))
    }

    /// Lines that fit.
    pub fn capacity(&self) -> usize {
        usize::from(self.area.height).max(1)
    }

    /// Layers in sight, and the first column of each.
    pub fn columns(&self) -> impl Iterator<Item = (usize, u16)> + '_ {
        (0..self.layers).map(|i| (self.first_layer + i, self.x + i as u16 * self.cell))
    }

    /// Right of the layers.
    pub fn end(&self) -> u16 {
        self.x + self.layers as u16 * self.cell
    }

    /// The token a line down (or up) from the one at `position`.
    pub fn line_away(&self, position: usize, down: bool) -> usize {
        let line = self.line_of(position);
        let to = match down {
            true => (line + 1).min(self.lines().saturating_sub(1)),
            false => line.saturating_sub(1),
        };
        match self.row(to) {
            TapeRow::Prompt => self.prompt.saturating_sub(1),
            TapeRow::Token(position) => position,
        }
    }

    /// The cell at a place on the screen.
    pub fn cell_at(&self, at: Position, cursor: Cursor) -> Option<Cursor> {
        let (row, _) = self.rows().find(|(_, y)| *y == at.y)?;
        if !(self.area.x..self.area.right()).contains(&at.x) {
            return None;
        }
        let layer = at.x.checked_sub(self.x).map(|x| usize::from(x / self.cell));
        Some(Cursor {
            layer: layer
                .filter(|layer| *layer < self.layers)
                .map_or(cursor.layer, |layer| self.first_layer + layer),
            token: match row {
                TapeRow::Prompt => self.prompt - 1,
                TapeRow::Token(position) => position,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    #[test]
    fn eighty_layers_fit_and_cells_are_found_by_their_place() {
        let mut app = fixture::app();
        app.open("x".into(), None, fixture::token_trace(3, 60));
        let run = app.shown.take().unwrap();
        for (width, height) in [(30, 9), (60, 20), (120, 50)] {
            let tape = Tape::new(&app, &run, Rect::new(3, 2, width, height));
            assert!(tape.end() + DEPTH <= 3 + width, "{width}");
            assert_eq!(tape.layers, run.layers().min(tape.layers));
            let (layer, x) = tape.columns().last().unwrap();
            let (row, y) = tape.rows().last().unwrap();
            assert_eq!(row, TapeRow::Token(run.tokens() - 1), "the newest token is in sight");
            let found = tape.cell_at(Position::new(x, y), Cursor::default()).unwrap();
            assert_eq!((found.layer, found.token), (layer, run.tokens() - 1));
            assert_eq!(tape.cell_at(Position::new(x, 1), Cursor::default()), None);
        }
    }

    #[test]
    fn the_prompt_is_one_line_until_it_is_unfolded() {
        let mut app = fixture::app();
        app.open("x".into(), None, fixture::token_trace(3, 5));
        let run = app.shown.take().unwrap();
        let prompt = run.prompt_len();
        let pane = Rect::new(0, 0, 80, 60);
        let folded = Tape::new(&app, &run, pane);
        assert_eq!(folded.rows().next().map(|(row, _)| row), Some(TapeRow::Prompt));
        assert_eq!(folded.line_away(prompt, false), prompt - 1);
        assert_eq!(folded.line_away(0, true), prompt);
        app.ui.map.fold = Some(false);
        let unfolded = Tape::new(&app, &run, pane);
        assert_eq!(unfolded.rows().next().map(|(row, _)| row), Some(TapeRow::Token(0)));
        assert_eq!(unfolded.lines(), run.tokens());
    }
}
