//! `drllm-tui train`: routers from search records.

mod args;
mod depth;
mod log;
mod polar;
mod verifier;
mod ways;

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};

pub use args::TrainArgs;
pub(in crate::cli) use args::{check_told, claim};
pub(in crate::cli) use log::MetricsLines;

use super::output::print;
use super::progress::CommandProgress;
use super::run::stop_on_signals;
use crate::files;
use crate::model::Model;
use crate::paths::cache_dir;
use crate::router::{load_router, metadata_entry};
use crate::search::records::{RecordFile, SKIP_DAMAGED, read_records_advised, read_records_skipping};
use crate::text::{counted, escape_controls};
use crate::train::ablation::{self, Group};
use crate::train::state::{is_state, write_whole};
use crate::train::{RouterDataset, TrainSettings, TrainingRun, checkpoint, curves};
use args::state_path;
use log::Log;

/// Runs the command.
///
/// # Errors
/// [`UsageError`](super::UsageError) for what the arguments got wrong, anything else for what failed
/// or was stopped.
pub fn run(args: TrainArgs) -> Result<()> {
    let threads = args.model.threads();
    args.check_method()?;
    let settings = args.settings()?;
    args.check_places()?;
    let _claim = args.claim()?;
    let records = args.records.iter().map(|path| read(path, args.skip_damaged));
    let records = records.collect::<Result<Vec<_>>>()?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    if args.method == Some(args::TrainMethod::Depth) {
        return depth::run(&args, threads, &stop);
    }
    let model = args.model.load(&stop)?;
    if args.method == Some(args::TrainMethod::Polar) {
        return polar::run(&args, &records, &model, threads, &stop);
    }
    if !args.verifier_spans.is_empty() {
        return verifier::run(&args, &args.verifier_spans, &model, threads, &stop);
    }
    let data = RouterDataset::new(&records, &model.info, args.corrected_share, args.seed)?;
    describe(&data);
    let cache;
    let features = match &args.features {
        Some(folder) => folder,
        None => {
            cache = cache_dir()?.join("features");
            &cache
        }
    };
    let run = TrainingRun {
        model: &model,
        data: &data,
        windows: args.windows,
        exact: args.model.exact,
        features,
        threads,
        stop: &stop,
    };
    match (&args.out, &args.ablate) {
        (Some(out), _) => make(&args, &run, &settings, out),
        (None, groups) => ablate(&args, &run, &settings, groups.as_deref().unwrap_or_default()),
    }
}

fn read(path: &Path, skip_damaged: bool) -> Result<RecordFile> {
    if !skip_damaged {
        return read_records_advised(path, SKIP_DAMAGED);
    }
    let (file, damaged) = read_records_skipping(path)?;
    damaged
        .iter()
        .for_each(|line| crate::note!("left out: {}", escape_controls(&format!("{line:#}"))));
    Ok(file)
}

fn describe(data: &RouterDataset) {
    let corrected = data.examples.iter().filter(|e| e.corrected).count();
    crate::note!(
        "{}, {corrected} of them corrected by the search; left out: {} without a right program, {} \
         seen before, {} to keep the share of corrected ones",
        counted(data.examples.len(), "example"),
        data.unsolved,
        counted(data.duplicates, "question"),
        data.thinned
    );
}

/// Trains, and saves the routers.
fn make(args: &TrainArgs, run: &TrainingRun, settings: &TrainSettings, out: &Path) -> Result<()> {
    if is_finished(args, out, run.model, &run.metadata(settings))? {
        return Ok(());
    }
    let progress = CommandProgress::new();
    let features = run.features(&[args.windows], &mut |step| progress.count(step))?;
    progress.finish();
    let Some([features]) = features.as_deref() else {
        bail!(NO_FEATURES);
    };
    let state = state_path(out);
    if !args.resume && state.exists() {
        std::fs::remove_file(&state).with_context(|| format!("cannot remove {}", state.display()))?;
    }
    let mut log = Log::new(args.metrics.as_deref())?;
    let trained = run.train(settings, features, Some(&state), &mut |event| log.tell(&event))?;
    let Some(trained) = trained else {
        bail!(
            "stopped after {} of {} epochs; go on with --resume",
            log.reports.len(),
            settings.epochs
        );
    };
    if let Some(path) = &args.curves {
        write_whole(path, curves::svg(&log.reports).as_bytes())?;
    }
    crate::note!("{}", curves::terminal(&log.reports).trim_end());
    run.routers(&trained)?.save(out)?;
    // What is left of it would only be in the way.
    let _ = std::fs::remove_file(&state);
    crate::note!(
        "routers of epoch {} (macro-F1 {:.3} on {} held-out examples) in {}",
        trained.best.epoch,
        trained.best.validation.macro_f1,
        trained.plan.validation_examples,
        out.display()
    );
    Ok(())
}

const NO_FEATURES: &str = "stopped while computing features; those so far will be used by the next training";

/// Trains with one setting changed at a time, and prints what each came to.
fn ablate(args: &TrainArgs, run: &TrainingRun, settings: &TrainSettings, groups: &[Group]) -> Result<()> {
    let all = <Group as clap::ValueEnum>::value_variants();
    let groups = if groups.is_empty() { all } else { groups };
    let progress = CommandProgress::new();
    let ablation = run.ablate(settings, groups, &mut |step| progress.count(step))?;
    progress.finish();
    let ablation = ablation.context(NO_FEATURES)?;
    // What is done took long enough to be worth seeing.
    print(&ablation::print(&ablation.rows, args.format))?;
    ensure!(ablation.complete, "stopped after {} trainings", ablation.rows.len());
    Ok(())
}

/// Whether the routers of a training that is gone on with are there already: a job that is submitted
/// again succeeds. What its last moments may have left is removed.
///
/// # Errors
/// Other routers stand there; they are not replaced.
fn is_finished(args: &TrainArgs, out: &Path, model: &Model, expected: &[(&str, String)]) -> Result<bool> {
    if !args.resume || !files::stands(out) {
        return Ok(false);
    }
    load_router(out).context("--resume goes on with routers, or replaces them with --force")?;
    let metadata = |key: &str| metadata_entry(BufReader::new(files::open(out).ok()?), key);
    if let Some(key) = checkpoint::differs(metadata, model, expected) {
        if args.force {
            return Ok(false);
        }
        bail!(
            "{} holds routers of another training (its metadata differ in {key}); choose another --out, or replace them \
             with --force",
            out.display()
        );
    }
    let state = state_path(out);
    if is_state(&state) {
        std::fs::remove_file(&state).with_context(|| format!("cannot remove {}", state.display()))?;
    }
    crate::note!("the routers of this training are in {} already", out.display());
    Ok(true)
}
