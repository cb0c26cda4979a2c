//! Saving the run on the screen: its trace, or a document of what the map shows.

use super::files::{FileReport, FileRequest};
use super::line_edit::LineEdit;
use super::run::Run;
use crate::export::{ExportFormat, export};

/// The dialog that asks for the file's name.
#[derive(Clone, Debug, PartialEq)]
pub struct SaveDialog {
    /// The file's name; its end says what is written.
    pub edit: LineEdit,
    /// What was typed when there was such a file: accepting it once more replaces it.
    existing: Option<String>,
}

/// The name that is offered first.
const OFFERED: &str = "run.trace.jsonl";

impl Default for SaveDialog {
    fn default() -> Self {
        SaveDialog {
            edit: LineEdit::new(OFFERED.to_owned()),
            existing: None,
        }
    }
}

impl SaveDialog {
    /// What is to be written for what was typed; nothing where the edit says why not.
    pub fn ask(&mut self, run: &Run) -> Option<FileRequest> {
        let path = self.edit.text.trim().to_owned();
        match text(run, &path) {
            Ok(text) => Some(FileRequest::Save {
                replace: self.existing.as_ref() == Some(&path),
                text,
                path,
            }),
            Err(message) => {
                self.edit.refuse(message);
                None
            }
        }
    }

    /// What came of it: where the file is, when it was written.
    pub fn reported(&mut self, report: FileReport) -> Option<String> {
        match report {
            FileReport::Saved(path) => return Some(path),
            FileReport::Exists(path) => {
                self.existing = Some(self.edit.text.trim().to_owned());
                self.edit.refuse(format!(
                    "{path} is there already: accept once more to replace it, or type another name"
                ));
            }
            FileReport::Failed(message) => self.edit.refuse(message),
            FileReport::Loaded { .. } | FileReport::Session(_) => {}
        }
        None
    }
}

/// The run as the ending of the file's name asks.
///
/// # Errors
/// Another ending; the message lists those that are known.
fn text(run: &Run, path: &str) -> Result<String, String> {
    let (name, extension) = path.rsplit_once('.').unwrap_or((path, ""));
    if extension == "jsonl" && !name.is_empty() {
        return Ok(run.trace.to_json_lines());
    }
    match ExportFormat::of_extension(extension).filter(|_| !name.is_empty()) {
        Some(format) => Ok(export(&run.trace, &run.what(), format)),
        None => Err(
            "expected a name that ends in .jsonl (the trace, to be opened again), .svg, .html, .csv, .json, \
                     .txt or .overrides"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    #[test]
    fn the_ending_decides_what_is_written() {
        let app = fixture::app();
        let run = app.shown.as_ref().unwrap();
        let begins = |path: &str| text(run, path).unwrap().chars().take(6).collect::<String>();
        assert_eq!(
            crate::trace::Trace::from_json_lines(&text(run, "a.trace.jsonl").unwrap()).unwrap(),
            run.trace
        );
        assert_eq!(begins("a.svg"), "<?xml ");
        assert_eq!(begins("a b.html"), "<!DOCT");
        assert!(text(run, "a.csv").unwrap().lines().count() > run.trace.steps.len());
        for path in ["", "a", ".svg", ".jsonl", "a.png"] {
            assert!(
                text(run, path).unwrap_err().contains("expected a name that ends in"),
                "{path}"
            );
        }
    }
}
