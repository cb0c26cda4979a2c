//! Where the map's cells are: columns of tokens, rows of layers. One place for drawing, scrolling
//! and the mouse.
//!
//! ```text
//!  36▸ answer: 12 tokens                sections
//!  ▔▔▔│▔█▔▀▔█                    30     depth: bars hang by the layers saved
//!  29 ▓▓▓│▓▓▓·▓▓        ▓▓▓▓▓▓▓·        layers, and their shares
//!   …
//!   0 ▓▓▓│▓▓▓▓▓▓        ▓▓▓▓▓▓▓▓
//!         Tsicb,                        the tokens, upright
//!          ▲ " sky" token 2             the cursor's token
//! ```
//!
//! A prompt that ran one program may be folded to a strip, which stays at the left. Where a line a layer is too much for
//! the pane, a line holds two: the even layer in its lower half, the next one in its upper half.

use std::ops::Range;

use ratatui::layout::{Position, Rect};

use super::app::App;
use super::layout;
use super::run::Run;
use super::ui::Cursor;

/// Columns left of the cells: a layer's number, its pin, a space.
pub const GUTTER: u16 = 5;

/// Columns of a layer's shares.
pub const SHARES: u16 = 8;

/// Columns of a prompt that is folded.
pub const STRIP: u16 = 3;

/// From this width on there is room for shares.
const WIDTH_WITH_SHARES: u16 = 40;

/// From this height on columns of full width have words in any case.
const WORDS_FROM: u16 = 12;

/// Lines of a map beside those of its layers: the names of the sections, the cursor's token.
const BARS: u16 = 2;

/// Most rows of the depths, and of the tokens' texts by the width of a column less one.
const MOST_DEPTH: u16 = 5;
const MOST_WORDS: [u16; 3] = [6, 6, 3];

/// The map's geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The cells alone.
    pub cells: Rect,
    /// Columns of one token.
    pub cell: u16,
    /// The prompt is folded to a strip.
    pub folded: bool,
    /// The leftmost token in sight, outside a folded prompt.
    pub first_token: usize,
    /// The lowest layer in sight.
    pub first_layer: usize,
    /// Tokens of the run, the prompt's among them.
    pub tokens: usize,
    /// Layers of the run.
    pub layers: usize,
    /// Layers of a line, 1 or 2.
    pub stacked: usize,
    /// Tokens of the prompt.
    pub prompt_len: usize,
    /// Row of the section names.
    pub sections: Option<u16>,
    /// Where the bars of the depths are; no rows where there is no room.
    pub depth: Rect,
    /// Where the tokens' texts are; no rows where there is no room.
    pub words: Rect,
    /// Row of the cursor's token.
    pub caption: Option<u16>,
    /// Where the shares of each layer are.
    pub shares: Option<u16>,
}

/// Where a token's cells are: its own column, or the strip of a folded prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Position, from 0 at the prompt's first token.
    pub token: usize,
    /// The first column on the screen.
    pub x: u16,
    /// In columns of the screen.
    pub width: u16,
}

impl Grid {
    /// The map of `run` in the pane `pane`.
    pub fn new(app: &App, run: &Run, pane: Rect) -> Grid {
        let area = layout::inner(pane);
        let layers = run.layers();
        let lens = app.ui.map.lens;
        let shares = if area.width >= WIDTH_WITH_SHARES && !lens {
            SHARES + 1
        } else {
            0
        };
        let width = area.width.saturating_sub(GUTTER + shares);
        let x = area.x + GUTTER.min(area.width);
        let prompt_len = run.prompt_len();
        let folded = !lens && prompt_len > usize::from(STRIP) && app.ui.map.fold.unwrap_or(true);
        // The widest columns with which all the tokens there can be fit, so that nothing jumps later.
        let columns = |cell: usize| match folded {
            true => usize::from(STRIP) + (run.most_tokens() - prompt_len) * cell,
            false => run.most_tokens() * cell,
        };
        let widest = [3, 2].into_iter().find(|cell| columns(*cell) < usize::from(width));
        let cell = match lens {
            true => app.ui.map.lens_width(app.lens_contents()),
            false => app.ui.map.zoom.unwrap_or(widest.unwrap_or(1) as u16).clamp(1, 3),
        };

        // A lens has words in its cells, which need a line each; so have the signs for a screen reader.
        let lines = |stacked: usize| layers.div_ceil(stacked).min(usize::from(u16::MAX)) as u16;
        let stacked = match lines(1).saturating_add(BARS) > area.height && !lens && !app.ui.screen_reader {
            true => 2,
            false => 1,
        };
        // What is not layers, from the most to the least dispensable.
        let spare = area.height.saturating_sub(lines(stacked));
        let (sections, caption) = match stacked == 2 && lines(stacked) <= area.height {
            // Every layer before the names of the sections, and before the cursor's token.
            true => (spare >= BARS, spare >= 1),
            false => (area.height >= 6, area.height >= 4),
        };
        let bars = u16::from(sections) + u16::from(caption);
        let (depth_rows, word_rows) = match spare.saturating_sub(bars) {
            _ if area.height < 8 => (0, 0),
            _ if lens => (0, 1),
            // Columns this wide are for the words, which cost layers where there is no other room.
            s @ 0..4 if cell == 3 && stacked == 1 && area.height >= WORDS_FROM => (1, s.saturating_sub(1).max(2)),
            0 if stacked == 2 => (0, 0),
            s @ 0..4 => (s.max(1), 0),
            s => {
                let words = MOST_WORDS[usize::from(cell - 1)].min(3.max(s - 2));
                ((s - words).min(MOST_DEPTH), words)
            }
        };
        let top = area.y + u16::from(sections);
        let room = area.height.saturating_sub(bars + depth_rows + word_rows);
        let rows = room.min(lines(stacked));
        let first_layer = app
            .ui
            .map
            .first_layer
            .min(layers.saturating_sub(usize::from(rows) * stacked));
        let cells = Rect::new(x, top + depth_rows, width, rows);
        let first = if folded { prompt_len } else { 0 };
        let last = run.tokens().saturating_sub(1).max(first);
        Grid {
            cells,
            cell,
            folded,
            first_token: app.ui.map.first_token.clamp(first, last),
            first_layer: first_layer.next_multiple_of(stacked),
            tokens: run.tokens(),
            layers,
            stacked,
            prompt_len,
            sections: sections.then_some(area.y),
            depth: Rect::new(x, top, width, depth_rows),
            words: Rect::new(x, cells.bottom(), width, word_rows),
            caption: caption.then_some(cells.bottom() + word_rows),
            shares: (shares > 0).then_some(cells.right() + 1),
        }
    }

    /// Columns from the left edge to the token, its section's separator included.
    fn offset(&self, token: usize) -> usize {
        let before = token.saturating_sub(self.first_token) * usize::from(self.cell);
        if self.folded {
            return before + usize::from(STRIP) + 1;
        }
        let separator = self.first_token < self.prompt_len && token >= self.prompt_len;
        before + usize::from(separator)
    }

    /// The first column of a token's cells, if all of them are in sight.
    pub fn x(&self, token: usize) -> Option<u16> {
        if self.folded && token < self.prompt_len {
            return (self.cells.width >= STRIP).then_some(self.cells.x);
        }
        if token < self.first_token || token >= self.tokens {
            return None;
        }
        let offset = self.offset(token);
        let fits = offset + usize::from(self.cell) <= usize::from(self.cells.width);
        fits.then(|| self.cells.x + offset as u16)
    }

    /// The row of a layer, if it is in sight. Layer 0 is the lowest.
    pub fn y(&self, layer: usize) -> Option<u16> {
        let up = layer
            .checked_sub(self.first_layer)
            .map(|up| up / self.stacked)
            .filter(|up| *up < usize::from(self.cells.height))?;
        (layer < self.layers).then(|| self.cells.bottom() - 1 - up as u16)
    }

    /// The tokens in sight, and where they are. A strip stands for the prompt's token of `cursor`, or its last one.
    pub fn columns(&self, cursor: usize) -> impl Iterator<Item = Column> + '_ {
        let in_prompt = cursor.min(self.prompt_len.saturating_sub(1));
        let strip = self.folded.then(|| self.x(in_prompt)).flatten().map(|x| Column {
            token: in_prompt,
            x,
            width: STRIP,
        });
        let own = (self.first_token..self.tokens).map_while(|token| {
            let (x, width) = (self.x(token)?, self.cell);
            Some(Column { token, x, width })
        });
        strip.into_iter().chain(own)
    }

    /// The layers in sight, and where they are.
    pub fn rows(&self) -> impl Iterator<Item = (usize, u16)> + '_ {
        (self.first_layer..self.layers).map_while(|l| Some((l, self.y(l)?)))
    }

    /// The lines of layers in sight, from the lowest, and where they are. A line's first layer is its lower one.
    pub fn lines(&self) -> impl Iterator<Item = (Range<usize>, u16)> + '_ {
        let firsts = (self.first_layer..self.layers).step_by(self.stacked);
        firsts.map_while(|l| Some((l..(l + self.stacked).min(self.layers), self.y(l)?)))
    }

    /// The column of the line between prompt and answer, if it is in sight.
    pub fn separator(&self) -> Option<u16> {
        if self.folded {
            let x = self.cells.x + STRIP;
            return (x < self.cells.right()).then_some(x);
        }
        (self.first_token < self.prompt_len && self.prompt_len < self.tokens)
            .then(|| self.x(self.prompt_len))
            .flatten()
            .map(|x| x - 1)
    }

    /// The cell at a place on the screen: the lower one of two. A strip is the prompt's last token.
    pub fn cell_at(&self, at: Position) -> Option<Cursor> {
        let (layer, _) = self.rows().find(|(_, y)| *y == at.y)?;
        let holds = |column: &Column| (column.x..column.x + column.width).contains(&at.x);
        let token = self.columns(usize::MAX).find(holds)?.token;
        Some(Cursor { layer, token })
    }

    /// How many tokens there is room for.
    pub fn capacity(&self) -> usize {
        let edge = if self.folded { STRIP + 1 } else { 1 };
        (usize::from(self.cells.width.saturating_sub(edge)) / usize::from(self.cell)).max(1)
    }

    /// The first token to be shown so that `token` is in sight, with as little movement as can be.
    pub fn scroll_to_token(&self, token: usize) -> usize {
        let token = token.min(self.tokens.saturating_sub(1));
        if self.folded && token < self.prompt_len {
            return self.first_token;
        }
        if token < self.first_token {
            return token;
        }
        // What was scrolled too far, by a run with more tokens, comes back.
        let first = if self.folded { self.prompt_len } else { 0 };
        let last = self.tokens.saturating_sub(self.capacity()).max(first);
        let mut moved = Grid {
            first_token: self
                .first_token
                .min(last.max(token.saturating_sub(self.capacity() - 1))),
            ..*self
        };
        if moved.x(token).is_none() {
            moved.first_token = (token + 1).saturating_sub(self.capacity()).max(moved.first_token);
        }
        moved.first_token.min(token)
    }

    /// As [`Grid::scroll_to_token`], for layers.
    pub fn scroll_to_layer(&self, layer: usize) -> usize {
        let rows = usize::from(self.cells.height).max(1) * self.stacked;
        let lowest = (layer + 1).saturating_sub(rows).next_multiple_of(self.stacked);
        self.first_layer.clamp(lowest, layer.max(lowest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;
    use proptest::prelude::*;

    fn grid(width: u16, height: u16, first_token: usize) -> Grid {
        let mut app = fixture::app();
        (app.ui.map.fold, app.ui.map.first_token) = (Some(false), first_token);
        Grid::new(&app, app.shown.as_ref().unwrap(), Rect::new(3, 5, width, height))
    }

    #[test]
    fn cells_are_found_where_they_are_drawn() {
        let grid = grid(60, 40, 0);
        for Column { token, x, .. } in grid.columns(0) {
            for (layer, y) in grid.rows() {
                assert_eq!(grid.cell_at(Position::new(x, y)), Some(Cursor { layer, token }));
            }
        }
        let separator = grid.separator().unwrap();
        assert_eq!(grid.cell_at(Position::new(separator, grid.cells.y)), None);
        assert_eq!(grid.y(0), Some(grid.cells.bottom() - 1));
        assert_eq!(grid.rows().count(), 30);
    }

    #[test]
    fn lines_of_two_layers_where_one_each_has_no_room() {
        let grid = grid(60, 19, 0);
        assert_eq!((grid.stacked, grid.cells.height), (2, 15));
        let lines: Vec<_> = grid.lines().map(|(line, _)| line).collect();
        assert_eq!((lines.len(), &lines[0], &lines[14]), (15, &(0..2), &(28..30)));
        assert_eq!(grid.y(28), grid.y(29));
        let top = Position::new(grid.cells.x, grid.cells.y);
        assert_eq!(grid.cell_at(top).unwrap().layer, 28);
        // The names of the sections go before a layer does.
        let lower = super::tests::grid(60, 18, 0);
        assert_eq!((lower.cells.height, lower.sections), (15, None));
        let lowest = super::tests::grid(60, 17, 0);
        assert_eq!((lowest.cells.height, lowest.caption), (15, None));
    }

    /// A prompt that ran whole, folded to its strip.
    fn folded(width: u16, height: u16, first_token: usize) -> Grid {
        let mut app = fixture::app();
        app.open("depths".into(), None, fixture::depth_trace(60));
        app.ui.map.first_token = first_token;
        Grid::new(&app, app.shown.as_ref().unwrap(), Rect::new(3, 5, width, height))
    }

    #[test]
    fn a_folded_prompt_is_a_strip_that_stays() {
        let grid = folded(60, 40, 30);
        assert!(grid.folded);
        let mut columns = grid.columns(4);
        let strip = Column {
            token: 4,
            x: grid.cells.x,
            width: STRIP,
        };
        assert_eq!(columns.next(), Some(strip));
        assert_eq!(
            columns.next().unwrap().token,
            30,
            "from where the answer is scrolled to"
        );
        assert_eq!(grid.separator(), Some(grid.cells.x + STRIP));
        assert_eq!(grid.x(0), grid.x(11));
        let last = Cursor { layer: 0, token: 11 };
        assert_eq!(
            grid.cell_at(Position::new(grid.cells.x + 2, grid.y(0).unwrap())),
            Some(last)
        );
    }

    proptest! {
        #[test]
        fn scrolling_brings_the_cursor_into_sight(width in 12u16..120, height in 6u16..50, first in 0usize..90, token in 0usize..72, layer in 0usize..30) {
            let mut grid = grid(width, height, first);
            prop_assume!(grid.cells.width >= 2);
            grid.first_token = grid.scroll_to_token(token);
            grid.first_layer = grid.scroll_to_layer(layer);
            prop_assert!(grid.x(token).is_some(), "{:?}", grid);
            prop_assert!(grid.y(layer).is_some() || grid.cells.height == 0);
        }

        #[test]
        fn scrolling_a_folded_map_brings_the_cursor_into_sight(width in 20u16..120, height in 6u16..50, first in 0usize..90, token in 0usize..72) {
            let mut grid = folded(width, height, first);
            prop_assume!(grid.cells.width >= STRIP + 4);
            grid.first_token = grid.scroll_to_token(token);
            prop_assert!(grid.x(token).is_some(), "{:?}", grid);
            prop_assert!(grid.first_token >= grid.prompt_len);
        }
    }
}
