//! The help.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, closed, scrolled};
use crate::tui::action::UiAction::{self, Close, Down, Up};
use crate::tui::app::App;
use crate::tui::view;

/// What the screen shows and what the keys do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelpDialog {
    /// Lines above the first in sight.
    pub scroll: usize,
}

impl Dialog for HelpDialog {
    fn keys(&self, _app: &App) -> Vec<Offer> {
        vec![(Close, "close"), (Up, "scroll"), (Down, "scroll")]
    }

    fn handle(self, _app: &mut App, action: UiAction) -> Handled {
        if action == UiAction::Help {
            return closed();
        }
        let stays = scrolled(self.scroll, action).map(|scroll| HelpDialog { scroll });
        (stays.map(Into::into), Vec::new())
    }

    fn scroll(&mut self, _app: &mut App, lines: isize) {
        self.scroll = self.scroll.saturating_add_signed(lines);
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::help::draw(app, self.scroll, place.body, buffer);
        None
    }

    fn words(&self, app: &App) -> String {
        let key = |action| app.ui.keymap.keys_for(action, "overlay").into_iter().next();
        let key = |action| key(action).unwrap_or_else(|| "no key".to_owned());
        let (down, close) = (key(Down), key(Close));
        let place = match self.scroll {
            0 => "from its beginning".to_owned(),
            n => format!("scrolled by {n}"),
        };
        format!("help: what the screen shows and what the keys do, {place}; {down} scrolls, {close} closes")
    }
}
