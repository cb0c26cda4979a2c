//! Arguments and dispatch; nothing else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand};
use drllm::cli::{
    UsageError, config, diff, eval, explore, export, lesson, man, models, run, search, stats, tokenize, train,
};
use drllm::config::Config;
use drllm::text::escape_controls_multiline;

/// See an LLM decide how deep to think: skip, execute or repeat every layer, live.
///
/// Without a command the explorer opens.
#[derive(Parser)]
#[command(name = "drllm-tui", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// A configuration file (`drllm-tui config` prints an annotated one)
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Append what happens behind the scenes to this file (RUST_LOG chooses how much)
    #[arg(long, value_name = "FILE", global = true)]
    log: Option<PathBuf>,
    #[command(flatten)]
    explore: explore::ExploreArgs,
}

#[derive(Subcommand)]
enum Command {
    Run(run::RunArgs),
    Lesson(lesson::LessonArgs),
    Search(search::SearchArgs),
    Train(train::TrainArgs),
    Eval(eval::EvalArgs),
    Diff(diff::DiffArgs),
    Export(export::ExportArgs),
    Stats(stats::StatsArgs),
    /// List, pull and inspect models
    Models(models::ModelsArgs),
    /// Print the token ids of a text
    Tokenize(tokenize::TokenizeArgs),
    Open(explore::OpenArgs),
    Config(config::ConfigArgs),
    /// Print a completion script for a shell
    Completions {
        shell: clap_complete::Shell,
    },
    Man(man::ManArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Of `diff` 1 says that the traces differ.
    let is_diff = matches!(cli.command, Some(Command::Diff(_)));
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("drllm-tui: {}", escape_controls_multiline(&format!("{e:#}")));
            ExitCode::from(if is_diff || e.is::<UsageError>() { 2 } else { 1 })
        }
    }
}

fn dispatch(cli: Cli) -> Result<u8> {
    if let Some(path) = &cli.log {
        log_to(path)?;
    }
    match cli.command {
        Some(Command::Config(args)) => config::run(&args, &drllm::paths::config_dir()?)?,
        Some(Command::Diff(args)) => return diff::run(&args),
        Some(Command::Export(args)) => export::run(&args)?,
        Some(Command::Models(args)) => models::run(args)?,
        Some(Command::Tokenize(args)) => tokenize::run(args)?,
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "drllm-tui", &mut std::io::stdout());
        }
        Some(Command::Man(args)) => man::run(&args, Cli::command())?,
        command => {
            let config_dir = drllm::paths::config_dir()?;
            return with_config(command, cli.explore, cli.config.as_deref(), &config_dir);
        }
    }
    Ok(0)
}

/// Sends the log to a file; standard error is the screen's or the progress bar's.
fn log_to(path: &Path) -> Result<()> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let file = file.with_context(|| format!("cannot write the log {}", path.display()))?;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "drllm=debug".into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(file)
        .with_ansi(false);
    log.init();
    Ok(())
}

/// The commands that need the user's configuration.
fn with_config(
    command: Option<Command>,
    explore: explore::ExploreArgs,
    file: Option<&Path>,
    config_dir: &Path,
) -> Result<u8> {
    let config = Config::load(file, config_dir).map_err(|e| UsageError::new(e.to_string()))?;
    let threads = match &command {
        Some(Command::Run(args)) => args.model.threads,
        Some(Command::Stats(args)) => args.model.threads,
        Some(Command::Open(args)) => args.explore.model.threads,
        None => explore.model.threads,
        Some(Command::Lesson(args)) => args.explore.model.threads,
        _ => None,
    };
    set_threads(threads.or(config.threads))?;
    match command {
        None => return explore::run(explore, &config, config_dir),
        Some(Command::Lesson(args)) => return lesson::run(args, &config, config_dir),
        Some(Command::Open(args)) => return explore::run(args.into(), &config, config_dir),
        Some(Command::Run(args)) => run::run(args, &config)?,
        Some(Command::Stats(args)) => stats::run(&args, &config)?,
        Some(Command::Search(args)) => search::run(args)?,
        Some(Command::Train(args)) => train::run(args)?,
        Some(Command::Eval(args)) => eval::run(args)?,
        // Dispatched before.
        Some(
            Command::Config(_)
            | Command::Diff(_)
            | Command::Export(_)
            | Command::Man(_)
            | Command::Models(_)
            | Command::Tokenize(_)
            | Command::Completions { .. },
        ) => {}
    }
    Ok(0)
}

/// Tells the libraries' thread pools how many threads to use. Left alone, candle reads the number of
/// cores from the system at every matrix product.
fn set_threads(threads: Option<usize>) -> Result<()> {
    if let Some(threads) = threads.filter(|n| !(1..=1024).contains(n)) {
        return Err(UsageError::new(format!("--threads is {threads}: expected 1 to 1024")).into());
    }
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if threads.is_some() || std::env::var_os("RAYON_NUM_THREADS").is_none() {
        let threads = threads.unwrap_or_else(cores).to_string();
        // SAFETY: called from `main` before there is a second thread.
        unsafe { std::env::set_var("RAYON_NUM_THREADS", threads) };
    }
    Ok(())
}
