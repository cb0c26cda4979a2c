//! Files of JSON lines that grow: a kill loses no whole line, and a later run goes on after the last.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::files::{self, Locked, Readers, Whole};
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
            self != Existing::Refuse || !files::stands(path),
            "{} exists already; continue it with --resume or replace it with --force",
            path.display()
        );
        Ok(())
    }
}

/// The words for a file in messages.
#[derive(Clone, Copy, Debug)]
pub struct FileWords {
    /// What it holds, like `records`.
    pub contents: &'static str,
    /// What writes it, like `search`.
    pub writer: &'static str,
    /// The option that names it, like `--out`.
    pub option: &'static str,
}

/// Appends lines, each written and synced whole. One process at a time: the file is locked, where
/// the file system knows locks.
pub struct LineFile {
    path: PathBuf,
    existing: Existing,
    words: FileWords,
    file: File,
    /// Bytes of the whole lines.
    length: u64,
}

impl LineFile {
    /// Opens a file, which is made if it is not there, and changes nothing in it yet: [`Self::read`]
    /// what it holds, then say how much of that to [`Self::begin`] with. A link that is named is
    /// followed under [`Existing::Resume`] alone.
    ///
    /// # Errors
    /// An existing file under [`Existing::Refuse`]; a file that another process writes; a pipe, a
    /// device or a folder.
    pub fn open(path: &Path, existing: Existing, words: FileWords) -> Result<LineFile> {
        let cannot = || format!("cannot write the {} {}", words.contents, path.display());
        files::check_replaceable(path).with_context(cannot)?;
        if existing == Existing::Overwrite && path.is_symlink() {
            std::fs::remove_file(path).with_context(cannot)?;
        }
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(existing != Existing::Refuse)
            .create_new(existing == Existing::Refuse)
            .truncate(false);
        files::without_waiting(&mut options);
        let file = options.open(path);
        if file.as_ref().is_err_and(|e| e.kind() == ErrorKind::AlreadyExists) {
            existing.check(path)?;
        }
        let file = file.with_context(cannot)?;
        match files::lock(&file) {
            Locked::Held => {}
            Locked::Busy => bail!(
                "{} is being written by another {}; wait for it or choose another {}",
                path.display(),
                words.writer,
                words.option
            ),
            Locked::Unknown => crate::note!(
                "{}: the file system there knows no locks; see to it that no other {} writes this file",
                path.display(),
                words.writer
            ),
        }
        Ok(LineFile {
            path: path.to_path_buf(),
            existing,
            words,
            file,
            length: 0,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes of the file, from its beginning.
    pub fn read(&mut self) -> Result<Vec<u8>> {
        let read = self.file.rewind();
        let read = read.and_then(|()| files::read_from(&self.file, files::DATA));
        read.with_context(|| format!("cannot read the {} {}", self.words.contents, self.path.display()))
    }

    /// Drops all but the first `length` bytes; lines are appended after them. Where none are kept,
    /// the file begins with the line `header`: under [`Existing::Overwrite`] as a new file in the
    /// place of the one that was there.
    ///
    /// # Errors
    /// What the system says. Under [`Existing::Resume`] a file without a whole line that is not the
    /// beginning of `header` either: it is no such file, and nothing in it is touched.
    pub fn begin(&mut self, length: usize, header: &str) -> Result<()> {
        if length == 0 && self.existing == Existing::Resume {
            let there = self.read()?;
            ensure!(
                header.as_bytes().starts_with(&there),
                "{} holds no {} that this {} could go on with; choose another {}, or replace it with --force",
                self.path.display(),
                self.words.contents,
                self.words.writer,
                self.words.option
            );
        }
        let cannot = format!("cannot write the {} {}", self.words.contents, self.path.display());
        if self.existing == Existing::Overwrite {
            let whole = Whole::new(&self.path, Readers::All).context(cannot.clone())?;
            // Its lock is held since it was made; that of the file before is given up with it.
            self.file = whole.finish().context(cannot)?;
        } else {
            self.length = length as u64;
            self.cut().context(cannot)?;
        }
        match self.length {
            0 => self.append(header),
            _ => Ok(()),
        }
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

/// What to do about a line that cannot be used in a file that is gone on with, which has `number`, from 1. The lines after
/// it follow on it, so it cannot just be taken out.
pub fn how_to_go_on(number: usize) -> String {
    match number {
        1 => "choose another file, or begin anew with --force".to_owned(),
        _ => format!(
            "keep the {} before it (`head -n {}` into a new file) and go on from there with --resume, or begin anew with \
             --force",
            if number == 2 { "line" } else { "lines" },
            number - 1
        ),
    }
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

    const WORDS: FileWords = FileWords {
        contents: "lines",
        writer: "test",
        option: "--file",
    };

    #[test]
    fn lines_go_on_after_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.jsonl");
        let mut file = LineFile::open(&path, Existing::Refuse, WORDS).unwrap();
        file.begin(0, "one\n").unwrap();
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
        file.begin(whole_lines(&bytes), "one\n").unwrap();
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
    fn resuming_touches_its_own_kind_of_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.jsonl");
        let resume = |there: &[u8]| {
            std::fs::write(&path, there).unwrap();
            let begun = LineFile::open(&path, Existing::Resume, WORDS)
                .unwrap()
                .begin(0, "head\n");
            (begun, std::fs::read(&path).unwrap())
        };
        for torn in ["", "h", "hea"] {
            let (begun, left) = resume(torn.as_bytes());
            begun.unwrap();
            assert_eq!(left, b"head\n");
        }
        for foreign in [&b"{\"precious\": true}"[..], &[0; 5000], b"heaD", b"head and more"] {
            let (begun, left) = resume(foreign);
            let error = begun.unwrap_err().to_string();
            assert!(
                error.contains("holds no lines that this test could go on with"),
                "{error}"
            );
            assert_eq!(left, foreign);
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_to_go_on_and_replaced_to_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, "head\n").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let open = |existing| LineFile::open(&link, existing, WORDS);
        assert!(
            open(Existing::Refuse)
                .err()
                .unwrap()
                .to_string()
                .contains("exists already")
        );
        let mut file = open(Existing::Resume).unwrap();
        file.begin(5, "head\n").unwrap();
        file.append("more\n").unwrap();
        drop(file);
        assert_eq!(std::fs::read(&target).unwrap(), b"head\nmore\n");
        let mut file = open(Existing::Overwrite).unwrap();
        file.begin(0, "anew\n").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"head\nmore\n");
        assert!(!link.is_symlink());
        assert!(
            open(Existing::Resume)
                .err()
                .unwrap()
                .to_string()
                .contains("being written")
        );
        drop(file);
        assert_eq!(std::fs::read(&link).unwrap(), b"anew\n");
        assert_eq!(folder.path().read_dir().unwrap().count(), 2);
        std::fs::remove_file(&target).unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join("nowhere")).unwrap();
        let nowhere = LineFile::open(&folder.path().join("nowhere"), Existing::Refuse, WORDS);
        assert!(nowhere.err().unwrap().to_string().contains("exists already"));
        assert!(!target.exists());
        assert!(LineFile::open(Path::new("/dev/null"), Existing::Overwrite, WORDS).is_err());
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
