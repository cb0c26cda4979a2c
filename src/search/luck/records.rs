//! What came of each question, on disk: JSON lines, a header, then a line a question.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::LuckQuestion;
use crate::eval::Question;
use crate::line_file::{Existing, FileWords, LineFile, difference, how_to_go_on, to_line, whole_lines};
use crate::program::Program;
use crate::search::RecordHeader;
use crate::text::{escape_controls, without_mark};

/// Version of the layout of these lines.
pub(super) const FORMAT: u32 = 1;

const WORDS: FileWords = FileWords {
    contents: "tries",
    writer: "search luck",
    option: "--out",
};

/// What holds for all lines of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LuckHeader {
    /// Version of the layout.
    pub format: u32,
    /// Of the search that is asked about.
    pub search: RecordHeader,
    /// Programs of each kind a question.
    pub tries: usize,
    /// Of the programs that are drawn.
    pub seed: u64,
    /// Chosen on half A, run on half B.
    pub chosen: Vec<Program>,
    /// Whether everything was run in the other arithmetic too.
    pub other_arithmetic: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Luck(Box<LuckHeader>),
    Question(Box<LuckQuestion>),
}

/// Appends lines, each written and synced whole. One process at a time: the file is locked.
pub struct LuckWriter {
    lines: LineFile,
}

impl LuckWriter {
    /// Opens a file for `questions`, taken in this order; also returns what it holds already.
    ///
    /// # Errors
    /// An existing file under [`Existing::Refuse`]; one of other settings or other questions under
    /// [`Existing::Resume`], with the first difference named; a file that another one writes.
    pub fn open(
        path: &Path,
        header: &LuckHeader,
        questions: &[Question],
        existing: Existing,
    ) -> Result<(LuckWriter, Vec<LuckQuestion>)> {
        let mut lines = LineFile::open(path, existing, WORDS)?;
        let bytes = lines.read()?;
        let (done, whole) = match existing {
            Existing::Resume => resume(path, &bytes, header, questions)?,
            Existing::Overwrite | Existing::Refuse => (Vec::new(), 0),
        };
        lines.begin(whole, &to_line(&Line::Luck(Box::new(header.clone()))))?;
        Ok((LuckWriter { lines }, done))
    }

    /// Writes a question's line and waits until it is on the disk.
    pub fn write(&mut self, question: &LuckQuestion) -> Result<()> {
        self.lines.append(&to_line(&Line::Question(Box::new(question.clone()))))
    }
}

fn resume(
    path: &Path,
    bytes: &[u8],
    header: &LuckHeader,
    questions: &[Question],
) -> Result<(Vec<LuckQuestion>, usize)> {
    let whole = whole_lines(bytes);
    let mut done = Vec::new();
    for (index, line) in bytes[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
        let place = || format!("{}, line {}", path.display(), index + 1);
        let line = if index == 0 { without_mark(line) } else { line };
        let line: Line = serde_json::from_slice(line)
            .with_context(|| format!("{} is no line of `search luck`; {}", place(), how_to_go_on(index + 1)))?;
        match (index, line) {
            (0, Line::Luck(found)) => {
                if let Some((field, here, there)) = difference(header, &*found, &[]) {
                    bail!(
                        "{} was made with {field} = {there}, here it is {here}; use the same records and settings, \
                         another --out, or --force to begin anew",
                        path.display()
                    );
                }
            }
            (0, _) => bail!("{}: the file begins with its header line; {}", place(), how_to_go_on(1)),
            (_, Line::Luck(_)) => bail!("{}: a second header; {}", place(), how_to_go_on(index + 1)),
            (_, Line::Question(question)) => {
                let expected = questions.get(done.len()).map_or("none", |q| q.id.as_str());
                ensure!(
                    expected == question.id,
                    "{}: question '{}' where '{}' was expected; these are other questions, or a line is missing: {}",
                    place(),
                    escape_controls(&question.id),
                    escape_controls(expected),
                    how_to_go_on(index + 1)
                );
                done.push(*question);
            }
        }
    }
    Ok((done, whole))
}
