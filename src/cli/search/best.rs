//! `drllm-tui search best`: the programs that were right most often over all questions.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::cli::output::print;
use crate::eval::statistics::mcnemar_exact;
use crate::search::ranking::ranking;
use crate::search::records::{ExampleRecord, read_records};
use crate::text::counted;

/// List the programs that answered most questions rightly, of those run on every question (search
/// --programs): what one static program is worth.
#[derive(Args, Debug)]
pub struct BestArgs {
    /// Records; several files are taken together
    #[arg(value_name = "RECORDS", required = true)]
    records: Vec<PathBuf>,
    /// Programs listed
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
}

pub fn run(args: &BestArgs) -> Result<()> {
    let files = args
        .records
        .iter()
        .map(|path| read_records(path))
        .collect::<Result<Vec<_>>>()?;
    let examples: Vec<&ExampleRecord> = files.iter().flat_map(|f| &f.examples).collect();
    print(&table(&examples, args.top))
}

fn table(examples: &[&ExampleRecord], top: usize) -> String {
    let everywhere = ranking(examples);
    let mut out = format!(
        "{} {} run on all {}\n acc %  depth  fixed  broken       p  margin  program\n",
        counted(everywhere.len(), "program"),
        if everywhere.len() == 1 { "was" } else { "were" },
        counted(examples.len(), "question")
    );
    for (program, stats) in everywhere.iter().take(top) {
        out += &format!(
            "{:>6.2}  {:>5}  {:>5}  {:>6}  {:>6.3}  {:>6.2}  {program}\n",
            100.0 * stats.right as f64 / stats.seen as f64,
            program.depth(),
            stats.fixed,
            stats.broken,
            mcnemar_exact(stats.fixed, stats.broken),
            stats.margin / stats.seen as f64,
        );
    }
    out
}
