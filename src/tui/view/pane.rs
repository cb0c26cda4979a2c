//! The border around a pane.

use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Block, BorderType, Clear, Scrollbar, ScrollbarOrientation, ScrollbarState, StatefulWidget, Widget,
};

use super::super::app::App;
use super::super::theme::Role;
use super::super::widgets::flow::fit;

/// Draws a pane's border with a title at the left and a remark at the right; thick where the pane
/// has the keys, so that it can be told without colours.
pub(super) fn frame(app: &App, area: Rect, focused: bool, title: &str, remark: &str, buffer: &mut Buffer) {
    let remark = Span::styled(remark, app.ui.theme.style(Role::Muted));
    frame_line(app, area, focused, title, Line::from(remark), buffer);
}

/// As [`frame`], with a remark of several styles.
pub(super) fn frame_line(app: &App, area: Rect, focused: bool, title: &str, remark: Line, buffer: &mut Buffer) {
    let style = |role| app.ui.theme.style(role);
    let title = fit(title, usize::from(area.width.saturating_sub(4)));
    let left = remark_room(&title, area.width);
    let (role, kind) = match focused {
        true => (Role::BorderFocused, BorderType::Thick),
        false => (Role::Border, BorderType::Rounded),
    };
    let mut block = Block::bordered().border_type(kind).border_style(style(role));
    if !title.is_empty() {
        block = block.title_top(Line::from(Span::styled(format!(" {title} "), style(Role::Title))));
    }
    let width = remark.width();
    if width > 0 && left > 3 {
        let mut remark = match width <= left {
            true => remark,
            false => {
                let text: String = remark.spans.iter().map(|span| span.content.as_ref()).collect();
                Line::from(Span::styled(fit(&text, left), style(Role::Muted)))
            }
        };
        remark.spans.insert(0, Span::raw(" "));
        remark.push_span(" ");
        block = block.title_top(remark.right_aligned());
    }
    block.render(area.intersection(buffer.area), buffer);
}

/// Columns that the border of a pane of this width leaves for a remark beside its title.
pub(super) fn remark_room(title: &str, width: u16) -> usize {
    usize::from(width.saturating_sub(4)).saturating_sub(Line::raw(title).width() + 4)
}

/// What of a pane's content is in sight: `seen` of `all` from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InSight {
    pub first: usize,
    pub seen: usize,
    pub all: usize,
}

/// A mark on the border of a pane for what is in sight: on the right one of lines, on the lower one of columns. None where
/// all is.
pub(super) fn position_mark(app: &App, pane: Rect, lines: bool, at: InSight, buffer: &mut Buffer) {
    let pane = pane.intersection(buffer.area);
    if at.seen >= at.all || at.seen == 0 || pane.width < 3 || pane.height < 3 {
        return;
    }
    let (orientation, thumb, border) = match lines {
        true => (ScrollbarOrientation::VerticalRight, "▐", pane.inner(Margin::new(0, 1))),
        false => (
            ScrollbarOrientation::HorizontalBottom,
            "▂",
            pane.inner(Margin::new(1, 0)),
        ),
    };
    let mut state = ScrollbarState::new(at.all - at.seen + 1)
        .position(at.first)
        .viewport_content_length(at.seen);
    Scrollbar::new(orientation)
        .begin_symbol(None)
        .end_symbol(None)
        .track_symbol(None)
        .thumb_symbol(thumb)
        .thumb_style(app.ui.theme.style(Role::Accent))
        .render(border, buffer, &mut state);
}

/// Clears a dialog's place and draws its border.
pub(super) fn dialog(app: &App, area: Rect, title: &str, remark: &str, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    Clear.render(area, buffer);
    buffer.set_style(area, app.ui.theme.base());
    frame(app, area, true, title, remark, buffer);
}
