//! Progress on standard error: a bar in a terminal; in a pipe silence, or a line now and then.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::progress::Progress as Step;
use crate::text::escape_controls;

/// How often counted work writes a line where there is no terminal: the first one after `LINE_FIRST`, then at most every
/// `LINE_EVERY`, with times that double until then.
const LINE_FIRST: Duration = Duration::from_secs(2);
const LINE_EVERY: Duration = Duration::from_secs(30);

/// One bar for all works of a command, one after the other.
pub struct CommandProgress(RefCell<Bar>);

struct Bar {
    bar: ProgressBar,
    /// Whether a pipe gets a line for every new work.
    announces: bool,
    what: String,
    /// The bar's style, so that it is set once.
    template: &'static str,
    /// Of counted work: how much was done before, since when, and when a line was last written.
    before: usize,
    /// Done and total of the last step.
    last: (usize, usize),
    started: Instant,
    last_line: Instant,
}

impl Default for CommandProgress {
    fn default() -> Self {
        Self::new()
    }
}

impl CommandProgress {
    /// Nothing is said in a pipe, but of counted work every now and then.
    pub fn new() -> Self {
        // indicatif draws nothing where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        CommandProgress(RefCell::new(Bar {
            bar,
            announces: false,
            what: String::new(),
            template: "",
            before: 0,
            last: (0, 0),
            started: Instant::now(),
            last_line: Instant::now(),
        }))
    }

    /// In a pipe each new work is a line.
    pub fn announcing() -> Self {
        let progress = Self::new();
        progress.0.borrow_mut().announces = true;
        progress
    }

    /// Bytes of something that is fetched or read.
    pub fn bytes(&self, what: &str, done: u64, total: Option<u64>) {
        let bar = &mut *self.0.borrow_mut();
        bar.begin(what);
        bar.style(match total {
            Some(_) => "{wide_msg} [{bar:20}] {bytes}/{total_bytes} {eta}",
            None => "{spinner} {wide_msg} {bytes}",
        });
        if let Some(total) = total {
            bar.bar.set_length(total);
        }
        bar.bar.set_position(done);
    }

    /// A stage, in words.
    pub fn stage(&self, what: &str) {
        let bar = &mut *self.0.borrow_mut();
        bar.begin(what);
        bar.style("{msg}");
        bar.bar.tick();
    }

    /// Things that are counted: how fast they go, and how long the rest will take.
    pub fn count(&self, step: Step) {
        let bar = &mut *self.0.borrow_mut();
        let (done, total) = std::mem::replace(&mut bar.last, (step.done, step.total));
        if step.done < done || step.total != total {
            // Another work of the same name.
            bar.what.clear();
        }
        if bar.begin(step.what) {
            bar.before = step.done;
            bar.started = Instant::now();
            bar.last_line = Instant::now();
            bar.style("{prefix} {bar:24} {pos}/{len} {msg}");
            bar.bar.set_prefix(bar.what.clone());
            bar.bar.set_message("");
            bar.bar.set_length(step.total as u64);
            bar.bar.set_position(step.done as u64);
            return;
        }
        let rate = (step.done - bar.before) as f64 / bar.started.elapsed().as_secs_f64().max(1e-3);
        let left = Duration::from_secs_f64(((step.total - step.done) as f64 / rate.max(1e-6)).min(1e8));
        let message = format!("{rate:.2}/s, {} left{}", HumanDuration(left), step.note);
        if bar.bar.is_hidden() {
            if bar.last_line.elapsed() >= bar.started.elapsed().div_f64(2.0).clamp(LINE_FIRST, LINE_EVERY) {
                bar.last_line = Instant::now();
                crate::note!("{} {}/{}: {message}", bar.what, step.done, step.total);
            }
            return;
        }
        bar.bar.set_message(message);
        bar.bar.set_position(step.done as u64);
    }

    /// Takes the bar away; the next work begins anew.
    pub fn finish(&self) {
        let mut bar = self.0.borrow_mut();
        bar.what.clear();
        bar.bar.finish_and_clear();
    }
}

impl Drop for CommandProgress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Bar {
    /// Whether this is another work than before.
    fn begin(&mut self, what: &str) -> bool {
        let what = escape_controls(what);
        if self.what == what {
            return false;
        }
        self.bar.reset();
        self.bar.unset_length();
        if self.announces && self.bar.is_hidden() {
            crate::note!("{what}");
        }
        self.bar.set_message(what.clone());
        self.what = what;
        self.template = "";
        true
    }

    fn style(&mut self, template: &'static str) {
        if self.template != template {
            self.template = template;
            let style = ProgressStyle::with_template(template);
            self.bar.set_style(style.expect("the templates are constants"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_work_of_the_same_name_begins_anew() {
        let progress = CommandProgress::new();
        let count = |done, total| progress.count(Step::new("arc", done, total));
        let before = || progress.0.borrow().before;
        count(40, 50);
        count(50, 50);
        assert_eq!(before(), 40, "one work");
        count(0, 50);
        assert_eq!(before(), 0, "the same questions under other programs");
        count(1, 50);
        count(7, 9);
        assert_eq!(before(), 7, "other questions");
        progress.finish();
        count(3, 9);
        assert_eq!(before(), 3, "after the end of the one before");
    }
}
