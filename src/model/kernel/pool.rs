//! Threads that share out one product after the other with little delay.
//!
//! A token of a small model is a hundred products of some ten microseconds; waking a sleeping
//! thread for each would cost as much again. So helpers spin for a while after a job before they
//! sleep. A caller waits only for helpers that are at work on its job, never for one to arrive:
//! where other programs hold the cores, the caller does the work alone instead of standing still.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};

/// Looks at the job before a helper goes to sleep; some hundred microseconds.
const SPINS: usize = 20_000;

/// Runs `work` over the parts of `0..items` on all threads of the process's pool. Each index is in
/// exactly one part. A nested or simultaneous call does all the work itself.
pub(super) fn share(items: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    static POOL: OnceLock<Pool> = OnceLock::new();
    let pool = POOL.get_or_init(|| Pool::new(candle_core::utils::get_num_threads()));
    pool.share(items, work);
}

struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<Thread>,
    /// Held while a job is out.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Shared {
    /// The job that is out. A helper may use it only between raising and lowering `inside`, after
    /// it saw `open`.
    job: JobCell,
    open: AtomicBool,
    /// Helpers that may be looking at the job.
    inside: AtomicUsize,
    /// Counts jobs, so that a helper sees that there is a new one.
    epoch: AtomicUsize,
    /// First index nobody has taken.
    next: AtomicUsize,
    /// A helper panicked in the job.
    failed: AtomicBool,
    sleepers: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Job {
    work: *const (dyn Fn(Range<usize>) + Sync),
    items: usize,
    threads: usize,
}

#[derive(Default)]
struct JobCell(std::cell::UnsafeCell<Option<Job>>);

// SAFETY: the cell is written only by the thread that holds `Pool::turn`, while `open` is false and
// `inside` is 0, so nobody reads; it is read only by helpers that raised `inside` and then saw
// `open`, and the writer waits for `inside` to be 0 after it cleared `open`. All with SeqCst.
unsafe impl Sync for JobCell {}
// SAFETY: the pointer inside is only followed under the rule above.
unsafe impl Send for JobCell {}

impl Pool {
    fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let helper = |i: usize| {
            let shared = shared.clone();
            let spawned = thread::Builder::new()
                .name(format!("product {i}"))
                .spawn(move || help(&shared));
            // Fewer helpers than asked for are slower, not wrong.
            spawned.ok().map(|handle| handle.thread().clone())
        };
        let helpers = (1..threads).filter_map(helper).collect();
        Pool {
            shared,
            helpers,
            turn: Mutex::new(()),
        }
    }

    fn share(&self, items: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
        let turn: Option<MutexGuard<()>> = match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(std::sync::TryLockError::Poisoned(e)) => Some(PoisonError::into_inner(e)),
            Err(std::sync::TryLockError::WouldBlock) => None,
        };
        if turn.is_none() || self.helpers.is_empty() || items < 2 {
            return work(0..items);
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed. The pointer is followed only while the job is open
        // or a helper is inside, and `Closing` outlasts both before this function returns or unwinds.
        let work = unsafe {
            std::mem::transmute::<&(dyn Fn(Range<usize>) + Sync), &'static (dyn Fn(Range<usize>) + Sync)>(work)
        };
        let job = Job {
            work,
            items,
            threads: self.helpers.len() + 1,
        };
        // SAFETY: this thread holds `turn`, the job before was closed and nobody is inside.
        unsafe { *shared.job.0.get() = Some(job) };
        shared.next.store(0, Ordering::SeqCst);
        shared.open.store(true, Ordering::SeqCst);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            self.helpers.iter().for_each(Thread::unpark);
        }
        let closing = Closing(shared);
        parts(shared, job);
        drop(closing);
        assert!(
            !shared.failed.swap(false, Ordering::SeqCst),
            "a part of a product failed on another thread"
        );
    }
}

/// Closes the job and waits until no helper is inside, also when the caller's part panics.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.open.store(false, Ordering::SeqCst);
        let mut spins = 0;
        while self.0.inside.load(Ordering::SeqCst) > 0 {
            spins += 1;
            match spins % 1024 {
                // A helper that lost its core in the middle of a part needs one to finish.
                0 => thread::yield_now(),
                _ => std::hint::spin_loop(),
            }
        }
    }
}

/// Takes parts until there are none. A part is one thread's share of what is left, so that parts get smaller
/// and the threads finish together.
fn parts(shared: &Shared, job: Job) {
    // SAFETY: the caller's own call, or a helper inside an open job: see `JobCell`.
    let work = unsafe { &*job.work };
    let after = |from: usize| from + (job.items - from).div_ceil(job.threads);
    let take = |from: usize| (from < job.items).then(|| after(from));
    while let Ok(from) = shared.next.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
        work(from..after(from));
    }
}

fn help(shared: &Shared) {
    let mut seen = 0;
    loop {
        seen = wait(shared, seen);
        shared.inside.fetch_add(1, Ordering::SeqCst);
        if shared.open.load(Ordering::SeqCst) {
            // SAFETY: `inside` is raised and the job open, so its owner waits before it writes.
            if let Some(job) = unsafe { *shared.job.0.get() } {
                let run = std::panic::AssertUnwindSafe(|| parts(shared, job));
                if std::panic::catch_unwind(run).is_err() {
                    shared.failed.store(true, Ordering::SeqCst);
                }
            }
        }
        shared.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits for a job after the `seen` one: spinning, then asleep. Returns its number.
fn wait(shared: &Shared, seen: usize) -> usize {
    for _ in 0..SPINS {
        let epoch = shared.epoch.load(Ordering::SeqCst);
        if epoch != seen {
            return epoch;
        }
        std::hint::spin_loop();
    }
    shared.sleepers.fetch_add(1, Ordering::SeqCst);
    let epoch = loop {
        // An unpark between this look and `park` makes `park` return at once.
        let epoch = shared.epoch.load(Ordering::SeqCst);
        if epoch != seen {
            break epoch;
        }
        thread::park();
    };
    shared.sleepers.fetch_sub(1, Ordering::SeqCst);
    epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_done_once() {
        let pool = Pool::new(4);
        let (largest, times) = if cfg!(miri) { (20, 3) } else { (1000, 200) };
        for items in [0, 1, 2, 5, 64, 1000].map(|items: usize| items.min(largest)) {
            for _ in 0..times {
                let done: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
                pool.share(items, &|range| {
                    for i in range {
                        done[i].fetch_add(1, Ordering::SeqCst);
                    }
                });
                assert!(done.iter().all(|d| d.load(Ordering::SeqCst) == 1), "{items} items");
            }
        }
    }

    #[test]
    fn sleeping_helpers_and_nested_calls() {
        let pool = Pool::new(3);
        let sum = AtomicUsize::new(0);
        let add = |range: Range<usize>| {
            sum.fetch_add(range.sum::<usize>(), Ordering::SeqCst);
        };
        pool.share(100, &add);
        thread::sleep(std::time::Duration::from_millis(30));
        pool.share(2, &|range| range.for_each(|_| pool.share(100, &add)));
        assert_eq!(sum.into_inner(), 3 * 4950);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(3);
        let panics = || pool.share(64, &|range| assert!(!range.contains(&63), "the last one fails"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        let count = AtomicUsize::new(0);
        pool.share(64, &|range| {
            count.fetch_add(range.len(), Ordering::SeqCst);
        });
        assert_eq!(count.into_inner(), 64);
    }
}
