//! Work whose author is not trusted: in crates that panic over hostile files, or that take for ever.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Once, mpsc};
use std::time::Duration;

/// The stack of work that has its own.
const STACK: usize = 32 << 20;

thread_local! {
    /// Whether panics of this thread are caught and told as errors.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Why guarded work came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// With the panic's words.
    #[error("it cannot be used: a program library fails on it ({0})")]
    Panicked(String),
    /// After this time.
    #[error("it took over {} seconds", .0.as_secs())]
    Late(Duration),
    /// What memory was refused for.
    #[error("{0}")]
    NoMemory(String),
}

/// Does some work; a panic in it is an error, and prints nothing.
///
/// # Errors
/// [`Failed::Panicked`], with the panic's words, which may quote the file: unescaped.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Failed> {
    silence();
    let before = CAUGHT.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(before);
    done.map_err(|panic| {
        if let Some(NoMemory(words)) = panic.downcast_ref() {
            return Failed::NoMemory(words.clone());
        }
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        Failed::Panicked(words.unwrap_or("without a word").chars().take(200).collect())
    })
}

/// As [`catch`], on a thread of its own that is left alone once `most` has passed: a thread cannot be
/// stopped, so it goes on until it is done or the program ends.
///
/// # Errors
/// Those of [`catch`] and [`Failed::Late`].
///
/// # Panics
/// Where there is no thread to be had, see [`no_memory`].
pub fn within<T: Send + 'static>(most: Duration, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failed> {
    let (send, receive) = mpsc::channel();
    let guarded = move || {
        // The receiver is gone when this is late.
        let _ = send.send(catch(work));
    };
    let thread = std::thread::Builder::new().name("guarded".to_owned()).stack_size(STACK);
    if let Err(error) = thread.spawn(guarded) {
        no_memory("another thread", &error);
    }
    receive.recv_timeout(most).unwrap_or(Err(Failed::Late(most)))
}

/// What the system refused memory for.
#[derive(Debug)]
pub struct NoMemory(pub String);

/// Ends this thread's work as a panic does, but without printing anything: who catches it, in the end
/// `main`, says what [`NoMemory`] says.
pub fn no_memory(what: &str, error: &std::io::Error) -> ! {
    let words = format!("no memory for {what} ({error}); end other programs, raise the limit, or use a smaller model");
    std::panic::resume_unwind(Box::new(NoMemory(words)))
}

/// The system's allocator. What it refused last is remembered: a `Vec` that gets no memory aborts the process, and the
/// handler of that signal can then say why.
pub struct Allocator;

/// Bytes that were asked for last of those that were refused; 0 where none were.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// How many bytes [`Allocator`] was asked for when it last had none.
pub fn refused_bytes() -> Option<usize> {
    Some(REFUSED.load(Ordering::Relaxed)).filter(|&bytes| bytes > 0)
}

fn remember_refusal(at: *mut u8, bytes: usize) -> *mut u8 {
    if at.is_null() {
        REFUSED.store(bytes, Ordering::Relaxed);
    }
    at
}

// SAFETY: everything is passed on to the system's allocator, and what it answers is returned.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same there.
        remember_refusal(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        remember_refusal(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: `at` came from this allocator with `layout`, so from the system's.
        remember_refusal(unsafe { System.realloc(at, layout, size) }, size)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as for `realloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Panics that are caught are not printed; all others go where they went before.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !CAUGHT.get() {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_errors() {
        assert_eq!(catch(|| 7), Ok(7));
        let failed = catch(|| panic!("no {}", 7)).unwrap_err().to_string();
        assert!(failed.contains("(no 7)"), "{failed}");
        assert!(!CAUGHT.get());
        let refused = std::io::ErrorKind::OutOfMemory.into();
        let failed = catch(|| no_memory("1 MiB of x", &refused)).unwrap_err().to_string();
        assert!(failed.starts_with("no memory for 1 MiB of x ("), "{failed}");
    }

    #[test]
    fn late_work_is_left_alone() {
        let second = Duration::from_secs(1);
        assert_eq!(within(second * 60, || 7), Ok(7));
        assert!(matches!(within(second * 60, || panic!("x")), Err(Failed::Panicked(_))));
        let short = Duration::from_millis(20);
        assert_eq!(
            within(short, move || std::thread::sleep(second)),
            Err(Failed::Late(short))
        );
    }
}
