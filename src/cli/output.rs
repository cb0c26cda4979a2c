//! What every subcommand shares: text for stdout, progress on stderr.

use super::UsageError;
use super::progress::CommandProgress;
use crate::files;
use crate::model::catalog::{self, Located};
use crate::plot;
use crate::text::escape_json_controls;
use anyhow::{Context, Result};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// What is said where standard output takes nothing, before what the system says.
pub const NO_OUTPUT: &str = "cannot write to standard output";

/// Writes to stdout. A reader that has gone away (`| head`) is no failure.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context(NO_OUTPUT),
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

/// A picture that an option draws when its figures are computed.
pub struct Picture<'a> {
    /// Where it goes.
    pub path: &'a Path,
    /// The option that names it, like `--svg`.
    pub option: &'static str,
    /// What it shows, like `the map`.
    pub what: &'static str,
    /// Words that stand in every picture of this option, and in those of no other.
    pub words: &'static str,
}

impl Picture<'_> {
    /// Refuses, before its figures are computed, a folder that is not there, and a file that the same option did not draw
    /// and nobody said to replace.
    ///
    /// # Errors
    /// In words, with the path.
    pub fn check(&self, force: bool) -> Result<()> {
        let path = self.path;
        check_folder(path).with_context(|| format!("cannot draw {} into {}", self.what, path.display()))?;
        if force || !files::stands(path) {
            return Ok(());
        }
        let there = files::read(path, files::DATA).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::ensure!(
            there.is_empty() || plot::is_picture(&there) && holds(&there, self.words),
            "{} was not drawn by {}, which leaves it alone; name another file, or replace it with --force",
            path.display(),
            self.option
        );
        Ok(())
    }
}

fn holds(bytes: &[u8], words: &str) -> bool {
    bytes.windows(words.len()).any(|window| window == words.as_bytes())
}

/// Refuses a file whose folder is not there, or which is a folder itself.
///
/// # Errors
/// Says what was expected.
pub fn check_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    anyhow::ensure!(
        folder.unwrap_or(Path::new(".")).is_dir() && !path.is_dir(),
        "expected a file in a folder that is there"
    );
    files::check_replaceable(path)?;
    Ok(())
}

/// Refuses to write a file that the same command reads or writes otherwise, under this name, another spelling of it or
/// a link.
///
/// # Errors
/// [`UsageError`] that names the file.
pub fn check_named_once(written: &[&PathBuf], read: &[&PathBuf]) -> Result<()> {
    for (i, path) in written.iter().enumerate() {
        let mut others = written[..i].iter().chain(read);
        if others.any(|other| is_same(other, path)) {
            let message = format!("{} is named twice; give every file its own name", path.display());
            return Err(UsageError::new(message).into());
        }
    }
    Ok(())
}

/// Whether two paths lead to one file, which need not be there yet.
fn is_same(a: &Path, b: &Path) -> bool {
    place(a) == place(b) || is_linked(a, b)
}

/// A path with all links followed; of a file that is not there yet, those of its folder.
fn place(path: &Path) -> PathBuf {
    let in_folder = || {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok()?;
        Some(folder.join(path.file_name()?))
    };
    let there = path.canonicalize().ok().or_else(in_folder);
    there.unwrap_or_else(|| path.to_path_buf())
}

/// Whether two names are of one file that is there.
fn is_linked(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let file = |path: &Path| path.metadata().ok().map(|there| (there.dev(), there.ino()));
        file(a).is_some_and(|a| Some(a) == file(b))
    }
    #[cfg(not(unix))]
    {
        let _ = (a, b);
        false
    }
}

/// Writes a file whole or not at all: what `fill` writes takes the place of `path` once it is on
/// the disk.
///
/// # Errors
/// Names the path; whatever was there before is untouched.
pub fn write_whole(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    files::write_with(path, fill).with_context(|| format!("cannot write {}; nothing was changed there", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_known_by_all_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), "a").unwrap();
        std::fs::write(path("b"), "a").unwrap();
        std::fs::create_dir(path("sub")).unwrap();
        let once = |written: &str, read: &str| check_named_once(&[&path(written)], &[&path(read)]);
        assert!(once("b", "a").is_ok() && once("new", "a").is_ok());
        for name in ["a", "./a", "sub/../a"] {
            let error = once(name, "a").unwrap_err();
            assert!(
                error.is::<UsageError>() && error.to_string().contains("named twice"),
                "{error}"
            );
        }
        // Two that are to be written, neither there yet.
        assert!(check_named_once(&[&path("new"), &path("sub/../new")], &[]).is_err());
        assert!(check_named_once(&[&path("new"), &path("newer")], &[]).is_ok());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(path("a"), path("link")).unwrap();
            std::fs::hard_link(path("a"), path("hard")).unwrap();
            assert!(once("link", "a").is_err() && once("a", "link").is_err());
            assert!(once("hard", "a").is_err());
        }
    }

    #[test]
    fn a_picture_takes_the_place_of_its_own_kind_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.svg");
        let picture = Picture {
            path: &path,
            option: "--svg",
            what: "the map",
            words: "Map of",
        };
        assert!(picture.check(false).is_ok(), "nothing is there");
        let grid = plot::PanelGrid {
            width: 100.0,
            height: 100.0,
            across: 1,
            legend_columns: 1,
        };
        let other = plot::svg(&[], grid);
        let own = other.replace("</svg>", "<text>Map of x</text></svg>");
        for (there, is_taken) in [
            ("", true),
            (own.as_str(), true),
            (other.as_str(), false),
            ("<svg>Map of my house</svg>", false),
            ("precious", false),
        ] {
            std::fs::write(&path, there).unwrap();
            assert_eq!(picture.check(false).is_ok(), is_taken, "{there}");
            assert!(picture.check(true).is_ok());
        }
        let error = picture.check(false).unwrap_err().to_string();
        assert!(
            error.contains("not drawn by --svg") && error.contains("--force"),
            "{error}"
        );
        let nowhere = folder.path().join("no/p.svg");
        let error = Picture {
            path: &nowhere,
            ..picture
        }
        .check(true)
        .unwrap_err();
        assert!(format!("{error:#}").contains("a folder that is there"));
    }
}
