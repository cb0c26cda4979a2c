//! Faults of this process itself: the terminal is given back before it ends by one.
//!
//! The model's file is mapped: where another program shortens it, reading it is SIGBUS, in any thread.
//! What runs here runs in a signal handler, where hardly anything is allowed: it writes a few bytes, sets
//! the terminal's modes and lets the signal do what it does.

#[cfg(unix)]
pub use unix::*;

#[cfg(unix)]
mod unix {
    use std::io;
    use std::mem::MaybeUninit;
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    use libc::{c_int, c_void, sigaction, siginfo_t, termios};

    /// Those that a process brings about itself.
    const FAULTS: [c_int; 7] = [
        libc::SIGBUS,
        libc::SIGSEGV,
        libc::SIGABRT,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGSYS,
        libc::SIGTRAP,
    ];

    /// What `restore` sends: the end of a frame, no mouse, no bracketed paste, no colours, the usual
    /// screen, the cursor.
    const GIVE_BACK: &[u8] =
        b"\x1b[?2026l\x1b[?1006l\x1b[?1015l\x1b[?1003l\x1b[?1002l\x1b[?1000l\x1b[?2004l\x1b[0m\x1b[?1049l\x1b[?25h";

    const SHORTENED: &[u8] = b"drllm-tui: a file got shorter while it was read, or its disk failed. Was the model \
        replaced in its place? Write a new one beside it and rename it; then start again\n";

    const NO_MEMORY: [&[u8]; 2] = [
        b"drllm-tui: no memory for ",
        b" bytes; end other programs, raise the limit, or use a smaller model\n",
    ];

    /// The terminal's modes before it was taken; null while it is not ours.
    static BEFORE: AtomicPtr<termios> = AtomicPtr::new(null_mut());

    /// The handlers that were there of SIGSEGV: Rust's, which tells an overflown stack.
    static OF_SEGV: AtomicUsize = AtomicUsize::new(0);

    /// Keeps the terminal's modes for the handler.
    pub fn remember_terminal() {
        let mut modes = MaybeUninit::<termios>::uninit();
        // SAFETY: `modes` has room for what is written there; 0 says that it was.
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, modes.as_mut_ptr()) } == 0 {
            // A few bytes for each time the terminal is taken; the handler may be reading the old ones.
            // SAFETY: written above.
            BEFORE.store(Box::leak(Box::new(unsafe { modes.assume_init() })), Ordering::Release);
        }
    }

    /// The terminal is not ours any more.
    pub fn forget_terminal() {
        BEFORE.store(null_mut(), Ordering::Release);
    }

    /// From now on a fault gives the terminal back before it ends this process.
    pub fn give_back_on_faults() {
        for signal in FAULTS {
            // SAFETY: all-zero bytes are a valid `sigaction`, and `handle` keeps to what signal handlers may
            // do. It runs on the thread's alternative stack where there is one, as Rust's own handler.
            unsafe {
                let mut action: sigaction = MaybeUninit::zeroed().assume_init();
                let mut before: sigaction = MaybeUninit::zeroed().assume_init();
                action.sa_sigaction = handle as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                if libc::sigaction(signal, &action, &mut before) == 0 && signal == libc::SIGSEGV {
                    let has_handler = before.sa_flags & libc::SA_SIGINFO != 0;
                    OF_SEGV.store(if has_handler { before.sa_sigaction } else { 0 }, Ordering::Release);
                }
            }
        }
    }

    extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        let before = BEFORE.swap(null_mut(), Ordering::AcqRel);
        // SAFETY: the calls are those that POSIX allows here. `before` is null or leaked, and never written
        // again. The handler of before is called as the system would have called it.
        unsafe {
            if !before.is_null() {
                let _ = libc::write(
                    super::super::out::descriptor(),
                    GIVE_BACK.as_ptr().cast(),
                    GIVE_BACK.len(),
                );
                let _ = libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, before);
            }
            if signal == libc::SIGBUS && cfg!(target_os = "linux") {
                let _ = libc::write(libc::STDERR_FILENO, SHORTENED.as_ptr().cast(), SHORTENED.len());
            }
            if let (libc::SIGABRT, Some(bytes)) = (signal, crate::guard::refused_bytes()) {
                let (digits, from) = decimal(bytes);
                for part in [NO_MEMORY[0], &digits[from..], NO_MEMORY[1]] {
                    let _ = libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len());
                }
            }
            let of_segv = OF_SEGV.load(Ordering::Acquire);
            // Rust's handler takes it for granted that the fault comes again; one that was sent does not.
            let is_sent = !info.is_null() && (*info).si_code <= 0;
            if signal == libc::SIGSEGV && of_segv != 0 && !is_sent {
                let chained: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = std::mem::transmute(of_segv);
                chained(signal, info, context);
                return;
            }
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }

    /// The digits of a number, and where in them it begins: without memory of its own.
    fn decimal(mut n: usize) -> ([u8; 20], usize) {
        let mut digits = [b'0'; 20];
        let mut from = digits.len();
        loop {
            from -= 1;
            digits[from] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                return (digits, from);
            }
        }
    }

    /// Stops this process as SIGTSTP does by itself, which is not at all where no shell could continue it.
    ///
    /// # Errors
    /// What the system says.
    pub fn stop_this_process() -> io::Result<()> {
        // SAFETY: all-zero bytes are a valid `sigaction`, which is the default one; the one that was there
        // is put back.
        let done = unsafe {
            let default: sigaction = MaybeUninit::zeroed().assume_init();
            let mut before: sigaction = MaybeUninit::zeroed().assume_init();
            let mut done = libc::sigaction(libc::SIGTSTP, &default, &mut before);
            if done == 0 {
                done = libc::raise(libc::SIGTSTP);
                libc::sigaction(libc::SIGTSTP, &before, null_mut());
            }
            done
        };
        match done {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(not(unix))]
mod none {
    /// There are no signals here.
    pub fn give_back_on_faults() {}
    pub fn remember_terminal() {}
    pub fn forget_terminal() {}

    /// # Errors
    /// Never.
    pub fn stop_this_process() -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(not(unix))]
pub use none::*;
