//! `drllm-tui run`: one prompt without the screen.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::UsageError;
use super::args::{DecideArgs, ModelArgs, OverridesFile, SampleArgs};
use super::base_model::{as_usage, tell_notes};
use super::output::NO_OUTPUT;
use super::progress::CommandProgress;
use crate::config::Config;
use crate::engine::decide::DecisionPolicy;
use crate::engine::notes::{dial_for_depth, notes};
use crate::engine::{Generation, LoadRequest, Prompt, load_model, load_routers};
use crate::files;
use crate::model::Model;
use crate::program::MOST_LAYERS;
use crate::router::Router;
use crate::text::{counted, escape_controls_multiline};
use crate::trace::{self, KvMode, Record, Scope, Settings, StopReason};

/// Run one prompt and print the answer as it comes; with --json, every token's layer program.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The prompt; `-` reads it from standard input
    #[arg(required_unless_present = "ids", conflicts_with = "ids")]
    prompt: Option<String>,
    /// Token ids to feed as they are, like 504,3575,282
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    ids: Option<Vec<u32>>,
    /// The model to load, with its routers and device.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Who decides about layers.
    #[command(flatten)]
    pub decide: DecideArgs,
    /// Mean depth of the answer's tokens: sets the dial from the table that the routers carry. It is no cap; see --budget
    #[arg(long, value_name = "LAYERS", conflicts_with_all = ["dial", "program"])]
    depth: Option<f64>,
    /// How tokens are drawn.
    #[command(flatten)]
    pub sample: SampleArgs,
    /// Feed the prompt as it is, without the model's chat template
    #[arg(long)]
    raw: bool,
    /// Print JSON lines: a header, a line for each token, a summary (docs/trace.md)
    #[arg(long)]
    json: bool,
    /// Add the N greatest raw logits and the logsumexp to every line (with --json)
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        requires = "json"
    )]
    logits: usize,
    /// Add the raw logits of these ids to every line (with --json), like 100,5007
    #[arg(long, value_delimiter = ',', value_name = "IDS", requires = "json")]
    probe: Vec<u32>,
    /// Name the N likeliest next tokens, with their probabilities, on every line (with --json)
    #[arg(long, value_name = "N", default_value_t = 3, requires = "json")]
    next: usize,
}

/// Runs the command; `config` has the user's defaults.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, anything else for what failed.
pub fn run(args: RunArgs, config: &Config) -> Result<()> {
    let mut request = config.load_request();
    args.model.apply(&mut request);
    let defaults = config.settings(&request.routers);
    let overrides = args.decide.file()?;
    let kv = |scope| config.kv_in(&request.routers, scope);
    let settings = |layers| args.settings(&defaults, overrides.as_ref(), layers, kv);
    // What needs no model is refused before one is loaded.
    settings(MOST_LAYERS)?.check_alone().map_err(UsageError::new)?;
    let prompt = match (&args.ids, &args.prompt) {
        (Some(ids), _) => Prompt::Ids(ids.clone()),
        (None, Some(text)) if text == "-" => Prompt::Text(read_stdin()?),
        (None, text) => Prompt::Text(text.clone().unwrap_or_default()),
    };
    if matches!(&prompt, Prompt::Text(text) if text.trim().is_empty()) {
        return Err(UsageError::new("the prompt is empty: type something for the model to answer").into());
    }
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let (model, routers) = load(&request, &stop)?;
    let layers = model.decoder.config().layers;
    let mut settings = settings(layers)?;
    let info = routers.as_deref().map(|r| r.info());
    if let Some(depth) = args.depth {
        settings.dial = dial_for_depth(info, depth).map_err(UsageError::new)?;
    }
    for note in notes(info, &settings) {
        crate::note!("{note}");
    }
    // Settings that contradict each other are the arguments' mistake, too.
    DecisionPolicy::new(&settings, routers.as_deref(), layers).map_err(|e| UsageError::new(e.to_string()))?;
    let mut out = Printer::new(args.json);
    let next = if args.json { args.next } else { 0 };
    let mut failed = None;
    let mut print = |record: Record| {
        if let Err(e) = out.print(&record) {
            // Nobody reads any more: end the run.
            failed = Some(e);
            stop.store(true, Ordering::Relaxed);
        }
    };
    let started = Generation::start(&model, routers.as_deref(), &prompt, &settings, &stop);
    let (mut generation, mut header) = started.map_err(as_usage)?;
    header.next = generation.likeliest(next)?;
    print(Record::Header(Box::new(header)));
    let summary = loop {
        match generation.step() {
            Ok(Some(mut step)) => {
                step.next = generation.likeliest(next)?;
                print(Record::Token(Box::new(step)));
            }
            Ok(None) => break Ok(generation.summary()),
            Err(e) => break Err(e),
        }
    };
    if let Some(e) = failed {
        return match e.kind() {
            std::io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(e).context(NO_OUTPUT),
        };
    }
    let summary = summary?;
    let (stopped, tokens) = (summary.stop == StopReason::Stopped, summary.tokens);
    out.print(&Record::Summary(summary)).context(NO_OUTPUT)?;
    ensure!(!stopped, "stopped after {}", counted(tokens, "token"));
    Ok(())
}

/// Loads a model and its routers, with progress on standard error.
pub(super) fn load(request: &LoadRequest, stop: &AtomicBool) -> Result<(Model, Option<Box<dyn Router>>)> {
    let progress = CommandProgress::new();
    let model = load_model(
        request,
        &mut |what, done, total| progress.bytes(what, done, total),
        &mut |what| progress.stage(what),
        stop,
    )
    .map_err(as_usage)?;
    let routers = load_routers(&request.routers, &model)?;
    progress.finish();
    tell_notes(&model);
    Ok((model, routers))
}

impl RunArgs {
    /// What is asked of a model of `layers` layers.
    fn settings(
        &self,
        defaults: &Settings,
        overrides: Option<&OverridesFile>,
        layers: usize,
        kv: impl FnOnce(Scope) -> KvMode,
    ) -> Result<Settings> {
        let mut settings = defaults.clone();
        self.decide.apply(overrides, layers, kv, &mut settings)?;
        self.sample.apply(&mut settings);
        settings.raw |= self.raw;
        settings.logits = self.logits;
        settings.probe = self.probe.clone();
        Ok(settings)
    }
}

fn read_stdin() -> Result<String> {
    let bytes =
        files::read_from(std::io::stdin(), files::TEXT).context("cannot read the prompt from standard input")?;
    // Broken UTF-8 is replaced, not refused: the model's own tokens are bytes too.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first SIGINT or SIGTERM ends the run after the layer in work, with its summary; a second one
/// ends the program.
pub(super) fn stop_on_signals(stop: &Arc<AtomicBool>) -> Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(())
}

/// Writes what a run tells to standard output.
struct Printer {
    json: bool,
    /// Control characters are harmless in a pipe, and programs there want the text as it is.
    escape: bool,
    out: std::io::Stdout,
}

impl Printer {
    fn new(json: bool) -> Self {
        let out = std::io::stdout();
        Printer {
            json,
            escape: std::io::stdout().is_terminal(),
            out,
        }
    }

    fn print(&mut self, record: &Record) -> std::io::Result<()> {
        match record {
            _ if self.json => self.out.write_all(trace::line(record).as_bytes())?,
            Record::Header(_) => {}
            Record::Token(step) if step.special => {}
            Record::Token(step) => {
                let text = match self.escape {
                    true => &escape_controls_multiline(&step.text),
                    false => &step.text,
                };
                self.out.write_all(text.as_bytes())?;
            }
            Record::Summary(_) => self.out.write_all(b"\n")?,
        }
        self.out.flush()
    }
}
