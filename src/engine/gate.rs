//! Holds a run before its next token, until it is let through.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A run passes the gate before every token. Open, that costs an uncontended lock.
#[derive(Default)]
pub struct Gate {
    hold: Mutex<Hold>,
    changed: Condvar,
}

#[derive(Default)]
struct Hold {
    closed: bool,
    /// Tokens that may pass while it is closed.
    tokens: usize,
}

impl Gate {
    /// Holds whoever comes next.
    pub fn close(&self) {
        *self.lock() = Hold {
            closed: true,
            tokens: 0,
        };
    }

    /// Lets everyone through from now on.
    pub fn open(&self) {
        *self.lock() = Hold::default();
        self.changed.notify_all();
    }

    /// Lets one token through a closed gate.
    pub fn step(&self) {
        self.lock().tokens += 1;
        self.changed.notify_all();
    }

    /// Waits until the next token may be computed, or until `stop` is set.
    pub fn pass(&self, stop: &AtomicBool) {
        let held = |hold: &mut Hold| hold.closed && hold.tokens == 0 && !stop.load(Ordering::Relaxed);
        let wait = self.changed.wait_while(self.lock(), held);
        let mut hold = wait.unwrap_or_else(PoisonError::into_inner);
        hold.tokens = hold.tokens.saturating_sub(1);
    }

    fn lock(&self) -> MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn tokens_pass_one_by_one_and_a_stop_sets_free() {
        let gate = Gate::default();
        let stop = AtomicBool::new(false);
        gate.pass(&stop);
        gate.close();
        std::thread::scope(|scope| {
            let (passed, tokens) = mpsc::channel();
            let (gate, stop) = (&gate, &stop);
            scope.spawn(move || {
                for token in 0..3 {
                    gate.pass(stop);
                    passed.send(token).unwrap();
                }
                // Freed by the stop.
                gate.close();
                passed.send(8).unwrap();
                gate.pass(stop);
                passed.send(9).unwrap();
            });
            let next = || tokens.recv_timeout(Duration::from_secs(20));
            gate.step();
            assert_eq!(next(), Ok(0));
            assert!(
                tokens.recv_timeout(Duration::from_millis(30)).is_err(),
                "a second token passed"
            );
            gate.open();
            assert_eq!((next(), next()), (Ok(1), Ok(2)));
            assert_eq!(next(), Ok(8));
            stop.store(true, Ordering::Relaxed);
            gate.step();
            assert_eq!(next(), Ok(9));
        });
    }
}
