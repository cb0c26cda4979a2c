//! `drllm-tui run`: one prompt without the screen.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::UsageError;
use super::progress::Progress;
use crate::engine::{
    LoadRequest, NEUTRAL_DIAL, Output, Pin, Prompt, Record, RouterChoice, Sampling, Scope, Settings, generate,
    load_model, load_routers, trace_io,
};
use crate::program::Program;
use crate::text::escape_controls_multiline;

/// Run one prompt and print the answer as it comes; with --json, every token's layer program.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The prompt; `-` reads it from standard input
    #[arg(required_unless_present = "ids", conflicts_with = "ids")]
    prompt: Option<String>,
    /// Token ids to feed as they are, like 504,3575,282
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    ids: Option<Vec<u32>>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub decide: DecideArgs,
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
}

/// Which model, routers and device; shared by the screen and the commands.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelArgs {
    /// Catalog name, GGUF file, Hugging Face folder or hub name; the default model if absent
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Router checkpoint (safetensors), or `none`; those that ship for the model if absent
    #[arg(long, value_name = "FILE|none")]
    pub routers: Option<String>,
    /// auto, cpu, cuda:N or metal
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// f32 arithmetic throughout
    #[arg(long)]
    pub exact: bool,
    /// Threads of matrix products; all cores if absent
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

impl ModelArgs {
    /// As a request to the loader.
    pub fn request(&self) -> LoadRequest {
        LoadRequest {
            model: self.model.clone(),
            routers: match self.routers.as_deref() {
                None | Some("built-in") => RouterChoice::BuiltIn,
                Some("none") => RouterChoice::None,
                Some(path) => RouterChoice::File(PathBuf::from(path)),
            },
            device: self.device.clone().unwrap_or_else(|| "auto".into()),
            exact: self.exact,
            threads: self.threads,
        }
    }
}

/// Who decides about layers.
#[derive(Args, Clone, Debug, Default)]
pub struct DecideArgs {
    /// When routers decide: once at the prompt, or at every token
    #[arg(long, value_enum)]
    pub scope: Option<ScopeArg>,
    /// A fixed program, like '0-11 13-29', '0-6 7x2 8-29' or '0-3 (4-6)x2 7-29'
    #[arg(long)]
    pub program: Option<String>,
    /// -1 skip all, -0.5 the router itself, 0.5 execute all, 1 repeat all
    #[arg(long, allow_negative_numbers = true)]
    pub dial: Option<f64>,
    /// Greatest number of block executions of a token
    #[arg(long)]
    pub budget: Option<usize>,
    /// Pin a layer, everywhere (7=skip) or at token positions (7@12-14=repeat); may be repeated
    #[arg(long = "pin", value_name = "PIN")]
    pub pins: Vec<Pin>,
    /// In scope prompt, don't ask routers at generated tokens
    #[arg(long)]
    pub no_shadow: bool,
}

/// How tokens are drawn.
#[derive(Args, Clone, Debug, Default)]
pub struct SampleArgs {
    /// Most tokens to generate
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// Go on after the model's end token
    #[arg(long)]
    pub ignore_eos: bool,
    /// End the answer at this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// 0 is greedy
    #[arg(long)]
    pub temperature: Option<f64>,
    #[arg(long)]
    pub top_k: Option<usize>,
    #[arg(long)]
    pub top_p: Option<f64>,
    /// 1 changes nothing
    #[arg(long)]
    pub repetition_penalty: Option<f32>,
    #[arg(long)]
    pub seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ScopeArg {
    Prompt,
    Token,
}

impl From<ScopeArg> for Scope {
    fn from(scope: ScopeArg) -> Self {
        match scope {
            ScopeArg::Prompt => Scope::Prompt,
            ScopeArg::Token => Scope::Token,
        }
    }
}

impl DecideArgs {
    /// Writes what was given over `settings`. The program waits for the model's layer count.
    pub fn apply(&self, settings: &mut Settings) {
        if let Some(scope) = self.scope {
            settings.scope = scope.into();
        }
        settings.dial = self.dial.unwrap_or(settings.dial);
        settings.budget = self.budget.or(settings.budget);
        settings.pins.extend(&self.pins);
        settings.shadow &= !self.no_shadow;
    }
}

impl SampleArgs {
    /// Writes what was given over `settings`.
    pub fn apply(&self, settings: &mut Settings) {
        settings.max_tokens = self.max_tokens.unwrap_or(settings.max_tokens);
        settings.ignore_eos |= self.ignore_eos;
        settings.stop.extend(self.stop.iter().cloned());
        let sampling: &mut Sampling = &mut settings.sampling;
        sampling.temperature = self.temperature.unwrap_or(sampling.temperature);
        sampling.top_k = self.top_k.or(sampling.top_k);
        sampling.top_p = self.top_p.or(sampling.top_p);
        sampling.repetition_penalty = self.repetition_penalty.unwrap_or(sampling.repetition_penalty);
        sampling.seed = self.seed.unwrap_or(sampling.seed);
    }
}

/// Runs the command; `settings` are the user's defaults.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, anything else for what failed.
pub fn run(args: RunArgs, mut settings: Settings) -> Result<()> {
    args.decide.apply(&mut settings);
    args.sample.apply(&mut settings);
    settings.raw |= args.raw;
    settings.logits = args.logits;
    settings.probe = args.probe.clone();
    // What needs no model is refused before one is loaded.
    settings.check(usize::MAX / 4).map_err(UsageError::new)?;
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
    let progress = Progress::new();
    let request = args.model.request();
    let model = load_model(
        &request,
        &mut |what, done, total| progress.bytes(what, done, total),
        &mut |what| progress.stage(what),
        &stop,
    )?;
    let routers = load_routers(&request.routers, &model)?;
    progress.finish();
    let layers = model.decoder.config().layers;
    if let Some(text) = &args.decide.program {
        let program = Program::parse(text, layers);
        settings.program =
            Some(program.map_err(|e| UsageError::new(format!("--program '{}': {e}", text.escape_default())))?);
    }
    settings.check(layers).map_err(UsageError::new)?;
    if settings.budget.is_some() && settings.dial != NEUTRAL_DIAL && routers.is_none() {
        tracing::info!("the dial has nothing to turn without routers");
    }
    let mut out = Printer::new(args.json);
    let mut failed = None;
    let summary = generate(&model, routers.as_ref(), &prompt, &settings, &stop, &mut |output| {
        if let Err(e) = out.print(output) {
            // Nobody reads any more: end the run.
            failed = Some(e);
            stop.store(true, Ordering::Relaxed);
        }
    });
    if let Some(e) = failed {
        return match e.kind() {
            std::io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(e).context("cannot write the output"),
        };
    }
    let summary = summary?;
    out.finish(&Record::Summary(summary))?;
    Ok(())
}

fn read_stdin() -> Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .context("cannot read the prompt from standard input")?;
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
    out: std::io::StdoutLock<'static>,
}

impl Printer {
    fn new(json: bool) -> Self {
        let out = std::io::stdout().lock();
        Printer {
            json,
            escape: std::io::stdout().is_terminal(),
            out,
        }
    }

    fn print(&mut self, output: Output) -> std::io::Result<()> {
        if self.json {
            let record = match output {
                Output::Header(header) => Record::Header(header),
                Output::Step(step) => Record::Token(step),
            };
            self.out.write_all(trace_io::line(&record).as_bytes())?;
        } else if let Output::Step(step) = output {
            if step.special {
                return Ok(());
            }
            let text = match self.escape {
                true => escape_controls_multiline(&step.text),
                false => step.text,
            };
            self.out.write_all(text.as_bytes())?;
        }
        self.out.flush()
    }

    fn finish(&mut self, summary: &Record) -> std::io::Result<()> {
        match self.json {
            true => self.out.write_all(trace_io::line(summary).as_bytes())?,
            false => self.out.write_all(b"\n")?,
        }
        self.out.flush()
    }
}
