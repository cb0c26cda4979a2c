//! The file of a session: where it is, written whole or not at all, read with every check.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{SavedRun, Session, SessionState};
use crate::files::{self, Readers};
use crate::model::loopmoe::MOST_ITERATIONS;
use crate::paths::{self, NoHome};
use crate::program::MOST_LAYERS;
use crate::text::escape_controls;
use crate::trace::{Overrides, Trace};

/// What is written now; a file of a later one is refused.
const VERSION: u32 = 1;

const FORMAT: &str = "drllm-tui session";

/// Most bytes of a session that is kept; what does not fit is left out, the oldest runs first, and
/// before them the opened traces, which have files of their own.
const MOST_BYTES: usize = 64 << 20;

const FILE_NAME: &str = "session.jsonl";

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    /// The program that wrote it.
    program: String,
}

/// Each line after the state.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    Run {
        #[serde(flatten)]
        run: SavedRun,
        trace: String,
    },
    Opened {
        title: String,
        trace: String,
    },
}

/// Why a session does not come back; the message says what to do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    #[error(
        "there is no session yet at {0}: the explorer keeps one when it is quit with runs of yours, unless \
         config.toml says session = \"off\""
    )]
    /// There is no file; its path.
    Absent(String),
    /// The file is there and cannot be read.
    #[error("cannot read the session {path}: {reason}")]
    Unreadable {
        /// The file, safe to show.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// Another version of this program wrote the file.
    #[error(
        "the session {path} is of version {found}, written by drllm-tui {program}; this program reads version \
         {VERSION}: restore it with that program, or start without it, and the next quit writes a new one in its place"
    )]
    Newer {
        /// The file, safe to show.
        path: String,
        /// The file's version.
        found: u32,
        /// The version of the program that wrote it, safe to show.
        program: String,
    },
    /// The file is no session, or what every session has is wrong in it.
    #[error(
        "the session {path} is damaged, {reason}: move it away if you want to keep it; start without it, and the \
         next quit writes a new one in its place"
    )]
    Damaged {
        /// The file, safe to show.
        path: String,
        /// The line, and what is wrong there.
        reason: String,
    },
}

/// Where sessions are kept.
///
/// # Errors
/// When no state folder can be named.
pub fn path() -> Result<PathBuf, NoHome> {
    Ok(paths::state_dir()?.join(FILE_NAME))
}

/// Writes a session whole or not at all, and makes its folder, both for the user alone; how many runs
/// and traces were too large to keep.
///
/// # Errors
/// Names the file or the folder that cannot be written.
pub fn write(path: &Path, session: &Session) -> anyhow::Result<usize> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let made = builder.create(folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let (text, left_out) = to_text(session, MOST_BYTES);
    let written = files::write(path, text.as_bytes(), Readers::User);
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(left_out)
}

/// The text of a session in at most `most` bytes, where its state has no more, and how many runs and
/// traces were left out for that.
pub(super) fn to_text(session: &Session, most: usize) -> (String, usize) {
    let head = Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut out = json(&head) + &json(&session.state);
    let mut room = most.saturating_sub(out.len());
    let runs = session.runs.iter().rev().map(|(run, trace)| Entry::Run {
        run: run.clone(),
        trace: trace.to_json_lines(),
    });
    let opened = session.opened.iter().map(|(title, trace)| Entry::Opened {
        title: title.clone(),
        trace: trace.to_json_lines(),
    });
    let mut left_out = 0;
    let mut fitting = |entries: &mut dyn Iterator<Item = Entry>| {
        let mut lines = Vec::new();
        for entry in entries {
            let line = json(&entry);
            match room.checked_sub(line.len()) {
                Some(less) => {
                    room = less;
                    lines.push(line);
                }
                None => left_out += 1,
            }
        }
        lines
    };
    let runs = fitting(&mut { runs });
    let opened = fitting(&mut { opened });
    runs.into_iter().rev().chain(opened).for_each(|line| out += &line);
    (out, left_out)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("sessions have string keys and finite numbers only") + "\n"
}

/// Reads the session at `path`.
///
/// # Errors
/// [`SessionError`]; runs and traces that are damaged are no error but left out, see [`Session::damaged`].
pub fn read(path: &Path) -> Result<Session, SessionError> {
    let shown = escape_controls(&path.display().to_string());
    let unreadable = |reason: String| SessionError::Unreadable {
        path: shown.clone(),
        reason,
    };
    match path.metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(SessionError::Absent(shown)),
        Err(e) => return Err(unreadable(e.to_string())),
        Ok(there) if !there.is_file() => return Err(unreadable("it is not a regular file".to_owned())),
        Ok(_) => {}
    }
    let bytes = files::read(path, 2 * MOST_BYTES as u64).map_err(|e| unreadable(e.to_string()))?;
    parse(&shown, &String::from_utf8_lossy(&bytes))
}

fn parse(path: &str, text: &str) -> Result<Session, SessionError> {
    let damaged = |line: usize, reason: &str| SessionError::Damaged {
        path: path.to_owned(),
        reason: format!("line {line}: {}", escape_controls(reason)),
    };
    let mut lines = (1..).zip(text.lines());
    let (_, head) = lines.next().ok_or_else(|| damaged(1, "the file is empty"))?;
    let head: Head = serde_json::from_str(head).map_err(|e| damaged(1, &e.to_string()))?;
    if head.format != FORMAT {
        return Err(damaged(1, "it is no session"));
    }
    if head.version != VERSION {
        return Err(SessionError::Newer {
            path: path.to_owned(),
            found: head.version,
            program: escape_controls(&head.program),
        });
    }
    let (_, state) = lines.next().ok_or_else(|| damaged(2, "it ends here"))?;
    let mut session = Session {
        state: state_of(state).map_err(|e| damaged(2, &e))?,
        runs: Vec::new(),
        opened: Vec::new(),
        damaged: Vec::new(),
    };
    // A run that is damaged costs no other.
    for (number, line) in lines {
        if let Err(reason) = entry_of(line, &mut session) {
            session
                .damaged
                .push(format!("line {number}: {}", escape_controls(&reason)));
        }
    }
    let mut ids: Vec<_> = session.runs.iter().map(|(run, _)| run.id).collect();
    ids.sort_unstable();
    ids.dedup();
    // Below this sums of ids cannot overflow, in whatever session.
    if ids.len() < session.runs.len() || ids.last().is_some_and(|id| *id > u64::from(u32::MAX)) {
        return Err(damaged(3, "runs have the same number, or none that this program gives"));
    }
    Ok(session)
}

fn entry_of(line: &str, session: &mut Session) -> Result<(), String> {
    let trace = |text: &str| Trace::from_json_lines(text).map_err(|e| format!("{e:#}"));
    match serde_json::from_str(line).map_err(|e| e.to_string())? {
        Entry::Run { run, trace: text } => session.runs.push((run, trace(&text)?)),
        Entry::Opened { title, trace: text } => session.opened.push((title, trace(&text)?)),
    }
    Ok(())
}

fn state_of(line: &str) -> Result<SessionState, String> {
    let state: SessionState = serde_json::from_str(line).map_err(|e| e.to_string())?;
    state.settings.check_alone()?;
    if let Some(k) = state.iterations.filter(|k| !(1..=MOST_ITERATIONS).contains(k)) {
        return Err(format!("iterations is {k}: expected 1 to {MOST_ITERATIONS}"));
    }
    Overrides::parse(&state.overrides, MOST_LAYERS).map_err(|e| e.to_string())?;
    Ok(state)
}
