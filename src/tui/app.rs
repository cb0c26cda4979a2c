//! The state of the screen. [`mod@super::update`] changes it, [`super::view`] draws it.

use std::time::Duration;

use ratatui::layout::Rect;

use super::action::UiAction;
use super::code::Code;
use super::dialogs::{Against, Overlay};
use super::files::FileRequest;
use super::history::{History, Parent};
use super::inside::Apart;
use super::job::JobRequest;
use super::keymap::{Key, Keymap};
use super::lens::Lens;
use super::lesson::{Guesses, Listed, Tour};
use super::lines::LineStarts;
use super::loop_map::LoopMap;
use super::next_run::WantedRouters;
use super::override_list::Off;
use super::overrides;
use super::panes::{Edge, Panes};
use super::playback::Speed;
use super::prompt::PromptEditor;
use super::recordings::Recording;
use super::run::{Run, RunProgress};
use super::search::Search;
use super::stats::PromptBatch;
use super::theme::Theme;
use super::training::RouterTraining;
use crate::engine::{AskId, RouterChoice, RunId};
use crate::text::escape_controls;
use crate::trace::{CandidateProgram, Header, Loop, ModelInfo, Pin, RouterInfo, Settings, Trace};

/// How long a passing message stands.
pub const NOTICE_TIME: Duration = Duration::from_secs(6);

/// Which pane hears the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Focus {
    Prompt,
    Answer,
    Map,
    Detail,
}

impl Focus {
    /// In the order of the Tab key, where they stand beside each other.
    pub const ALL: [Focus; 4] = [Focus::Prompt, Focus::Answer, Focus::Map, Focus::Detail];

    pub fn title(self) -> &'static str {
        match self {
            Focus::Prompt => "Prompt",
            Focus::Answer => "Answer",
            Focus::Map => "Map",
            Focus::Detail => "Detail",
        }
    }

    /// What lesson files call it.
    pub fn name(self) -> &'static str {
        match self {
            Focus::Prompt => "prompt",
            Focus::Answer => "answer",
            Focus::Map => "map",
            Focus::Detail => "detail",
        }
    }

    /// The keymap's context.
    pub fn context(self) -> &'static str {
        match self {
            Focus::Prompt => "prompt",
            Focus::Answer => "answer",
            Focus::Map | Focus::Detail => "grid",
        }
    }
}

/// A cell of the map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub layer: usize,
    /// Position of the token, from 0 at the prompt's first one.
    pub token: usize,
}

/// What the map's cells show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapMode {
    #[default]
    Decisions,
    /// Deciles of the greatest probability.
    Confidence,
    DecidedBy,
}

impl MapMode {
    pub fn next(self) -> MapMode {
        match self {
            MapMode::Decisions => MapMode::Confidence,
            MapMode::Confidence => MapMode::DecidedBy,
            MapMode::DecidedBy => MapMode::Decisions,
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            MapMode::Decisions => "decisions",
            MapMode::Confidence => "confidence",
            MapMode::DecidedBy => "decided by",
        }
    }
}

/// What part of the map is shown, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapState {
    /// Whether the tape stands in the place of the map: a line a token.
    pub tape: bool,
    /// Whether the map shows what the logit lens says; it goes before the tape.
    pub lens: bool,
    /// Width of the lens' columns: narrow, middle or wide.
    pub lens_zoom: LensZoom,
    pub mode: MapMode,
    /// Width of a column; chosen by the room there is if absent.
    pub zoom: Option<u16>,
    /// Whether the prompt, which one program holds for, is folded to a strip of the map or a line of the tape; so if
    /// absent.
    pub fold: Option<bool>,
    /// The leftmost token.
    pub first_token: usize,
    /// The lowest layer.
    pub first_layer: usize,
}

impl MapState {
    /// Whether the tape is on the screen.
    pub fn shows_tape(&self) -> bool {
        self.tape && !self.lens
    }
}

/// Width of a column of the lens map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LensZoom {
    #[default]
    Narrow,
    Middle,
    Wide,
}

impl LensZoom {
    pub fn next(self) -> LensZoom {
        match self {
            LensZoom::Narrow => LensZoom::Middle,
            LensZoom::Middle => LensZoom::Wide,
            LensZoom::Wide => LensZoom::Narrow,
        }
    }

    /// Columns of the screen.
    pub fn width(self) -> u16 {
        match self {
            LensZoom::Narrow => 9,
            LensZoom::Middle => 13,
            LensZoom::Wide => 20,
        }
    }
}

/// The model as far as the screen knows.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there is one, in the screen's state")]
pub enum ModelState {
    /// Looked for, pulled or loaded; in words, and how much of how many bytes.
    Loading {
        what: String,
        bytes: Option<(u64, Option<u64>)>,
    },
    Ready {
        info: ModelInfo,
        routers: Option<RouterInfo>,
        device: String,
    },
    /// None; what to do.
    Missing(String),
}

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Goes away by itself.
    Info,
    /// Stays until dismissed.
    Error,
}

/// A message to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub level: Level,
    pub text: String,
    /// When it was said.
    pub since: Duration,
}

/// A run that was asked for and has not begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Starting {
    pub id: RunId,
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

/// Everything the screen shows.
pub struct App {
    /// The terminal's size.
    pub area: Rect,
    /// Time since the start, as the last tick said.
    pub now: Duration,
    pub theme: Theme,
    pub keymap: Keymap<UiAction>,
    /// Colours of the code in the answer and in the prompt.
    pub answer_code: Code,
    pub prompt_code: Code,
    /// The first of two keys.
    pub pending_key: Option<Key>,
    pub reduced_motion: bool,
    /// The selection in words, no borders and block characters.
    pub screen_reader: bool,
    /// How fast traces are played.
    pub speed: Speed,
    /// The worker holds the run under way before its next token.
    pub held: bool,
    pub model: ModelState,
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
    /// Where the loaded routers are from, and those that the user asked for.
    pub routers: RouterChoice,
    pub asked_routers: Option<RouterChoice>,
    /// Routers that something waits for.
    pub wanted: Option<WantedRouters>,
    pub prompt: PromptEditor,
    pub shown: Option<Run>,
    pub previous: Option<Run>,
    /// The unmodified model on the prompt of `shown`.
    pub unmodified: Option<Run>,
    /// Whether the unmodified answer stands under the one on the screen.
    pub twin: bool,
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
    pub starting: Option<Starting>,
    /// Run as soon as the model is there.
    pub queued: bool,
    pub last_run: RunId,
    pub last_ask: AskId,
    pub focus: Focus,
    /// The pane shown where there is room for one.
    pub folded: Focus,
    pub cursor: Cursor,
    /// The other corner of the marked cells.
    pub mark: Option<Cursor>,
    pub follow: bool,
    /// How many less confident decisions were visited at the cursor's token.
    pub unsure: usize,
    pub map: MapState,
    /// Sizes the user gave the panes.
    pub panes: Panes,
    /// The edge between panes that is being dragged.
    pub drag: Option<Edge>,
    /// The edge that was clicked last, and when.
    pub clicked: Option<(Edge, Duration)>,
    /// Lines by which the answer is scrolled from where the selected token puts it.
    pub answer_scroll: isize,
    /// Show the prompt and special tokens with the answer.
    pub template: bool,
    /// Where the lines of the answer begin.
    pub lines: LineStarts,
    pub overlay: Option<Overlay>,
    pub lessons: Vec<Listed>,
    /// The lesson under way.
    pub tour: Option<Tour>,
    /// What was guessed of the run on the screen.
    pub guesses: Guesses,
    pub notice: Option<Notice>,
    /// The training of depth routers, and what is asked of it.
    pub training: RouterTraining,
    /// A command to be started or ended.
    pub job: Option<JobRequest>,
    /// A file to be read or written.
    pub file: Option<FileRequest>,
    /// On its way to the terminal's clipboard.
    pub clipboard: Option<String>,
    pub quit: bool,
    /// Leave the terminal to the shell until it continues this process.
    pub suspend: bool,
}

impl App {
    /// An empty screen that waits for its model.
    pub fn new(theme: Theme, keymap: Keymap<UiAction>, settings: Settings) -> App {
        App {
            area: Rect::new(0, 0, 80, 24),
            now: Duration::ZERO,
            answer_code: Code::new(&theme),
            prompt_code: Code::new(&theme),
            theme,
            keymap,
            pending_key: None,
            reduced_motion: false,
            screen_reader: false,
            speed: Speed::default(),
            held: false,
            model: ModelState::Loading {
                what: "looking for the model".to_owned(),
                bytes: None,
            },
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
            twin: false,
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
            focus: Focus::Prompt,
            folded: Focus::Map,
            cursor: Cursor::default(),
            mark: None,
            follow: true,
            unsure: 0,
            map: MapState::default(),
            panes: Panes::default(),
            drag: None,
            clicked: None,
            answer_scroll: 0,
            template: false,
            lines: LineStarts::default(),
            overlay: None,
            lessons: Vec::new(),
            tour: None,
            guesses: Guesses::default(),
            notice: None,
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
        let now = (!self.reduced_motion).then_some(self.now);
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
        self.cursor.layer = self.layers() / 2;
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
        self.mark = None;
        self.unmodified = self.unmodified.take().filter(|base| self.is_twin(base));
        self.follow = true;
        self.answer_scroll = 0;
        self.map.first_token = 0;
        self.cursor.token = self.last_token();
    }

    /// Whether a run of the unmodified model is that of the run on the screen: the same prompt, drawn in the same way.
    fn is_twin(&self, base: &Run) -> bool {
        let twin = |run: &Run| {
            let (of, header) = (&base.trace.header, &run.trace.header);
            let ids = |header: &Header| header.prompt.iter().map(|token| token.id).collect::<Vec<_>>();
            of.model.sha256 == header.model.sha256
                && of.settings == overrides::unmodified(&header.settings, run.layers())
                && ids(of) == ids(header)
        };
        base.progress == RunProgress::Finished && self.shown.as_ref().is_some_and(twin)
    }

    /// Why the unmodified model is not run for the twin view.
    pub fn twin_waits(&self) -> Option<String> {
        let run = self.shown.as_ref()?;
        let made_with = &run.trace.header.model;
        match &self.model {
            ModelState::Loading { .. } => Some("waits for the model".to_owned()),
            ModelState::Missing(_) => Some("needs the model, which is missing".to_owned()),
            ModelState::Ready { info, .. } if info.sha256 != made_with.sha256 => Some(format!(
                "needs the model {}",
                crate::text::escape_controls(&made_with.name)
            )),
            ModelState::Ready { .. } if self.starting.as_ref().is_some_and(|s| s.unmodified) => None,
            ModelState::Ready { .. } if self.is_busy() => Some("waits for the run to end".to_owned()),
            ModelState::Ready { .. } => None,
        }
    }

    /// What a pane shows at present, for its tab.
    pub fn tab_title(&self, pane: Focus) -> &'static str {
        match pane {
            Focus::Map if self.map.lens => "Lens",
            Focus::Map if self.map.tape => "Tape",
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
        let fading = self.notice.as_ref().is_some_and(|n| n.level == Level::Info);
        fading
            || self.shown.as_ref().is_some_and(Run::is_playing)
            || ((self.is_busy() || self.is_searching()) && !self.held && !self.reduced_motion)
    }

    /// Whether the worker is searching programs or filling a loop map.
    pub fn is_searching(&self) -> bool {
        self.search.is_running() || self.loop_map.is_running()
    }

    /// The marked cells, or the cursor's layer at every token: layers, and positions if limited.
    pub fn selection(&self) -> (std::ops::RangeInclusive<usize>, Option<(usize, usize)>) {
        let here = self.cursor;
        match self.mark {
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

    pub fn info(&mut self, text: impl Into<String>) {
        self.notify(Level::Info, text.into());
    }

    pub fn error(&mut self, text: impl Into<String>) {
        self.notify(Level::Error, text.into());
    }

    fn notify(&mut self, level: Level, text: String) {
        self.notice = Some(Notice {
            level,
            text,
            since: self.now,
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
            Some(("", _)) => " part of a character".to_owned(),
            Some((text, _)) => format!(" \"{}\"", escape_controls(text)),
        };
        format!("{}{text}", run.place(position))
    }

    /// The keymap's context at present.
    pub fn context(&self) -> &'static str {
        match &self.overlay {
            Some(overlay) => overlay.dialog().context(self),
            None => self.focus.context(),
        }
    }
}
