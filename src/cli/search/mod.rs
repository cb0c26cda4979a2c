//! `drllm-tui search`: which programs answer questions rightly, and the records of that.

mod array;
mod best;
mod export;
mod import;
mod luck;
mod map;
mod merge;
mod run;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::config::Config;
use crate::text::escape_controls;

/// Search the layer programs that answer questions rightly (Monte Carlo tree search).
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct SearchArgs {
    #[command(subcommand)]
    command: Option<SearchCommand>,
    #[command(flatten)]
    search: run::SearchRunArgs,
}

#[derive(Subcommand, Debug)]
enum SearchCommand {
    Best(best::BestArgs),
    Map(Box<map::MapArgs>),
    Luck(Box<luck::LuckArgs>),
    Merge(merge::MergeArgs),
    Export(export::RecordsExportArgs),
    Import(import::ImportArgs),
}

impl SearchArgs {
    /// Takes what the user configured where the command line says nothing.
    pub fn configure(&mut self, config: &Config) {
        match &mut self.command {
            None => self.search.configure(config),
            Some(SearchCommand::Map(args)) => args.configure(config),
            Some(SearchCommand::Luck(args)) => args.configure(config),
            Some(SearchCommand::Import(args)) => args.configure(config),
            // Without a model.
            Some(SearchCommand::Best(_) | SearchCommand::Merge(_) | SearchCommand::Export(_)) => {}
        }
    }
}

/// Runs the command.
///
/// # Errors
/// [`super::UsageError`] for what the arguments got wrong, anything else for what failed or was
/// stopped.
pub fn run(args: SearchArgs) -> Result<()> {
    match args.command {
        Some(SearchCommand::Best(args)) => best::run(&args),
        Some(SearchCommand::Map(args)) => map::run(&args),
        Some(SearchCommand::Luck(args)) => luck::run(&args),
        Some(SearchCommand::Merge(args)) => merge::run(&args),
        Some(SearchCommand::Export(args)) => export::run(&args),
        Some(SearchCommand::Import(args)) => import::run(&args),
        None => run::run(args.search),
    }
}

/// Damaged lines or samples that are named one by one.
const MOST_NAMED: usize = 8;

/// Says what was skipped.
fn tell_damaged(damaged: &[anyhow::Error], one: &str, several: &str) {
    for error in damaged.iter().take(MOST_NAMED) {
        crate::note!("skipped: {}", escape_controls(&format!("{error:#}")));
    }
    if !damaged.is_empty() {
        let what = if damaged.len() == 1 { one } else { several };
        crate::note!("{} damaged {what} skipped", damaged.len());
    }
}
