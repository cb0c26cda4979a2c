//! The state of the screen. [`mod@super::update`] changes it, [`super::view`] draws it.

use super::action::UiAction;
use super::describe::quoted;
use super::dialogs::Against;
use super::files::FileRequest;
use super::history::{History, Parent};
use super::inside::Apart;
use super::job::JobRequest;
use super::keymap::Keymap;
use super::lens::Lens;
use super::lesson::{Guesses, Listed, Tour};
use super::loop_map::LoopMap;
use super::next_run::WantedRouters;
use super::override_list::Off;
use super::overrides;
use super::prompt::PromptEditor;
use super::recordings::Recording;
use super::run::{Run, RunProgress};
use super::search::Search;
use super::stats::PromptBatch;
use super::theme::Theme;
use super::training::RouterTraining;
use super::ui::{Focus, LensContents, Level, Notice, Ui};
use crate::engine::{AskId, LoadRequest, RouterChoice, RunId};
use crate::trace::{CandidateProgram, Header, Loop, ModelInfo, Pin, RouterInfo, Settings, Trace};

/// The model as far as the screen knows.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there is one, in the screen's state")]
pub enum ModelState {
    /// Looked for, pulled or loaded.
    Loading {
        /// What is under way, in words.
        what: String,
        /// Bytes done, and in all where that is known; absent where none are counted.
        bytes: Option<(u64, Option<u64>)>,
    },
    /// In memory.
    Ready {
        /// What the model is: its name, its layers and more.
        info: ModelInfo,
        /// The loaded routers; absent where there are none.
        routers: Option<RouterInfo>,
        /// Where the model runs, as the worker names it.
        device: String,
    },
    /// None; what to do.
    Missing(String),
}

/// A run that was asked for and has not begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Starting {
    /// The number that the worker's events of this run carry.
    pub id: RunId,
    /// The text, where it is known; a run that is gone on with may have ids alone.
    pub prompt: Option<String>,
    /// The settings it was asked with.
    pub settings: Settings,
    /// For comparison only.
    pub unmodified: bool,
    /// Layers of the prompt's pass that are done, and how many there are.
    pub reading: Option<(usize, usize)>,
    /// The run it goes on from.
    pub parent: Option<Parent>,
}

/// What is known: the model, the runs, what is asked of the next one. [`Ui`] is how it is looked at.
pub struct App {
    /// How it is looked at.
    pub ui: Ui,
    /// The worker holds the run under way before its next token.
    pub held: bool,
    /// The model in memory, or on its way.
    pub model: ModelState,
    /// The model inside this program, which runs prompts that it knows the words of while the other one is on its way.
    pub meanwhile: Option<ModelInfo>,
    /// What was asked for at the start.
    pub load: LoadRequest,
    /// The loop as the user asked for it last: that of the loaded model, or of the one that is being loaded.
    pub asked_loop: Option<Loop>,
    /// Those that ship and those that the user opened.
    pub recordings: Vec<Recording>,
    /// Index of the recording on the screen, or to be opened next.
    pub recording: usize,
    /// For the next run.
    pub settings: Settings,
    /// Overrides that are switched off.
    pub off: Vec<Off>,
    /// The file of overrides that was named last.
    pub overrides_path: String,
    /// What the explorer was started with.
    pub start: Settings,
    /// `settings` from before a recording was opened whose settings were taken over. How its tokens were drawn is kept
    /// while its prompt is run again.
    pub own: Option<Settings>,
    /// The next run goes on with the recording on the screen, under its routers.
    pub continues: bool,
    /// Where the loaded routers are from.
    pub routers: RouterChoice,
    /// Routers that the user asked for and that the worker has not answered for yet.
    pub asked_routers: Option<RouterChoice>,
    /// Routers that something waits for.
    pub wanted: Option<WantedRouters>,
    /// The prompt as it is edited.
    pub prompt: PromptEditor,
    /// The run on the screen.
    pub shown: Option<Run>,
    /// The run that was on the screen before.
    pub previous: Option<Run>,
    /// The unmodified model on the prompt of `shown`.
    pub unmodified: Option<Run>,
    /// The other runs of this session.
    pub history: History,
    /// What the logit lens has said.
    pub lens: Lens,
    /// The search of programs, and what it is asked.
    pub search: Search,
    /// The loop map, and what it is asked.
    pub loop_map: LoopMap,
    /// The file of prompts that is run, or was run last.
    pub batch: Option<PromptBatch>,
    /// How far the runs lie apart that were compared last.
    pub apart: Option<Apart>,
    /// The run that the worker has been asked for.
    pub starting: Option<Starting>,
    /// Run as soon as the model is there.
    pub queued: bool,
    /// The greatest number that was given to a run.
    pub last_run: RunId,
    /// The greatest number that was given to a question.
    pub last_ask: AskId,
    /// The shipped and the user's, usable or not.
    pub lessons: Vec<Listed>,
    /// The lesson under way.
    pub tour: Option<Tour>,
    /// What was guessed of the run on the screen.
    pub guesses: Guesses,
    /// The training of depth routers, and what is asked of it.
    pub training: RouterTraining,
    /// A command to be started or ended.
    pub job: Option<JobRequest>,
    /// A file to be read or written.
    pub file: Option<FileRequest>,
    /// On its way to the terminal's clipboard.
    pub clipboard: Option<String>,
    /// End the explorer.
    pub quit: bool,
    /// Leave the terminal to the shell until it continues this process.
    pub suspend: bool,
}

impl App {
    /// An empty screen that waits for its model.
    pub fn new(theme: Theme, keymap: Keymap<UiAction>, settings: Settings) -> App {
        App {
            ui: Ui::new(theme, keymap),
            held: false,
            model: ModelState::Loading {
                what: "looking for the model".to_owned(),
                bytes: None,
            },
            meanwhile: None,
            load: LoadRequest::default(),
            asked_loop: None,
            recordings: Vec::new(),
            recording: 0,
            start: settings.clone(),
            settings,
            own: None,
            continues: false,
            routers: RouterChoice::default(),
            asked_routers: None,
            wanted: None,
            off: Vec::new(),
            overrides_path: "run.overrides".to_owned(),
            prompt: PromptEditor::default(),
            shown: None,
            previous: None,
            unmodified: None,
            history: History::default(),
            lens: Lens::default(),
            search: Search::default(),
            loop_map: LoopMap::default(),
            batch: None,
            apart: None,
            starting: None,
            queued: false,
            last_run: 0,
            last_ask: 0,
            lessons: Vec::new(),
            tour: None,
            guesses: Guesses::default(),
            training: RouterTraining::default(),
            job: None,
            file: None,
            clipboard: None,
            quit: false,
            suspend: false,
        }
    }

    /// Opens a recorded trace.
    pub fn open(&mut self, title: String, prompt: Option<String>, trace: Trace) {
        let now = (!self.ui.reduced_motion).then_some(self.ui.now);
        let mut run = Run::recording(title, prompt, trace, now);
        self.last_run += 1;
        run.id = self.last_run;
        // A recording can be opened again; it is remembered only where a run goes on from it.
        let before = self.shown.replace(run);
        if let Some(run) = before.filter(|run| self.has_branches(run.id)) {
            self.history.put(run);
        }
        self.take_over();
        self.begin_view();
        // Half-way up there is most to see.
        self.ui.cursor.layer = self.layers() / 2;
    }

    /// Opens the recording that is next, and proposes its prompt.
    pub fn open_recording(&mut self) {
        let Some(recording) = self.recordings.get(self.recording) else {
            return;
        };
        let (title, prompt) = (recording.title.clone(), recording.prompt.clone());
        match recording.trace() {
            Ok(trace) => {
                self.open(title, prompt, trace);
                self.propose_prompt();
            }
            Err(error) => self.error(format!("{error:#}")),
        }
    }

    /// Puts what the run on the screen was asked into the prompt editor; what was typed there is remembered.
    pub fn propose_prompt(&mut self) {
        let Some(prompt) = self.shown.as_ref().and_then(Run::prompt_text) else {
            return;
        };
        if !self.prompt.is_blank() && !self.prompt.is_selected() && self.prompt.text() != prompt {
            self.prompt.remember();
        }
        self.prompt.suggest(&prompt);
    }

    /// Puts the cursor where a new run begins.
    pub fn begin_view(&mut self) {
        self.ui.mark = None;
        self.unmodified = self.unmodified.take().filter(|base| self.is_twin(base));
        self.ui.follow = true;
        self.ui.answer_scroll = 0;
        self.ui.map.first_token = 0;
        self.ui.cursor.token = self.last_token();
    }

    /// Whether a run of the unmodified model is that of the run on the screen: the same prompt, drawn in the same way.
    fn is_twin(&self, base: &Run) -> bool {
        let twin = |run: &Run| {
            let (of, header) = (&base.trace.header, &run.trace.header);
            let ids = |header: &Header| header.prompt.iter().map(|token| token.id).collect::<Vec<_>>();
            of.model.is_same(&header.model)
                && of.settings == overrides::unmodified(&header.settings, run.layers())
                && ids(of) == ids(header)
        };
        base.progress == RunProgress::Finished && self.shown.as_ref().is_some_and(twin)
    }

    /// Why the unmodified model is not run for the twin view; unescaped.
    pub fn twin_waits(&self) -> Option<String> {
        let run = self.shown.as_ref()?;
        let busy = self.is_busy() && !self.starting.as_ref().is_some_and(|s| s.unmodified);
        let waits = || busy.then(|| "waits for the run to end".to_owned());
        self.waits_for_model(&run.trace.header.model).or_else(waits)
    }

    /// What a pane shows at present, for its tab.
    pub fn tab_title(&self, pane: Focus) -> &'static str {
        match pane {
            Focus::Map if self.ui.map.lens => match self.lens_contents() {
                LensContents::Words => "Lens",
                LensContents::Experts => "Experts",
            },
            Focus::Map if self.ui.map.tape => "Tape",
            pane => pane.title(),
        }
    }

    /// The model, once it is loaded.
    pub fn ready(&self) -> Option<&ModelInfo> {
        match &self.model {
            ModelState::Ready { info, .. } => Some(info),
            _ => None,
        }
    }

    /// Layers of what is on the screen, or of the model, or none.
    pub fn layers(&self) -> usize {
        let shown = self.shown.as_ref().map(Run::layers);
        shown.or(self.ready().map(|m| m.layers)).unwrap_or(0)
    }

    /// The loop of what is on the screen, or of the model.
    pub fn looped(&self) -> Option<Loop> {
        match &self.shown {
            Some(run) => run.looped(),
            None => self.ready()?.looped,
        }
    }

    /// Layers that programs and budgets are checked against: those of the model that will run.
    pub fn model_layers(&self) -> Option<usize> {
        let model = self.ready().map(|m| m.layers);
        model.or(self.shown.as_ref().map(Run::layers))
    }

    /// Position of the newest token.
    pub fn last_token(&self) -> usize {
        self.shown.as_ref().map_or(0, |run| run.tokens().saturating_sub(1))
    }

    /// The run whose progress the status line shows.
    pub fn is_busy(&self) -> bool {
        let running = |run: &Option<Run>| run.as_ref().is_some_and(Run::is_running);
        self.starting.is_some() || running(&self.shown) || running(&self.unmodified)
    }

    /// Whether time must pass for the screen to be right.
    pub fn is_animated(&self) -> bool {
        let fading = self.ui.notice.as_ref().is_some_and(|n| n.level == Level::Info);
        fading
            || self.shown.as_ref().is_some_and(Run::is_playing)
            || ((self.is_busy() || self.is_searching()) && !self.held && !self.ui.reduced_motion)
    }

    /// Whether the worker is searching programs or filling a loop map.
    pub fn is_searching(&self) -> bool {
        self.search.is_running() || self.loop_map.is_running()
    }

    /// The marked cells, or the cursor's layer at every token: layers, and positions if limited.
    pub fn selection(&self) -> (std::ops::RangeInclusive<usize>, Option<(usize, usize)>) {
        let here = self.ui.cursor;
        match self.ui.mark {
            None => (here.layer..=here.layer, None),
            Some(mark) => {
                let positions = (here.token.min(mark.token), here.token.max(mark.token));
                (here.layer.min(mark.layer)..=here.layer.max(mark.layer), Some(positions))
            }
        }
    }

    /// Pins of the run on the screen that no longer hold, or hold anew, at a cell.
    pub fn pin_change(&self, layer: usize, position: usize) -> Option<overrides::PinChange> {
        overrides::pin_change(&self.settled().pins, self.next_pins(), layer, position)
    }

    /// The whole-layer pin of a layer, as the next run will have it.
    pub fn layer_pin(&self, layer: usize) -> Option<&Pin> {
        let whole = |pin: &&Pin| pin.layer == layer && pin.positions.is_none();
        self.next_pins().iter().rev().find(whole)
    }

    /// Shows a message that goes away by itself.
    pub fn info(&mut self, text: impl Into<String>) {
        self.notify(Level::Info, text.into());
    }

    /// Shows a message that stays until it is dismissed.
    pub fn error(&mut self, text: impl Into<String>) {
        self.notify(Level::Error, text.into());
    }

    fn notify(&mut self, level: Level, text: String) {
        self.ui.said += 1;
        self.ui.notice = Some(Notice {
            level,
            text,
            since: self.ui.now,
        });
    }

    /// The run that a comparison holds against the one on the screen.
    pub fn against(&self, against: Against) -> Option<&Run> {
        match against {
            Against::Previous => self.previous.as_ref(),
            Against::Unmodified => self.unmodified.as_ref(),
            Against::Run(id) => self.run(id),
        }
    }

    /// The programs that a predictor proposed for the prompt on the screen: those of the run, or, where one of them was run
    /// by itself, those of the run before.
    pub fn candidates(&self) -> &[CandidateProgram] {
        let Some(shown) = &self.shown else { return &[] };
        let same_prompt = |run: &&Run| {
            let ids = |run: &Run| run.trace.header.prompt.iter().map(|t| t.id).collect::<Vec<_>>();
            ids(run) == ids(shown)
        };
        match shown.candidates() {
            [] => self.previous.as_ref().filter(same_prompt).map_or(&[], Run::candidates),
            candidates => candidates,
        }
    }

    /// Where a token of the run on the screen is, and its text.
    pub fn place_of(&self, position: usize) -> String {
        let Some(run) = &self.shown else {
            return format!("position {position}");
        };
        let text = match run.token(position) {
            None => String::new(),
            Some((text, _)) => format!(" {}", quoted(text)),
        };
        format!("{}{text}", run.place(position))
    }

    /// The keymap's context at present.
    pub fn context(&self) -> &'static str {
        match &self.ui.overlay {
            Some(overlay) => overlay.dialog().context(self),
            None => self.ui.focus.context(),
        }
    }
}
