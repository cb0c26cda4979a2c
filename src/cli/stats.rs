//! `drllm-tui stats`: what many runs have in common, from traces or from a file of prompts.

mod tables;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use super::UsageError;
use super::args::{DecideArgs, ModelArgs, SampleArgs};
use super::base_model::as_usage;
use super::output;
use super::progress::CommandProgress;
use super::run::{load, stop_on_signals};
use super::table;
use super::trace_file::read_trace;
use crate::config::Config;
use crate::engine::decide::DecisionPolicy;
use crate::engine::notes::dial_for_depth;
use crate::engine::sequence::Stopped;
use crate::engine::{Output, Prompt, generate, prompt_file};
use crate::model::Model;
use crate::program::MOST_LAYERS;
use crate::progress::Progress as Step;
use crate::router::Router;
use crate::trace::aggregate::{Aggregate, TraceStatistics};
use crate::trace::{Settings, Trace};

/// Count over traces, or over a file of prompts: rates a layer, depths, confidences, programs.
#[derive(Args, Debug)]
pub struct StatsArgs {
    /// Traces of one model (JSON lines of `run --json`)
    #[arg(
        value_name = "TRACE",
        required_unless_present = "prompts",
        conflicts_with_all = ["prompts", "limit", "ModelArgs", "DecideArgs", "SampleArgs", "raw", "depth"]
    )]
    traces: Vec<PathBuf>,
    /// Run every prompt of this file instead: JSON lines with a `prompt` or `question`, or lines of text
    #[arg(long, value_name = "FILE.jsonl|FILE.txt")]
    prompts: Option<PathBuf>,
    /// Only the first N prompts
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// How many of the most common programs are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    programs: usize,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The model that runs the prompts of a file, with its routers and device.
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    decide: DecideArgs,
    /// Mean depth of the answers' tokens: sets the dial from the table that the routers carry. It is no cap; see --budget
    #[arg(long, value_name = "LAYERS", conflicts_with_all = ["dial", "program"])]
    depth: Option<f64>,
    #[command(flatten)]
    sample: SampleArgs,
    /// Feed the prompts as they are, without the model's chat template
    #[arg(long)]
    raw: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
    Csv,
    Markdown,
}

/// Runs the command; `config` has the user's defaults.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, anything else for what failed or was stopped.
pub fn run(args: &StatsArgs, config: &Config) -> Result<()> {
    if args.limit == Some(0) {
        return Err(UsageError::new("--limit is 0: expected at least 1; leave it out to run all prompts").into());
    }
    match &args.prompts {
        Some(path) => of_prompts(args, path, config),
        None => print(args, &of_traces(&args.traces)?),
    }
}

fn print(args: &StatsArgs, aggregate: &Aggregate) -> Result<()> {
    let report: TraceStatistics = aggregate.report(args.programs);
    match args.format {
        Format::Json => output::print_json(&serde_json::to_value(&report)?, true),
        Format::Text => output::print(&(tables::caption(&report) + &table::text(&tables::tables(&report)))),
        Format::Markdown => output::print(&(tables::caption(&report) + &table::markdown(&tables::tables(&report)))),
        Format::Csv => output::print(&table::csv(&tables::tables(&report))),
    }
}

fn of_traces(paths: &[PathBuf]) -> Result<Aggregate> {
    let mut aggregate: Option<Aggregate> = None;
    for path in paths {
        let trace = read_trace(path)?;
        let aggregate = aggregate.get_or_insert_with(|| Aggregate::new(trace.header.model.clone()));
        aggregate.add(&trace).with_context(|| path.display().to_string())?;
    }
    aggregate.context("no trace was given")
}

fn of_prompts(args: &StatsArgs, path: &Path, config: &Config) -> Result<()> {
    let mut request = config.load_request();
    args.model.apply(&mut request);
    let defaults = config.settings(&request.routers);
    let overrides = args.decide.file()?;
    let settings = |layers| -> Result<Settings> {
        let mut settings = defaults.clone();
        let kv = |scope| config.kv_in(&request.routers, scope);
        args.decide.apply(overrides.as_ref(), layers, kv, &mut settings)?;
        args.sample.apply(&mut settings);
        settings.raw |= args.raw;
        Ok(settings)
    };
    // What needs no model is refused before one is loaded.
    settings(MOST_LAYERS)?.check_alone().map_err(UsageError::new)?;
    let mut prompts = prompt_file::read(path)?;
    prompts.truncate(args.limit.unwrap_or(usize::MAX));
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let (model, routers) = load(&request, &stop)?;
    let mut settings = settings(model.info.layers)?;
    if let Some(depth) = args.depth {
        let info = routers.as_deref().map(|r| r.info());
        settings.dial = dial_for_depth(info, depth).map_err(UsageError::new)?;
    }
    DecisionPolicy::new(&settings, routers.as_deref(), model.info.layers)
        .map_err(|e| UsageError::new(e.to_string()))?;

    let mut aggregate = Aggregate::new(model.info.clone());
    let progress = CommandProgress::new();
    progress.count(Step::new("prompts", 0, prompts.len()));
    let mut done = 0;
    for (line, prompt) in &prompts {
        let trace = run_prompt(&model, routers.as_deref(), prompt, &settings, &stop);
        let Some(trace) = trace.with_context(|| format!("{}, line {line}", path.display()))? else {
            break;
        };
        aggregate.add(&trace)?;
        done += 1;
        progress.count(Step::new("prompts", done, prompts.len()));
    }
    progress.finish();
    if done > 0 {
        print(args, &aggregate)?;
    }
    ensure!(
        done == prompts.len(),
        "stopped after {done} of {} prompts",
        prompts.len()
    );
    Ok(())
}

/// The whole run of a prompt. `None` if it was stopped: half a run would count for less than it is.
fn run_prompt(
    model: &Model,
    routers: Option<&dyn Router>,
    prompt: &str,
    settings: &Settings,
    stop: &AtomicBool,
) -> Result<Option<Trace>> {
    let mut trace: Option<Trace> = None;
    let prompt = Prompt::Text(prompt.to_owned());
    let ran = generate(model, routers, &prompt, settings, stop, &mut |output| match output {
        Output::Header(header) => trace = Some(Trace::new(*header)),
        Output::Step(step) => trace.iter_mut().for_each(|t| t.steps.push((*step).clone())),
    });
    match ran {
        Err(e) if e.is::<Stopped>() => Ok(None),
        Err(e) => Err(as_usage(e)),
        Ok(_) if stop.load(Ordering::Relaxed) => Ok(None),
        Ok(_) => Ok(trace),
    }
}
