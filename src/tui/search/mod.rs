//! Watching a search: the form that begins one, and the one under way or done.

mod examples;
mod form;
mod tree;
mod watched;

pub use examples::{ExampleQuestion, examples, recorded};
pub use form::{Form, MARK, SearchField, bare};
pub use tree::{TreeRow, rows};
pub use watched::{Pane, SearchProgress, SearchRecording, Sort, Watched, WatchedNode, change};

use std::time::Duration;

use crate::engine::{SearchEnd, SearchId};
use crate::text::escape_controls;

/// What the dialog shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchPage {
    /// What the next search is asked.
    Form,
    /// The search that was begun last.
    Watch,
}

/// The form and the search that was begun last.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// What the next search is asked.
    pub form: Form,
    /// Absent before the first search.
    pub watched: Option<Watched>,
    /// The last search that was asked for.
    pub last: SearchId,
}

impl Search {
    /// Whether the worker is searching.
    pub fn is_running(&self) -> bool {
        self.watched.as_ref().is_some_and(Watched::is_running)
    }

    /// Lets a recorded search go on to where it was at this time.
    pub fn play(&mut self, now: Duration) {
        if let Some(watched) = self.watched.as_mut().filter(|w| w.is_running()) {
            watched.play(now);
        }
    }

    /// Stops a recorded search; false where there is none under way.
    pub fn stop_recorded(&mut self) -> bool {
        let recorded = self
            .watched
            .as_mut()
            .filter(|w| w.is_running() && w.recording.is_some());
        recorded.map(|watched| watched.end(SearchEnd::Stopped)).is_some()
    }

    /// The search of this number, while it is expected to go on.
    pub fn expecting(&mut self, id: SearchId) -> Option<&mut Watched> {
        self.watched.as_mut().filter(|w| w.id == id && w.is_running())
    }
}

/// What is selected, in words.
pub fn describe(search: &Search, page: SearchPage) -> Option<String> {
    if page == SearchPage::Form {
        let form = &search.form;
        let text = match form.field {
            SearchField::Question => format!("question: {}", form.question.text()),
            SearchField::Answers => format!("answers, the right one marked with *: {}", form.answers.text()),
            SearchField::Simulations => format!("simulations: {}", form.simulations.text),
            SearchField::Seed => format!("seed: {}", form.seed.text),
            SearchField::Start => "start the search".to_owned(),
        };
        let error = form.error.as_ref().map_or(String::new(), |error| format!("{error}. "));
        return Some(escape_controls(&format!("search: {error}{text}")));
    }
    let watched = search.watched.as_ref()?;
    let node = watched.nodes.get(watched.selected)?;
    let shortest = match watched.best() == Some(watched.selected) {
        true => ", the shortest right one",
        false => "",
    };
    Some(format!(
        "search {} of {}; program {}: {}, depth {}, visits {}{shortest}",
        watched.done,
        watched.request.simulations,
        node.program,
        if node.correct { "right" } else { "wrong" },
        node.program.depth(),
        node.visits,
    ))
}
