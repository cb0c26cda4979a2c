//! Writing to the terminal without being held up by it for ever.
//!
//! A terminal that is not read any more - a frozen window, a dead connection - takes nothing: a plain
//! write then waits, and this program with it, so that not even SIGTERM would end it in order. So the
//! terminal is opened a second time in a mode where writes do not wait, which changes nothing for those
//! who share it. What waits instead is this program, as long as no signal has asked it to leave.

use std::io::{self, BufWriter, Write};

/// How long a terminal that takes nothing is waited for once the program is to end.
#[cfg(unix)]
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

/// The terminal, with a buffer: what is queued arrives in few writes.
pub type Buffered = BufWriter<Out>;

/// Writes to the terminal on standard output.
pub fn out() -> Buffered {
    BufWriter::with_capacity(1 << 16, Out)
}

/// The terminal on standard output.
#[derive(Debug)]
pub struct Out;

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(unix)]
        if let Some(terminal) = unix::terminal() {
            return unix::write(terminal, bytes);
        }
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Whether a terminal that takes nothing is waited for until a signal comes, or only for a moment.
pub(super) fn be_patient(patient: bool) {
    #[cfg(unix)]
    unix::LEAVING.store(!patient, std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(unix))]
    let _ = patient;
}

#[cfg(unix)]
pub(super) use unix::{descriptor, give_up_on};

#[cfg(unix)]
mod unix {
    use std::fs::{File, OpenOptions};
    use std::io::{self, ErrorKind, IsTerminal, Write};
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::fs::OpenOptionsExt;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, LazyLock, OnceLock};
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::PATIENCE;

    /// The program is to end, by a signal or by itself.
    pub static LEAVING: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

    /// From this signal on a terminal that takes nothing is not waited for.
    pub fn give_up_on(signal: i32) -> io::Result<()> {
        signal_hook::flag::register(signal, LEAVING.clone()).map(drop)
    }

    static TERMINAL: OnceLock<Option<File>> = OnceLock::new();

    /// The terminal, opened once more; nothing where that cannot be.
    pub fn terminal() -> Option<&'static File> {
        let open = || {
            let stdout = io::stdout();
            if !stdout.is_terminal() {
                return None;
            }
            // Under Linux this opens the very file, whatever its name is here.
            let path = match cfg!(target_os = "linux") {
                true => "/proc/self/fd/1".into(),
                false => rustix::termios::ttyname(stdout.as_fd(), Vec::new())
                    .ok()?
                    .to_string_lossy()
                    .into_owned(),
            };
            let mut options = OpenOptions::new();
            options.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
            options.open(path).ok()
        };
        TERMINAL.get_or_init(open).as_ref()
    }

    /// Of the terminal, for a signal handler: it opens nothing.
    pub fn descriptor() -> i32 {
        match TERMINAL.get() {
            Some(Some(terminal)) => terminal.as_raw_fd(),
            _ => libc::STDOUT_FILENO,
        }
    }

    pub fn write(mut terminal: &File, bytes: &[u8]) -> io::Result<usize> {
        let mut leaving: Option<Instant> = None;
        loop {
            match terminal.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                done => return done,
            }
            if LEAVING.load(Ordering::Relaxed) && leaving.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "the terminal takes nothing any more",
                ));
            }
            let mut watched = [PollFd::new(terminal, PollFlags::OUT)];
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: 50_000_000,
            };
            // Interrupted or not, what comes next is to try again.
            let _ = poll(&mut watched, Some(&wait));
        }
    }
}
