//! Holds a run before its next token, until it is let through.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A run waits at the point before every token. While nothing is paused that costs an uncontended lock.
#[derive(Default)]
pub struct PausePoint {
    hold: Mutex<Hold>,
    changed: Condvar,
}

#[derive(Default)]
struct Hold {
    paused: bool,
    /// Tokens that may be computed while it is paused.
    tokens: usize,
    /// Something was asked that is to be answered even while the run is held.
    asked: bool,
}

impl PausePoint {
    /// Holds the run before its next token.
    pub fn pause(&self) {
        let mut hold = self.lock();
        (hold.paused, hold.tokens) = (true, 0);
    }

    /// Lets the run go on.
    pub fn resume(&self) {
        let mut hold = self.lock();
        (hold.paused, hold.tokens) = (false, 0);
        drop(hold);
        self.changed.notify_all();
    }

    /// Lets one token through a point that pauses.
    pub fn step(&self) {
        self.lock().tokens += 1;
        self.changed.notify_all();
    }

    /// Wakes a held run, since there is a question to answer.
    pub fn wake(&self) {
        self.lock().asked = true;
        self.changed.notify_all();
    }

    /// Waits until the next token may be computed, or until `stop` is set. False where it was
    /// woken since the last call: the questions come first.
    pub fn wait(&self, stop: &AtomicBool) -> bool {
        let held = |hold: &mut Hold| hold.paused && hold.tokens == 0 && !hold.asked && !stop.load(Ordering::Relaxed);
        let wait = self.changed.wait_while(self.lock(), held);
        let mut hold = wait.unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut hold.asked) {
            return false;
        }
        // A run that is ended leaves the next one's tokens alone.
        if !stop.load(Ordering::Relaxed) {
            hold.tokens = hold.tokens.saturating_sub(1);
        }
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
        let point = PausePoint::default();
        let stop = AtomicBool::new(false);
        assert!(point.wait(&stop));
        point.pause();
        std::thread::scope(|scope| {
            let (passed, tokens) = mpsc::channel();
            let (point, stop) = (&point, &stop);
            scope.spawn(move || {
                for token in 0..3 {
                    assert!(point.wait(stop));
                    passed.send(token).unwrap();
                }
                // Freed by the stop.
                point.pause();
                passed.send(8).unwrap();
                assert!(point.wait(stop));
                passed.send(9).unwrap();
            });
            let next = || tokens.recv_timeout(Duration::from_secs(20));
            point.step();
            assert_eq!(next(), Ok(0));
            assert!(
                tokens.recv_timeout(Duration::from_millis(30)).is_err(),
                "a second token passed"
            );
            point.resume();
            assert_eq!((next(), next()), (Ok(1), Ok(2)));
            assert_eq!(next(), Ok(8));
            stop.store(true, Ordering::Relaxed);
            point.step();
            assert_eq!(next(), Ok(9));
        });
    }

    #[test]
    fn a_knock_is_heard_by_who_is_held_and_lets_no_token_through() {
        let point = PausePoint::default();
        let stop = AtomicBool::new(false);
        point.pause();
        point.wake();
        // Neither holding again nor a token that may pass loses it.
        point.pause();
        point.step();
        assert!(!point.wait(&stop), "the question comes first");
        assert!(point.wait(&stop), "the token that may pass");
        std::thread::scope(|scope| {
            let (heard, answers) = mpsc::channel();
            let (point, stop) = (&point, &stop);
            scope.spawn(move || heard.send(point.wait(stop)).unwrap());
            assert!(answers.recv_timeout(Duration::from_millis(30)).is_err(), "not held");
            point.wake();
            assert_eq!(answers.recv_timeout(Duration::from_secs(20)), Ok(false));
        });
    }
}
