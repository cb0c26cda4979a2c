//! Where the map's cells are: columns of tokens, rows of layers. One place for drawing, scrolling
//! and the mouse.
//!
//! ```text
//!     prompt │ answer                      sections
//!  30 ▆▆▆▆▆▆▆│▆▆▇▆▅                        depth
//!  29 ▄▄▄▄▄▄▄│▄▄█▄▄           ▄▄▄▄▄▄▄▄     layers, and their shares
//!   …
//!   0 ▄▄▄▄▄▄▄│▄▄▄▄▄           ▄▄▄▄▄▄▄▄
//!            ▲ " sky"                      the cursor's token
//! ```

use ratatui::layout::{Position, Rect};

use super::app::{App, Cursor};
use super::layout;
use super::run::Run;

/// Columns left of the cells: a layer's number, its pin, a space.
pub const GUTTER: u16 = 5;

/// Columns of a layer's shares.
pub const SHARES: u16 = 8;

/// From this width on there is room for shares.
const WIDTH_WITH_SHARES: u16 = 40;

/// The map's geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The cells alone.
    pub cells: Rect,
    /// Columns of one token.
    pub cell: u16,
    pub first_token: usize,
    pub first_layer: usize,
    pub tokens: usize,
    pub layers: usize,
    pub prompt_len: usize,
    /// Row of the section names, rows of the depths, row of the cursor's token.
    pub sections: Option<u16>,
    pub depth: Rect,
    pub caption: Option<u16>,
    /// Where the shares of each layer are.
    pub shares: Option<u16>,
}

impl Grid {
    /// The map of `run` in the pane `pane`.
    pub fn new(app: &App, run: &Run, pane: Rect) -> Grid {
        let area = layout::inner(pane);
        let layers = run.layers();
        let shares = if area.width >= WIDTH_WITH_SHARES { SHARES + 1 } else { 0 };
        let width = area.width.saturating_sub(GUTTER + shares);
        let x = area.x + GUTTER.min(area.width);

        // What is not layers, from the most to the least dispensable.
        let spare = area.height.saturating_sub(layers.min(usize::from(u16::MAX)) as u16);
        let (sections, caption) = (area.height >= 6, area.height >= 4);
        let bars = u16::from(sections) + u16::from(caption);
        let depth_rows = match area.height {
            0..8 => 0,
            8..18 => 1,
            _ => spare.saturating_sub(bars).clamp(1, 3),
        };
        let top = area.y + u16::from(sections);
        let room = area.height.saturating_sub(bars + depth_rows);
        let rows = usize::from(room).min(layers) as u16;
        let cells = Rect::new(x, top + depth_rows, width, rows);
        // Two columns a token where all the tokens there can be fit, so that nothing jumps later.
        let default_cell = if 2 * run.most_tokens() < usize::from(width) {
            2
        } else {
            1
        };
        Grid {
            cells,
            cell: app.map.zoom.unwrap_or(default_cell).clamp(1, 3),
            first_token: app.map.first_token.min(run.tokens().saturating_sub(1)),
            first_layer: app.map.first_layer.min(layers.saturating_sub(usize::from(rows))),
            tokens: run.tokens(),
            layers,
            prompt_len: run.prompt_len(),
            sections: sections.then_some(area.y),
            depth: Rect::new(x, top, width, depth_rows),
            caption: caption.then_some(cells.bottom()),
            shares: (shares > 0).then_some(cells.right() + 1),
        }
    }

    /// Columns from the left edge to the token, its section's separator included.
    fn offset(&self, token: usize) -> usize {
        let separator = self.first_token < self.prompt_len && token >= self.prompt_len;
        token.saturating_sub(self.first_token) * usize::from(self.cell) + usize::from(separator)
    }

    /// The first column of a token's cells, if all of them are in sight.
    pub fn x(&self, token: usize) -> Option<u16> {
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
            .filter(|up| *up < usize::from(self.cells.height))?;
        (layer < self.layers).then(|| self.cells.bottom() - 1 - up as u16)
    }

    /// The tokens in sight, and where they are.
    pub fn columns(&self) -> impl Iterator<Item = (usize, u16)> + '_ {
        (self.first_token..self.tokens).map_while(|t| Some((t, self.x(t)?)))
    }

    /// The layers in sight, and where they are.
    pub fn rows(&self) -> impl Iterator<Item = (usize, u16)> + '_ {
        (self.first_layer..self.layers).map_while(|l| Some((l, self.y(l)?)))
    }

    /// The column of the line between prompt and answer, if it is in sight.
    pub fn separator(&self) -> Option<u16> {
        (self.first_token < self.prompt_len && self.prompt_len < self.tokens)
            .then(|| self.x(self.prompt_len))
            .flatten()
            .map(|x| x - 1)
    }

    /// The cell at a place on the screen.
    pub fn cell_at(&self, at: Position) -> Option<Cursor> {
        let (layer, _) = self.rows().find(|(_, y)| *y == at.y)?;
        let (token, _) = self.columns().find(|(_, x)| (*x..*x + self.cell).contains(&at.x))?;
        Some(Cursor { layer, token })
    }

    /// How many tokens there is room for.
    pub fn capacity(&self) -> usize {
        (usize::from(self.cells.width.saturating_sub(1)) / usize::from(self.cell)).max(1)
    }

    /// The first token to be shown so that `token` is in sight, with as little movement as can be.
    pub fn scroll_to_token(&self, token: usize) -> usize {
        let token = token.min(self.tokens.saturating_sub(1));
        if token < self.first_token {
            return token;
        }
        // What was scrolled too far, by a run with more tokens, comes back.
        let last = (self.tokens).saturating_sub(self.capacity());
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
        let rows = usize::from(self.cells.height).max(1);
        let lowest = (layer + 1).saturating_sub(rows);
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
        app.map.first_token = first_token;
        Grid::new(&app, app.shown.as_ref().unwrap(), Rect::new(3, 5, width, height))
    }

    #[test]
    fn cells_are_found_where_they_are_drawn() {
        let grid = grid(60, 40, 0);
        for (token, x) in grid.columns() {
            for (layer, y) in grid.rows() {
                assert_eq!(grid.cell_at(Position::new(x, y)), Some(Cursor { layer, token }));
            }
        }
        let separator = grid.separator().unwrap();
        assert_eq!(grid.cell_at(Position::new(separator, grid.cells.y)), None);
        assert_eq!(grid.y(0), Some(grid.cells.bottom() - 1));
        assert_eq!(grid.rows().count(), 30);
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
    }
}
