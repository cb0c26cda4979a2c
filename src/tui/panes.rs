//! Sizes that the user gave the panes, and the edges between them that can be dragged.

use ratatui::layout::{Position, Rect};
use serde::{Deserialize, Serialize};

use super::app::App;
use super::layout::Screen;
use super::ui::Focus;

/// The smallest width of a pane, borders included.
pub const LEAST_WIDTH: u16 = 24;
/// The smallest height of a pane, borders included.
pub const LEAST_HEIGHT: u16 = 3;

/// Columns, or rows, of one press of a key.
const STEP: i32 = 2;

/// Sizes in columns or rows; the layout chooses where none is given, and keeps every pane on the
/// screen in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Panes {
    /// Width of the column with prompt and answer.
    pub left: Option<u16>,
    /// Width of the detail beside the map.
    pub detail_width: Option<u16>,
    /// Height of the detail under the answer.
    pub detail_height: Option<u16>,
    /// Height of the prompt over the answer.
    pub prompt: Option<u16>,
    /// Height of the answer under the map.
    pub words: Option<u16>,
}

/// An edge between two panes, named by what it makes larger and smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Between the column of prompt and answer and the map.
    Left,
    /// Between the map and the detail beside it.
    DetailWidth,
    /// Between the answer and the detail under it.
    DetailHeight,
    /// Between the prompt and the answer under it.
    Prompt,
    /// Between the map and the answer under it.
    Words,
}

impl Edge {
    /// In the order in which they are looked for under the mouse.
    pub const ALL: [Edge; 5] = [
        Edge::Left,
        Edge::DetailWidth,
        Edge::DetailHeight,
        Edge::Prompt,
        Edge::Words,
    ];
}

impl Panes {
    /// The size that moves with an edge.
    pub fn size(&mut self, edge: Edge) -> &mut Option<u16> {
        match edge {
            Edge::Left => &mut self.left,
            Edge::DetailWidth => &mut self.detail_width,
            Edge::DetailHeight => &mut self.detail_height,
            Edge::Prompt => &mut self.prompt,
            Edge::Words => &mut self.words,
        }
    }
}

/// `size`, but at most `most` and, above all, at least `least`.
pub fn within(size: u16, least: u16, most: u16) -> u16 {
    size.min(most).max(least)
}

impl Screen {
    /// The two border lines of an edge, one of either pane, if it is on the screen.
    fn border(&self, edge: Edge) -> Option<Rect> {
        let beside = |left: Rect, right: Rect| {
            let lines = Rect::new(right.x.saturating_sub(1), right.y, 2, right.height);
            (left.right() == right.x).then_some(lines)
        };
        let over = |top: Rect, bottom: Rect| {
            let lines = Rect::new(bottom.x, bottom.y.saturating_sub(1), bottom.width, 2);
            (top.bottom() == bottom.y && top.x == bottom.x).then_some(lines)
        };
        match edge {
            Edge::Left => beside(self.answer?, self.map?),
            Edge::DetailWidth => beside(self.map?, self.detail?),
            Edge::DetailHeight => over(self.answer?, self.detail?),
            Edge::Prompt => over(self.prompt?, self.answer?),
            Edge::Words => over(self.map?, self.answer?),
        }
    }

    /// The edge at a place on the screen.
    pub fn edge_at(&self, at: Position) -> Option<Edge> {
        let holds = |edge: &Edge| self.border(*edge).is_some_and(|border| border.contains(at));
        Edge::ALL.into_iter().find(holds)
    }

    /// What the size of an edge is now.
    fn size(&self, edge: Edge) -> Option<u16> {
        self.border(edge)?;
        match edge {
            Edge::Left => self.answer.map(|r| r.width),
            Edge::DetailWidth => self.detail.map(|r| r.width),
            Edge::DetailHeight => self.detail.map(|r| r.height),
            Edge::Prompt => self.prompt.map(|r| r.height),
            Edge::Words => self.answer.map(|r| r.height),
        }
    }

    /// The size that puts an edge at a place.
    fn size_to(&self, edge: Edge, at: Position) -> Option<u16> {
        self.border(edge)?;
        match edge {
            Edge::Left => self.answer.map(|r| (at.x + 1).saturating_sub(r.x)),
            Edge::DetailWidth => self.detail.map(|r| r.right().saturating_sub(at.x)),
            Edge::DetailHeight => self.detail.map(|r| r.bottom().saturating_sub(at.y)),
            Edge::Prompt => self.prompt.map(|r| (at.y + 1).saturating_sub(r.y)),
            Edge::Words => self.answer.map(|r| r.bottom().saturating_sub(at.y)),
        }
    }
}

/// Puts an edge at a place, or as near as the screen allows.
pub fn drag(app: &mut App, edge: Edge, at: Position) {
    if let Some(size) = Screen::new(app, app.ui.area).and_then(|screen| screen.size_to(edge, at)) {
        set(app, edge, size);
    }
}

/// Gives an edge a size, and remembers what became of it: no key is pressed in vain later.
fn set(app: &mut App, edge: Edge, size: u16) {
    *app.ui.panes.size(edge) = Some(size);
    let became = Screen::new(app, app.ui.area).and_then(|screen| screen.size(edge));
    *app.ui.panes.size(edge) = became.or(Some(size));
}

/// Makes the focused pane larger, or smaller, by a step; whether there was anything to take it from.
pub fn grow(app: &mut App, wide: bool, larger: bool) -> bool {
    let Some(screen) = Screen::new(app, app.ui.area) else {
        return false;
    };
    // The edge that moves, and whether its size is the pane's own.
    let edges: &[(Edge, bool)] = match (app.ui.focus, wide) {
        (Focus::Prompt | Focus::Answer, true) => &[(Edge::Left, true)],
        (Focus::Map, true) => &[(Edge::Left, false)],
        (Focus::Detail, true) => &[(Edge::DetailWidth, true), (Edge::Left, true)],
        (Focus::Prompt, false) => &[(Edge::Prompt, true)],
        (Focus::Answer, false) => &[(Edge::Words, true), (Edge::Prompt, false)],
        (Focus::Map, false) => &[(Edge::Words, false)],
        (Focus::Detail, false) => &[(Edge::DetailHeight, true)],
    };
    let there = edges
        .iter()
        .find_map(|(edge, own)| Some((*edge, *own, screen.size(*edge)?)));
    let Some((edge, own, size)) = there else { return false };
    let by = if own == larger { STEP } else { -STEP };
    set(app, edge, (i32::from(size) + by).clamp(0, i32::from(u16::MAX)) as u16);
    *app.ui.panes.size(edge) != Some(size)
}
