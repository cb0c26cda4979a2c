//! `drllm-tui eval-lm`: what a model of `train-lm` can do, and what its loop does.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};
use candle_core::Device;
use clap::Args;

use super::UsageError;
use super::args::iterations;
use super::output::{print, print_json};
use super::progress::CommandProgress;
use super::run::stop_on_signals;
use super::table::{self, Cell, Table};
use crate::eval::parallel::default_threads;
use crate::eval::problems::LmTask;
use crate::eval::report::ReportFormat;
use crate::model::catalog::BUILT_IN as BUILT_IN_MODEL;
use crate::model::loopmoe::BUILT_IN;
use crate::model::loopmoe::file::{LoopMoeFile, load, parse};
use crate::progress::Progress as Step;
use crate::train::lm::evaluate::{ProblemBatch, ProblemScore, ProblemSet, evaluate, problems};
use crate::train::lm::inside::{Inside, Iteration, Pair};

/// Problems a task whose inside is looked at, of its middle difficulty.
const LOOKED_AT: usize = 50;

/// Measure a model of `train-lm`: accuracy by task and difficulty, at other numbers of iterations, and what the loop does
#[derive(Args, Debug)]
pub struct EvalLmArgs {
    /// What `drllm-tui train-lm` made, or `loopmoe`, the model inside this program
    model: PathBuf,
    /// Problems of each task and difficulty
    #[arg(long, value_name = "N", default_value_t = 200)]
    problems: usize,
    /// Numbers of iterations, 1 to 8, like '1,2,4' [default: that of the training]
    #[arg(long, value_name = "K", value_delimiter = ',', value_parser = iterations)]
    iterations: Vec<usize>,
    /// Kinds of problems [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    tasks: Vec<LmTask>,
    /// Of the problems, which no training with another seed has seen
    #[arg(long, default_value_t = 7, value_parser = crate::cli::args::whole::<u64>)]
    seed: u64,
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
    /// Questions answered at once; changes no result [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Runs the command.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, a file that is no such model, and being stopped.
pub fn run(args: &EvalLmArgs) -> Result<()> {
    let ranges = [
        ("--problems", args.problems, 100_000),
        ("--threads", args.threads.unwrap_or(1), 1024),
    ];
    for (name, value, most) in ranges {
        if !(1..=most).contains(&value) {
            return Err(UsageError::new(format!("{name} is {value}: expected 1 to {most}")).into());
        }
    }
    let file = match args.model.to_str() {
        Some(BUILT_IN_MODEL) if !args.model.exists() => parse(BUILT_IN, &Device::Cpu)?,
        _ => load(&args.model, &Device::Cpu)?,
    };
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let questions = args.questions(&file)?;
    let progress = CommandProgress::new();
    progress.count(Step::new("questions", 0, questions.len()));
    let threads = args.threads.unwrap_or_else(default_threads);
    let asked = (args.problems, args.seed);
    let scores = evaluate(&file.model, &file.words, &questions, asked, threads, &stop, |done| {
        progress.count(Step::new("questions", done, questions.len()));
    })?;
    progress.finish();
    let Some(scores) = scores else {
        bail!("stopped; nothing was kept, use fewer --problems or --tasks");
    };
    let (iterations, pairs) = inside(&file, args.seed)?;
    let tables = [
        vec![by_difficulty(&scores)],
        by_iterations(&scores),
        inside_tables(&iterations, &pairs),
    ]
    .concat();
    match args.format {
        ReportFormat::Text => print(&table::text(&tables)),
        ReportFormat::Markdown => print(&table::markdown(&tables)),
        ReportFormat::Csv => print(&table::csv(&tables)),
        ReportFormat::Json => {
            let all = serde_json::json!({
                "config": file.model.config(), "bytes": file.bytes, "seed": args.seed,
                "scores": scores, "iterations": iterations, "pairs": pairs,
            });
            print_json(&all, true)
        }
    }
}

impl EvalLmArgs {
    fn questions(&self, file: &LoopMoeFile) -> Result<Vec<ProblemSet>> {
        let config = file.model.config();
        let mut all = self.iterations.clone();
        if all.is_empty() {
            all.push(config.iterations);
        }
        if config.body_layers == 0 && all != [1] {
            return Err(UsageError::new("this model has no loop: leave --iterations out").into());
        }
        let tasks = if self.tasks.is_empty() {
            LmTask::ALL.to_vec()
        } else {
            self.tasks.clone()
        };
        let mut questions = Vec::new();
        for &iterations in &all {
            for &task in &tasks {
                questions.extend((1..=task.hardest()).map(|difficulty| ProblemSet {
                    task,
                    difficulty,
                    iterations,
                }));
            }
        }
        Ok(questions)
    }
}

/// Runs some problems of each task at the trained number of iterations and looks inside.
fn inside(file: &LoopMoeFile, seed: u64) -> Result<(Vec<Iteration>, Vec<Pair>)> {
    let config = file.model.config();
    let mut inside = Inside::new(config.prefix_layers, config.body_layers);
    for task in LmTask::ALL {
        let asked = problems(task, task.trained().div_ceil(2), LOOKED_AT, seed);
        // One by one: filled-up ends would count as tokens.
        for problem in asked {
            ProblemBatch::new(&[problem], &file.words, &Device::Cpu)?.solved(
                &file.model,
                config.iterations,
                &mut inside,
            )?;
        }
    }
    Ok(inside.finish())
}

fn row_of(name: String, right: usize, of: usize) -> Vec<Cell> {
    let (low, high) = crate::eval::statistics::wilson(right, of);
    vec![
        Cell::Text(name),
        Cell::Count(right),
        Cell::Count(of),
        Cell::Number(100.0 * right as f64 / of.max(1) as f64, 1),
        Cell::Number(100.0 * low, 1),
        Cell::Number(100.0 * high, 1),
    ]
}

const HEADINGS: [&str; 6] = ["", "right", "of", "accuracy, %", "low", "high"];

fn by_difficulty(scores: &[ProblemScore]) -> Table {
    let several = scores.iter().any(|s| s.iterations != scores[0].iterations);
    let name = |s: &ProblemScore| {
        let k = if several {
            format!(", K = {}", s.iterations)
        } else {
            String::new()
        };
        format!(
            "{} {}{}{k}",
            s.task.name(),
            s.difficulty,
            if s.trained { "" } else { " (beyond)" }
        )
    };
    Table {
        name: "difficulty",
        title: "accuracy by task and difficulty, with Wilson's 95 % intervals; beyond: harder than any in training"
            .into(),
        headings: HEADINGS.to_vec(),
        rows: scores.iter().map(|s| row_of(name(s), s.right, s.of)).collect(),
    }
}

/// Sums over difficulties, within and beyond training: by task, and of all tasks, for each K.
fn by_iterations(scores: &[ProblemScore]) -> Vec<Table> {
    let mut groups: std::collections::BTreeMap<(bool, usize, Option<LmTask>), (usize, usize)> = Default::default();
    for score in scores {
        for task in [Some(score.task), None] {
            let sum = groups.entry((!score.trained, score.iterations, task)).or_default();
            sum.0 += score.right;
            sum.1 += score.of;
        }
    }
    let table = |beyond: bool| Table {
        name: if beyond { "beyond" } else { "trained" },
        title: match beyond {
            true => "accuracy beyond the difficulties of training".into(),
            false => "accuracy at the difficulties of training".into(),
        },
        headings: HEADINGS.to_vec(),
        rows: groups
            .iter()
            .filter(|((b, _, _), _)| *b == beyond)
            .map(|((_, k, task), &(right, of))| {
                row_of(format!("K = {k}, {}", task.map_or("all", LmTask::name)), right, of)
            })
            .collect(),
    };
    vec![table(false), table(true)]
}

fn inside_tables(iterations: &[Iteration], pairs: &[Pair]) -> Vec<Table> {
    if iterations.is_empty() {
        return Vec::new();
    }
    let iteration = |i: &Iteration| {
        vec![
            Cell::Text(format!("layer {}, iteration {}", i.layer, i.iteration)),
            Cell::number(i.alpha, 3),
            Cell::number(i.alpha_deviation, 3),
            Cell::number(i.gamma_attention, 3),
            Cell::number(i.gamma_moe, 3),
            Cell::number(i.beta_attention, 4),
            Cell::number(i.beta_moe, 4),
            Cell::Number(i.moved, 3),
        ]
    };
    let pair = |p: &Pair| {
        vec![
            Cell::Text(format!("layer {}, iterations {} and {}", p.layer, p.first, p.second)),
            Cell::Number(p.cosine, 3),
            Cell::Number(p.jaccard, 3),
        ]
    };
    vec![
        Table {
            name: "iterations",
            title: "IterAdaLN over tokens, and how far an execution moves the hidden state (‖h' − h‖ / ‖h‖)".into(),
            headings: vec![
                "",
                "α",
                "sd of α",
                "γ attention",
                "γ moe",
                "β attention",
                "β moe",
                "moved",
            ],
            rows: iterations.iter().map(iteration).collect(),
        },
        Table {
            name: "pairs",
            title: "two iterations: cosine of what the router reads, Jaccard index of the chosen experts".into(),
            headings: vec!["", "cosine", "Jaccard"],
            rows: pairs.iter().map(pair).collect(),
        },
    ]
}
