//! `drllm-tui export`: a trace as a picture, still or moving, a page, a table or text.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::UsageError;
use super::output::{self, check_named_once, refuse_existing, write_whole};
use super::trace_file::read_trace;
use crate::export::{ExportFormat, export};

/// Write a trace as a heat map (SVG, text), a moving picture, a page that replays it (HTML), a table (CSV) or one JSON
/// object.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// A trace (JSON lines of `run --json`); `-` reads standard input
    #[arg(value_name = "TRACE")]
    trace: PathBuf,
    /// What to write; by the ending of --out if absent
    #[arg(long, value_enum)]
    format: Option<ExportFormat>,
    /// Where to write it; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Replace FILE if it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command.
///
/// # Errors
/// [`UsageError`] where the format is unknown; otherwise when the trace cannot be read or the
/// document not be written.
pub fn run(args: &ExportArgs) -> Result<()> {
    let by_name = || ExportFormat::of_extension(args.out.extension()?.to_str()?);
    let format = args.format.or_else(by_name).ok_or_else(|| {
        UsageError::new(
            "no format: say --format svg, tape, html, csv, json, text or overrides, or give --out a name that ends in one of \
             svg, html, csv, json, txt and overrides",
        )
    })?;
    let to_stdout = args.out.as_os_str() == "-";
    if !to_stdout {
        check_named_once(&[&args.out], &[&args.trace])?;
        refuse_existing(&args.out, args.force)?;
    }
    let trace = read_trace(&args.trace)?;
    let title = match args.trace.file_name().filter(|name| *name != "-") {
        Some(name) => name.to_string_lossy().into_owned(),
        None => format!("a run of {}", trace.header.model.name),
    };
    let document = export(&trace, &title, format);
    match to_stdout {
        true => output::print(&document),
        false => write_whole(&args.out, |out| out.write_all(document.as_bytes())),
    }
}
