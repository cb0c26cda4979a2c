//! Files that the screen reads and writes. The state asks, the main loop does: what changes the state
//! touches no disk.

use std::path::{Path, PathBuf};

use super::session::{self, Session};
use crate::config::resolve;
use crate::config::source::read_text;
use crate::files;
use crate::text::escape_controls;
use crate::train::state::write_whole;

/// Something to be done; paths are as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileRequest {
    /// Writes a file.
    Save {
        /// As typed.
        path: String,
        /// The file's content.
        text: String,
        /// Take the place of a file that is there already.
        replace: bool,
    },
    /// Reads a file.
    Load {
        /// As typed.
        path: String,
    },
    /// The session that was kept last.
    Session,
}

/// What came of it; paths are whole, and safe to show.
#[derive(Clone, Debug, PartialEq)]
pub enum FileReport {
    /// The file was written; its path.
    Saved(String),
    /// There is such a file already; nothing was written.
    Exists(String),
    /// The file was read.
    Loaded {
        /// Whole, with control characters escaped.
        path: String,
        /// The file's content, as it is.
        text: String,
    },
    /// Nothing was read or written; why.
    Failed(String),
    /// Or why it does not come back.
    Session(Result<Box<Session>, String>),
}

/// Does what was asked. Regular files only: nothing here can wait for long.
pub fn perform(request: &FileRequest) -> FileReport {
    match request {
        FileRequest::Load { path } => {
            let (path, shown) = place(path);
            match read_text(&path) {
                Ok(text) => FileReport::Loaded { path: shown, text },
                Err(error) => FileReport::Failed(error.to_string()),
            }
        }
        FileRequest::Save { path, text, replace } => {
            let (path, shown) = place(path);
            save(&path, shown, text, *replace)
        }
        FileRequest::Session => FileReport::Session(last_session().map(Box::new)),
    }
}

/// The whole path of what was typed, and how it is shown.
fn place(typed: &str) -> (PathBuf, String) {
    let path = resolve(Path::new(""), Path::new(typed));
    let path = std::path::absolute(&path).unwrap_or(path);
    let shown = escape_controls(&path.display().to_string());
    (path, shown)
}

fn last_session() -> Result<Session, String> {
    let path = session::path().map_err(|e| e.to_string())?;
    session::read(&path).map_err(|e| e.to_string())
}

fn save(path: &Path, shown: String, text: &str, replace: bool) -> FileReport {
    let there = files::stands(path);
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return FileReport::Failed(format!("{shown} is a folder or a device: expected the name of a file"));
    }
    if there && !replace {
        return FileReport::Exists(shown);
    }
    let folder = path.parent().filter(|folder| !folder.is_dir());
    if let Some(folder) = folder {
        let folder = escape_controls(&folder.display().to_string());
        return FileReport::Failed(format!(
            "there is no folder {folder}: make it first, or type another name"
        ));
    }
    match write_whole(path, text.as_bytes()) {
        Ok(()) => FileReport::Saved(shown),
        Err(error) => FileReport::Failed(escape_controls(&format!("{error:#}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_whole_replaced_when_told_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.overrides").display().to_string();
        let save = |path: &str, text: &str, replace| {
            perform(&FileRequest::Save {
                path: path.to_owned(),
                text: text.to_owned(),
                replace,
            })
        };
        let load = |path: &str| perform(&FileRequest::Load { path: path.to_owned() });
        assert_eq!(save(&path, "one", false), FileReport::Saved(path.clone()));
        assert_eq!(save(&path, "two", false), FileReport::Exists(path.clone()));
        let loaded = |text: &str| FileReport::Loaded {
            path: path.clone(),
            text: text.into(),
        };
        assert_eq!(load(&path), loaded("one"));
        assert_eq!(save(&path, "two", true), FileReport::Saved(path.clone()));
        assert_eq!(load(&path), loaded("two"));
        assert_eq!(
            folder.path().read_dir().unwrap().count(),
            1,
            "nothing else is left there"
        );
    }

    #[test]
    fn what_cannot_be_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("bytes"), b"pin \xff").unwrap();
        let failed = |request: FileRequest| match perform(&request) {
            FileReport::Failed(message) => message,
            other => panic!("{other:?}"),
        };
        let save = |path: String| {
            failed(FileRequest::Save {
                path,
                text: String::new(),
                replace: true,
            })
        };
        let load = |path: String| failed(FileRequest::Load { path });
        assert!(save(at("")).contains("is a folder or a device"));
        assert!(save(at("no/x")).contains("there is no folder"));
        assert!(load(at("")).contains("not a regular file"));
        assert!(load(at("bytes")).contains("not UTF-8"));
        let hostile = load(at("no \u{1b}[2J"));
        assert!(
            hostile.starts_with("cannot read ") && hostile.contains("␛[2J"),
            "{hostile}"
        );
    }
}
