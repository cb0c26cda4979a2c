//! Appending records so that a kill loses no whole line.

use std::path::Path;

use anyhow::{Result, anyhow, bail, ensure};

use super::read::parse;
use super::{ExampleRecord, Line, RecordHeader};
use crate::eval::Question;
pub use crate::line_file::Existing;
use crate::line_file::{FileWords, LineFile, how_to_go_on, to_line};
use crate::text::escape_controls;

const WORDS: FileWords = FileWords {
    contents: "records",
    writer: "search",
    option: "--out",
};

/// Appends records, each written and synced as a whole line. One process at a time: the file is
/// locked.
pub struct RecordWriter {
    lines: LineFile,
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
        let mut lines = LineFile::open(path, existing, WORDS)?;
        let bytes = lines.read()?;
        let (done, whole) = match existing {
            Existing::Resume => resume(path, &bytes, header, questions)?,
            Existing::Overwrite => {
                check_shard(path, &bytes, header)?;
                (Vec::new(), 0)
            }
            Existing::Refuse => (Vec::new(), 0),
        };
        lines.begin(whole, &to_line(&Line::Header(Box::new(header.clone()))))?;
        Ok((RecordWriter { lines }, done))
    }

    /// Writes one record and waits until it is on the disk.
    pub fn write(&mut self, example: &ExampleRecord) -> Result<()> {
        self.lines.append(&to_line(&Line::Example(Box::new(example.clone()))))
    }
}

/// The records in `bytes`, which must belong to this search, and how many bytes they take.
fn resume(
    path: &Path,
    bytes: &[u8],
    header: &RecordHeader,
    questions: &[Question],
) -> Result<(Vec<ExampleRecord>, usize)> {
    let (found, whole) = parse(path, bytes, &mut |error, line| {
        Err(anyhow!("{error:#}; {}", how_to_go_on(line)))
    })?;
    let Some(found) = found else {
        return Ok((Vec::new(), 0));
    };
    if let Some((field, here, there)) = header.difference(&found.header) {
        bail!(
            "{} was made with {field} = {there}, this search has {here}; use the same settings, another --out, or \
             --force to begin anew",
            path.display()
        );
    }
    if header.part != found.header.part {
        bail!(
            "{} holds {}, this search is {}; give every shard its own --out, or remove the file",
            path.display(),
            found.header.extent(),
            header.extent()
        );
    }
    for (index, example) in found.examples.iter().enumerate() {
        let expected = questions.get(index).map(|q| q.id.as_str());
        // More records than this search asks for are no conflict: --limit may be less now.
        ensure!(
            expected.is_none_or(|id| id == example.id),
            "{}, line {}: question '{}' where '{}' was expected; these are records of other questions, or a line is missing: \
             {}",
            path.display(),
            index + 2,
            escape_controls(&example.id),
            escape_controls(expected.unwrap_or_default()),
            how_to_go_on(index + 2)
        );
    }
    Ok((found.examples, whole))
}

/// Refuses to put one shard in another's place: a job array whose tasks share one --out would
/// leave only the last.
fn check_shard(path: &Path, bytes: &[u8], header: &RecordHeader) -> Result<()> {
    let first = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    // What cannot be read as a header is nothing to protect.
    if let (Ok(Line::Header(found)), Some(part)) = (serde_json::from_slice(first), header.part) {
        let other = found.part.is_some_and(|there| there.shard != part.shard);
        ensure!(
            !other,
            "{} holds {}, this search is {}; give every shard its own --out, or remove the file",
            path.display(),
            found.extent(),
            header.extent()
        );
    }
    Ok(())
}
