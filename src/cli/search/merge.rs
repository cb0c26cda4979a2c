//! `drllm-tui search merge`: the shards of a search into one file of records.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::output::{refuse_existing, write_whole};
use crate::search::records::{merge, read_records_advised};
use crate::text::counted;

/// Put the shards of a search together: the file that one machine would have written.
#[derive(Args, Debug)]
pub struct MergeArgs {
    /// Records of all shards, in any order
    #[arg(value_name = "SHARD", required = true)]
    shards: Vec<PathBuf>,
    /// Where the whole records go
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace --out
    #[arg(long)]
    force: bool,
}

pub fn run(args: &MergeArgs) -> Result<()> {
    refuse_existing(&args.out, args.force)?;
    if let Some(shard) = args.shards.iter().find(|shard| same_file(shard, &args.out)) {
        bail!("--out is the shard {}; write to another file", shard.display());
    }
    let files = args.shards.iter().map(|path| {
        read_records_advised(
            path,
            "keep the lines before it alone, and search the rest of the shard with --resume",
        )
    });
    let files = files.collect::<Result<Vec<_>>>()?;
    let merged = merge(&files)?;
    write_whole(&args.out, |out| merged.write_to(out))?;
    crate::note!(
        "{} of {} in {}",
        counted(merged.examples.len(), "record"),
        counted(files.len(), "shard"),
        args.out.display()
    );
    Ok(())
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
