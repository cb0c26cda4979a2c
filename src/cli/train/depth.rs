//! `drllm-tui train --method depth`: depth routers from prompts and the model alone.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Result, bail};

use super::args::state_path;
use super::log::MetricsLines;
use super::{TrainArgs, is_finished};
use crate::cli::progress::CommandProgress;
use crate::eval::text::Prompts;
use crate::eval::text::answers::most_answer;
use crate::line_file::Existing;
use crate::model::gradient::{FrozenModel, Precision};
use crate::progress::Progress as Step;
use crate::text::counted;
use crate::train::depth::calibrate::{begin_with, calibrate, checkpoint};
use crate::train::depth::state::DepthKey;
use crate::train::depth::trainer::DepthJob;
use crate::train::depth::{curves, texts, train};
use crate::train::state::write_whole;
use crate::train::trainer::TRAINING;

/// Runs the command.
///
/// # Errors
/// A [`UsageError`](crate::cli::UsageError) for numbers out of range; prompts, files and models that do not serve.
pub fn run(args: &TrainArgs, threads: usize, stop: &AtomicBool) -> Result<()> {
    let mut settings = args.depth_settings()?;
    let prompts = match args.depth.prompts.as_slice() {
        [] => None,
        paths => Some(Prompts::read(paths)?),
    };
    let out = args
        .out
        .as_ref()
        .expect("clap asks for --out where there is no --ablate");
    let model = args.model.load(stop)?;
    let prompts = prompts.unwrap_or_else(|| Prompts::of_model(&model.decoder));
    settings.answer_tokens = most_answer(&model.decoder, settings.answer_tokens);
    let from = args.depth.from.as_deref();
    let from = from.map(|path| begin_with(path, &settings, &model)).transpose()?;
    let (from, from_sha256) = from.unzip();
    let expected = [
        ("data_sha256", prompts.sha256.clone()),
        (TRAINING, serde_json::to_string(&settings)?),
    ];
    if is_finished(args, out, &model, &expected)? {
        return Ok(());
    }
    // Before minutes of writing texts.
    FrozenModel::check(&model.decoder)?;
    let started = Instant::now();
    let existing = match args.resume {
        true => Existing::Resume,
        false => Existing::Overwrite,
    };
    let (texts_at, state_at) = (texts_path(out), state_path(out));
    if !args.resume && state_at.exists() {
        std::fs::remove_file(&state_at)?;
    }
    let progress = CommandProgress::new();
    let count = settings.texts + settings.held_out;
    progress.count(Step::new("answers", 0, count));
    let texts = texts::write(
        &model,
        &prompts,
        &settings,
        (&texts_at, existing),
        threads,
        stop,
        |done| progress.count(Step::new("answers", done, count)),
    )?;
    progress.finish();
    let Some(texts) = texts else {
        bail!("stopped while the model wrote its answers; go on with --resume");
    };
    let tokens: usize = texts.training.iter().map(|text| text.answer.len()).sum();
    crate::note!(
        "{} of {tokens} tokens to train on, {} held out; {:.0} s so far",
        counted(texts.training.len(), "answer"),
        texts.held_out.len(),
        started.elapsed().as_secs_f64()
    );
    let key = DepthKey {
        format: 2,
        settings: settings.clone(),
        model_sha256: model.info.sha256.clone(),
        iterations: model.info.other_iterations(),
        prompts_sha256: prompts.sha256.clone(),
        from_sha256,
        exact: args.model.exact,
    };
    let frozen = FrozenModel::new(&model.decoder)?.with_precision(Precision::Coarse);
    let job = DepthJob {
        model: &frozen,
        texts: &texts,
        settings: &settings,
        key: &key,
        threads,
        from,
        state: Some(&state_at),
    };
    let mut lines = MetricsLines::new(args.metrics.as_deref())?;
    let mut reports = Vec::new();
    let trained = train(&job, stop, &mut |report| {
        reports.push(*report);
        let note = &format!("; KL {:.3}, {:.1} layers", report.kl, report.depth);
        // The first step after those of a former run begins the count.
        if reports.len() == 1 {
            progress.count(Step::new("steps", report.step - 1, settings.steps));
        }
        progress.count(Step {
            note,
            ..Step::new("steps", report.step, settings.steps)
        });
        lines.write(&serde_json::to_string(report)?)
    })?;
    progress.finish();
    let Some(trained) = trained else {
        bail!(
            "stopped after {} of {} steps; go on with --resume",
            reports.len(),
            settings.steps
        );
    };
    if let Some(path) = &args.curves {
        write_whole(path, curves::svg(&reports).as_bytes())?;
    }
    let frozen = frozen.with_precision(Precision::Full);
    let work = (model.info.layers, threads, stop);
    let table = calibrate(&trained, &frozen, &texts.held_out, work, &mut |step| {
        progress.count(step)
    })?;
    progress.finish();
    let Some(table) = table else {
        bail!("stopped while calibrating; go on with --resume");
    };
    let neutral = table.offset_of(settings.neutral_share * model.info.layers as f64);
    crate::note!("{}", table.print(neutral).trim_end());
    checkpoint(&trained, &table, neutral, (&settings, &key), &model)?.save(out)?;
    let _ = std::fs::remove_file(&state_at);
    crate::note!(
        "depth routers for scope token in {} after {:.0} min; the answers in {} may be removed",
        out.display(),
        started.elapsed().as_secs_f64() / 60.0,
        texts_at.display()
    );
    Ok(())
}

/// Where the answers lie, beside the routers.
fn texts_path(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".texts.jsonl");
    out.with_file_name(name)
}
