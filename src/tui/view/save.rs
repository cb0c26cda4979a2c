//! The dialog that asks where the run is to be saved.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::super::app::App;
use super::super::save::SaveDialog;
use super::playback::asking;

/// Draws it; where its cursor is.
pub(in crate::tui) fn draw(app: &App, dialog: &SaveDialog, body: Rect, buffer: &mut Buffer) -> Position {
    let hint = "the ending decides: .jsonl is the trace, which opens again; .svg .html .csv .json .txt what the map \
                shows; .overrides what was changed";
    asking(app, "Save the run", "", &dialog.edit, hint, body, buffer)
}
