//! From the shards of a search to the file that one machine would have written.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::{ExampleRecord, RecordFile, RecordHeader, SearchShard, write_records};
use crate::text::escape_controls;

/// Missing shards that a message names.
const MOST_NAMED: usize = 8;

/// A whole search, put together from its shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged<'a> {
    /// That of the shards, without `part`.
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

fn part(file: &RecordFile) -> Result<SearchShard> {
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
fn in_order(files: &[RecordFile], of: SearchShard) -> Result<Vec<&RecordFile>> {
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

fn finished(shards: &[&RecordFile], of: SearchShard) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::tests::{header, questions, record};
    use super::*;
    use crate::search::Shard;

    /// The files of a search of `count` questions in `of` shards.
    fn shards(count: usize, of: usize) -> Vec<RecordFile> {
        let shard = |index| {
            let shard = Shard::new(index, of).unwrap();
            RecordFile {
                path: PathBuf::from(format!("s{index}.jsonl")),
                header: RecordHeader {
                    part: Some(SearchShard {
                        shard,
                        questions: count,
                    }),
                    ..header()
                },
                examples: shard.take(questions(count)).iter().map(record).collect(),
            }
        };
        (0..of).map(shard).collect()
    }

    fn refused(files: &[RecordFile]) -> String {
        format!("{:#}", merge(files).map(|_| ()).unwrap_err())
    }

    #[test]
    fn shards_in_any_order_make_the_whole_search() {
        for (count, of) in [(7, 3), (8, 4), (2, 5), (0, 2)] {
            let mut files = shards(count, of);
            files.rotate_left(1);
            let mut found = Vec::new();
            merge(&files).unwrap().write_to(&mut found).unwrap();
            let mut whole = Vec::new();
            let records: Vec<_> = questions(count).iter().map(record).collect();
            write_records(&mut whole, &header(), &records).unwrap();
            assert_eq!(found, whole, "{count} questions in {of} shards");
        }
    }

    #[test]
    fn missing_and_doubled_shards_are_named() {
        assert!(refused(&[]).contains("no shards"));
        let mut files = shards(7, 4);
        files.swap_remove(1);
        assert!(refused(&files).contains("missing: shard 1/4;"), "{}", refused(&files));
        assert!(refused(&files[..1]).contains("missing: shard 1/4, 2/4, 3/4;"));
        assert!(refused(&shards(40, 20)[..5]).contains("5/20, 6/20, 7/20, 8/20, 9/20, 10/20, 11/20, 12/20, …"));
        let mut again = files[2].clone();
        again.path = "copy.jsonl".into();
        files.push(again);
        let error = refused(&files);
        assert!(error.contains("s2.jsonl and copy.jsonl are both shard 2/4"), "{error}");
    }

    #[test]
    fn unfinished_shards_say_how_much_is_missing() {
        let mut files = shards(8, 3);
        files[0].examples.truncate(1);
        files[2].examples.clear();
        let error = refused(&files);
        assert!(
            error.contains("s0.jsonl lacks 2 of 3 records, s2.jsonl lacks 2 of 2 records; finish with --resume"),
            "{error}"
        );
        let mut files = shards(8, 3);
        let one_more = files[0].examples[0].clone();
        files[1].examples.push(one_more);
        assert!(refused(&files).contains("s1.jsonl holds 4 records; shard 1/3 of 8 questions has 3"));
    }

    type Change = fn(&mut RecordFile);

    #[test]
    fn shards_of_different_searches_are_refused() {
        let refused = |change: Change| {
            let mut files = shards(7, 3);
            change(&mut files[1]);
            refused(&files)
        };
        let cases: [(Change, &str); 6] = [
            (
                |f| f.header.settings.seed = 7,
                "s1.jsonl was made with seed = 7, s0.jsonl with 42: shards of one",
            ),
            (
                |f| f.header.data_sha256 = "e".into(),
                "data_sha256 = \"e\", s0.jsonl with \"d\": they are searches of",
            ),
            (
                |f| f.header.exact = true,
                "s1.jsonl was made with exact = true, s0.jsonl with false",
            ),
            (|f| f.header.part = None, "s1.jsonl is no shard but a whole search"),
            (
                |f| f.header.part.as_mut().unwrap().questions = 8,
                "s1.jsonl is shard 1/3 of 8 questions, s0.jsonl is shard 0/3 of 7",
            ),
            (
                |f| f.examples[1].id = "q0".into(),
                "question 'q0' is in s0.jsonl and in s1.jsonl",
            ),
        ];
        for (change, expected) in cases {
            let error = refused(change);
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
