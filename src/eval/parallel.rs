//! Questions spread over threads. No result depends on how many there are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use anyhow::{Context, Result};

/// Threads where the user does not say: one a core.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Calls `work` for every index of `range`, each index on one thread, and hands the results to
/// `sink` in ascending order as soon as they are due.
///
/// The products inside a question stay on its thread: each worker has a rayon pool of one, since
/// questions, unlike the small products of one question, divide without waiting for each other.
///
/// Once `stop` is set no further index begins, and what is out of order is dropped; `work` may
/// look at `stop` too and return `None` to leave its index undone.
///
/// # Errors
/// The first error in index order, of `work` or of `sink`.
pub fn for_each_ordered<T: Send>(
    range: Range<usize>,
    threads: usize,
    stop: &AtomicBool,
    work: impl Fn(usize) -> Result<Option<T>> + Sync,
    mut sink: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(range.start);
    let abandoned = AtomicBool::new(false);
    let halted = || stop.load(Ordering::Relaxed) || abandoned.load(Ordering::Relaxed);
    let (sender, receiver) = mpsc::channel();
    let mut pools = Vec::new();
    for _ in 0..threads.clamp(1, range.len().max(1)) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        pools.push(pool.context("cannot start a thread")?);
    }
    std::thread::scope(|scope| {
        for pool in pools {
            let (sender, next, work, halted) = (sender.clone(), &next, &work, &halted);
            scope.spawn(move || {
                while !halted() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= range.end {
                        break;
                    }
                    let result = pool.install(|| work(index));
                    if sender.send((index, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let outcome = in_order(range.start, receiver, &mut sink);
        abandoned.store(true, Ordering::Relaxed);
        outcome
    })
}

/// Hands on results in index order until the senders are gone, one was left undone, or an error.
fn in_order<T>(
    mut due: usize,
    receiver: mpsc::Receiver<(usize, Result<Option<T>>)>,
    sink: &mut impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let mut early = BTreeMap::new();
    for (index, result) in receiver {
        early.insert(index, result);
        while let Some(result) = early.remove(&due) {
            match result? {
                Some(value) => sink(due, value)?,
                None => return Ok(()),
            }
            due += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn run(
        threads: usize,
        stop: &AtomicBool,
        work: impl Fn(usize) -> Result<Option<usize>> + Sync,
    ) -> (Vec<usize>, Result<()>) {
        let mut seen = Vec::new();
        let result = for_each_ordered(3..20, threads, stop, work, |index, value| {
            assert_eq!(index * 10, value);
            seen.push(index);
            Ok(())
        });
        (seen, result)
    }

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        for threads in [1, 2, 7, 100] {
            let (seen, result) = run(threads, &AtomicBool::new(false), |i| {
                // Even ones are slow, so that odd ones are ready before their turn.
                std::thread::sleep(Duration::from_millis(if i % 2 == 0 { 3 } else { 0 }));
                Ok(Some(i * 10))
            });
            result.unwrap();
            assert_eq!(seen, (3..20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_ends_it_after_what_came_before() {
        let (seen, result) = run(2, &AtomicBool::new(false), |i| {
            anyhow::ensure!(i != 7, "seven");
            Ok(Some(i * 10))
        });
        assert_eq!(result.unwrap_err().to_string(), "seven");
        assert_eq!(seen, [3, 4, 5, 6]);
    }

    #[test]
    fn stopping_leaves_a_whole_beginning() {
        let stop = AtomicBool::new(false);
        let (seen, result) = run(2, &stop, |i| {
            if i == 9 {
                stop.store(true, Ordering::Relaxed);
                return Ok(None);
            }
            Ok(Some(i * 10))
        });
        result.unwrap();
        assert_eq!(seen, (3..9).collect::<Vec<_>>());
    }
}
