//! The thread that owns the model: it takes [`Command`]s and answers with [`Event`]s.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::events::{Command, Event, LoadRequest, RouterChoice};
use super::generate::{Output, generate};
use super::load::{load_model, load_routers};
use super::sequence::Stopped;
use crate::model::Model;
use crate::router::RouterSet;

/// Time between two progress events of a pull.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// A handle on the worker thread. Dropping it ends the thread after the layer in work.
pub struct Worker {
    commands: Option<Sender<Command>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread.
    pub fn spawn() -> (Worker, UnboundedReceiver<Event>) {
        let (commands, inbox) = mpsc::channel();
        let (events, outbox) = unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let thread = thread::Builder::new()
            .name("model".into())
            .spawn(move || work(&inbox, &events, &flag))
            .expect("the system can start one more thread");
        let worker = Worker {
            commands: Some(commands),
            stop,
            thread: Some(thread),
        };
        (worker, outbox)
    }

    /// Sends a command. Anything but [`Command::Stop`] also abandons the run under way.
    pub fn send(&self, command: Command) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(commands) = &self.commands {
            // The thread ends only when this sender is dropped; were it gone, its panic was reported.
            let _ = commands.send(command);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
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

#[derive(Default)]
struct State {
    model: Option<Model>,
    routers: Option<RouterSet>,
}

fn work(inbox: &Receiver<Command>, events: &UnboundedSender<Event>, stop: &AtomicBool) {
    let mut state = State::default();
    while let Ok(mut command) = inbox.recv() {
        stop.store(false, Ordering::Relaxed);
        // Of several commands that waited, a later run replaces an earlier one.
        while let Ok(next) = inbox.try_recv() {
            let replaced = matches!(
                (&command, &next),
                (
                    Command::Generate { .. } | Command::Stop,
                    Command::Generate { .. } | Command::Stop
                )
            );
            if !replaced {
                perform(&mut state, command, events, stop);
            }
            command = next;
        }
        perform(&mut state, command, events, stop);
    }
}

fn perform(state: &mut State, command: Command, events: &UnboundedSender<Event>, stop: &AtomicBool) {
    // The receiver is gone only when the program ends.
    let emit = |event: Event| drop(events.send(event));
    match command {
        Command::Stop => {}
        Command::Load(request) => match caught(|| load(state, &request, &emit, stop)) {
            Ok(event) => emit(event),
            Err(e) => emit(Event::LoadFailed(format!("{e:#}"))),
        },
        Command::Routers(choice) => match caught(|| change_routers(state, &choice)) {
            Ok(event) => emit(event),
            Err(e) => emit(Event::RoutersFailed(format!("{e:#}"))),
        },
        Command::Generate { run, prompt, settings } => {
            let Some(model) = &state.model else {
                let message = "no model is loaded yet; recorded traces can be explored meanwhile".into();
                return emit(Event::Failed { run, message });
            };
            let mut sink = |output| {
                emit(match output {
                    Output::Header(header) => Event::Started { run, header },
                    Output::Step(step) => Event::Stepped { run, step },
                });
            };
            let result = caught(|| generate(model, state.routers.as_ref(), &prompt, &settings, stop, &mut sink));
            match result {
                Ok(summary) => emit(Event::Finished { run, summary }),
                Err(e) if e.is::<Stopped>() => {
                    let message = "stopped before the first token".into();
                    emit(Event::Failed { run, message });
                }
                Err(e) => {
                    let message = format!("{e:#}");
                    emit(Event::Failed { run, message });
                }
            }
        }
    }
}

fn load(state: &mut State, request: &LoadRequest, emit: &dyn Fn(Event), stop: &AtomicBool) -> Result<Event> {
    let mut last = Instant::now() - PROGRESS_EVERY;
    let mut pulling = |what: &str, done: u64, total: Option<u64>| {
        if last.elapsed() >= PROGRESS_EVERY || Some(done) == total {
            last = Instant::now();
            let what = what.to_owned();
            emit(Event::Pulling { what, done, total });
        }
    };
    let mut loading = |what: &str| emit(Event::Loading(what.into()));
    let model = load_model(request, &mut pulling, &mut loading, stop)?;
    let (routers, note) = match load_routers(&request.routers, &model) {
        Ok(routers) => (routers, None),
        // The model is of use without them; which file failed is said.
        Err(e) => (None, Some(format!("{e:#}"))),
    };
    let event = Event::Loaded {
        model: model.info.clone(),
        routers: routers.as_ref().map(|r| r.info.clone()),
        device: model.device_name(),
        chat: model.chat.is_some(),
        note,
    };
    state.model = Some(model);
    state.routers = routers;
    Ok(event)
}

fn change_routers(state: &mut State, choice: &RouterChoice) -> Result<Event> {
    let model = state
        .model
        .as_ref()
        .ok_or_else(|| anyhow::anyhow!("no model is loaded yet"))?;
    state.routers = load_routers(choice, model)?;
    Ok(Event::RoutersChanged(state.routers.as_ref().map(|r| r.info.clone())))
}

/// Turns a panic into an error: the screen shows it and the worker lives on.
fn caught<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
        Err(anyhow::anyhow!(
            "internal error: {text}. Please report it with what you did before"
        ))
    })
}
