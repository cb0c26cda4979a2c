//! Chat templates are programs of whoever made a model. In this program they run in a process of
//! their own, which has little memory, a stack of its own, no open file but its pipes and a time to be
//! done in. Whatever a template does there - nest without end, grow without end, crash - is an error
//! here, and the explorer lives on.
//!
//! The process is this program again, called as `ARGUMENT` says. It is started with the first
//! template, takes one task a line on standard input and answers each with a line on standard output.
//! Where this library is part of another program, templates run on a thread with a large stack, with
//! fuel as their only bound.

use super::chat::{Compiled, Message, Refusal};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Calls this program as the process that renders.
const ARGUMENT: &str = "--render-chat-templates-apart";
/// Address space of the process, beyond what it has when it starts.
const MEMORY: u64 = 1 << 30;
/// Most bytes of a rendered prompt.
const MOST_TEXT: usize = 32 << 20;
/// Stacks to ask for: less where the system gives no more.
const STACKS: [usize; 4] = [256 << 20, 64 << 20, 16 << 20, 4 << 20];
/// What a task may take. A millisecond is usual; a machine may be busy.
const TIME: Duration = Duration::from_secs(10);

/// A template, and what it is to be rendered for; nothing: it is only compiled.
#[derive(Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) source: String,
    pub(super) asked: Option<Asked>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) messages: Vec<Message>,
    pub(super) bos: String,
    pub(super) eos: String,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Done {
    Text(String),
    Refused { what: String, reason: String },
}

impl From<Refusal> for Done {
    fn from(Refusal(what, reason): Refusal) -> Self {
        Done::Refused {
            what: what.to_owned(),
            reason,
        }
    }
}

/// Whether this process was called to render.
pub fn is_asked_for() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT)
}

static APART: AtomicBool = AtomicBool::new(false);

/// From now on templates run in a process of their own. For the program whose `main` calls [`serve`]
/// where [`is_asked_for`].
pub fn use_this_program() {
    APART.store(true, Ordering::Relaxed);
}

/// Renders until there are no more tasks.
pub fn serve() -> ExitCode {
    limit();
    // Milliseconds since the start, plus one, of the task in work; 0: none is.
    let started = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let now = move || 1 + u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
    let watched = started.clone();
    let watch = move || {
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let at = watched.load(Ordering::Relaxed);
            if at != 0 && u128::from(now().saturating_sub(at)) > TIME.as_millis() {
                std::process::exit(i32::from(LATE));
            }
        }
    };
    if std::thread::Builder::new().stack_size(64 << 10).spawn(watch).is_err() {
        return ExitCode::FAILURE;
    }
    let work = move || {
        let mut compiled = None;
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            started.store(now(), Ordering::Relaxed);
            let Ok(task) = serde_json::from_str(&line) else { return };
            let done = serde_json::to_string(&run(&task, &mut compiled)).unwrap_or_default() + "\n";
            started.store(0, Ordering::Relaxed);
            let mut out = std::io::stdout().lock();
            if out.write_all(done.as_bytes()).and_then(|()| out.flush()).is_err() {
                return;
            }
        }
    };
    match on_a_large_stack(work) {
        Some(()) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}

/// The exit code of a process whose task took too long.
const LATE: u8 = 3;

/// Takes from this process what a template could do harm with.
fn limit() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
        let size = size.and_then(|size| size.split_whitespace().next()?.parse().ok());
        // Unknown, it is taken for large: a limit that is too low would refuse every template.
        let most = size
            .unwrap_or(1u64 << 21)
            .saturating_mul(1 << 10)
            .saturating_add(MEMORY);
        let set = |resource: Resource, most: u64| {
            let most = getrlimit(resource).maximum.map_or(most, |given| given.min(most));
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            // One that cannot be set leaves the others.
            let _ = setrlimit(resource, limit);
        };
        set(Resource::As, most);
        set(Resource::Core, 0);
        // Files of a template's would be none of its business; nothing is opened from here on.
        set(Resource::Fsize, 0);
    }
}

fn run(task: &Task, compiled: &mut Option<(String, Compiled)>) -> Done {
    if compiled.as_ref().is_none_or(|(source, _)| *source != task.source) {
        match Compiled::new(&task.source) {
            Ok(template) => *compiled = Some((task.source.clone(), template)),
            Err(refusal) => return refusal.into(),
        }
    }
    let (Some(asked), Some((_, template))) = (&task.asked, compiled) else {
        return Done::Text(String::new());
    };
    match template.render(asked) {
        Ok(text) if text.len() > MOST_TEXT => Refusal(
            "cannot be rendered",
            format!("its text has over {} MiB", MOST_TEXT >> 20),
        )
        .into(),
        Ok(text) => Done::Text(text),
        Err(refusal) => refusal.into(),
    }
}

fn on_a_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    let work = Mutex::new(Some(work));
    let perform = || {
        let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        work.map(|work| work())
    };
    STACKS.into_iter().find_map(|stack| {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .stack_size(stack)
                .spawn_scoped(scope, perform);
            // A panic says on standard error what it was.
            thread.ok()?.join().ok()?
        })
    })
}

/// Compiles, or renders, wherever templates run.
pub(super) fn perform(task: &Task) -> Done {
    static PROCESS: Mutex<Option<Process>> = Mutex::new(None);
    if APART.load(Ordering::Relaxed) {
        let mut process = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        // One that ended meanwhile, by a signal to all say, is none that this task ended.
        if process
            .as_mut()
            .is_some_and(|p| !matches!(p.child.try_wait(), Ok(None)))
        {
            *process = None;
        }
        if process.is_none() {
            *process = Process::start().ok();
        }
        // Where no process can be started, a thread has to do.
        if let Some(running) = process.as_mut() {
            return running.ask(task).unwrap_or_else(|| {
                let reason = process.take().map(Process::end).unwrap_or_default();
                Refusal("cannot be used", reason).into()
            });
        }
    }
    on_a_large_stack(|| run(task, &mut None)).unwrap_or_else(|| {
        let reason = "it crashed, or there is no memory for its stack".to_owned();
        Refusal("cannot be used", reason).into()
    })
}

/// The process that renders, seen from here.
struct Process {
    child: Child,
    tasks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    fn start() -> std::io::Result<Process> {
        // The file itself may have been replaced by a newer one.
        let program = if cfg!(target_os = "linux") {
            "/proc/self/exe".into()
        } else {
            std::env::current_exe()?
        };
        let mut call = Command::new(program);
        call.arg(ARGUMENT)
            .current_dir(if cfg!(unix) { "/" } else { "." })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // Ctrl-C is for the program.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut call, 0);
        let mut child = call.spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (tasks, answers) = pipes.ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Process {
            child,
            tasks,
            answers: BufReader::new(answers),
        })
    }

    /// `None` where it ended over the task.
    fn ask(&mut self, task: &Task) -> Option<Done> {
        let line = serde_json::to_string(task).ok()? + "\n";
        self.tasks
            .write_all(line.as_bytes())
            .and_then(|()| self.tasks.flush())
            .ok()?;
        let mut answer = Vec::new();
        // Escaped in JSON a byte may take six.
        let most = 8 * MOST_TEXT as u64;
        self.answers.by_ref().take(most).read_until(b'\n', &mut answer).ok()?;
        serde_json::from_slice(&answer).ok()
    }

    /// Why it ended.
    fn end(mut self) -> String {
        // It may live where its answer was none.
        let _ = self.child.kill();
        match self.child.wait().map(|status| status.code()) {
            Ok(Some(code)) if code == i32::from(LATE) => format!("it took over {} seconds", TIME.as_secs()),
            _ => format!("it nests too deeply, or takes over {} MiB of memory", MEMORY >> 20),
        }
    }
}
