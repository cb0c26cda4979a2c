//! The logit lens as a map: what each token in sight would say after each of its layers. The worker is asked for a few
//! tokens at a time, the cursor's first; what it said is kept.

use std::collections::HashMap;
use std::ops::Range;

use super::app::App;
use super::grid::Grid;
use super::layout::Screen;
use super::run::Run;
use super::ui::LensContents;
use crate::engine::{AskId, Inspection, RunId};

/// Candidates named at each stage.
pub const TOP: usize = 3;

/// Tokens asked for at once: of the prompt, which runs in one piece, and of the answer.
const AT_ONCE: (usize, usize) = (16, 4);

/// Most tokens that are kept, of all runs together; a token takes some kilobytes.
const MOST_KEPT: usize = 4096;

/// What the lens has said so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lens {
    kept: HashMap<(RunId, usize), Inspection>,
    /// The question under way.
    asked: Option<(AskId, RunId)>,
    /// Why the worker had no answer; unescaped.
    pub refused: Option<String>,
    /// The user stopped it.
    pub stopped: bool,
}

impl Lens {
    /// What it said of a token.
    pub fn of(&self, run: RunId, position: usize) -> Option<&Inspection> {
        self.kept.get(&(run, position))
    }

    /// Whether the worker is still to answer.
    pub fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether this is its question; then nothing is under way any more.
    pub fn answered(&mut self, ask: AskId) -> Option<RunId> {
        self.asked.take_if(|(asked, _)| *asked == ask).map(|(_, run)| run)
    }

    /// Remembers the question that the worker is asked, of this run.
    pub fn asks(&mut self, ask: AskId, run: RunId) {
        self.asked = Some((ask, run));
    }

    /// Keeps what the worker said of tokens of a run; where there would be too much, all that was kept before goes.
    pub fn keep(&mut self, run: RunId, inspections: Vec<Inspection>) {
        if self.kept.len() + inspections.len() > MOST_KEPT {
            self.kept.clear();
        }
        let named = inspections.into_iter().map(|i| ((run, i.position), i));
        self.kept.extend(named);
    }

    /// What was known of other models is of no use.
    pub fn clear(&mut self) {
        *self = Lens::default();
    }
}

impl App {
    /// What the lens says of the token at a position of the run on the screen.
    pub fn lens_at(&self, position: usize) -> Option<&Inspection> {
        self.lens.of(self.shown.as_ref()?.id, position)
    }

    /// What stands in the cells of the lens map: experts only where the model of the run on the screen has some.
    pub fn lens_contents(&self) -> LensContents {
        match self.shown.as_ref().and_then(Run::looped) {
            Some(_) => self.ui.map.lens_shows,
            None => LensContents::Words,
        }
    }

    /// The tokens of the map that are in sight.
    fn in_sight(&self) -> Option<Range<usize>> {
        let pane = Screen::new(self, self.ui.area)?.map?;
        let grid = Grid::new(self, self.shown.as_ref()?, pane);
        let mut tokens = grid.columns(self.ui.cursor.token).map(|column| column.token);
        let first = tokens.next()?;
        Some(first..tokens.last().unwrap_or(first) + 1)
    }

    /// How many of the tokens in sight the lens knows, and how many there are.
    pub fn lens_progress(&self) -> Option<(usize, usize)> {
        let tokens = self.in_sight()?;
        let all = tokens.len();
        Some((tokens.filter(|&token| self.lens_at(token).is_some()).count(), all))
    }

    /// The tokens that the lens is to be asked for next: neighbours in sight, from the cursor's on.
    pub fn lens_wants(&self) -> Option<Range<usize>> {
        let sight = self.in_sight()?;
        let prompt = self.shown.as_ref()?.prompt_len();
        let wanted = |token: &usize| self.lens_at(*token).is_none();
        let here = Some(self.ui.cursor.token).filter(|token| sight.contains(token) && wanted(token));
        let first = here.or_else(|| sight.clone().find(wanted))?;
        let (most, end) = match first < prompt {
            true => (AT_ONCE.0, prompt),
            false => (AT_ONCE.1, usize::MAX),
        };
        let count = (first..sight.end.min(end)).take(most).take_while(wanted).count();
        Some(first..first + count)
    }

    /// Why the lens stands still although tokens are missing; unescaped.
    pub fn lens_waits(&self) -> Option<String> {
        let run = self.shown.as_ref()?;
        if let Some(why) = &self.lens.refused {
            return Some(why.clone());
        }
        if self.lens.stopped {
            return Some("stopped".to_owned());
        }
        let busy = self.is_busy() && !self.held;
        let waits = || busy.then(|| "waits for the run to end or to be held".to_owned());
        self.waits_for_model(&run.trace.header.model).or_else(waits)
    }
}
