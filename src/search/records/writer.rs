//! Appending records so that a kill loses no whole line.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::read::parse;
use super::{ExampleRecord, Line, RecordHeader};
use crate::eval::Question;
use crate::text::escape_controls;

/// What to do with a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone and say so.
    Refuse,
    /// Go on after its last whole record.
    Resume,
    /// Begin anew.
    Overwrite,
}

/// Appends records, each written and synced as a whole line. One process at a time: the file is
/// locked.
pub struct RecordWriter {
    path: PathBuf,
    file: File,
    /// Bytes of the whole lines.
    length: u64,
}

impl RecordWriter {
    /// Opens a file for the records of `questions`, taken in this order; also returns the records
    /// that it holds already.
    ///
    /// # Errors
    /// An existing file under [`Existing::Refuse`]; records of other settings or other questions
    /// under [`Existing::Resume`], with the first difference named; a file another search writes.
    pub fn open(
        path: &Path,
        header: &RecordHeader,
        questions: &[Question],
        existing: Existing,
    ) -> Result<(Self, Vec<ExampleRecord>)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(existing != Existing::Refuse)
            .create_new(existing == Existing::Refuse)
            .truncate(false)
            .open(path);
        let file = match file {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => bail!(
                "{} exists already; continue it with --resume or replace it with --force",
                path.display()
            ),
            file => file.with_context(|| format!("cannot write the records {}", path.display()))?,
        };
        if file.try_lock().is_err() {
            bail!(
                "{} is being written by another search; wait for it or choose another --out",
                path.display()
            );
        }
        let mut writer = RecordWriter {
            path: path.to_path_buf(),
            file,
            length: 0,
        };
        let done = match existing {
            Existing::Resume => writer.resume(header, questions)?,
            Existing::Overwrite => writer.overwrite(header)?,
            Existing::Refuse => Vec::new(),
        };
        writer.cut()?;
        if writer.length == 0 {
            writer.append(&Line::Header(Box::new(header.clone())).to_text())?;
        }
        Ok((writer, done))
    }

    /// Reads what is there, checks that it belongs to this search, and sets the length to its
    /// whole lines.
    fn resume(&mut self, header: &RecordHeader, questions: &[Question]) -> Result<Vec<ExampleRecord>> {
        let mut bytes = Vec::new();
        self.file
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read the records {}", self.path.display()))?;
        let (found, whole) = parse(&self.path, &bytes, &mut Err)?;
        let Some(found) = found else { return Ok(Vec::new()) };
        if let Some((field, here, there)) = header.difference(&found.header) {
            bail!(
                "{} was made with {field} = {there}, this search has {here}; use the same settings, another --out, or \
                 --force to begin anew",
                self.path.display()
            );
        }
        if header.part != found.header.part {
            bail!(
                "{} holds {}, this search is {}; give every shard its own --out, or remove the file",
                self.path.display(),
                found.header.extent(),
                header.extent()
            );
        }
        for (index, example) in found.examples.iter().enumerate() {
            let expected = questions.get(index).map(|q| q.id.as_str());
            // More records than this search asks for are no conflict: --limit may be less now.
            ensure!(
                expected.is_none_or(|id| id == example.id),
                "{}, line {}: question '{}' where '{}' was expected; these are records of other questions",
                self.path.display(),
                index + 2,
                escape_controls(&example.id),
                escape_controls(expected.unwrap_or_default())
            );
        }
        self.length = whole as u64;
        Ok(found.examples)
    }

    /// Refuses to put one shard in another's place: a job array whose tasks share one --out would
    /// leave only the last.
    fn overwrite(&mut self, header: &RecordHeader) -> Result<Vec<ExampleRecord>> {
        let mut first = String::new();
        // What cannot be read as a header is nothing to protect.
        let _ = BufReader::new(&self.file).read_line(&mut first);
        if let (Ok(Line::Header(found)), Some(part)) = (serde_json::from_str(&first), header.part) {
            let other = found.part.is_some_and(|there| there.shard != part.shard);
            ensure!(
                !other,
                "{} holds {}, this search is {}; give every shard its own --out, or remove the file",
                self.path.display(),
                found.extent(),
                header.extent()
            );
        }
        Ok(Vec::new())
    }

    /// Writes one record and waits until it is on the disk.
    pub fn write(&mut self, example: &ExampleRecord) -> Result<()> {
        self.append(&Line::Example(Box::new(example.clone())).to_text())
    }

    fn append(&mut self, line: &str) -> Result<()> {
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.length += line.len() as u64,
            Err(e) => {
                // A full disk may have taken half a line.
                let cut = self.cut();
                return Err(e).with_context(|| {
                    format!(
                        "cannot write to {}; the records before are on the disk{}. Make room (a full disk, or a quota) \
                         and continue with --resume",
                        self.path.display(),
                        if cut.is_ok() { "" } else { ", then a broken line" }
                    )
                });
            }
        }
        Ok(())
    }

    /// Drops what stands after the whole lines.
    fn cut(&mut self) -> Result<()> {
        let cut = |file: &mut File, length: u64| -> std::io::Result<()> {
            file.set_len(length)?;
            file.seek(SeekFrom::Start(length))?;
            Ok(())
        };
        cut(&mut self.file, self.length).with_context(|| format!("cannot write the records {}", self.path.display()))
    }
}
