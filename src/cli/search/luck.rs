//! `drllm-tui search luck`: how much of what a search found is luck.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::map::Format;
use crate::cli::UsageError;
use crate::cli::base_model::BaseModelArgs;
use crate::cli::output::{Picture, check_named_once, print, print_json};
use crate::cli::progress::CommandProgress;
use crate::cli::run::stop_on_signals;
use crate::config::Config;
use crate::eval::parallel::for_each_ordered;
use crate::files::{self, Readers};
use crate::model::Model;
use crate::progress::Progress as Step;
use crate::search::luck::{Luck, LuckReport, LuckWriter, report};
use crate::search::records::{Existing, read_records};
use crate::text::escape_controls;

/// Say how much of what a search found is luck: its programs beside random ones of the same lengths and those of other
/// questions; what it chose on the questions in other words, and on other questions.
#[derive(Args, Debug)]
pub struct LuckArgs {
    /// Records of a search
    #[arg(value_name = "RECORDS")]
    records: PathBuf,
    /// Where tries go, a JSON line for each question
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Random programs, and programs of other questions, run on each question; as many as the search's simulations if
    /// absent
    #[arg(long, value_name = "N")]
    tries: Option<usize>,
    /// Only the first N questions
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Run the programs chosen in the other arithmetic too: f32 where the search ran quantised, and the other way round
    #[arg(long)]
    other_arithmetic: bool,
    #[arg(long, default_value_t = 42, value_parser = crate::cli::args::whole::<u64>)]
    seed: u64,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Draw the shares by tries and by depth into FILE
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Go on after the last whole line of --out; where that is done, print the report again
    #[arg(long)]
    resume: bool,
    /// Replace --out, and whatever stands at --svg
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    #[command(flatten)]
    model: BaseModelArgs,
}

/// Runs the command.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, anything else for what failed or was stopped.
pub fn run(args: &LuckArgs) -> Result<()> {
    args.check()?;
    let mut records = read_records(&args.records)?;
    records.examples.truncate(args.limit.unwrap_or(usize::MAX));
    let luck = Luck::new(records, args.tries, args.seed)?;
    let existing = Existing::from_switches(args.resume, args.force);
    existing.check(&args.out)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let (model, other) = load(args, &luck, &stop)?;
    let header = luck.header(args.other_arithmetic);
    let (mut writer, mut done) = LuckWriter::open(&args.out, &header, luck.questions(), existing)?;
    let total = luck.questions().len();
    let progress = CommandProgress::new();
    progress.count(Step::new("trying", done.len(), total));
    for_each_ordered(
        done.len()..total,
        args.model.threads_for(&model),
        &stop,
        |index| luck.measure(index, &model, other.as_ref(), &stop),
        |index, question| {
            writer.write(&question)?;
            done.push(question);
            progress.count(Step::new("trying", index + 1, total));
            Ok(())
        },
    )?;
    progress.finish();
    if stop.load(Ordering::Relaxed) && done.len() < total {
        bail!(
            "stopped after {} of {total} questions; continue with --resume",
            done.len()
        );
    }
    let report = LuckReport::new(&header, &luck.records().examples, &done);
    if let Some(path) = &args.svg {
        let cannot = || format!("cannot draw the shares into {}", path.display());
        files::write(path, report.svg().as_bytes(), Readers::All).with_context(cannot)?;
    }
    match args.format {
        Format::Text => print(&report.text()),
        Format::Json => print_json(&serde_json::to_value(&report)?, true),
    }
}

/// The model of the records, in their arithmetic, and in the other one where that is asked for.
fn load(args: &LuckArgs, luck: &Luck, stop: &AtomicBool) -> Result<(Model, Option<Model>)> {
    let header = &luck.records().header;
    let in_arithmetic = |exact: bool| {
        let mut base = args.model.clone();
        base.exact = exact;
        if !exact {
            base.activations = header.activations;
        }
        base.load(stop)
    };
    let model = in_arithmetic(header.exact)?;
    ensure!(
        model.info.sha256 == header.model_sha256 && model.info.layers == header.layers,
        "{} holds programs of {}, and the model is {}: name that one with --model",
        args.records.display(),
        escape_controls(&header.model),
        escape_controls(&model.info.name)
    );
    let other = args
        .other_arithmetic
        .then(|| in_arithmetic(!header.exact))
        .transpose()?;
    Ok((model, other))
}

impl LuckArgs {
    /// Takes what the user configured where the command line says nothing. The arithmetic is that of the records.
    pub(super) fn configure(&mut self, config: &Config) {
        let exact = self.model.exact;
        self.model.configure(config);
        self.model.exact = exact;
    }

    fn check(&self) -> Result<()> {
        let refused = |message: &str| Err(UsageError::new(message).into());
        if self.tries == Some(0) {
            return refused("--tries is 0: expected at least 1");
        }
        if self.tries.is_some_and(|tries| tries > 100_000) {
            return refused("--tries is above 100000");
        }
        if self.limit == Some(0) {
            return refused("--limit is 0: expected at least 2; leave it out to take all questions");
        }
        if self.model.exact {
            return refused("--exact: the arithmetic is that of the records; --other-arithmetic adds the other one");
        }
        let written: Vec<&PathBuf> = std::iter::once(&self.out).chain(&self.svg).collect();
        let model = self.model.files();
        let read: Vec<&PathBuf> = std::iter::once(&self.records).chain(&model).collect();
        check_named_once(&written, &read)?;
        let picture = |path| Picture {
            path,
            option: "--svg",
            what: "the shares",
            words: report::TITLE,
        };
        let picture = self.svg.as_deref().map(picture);
        picture.map_or(Ok(()), |picture| picture.check(self.force))
    }
}
