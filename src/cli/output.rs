//! What every subcommand shares: text for stdout, progress on stderr.

use crate::model::catalog::{self, Located, Progress};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

const WITH_TOTAL: &str = "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} ({eta})";
const WITHOUT_TOTAL: &str = "{spinner} {msg} {bytes}";

/// Writes to stdout. A reader that has gone away (`| head`) is no failure.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Finds the model named on the command line, pulling it with a progress bar when it has to be.
pub fn locate(name: Option<&str>) -> Result<Located> {
    let mut bar = Bar::default();
    let located = catalog::locate(name, &mut |progress| bar.show(progress), &AtomicBool::new(false))?;
    Ok(located)
}

/// A progress bar on stderr; where that is no terminal, a line for every new step.
#[derive(Default)]
pub struct Bar {
    bar: Option<ProgressBar>,
    what: String,
    has_total: bool,
}

impl Bar {
    pub fn show(&mut self, progress: Progress) {
        let bar = self.bar.get_or_insert_with(|| ProgressBar::new(0));
        if progress.what != self.what {
            self.what.clone_from(&progress.what);
            bar.reset();
            if bar.is_hidden() {
                eprintln!("{}", self.what);
            }
            bar.set_message(progress.what);
            self.has_total = false;
            bar.set_style(style(WITHOUT_TOTAL));
        }
        if let Some(total) = progress.total {
            bar.set_length(total);
            if !self.has_total {
                self.has_total = true;
                bar.set_style(style(WITH_TOTAL));
            }
        }
        bar.set_position(progress.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are well-formed")
}
