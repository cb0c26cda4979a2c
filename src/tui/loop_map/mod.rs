//! Watching a loop map: the form that begins one, and the one under way or done.

mod form;
mod watched;

pub use form::{Field, LoopMapForm};
pub use watched::WatchedLoopMap;

pub use super::search::{SearchPage, SearchProgress};
use crate::engine::SearchId;

/// The form and the map that was begun last.
#[derive(Clone, Debug, Default)]
pub struct LoopMap {
    /// What the next map is asked.
    pub form: LoopMapForm,
    /// Absent before the first map.
    pub watched: Option<WatchedLoopMap>,
    /// The last map that was asked for.
    pub last: SearchId,
}

impl LoopMap {
    /// Whether the worker is mapping.
    pub fn is_running(&self) -> bool {
        self.watched.as_ref().is_some_and(WatchedLoopMap::is_running)
    }

    /// The map of this number, while it is expected to go on.
    pub fn expecting(&mut self, id: SearchId) -> Option<&mut WatchedLoopMap> {
        self.watched.as_mut().filter(|w| w.id == id && w.is_running())
    }
}
