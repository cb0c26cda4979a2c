//! `drllm-tui diff`: two traces held against each other, with the exit codes of diff(1).

mod text;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::output;
use super::trace_file::read_trace;
use crate::program::Program;
use crate::trace::diff::cells::Decisions;
use crate::trace::diff::fields::{FieldDifference, changed_fields};
use crate::trace::diff::{Comparison, Cost, Totals};
use crate::trace::{StopReason, Trace};

/// Compare two traces: where their texts part, changed decisions, depth, cost and settings.
///
/// Exits with 0 if they are alike, 1 if they differ, 2 in trouble. Times, device and version are
/// shown and never count.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The earlier trace; `-` reads standard input
    #[arg(value_name = "A")]
    before: PathBuf,
    /// The later one
    #[arg(value_name = "B")]
    after: PathBuf,
    /// What alone has to be alike; everything if absent
    #[arg(long, value_enum)]
    only: Option<Only>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Print nothing; the exit code says it
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Prompt and answer
    Tokens,
    /// Every token's program and decisions
    Decisions,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

/// Runs the command; the exit code.
///
/// # Errors
/// Whatever is in the way of a comparison; its exit code is 2.
pub fn run(args: &DiffArgs) -> Result<u8> {
    let report = report(args)?;
    match args.format {
        _ if args.quiet => {}
        Format::Text => output::print(&text::print(&report))?,
        Format::Json => output::print_json(&serde_json::to_value(&report)?, true)?,
    }
    Ok(u8::from(!report.alike))
}

fn report(args: &DiffArgs) -> Result<Report> {
    let stdin = |path: &Path| path.as_os_str() == "-";
    ensure!(
        !(stdin(&args.before) && stdin(&args.after)),
        "both traces are `-`: standard input holds one of them, name a file for the other"
    );
    let (before, after) = (read_trace(&args.before)?, read_trace(&args.after)?);
    let names = [&args.before, &args.after].map(|path| path.display().to_string());
    Ok(Report::new(names, [&before, &after], args.only))
}

/// In what two runs can differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Aspect {
    Model,
    Routers,
    Settings,
    Prompt,
    Tokens,
    /// Why the answer ended.
    Stop,
    Decisions,
}

impl Aspect {
    fn name(self) -> &'static str {
        match self {
            Aspect::Model => "model",
            Aspect::Routers => "routers",
            Aspect::Settings => "settings",
            Aspect::Prompt => "prompt",
            Aspect::Tokens => "tokens",
            Aspect::Stop => "stop",
            Aspect::Decisions => "decisions",
        }
    }

    fn counts(self, only: Option<Only>) -> bool {
        match only {
            None => true,
            Some(Only::Tokens) => matches!(self, Aspect::Prompt | Aspect::Tokens),
            Some(Only::Decisions) => self == Aspect::Decisions,
        }
    }
}

/// What the command says. `[a, b]` are the earlier and the later run.
#[derive(Debug, Serialize)]
struct Report {
    alike: bool,
    /// In what they differ, as far as it counts.
    differ: Vec<Aspect>,
    a: Run,
    b: Run,
    fields: Vec<FieldDifference>,
    same_prompt: bool,
    diverges: Option<Divergence>,
    /// Absent for models with different numbers of layers.
    decisions: Option<Decisions>,
}

#[derive(Debug, Serialize)]
struct Run {
    file: String,
    prompt_tokens: usize,
    layers: usize,
    /// Of the prompt.
    program: Program,
    #[serde(flatten)]
    totals: Totals,
    #[serde(flatten)]
    cost: Cost,
    stop: Option<StopReason>,
}

/// The first answer token that differs.
#[derive(Debug, Serialize)]
struct Divergence {
    /// From 0 at the answer's first token.
    token: usize,
    /// Its id and text in both runs; null where the run has ended.
    a: Option<Token>,
    b: Option<Token>,
}

#[derive(Debug, Serialize)]
struct Token {
    id: u32,
    text: String,
}

impl Report {
    fn new(files: [String; 2], traces: [&Trace; 2], only: Option<Only>) -> Report {
        let [before, after] = traces;
        let comparison = Comparison::new(before, after);
        let fields = changed_fields(&before.header, &after.header);
        let decisions = Decisions::compare(before, after);
        let stop = |trace: &Trace| trace.summary.as_ref().map(|s| s.stop);
        let changed = |group: &str| fields.iter().any(|f| f.group() == group);
        let aspects = [
            (Aspect::Model, changed("model")),
            (Aspect::Routers, changed("routers")),
            // Before the point where a run was branched off, other settings held.
            (Aspect::Settings, changed("settings") || changed("branch")),
            (Aspect::Prompt, !comparison.same_prompt),
            (Aspect::Tokens, comparison.diverges.is_some()),
            (Aspect::Stop, stop(before) != stop(after)),
            (Aspect::Decisions, !decisions.as_ref().is_some_and(Decisions::alike)),
        ];
        let counting = aspects
            .into_iter()
            .filter(|(aspect, differs)| *differs && aspect.counts(only));
        let differ: Vec<Aspect> = counting.map(|(aspect, _)| aspect).collect();
        let token = |trace: &Trace, at: usize| {
            let step = trace.steps.get(at)?;
            Some(Token {
                id: step.id,
                text: step.text.clone(),
            })
        };
        let run = |file: String, trace: &Trace, totals: Totals| Run {
            file,
            prompt_tokens: trace.header.prompt.len(),
            layers: trace.layers(),
            program: trace.header.program.clone(),
            totals,
            cost: Cost::of(trace),
            stop: stop(trace),
        };
        let [a, b] = files;
        Report {
            alike: differ.is_empty(),
            differ,
            a: run(a, before, comparison.before),
            b: run(b, after, comparison.after),
            fields,
            same_prompt: comparison.same_prompt,
            diverges: comparison.diverges.map(|at| Divergence {
                token: at,
                a: token(before, at),
                b: token(after, at),
            }),
            decisions,
        }
    }
}
