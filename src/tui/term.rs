//! Taking the terminal over and giving it back: at the end, on a panic, on a signal, on suspension.

mod faults;
mod input;
mod out;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, stdout};
use std::mem::ManuallyDrop;
use std::panic::PanicHookInfo;
use std::sync::{Mutex, Once, PoisonError};
use std::thread::{self, ThreadId};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use crossterm::style::{Attribute, SetAttribute, force_color_output};
use crossterm::terminal::{
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect};
use thiserror::Error;

pub use faults::give_back_on_faults;
pub use input::input;
pub use out::{Buffered, out};

use crate::text::escape_controls;

/// Why the screen cannot be shown.
#[derive(Debug, Error)]
pub enum TermError {
    /// Standard output is no terminal.
    #[error("drllm-tui needs a terminal to draw on; in a pipe use `drllm-tui run`")]
    NoTerminal,
    /// The terminal, or the system, refused.
    #[error("cannot set the terminal up: {0}")]
    SetUp(#[from] io::Error),
}

/// The terminal while it is ours: alternate screen, raw mode, bracketed paste and, if wanted, the
/// mouse. Dropping it gives the terminal back as it was.
pub struct TerminalSession {
    /// Never dropped by itself: its drop prints to standard error, which is gone with a terminal that is.
    pub terminal: ManuallyDrop<Terminal<CrosstermBackend<Buffered>>>,
    mouse: bool,
}

/// The thread that draws, while a [`Session`] has the terminal.
static SCREEN: Mutex<Option<ThreadId>> = Mutex::new(None);

impl TerminalSession {
    /// Takes the terminal over. From here on a panic of this thread gives it back before the
    /// message is printed; a panic of another thread is only logged, since the screen lives on.
    ///
    /// # Errors
    /// When standard output is no terminal or does not take commands; it is then as it was.
    pub fn enter(mouse: bool) -> Result<TerminalSession, TermError> {
        if !stdout().is_terminal() {
            return Err(TermError::NoTerminal);
        }
        install_panic_hook();
        // Under NO_COLOR crossterm 0.29 turns colours into resets that wipe bold and reverse. The
        // theme leaves colours out by itself, so crossterm should not.
        force_color_output(true);
        take(mouse)?;
        match Terminal::new(CrosstermBackend::new(out())) {
            Ok(terminal) => Ok(TerminalSession {
                terminal: ManuallyDrop::new(terminal),
                mouse,
            }),
            Err(error) => {
                restore();
                Err(error.into())
            }
        }
    }

    /// Lets the mouse select in this program, or text in the terminal as usual.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn set_mouse(&mut self, mouse: bool) -> io::Result<()> {
        self.mouse = mouse;
        match mouse {
            true => execute!(out(), EnableMouseCapture),
            false => execute!(out(), DisableMouseCapture),
        }
    }

    /// Gives the terminal back and stops this process until the shell continues it (`fg`); then
    /// takes the terminal again. The next draw is a whole one.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn suspend(&mut self) -> io::Result<()> {
        restore();
        faults::stop_this_process()?;
        self.resume()
    }

    /// Takes the terminal again after this process was stopped and continued from outside.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn resume(&mut self) -> io::Result<()> {
        restore();
        take(self.mouse)?;
        self.redraw()
    }

    /// Makes the next draw a whole one. `Terminal::clear` would ask the terminal where its cursor
    /// is, which races the reading of keys, and which bare pseudo-terminals never answer.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn redraw(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }
}

impl Drop for TerminalSession {
    fn drop(&mut self) {
        restore();
    }
}

fn screen() -> std::sync::MutexGuard<'static, Option<ThreadId>> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(mouse: bool) -> io::Result<()> {
    *screen() = Some(thread::current().id());
    out::be_patient(true);
    faults::remember_terminal();
    let taken = || {
        enable_raw_mode()?;
        let mut out = out();
        queue!(out, EnterAlternateScreen, EnableBracketedPaste, Hide)?;
        if mouse {
            queue!(out, EnableMouseCapture)?;
        }
        io::Write::flush(&mut out)
    };
    taken().inspect_err(|_| restore())
}

/// Gives the terminal back if a [`TerminalSession`] has it; safe to call at any time and more than once.
pub fn restore() {
    if screen().take().is_none() {
        return;
    }
    faults::forget_terminal();
    // The terminal may be gone, after SIGHUP for one, or not be read any more; then there is nothing to
    // be done.
    out::be_patient(false);
    let _ = execute!(
        out(),
        EndSynchronizedUpdate,
        DisableMouseCapture,
        DisableBracketedPaste,
        SetAttribute(Attribute::Reset),
        LeaveAlternateScreen,
        Show
    );
    let _ = disable_raw_mode();
}

fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let drawing = *screen();
            match drawing {
                None => before(info),
                Some(thread) if thread == thread::current().id() => {
                    restore();
                    report(info);
                }
                Some(_) => tracing::error!(
                    thread = thread::current().name().unwrap_or("unnamed"),
                    "{}",
                    escape_controls(&info.to_string())
                ),
            }
        }));
    });
}

/// Prints a panic. Its message may quote the model's text, so it is escaped.
fn report(info: &PanicHookInfo<'_>) {
    crate::note!("drllm-tui: {info}");
    let trace = Backtrace::capture();
    match trace.status() {
        BacktraceStatus::Captured => crate::note!("{trace}"),
        _ => crate::note!("This is a bug in drllm-tui. Set RUST_BACKTRACE=1 to see where it comes from."),
    }
}

/// What the system asks of a program with a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// SIGTERM, SIGHUP or another that ends programs, by number: leave, with [`exit_code`].
    Terminate(i32),
    /// SIGTSTP: call [`TerminalSession::suspend`].
    Stop,
    /// Stopped from outside and continued: call [`TerminalSession::resume`].
    Continued,
}

/// The exit code of a program that a signal ended, as shells have it.
pub fn exit_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// The signals of this process, as events for the main loop.
#[cfg(unix)]
pub struct Signals(Vec<(Interrupt, tokio::signal::unix::Signal)>);

#[cfg(unix)]
impl Signals {
    /// Listens from now on, to every signal that would end or stop this process and is not a fault of
    /// its own. Needs a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn new() -> io::Result<Signals> {
        use signal_hook::consts::*;
        use tokio::signal::unix::{SignalKind, signal};
        let mut ending = vec![
            SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU,
        ];
        #[cfg(target_os = "linux")]
        {
            ending.extend([SIGIO, libc::SIGPWR, libc::SIGSTKFLT]);
            ending.extend(libc::SIGRTMIN()..=libc::SIGRTMAX());
        }
        let ending = ending.into_iter().map(|number| (Interrupt::Terminate(number), number));
        let others = [(Interrupt::Stop, SIGTSTP), (Interrupt::Continued, SIGCONT)];
        let listen = |(interrupt, number)| {
            if matches!(interrupt, Interrupt::Terminate(_)) {
                out::give_up_on(number)?;
            }
            Ok((interrupt, signal(SignalKind::from_raw(number))?))
        };
        ending.chain(others).map(listen).collect::<io::Result<_>>().map(Signals)
    }

    /// The next one; nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Interrupt {
        std::future::poll_fn(|context| {
            for (interrupt, signal) in &mut self.0 {
                if signal.poll_recv(context) == std::task::Poll::Ready(Some(())) {
                    return std::task::Poll::Ready(*interrupt);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// The signals of this process, as events for the main loop: ctrl-c alone.
#[cfg(not(unix))]
pub struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// # Errors
    /// Never.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals)
    }

    /// The next one; nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Interrupt {
        const SIGINT: i32 = 2;
        match tokio::signal::ctrl_c().await {
            Ok(()) => Interrupt::Terminate(SIGINT),
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(all(test, unix))]
mod tests;
