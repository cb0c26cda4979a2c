//! The thread that owns the model: it takes [`Command`]s and answers with [`WorkerEvent`]s. Questions are
//! answered between two tokens of a run, or two simulations of a search; everything else ends it.

mod answer;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use self::answer::{answer, answer_waiting, answered};
use super::events::{AskId, Command, InspectionRequest, LoadRequest, Prompt, RouterChoice, RunId, WorkerEvent};
use super::generate::Generation;
use super::inspector::Inspector;
use super::load::{load_model, load_routers};
use super::loop_map::{LoopMapRequest, Mapper};
use super::pause::PausePoint;
use super::prefix_cache::PrefixCache;
use super::search::{SearchEnd, SearchId, SearchRequest, Searcher};
use super::sequence::Stopped;
use crate::guard;
use crate::model::Model;
use crate::model::catalog::{self, PullProgress};
use crate::router::Router;
use crate::trace::{Settings, Summary, Trace};

/// The likeliest next tokens that go with every token of a run.
const NEXT: usize = 3;

/// Time between two progress events of a pull.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// A handle on the worker thread. Dropping it ends the thread after the layer in work.
pub struct Worker {
    commands: Option<Sender<Order>>,
    events: UnboundedSender<WorkerEvent>,
    under_way: Mutex<UnderWay>,
    pause_point: Arc<PausePoint>,
    thread: Option<JoinHandle<()>>,
}

/// A command and the flag that ends it: each has one of its own, so that an end meant for one never
/// reaches the next.
struct Order {
    command: Work,
    stop: Arc<AtomicBool>,
}

/// What the thread does.
enum Work {
    Command(Command),
    /// Loads the model inside this program, on the device of a request whose own model is pulled.
    Meanwhile(LoadRequest),
}

/// Flags of the last run or search, of the last question and of the last load.
#[derive(Default)]
struct UnderWay {
    run: Arc<AtomicBool>,
    ask: Arc<AtomicBool>,
    load: Arc<AtomicBool>,
}

impl Worker {
    /// Starts the thread; searches are carried out by `searcher`, loop maps by `mapper`.
    pub fn spawn(searcher: Searcher, mapper: Mapper) -> (Worker, UnboundedReceiver<WorkerEvent>) {
        let (commands, inbox) = mpsc::channel();
        let (events, outbox) = unbounded_channel();
        let told = events.clone();
        let pause_point = Arc::new(PausePoint::default());
        let held = pause_point.clone();
        let thread = thread::Builder::new()
            .name("model".into())
            .spawn(move || work(&inbox, &told, held, (searcher, mapper)))
            .expect("the system can start one more thread");
        let worker = Worker {
            commands: Some(commands),
            events,
            under_way: Mutex::default(),
            pause_point,
            thread: Some(thread),
        };
        (worker, outbox)
    }

    /// Sends a command. It ends the question under way and, unless it is a question or holds the run
    /// or lets it go on, the run or the search under way; a new load also ends the load before.
    pub fn send(&self, command: Command) {
        match command {
            Command::Pause => return self.pause_point.pause(),
            Command::Resume => return self.pause_point.resume(),
            Command::Step => return self.pause_point.step(),
            _ => {}
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.ask.store(true, Ordering::Relaxed);
        if !matches!(command, Command::Ask { .. }) {
            under_way.run.store(true, Ordering::Relaxed);
        }
        match &command {
            Command::Load(_) => {
                under_way.load.store(true, Ordering::Relaxed);
                under_way.load = stop.clone();
            }
            Command::Generate { .. } | Command::Branch { .. } | Command::Search { .. } | Command::LoopMap { .. } => {
                under_way.run = stop.clone();
            }
            Command::Ask { .. } => under_way.ask = stop.clone(),
            Command::Routers(_) | Command::Stop | Command::Pause | Command::Resume | Command::Step => {}
        }
        let asks = matches!(command, Command::Ask { .. });
        if !asks {
            // What held the run before does not hold the next one.
            self.pause_point.resume();
        }
        if let Some(commands) = &self.commands {
            // The thread ends only when this sender is dropped; were it gone, its panic was reported.
            let _ = match command {
                Command::Load(request) if is_to_be_pulled(&request) => {
                    let meanwhile = Order {
                        command: Work::Meanwhile(request.clone()),
                        stop: stop.clone(),
                    };
                    pull_apart(request, commands.clone(), self.events.clone(), stop);
                    commands.send(meanwhile)
                }
                command => commands.send(Order {
                    command: Work::Command(command),
                    stop,
                }),
            };
        }
        if asks {
            self.pause_point.wake();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let under_way = self.under_way.get_mut().unwrap_or_else(PoisonError::into_inner);
        under_way.run.store(true, Ordering::Relaxed);
        under_way.ask.store(true, Ordering::Relaxed);
        under_way.load.store(true, Ordering::Relaxed);
        self.pause_point.resume();
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A pull in work is given up by its own check of the flag; a hanging download must not
            // hold up the exit.
            let end = Instant::now() + Duration::from_secs(1);
            while !thread.is_finished() && Instant::now() < end {
                thread::sleep(Duration::from_millis(5));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

/// Whether the model is known and not on this machine yet.
fn is_to_be_pulled(request: &LoadRequest) -> bool {
    matches!(catalog::cached(request.model.as_deref()), Ok(None))
}

/// Pulls a request's model on a thread of its own, and then has it loaded.
fn pull_apart(
    request: LoadRequest,
    commands: Sender<Order>,
    events: UnboundedSender<WorkerEvent>,
    stop: Arc<AtomicBool>,
) {
    let pull = move || {
        let mut pulling = progress_of(&events);
        let mut progress = |p: PullProgress| pulling(&p.what, p.done, p.total);
        match caught(|| Ok(catalog::locate(request.model.as_deref(), &mut progress, &stop)?)) {
            Ok(_) => {
                let command = Work::Command(Command::Load(request));
                // Gone when the program ends.
                let _ = commands.send(Order { command, stop });
            }
            // A load that another one ended says nothing.
            Err(_) if stop.load(Ordering::Relaxed) => {}
            Err(e) => drop(events.send(WorkerEvent::LoadFailed(format!("{e:#}")))),
        }
    };
    thread::Builder::new()
        .name("pull".into())
        .spawn(pull)
        .expect("the system can start one more thread");
}

/// Tells of a pull's bytes, not more often than a screen can show.
fn progress_of(events: &UnboundedSender<WorkerEvent>) -> impl FnMut(&str, u64, Option<u64>) {
    let mut last = Instant::now() - PROGRESS_EVERY;
    move |what, done, total| {
        if last.elapsed() >= PROGRESS_EVERY || Some(done) == total {
            last = Instant::now();
            let what = what.to_owned();
            // The receiver is gone only when the program ends.
            let _ = events.send(WorkerEvent::Pulling { what, done, total });
        }
    }
}

struct State {
    model: Option<Model>,
    routers: Option<Box<dyn Router>>,
    kept: PrefixCache,
    searcher: Searcher,
    mapper: Mapper,
}

/// Orders as they come, those that came during a run and wait for its end, and what holds a run.
struct Inbox<'a> {
    orders: &'a Receiver<Order>,
    waiting: VecDeque<Order>,
    pause_point: Arc<PausePoint>,
}

impl Inbox<'_> {
    /// The next order; `None` when the program ends.
    fn next(&mut self) -> Option<Order> {
        self.waiting.pop_front().or_else(|| self.orders.recv().ok())
    }

    /// The next question there is; other orders wait.
    fn question(&mut self) -> Option<(AskId, InspectionRequest, Arc<AtomicBool>)> {
        while let Ok(order) = self.orders.try_recv() {
            match order.command {
                Work::Command(Command::Ask { ask, question }) => return Some((ask, question, order.stop)),
                _ => self.waiting.push_back(order),
            }
        }
        None
    }
}

fn work(
    orders: &Receiver<Order>,
    events: &UnboundedSender<WorkerEvent>,
    pause_point: Arc<PausePoint>,
    (searcher, mapper): (Searcher, Mapper),
) {
    let mut state = State {
        model: None,
        routers: None,
        kept: PrefixCache::default(),
        searcher,
        mapper,
    };
    let mut inbox = Inbox {
        orders,
        pause_point,
        waiting: VecDeque::new(),
    };
    while let Some(Order { command, stop }) = inbox.next() {
        match command {
            Work::Command(command) => perform(&mut state, command, &mut inbox, events, &stop),
            Work::Meanwhile(request) => {
                if let Ok(event) = caught(|| meanwhile(&mut state, &request, &stop)) {
                    // The receiver is gone only when the program ends.
                    let _ = events.send(event);
                }
            }
        }
    }
}

fn perform(
    state: &mut State,
    command: Command,
    inbox: &mut Inbox,
    events: &UnboundedSender<WorkerEvent>,
    stop: &AtomicBool,
) {
    // The receiver is gone only when the program ends.
    let emit = |event: WorkerEvent| drop(events.send(event));
    match command {
        // The pause point knows of the last three already.
        Command::Stop | Command::Pause | Command::Resume | Command::Step => {}
        Command::Load(request) => match caught(|| load(state, &request, events, stop)) {
            Ok(event) => emit(event),
            // A load that another one ended says nothing.
            Err(_) if stop.load(Ordering::Relaxed) => {}
            Err(e) => emit(WorkerEvent::LoadFailed(format!("{e:#}"))),
        },
        Command::Routers(choice) => match caught(|| change_routers(state, &choice)) {
            Ok(event) => emit(event),
            Err(e) => emit(WorkerEvent::RoutersFailed(format!("{e:#}"))),
        },
        Command::Ask { ask, question } => {
            let answer = caught(|| answer(&mut state.inspector(stop)?, &question));
            emit(answered(ask, answer));
        }
        Command::Search { search, request } => {
            let end = search_end(caught(|| state.search(search, &request, inbox, &emit, stop)));
            emit(WorkerEvent::SearchEnded { search, end });
        }
        Command::LoopMap { map, request } => {
            let end = search_end(caught(|| state.map(map, &request, inbox, &emit, stop)));
            emit(WorkerEvent::LoopMapEnded { map, end });
        }
        Command::Generate { run, prompt, settings } => {
            let start = Start::Prompt(&prompt);
            emit(ended(
                run,
                caught(|| state.run(run, start, &settings, inbox, &emit, stop)),
            ));
        }
        Command::Branch {
            run,
            kept,
            forced,
            settings,
        } => {
            let start = Start::Branch(&kept, &forced);
            emit(ended(
                run,
                caught(|| state.run(run, start, &settings, inbox, &emit, stop)),
            ));
        }
    }
}

fn search_end(outcome: Result<()>) -> SearchEnd {
    match outcome {
        Ok(()) => SearchEnd::Done,
        Err(e) if e.is::<Stopped>() => SearchEnd::Stopped,
        Err(e) => SearchEnd::Failed(format!("{e:#}")),
    }
}

/// What a run begins with.
enum Start<'c> {
    Prompt(&'c Prompt),
    /// The run it goes on from as far as it is kept, and what is put there.
    Branch(&'c Trace, &'c Prompt),
}

impl State {
    fn inspector<'s>(&'s mut self, stop: &'s AtomicBool) -> Result<Inspector<'s, 's>> {
        Ok(Inspector {
            model: self.model.as_ref().ok_or_else(no_model)?,
            routers: self.routers.as_deref(),
            kept: &mut self.kept,
            live: None,
            stop,
        })
    }

    /// Runs to the end, answering questions between two tokens, and keeps what the run left.
    fn run(
        &mut self,
        run: RunId,
        start: Start,
        settings: &Settings,
        inbox: &mut Inbox,
        emit: &(dyn Fn(WorkerEvent) + Sync),
        stop: &AtomicBool,
    ) -> Result<Summary> {
        let watch = |done, of| emit(WorkerEvent::Reading { run, done, of });
        let State {
            model, routers, kept, ..
        } = self;
        let model = model.as_ref().ok_or_else(no_model)?;
        let routers = routers.as_deref();
        let (mut generation, mut trace) = match start {
            Start::Prompt(prompt) => {
                let (generation, mut header) =
                    Generation::start_watched(model, routers, prompt, settings, stop, Some(&watch))?;
                header.next = generation.likeliest(NEXT)?;
                (generation, Trace::new(header))
            }
            Start::Branch(before, forced) => {
                let forced = match forced {
                    Prompt::Ids(ids) => ids.clone(),
                    Prompt::Text(text) => model.tokenizer.encode(text)?,
                };
                let live = None;
                let sequence = Inspector {
                    model,
                    routers,
                    kept,
                    live,
                    stop,
                }
                .sequence(before, before.steps.len())?;
                let (generation, header) = Generation::resume(model, routers, before, sequence, forced, settings)?;
                let steps = before.steps.clone();
                (
                    generation,
                    Trace {
                        header,
                        steps,
                        summary: None,
                    },
                )
            }
        };
        let header = Box::new(trace.header.clone());
        emit(WorkerEvent::Started { run, header });
        for step in trace.steps.iter().cloned().map(Box::new) {
            emit(WorkerEvent::Stepped { run, step });
        }
        loop {
            let live = Some((&trace, generation.sequence().cache()));
            answer_waiting(inbox, (model, routers), kept, live, emit);
            if !inbox.pause_point.wait(stop) {
                continue;
            }
            let Some(mut step) = generation.step()? else { break };
            step.next = generation.likeliest(NEXT)?;
            trace.steps.push(step.clone());
            let step = Box::new(step);
            emit(WorkerEvent::Stepped { run, step });
        }
        let summary = generation.summary();
        kept.put(trace, generation.into_sequence().into_cache());
        Ok(summary)
    }

    /// Searches to the end, answering questions between two simulations.
    fn search(
        &mut self,
        search: SearchId,
        request: &SearchRequest,
        inbox: &mut Inbox,
        emit: &dyn Fn(WorkerEvent),
        stop: &AtomicBool,
    ) -> Result<()> {
        let model = self.model.as_ref().ok_or_else(no_model)?;
        let (routers, kept) = (self.routers.as_deref(), &mut self.kept);
        let mut tell = |step| {
            let step = Box::new(step);
            emit(WorkerEvent::Searched { search, step });
            answer_waiting(inbox, (model, routers), kept, None, emit);
        };
        (self.searcher)(model, request, &mut tell, stop)
    }

    /// Fills a loop map, answering questions between two cells.
    fn map(
        &mut self,
        map: SearchId,
        request: &LoopMapRequest,
        inbox: &mut Inbox,
        emit: &dyn Fn(WorkerEvent),
        stop: &AtomicBool,
    ) -> Result<()> {
        let model = self.model.as_ref().ok_or_else(no_model)?;
        let (routers, kept) = (self.routers.as_deref(), &mut self.kept);
        let mut tell = |step| {
            emit(WorkerEvent::Mapped { map, step });
            answer_waiting(inbox, (model, routers), kept, None, emit);
        };
        (self.mapper)(model, request, &mut tell, stop)
    }
}

fn no_model() -> anyhow::Error {
    anyhow::anyhow!("no model is loaded yet; recorded traces can be explored meanwhile")
}

fn ended(run: RunId, result: Result<Summary>) -> WorkerEvent {
    match result {
        Ok(summary) => WorkerEvent::Finished { run, summary },
        Err(e) => {
            let message = match e.is::<Stopped>() {
                true => "stopped before the first token".to_owned(),
                false => format!("{e:#}"),
            };
            WorkerEvent::Failed { run, message }
        }
    }
}

/// Loads the model inside this program and its routers.
fn meanwhile(state: &mut State, request: &LoadRequest, stop: &AtomicBool) -> Result<WorkerEvent> {
    let request = LoadRequest {
        model: Some(catalog::BUILT_IN.to_owned()),
        routers: RouterChoice::BuiltIn,
        iterations: None,
        ..request.clone()
    };
    let model = load_model(&request, &mut |_, _, _| (), &mut |_| (), stop)?;
    state.routers = load_routers(&request.routers, &model)?;
    state.kept.clear();
    let info = Box::new(model.info.clone());
    state.model = Some(model);
    Ok(WorkerEvent::Meanwhile(info))
}

fn load(
    state: &mut State,
    request: &LoadRequest,
    events: &UnboundedSender<WorkerEvent>,
    stop: &AtomicBool,
) -> Result<WorkerEvent> {
    let mut pulling = progress_of(events);
    let mut loading = |what: &str| drop(events.send(WorkerEvent::Loading(what.into())));
    let model = load_model(request, &mut pulling, &mut loading, stop)?;
    let mut notes = model.notes.clone();
    let routers = load_routers(&request.routers, &model).unwrap_or_else(|e| {
        // The model is of use without them; which file failed is said.
        notes.insert(0, format!("{e:#}"));
        None
    });
    let event = WorkerEvent::Loaded {
        model: Box::new(model.info.clone()),
        routers: routers.as_ref().map(|r| r.info().clone()),
        device: model.device_name(),
        chat: model.chat.is_some(),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    };
    state.kept.clear();
    state.model = Some(model);
    state.routers = routers;
    Ok(event)
}

fn change_routers(state: &mut State, choice: &RouterChoice) -> Result<WorkerEvent> {
    let model = state
        .model
        .as_ref()
        .ok_or_else(|| anyhow::anyhow!("no model is loaded yet"))?;
    state.routers = load_routers(choice, model)?;
    Ok(WorkerEvent::RoutersChanged(
        state.routers.as_ref().map(|r| r.info().clone()),
    ))
}

/// Turns a panic into an error: the screen shows it and the worker lives on.
fn caught<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        if let Some(guard::NoMemory(words)) = panic.downcast_ref() {
            return Err(anyhow::anyhow!("{words}"));
        }
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        Err(anyhow::anyhow!(
            "internal error: {text}. Please report it with what you did before"
        ))
    })
}

#[cfg(test)]
mod tests;
