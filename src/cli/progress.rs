//! Progress on standard error: a bar in a terminal, silence in a pipe.

use std::cell::RefCell;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::text::escape_controls;

/// One bar for all stages of a command.
pub struct Progress {
    bar: ProgressBar,
    shown: RefCell<String>,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    pub fn new() -> Self {
        // indicatif draws nothing where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Progress {
            bar,
            shown: RefCell::default(),
        }
    }

    /// Bytes of something that is being fetched.
    pub fn bytes(&self, what: &str, done: u64, total: Option<u64>) {
        let style = match total {
            Some(_) => "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}",
            None => "{msg} {spinner} {bytes}",
        };
        if self.shown.replace(what.to_owned()) != what {
            self.bar
                .set_style(ProgressStyle::with_template(style).expect("the template is a constant"));
            self.bar.set_message(escape_controls(what));
        }
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
    }

    /// A stage, in words.
    pub fn stage(&self, what: &str) {
        self.shown.replace(what.to_owned());
        self.bar
            .set_style(ProgressStyle::with_template("{msg}").expect("the template is a constant"));
        self.bar.set_message(escape_controls(what));
        self.bar.tick();
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
