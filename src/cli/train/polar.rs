//! `drllm-tui train --method polar`: a predictor of programs from search records.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};

use super::args::state_path;
use super::log::MetricsLines;
use super::{TrainArgs, is_finished};
use crate::cli::progress::CommandProgress;
use crate::model::Model;
use crate::progress::Progress as Step;
use crate::search::records::RecordFile;
use crate::text::counted;
use crate::train::polar::trainer::{Plan, PolarEpochReport, PolarEvent, settings_json};
use crate::train::polar::{Features, PolarRun, ProgramDataset, curves};
use crate::train::state::write_whole;
use crate::train::trainer::TRAINING;

/// Runs the command.
///
/// # Errors
/// A [`UsageError`](crate::cli::UsageError) for numbers out of range; records, files and models that do not serve.
pub fn run(args: &TrainArgs, records: &[RecordFile], model: &Model, threads: usize, stop: &AtomicBool) -> Result<()> {
    let settings = args.polar_settings(model.info.layers)?;
    let data = ProgramDataset::new(records, &model.info, &settings)?;
    let corrected = data.examples.iter().filter(|e| e.corrected).count();
    crate::note!(
        "{} with {}, {corrected} of them corrected by the search; left out: {} without one, {} seen before, {} programs that are no segments of 1 to 4 layers skipped, kept or run twice, {} beyond {} a \
         question",
        counted(data.examples.len(), "question"),
        counted(data.programs, "right program"),
        counted(data.unsolved, "question"),
        data.duplicates,
        data.no_parse,
        data.beyond,
        settings.programs
    );
    let out = args
        .out
        .as_ref()
        .expect("clap asks for --out where there is no --ablate");
    let expected = [
        ("data_sha256", data.sha256.clone()),
        (TRAINING, settings_json(&settings)),
    ];
    if is_finished(args, out, model, &expected)? {
        return Ok(());
    }
    let state = state_path(out);
    if !args.resume && state.exists() {
        std::fs::remove_file(&state).with_context(|| format!("cannot remove {}", state.display()))?;
    }
    let progress = CommandProgress::new();
    let count = data.examples.len();
    progress.count(Step::new("questions", 0, count));
    let features = Features::compute(model, &data.examples, settings.feature_layer, threads, stop, |done| {
        progress.count(Step::new("questions", done, count));
    })?;
    progress.finish();
    let Some(features) = features else {
        bail!("stopped while the questions were read; go on with --resume");
    };
    let run = PolarRun {
        data: &data,
        features: &features,
        settings: &settings,
        model_sha256: &model.info.sha256,
        exact: args.model.exact,
        state: Some(&state),
        stop,
    };
    let mut lines = MetricsLines::new(args.metrics.as_deref())?;
    let mut reports: Vec<PolarEpochReport> = Vec::new();
    let trained = run.train(&mut |event| match event {
        PolarEvent::Plan(plan) => {
            print_plan(plan);
            lines.write(&serde_json::to_string(plan)?)
        }
        PolarEvent::Epoch(report) => {
            print_epoch(report);
            reports.push(report.clone());
            lines.write(&serde_json::to_string(report)?)
        }
    })?;
    let Some(trained) = trained else {
        bail!(
            "stopped after {} of {} epochs; go on with --resume",
            reports.len(),
            settings.epochs
        );
    };
    if let Some(path) = &args.curves {
        write_whole(path, curves::svg(&reports).as_bytes())?;
    }
    trained.predictor(&data, model).save(out)?;
    // What is left of it would only be in the way.
    let _ = std::fs::remove_file(&state);
    crate::note!(
        "predictor of epoch {} (loss {:.4} on {} held-out questions) for scope prompt in {}; `drllm-tui eval` says \
         what it is worth",
        trained.best.epoch,
        trained.best.validation.loss,
        trained.plan.validation_examples,
        out.display()
    );
    Ok(())
}

fn print_plan(plan: &Plan) {
    crate::note!(
        "{} questions to train on, {} held out; {} steps; {} parameters\nepoch    loss  held-out loss  first known right  \
         one of five  standard  depth",
        plan.train_examples,
        plan.validation_examples,
        plan.steps,
        plan.parameters
    );
}

fn print_epoch(report: &PolarEpochReport) {
    let m = &report.validation;
    crate::note!(
        "{:>5}  {:.4}  {:>13.4}  {:>17.3}  {:>11.3}  {:>8.3}  {:.2}{}",
        report.epoch,
        report.train_loss,
        m.loss,
        m.known_first,
        m.known_any,
        m.standard,
        m.depth,
        if report.best { "  best" } else { "" }
    );
}
