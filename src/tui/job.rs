//! A command of this program that works beside the screen. The state asks for it, the main loop starts it and hears what
//! it says on standard error.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::mpsc::UnboundedSender;

/// What the main loop is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobRequest {
    /// Runs this program.
    Start {
        /// The command's arguments, without the program.
        args: Vec<String>,
        /// Made before the program is started, where there is none.
        folder: PathBuf,
    },
    /// Asks the command to end; it keeps what it has.
    Stop,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// A line on standard error.
    Line(String),
    /// It ended.
    Ended {
        /// Whether its exit code was 0.
        well: bool,
    },
    /// It could not be started.
    Failed(String),
}

/// How much nicer the command is than the screen, so that the model answers before it.
#[cfg(unix)]
const NICER: i32 = 10;

/// How long a command that is asked to end may take to keep what it has.
const GRACE: Duration = Duration::from_secs(10);

/// Characters of a line that are kept.
const MOST_OF_A_LINE: usize = 1000;

/// A command under way. It ends with this value.
pub struct BackgroundJob {
    child: Arc<Mutex<Child>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl BackgroundJob {
    /// Starts this program with `args`, once `folder` is there; `hear` gets what it says, its end last.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(args: &[String], folder: &Path, hear: UnboundedSender<JobEvent>) -> Result<BackgroundJob> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let program = std::env::current_exe().context("this program does not find itself")?;
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // Signals of the terminal are for the screen, which then ends the command itself.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().context("the command cannot be started")?;
        #[cfg(unix)]
        if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
            // A command that is no nicer is slower for the model only.
            let _ = rustix::process::setpriority_process(Some(pid), NICER);
        }
        let said = child.stderr.take();
        let child = Arc::new(Mutex::new(child));
        let waited = child.clone();
        let reader = thread::Builder::new().name("job".to_owned()).spawn(move || {
            // The receiver is gone when the screen is.
            for line in said
                .into_iter()
                .flat_map(|pipe| BufReader::new(pipe).lines().map_while(Result::ok))
            {
                let line: String = line.chars().take(MOST_OF_A_LINE).collect();
                if !line.trim().is_empty() {
                    let _ = hear.send(JobEvent::Line(line));
                }
            }
            let well = loop {
                match lock(&waited).try_wait() {
                    Ok(Some(status)) => break status.success(),
                    Ok(None) => {}
                    Err(_) => break false,
                }
                thread::sleep(Duration::from_millis(20));
            };
            let _ = hear.send(JobEvent::Ended { well });
        });
        match reader {
            Ok(reader) => Ok(BackgroundJob {
                child,
                reader: Some(reader),
            }),
            Err(error) => {
                let _ = lock(&child).kill();
                let _ = lock(&child).wait();
                Err(error).context("no thread could be started to hear the command")
            }
        }
    }

    /// Asks the command to end.
    pub fn stop(&self) {
        let mut child = lock(&self.child);
        // A process that was not waited for keeps its number, so the signal meets no other.
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        #[cfg(unix)]
        if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        #[cfg(not(unix))]
        let _ = child.kill();
    }
}

impl Drop for BackgroundJob {
    fn drop(&mut self) {
        self.stop();
        let end = Instant::now() + GRACE;
        while matches!(lock(&self.child).try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = lock(&self.child).kill();
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    /// The events of this test program with `args`, once `meanwhile` was done.
    fn events(args: &[&str], meanwhile: impl FnOnce(&BackgroundJob)) -> Vec<JobEvent> {
        let folder = tempfile::tempdir().unwrap();
        let (told, mut hear) = unbounded_channel();
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let place = folder.path().join("a/b");
        let job = BackgroundJob::start(&args, &place, told).unwrap();
        assert!(place.is_dir());
        meanwhile(&job);
        let mut events = Vec::new();
        while let Some(event) = hear.blocking_recv() {
            events.push(event);
        }
        events
    }

    #[test]
    fn what_a_command_says_is_heard_and_its_end_comes_last() {
        assert_eq!(events(&["--list"], |_| ()), [JobEvent::Ended { well: true }]);
        let refused = events(&["--no-such-option"], |_| ());
        let (last, said) = refused.split_last().unwrap();
        assert_eq!(*last, JobEvent::Ended { well: false });
        assert!(
            matches!(&said[0], JobEvent::Line(line) if line.contains("no-such-option")),
            "{said:?}"
        );
    }

    #[test]
    #[ignore = "what the test below starts and stops"]
    fn sleeps() {
        std::thread::sleep(Duration::from_secs(120));
    }

    #[test]
    fn a_command_that_is_asked_to_end_ends() {
        let begin = Instant::now();
        let sleep = ["tui::job::tests::sleeps", "--exact", "--ignored"];
        let ended = events(&sleep, BackgroundJob::stop);
        assert_eq!(ended.last(), Some(&JobEvent::Ended { well: false }));
        assert!(begin.elapsed() < Duration::from_secs(100), "it slept on");
    }
}
