//! What the runs that are open have in common, and a file of prompts that are run one after the
//! other. The numbers are those of `drllm-tui stats`, see [`crate::trace::aggregate`].

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::app::App;
use super::line_edit::LineEdit;
use super::recordings::RecordingSource;
use super::run::{Run, RunProgress};
use crate::engine::RunId;
use crate::trace::aggregate::{Aggregate, TraceStatistics};
use crate::trace::{ModelInfo, Settings, Trace};

/// How many of the most common programs are shown.
const PROGRAMS: usize = 20;

/// The statistics while they are on the screen.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsDialog {
    /// Absent where nothing has ended that could be counted.
    pub counted: Option<Counted>,
    /// Show the file of prompts, where there is one, and not the runs.
    pub prompts: bool,
    /// Lines scrolled.
    pub scroll: usize,
    /// The name of a file of prompts, while it is typed.
    pub edit: Option<LineEdit>,
}

/// Statistics, and of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// The numbers, as `drllm-tui stats` gives them.
    pub report: TraceStatistics,
    /// What the numbers are of.
    pub of: Of,
    /// Runs of other models than the report's, which are not in it.
    pub left_out: usize,
}

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Opened traces and the runs of this session.
    Runs,
    /// The recordings that ship: nothing else is there yet.
    Recordings,
    /// A file of prompts.
    Prompts,
}

/// A file of prompts that is run under the settings of its start.
#[derive(Clone, Debug)]
pub struct PromptBatch {
    /// Safe to show.
    pub name: String,
    /// Each with its line in the file.
    pub prompts: Vec<(usize, String)>,
    /// Of every run of the file.
    pub settings: Settings,
    /// Prompts that ran to their end.
    pub done: usize,
    /// The run under way; absent at the end, and once it was stopped.
    pub run: Option<RunId>,
    /// Of the prompts that ran to their end; absent before the first of them.
    pub aggregate: Option<Aggregate>,
}

impl StatsDialog {
    /// What there is to be counted now: the file of prompts while it runs, else the runs.
    pub fn new(app: &App) -> StatsDialog {
        let prompts = app.batch.as_ref().is_some_and(|batch| batch.run.is_some());
        let mut dialog = StatsDialog {
            counted: None,
            prompts,
            scroll: 0,
            edit: None,
        };
        dialog.count(app);
        dialog
    }

    /// Counts again.
    pub fn count(&mut self, app: &App) {
        self.counted = match (&app.batch, self.prompts) {
            (Some(batch), true) => batch.aggregate.as_ref().map(|aggregate| Counted {
                report: aggregate.report(PROGRAMS),
                of: Of::Prompts,
                left_out: 0,
            }),
            _ => count_runs(app),
        };
    }
}

fn count_runs(app: &App) -> Option<Counted> {
    let own = own(app);
    let (traces, of) = match own.is_empty() {
        false => (own, Of::Runs),
        true => {
            let shipped = app.recordings.iter().filter_map(|r| r.trace().ok());
            (shipped.map(Cow::Owned).collect(), Of::Recordings)
        }
    };
    let is_of = |model: &ModelInfo, trace: &Trace| {
        let other = &trace.header.model;
        (model.layers, &model.sha256) == (other.layers, &other.sha256)
    };
    // Statistics are those of one model: that of the run on the screen, if it is among them.
    let on_screen = app.shown.as_ref().map(|run| &run.trace.header.model);
    let on_screen = on_screen.filter(|model| traces.iter().any(|trace| is_of(model, trace)));
    let model = on_screen.or(traces.first().map(|trace| &trace.header.model))?;
    let mut aggregate = Aggregate::new(model.clone());
    let left_out = traces.iter().filter(|trace| aggregate.add(trace).is_err()).count();
    Some(Counted {
        report: aggregate.report(PROGRAMS),
        of,
        left_out,
    })
}

/// Opened traces, and the runs of this session that have ended.
fn own(app: &App) -> Vec<Cow<'_, Trace>> {
    let opened = app.recordings.iter().filter_map(|recording| match &recording.source {
        RecordingSource::Opened(trace) => Some(&**trace),
        RecordingSource::BuiltIn(_) => None,
    });
    // A recording is there already, however often it was opened.
    let ended = |run: &&Run| !run.is_recording() && run.progress == RunProgress::Finished;
    let mut seen = BTreeSet::new();
    let live = app.runs().filter(ended).filter(|run| seen.insert(run.id));
    let mut live: Vec<&Run> = live.collect();
    live.sort_by_key(|run| run.id);
    let live = live.into_iter().map(|run| &run.trace);
    opened.chain(live).map(Cow::Borrowed).collect()
}
