//! `drllm-tui eval`: how often the model is right, and at what depth.

mod format;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, anyhow};
use clap::Args;

use super::UsageError;
use super::args::{KvArg, ScopeArg};
use super::base_model::BaseModelArgs;
use super::output::{Picture, check_named_once, print, write_whole};
use super::progress::CommandProgress;
use super::run::stop_on_signals;
use super::scoring::ScoringArgs;
use crate::config::Config;
use crate::engine::notes::{dial_for_depth, notes};
use crate::engine::{RouterChoice, kv_of, load_routers};
use crate::eval::evaluation::{Controls, Interrupted};
use crate::eval::outcomes::OutcomeFile;
use crate::eval::report::{EvaluationReport, ReportFormat, StaticChoice};
use crate::eval::{Control, Evaluation, Pick, Series, Task, Variant, Variants, curve};
use crate::line_file::Existing;
use crate::program::{Damping, MOST_LAYERS, Program};
use crate::search::static_baseline::{self, StaticBaseline};
use crate::trace::{KvMode, NEUTRAL_DIAL, RouterInfo, Scope, Settings};
use format::EvalFormat;
use text::TextArgs;

/// Measure accuracy and depth on questions: the base model beside routers and fixed programs.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// Questions, JSON lines: choices (plain, AI2's ARC), numbers (GSM8K) or mathematics (MATH, DART)
    #[arg(long, value_name = "FILE", required_unless_present = "text", num_args = 1..)]
    data: Vec<PathBuf>,
    /// Measure on free text instead, at every token: how far what routers say lies from what the whole model says, and at
    /// what depth. Files of prompts (one a line, or JSON lines with prompt or question); those that ship if none is named
    #[arg(long = "text", id = "text", value_name = "FILE", num_args = 0.., conflicts_with_all = [
        "data", "scope", "budget", "sweep", "program", "control_depth", "train_data", "train_limit", "static_records",
        "selector_data", "selector_limit", "score", "max_new_tokens", "chat", "outcomes",
    ])]
    texts: Option<Vec<PathBuf>>,
    /// Router checkpoint (safetensors), `built-in`, `verifier`, `dr-llm` or `none`
    #[arg(long, value_name = "FILE|built-in|verifier|dr-llm|none", default_value = "built-in")]
    routers: String,
    /// When routers decide: on the question for all choices, or at every token
    #[arg(long, value_enum, value_delimiter = ',', default_value = "prompt,token")]
    scope: Vec<ScopeArg>,
    /// What a token leaves in a layer that it skips: nothing, or its key and value there; in scope token as the routers
    /// were made if absent
    #[arg(long, value_enum)]
    kv: Option<KvArg>,
    /// Further rows at these dials, like -0.4,0; with --text the rows
    // Not `allow_negative_numbers`: a list is no number.
    #[arg(
        long,
        alias = "dials",
        value_delimiter = ',',
        allow_hyphen_values = true,
        value_name = "DIALS"
    )]
    dial: Vec<f64>,
    /// Further rows in scope token at the dials of these mean depths, like 26,28, by the table that the routers carry;
    /// with --text the rows
    #[arg(
        long,
        alias = "depths",
        value_delimiter = ',',
        value_name = "DEPTHS",
        conflicts_with = "dial"
    )]
    depth: Vec<f64>,
    /// Further rows at these budgets, like 26,28
    #[arg(long, value_delimiter = ',', value_name = "BUDGETS")]
    budget: Vec<usize>,
    /// Further rows over the dial and the budget in each scope: accuracy over depth as a curve
    #[arg(long)]
    sweep: bool,
    /// Draw accuracy over depth, with --text KL and agreement over depth, into this SVG, with 95 % intervals
    #[arg(long, value_name = "FILE")]
    curve: Option<PathBuf>,
    /// A further row: one program for every question, like '0-18 20-29'; may be repeated
    #[arg(long, value_name = "PROGRAM")]
    program: Vec<String>,
    /// Further rows for each depth of the routers, or of --control-depth: random layers, early exit,
    /// pruning by block influence (ShortGPT) and exits by confidence (entropy, agreement of the logit lens over layers) at
    /// the same mean depth; rows of --sweep have none. With --train-data also the best block of layers run twice, whole
    /// and damped. With --text random layers, block influence, exits by confidence, the best static program, shuffled
    /// programs and ragged caches
    #[arg(long)]
    controls: bool,
    /// Depths of the controls' rows, like 26,28.5
    #[arg(long, value_delimiter = ',', value_name = "DEPTHS", requires = "controls")]
    control_depth: Vec<f64>,
    /// Seek the one best program on these questions, which must not be those of --data, and measure it;
    /// as a control, remove layers one by one down to the depths of the routers
    #[arg(long, value_name = "FILE", num_args = 1..)]
    train_data: Vec<PathBuf>,
    /// Only the first N questions of each file of --train-data
    #[arg(long, value_name = "N", requires = "train_data")]
    train_limit: Option<usize>,
    /// Measure the program that was best in these records of `search --programs`
    #[arg(long, value_name = "RECORDS", num_args = 1.., conflicts_with = "train_data")]
    static_records: Vec<PathBuf>,
    /// A further row for a predictor: of the five programs that it proposes the one that a selector picks by the answers
    /// under them, a logistic regression fitted on these questions, which must not be those of --data
    #[arg(long, value_name = "FILE", num_args = 1..)]
    selector_data: Vec<PathBuf>,
    /// Only the first N questions of each file of --selector-data
    #[arg(long, value_name = "N", requires = "selector_data")]
    selector_limit: Option<usize>,
    /// Only the first N questions of each file; with --text N texts of all files [default there: 64]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    scoring: ScoringArgs,
    /// Write what each question came to, as JSON lines, while the evaluation runs
    #[arg(long, value_name = "FILE")]
    outcomes: Option<PathBuf>,
    /// Go on after the last whole line of --outcomes
    #[arg(long, requires = "outcomes")]
    resume: bool,
    /// Replace --outcomes, and whatever stands at --curve
    #[arg(long)]
    force: bool,
    /// How to report: a table, JSON, CSV, Markdown, or files as lm-evaluation-harness writes them
    #[arg(long, value_enum, default_value_t)]
    format: EvalFormat,
    /// With --format lm-eval: the folder that gets a folder for each row
    #[arg(long, value_name = "DIR", conflicts_with = "text")]
    out: Option<PathBuf>,
    #[command(flatten)]
    model: BaseModelArgs,
    #[command(flatten)]
    text: TextArgs,
}

/// Runs the command.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, anything else for what failed or was stopped.
pub fn run(args: EvalArgs) -> Result<()> {
    args.check_force()?;
    if let Some(files) = &args.texts {
        if args.format == EvalFormat::LmEval {
            let message = "--format lm-eval has a row for questions, not for --text; use json";
            return Err(UsageError::new(message).into());
        }
        return text::run(&args, files);
    }
    args.text.check_absent()?;
    args.format.check(args.out.as_deref())?;
    args.check_control_depths(MOST_LAYERS)?;
    let tasks = args.tasks()?;
    let training = static_baseline::load("--train-data", &args.train_data, args.train_limit, &tasks)?;
    let selector = static_baseline::load("--selector-data", &args.selector_data, args.selector_limit, &tasks)?;
    let existing = Existing::from_switches(args.resume, args.force);
    args.outcomes.as_deref().map_or(Ok(()), |path| existing.check(path))?;
    args.check_places()?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let model = args.model.load(&stop)?;
    args.check_control_depths(model.info.layers)?;
    let routers = load_routers(&args.router_choice(), &model)?;
    if routers.is_none() && args.routers != "none" && model.info.other_iterations().is_none() {
        crate::note!(
            "no routers ship for {}; evaluating without. Train some with `drllm-tui train`, or say --routers none",
            model.info.name
        );
    }
    let mut variants = args.variants(model.info.layers, routers.as_ref().map(|r| r.info()))?;
    let notes = variants.all.iter().filter(|v| v.is_routed()).flat_map(|v| {
        let notes = notes(routers.as_ref().map(|r| r.info()), &v.settings);
        notes.into_iter().map(|note| format!("{}: {note}", v.name))
    });
    notes.for_each(|note| crate::note!("{note}"));
    let mut choice = match args.static_records.is_empty() {
        true => None,
        false => Some(static_baseline::of_records(&args.static_records, &tasks, &model)?),
    };
    let add = |choice: &StaticChoice, variants: &mut Variants| {
        crate::note!("{}: {choice}", choice.program);
        variants.all.push(Variant::static_program(choice.program.clone()));
    };
    choice.iter().for_each(|choice| add(choice, &mut variants));
    let mut baseline = (!training.is_empty()).then(|| StaticBaseline::new(training, model.info.layers));
    let controls = Controls {
        untrained: args.controls,
        depths: &args.control_depth,
        removal: None,
    };
    let scoring = args.scoring.config();
    let header = Evaluation::header(
        &model,
        routers.as_deref(),
        (scoring, args.model.exact),
        (&tasks, baseline.as_ref().map_or(&[], StaticBaseline::tasks), &selector),
        &variants,
        &controls,
    );
    let outcomes = args.outcomes.as_ref();
    let outcomes = outcomes.map(|path| OutcomeFile::open(path, &header, existing));
    let progress = CommandProgress::new();
    let mut evaluation = Evaluation {
        model: &model,
        routers: routers.as_deref(),
        scoring,
        threads: args.model.threads_for(&model),
        stop: &stop,
        selector: None,
        outcomes: outcomes.transpose()?,
        tell: &mut |step| progress.count(step),
    };
    let mut fit = None;
    let measure = || {
        if !selector.is_empty() {
            let fitted = evaluation.fit_selector(&selector)?;
            progress.finish();
            crate::note!("{fitted}");
            fit = Some(fitted);
        }
        if let Some(baseline) = &mut baseline {
            let best = baseline.best(&mut evaluation)?;
            progress.finish();
            add(&best, &mut variants);
            choice = Some(best);
            if args.controls {
                for (name, damping) in [(Control::LOOP, Damping::NONE), (Control::DAMPED_LOOP, Damping::HALF)] {
                    let program = baseline.best_loop(damping, &mut evaluation)?;
                    progress.finish();
                    variants.all.push(Variant::loop_block(name, program));
                }
            }
        }
        let mut removal =
            baseline.map(|mut baseline| move |depth: f64, on: &mut Evaluation| baseline.removal(depth, on));
        let controls = Controls {
            removal: removal.as_mut().map(|removal| removal as _),
            ..controls
        };
        evaluation.measure(&tasks, &variants, controls)
    };
    let measured = measure();
    progress.finish();
    let rows = measured.map_err(|error| args.how_to_go_on(error))?;
    if args.controls && !rows.iter().any(|row| matches!(row.series, Series::Control(_))) {
        crate::note!("--controls: no row of routers runs fewer layers than all, so none has a row");
    }
    let report = EvaluationReport {
        version: env!("CARGO_PKG_VERSION").into(),
        model: model.info.name.clone(),
        model_sha256: model.info.sha256.clone(),
        exact: args.model.exact,
        scoring: scoring.names(&tasks),
        generation: scoring.generations(&tasks),
        routers: routers.as_ref().map(|r| r.info().name.clone()),
        routers_sha256: routers.as_ref().map(|r| r.info().sha256.clone()),
        training: choice,
        selector: fit,
        rows,
    };
    args.publish(&report, &tasks)
}

/// Files of one name in different folders: their tasks get the folder's name before their own, and a number where that is
/// the same, too.
fn name_apart(tasks: &mut [Task], paths: &[PathBuf]) {
    let names: Vec<String> = tasks.iter().map(|task| task.name.clone()).collect();
    let count = |names: &[String], name: &String| names.iter().filter(|other| *other == name).count();
    for (at, task) in tasks
        .iter_mut()
        .enumerate()
        .filter(|(at, _)| count(&names, &names[*at]) > 1)
    {
        let folder = paths[at].parent().and_then(Path::file_name);
        if let Some(folder) = folder {
            task.name = format!("{}-{}", folder.to_string_lossy(), names[at]);
        }
    }
    let names: Vec<String> = tasks.iter().map(|task| task.name.clone()).collect();
    for (at, task) in tasks.iter_mut().enumerate() {
        let before = count(&names[..at], &names[at]);
        if before > 0 {
            task.name = format!("{}-{}", task.name, before + 1);
        }
    }
}

impl EvalArgs {
    /// Takes what the user configured where the command line says nothing.
    pub fn configure(&mut self, config: &Config) {
        self.model.configure(config);
    }

    /// Refuses places that cannot be written, before hours of work go into it.
    fn check_places(&self) -> Result<()> {
        let written: Vec<&PathBuf> = self.outcomes.iter().chain(&self.curve).collect();
        let routers = match self.router_choice() {
            RouterChoice::File(path) => Some(path),
            _ => None,
        };
        let texts = self.texts.iter().flatten().chain(&self.text.train_text);
        let read = self
            .data
            .iter()
            .chain(&self.train_data)
            .chain(&self.selector_data)
            .chain(&self.static_records)
            .chain(texts);
        let model = self.model.files();
        check_named_once(&written, &read.chain(&routers).chain(&model).collect::<Vec<_>>())?;
        let Some(path) = &self.curve else { return Ok(()) };
        let picture = Picture {
            path,
            option: "--curve",
            what: "the curve",
            words: match self.texts {
                None => curve::TITLE,
                Some(_) => crate::eval::text::curve::TITLE,
            },
        };
        picture.check(self.force)
    }

    // Not by clap: it waives what an option requires where that conflicts with another one.
    fn check_force(&self) -> Result<()> {
        let message = match (self.force, self.resume) {
            (true, true) => "--force begins anew and --resume goes on: leave one of the two out",
            (true, false) if self.outcomes.is_none() && self.curve.is_none() => {
                "--force replaces what --outcomes or --curve names, and neither is given: leave it out"
            }
            _ => return Ok(()),
        };
        Err(UsageError::new(message).into())
    }

    /// Refuses depths at which no control can stand. `layers`: the model's, or as many as there may be while they are not
    /// known.
    fn check_control_depths(&self, layers: usize) -> Result<()> {
        let outside = |depth: &&f64| !(0.0..layers as f64).contains(*depth);
        match self.control_depth.iter().find(outside) {
            None => Ok(()),
            Some(depth) if layers == MOST_LAYERS => {
                let message =
                    format!("--control-depth is {depth}: expected 0 or more, and less than the model's layers");
                Err(UsageError::new(message).into())
            }
            Some(depth) => {
                let message = format!(
                    "--control-depth is {depth}: expected 0 or more, and less than the model's {layers} layers, since a \
                     control stands where layers are saved"
                );
                Err(UsageError::new(message).into())
            }
        }
    }

    /// The questions to measure on.
    fn tasks(&self) -> Result<Vec<Task>> {
        for (option, limit) in [
            ("--limit", self.limit),
            ("--train-limit", self.train_limit),
            ("--selector-limit", self.selector_limit),
        ] {
            if limit == Some(0) {
                let message = format!("{option} is 0: expected at least 1; leave it out to take all questions");
                return Err(UsageError::new(message).into());
            }
        }
        let mut tasks = self.data.iter().map(|p| Task::load(p)).collect::<Result<Vec<_>>>()?;
        name_apart(&mut tasks, &self.data);
        for task in &mut tasks {
            task.questions.truncate(self.limit.unwrap_or(usize::MAX));
        }
        self.scoring.check(&tasks)?;
        Ok(tasks)
    }

    /// What a stopped evaluation says.
    fn how_to_go_on(&self, error: anyhow::Error) -> anyhow::Error {
        match (error.is::<Interrupted>(), &self.outcomes) {
            (false, _) => error,
            (true, Some(_)) => anyhow!("stopped; continue with --resume"),
            (true, None) => {
                anyhow!("stopped; nothing was reported. With --outcomes FILE an evaluation can be continued")
            }
        }
    }

    /// Prints the report and draws its curve.
    fn publish(&self, report: &EvaluationReport, tasks: &[Task]) -> Result<()> {
        match (self.format.report(), &self.out) {
            (None, Some(folder)) => format::write_harness(report, tasks, self.scoring.config(), folder)?,
            (format, _) => {
                let format = format.unwrap_or_default();
                let mut text = report.print(format);
                if format == ReportFormat::Text {
                    text += &curve::terminal(&report.rows);
                }
                print(&text)?;
            }
        }
        match &self.curve {
            Some(path) => write_whole(path, |out| out.write_all(curve::svg(report).as_bytes())),
            None => Ok(()),
        }
    }

    fn router_choice(&self) -> RouterChoice {
        self.routers.as_str().into()
    }

    /// The rows that were asked for.
    fn variants(&self, layers: usize, routers: Option<&RouterInfo>) -> Result<Variants> {
        let mut variants = Variants::new(layers);
        let choice = self.router_choice();
        let predicts = routers.is_some_and(RouterInfo::is_predictor);
        if !self.selector_data.is_empty() && !predicts {
            let message = "--selector-data picks among the programs of a predictor: give one with --routers (drllm-tui train \
                           --method polar makes them), or leave it out";
            return Err(UsageError::new(message).into());
        }
        if routers.is_some() {
            // A predictor names one program for all tokens.
            for scope in self
                .scope
                .iter()
                .map(|scope| Scope::from(*scope))
                .filter(|s| !predicts || *s == Scope::Prompt)
            {
                let kv = self.kv.map_or_else(|| kv_of(&choice, scope), KvMode::from);
                let named = |variant: Variant| if predicts { variant.predicted() } else { variant };
                let dialled = |&dial: &f64| named(Variant::routers(scope, dial, None).with_kv(kv));
                let budgeted = |&budget: &usize| named(Variant::routers(scope, NEUTRAL_DIAL, Some(budget)).with_kv(kv));
                variants.all.push(dialled(&NEUTRAL_DIAL));
                if predicts {
                    variants.all.extend(Pick::ALL.map(Variant::candidates));
                    let selected = (!self.selector_data.is_empty()).then(|| Variant::candidates(Pick::Selected));
                    variants.all.extend(selected);
                }
                variants.all.extend(self.dial.iter().map(dialled));
                for &depth in self.depth.iter().filter(|_| scope == Scope::Token) {
                    let dial = dial_for_depth(routers, depth).map_err(UsageError::new)?;
                    variants.all.push(Variant::at_depth(depth, dial).with_kv(kv));
                }
                variants.all.extend(self.budget.iter().map(budgeted));
                if self.sweep {
                    variants.sweep(scope, kv, layers);
                }
            }
        } else if self.sweep || !self.dial.is_empty() || !self.budget.is_empty() || !self.depth.is_empty() {
            let message = "--sweep, --dial, --depth and --budget need routers: give a checkpoint with --routers";
            return Err(UsageError::new(message).into());
        }
        for text in &self.program {
            let program = Program::parse(text, layers);
            let program =
                program.map_err(|e| UsageError::new(format!("--program '{}': {e}", text.escape_default())))?;
            variants.all.push(Variant::program(program));
        }
        let checked = variants.all.iter().map(|v| Settings::check(&v.settings, layers));
        checked.collect::<Result<(), String>>().map_err(UsageError::new)?;
        Ok(variants)
    }
}
