//! Arguments, logging, dispatch.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use drllm::cli::{UsageError, eval, run, search, train};
use drllm::engine::Settings;

/// See an LLM decide how deep to think: skip, execute or repeat every layer, live.
#[derive(Parser)]
#[command(name = "drllm-tui", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Run(run::RunArgs),
    Search(search::SearchArgs),
    Train(train::TrainArgs),
    Eval(eval::EvalArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Run(args)) => run::run(args, Settings::default()),
        Some(Command::Search(args)) => search::run(args),
        Some(Command::Train(args)) => train::run(args),
        Some(Command::Eval(args)) => eval::run(args),
        None => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("drllm-tui: {}", drllm::text::escape_controls(&format!("{e:#}")));
            ExitCode::from(if e.is::<UsageError>() { 2 } else { 1 })
        }
    }
}
