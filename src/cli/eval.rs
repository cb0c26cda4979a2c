//! `drllm-tui eval`: how often the model is right, and at what depth.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::UsageError;
use super::args::ScopeArg;
use super::base_model::BaseModelArgs;
use super::counter::Counter;
use super::run::stop_on_signals;
use super::scoring::ScoringArgs;
use crate::engine::{NEUTRAL_DIAL, RouterChoice, Scope, Settings, load_routers};
use crate::eval::controls::by_influence;
use crate::eval::parallel::for_each_ordered;
use crate::eval::report::{Format, Report, Row};
use crate::eval::{Asked, Control, EncodedQuestion, Method, Outcome, Task};
use crate::model::Model;
use crate::program::Program;
use crate::router::RouterSet;

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
    let evaluation = Evaluation {
        model: &model,
        routers: routers.as_ref(),
        scoring: &args.scoring,
        threads,
        stop: &stop,
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
    match std::io::stdout().lock().write_all(report.print(args.format).as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the report"),
    }
}

impl EvalArgs {
    fn router_choice(&self) -> RouterChoice {
        match self.routers.as_str() {
            "built-in" => RouterChoice::BuiltIn,
            "none" => RouterChoice::None,
            path => RouterChoice::File(PathBuf::from(path)),
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

/// Questions whose prompts block influence is measured on; their answers are not looked at.
const CALIBRATION: usize = 64;

struct Evaluation<'a> {
    model: &'a Model,
    routers: Option<&'a RouterSet>,
    scoring: &'a ScoringArgs,
    threads: usize,
    stop: &'a AtomicBool,
}

impl Evaluation<'_> {
    /// The controls at each depth that saves something.
    fn controls(&self, task: &Task, depths: &[f64]) -> Result<Vec<Method>> {
        let layers = self.model.info.layers;
        let mut depths: Vec<f64> = depths.iter().map(|d| (d * 100.0).round() / 100.0).collect();
        depths.retain(|&d| d < layers as f64);
        depths.dedup();
        let (scoring, _) = self.scoring.of(task.kind(), false);
        let calibration = task.questions.iter().filter(|q| !q.answer.choices().is_empty());
        let calibration = calibration.take(CALIBRATION);
        let calibration = calibration.map(|q| EncodedQuestion::for_model(q, self.model, scoring));
        let calibration = calibration.collect::<Result<Vec<_>>>()?;
        let mut kinds = vec![Control::Random, Control::EarlyExit];
        if !calibration.is_empty() && !depths.is_empty() {
            kinds.push(Control::BlockInfluence(by_influence(
                &self.model.decoder,
                &calibration,
            )?));
        }
        let at = |&depth: &f64| kinds.iter().map(move |kind| Method::control(kind.clone(), depth));
        Ok(depths.iter().flat_map(at).collect())
    }

    /// A row for each method, against base's outcomes: the first method's, where none are given.
    fn rows(&self, task: &Task, methods: &[Method], base: Option<Vec<Outcome>>) -> Result<(Vec<Row>, Vec<Outcome>)> {
        // By question, so that what is encoded once serves all methods.
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); methods.len()];
        let total = task.questions.len();
        let (scoring, generation) = self.scoring.of(task.kind(), false);
        let mut counter = Counter::new(&task.name, 0, total);
        for_each_ordered(
            0..total,
            self.threads,
            self.stop,
            |index| {
                let asked = Asked::new(&task.questions[index], self.model, scoring, generation.as_ref())?;
                let one = |m: &Method| {
                    let settings = m.settings_of(&task.questions[index].id, self.model.info.layers);
                    asked.answer(self.model, self.routers, &settings, self.stop)
                };
                Ok(Some(methods.iter().map(one).collect::<Result<Vec<_>>>()?))
            },
            |index, answers| {
                for (all, outcome) in outcomes.iter_mut().zip(answers) {
                    all.push(outcome);
                }
                let right = |of: &[Outcome]| of.iter().filter(|o| o.correct).count();
                let rights: Vec<String> = outcomes.iter().map(|o| right(o).to_string()).collect();
                counter.done(index + 1, &format!(", right: {}", rights.join(" ")));
                Ok(())
            },
        )?;
        counter.finish();
        if self.stop.load(Ordering::Relaxed) {
            bail!("stopped; nothing was reported");
        }
        let first_is_base = base.is_none();
        let base = base.unwrap_or_else(|| outcomes[0].clone());
        let rows = methods
            .iter()
            .zip(&outcomes)
            .enumerate()
            .map(|(index, (method, outcomes))| {
                let against = (index > 0 || !first_is_base).then_some(base.as_slice());
                Row::new(&task.name, &method.name, outcomes, against)
            });
        Ok((rows.collect(), base))
    }
}
