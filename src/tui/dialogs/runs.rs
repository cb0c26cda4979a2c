//! The tree of runs.

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::{Against, CompareDialog, Dialog, DialogArea, Handled, Offer, closed, help, moved, opened, stays};
use crate::text::escape_controls;
use crate::tui::action::UiAction::{self, Accept, Close, Compare, Dismiss, Down, Help, Stats, Up};
use crate::tui::app::App;
use crate::tui::history;
use crate::tui::overrides::plural;
use crate::tui::{update, view};

/// The runs of this session and their branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunsDialog {
    /// The selected run's line in the tree, from 0.
    pub row: usize,
}

impl Dialog for RunsDialog {
    fn keys(&self, app: &App) -> Vec<Offer> {
        let tree = history::tree(app.runs());
        let selected = tree.get(self.row.min(tree.len().saturating_sub(1)));
        let shown = app.shown.as_ref().map(|run| run.id);
        let mut keys = vec![(Accept, "open")];
        if selected.is_some_and(|(_, run)| Some(run.id) != shown) {
            keys.push((Compare, "compare with the screen's"));
        }
        keys.extend([
            (Up, "choose"),
            (Down, "choose"),
            (Stats, "statistics"),
            (Close, "close"),
            (Help, "help"),
        ]);
        keys
    }

    fn handle(self, app: &mut App, action: UiAction) -> Handled {
        let tree = history::tree(app.runs());
        let last = tree.len().saturating_sub(1);
        let selected = tree.get(self.row.min(last)).map(|(_, run)| run.id);
        match (action, selected) {
            (Close | Dismiss | UiAction::Runs, _) => closed(),
            (Help, _) => help(),
            (Stats, _) => opened(app, |app| {
                update::stats::open(app);
                Vec::new()
            }),
            (Accept, Some(id)) => {
                app.reopen(id);
                closed()
            }
            (Compare, Some(id)) if app.shown.as_ref().is_some_and(|run| run.id != id) => stays(CompareDialog {
                against: Against::Run(id),
                scroll: 0,
            }),
            (Compare, _) => {
                app.info("this is the run on the screen: select another one to compare it with");
                stays(self)
            }
            _ => stays(RunsDialog {
                row: moved(self.row, last, action),
            }),
        }
    }

    fn draw(&self, app: &App, place: DialogArea, buffer: &mut Buffer) -> Option<Position> {
        view::runs::draw(app, self.row, place.body, buffer);
        None
    }

    fn words(&self, app: &App) -> String {
        let tree = history::tree(app.runs());
        let Some((_, run)) = tree.get(self.row.min(tree.len().saturating_sub(1))) else {
            return "runs: there are none yet".to_owned();
        };
        let parent = run
            .parent
            .and_then(|parent| tree.iter().position(|(_, other)| other.id == parent.run));
        let branch = parent.map_or(String::new(), |at| format!(", a branch of run {}", at + 1));
        let here = app.shown.as_ref().is_some_and(|shown| shown.id == run.id);
        let tokens = run.trace.steps.len();
        format!(
            "run {} of {}: {}, {tokens} token{}, depth {:.1}{branch}{}",
            self.row.min(tree.len() - 1) + 1,
            tree.len(),
            escape_controls(&run.what()),
            plural(tokens),
            run.trace.mean_depth(),
            if here { ", on the screen" } else { "" }
        )
    }
}
