//! Two runs side by side.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Dialog, DialogArea, Handled, Offer, closed, help, scrolled};
use crate::engine::RunId;
use crate::text::escape_controls;
use crate::tui::action::UiAction::{self, Close, Divergence, Down, Help, Rerun, Up};
use crate::tui::app::App;
use crate::tui::diff::Comparison;
use crate::tui::{update, view};

/// Which run the one on the screen is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The run that was on the screen before.
    Previous,
    /// The unmodified model on the same prompt.
    Unmodified,
    /// One of the tree of runs.
    Run(RunId),
}

/// A comparison with the run on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompareDialog {
    /// What the run on the screen is held against.
    pub against: Against,
    /// Lines from where the two texts are shown first.
    pub scroll: usize,
}

impl Dialog for CompareDialog {
    fn keys(&self, app: &App) -> Vec<Offer> {
        let runs = app.against(self.against).zip(app.shown.as_ref());
        let apart = runs.is_some_and(|(a, b)| update::inside::no_divergence(app, a, b).is_none());
        let mut keys = vec![(Close, "close"), (Up, "scroll"), (Down, "scroll")];
        if apart {
            keys.push((Divergence, "how far apart"));
        }
        keys.extend([(Rerun, "rerun"), (Help, "help")]);
        keys
    }

    fn handle(self, app: &mut App, action: UiAction) -> Handled {
        match action {
            UiAction::Help => help(),
            UiAction::Compare | UiAction::Baseline => closed(),
            UiAction::Divergence => {
                let commands = update::inside::diverge(app, self.against);
                (Some(self.into()), commands)
            }
            action => {
                let stays = scrolled(self.scroll, action).map(|scroll| CompareDialog { scroll, ..self });
                (stays.map(Into::into), Vec::new())
            }
        }
    }

    fn scroll(&mut self, _app: &mut App, lines: isize) {
        self.scroll = self.scroll.saturating_add_signed(lines);
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::compare::draw(app, self.against, self.scroll, place.body, buffer);
        None
    }

    fn words(&self, app: &App) -> String {
        let (Some(before), Some(after)) = (app.against(self.against), app.shown.as_ref()) else {
            return "comparison: the other run is under way".to_owned();
        };
        let comparison = Comparison::new(before, after);
        let parts = match comparison.diverges {
            Some(token) => format!("their answers part at token {}", token + 1),
            None => "their answers are the same".to_owned(),
        };
        let apart = app.apart.as_ref().filter(|a| a.runs == (before.id, after.id));
        let apart = match apart.and_then(|apart| apart.divergence.here()) {
            Some(divergence) => format!("; mean KL {:.4} nats", divergence.mean()),
            None => String::new(),
        };
        format!(
            "comparison of A, {}, depth {:.1}, with B, {}, depth {:.1}: {parts}{apart}",
            escape_controls(&before.what()),
            comparison.before.mean_depth,
            escape_controls(&after.what()),
            comparison.after.mean_depth
        )
    }
}
