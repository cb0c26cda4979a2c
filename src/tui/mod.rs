//! The screen: state ([`app`]), events that change it ([`mod@update`]), and what it looks like
//! ([`view`]). The main loop is [`run()`].

pub mod action;
pub mod app;
pub mod background;
pub mod clipboard;
pub mod code;
pub mod color;
pub mod describe;
pub mod dial;
pub mod dialogs;
pub mod diff;
pub mod files;
#[cfg(test)]
pub(crate) use crate::testing::fixture;
pub mod grid;
pub mod highlight;
pub mod history;
pub mod inside;
pub mod job;
pub mod keymap;
pub mod layout;
pub mod lens;
pub mod lesson;
pub mod line_edit;
pub mod lines;
pub mod loop_map;
pub mod next_run;
pub mod override_list;
pub mod overrides;
pub mod palette;
pub mod panes;
pub mod playback;
pub mod prompt;
pub mod prompts;
pub mod recordings;
pub mod run;
pub mod save;
pub mod search;
pub mod session;
pub mod settings;
pub mod stats;
pub mod tally;
pub mod tape;
pub mod term;
pub mod theme;
pub mod training;
pub mod transcript;
pub mod ui;
pub mod update;
pub mod view;
pub mod widgets;

use std::time::{Duration, Instant};

use anyhow::Context;
use crossterm::clipboard::CopyToClipboard;
use crossterm::event::Event as Input;
use crossterm::execute;
use crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use self::action::UiAction;
use self::app::App;
use self::job::{BackgroundJob, JobEvent, JobRequest};
use self::keymap::Keymap;
use self::lesson::Listed;
use self::recordings::Recording;
use self::session::Session;
use self::term::{Interrupt, Signals};
use self::theme::Theme;
use self::update::{UiEvent, update};
use crate::engine::worker::Worker;
use crate::engine::{self, Command, LoadRequest};
use crate::trace::{Overrides, Settings, Trace};

/// Time between two frames at least: about 20 a second.
const FRAME: Duration = Duration::from_millis(50);

/// The same where something was typed: what a key does is to be seen at once, also while tokens come.
const FRAME_TYPED: Duration = Duration::from_millis(8);

/// Most events taken before a frame, so that a flood cannot hold it up.
const MOST_EVENTS: usize = 10_000;

/// What the screen is opened with.
pub struct TuiOptions {
    /// The model to load, with its routers and device.
    pub load: LoadRequest,
    /// Settings of the next run.
    pub settings: Settings,
    /// Settings or routers were named: the next run has them, not those of the recording that is opened first.
    pub own_settings: bool,
    /// A file of overrides that is in the settings already, and its name: what it keeps switched off.
    pub overrides: Option<(String, Overrides)>,
    /// A prompt that runs as soon as the model is there.
    pub prompt: Option<String>,
    /// Traces to open, and their titles; the built-in recordings come after them.
    pub traces: Vec<(String, Trace)>,
    /// A session to bring back; its settings are in `settings` already.
    pub session: Option<Session>,
    /// Keep the session when the screen is left.
    pub keep_session: bool,
    /// Begin with the statistics of the traces.
    pub stats: bool,
    /// How everything looks.
    pub theme: Theme,
    /// Which key does what.
    pub keymap: Keymap<UiAction>,
    /// Whether the mouse selects and scrolls.
    pub mouse: bool,
    /// Begin with the tape in the place of the map.
    pub tape: bool,
    /// No spinners; recordings are shown whole.
    pub reduced_motion: bool,
    /// The selected cell in words, no borders and block characters; nothing moves either.
    pub screen_reader: bool,
    /// The lessons there are.
    pub lessons: Vec<Listed>,
    /// Index into `lessons` of the one to begin with.
    pub lesson: Option<usize>,
    /// Something that went wrong before, such as a theme that could not be read.
    pub warning: Option<String>,
}

/// Opens the screen and stays until the user quits; the exit code. Needs a tokio runtime with
/// I/O and time.
///
/// # Errors
/// When there is no terminal, or when it goes away.
pub async fn run(options: TuiOptions) -> anyhow::Result<u8> {
    let (worker, events) = Worker::spawn(crate::search::watch::watch, crate::search::loop_map::watch::watch);
    worker.send(Command::Load(options.load.clone()));
    // Before the terminal is taken, so that no signal finds it taken and unwatched.
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let terminal = term::TerminalSession::enter(options.mouse)?;
    let keep = options.keep_session;
    let mut screen = Screen {
        app: open(options),
        session: terminal,
        worker,
        job: None,
        start: Instant::now(),
    };
    let ended = screen.main_loop(events, &mut signals).await;
    let Screen {
        app,
        session,
        worker,
        job,
        ..
    } = screen;
    // The terminal is free before a long session is on the disk, and before a training has kept what it has.
    drop(session);
    if let Some(job) = &job {
        job.stop();
    }
    let kept = if keep { keep_session(&app) } else { Ok(()) };
    let code = match ended {
        Ok(code) => code,
        // Where the terminal goes away, the signal that says so is on its way, as a rule.
        Err(error) => match tokio::time::timeout(LAST_SIGNAL, ending(&mut signals)).await {
            Ok(signal) => term::exit_code(signal),
            Err(_) => {
                crate::note!("drllm-tui: {error:#}");
                term::exit_code(HANGUP)
            }
        },
    };
    drop((worker, job));
    kept.context("the session was not kept")?;
    Ok(code)
}

/// How long a signal may take that comes with the end of the terminal.
const LAST_SIGNAL: Duration = Duration::from_millis(300);

/// SIGHUP, where there are signals.
const HANGUP: i32 = 1;

/// The next signal that ends this program.
async fn ending(signals: &mut Signals) -> i32 {
    loop {
        if let Interrupt::Terminate(signal) = signals.next().await {
            return signal;
        }
    }
}

fn keep_session(app: &App) -> anyhow::Result<()> {
    match Session::of(app) {
        Some(session) => {
            let left_out = session::write(&session::path()?, &session)?;
            if left_out > 0 {
                crate::note!("{left_out} of the session's runs and opened traces were too large to keep");
            }
            Ok(())
        }
        None => Ok(()),
    }
}

/// The state at the start.
fn open(options: TuiOptions) -> App {
    let mut app = App::new(options.theme, options.keymap, options.settings.clone());
    app.training.model = options.load.model.clone();
    app.routers = options.load.routers.clone();
    app.load = options.load.clone();
    app.ui.reduced_motion = options.reduced_motion || options.screen_reader;
    app.ui.screen_reader = options.screen_reader;
    app.ui.map.tape = options.tape;
    app.lessons = options.lessons;
    let opened = options
        .traces
        .into_iter()
        .map(|(title, trace)| Recording::opened(title, trace));
    app.recordings = opened
        .chain(recordings::beside(options.load.model.as_deref()))
        .collect();
    match options.session {
        Some(session) => session.restore(&mut app),
        None => app.open_recording(),
    }
    if options.own_settings {
        // What was asked for at the start is not given up for a recording.
        (app.settings, app.own, app.continues) = (options.settings, None, false);
    }
    if let Some((path, overrides)) = options.overrides {
        app.off = override_list::off(&overrides);
        app.overrides_path = path;
    }
    if let Some(lesson) = options.lesson {
        // Nothing runs yet that the worker would have to stop.
        let _ = update::begin_lesson(&mut app, lesson);
    }
    if options.stats {
        update::open_stats(&mut app);
    }
    if let Some(prompt) = options.prompt {
        app.queued = true;
        if let Err(message) = app.prompt.paste(&prompt) {
            app.error(message);
        }
    }
    if let Some(warning) = options.warning {
        app.error(warning);
    }
    app
}

/// The state and what it is connected to. The terminal is given back before the worker is waited
/// for.
struct Screen {
    app: App,
    session: term::TerminalSession,
    worker: Worker,
    /// A command under way beside the screen.
    job: Option<BackgroundJob>,
    start: Instant,
}

impl Screen {
    /// Waits for anything to happen, changes the state, and draws at most once a frame.
    async fn main_loop(
        &mut self,
        mut events: UnboundedReceiver<engine::WorkerEvent>,
        signals: &mut Signals,
    ) -> anyhow::Result<u8> {
        let mut input = term::input().context("cannot read the terminal")?;
        let (ready, mut grammars) = unbounded_channel();
        // The receiver is gone only when the program ends.
        highlight::preload(move || ready.send(()).unwrap_or_default());
        let (told, mut jobs) = unbounded_channel();
        let size = self.session.terminal.size()?;
        self.apply(UiEvent::Resize(size.width, size.height));
        let mut dirty = true;
        let mut drawn: Option<Instant> = None;
        let mut typed = false;
        while !self.app.quit {
            let between = if typed { FRAME_TYPED } else { FRAME };
            let due = drawn.map_or(Instant::now(), |at| at + between);
            if dirty && due <= Instant::now() {
                self.hear(&mut events);
                self.draw()?;
                (dirty, drawn, typed) = (false, Some(Instant::now()), false);
                continue;
            }
            let waiting = dirty || self.app.is_animated();
            tokio::select! {
                interrupt = signals.next() => match interrupt {
                    Interrupt::Terminate(signal) => return Ok(term::exit_code(signal)),
                    Interrupt::Stop => self.session.suspend()?,
                    Interrupt::Continued => self.session.resume()?,
                },
                next = input.recv() => {
                    let mut next = next;
                    // Two clicks are told from a double click by the time between them.
                    self.apply(UiEvent::Tick(self.start.elapsed()));
                    typed = true;
                    for _ in 0..MOST_EVENTS {
                        self.input(next.context("the terminal is gone")?.context("the terminal is gone")?);
                        match input.try_recv() {
                            Ok(more) => next = Some(more),
                            Err(_) => break,
                        }
                    }
                }
                // With a frame to come tokens wait for it: waking for each of them takes time from the model.
                Some(event) = events.recv(), if !dirty => {
                    self.apply(UiEvent::Worker(event));
                    self.hear(&mut events);
                }
                Some(event) = jobs.recv() => self.apply(UiEvent::Job(event)),
                Some(()) = grammars.recv() => self.apply(UiEvent::GrammarsReady),
                () = tokio::time::sleep_until(due.into()), if waiting => {}
            }
            self.apply(UiEvent::Tick(self.start.elapsed()));
            if let Some(request) = self.app.file.take() {
                self.apply(UiEvent::File(files::perform(&request)));
            }
            if let Some(request) = self.app.job.take() {
                self.perform(&request, &told);
            }
            if let Some(text) = self.app.clipboard.take() {
                execute!(term::out(), CopyToClipboard::to_clipboard_from(text))?;
            }
            if std::mem::take(&mut self.app.suspend) {
                self.session.suspend()?;
            }
            dirty = true;
        }
        Ok(0)
    }

    /// Starts a command, or asks the one under way to end.
    fn perform(&mut self, request: &JobRequest, told: &UnboundedSender<JobEvent>) {
        match request {
            JobRequest::Start { args, folder } => {
                self.job = None;
                match BackgroundJob::start(args, folder, told.clone()) {
                    Ok(job) => self.job = Some(job),
                    Err(error) => self.apply(UiEvent::Job(JobEvent::Failed(format!("{error:#}")))),
                }
            }
            JobRequest::Stop => {
                if let Some(job) = &self.job {
                    job.stop();
                }
            }
        }
    }

    /// What the worker has told meanwhile.
    fn hear(&mut self, events: &mut UnboundedReceiver<engine::WorkerEvent>) {
        for _ in 0..MOST_EVENTS {
            let Ok(event) = events.try_recv() else { break };
            self.apply(UiEvent::Worker(event));
        }
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Key(key) => self.apply(UiEvent::Key(key)),
            Input::Paste(text) => self.apply(UiEvent::Paste(text)),
            Input::Mouse(event) => self.apply(UiEvent::Mouse(event)),
            Input::Resize(width, height) => self.apply(UiEvent::Resize(width, height)),
            Input::FocusGained | Input::FocusLost => {}
        }
    }

    fn apply(&mut self, event: UiEvent) {
        for command in update(&mut self.app, event) {
            self.worker.send(command);
        }
    }

    /// One frame, shown at once where the terminal can hold it back until it is whole.
    fn draw(&mut self) -> anyhow::Result<()> {
        execute!(term::out(), BeginSynchronizedUpdate)?;
        let app = &self.app;
        let drawn = self.session.terminal.draw(|frame| view::view(app, frame)).map(|_| ());
        execute!(term::out(), EndSynchronizedUpdate)?;
        drawn.context("cannot draw on the terminal")
    }
}
