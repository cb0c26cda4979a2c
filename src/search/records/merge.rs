//! From the shards of a search to the file that one machine would have written.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::{ExampleRecord, Part, RecordFile, RecordHeader, write_records};
use crate::text::escape_controls;

/// Missing shards that a message names.
const MOST_NAMED: usize = 8;

/// A whole search, put together from its shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged<'a> {
    pub header: RecordHeader,
    /// In the order of the questions.
    pub examples: Vec<&'a ExampleRecord>,
}

impl Merged<'_> {
    /// Writes the lines of the search, byte for byte as [`super::RecordWriter`] would have.
    pub fn write_to(&self, out: &mut dyn Write) -> std::io::Result<()> {
        write_records(out, &self.header, self.examples.iter().copied())
    }
}

/// Puts the shards of one search together, given in any order.
///
/// # Errors
/// Files that are no shards, or shards of different searches (with the first field in which they
/// differ), shards that are there twice, missing or unfinished, records that are there twice; all
/// named.
pub fn merge(files: &[RecordFile]) -> Result<Merged<'_>> {
    let Some(first) = files.first() else {
        bail!("no shards were given; name the files that the shards of the search wrote");
    };
    let of = part(first)?;
    for file in &files[1..] {
        same_search(first, file)?;
    }
    let shards = in_order(files, of)?;
    finished(&shards, of)?;
    let examples = (0..of.questions).map(|k| &shards[k % shards.len()].examples[k / shards.len()]);
    let examples: Vec<_> = examples.collect();
    no_question_twice(&shards)?;
    Ok(Merged {
        header: RecordHeader {
            part: None,
            ..first.header.clone()
        },
        examples,
    })
}

fn part(file: &RecordFile) -> Result<Part> {
    match file.header.part {
        Some(part) => Ok(part),
        None => bail!(
            "{} is no shard but a whole search; there is nothing to merge",
            file.path.display()
        ),
    }
}

fn same_search(first: &RecordFile, file: &RecordFile) -> Result<()> {
    let (here, there) = (file.path.display(), first.path.display());
    let (part, first_part) = (part(file)?, part(first)?);
    if let Some((field, found, expected)) = file.header.difference(&first.header) {
        let data = matches!(field.as_str(), "task" | "data_sha256");
        bail!(
            "{here} was made with {field} = {found}, {there} with {expected}: {}",
            if data {
                "they are searches of different questions"
            } else {
                "shards of one search have the same settings"
            }
        );
    }
    ensure!(
        (part.shard.of(), part.questions) == (first_part.shard.of(), first_part.questions),
        "{here} is {}, {there} is {}: shards of one search have the same number of shards and of questions",
        file.header.extent(),
        first.header.extent()
    );
    Ok(())
}

/// The files by their shard's index, each shard once and none missing.
fn in_order(files: &[RecordFile], of: Part) -> Result<Vec<&RecordFile>> {
    let mut by_index = BTreeMap::new();
    for file in files {
        let shard = part(file)?.shard;
        if let Some(other) = by_index.insert(shard.index(), file) {
            bail!(
                "{} and {} are both shard {shard}; name each shard once",
                other.path.display(),
                file.path.display()
            );
        }
    }
    let count = of.shard.of();
    let missing = count - by_index.len();
    if missing > 0 {
        let absent = (0..count).filter(|index| !by_index.contains_key(index));
        let named: Vec<String> = absent
            .take(MOST_NAMED)
            .map(|index| format!("{index}/{count}"))
            .collect();
        bail!(
            "missing: shard {}{}; search what is missing with --shard, or name its file too",
            named.join(", "),
            if missing > named.len() { ", …" } else { "" }
        );
    }
    Ok(by_index.into_values().collect())
}

fn finished(shards: &[&RecordFile], of: Part) -> Result<()> {
    let mut unfinished = Vec::new();
    for file in shards {
        let share = part(file)?.shard.share(of.questions);
        let found = file.examples.len();
        ensure!(
            found <= share,
            "{} holds {found} records; {} has {share}. The file was written by something else: search that shard again",
            file.path.display(),
            file.header.extent()
        );
        if found < share {
            unfinished.push(format!(
                "{} lacks {} of {share} records",
                file.path.display(),
                share - found
            ));
        }
    }
    ensure!(unfinished.is_empty(), "{}; finish with --resume", unfinished.join(", "));
    Ok(())
}

fn no_question_twice(shards: &[&RecordFile]) -> Result<()> {
    let mut seen: HashMap<&str, &Path> = HashMap::new();
    for file in shards {
        for example in &file.examples {
            if let Some(other) = seen.insert(&example.id, &file.path) {
                bail!(
                    "question '{}' is in {} and in {}; search one of the two again",
                    escape_controls(&example.id),
                    other.display(),
                    file.path.display()
                );
            }
        }
    }
    Ok(())
}
