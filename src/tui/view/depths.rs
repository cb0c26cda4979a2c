//! The depths over the map: from a line at the model's layers bars hang down by the layers that a token saved. The axis
//! is the same for every run, so heights mean the same everywhere.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

use super::super::app::App;
use super::super::color::ColorTier;
use super::super::grid::{Column, GUTTER, Grid, SHARES};
use super::super::run::Run;
use super::super::theme::Role;
use super::super::widgets::bar;
use super::put;

pub(super) fn draw(app: &App, run: &Run, grid: &Grid, buffer: &mut Buffer) {
    let Some(lowest) = foot(run).filter(|_| grid.depth.height > 0) else {
        return;
    };
    let rows = usize::from(grid.depth.height);
    axis(app, grid, lowest, buffer);
    let (shallow, deep) = run.answer_range().unwrap_or_default();
    for Column { token, x, width } in grid.columns(app.ui.cursor.token) {
        let Some(depth) = run.depth(token) else { continue };
        let saved = grid.layers.saturating_sub(depth) as f64 / (grid.layers - lowest).max(1) as f64;
        let tint = match token < grid.prompt_len || shallow == deep {
            true => app.ui.theme.style(Role::Muted),
            false => app
                .ui
                .theme
                .depth(depth.saturating_sub(shallow) as f32 / (deep - shallow) as f32),
        };
        for row in 0..rows {
            let y = grid.depth.y + row as u16;
            let (glyph, style) = match row {
                0 if depth > grid.layers => ('+', app.ui.theme.style(Role::Repeat)),
                0 if depth == grid.layers => ('▔', app.ui.theme.style(Role::Muted)),
                _ => hanging(app, bar::hanging(saved, row, rows), tint),
            };
            for x in x..x + width {
                buffer[(x, y)].set_char(glyph).set_style(style);
            }
        }
    }
}

/// The depth at the foot of the axis: half the layers, or none where a token ran fewer than that.
fn foot(run: &Run) -> Option<usize> {
    let (low, _) = run.depth_range()?;
    let half = run.layers() / 2;
    Some(if low < half { 0 } else { half })
}

/// What the line and the foot stand for: beside the bars, away from the numbers of the layers.
fn axis(app: &App, grid: &Grid, lowest: usize, buffer: &mut Buffer) {
    let muted = app.ui.theme.style(Role::Muted);
    let gutter = Rect {
        x: grid.depth.x.saturating_sub(GUTTER),
        width: GUTTER,
        height: 1,
        ..grid.depth
    };
    let (top, foot) = (grid.layers, lowest);
    let Some(x) = grid.shares else {
        put(buffer, gutter, 0, 0, &format!("▔{top}"), muted);
        return;
    };
    put(buffer, gutter, 0, 0, "depth", muted);
    let side = Rect::new(x, grid.depth.y, SHARES, grid.depth.height);
    match grid.depth.height {
        1 => put(buffer, side, 0, 0, &format!("▔{top} ▁{foot}"), muted),
        rows => {
            put(buffer, side, 0, 0, &format!("▔{top}"), muted);
            put(buffer, side, 0, rows - 1, &format!("▁{foot}"), muted)
        }
    };
}

/// A cell filled from above by eighths. There are no glyphs for that, so where the background is known the lower part
/// of a filled cell is painted over with it; elsewhere it is none, half or all.
fn hanging(app: &App, eighths: usize, tint: Style) -> (char, Style) {
    let ground = app.ui.theme.ground();
    match (eighths, tint.fg) {
        (0, _) => (' ', tint),
        (8, _) => ('█', tint),
        (n, Some(fill)) if app.ui.theme.tier() > ColorTier::Ansi16 && ground != Color::Reset => {
            (bar::lower(8 - n), tint.fg(ground).bg(fill))
        }
        (1..=2, _) => ('▔', tint),
        (3..=6, _) => ('▀', tint),
        _ => ('█', tint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    #[test]
    fn the_axis_has_one_of_two_feet() {
        let run = |trace| Run::recording("a".into(), None, trace, None);
        assert_eq!(foot(&run(fixture::depth_trace(40))), Some(15));
        let mut deep = fixture::depth_trace(40);
        deep.steps[3].depth = 14;
        assert_eq!(foot(&run(deep)), Some(0));
    }
}
