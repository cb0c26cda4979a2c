//! What every subcommand shares: text for stdout, progress on stderr.

use super::UsageError;
use super::progress::CommandProgress;
use crate::files;
use crate::model::catalog::{self, Located};
use crate::text::escape_json_controls;
use anyhow::{Context, Result};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Writes to stdout. A reader that has gone away (`| head`) is no failure.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes a JSON value and a newline to stdout, on one line or indented, safe for a terminal.
pub fn print_json(value: &serde_json::Value, indented: bool) -> Result<()> {
    let json = if indented {
        format!("{value:#}")
    } else {
        value.to_string()
    };
    print(&format!("{}\n", escape_json_controls(&json)))
}

/// Finds the model named on the command line, pulling it with a progress bar when it has to be.
pub fn locate(name: Option<&str>) -> Result<Located> {
    let bar = CommandProgress::announcing();
    let show = &mut |step: catalog::PullProgress| bar.bytes(&step.what, step.done, step.total);
    Ok(catalog::locate(name, show, &AtomicBool::new(false))?)
}

/// Refuses to replace a file that was not asked for.
pub fn refuse_existing(path: &Path, force: bool) -> Result<()> {
    anyhow::ensure!(
        force || !files::stands(path),
        "{} exists already; replace it with --force, or choose another --out",
        path.display()
    );
    Ok(())
}

/// Refuses a picture whose folder is not there, before its figures are computed.
pub fn check_drawable(path: &Path, what: &str) -> Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    anyhow::ensure!(
        folder.unwrap_or(Path::new(".")).is_dir() && !path.is_dir(),
        "cannot draw {what} into {}: expected a file in a folder that is there",
        path.display()
    );
    Ok(())
}

/// Refuses to write a file that the same command reads or writes otherwise.
pub fn check_named_once(written: &[&PathBuf], read: &[&PathBuf]) -> Result<()> {
    let place = |path: &&PathBuf| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    for (i, path) in written.iter().enumerate() {
        let mut others = written[..i].iter().chain(read);
        if others.any(|other| place(other) == place(path)) {
            let message = format!("{} is named twice; give every file its own name", path.display());
            return Err(UsageError::new(message).into());
        }
    }
    Ok(())
}

/// Writes a file whole or not at all: what `fill` writes takes the place of `path` once it is on
/// the disk.
///
/// # Errors
/// Names the path; whatever was there before is untouched.
pub fn write_whole(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    files::write_with(path, fill).with_context(|| format!("cannot write {}; nothing was changed there", path.display()))
}
