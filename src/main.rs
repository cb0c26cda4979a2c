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

/// Tells the libraries' thread pools how many threads to use. Left alone, candle reads the number of
/// cores from the system at every matrix product.
fn set_threads(threads: Option<usize>) {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if threads.is_some() || std::env::var_os("RAYON_NUM_THREADS").is_none() {
        let threads = threads.unwrap_or_else(cores).to_string();
        // SAFETY: called at the start of `main`, before there is a second thread.
        unsafe { std::env::set_var("RAYON_NUM_THREADS", threads) };
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    set_threads(match &cli.command {
        Some(Command::Run(args)) => args.model.threads,
        _ => None,
    });
    let result = match cli.command {
        Some(Command::Run(args)) => run::run(args, Settings::default(), Default::default()),
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
