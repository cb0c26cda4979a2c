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
    /// Something was asked that is to be answered even while it is closed.
    asked: bool,
}

impl Gate {
    /// Holds whoever comes next.
    pub fn close(&self) {
        let mut hold = self.lock();
        (hold.closed, hold.tokens) = (true, 0);
    }

    /// Lets everyone through from now on.
    pub fn open(&self) {
        let mut hold = self.lock();
        (hold.closed, hold.tokens) = (false, 0);
        drop(hold);
        self.changed.notify_all();
    }

    /// Lets one token through a closed gate.
    pub fn step(&self) {
        self.lock().tokens += 1;
        self.changed.notify_all();
    }

    /// Says that there is a question for whoever waits.
    pub fn knock(&self) {
        self.lock().asked = true;
        self.changed.notify_all();
    }

    /// Waits until the next token may be computed, or until `stop` is set. False where there was a
    /// knock since the last call: the questions come first.
    pub fn pass(&self, stop: &AtomicBool) -> bool {
        let held = |hold: &mut Hold| hold.closed && hold.tokens == 0 && !hold.asked && !stop.load(Ordering::Relaxed);
        let wait = self.changed.wait_while(self.lock(), held);
        let mut hold = wait.unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut hold.asked) {
            return false;
        }
        hold.tokens = hold.tokens.saturating_sub(1);
        true
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
        assert!(gate.pass(&stop));
        gate.close();
        std::thread::scope(|scope| {
            let (passed, tokens) = mpsc::channel();
            let (gate, stop) = (&gate, &stop);
            scope.spawn(move || {
                for token in 0..3 {
                    assert!(gate.pass(stop));
                    passed.send(token).unwrap();
                }
                // Freed by the stop.
                gate.close();
                passed.send(8).unwrap();
                assert!(gate.pass(stop));
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

    #[test]
    fn a_knock_is_heard_by_who_is_held_and_lets_no_token_through() {
        let gate = Gate::default();
        let stop = AtomicBool::new(false);
        gate.close();
        gate.knock();
        // Neither holding again nor a token that may pass loses it.
        gate.close();
        gate.step();
        assert!(!gate.pass(&stop), "the question comes first");
        assert!(gate.pass(&stop), "the token that may pass");
        std::thread::scope(|scope| {
            let (heard, answers) = mpsc::channel();
            let (gate, stop) = (&gate, &stop);
            scope.spawn(move || heard.send(gate.pass(stop)).unwrap());
            assert!(answers.recv_timeout(Duration::from_millis(30)).is_err(), "not held");
            gate.knock();
            assert_eq!(answers.recv_timeout(Duration::from_secs(20)), Ok(false));
        });
    }
}
