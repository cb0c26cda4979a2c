//! The thread that owns the model: it takes [`Command`]s and answers with [`Event`]s.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::events::{Command, Event, LoadRequest, RouterChoice};
use super::gate::Gate;
use super::generate::{Output, generate};
use super::load::{load_model, load_routers};
use super::sequence::Stopped;
use crate::model::Model;
use crate::router::RouterSet;

/// Time between two progress events of a pull.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// A handle on the worker thread. Dropping it ends the thread after the layer in work.
pub struct Worker {
    commands: Option<Sender<Order>>,
    under_way: Mutex<UnderWay>,
    gate: Arc<Gate>,
    thread: Option<JoinHandle<()>>,
}

/// A command and the flag that ends it: each has one of its own, so that an end meant for one never
/// reaches the next.
struct Order {
    command: Command,
    stop: Arc<AtomicBool>,
}

/// Flags of the last run and of the last load.
#[derive(Default)]
struct UnderWay {
    run: Arc<AtomicBool>,
    load: Arc<AtomicBool>,
}

impl Worker {
    /// Starts the thread.
    pub fn spawn() -> (Worker, UnboundedReceiver<Event>) {
        let (commands, inbox) = mpsc::channel();
        let (events, outbox) = unbounded_channel();
        let gate = Arc::new(Gate::default());
        let held = gate.clone();
        let thread = thread::Builder::new()
            .name("model".into())
            .spawn(move || work(&inbox, &events, &held))
            .expect("the system can start one more thread");
        let worker = Worker {
            commands: Some(commands),
            under_way: Mutex::default(),
            gate,
            thread: Some(thread),
        };
        (worker, outbox)
    }

    /// Sends a command. It ends the run under way, unless it holds it or lets it go on; a new load
    /// also ends the load before.
    pub fn send(&self, command: Command) {
        match command {
            Command::Pause => return self.gate.close(),
            Command::Resume => return self.gate.open(),
            Command::Step => return self.gate.step(),
            _ => {}
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.run.store(true, Ordering::Relaxed);
        match &command {
            Command::Load(_) => {
                under_way.load.store(true, Ordering::Relaxed);
                under_way.load = stop.clone();
            }
            Command::Generate { .. } => under_way.run = stop.clone(),
            Command::Routers(_) | Command::Stop | Command::Pause | Command::Resume | Command::Step => {}
        }
        // What held the run before does not hold the next one.
        self.gate.open();
        if let Some(commands) = &self.commands {
            // The thread ends only when this sender is dropped; were it gone, its panic was reported.
            let _ = commands.send(Order { command, stop });
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let under_way = self.under_way.get_mut().unwrap_or_else(PoisonError::into_inner);
        under_way.run.store(true, Ordering::Relaxed);
        under_way.load.store(true, Ordering::Relaxed);
        self.gate.open();
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

fn work(inbox: &Receiver<Order>, events: &UnboundedSender<Event>, gate: &Gate) {
    let mut state = State::default();
    while let Ok(Order { command, stop }) = inbox.recv() {
        perform(&mut state, command, events, &stop, gate);
    }
}

fn perform(state: &mut State, command: Command, events: &UnboundedSender<Event>, stop: &AtomicBool, gate: &Gate) {
    // The receiver is gone only when the program ends.
    let emit = |event: Event| drop(events.send(event));
    match command {
        // The gate has heard of the last three.
        Command::Stop | Command::Pause | Command::Resume | Command::Step => {}
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
                gate.pass(stop);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Prompt, Settings};

    fn generate(run: u64) -> Command {
        Command::Generate {
            run,
            prompt: Prompt::Text("hello".into()),
            settings: Box::new(Settings::default()),
        }
    }

    #[test]
    fn every_command_is_answered_and_panics_are_caught() {
        let (worker, mut events) = Worker::spawn();
        worker.send(generate(1));
        worker.send(Command::Stop);
        worker.send(Command::Routers(RouterChoice::None));
        worker.send(Command::Load(LoadRequest {
            model: Some("./nosuch.gguf".into()),
            ..LoadRequest::default()
        }));
        let mut heard = Vec::new();
        for _ in 0..3 {
            heard.push(events.blocking_recv().unwrap());
        }
        assert!(matches!(&heard[0], Event::Failed { run: 1, message } if message.contains("no model is loaded")));
        assert!(matches!(&heard[1], Event::RoutersFailed(message) if message.contains("no model is loaded")));
        assert!(matches!(&heard[2], Event::LoadFailed(message) if message.contains("nosuch.gguf")));
        let caught = caught(|| -> Result<()> { panic!("on purpose") })
            .unwrap_err()
            .to_string();
        assert!(caught.contains("on purpose"), "{caught}");
    }

    #[test]
    fn an_end_reaches_its_own_run_and_no_load() {
        let (worker, _events) = Worker::spawn();
        let flags = |worker: &Worker| {
            let under_way = worker.under_way.lock().unwrap();
            (under_way.run.clone(), under_way.load.clone())
        };
        worker.send(Command::Load(LoadRequest {
            model: Some("./nosuch.gguf".into()),
            ..LoadRequest::default()
        }));
        worker.send(generate(1));
        let (first, load) = flags(&worker);
        worker.send(generate(2));
        let (second, _) = flags(&worker);
        let set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        assert_eq!((set(&first), set(&second), set(&load)), (true, false, false));
        worker.send(Command::Stop);
        assert!(set(&second) && !set(&load));
    }
}
