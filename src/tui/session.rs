//! A session that is kept from one start to the next: the runs, what is selected, the settings with
//! their overrides, the prompts.
//!
//! The file is JSON lines: a head with the version, the state, then a line for every run and every
//! opened trace, which hold the trace as `run --json` writes it. It is read back with the same checks
//! as a trace that is opened, see [`crate::trace::Trace::from_json_lines`].

mod file;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::app::App;
use super::history::Parent;
use super::override_list;
use super::panes::Panes;
use super::recordings::{Recording, RecordingSource};
use super::run::{Origin, Run};
use super::ui::{Cursor, Focus, MapMode};
use crate::engine::{RouterChoice, RunId};
use crate::model::{ActivationBits, KvBits};
use crate::program::MOST_LAYERS;
use crate::trace::{Overrides, Settings, Trace};

pub use file::{SessionError, path, read, write};

/// Everything that comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// What the screen was set to.
    pub state: SessionState,
    /// The oldest first.
    pub runs: Vec<(SavedRun, Trace)>,
    /// Traces that were opened, with their titles.
    pub opened: Vec<(String, Trace)>,
    /// What was in the file and cannot be used: a line for each run or trace.
    pub damaged: Vec<String>,
}

/// What the screen was set to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionState {
    /// Of the next run.
    pub settings: Settings,
    /// As it was asked for, a file by its whole path; the default one where absent.
    pub model: Option<String>,
    /// Of its loop, where others than in its training.
    pub iterations: Option<usize>,
    /// As `--routers` takes them, a file by its whole path; the configured ones where absent.
    pub routers: Option<String>,
    /// Whether the model ran in f32 throughout.
    pub exact: Option<bool>,
    /// To how many bits its activations were rounded.
    pub activations: Option<ActivationBits>,
    /// Of its keys and values.
    pub kv_bits: Option<KvBits>,
    /// The list of overrides as its file has it, for what is switched off.
    overrides: String,
    overrides_path: String,
    prompt: String,
    history: Vec<String>,
    /// The runs on the screen and in the comparison.
    shown: Option<RunId>,
    previous: Option<RunId>,
    layer: usize,
    token: usize,
    follow: bool,
    focus: String,
    folded: String,
    map: String,
    zoom: Option<u16>,
    fold: Option<bool>,
    template: bool,
    panes: Panes,
}

/// A run without its trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedRun {
    id: RunId,
    /// The title of a recording; absent for a run that was computed.
    recording: Option<String>,
    prompt: Option<String>,
    /// The run it goes on from, and the first position that is its own.
    parent: Option<(RunId, usize)>,
}

impl Session {
    /// What the screen has now; `None` where there is nothing that anyone would miss.
    pub fn of(app: &App) -> Option<Session> {
        let mut runs: Vec<&Run> = app.runs().collect();
        runs.sort_by_key(|run| run.id);
        runs.dedup_by_key(|run| run.id);
        let opened = app.recordings.iter().filter_map(|recording| match &recording.source {
            RecordingSource::Opened(trace) => Some((recording.title.clone(), (**trace).clone())),
            RecordingSource::BuiltIn(_) => None,
        });
        let opened: Vec<(String, Trace)> = opened.collect();
        let own = runs.iter().any(|run| !run.is_recording()) || app.prompt.history().next().is_some();
        if !own && opened.is_empty() {
            return None;
        }
        let id = |run: &Option<Run>| run.as_ref().map(|run| run.id);
        let state = SessionState {
            settings: app.settings.clone(),
            model: app.load.model.as_deref().map(wherever_started),
            iterations: app.load.iterations,
            routers: Some(match &app.routers {
                RouterChoice::File(path) => wherever_started(&path.display().to_string()),
                named => named.to_string(),
            }),
            exact: Some(app.load.exact),
            activations: Some(app.load.activations),
            kv_bits: Some(app.load.kv_bits),
            overrides: override_list::to_file(&app.settings, &app.off).to_string(),
            overrides_path: app.overrides_path.clone(),
            prompt: app.prompt.text(),
            history: app.prompt.history().map(str::to_owned).collect(),
            shown: id(&app.shown),
            previous: id(&app.previous),
            layer: app.ui.cursor.layer,
            token: app.ui.cursor.token,
            follow: app.ui.follow,
            focus: app.ui.focus.name().to_owned(),
            folded: app.ui.folded.name().to_owned(),
            map: app.ui.map.mode.title().to_owned(),
            zoom: app.ui.map.zoom,
            fold: app.ui.map.fold,
            template: app.ui.template,
            panes: app.ui.panes,
        };
        let saved = |run: &&Run| {
            let saved = SavedRun {
                id: run.id,
                recording: match &run.origin {
                    Origin::Recording(title) => Some(title.clone()),
                    Origin::Live | Origin::Unmodified => None,
                },
                prompt: run.prompt.clone(),
                parent: run.parent.map(|parent| (parent.run, parent.at)),
            };
            (saved, run.trace.clone())
        };
        Some(Session {
            state,
            runs: runs.iter().map(saved).collect(),
            opened,
            damaged: Vec::new(),
        })
    }

    /// Puts everything back; runs that are on the screen stay in the tree. The settings are left
    /// alone: a start has those of its arguments.
    pub fn restore(self, app: &mut App) {
        if let Some(first) = self.damaged.first() {
            let n = self.damaged.len();
            app.error(format!(
                "{n} of the session's runs and traces are damaged and left out: {first}"
            ));
        }
        let SessionState { shown, previous, .. } = self.state;
        let base = app.last_run;
        app.begin_restore();
        for (saved, trace) in self.runs {
            let run = saved.run(base, trace);
            app.last_run = app.last_run.max(run.id);
            match Some(run.id - base) {
                id if id == shown => app.shown = Some(run),
                id if id == previous => app.previous = Some(run),
                _ => app.history.put(run),
            }
        }
        let opened = self
            .opened
            .into_iter()
            .map(|(title, trace)| Recording::opened(title, trace));
        let known: Vec<Recording> = opened.filter(|new| !app.recordings.contains(new)).collect();
        app.recording += known.len();
        app.recordings.splice(0..0, known);
        if app.shown.is_none() {
            app.open_recording();
        }
        self.state.apply(app);
    }
}

/// A model's name, or the whole path of its file or folder, which a later start may be elsewhere than.
fn wherever_started(model: &str) -> String {
    let path = Path::new(model);
    let whole = path.exists().then(|| std::path::absolute(path).ok()).flatten();
    whole.map_or_else(|| model.to_owned(), |whole| whole.display().to_string())
}

impl App {
    /// Makes room for what comes back.
    fn begin_restore(&mut self) {
        let before = [self.previous.take(), self.shown.take()].into_iter().flatten();
        let own: Vec<Run> = before
            .filter(|run| !run.is_recording() || self.has_branches(run.id))
            .collect();
        own.into_iter().for_each(|run| self.history.put(run));
        (self.batch, self.apart) = (None, None);
    }
}

impl SavedRun {
    /// The run, with ids above `base`.
    fn run(self, base: RunId, trace: Trace) -> Run {
        let origin = self.recording.map_or(Origin::Live, Origin::Recording);
        let parent = self.parent.map(|(run, at)| Parent {
            run: base.saturating_add(run),
            at,
        });
        Run::restored(base.saturating_add(self.id), origin, self.prompt, parent, trace)
    }
}

impl SessionState {
    fn apply(self, app: &mut App) {
        // The settings are those of the start or of the session, not those of a recording.
        app.give_back();
        // Read back, or it would have been refused.
        let overrides = Overrides::parse(&self.overrides, MOST_LAYERS);
        app.off = overrides.map(|file| override_list::off(&file)).unwrap_or_default();
        app.overrides_path = self.overrides_path;
        app.prompt.restore(&self.prompt, self.history);
        app.begin_view();
        app.ui.follow = self.follow;
        app.ui.cursor = Cursor {
            layer: self.layer.min(app.layers().saturating_sub(1)),
            token: self.token.min(app.last_token()),
        };
        let pane = |name: &str| Focus::ALL.into_iter().find(|focus| focus.name() == name);
        app.ui.focus = pane(&self.focus).unwrap_or(app.ui.focus);
        app.ui.folded = pane(&self.folded)
            .filter(|pane| *pane != Focus::Prompt)
            .unwrap_or(app.ui.folded);
        let modes = [MapMode::Decisions, MapMode::Confidence, MapMode::DecidedBy];
        let mode = modes.into_iter().find(|mode| mode.title() == self.map);
        app.ui.map.mode = mode.unwrap_or_default();
        app.ui.map.zoom = self.zoom.map(|zoom| zoom.clamp(1, 3));
        app.ui.map.fold = self.fold;
        app.ui.template = self.template;
        app.ui.panes = self.panes;
    }
}

#[cfg(test)]
mod tests;
