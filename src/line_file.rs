//! Files of JSON lines that grow: a kill loses no whole line, and a later run goes on after the last.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::text::escape_controls;

/// What to do with a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone and say so.
    Refuse,
    /// Go on after its last whole line.
    Resume,
    /// Begin anew.
    Overwrite,
}

impl Existing {
    /// By the switches `--resume` and `--force`.
    pub fn from_switches(resume: bool, force: bool) -> Existing {
        match (resume, force) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        }
    }

    /// Says so early where the file will be refused, before anything is loaded.
    ///
    /// # Errors
    /// A file that is there, under [`Existing::Refuse`].
    pub fn check(self, path: &Path) -> Result<()> {
        ensure!(
            self != Existing::Refuse || !path.exists(),
            "{} exists already; continue it with --resume or replace it with --force",
            path.display()
        );
        Ok(())
    }
}

/// The words for a file in messages.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// What it holds, like `records`.
    pub contents: &'static str,
    /// What writes it, like `search`.
    pub writer: &'static str,
    /// The option that names it, like `--out`.
    pub option: &'static str,
}

/// Appends lines, each written and synced whole. One process at a time: the file is locked.
pub struct LineFile {
    path: PathBuf,
    words: Words,
    file: File,
    /// Bytes of the whole lines.
    length: u64,
}

impl LineFile {
    /// Opens a file, which is made if it is not there, and changes nothing in it yet: [`Self::read`]
    /// what it holds, then say how much of that to [`Self::keep`].
    ///
    /// # Errors
    /// An existing file under [`Existing::Refuse`]; a file that another process writes.
    pub fn open(path: &Path, existing: Existing, words: Words) -> Result<LineFile> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(existing != Existing::Refuse)
            .create_new(existing == Existing::Refuse)
            .truncate(false)
            .open(path);
        if file.as_ref().is_err_and(|e| e.kind() == ErrorKind::AlreadyExists) {
            existing.check(path)?;
        }
        let file = file.with_context(|| format!("cannot write the {} {}", words.contents, path.display()))?;
        if file.try_lock().is_err() {
            bail!(
                "{} is being written by another {}; wait for it or choose another {}",
                path.display(),
                words.writer,
                words.option
            );
        }
        Ok(LineFile {
            path: path.to_path_buf(),
            words,
            file,
            length: 0,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes of the file, from its beginning.
    pub fn read(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.file.rewind().and_then(|()| self.file.read_to_end(&mut bytes));
        read.with_context(|| format!("cannot read the {} {}", self.words.contents, self.path.display()))?;
        Ok(bytes)
    }

    /// Drops all but the first `length` bytes; lines are appended after them.
    pub fn keep(&mut self, length: usize) -> Result<()> {
        self.length = length as u64;
        self.cut()
            .with_context(|| format!("cannot write the {} {}", self.words.contents, self.path.display()))
    }

    /// Whether no line stands there.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Writes one line, which ends in a line feed, and waits until it is on the disk.
    ///
    /// # Errors
    /// What the system says, like a full disk: the lines before are whole, and it says how to go on.
    pub fn append(&mut self, line: &str) -> Result<()> {
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data());
        if let Err(e) = written {
            // A full disk may have taken half a line.
            let cut = self.cut();
            return Err(e).with_context(|| {
                format!(
                    "cannot write to {}; the {} before are on the disk{}. Make room (a full disk, or a quota) and \
                     continue with --resume",
                    self.path.display(),
                    self.words.contents,
                    if cut.is_ok() { "" } else { ", then a broken line" }
                )
            });
        }
        self.length += line.len() as u64;
        Ok(())
    }

    fn cut(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        Ok(())
    }
}

/// How many of `bytes` whole lines take: a last line without an end is what a kill leaves.
pub fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1)
}

/// A header's or record's line.
pub fn to_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("lines have string keys only") + "\n"
}

/// The first field in which two headers differ: (name, here, there), `data.sha256` being a field of
/// a field and `tasks[0]` the first of several. Fields named in `apart` are not compared.
pub fn difference<T: Serialize>(here: &T, there: &T, apart: &[&str]) -> Option<(String, String, String)> {
    let fields = |header: &T| {
        let mut value = serde_json::to_value(header).expect("headers have string keys only");
        if let Value::Object(fields) = &mut value {
            fields.retain(|name, _| !apart.contains(&name.as_str()));
        }
        value
    };
    first_difference(String::new(), &fields(here), &fields(there))
}

fn first_difference(name: String, here: &Value, there: &Value) -> Option<(String, String, String)> {
    match (here, there) {
        _ if here == there => None,
        (Value::Object(a), Value::Object(b)) => {
            let dot = if name.is_empty() { "" } else { "." };
            let mut names = a.keys().chain(b.keys());
            let field = names.find(|field| a.get(*field) != b.get(*field))?;
            let name = format!("{name}{dot}{field}");
            match (a.get(field), b.get(field)) {
                (Some(a), Some(b)) => first_difference(name, a, b),
                (a, b) => Some((name, printed(a), printed(b))),
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(index, (a, b))| first_difference(format!("{name}[{index}]"), a, b))
        }
        (Value::Array(a), Value::Array(b)) => {
            let count = |items: &[Value]| format!("a list of {}", items.len());
            Some((name, count(a), count(b)))
        }
        _ => Some((name, printed(Some(here)), printed(Some(there)))),
    }
}

fn printed(value: Option<&Value>) -> String {
    value.map_or("nothing".to_owned(), |value| escape_controls(&value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const WORDS: Words = Words {
        contents: "lines",
        writer: "test",
        option: "--file",
    };

    #[test]
    fn lines_go_on_after_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.jsonl");
        let mut file = LineFile::open(&path, Existing::Refuse, WORDS).unwrap();
        assert!(file.is_empty());
        file.append("one\n").unwrap();
        let other = LineFile::open(&path, Existing::Resume, WORDS)
            .err()
            .unwrap()
            .to_string();
        assert!(
            other.contains("another test; wait for it or choose another --file"),
            "{other}"
        );
        drop(file);
        std::fs::write(&path, "one\ntwo\nthr").unwrap();
        let mut file = LineFile::open(&path, Existing::Resume, WORDS).unwrap();
        let bytes = file.read().unwrap();
        file.keep(whole_lines(&bytes)).unwrap();
        file.append("three\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
        drop(file);
        let refused = LineFile::open(&path, Existing::Refuse, WORDS)
            .err()
            .unwrap()
            .to_string();
        assert!(refused.contains("--resume") && refused.contains("--force"), "{refused}");
    }

    #[test]
    fn the_first_difference_is_named_however_deep() {
        let difference = |here: Value, there: Value| difference(&here, &there, &["part"]);
        let text = |parts: [&str; 3]| Some(parts.map(String::from).into());
        assert_eq!(difference(json!({"a": 1, "part": 1}), json!({"a": 1, "part": 2})), None);
        assert_eq!(
            difference(json!({"tasks": [{"n": 1}]}), json!({"tasks": [{"n": 2}]})),
            text(["tasks[0].n", "1", "2"])
        );
        assert_eq!(
            difference(json!({"tasks": [1, 2]}), json!({"tasks": [1]})),
            text(["tasks", "a list of 2", "a list of 1"])
        );
        assert_eq!(
            difference(json!({}), json!({"b": "\u{1b}"})),
            text(["b", "nothing", "\"\\u001b\""])
        );
    }
}
