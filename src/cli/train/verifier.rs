//! `drllm-tui train --verifier-spans`: token verifiers.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};

use super::TrainArgs;
use crate::cli::UsageError;
use crate::cli::progress::CommandProgress;
use crate::eval::Task;
use crate::model::Model;
use crate::program::Program;
use crate::text::{counted, escape_controls};
use crate::train::verifier::{VerifierJob, VerifierReport, VerifierSettings, train};

/// Runs the command on the questions of `--data`.
///
/// # Errors
/// A [`UsageError`] for layers that are no spans of the model's.
pub fn run(args: &TrainArgs, spans: &[String], model: &Model, threads: usize, stop: &AtomicBool) -> Result<()> {
    let layers = model.info.layers;
    let (first, lasts) = parse_spans(spans, layers)?;
    let settings = VerifierSettings {
        seed: args.seed,
        spared: args.spare,
        ..VerifierSettings::new(first, &lasts)
    };
    let tasks = args
        .data
        .iter()
        .map(|path| Task::load(path))
        .collect::<Result<Vec<_>>>()?;
    let job = VerifierJob {
        model,
        tasks: &tasks,
        settings: &settings,
        windows: args.windows,
        validation: args.validation,
        threads,
        stop,
    };
    let progress = CommandProgress::new();
    let trained = train(&job, &mut |step| progress.count(step))?;
    progress.finish();
    let (routers, fitted) = trained.context("stopped before the verifier was fitted; nothing was written")?;
    describe("fitted to", &fitted.training, &settings);
    if let Some(report) = &fitted.held_out {
        describe("held out", report, &settings);
    }
    let out = args
        .out
        .as_ref()
        .expect("clap asks for --out where there is no --ablate");
    routers.save(out)?;
    crate::note!("routers for scope token in {}", out.display());
    Ok(())
}

/// Spans of layers without a gap that begin at the same layer: that one, and their last ones, ascending.
fn parse_spans(texts: &[String], layers: usize) -> Result<(usize, Vec<usize>)> {
    let wrong =
        |text: &str, why: String| UsageError::new(format!("--verifier-spans '{}': {why}", escape_controls(text)));
    let mut spans = Vec::with_capacity(texts.len());
    for text in texts {
        let program = Program::parse(text, layers).map_err(|e| wrong(text, e.to_string()))?;
        match (program.layers().first(), program.layers().last()) {
            (Some(&first), Some(&last)) if program.layers().iter().copied().eq(first..=last) => {
                spans.push((first, last));
            }
            _ => return Err(wrong(text, "expected layers that follow each other, like 17-27".into()).into()),
        }
    }
    spans.sort_unstable();
    let all = texts.join(",");
    let (Some(&(first, _)), Some(&(other, _))) = (spans.first(), spans.last()) else {
        return Err(wrong(&all, "expected layers, like 17-27".into()).into());
    };
    if first != other {
        let why = format!("layers {first} and {other}: all spans begin at the layer whose router is the verifier");
        return Err(wrong(&all, why).into());
    }
    let mut lasts: Vec<usize> = spans.into_iter().map(|(_, last)| last).collect();
    lasts.dedup();
    Ok((first, lasts))
}

fn describe(which: &str, report: &VerifierReport, settings: &VerifierSettings) {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let spans = settings.lasts.iter().zip(&report.skipped);
    let spans = spans.map(|(last, &share)| format!("{}-{last} by {}", settings.first, percent(share)));
    crate::note!(
        "{which} {}: {} right, {} unmodified; left out: {} of the choices' tokens ({:.2} layers a token), by \
         {} of the questions' and {} of those that the model wrote",
        counted(report.questions, "question"),
        percent(report.accuracy),
        percent(report.base),
        spans.collect::<Vec<_>>().join(", "),
        report.layers,
        percent(report.ordinary_skipped),
        percent(report.written_skipped)
    );
}
