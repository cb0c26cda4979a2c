//! What is typed, read on a thread of its own.
//!
//! crossterm 0.29 reads a terminal that was hung up again and again without coming back. On the thread
//! of the main loop that would keep SIGHUP, which comes with it, from being handled.

use std::io;
use std::thread;
use std::time::Duration;

use crossterm::event::{Event, poll, read};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long the terminal is waited for before it is asked whether it still exists.
const BETWEEN_CHECKS: Duration = Duration::from_millis(500);

/// Keys, pastes, mouse events and sizes from now on. An error is the last item: the terminal is gone.
///
/// # Errors
/// When the system refuses a thread.
pub fn input() -> io::Result<UnboundedReceiver<io::Result<Event>>> {
    let (sender, receiver) = unbounded_channel();
    thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || forward(&sender))?;
    Ok(receiver)
}

fn forward(sender: &UnboundedSender<io::Result<Event>>) {
    loop {
        let event = match poll(BETWEEN_CHECKS) {
            Ok(true) => read(),
            Ok(false) if sender.is_closed() => return,
            Ok(false) if is_hung_up() => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(false) => continue,
            Err(error) => Err(error),
        };
        let last = event.is_err();
        if sender.send(event).is_err() || last {
            return;
        }
    }
}

/// Whether the terminal that is read has no other end any more.
#[cfg(unix)]
fn is_hung_up() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec};
    use std::os::fd::AsFd;

    let hung_up = |terminal: std::os::fd::BorrowedFd<'_>| {
        let mut watched = [PollFd::from_borrowed_fd(terminal, PollFlags::IN)];
        let polled = rustix::event::poll(&mut watched, Some(&Timespec::default()));
        polled.is_ok() && watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    };
    let stdin = io::stdin();
    if rustix::termios::isatty(&stdin) {
        return hung_up(stdin.as_fd());
    }
    // A hung-up terminal is none to `isatty`; a process without a terminal cannot open this.
    match std::fs::File::open("/dev/tty") {
        Ok(terminal) => hung_up(terminal.as_fd()),
        Err(_) => true,
    }
}

#[cfg(not(unix))]
fn is_hung_up() -> bool {
    false
}
