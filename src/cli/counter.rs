//! Progress over many questions on standard error: a bar in a terminal, now and then a line elsewhere.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::text::escape_controls;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Counts finished questions and says how fast they go and how long the rest will take.
pub struct Counter {
    bar: ProgressBar,
    what: String,
    started: Instant,
    /// Those done before this run.
    before: usize,
    total: usize,
    last_line: Instant,
}

impl Counter {
    /// `before` of `total` are done already.
    pub fn new(what: &str, before: usize, total: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {msg}");
        bar.set_style(style.expect("the template is a constant"));
        bar.set_prefix(escape_controls(what));
        bar.set_position(before as u64);
        Counter {
            bar,
            what: escape_controls(what),
            started: Instant::now(),
            before,
            total,
            last_line: Instant::now(),
        }
    }

    /// `done` of the total are done; `note` goes behind the rate.
    pub fn done(&mut self, done: usize, note: &str) {
        let rate = (done - self.before) as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        let left = Duration::from_secs_f64(((self.total - done) as f64 / rate.max(1e-6)).min(1e8));
        let message = format!("{rate:.2}/s, {} left{note}", HumanDuration(left));
        if self.bar.is_hidden() {
            if self.last_line.elapsed() >= LINE_EVERY {
                self.last_line = Instant::now();
                crate::note!("{} {done}/{}: {message}", self.what, self.total);
            }
            return;
        }
        self.bar.set_message(message);
        self.bar.set_position(done as u64);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
