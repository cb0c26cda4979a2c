//! Reading records back, line by line.

use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};

use super::{ExampleRecord, FORMAT, Gold, Line, RecordFile, RecordHeader};
use crate::files;
use crate::line_file::whole_lines;
use crate::program::MOST_LAYERS;
use crate::program::Program;
use crate::search::Edits;
use crate::text::without_mark;

/// What is advised where damaged lines can be left out.
pub const SKIP_DAMAGED: &str = "--skip-damaged leaves damaged lines out";

/// Reads a file of records. A last line without an end is left out: it is what a kill leaves.
///
/// # Errors
/// Names file and line: damaged lines, another layout version, a missing or second header,
/// programs with layers the model does not have.
pub fn read_records(path: &Path) -> Result<RecordFile> {
    read_records_advised(path, "without that line the file can be read")
}

/// As [`read_records`]; `advice` says what to do about a record that cannot be used.
///
/// # Errors
/// As [`read_records`].
pub fn read_records_advised(path: &Path, advice: &'static str) -> Result<RecordFile> {
    read(path, &mut |error| Err(anyhow!("{error:#}; {advice}")))
}

/// As [`read_records`], but leaves damaged records out; what is wrong with each, with its line,
/// is returned too.
///
/// # Errors
/// A file whose header is damaged, of another version, missing or there twice.
pub fn read_records_skipping(path: &Path) -> Result<(RecordFile, Vec<Error>)> {
    let mut damaged = Vec::new();
    let file = read(path, &mut |error| {
        damaged.push(error);
        Ok(())
    })?;
    Ok((file, damaged))
}

fn read(path: &Path, damaged: &mut dyn FnMut(Error) -> Result<()>) -> Result<RecordFile> {
    let bytes =
        files::read(path, files::DATA).with_context(|| format!("cannot read the records {}", path.display()))?;
    let (file, _) = parse(path, &bytes, &mut |error, _| damaged(error))?;
    file.with_context(|| no_records(path))
}

fn no_records(path: &Path) -> String {
    format!("{} holds no records; `drllm-tui search` writes them", path.display())
}

/// The records in `bytes`, and how many bytes their whole lines take. `damaged` hears of records
/// that cannot be used, with the number of their line, and may end the reading.
pub(super) fn parse(
    path: &Path,
    bytes: &[u8],
    damaged: &mut dyn FnMut(Error, usize) -> Result<()>,
) -> Result<(Option<RecordFile>, usize)> {
    let whole = whole_lines(bytes);
    let mut file: Option<RecordFile> = None;
    for (index, line) in bytes[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
        let place = || format!("{}, line {}", path.display(), index + 1);
        let line = if index == 0 { without_mark(line) } else { line };
        let line = serde_json::from_slice::<Line>(line).with_context(|| format!("{} is no search record", place()));
        match (line, &mut file) {
            (Err(error), None) => return Err(error.context(no_records(path))),
            (Err(error), Some(_)) => damaged(error, index + 1)?,
            (Ok(Line::Header(header)), None) => {
                check_format(&header).with_context(place)?;
                file = Some(RecordFile {
                    path: path.to_path_buf(),
                    header: *header,
                    examples: Vec::new(),
                });
            }
            (Ok(Line::Header(_)), Some(_)) => bail!("{}: a second header; one file holds one search", place()),
            (Ok(Line::Example(_)), None) => {
                bail!(
                    "{}: {}: records begin with their header line",
                    no_records(path),
                    place()
                )
            }
            (Ok(Line::Example(example)), Some(file)) => {
                match check(&example, file.header.layers, file.header.settings.edits).with_context(place) {
                    Ok(()) => file.examples.push(*example),
                    Err(error) => damaged(error, index + 1)?,
                }
            }
        }
    }
    Ok((file, whole))
}

fn check_format(header: &RecordHeader) -> Result<()> {
    ensure!(
        header.format == FORMAT,
        "records of format {}, this program reads format {FORMAT}; search again",
        header.format
    );
    ensure!(
        (1..=MOST_LAYERS).contains(&header.layers),
        "records of a model of {} layers, 1 to {MOST_LAYERS} are possible; the line is damaged",
        header.layers
    );
    Ok(())
}

pub(crate) fn check(example: &ExampleRecord, layers: usize, edits: Edits) -> Result<()> {
    let choices = example.choices.len();
    match &example.answer {
        Gold::Index(index) => ensure!(
            *index < choices,
            "the answer is {index}; the question has {choices} choices"
        ),
        Gold::Text(_) => ensure!(
            choices == 0,
            "the answer is a text, but the question has {choices} choices"
        ),
    }
    let scored = example.right.iter().chain(&example.wrong).map(|s| &s.program);
    for program in scored.chain(&example.best) {
        ensure!(
            edits.reach(program, layers),
            "for {layers} layers '{program}' is no {}",
            edits.programs()
        );
    }
    let found = |best: &Program| example.right.iter().any(|s| s.program == *best);
    ensure!(
        example.best.as_ref().is_none_or(found),
        "the best program is none of the right ones"
    );
    Ok(())
}
