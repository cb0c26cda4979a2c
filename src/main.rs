//! Arguments and dispatch; nothing else.

use std::error::Error as _;
use std::ffi::OsString;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::error::{ContextKind, ErrorKind};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use drllm::cli::{
    UsageError, config, diff, eval, eval_lm, explore, export, lesson, man, models, problems, run, search, serve, stats,
    tokenize, train, train_lm,
};
use drllm::config::Config;
use drllm::guard::NoMemory;

#[global_allocator]
static ALLOCATOR: drllm::guard::Allocator = drllm::guard::Allocator;

/// See an LLM decide how deep to think: skip, execute or repeat every layer, live.
///
/// Without a command the explorer opens.
#[derive(Parser)]
#[command(name = "drllm-tui", version)]
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
    TrainLm(train_lm::TrainLmArgs),
    Eval(eval::EvalArgs),
    EvalLm(eval_lm::EvalLmArgs),
    Problems(problems::ProblemsArgs),
    Diff(diff::DiffArgs),
    Export(export::ExportArgs),
    Stats(stats::StatsArgs),
    /// List, pull, inspect and export models
    Models(models::ModelsArgs),
    /// Print the token ids of a text
    Tokenize(tokenize::TokenizeArgs),
    Serve(serve::ServeArgs),
    Open(explore::OpenArgs),
    Config(config::ConfigArgs),
    /// Print a completion script for a shell
    Completions {
        shell: clap_complete::Shell,
    },
    Man(man::ManArgs),
}

fn main() -> ExitCode {
    if drllm::model::apart::is_asked_for() {
        return drllm::model::apart::serve();
    }
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    drllm::tui::term::give_back_on_faults();
    drllm::model::apart::use_this_program();
    // Of `diff` 1 says that the traces differ.
    let is_diff = matches!(cli.command, Some(Command::Diff(_)));
    let done = std::panic::catch_unwind(|| dispatch(cli)).unwrap_or_else(|panic| match panic.downcast::<NoMemory>() {
        Ok(refused) => Err(anyhow::anyhow!(refused.0)),
        // Printed already.
        Err(_) => Ok(101),
    });
    match done {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            drllm::note!("drllm-tui: {e:#}");
            ExitCode::from(if is_diff || e.is::<UsageError>() { 2 } else { 1 })
        }
    }
}

/// Reads the command line. What stands before a command must belong to every command; the rest are
/// arguments of the explorer.
fn parse(args: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = with_negative_numbers(Cli::command());
    let args: Vec<OsString> = args.collect();
    let matches = command.try_get_matches_from_mut(&args);
    let matches = matches.map_err(|error| match error.kind() {
        ErrorKind::InvalidUtf8 => command.error(ErrorKind::InvalidUtf8, not_utf8(&args)),
        ErrorKind::ValueValidation => match no_number(&error) {
            // As clap has it: without a usage, which would be that of no command.
            Some(message) => clap::Error::raw(ErrorKind::ValueValidation, message),
            None => error,
        },
        _ => error,
    })?;
    if let Some(name) = matches.subcommand_name() {
        let typed = |id: &&clap::Id| {
            let everywhere = matches!(id.as_str(), "config" | "log");
            !everywhere && is_argument(&command, id)
        };
        let typed = matches.ids().filter(typed);
        let mut typed = typed.filter(|id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine));
        if let Some(id) = typed.next() {
            let argument = command.get_arguments().find(|argument| argument.get_id() == id);
            let argument = argument.map_or_else(|| id.to_string(), ToString::to_string);
            let message = format!("the argument '{argument}' belongs behind '{name}', or to no command at all");
            return Err(command.error(ErrorKind::ArgumentConflict, message));
        }
    }
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    if let (Some(Command::Train(args)), Some((_, matches))) = (&mut cli.command, matches.subcommand()) {
        args.note_given(matches);
    }
    Ok(cli)
}

/// Has every option take numbers below 0, so that what is wrong with one is said by whoever knows its range.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let option = |argument: clap::Arg| match argument.get_long().is_some() && argument.get_action().takes_values() {
        true => argument.allow_negative_numbers(true),
        false => argument,
    };
    command.mut_args(option).mut_subcommands(with_negative_numbers)
}

/// What is expected where an argument is no number: of that clap says only what the standard library does.
fn no_number(error: &clap::Error) -> Option<String> {
    let source = error.source()?;
    let expected = match source.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
        Some(IntErrorKind::PosOverflow) => "expected a smaller number",
        Some(_) => "expected a whole number from 0",
        None if source.is::<ParseFloatError>() => "expected a number",
        None => return None,
    };
    let said = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let (value, argument) = (said(ContextKind::InvalidValue), said(ContextKind::InvalidArg));
    Some(format!(
        "invalid value '{value}' for '{argument}': {expected}\n\nFor more information, try '--help'.\n"
    ))
}

/// What clap leaves out: which argument is no text.
fn not_utf8(args: &[OsString]) -> String {
    let at = args.iter().position(|arg| arg.to_str().is_none()).unwrap_or(0);
    let words = args[at].to_string_lossy();
    let option = args[..at].last().and_then(|arg| arg.to_str());
    let option = option.filter(|arg| arg.starts_with("--") && !words.starts_with('-'));
    let option = option.map(|option| format!(" of '{option}'")).unwrap_or_default();
    format!(
        "'{}'{option} is not UTF-8, as it has to be; a file can be given another name, or a link that has one",
        drllm::text::escape_controls(&words)
    )
}

/// Whether an id is that of an argument and not that of a group.
fn is_argument(command: &clap::Command, id: &clap::Id) -> bool {
    command.get_arguments().any(|argument| argument.get_id() == id)
}

/// Prints what clap says. Help is its own; an error may quote an argument, which a terminal must not obey.
fn refuse(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        drllm::note!("{}", error.render().to_string().trim_end());
    } else {
        // Without a reader there is no one to help.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn dispatch(cli: Cli) -> Result<u8> {
    if let Some(path) = &cli.log {
        log_to(path)?;
    }
    match cli.command {
        Some(Command::Config(args)) => config::run(&args, &drllm::paths::config_dir()?)?,
        Some(Command::Diff(args)) => return diff::run(&args),
        Some(Command::Export(args)) => export::run(&args)?,
        Some(Command::Models(mut args)) => {
            if let Some(name) = args.unnamed() {
                *name = configured(cli.config.as_deref())?.model;
            }
            models::run(args)?;
        }
        Some(Command::Tokenize(mut args)) => {
            if args.model.is_none() {
                args.model = configured(cli.config.as_deref())?.model;
            }
            tokenize::run(args)?;
        }
        Some(Command::Problems(args)) => problems::run(&args)?,
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "drllm-tui", &mut script);
            drllm::cli::output::print(&String::from_utf8_lossy(&script))?;
        }
        Some(Command::Man(args)) => man::run(&args, Cli::command())?,
        command => {
            let config = configured(cli.config.as_deref())?;
            return with_config(command, cli.explore, &config, &drllm::paths::config_dir()?);
        }
    }
    Ok(0)
}

/// Sends the log to a file; standard error is the screen's or the progress bar's.
fn log_to(path: &Path) -> Result<()> {
    let cannot = || format!("cannot write the log {}", path.display());
    drllm::files::check_replaceable(path).with_context(cannot)?;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let file = file.with_context(cannot)?;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "drllm=debug".into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(file)
        .with_ansi(false);
    log.init();
    Ok(())
}

/// What the user configured.
fn configured(file: Option<&Path>) -> Result<Config> {
    let config = Config::load(file, &drllm::paths::config_dir()?);
    Ok(config.map_err(|e| UsageError::new(e.to_string()))?)
}

/// The commands that need all of the user's configuration.
fn with_config(
    mut command: Option<Command>,
    explore: explore::ExploreArgs,
    config: &Config,
    config_dir: &Path,
) -> Result<u8> {
    match &mut command {
        Some(Command::Search(args)) => args.configure(config),
        Some(Command::Train(args)) => args.configure(config),
        Some(Command::Eval(args)) => args.configure(config),
        _ => {}
    }
    let threads = match &command {
        Some(Command::Run(args)) => args.model.threads,
        Some(Command::Serve(args)) => args.model.threads,
        Some(Command::Stats(args)) => args.model.threads,
        Some(Command::Open(args)) => args.explore.model.threads,
        None => explore.model.threads,
        Some(Command::Lesson(args)) => args.explore.model.threads,
        _ => None,
    };
    // These take many questions, texts or sequences at once, each on a thread of its own.
    let one_each = match &command {
        Some(Command::Search(_) | Command::Eval(_) | Command::TrainLm(_) | Command::EvalLm(_)) => true,
        Some(Command::Train(args)) => args.takes_texts_apart(),
        _ => false,
    };
    set_threads(threads.or(config.threads), one_each)?;
    match command {
        None => return explore::run(explore, config, config_dir),
        Some(Command::Lesson(args)) => return lesson::run(args, config, config_dir),
        Some(Command::Open(args)) => return explore::run(args.into(), config, config_dir),
        Some(Command::Run(args)) => run::run(args, config)?,
        Some(Command::Serve(args)) => serve::run(&args, config)?,
        Some(Command::Stats(args)) => stats::run(&args, config)?,
        Some(Command::Search(args)) => search::run(args)?,
        Some(Command::Train(args)) => train::run(args)?,
        Some(Command::TrainLm(args)) => train_lm::run(&args)?,
        Some(Command::Eval(args)) => eval::run(args)?,
        Some(Command::EvalLm(args)) => eval_lm::run(&args)?,
        // Dispatched before.
        Some(
            Command::Config(_)
            | Command::Diff(_)
            | Command::Export(_)
            | Command::Man(_)
            | Command::Models(_)
            | Command::Problems(_)
            | Command::Tokenize(_)
            | Command::Completions { .. },
        ) => {}
    }
    Ok(0)
}

/// Tells the libraries' thread pools how many threads to use; where `one_each`, candle's products stay on the thread that
/// asks for them. Left alone, candle reads the number of cores from the system at every matrix product.
fn set_threads(threads: Option<usize>, one_each: bool) -> Result<()> {
    if let Some(threads) = threads.filter(|n| !(1..=1024).contains(n)) {
        return Err(UsageError::new(format!("--threads is {threads}: expected 1 to 1024")).into());
    }
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let named = std::env::var("RAYON_NUM_THREADS").ok();
    let named = named.and_then(|text| text.parse().ok()).filter(|n| *n > 0);
    let threads = threads.or(named).unwrap_or_else(cores);
    let of_a_product = if one_each { 1 } else { threads };
    // SAFETY: called from `main` before there is a second thread.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", of_a_product.to_string()) };
    // Started late, the pool would panic where the system refuses a thread.
    let started = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    started.context("the system refuses the threads that share the work; raise its limit on memory or on processes, or ask for fewer with --threads")
}
