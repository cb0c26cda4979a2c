//! `drllm-tui eval`: how often the model is right, and at what depth.

mod evaluation;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::Args;

use super::UsageError;
use super::args::ScopeArg;
use super::base_model::BaseModelArgs;
use super::output::print;
use super::run::stop_on_signals;
use super::scoring::ScoringArgs;
use crate::engine::{NEUTRAL_DIAL, RouterChoice, Scope, Settings, load_routers};
use crate::eval::outcomes::{FORMAT, OutcomeFile, OutcomeHeader, TaskHeader};
use crate::eval::report::{Format, Report};
use crate::eval::{Method, Task};
use crate::line_file::Existing;
use crate::model::Model;
use crate::program::Program;
use crate::router::RouterSet;
use evaluation::Evaluation;

/// Measure accuracy and depth on questions: the base model beside routers and fixed programs.
#[derive(Args, Debug)]
pub struct EvalArgs {
    /// Questions, JSON lines: choices (plain, AI2's ARC), numbers (GSM8K) or mathematics (MATH, DART)
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Router checkpoint (safetensors), `built-in` or `none`
    #[arg(long, value_name = "FILE|built-in|none", default_value = "built-in")]
    routers: String,
    /// When routers decide: on the question for all choices, or at every token
    #[arg(long, value_enum, value_delimiter = ',', default_value = "prompt,token")]
    scope: Vec<ScopeArg>,
    /// Further rows at these dials, like -0.4,0
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, value_name = "DIALS")]
    dial: Vec<f64>,
    /// Further rows at these budgets, like 26,28
    #[arg(long, value_delimiter = ',', value_name = "BUDGETS")]
    budget: Vec<usize>,
    /// A further row: one program for every question, like '0-18 20-29'; may be repeated
    #[arg(long, value_name = "PROGRAM")]
    program: Vec<String>,
    /// Further rows for each depth of the routers, or of --control-depth: random layers, early exit
    /// and pruning by block influence (ShortGPT) at the same mean depth
    #[arg(long)]
    controls: bool,
    /// Depths of the controls' rows, like 26,28.5
    #[arg(long, value_delimiter = ',', value_name = "DEPTHS", requires = "controls")]
    control_depth: Vec<f64>,
    /// Only the first N questions of each file
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
    /// Replace --outcomes
    #[arg(long, requires = "outcomes", conflicts_with = "resume")]
    force: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    model: BaseModelArgs,
}

/// Runs the command.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, anything else for what failed or was stopped.
pub fn run(args: EvalArgs) -> Result<()> {
    let threads = args.model.threads()?;
    if args.limit == Some(0) {
        return Err(UsageError::new("--limit is 0: expected at least 1; leave it out to take all questions").into());
    }
    let mut tasks = args.data.iter().map(|p| Task::load(p)).collect::<Result<Vec<_>>>()?;
    for task in &mut tasks {
        task.questions.truncate(args.limit.unwrap_or(usize::MAX));
    }
    args.scoring.check(&tasks)?;
    let existing = Existing::from_switches(args.resume, args.force);
    if let Some(path) = &args.outcomes {
        existing.check(path)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let model = args.model.load(&stop)?;
    let routers = load_routers(&args.router_choice(), &model)?;
    if routers.is_none() && args.routers != "none" {
        eprintln!(
            "no routers ship for {}; evaluating without. Train some with `drllm-tui train`, or say --routers none",
            model.info.name
        );
    }
    let methods = args.methods(model.info.layers, routers.is_some())?;
    let header = args.header(&tasks, &model, routers.as_ref(), &methods);
    let outcomes = args
        .outcomes
        .as_ref()
        .map(|path| OutcomeFile::open(path, &header, existing));
    let mut evaluation = Evaluation {
        model: &model,
        routers: routers.as_ref(),
        scoring: &args.scoring,
        threads,
        stop: &stop,
        outcomes: outcomes.transpose()?,
    };
    let mut rows = Vec::new();
    for task in &tasks {
        let (of_methods, base) = evaluation.rows(task, &methods, None)?;
        let routed = of_methods.iter().filter(|row| row.method.starts_with("routers"));
        let depths: Vec<f64> = match args.control_depth.is_empty() {
            true => routed.map(|row| row.mean_depth).collect(),
            false => args.control_depth.clone(),
        };
        rows.extend(of_methods);
        if args.controls {
            let controls = evaluation.controls(task, &depths)?;
            rows.extend(evaluation.rows(task, &controls, Some(base))?.0);
        }
    }
    if let Some(file) = evaluation.outcomes.take() {
        file.finish()?;
    }
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        model: model.info.name.clone(),
        model_sha256: model.info.sha256.clone(),
        exact: args.model.exact,
        scoring: args.scoring.names(&tasks),
        generation: args.scoring.generations(&tasks),
        routers: routers.as_ref().map(|r| r.info.name.clone()),
        routers_sha256: routers.as_ref().map(|r| r.info.sha256.clone()),
        rows,
    };
    print(&report.print(args.format))
}

impl EvalArgs {
    fn router_choice(&self) -> RouterChoice {
        match self.routers.as_str() {
            "built-in" => RouterChoice::BuiltIn,
            "none" => RouterChoice::None,
            path => RouterChoice::File(PathBuf::from(path)),
        }
    }

    /// What the outcomes depend on.
    fn header(&self, tasks: &[Task], model: &Model, routers: Option<&RouterSet>, methods: &[Method]) -> OutcomeHeader {
        let task = |task: &Task| {
            let (scoring, generation) = self.scoring.of(task.kind(), false);
            TaskHeader::new(task, scoring, generation)
        };
        OutcomeHeader {
            format: FORMAT,
            model: model.info.name.clone(),
            model_sha256: model.info.sha256.clone(),
            layers: model.info.layers,
            exact: self.model.exact,
            device: model.device_name(),
            routers_sha256: routers.map(|r| r.info.sha256.clone()),
            tasks: tasks.iter().map(task).collect(),
            methods: methods.iter().map(|m| m.name.clone()).collect(),
            controls: self.controls,
            control_depth: self.control_depth.clone(),
        }
    }

    /// The rows of each task, base first.
    fn methods(&self, layers: usize, routers: bool) -> Result<Vec<Method>> {
        let mut methods = vec![Method::base(layers)];
        if routers {
            for scope in &self.scope {
                let scope = Scope::from(*scope);
                methods.push(Method::routers(scope, NEUTRAL_DIAL, None));
                methods.extend(self.dial.iter().map(|&dial| Method::routers(scope, dial, None)));
                let budgeted = |&budget: &usize| Method::routers(scope, NEUTRAL_DIAL, Some(budget));
                methods.extend(self.budget.iter().map(budgeted));
            }
        } else if !self.dial.is_empty() || !self.budget.is_empty() {
            return Err(UsageError::new("--dial and --budget need routers: give a checkpoint with --routers").into());
        }
        for text in &self.program {
            let program = Program::parse(text, layers);
            let program =
                program.map_err(|e| UsageError::new(format!("--program '{}': {e}", text.escape_default())))?;
            methods.push(Method::program(program));
        }
        let checked = methods.iter().map(|m| Settings::check(&m.settings, layers));
        checked.collect::<Result<(), String>>().map_err(UsageError::new)?;
        Ok(methods)
    }
}
