//! `drllm-tui eval`: how often the model is right, and at what depth.

mod curve;
mod evaluation;
mod text;
mod training;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};
use clap::Args;

use super::UsageError;
use super::args::{KvArg, ScopeArg};
use super::base_model::BaseModelArgs;
use super::output::{check_named_once, print, write_whole};
use super::run::stop_on_signals;
use super::scoring::ScoringArgs;
use crate::engine::notes::{dial_for_depth, notes};
use crate::engine::{KvMode, NEUTRAL_DIAL, RouterChoice, RouterInfo, Scope, Settings, kv_of, load_routers};
use crate::eval::outcomes::{FORMAT, OutcomeFile, OutcomeHeader, TaskHeader};
use crate::eval::report::{Format, Report, Row, StaticChoice};
use crate::eval::{Method, Series, Task};
use crate::line_file::Existing;
use crate::model::Model;
use crate::program::Program;
use crate::router::RouterSet;
use evaluation::Evaluation;
use text::TextArgs;
use training::Training;

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
        "score", "max_new_tokens", "chat", "outcomes",
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
    /// Further rows for each depth of the routers, or of --control-depth: random layers, early exit
    /// and pruning by block influence (ShortGPT) at the same mean depth; rows of --sweep have none. With --text also the
    /// best static program, exits by confidence, shuffled programs and ragged caches
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
    /// Replace --outcomes
    #[arg(long, requires = "outcomes", conflicts_with = "resume")]
    force: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
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
    if let Some(files) = &args.texts {
        return text::run(&args, files);
    }
    args.text.check_absent()?;
    let threads = args.model.threads()?;
    let tasks = args.tasks()?;
    let training = training::load(&args.train_data, args.train_limit, &tasks)?;
    let existing = Existing::from_switches(args.resume, args.force);
    args.outcomes.as_deref().map_or(Ok(()), |path| existing.check(path))?;
    args.check_places()?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let model = args.model.load(&stop)?;
    let routers = load_routers(&args.router_choice(), &model)?;
    if routers.is_none() && args.routers != "none" {
        crate::note!(
            "no routers ship for {}; evaluating without. Train some with `drllm-tui train`, or say --routers none",
            model.info.name
        );
    }
    let mut rows = args.methods(model.info.layers, routers.as_ref().map(|r| &r.info))?;
    let notes = rows.methods.iter().filter(|m| m.is_routed()).flat_map(|m| {
        let notes = notes(routers.as_ref().map(|r| &r.info), &m.settings);
        notes.into_iter().map(|note| format!("{}: {note}", m.name))
    });
    notes.for_each(|note| crate::note!("{note}"));
    let mut choice = match args.static_records.is_empty() {
        true => None,
        false => Some(rows.add_static(training::of_records(&args.static_records, &tasks, &model)?)),
    };
    let mut training = (!training.is_empty()).then(|| Training::new(training, model.info.layers));
    let header = args.header(&tasks, &model, routers.as_ref(), &rows.methods, training.as_ref());
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
    if let Some(training) = &mut training {
        choice = Some(rows.add_static(training.best(&mut evaluation)?));
    }
    let measured = args.measure(&tasks, &rows, &mut evaluation, training)?;
    let report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        model: model.info.name.clone(),
        model_sha256: model.info.sha256.clone(),
        exact: args.model.exact,
        scoring: args.scoring.names(&tasks),
        generation: args.scoring.generations(&tasks),
        routers: routers.as_ref().map(|r| r.info.name.clone()),
        routers_sha256: routers.as_ref().map(|r| r.info.sha256.clone()),
        training: choice,
        rows: measured,
    };
    args.publish(&report)
}

/// What is measured on every task.
struct Rows {
    /// Base first.
    methods: Vec<Method>,
    /// Names of the methods that --sweep alone adds.
    swept: Vec<String>,
}

impl Rows {
    fn add_static(&mut self, choice: StaticChoice) -> StaticChoice {
        crate::note!("{}: {choice}", choice.program);
        self.methods.push(Method::static_program(choice.program.clone()));
        choice
    }

    /// Whether controls stand at this row's depth.
    fn is_controlled(&self, row: &Row) -> bool {
        let routed = matches!(row.series, Series::Routers(_) | Series::Dial(_) | Series::Budget(_));
        routed && !self.swept.contains(&row.method)
    }
}

impl EvalArgs {
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
            .chain(&self.static_records)
            .chain(texts);
        check_named_once(&written, &read.chain(&routers).collect::<Vec<_>>())?;
        let Some(curve) = &self.curve else { return Ok(()) };
        let folder = curve.parent().filter(|f| !f.as_os_str().is_empty());
        ensure!(
            folder.unwrap_or(Path::new(".")).is_dir() && !curve.is_dir(),
            "cannot draw the curve into {}: expected a file in a folder that is there",
            curve.display()
        );
        Ok(())
    }

    /// The questions to measure on.
    fn tasks(&self) -> Result<Vec<Task>> {
        for (option, limit) in [("--limit", self.limit), ("--train-limit", self.train_limit)] {
            if limit == Some(0) {
                let message = format!("{option} is 0: expected at least 1; leave it out to take all questions");
                return Err(UsageError::new(message).into());
            }
        }
        let mut tasks = self.data.iter().map(|p| Task::load(p)).collect::<Result<Vec<_>>>()?;
        for task in &mut tasks {
            task.questions.truncate(self.limit.unwrap_or(usize::MAX));
        }
        self.scoring.check(&tasks)?;
        Ok(tasks)
    }

    /// The rows of all tasks.
    fn measure(
        &self,
        tasks: &[Task],
        rows: &Rows,
        evaluation: &mut Evaluation,
        mut training: Option<Training>,
    ) -> Result<Vec<Row>> {
        let mut measured = Vec::new();
        for task in tasks {
            let (of_methods, base) = evaluation.rows(task, &rows.methods, None)?;
            let controlled = of_methods.iter().filter(|row| rows.is_controlled(row));
            let depths: Vec<f64> = match self.control_depth.is_empty() {
                true => controlled.map(|row| row.mean_depth).collect(),
                false => self.control_depth.clone(),
            };
            measured.extend(of_methods);
            let controls = evaluation.controls(task, &depths, self.controls, training.as_mut())?;
            if !controls.is_empty() {
                measured.extend(evaluation.rows(task, &controls, Some(base))?.0);
            }
        }
        if let Some(file) = evaluation.outcomes.take() {
            file.finish()?;
        }
        Ok(measured)
    }

    /// Prints the report and draws its curve.
    fn publish(&self, report: &Report) -> Result<()> {
        let mut text = report.print(self.format);
        if self.format == Format::Text {
            text += &curve::terminal(&report.rows);
        }
        print(&text)?;
        match &self.curve {
            Some(path) => write_whole(path, |out| out.write_all(curve::svg(report).as_bytes())),
            None => Ok(()),
        }
    }

    fn router_choice(&self) -> RouterChoice {
        self.routers.as_str().into()
    }

    /// What the outcomes depend on.
    fn header(
        &self,
        tasks: &[Task],
        model: &Model,
        routers: Option<&RouterSet>,
        methods: &[Method],
        training: Option<&Training>,
    ) -> OutcomeHeader {
        let header = |task: &Task| {
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
            tasks: tasks.iter().map(header).collect(),
            methods: methods.iter().map(|m| m.name.clone()).collect(),
            controls: self.controls,
            control_depth: self.control_depth.clone(),
            training: training.map_or(Vec::new(), |t| t.headers(&header)),
        }
    }

    /// The rows that were asked for.
    fn methods(&self, layers: usize, routers: Option<&RouterInfo>) -> Result<Rows> {
        let (mut methods, mut swept) = (vec![Method::base(layers)], Vec::new());
        let choice = self.router_choice();
        if routers.is_some() {
            for scope in &self.scope {
                let scope = Scope::from(*scope);
                let kv = self.kv.map_or_else(|| kv_of(&choice, scope), KvMode::from);
                let dialled = |&dial: &f64| Method::routers(scope, dial, None).with_kv(kv);
                let budgeted = |&budget: &usize| Method::routers(scope, NEUTRAL_DIAL, Some(budget)).with_kv(kv);
                methods.push(dialled(&NEUTRAL_DIAL));
                methods.extend(self.dial.iter().map(dialled));
                for &depth in self.depth.iter().filter(|_| scope == Scope::Token) {
                    let dial = dial_for_depth(routers, depth).map_err(UsageError::new)?;
                    methods.push(Method::at_depth(depth, dial).with_kv(kv));
                }
                methods.extend(self.budget.iter().map(budgeted));
                if self.sweep {
                    let budgets = sweep_budgets(layers);
                    let mut more: Vec<Method> = SWEEP_DIALS.iter().map(dialled).collect();
                    more.extend(budgets.iter().map(budgeted));
                    more.retain(|m| methods.iter().all(|asked| asked.name != m.name));
                    swept.extend(more.iter().map(|m| m.name.clone()));
                    methods.extend(more);
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
            methods.push(Method::program(program));
        }
        let checked = methods.iter().map(|m| Settings::check(&m.settings, layers));
        checked.collect::<Result<(), String>>().map_err(UsageError::new)?;
        Ok(Rows { methods, swept })
    }
}

/// Dials of a sweep, on both sides of the router itself (−0.5). Each moves the difference of p(skip) and
/// p(execute) from which a layer is skipped: −2/3, −3/7, −1/4, −1/9, then 1/9, 1/4, 3/7, 2/3.
const SWEEP_DIALS: [f64; 8] = [-0.7, -0.65, -0.6, -0.55, -0.4, -0.3, -0.2, -0.1];

/// Budgets of a sweep: from 95 % down to half of the model's layers.
fn sweep_budgets(layers: usize) -> Vec<usize> {
    let shares = [0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5];
    let budgets = shares.map(|share| (share * layers as f64).round() as usize);
    let mut budgets: Vec<usize> = budgets.into_iter().filter(|&b| b > 0 && b < layers).collect();
    budgets.dedup();
    budgets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::policy::dial;

    #[test]
    fn budgets_of_a_sweep_save_layers() {
        assert_eq!(sweep_budgets(30), [29, 27, 26, 24, 21, 18, 15]);
        assert_eq!(sweep_budgets(4), [3, 2]);
        assert_eq!(sweep_budgets(1), [] as [usize; 0]);
    }

    #[test]
    fn dials_of_a_sweep_move_the_threshold_of_a_skip_both_ways() {
        // p(skip) from which a layer is skipped, of two classes; 1/2 for the router itself.
        let threshold = |position: f64| {
            let skips = |p: &f32| {
                let [skip, execute, _] = dial([*p, 1.0 - p, 0.0], position);
                skip > execute
            };
            (0..1000).map(|i| i as f32 / 1000.0).find(skips).unwrap_or(1.0)
        };
        let thresholds: Vec<f32> = SWEEP_DIALS.iter().map(|&d| threshold(d)).collect();
        assert!(
            thresholds.is_sorted() && thresholds[0] > 0.1 && thresholds[7] < 0.9,
            "{thresholds:?}"
        );
        assert!(thresholds[3] < 0.5 && thresholds[4] > 0.5, "{thresholds:?}");
    }
}
