//! `drllm-tui search export`: records in the layouts of the public codebases.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::tell_damaged;
use crate::cli::output::{check_named_once, refuse_existing, write_whole};
use crate::search::exchange::{self, Layout};
use crate::search::records::{RecordFile, SKIP_DAMAGED, read_records_advised, read_records_skipping};
use crate::text::counted;

/// Write records in the layout of Dr.LLM's or PoLar's code.
#[derive(Args, Debug)]
pub struct RecordsExportArgs {
    /// Records of `drllm-tui search`
    #[arg(value_name = "RECORDS")]
    records: PathBuf,
    #[arg(long, value_enum)]
    format: Layout,
    /// Where the JSON goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Leave damaged lines out instead of ending at the first
    #[arg(long)]
    skip_damaged: bool,
    /// Replace --out
    #[arg(long)]
    force: bool,
}

pub fn run(args: &RecordsExportArgs) -> Result<()> {
    check_named_once(&[&args.out], &[&args.records])?;
    refuse_existing(&args.out, args.force)?;
    let (file, damaged) = match args.skip_damaged {
        true => read_records_skipping(&args.records)?,
        false => (read_records_advised(&args.records, SKIP_DAMAGED)?, Vec::new()),
    };
    write(&file, args.format, &args.out)?;
    tell_damaged(&damaged, "line", "lines");
    Ok(())
}

/// Writes records in another layout and says how many.
pub(super) fn write(file: &RecordFile, layout: Layout, path: &Path) -> Result<()> {
    let exported = exchange::export(file, layout);
    write_whole(path, |out| {
        serde_json::to_writer(&mut *out, &exported.json)?;
        out.write_all(b"\n")
    })?;
    if exported.unsolved > 0 {
        crate::note!(
            "{} without a right program left out: the layout is one of training targets",
            counted(exported.unsolved, "question")
        );
    }
    crate::note!("{} in {}", counted(exported.written, "question"), path.display());
    Ok(())
}
