//! How `eval` reports: as a text, or as files for lm-evaluation-harness.

use std::path::Path;

use anyhow::{Context, Result};

use crate::cli::UsageError;
use crate::cli::output::{print, write_whole};
use crate::eval::report::{EvaluationReport, ReportFormat};
use crate::eval::{ScoringConfig, Task, harness};
use crate::text::escape_controls;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum EvalFormat {
    #[default]
    Text,
    Json,
    Csv,
    Markdown,
    LmEval,
}

impl EvalFormat {
    /// The text that it stands for, if it does.
    pub fn report(self) -> Option<ReportFormat> {
        Some(match self {
            EvalFormat::Text => ReportFormat::Text,
            EvalFormat::Json => ReportFormat::Json,
            EvalFormat::Csv => ReportFormat::Csv,
            EvalFormat::Markdown => ReportFormat::Markdown,
            EvalFormat::LmEval => return None,
        })
    }

    /// # Errors
    /// [`UsageError`] where files have no folder, or a text has one.
    pub fn check(self, out: Option<&Path>) -> Result<()> {
        let message = match (self, out) {
            (EvalFormat::LmEval, None) => "--format lm-eval writes files: name their folder with --out DIR",
            (EvalFormat::LmEval, Some(folder)) if folder.exists() && !folder.is_dir() => {
                let message = format!("--out {} is no folder; name one, or a new one", folder.display());
                return Err(UsageError::new(message).into());
            }
            (EvalFormat::LmEval, Some(_)) | (_, None) => return Ok(()),
            (_, Some(_)) => "--out is the folder of --format lm-eval; the other formats go to standard output",
        };
        Err(UsageError::new(message).into())
    }
}

/// Writes the files of a report below `folder` and prints their paths.
pub fn write_harness(report: &EvaluationReport, tasks: &[Task], scoring: ScoringConfig, folder: &Path) -> Result<()> {
    for file in harness::files(report, tasks, scoring, chrono::Local::now()) {
        let folder = folder.join(&file.folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let path = folder.join(&file.name);
        write_whole(&path, |out| out.write_all(file.text.as_bytes()))?;
        print(&format!("{}\n", escape_controls(&path.display().to_string())))?;
    }
    Ok(())
}
