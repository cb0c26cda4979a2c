//! `drllm-tui eval --text`: how far routers lie from the whole model on free text, at what depth.

mod args;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail, ensure};

pub(super) use args::TextArgs;

use super::EvalArgs;
use crate::cli::UsageError;
use crate::cli::output::{print, write_whole};
use crate::cli::progress::CommandProgress;
use crate::cli::run::stop_on_signals;
use crate::cli::table;
use crate::engine::notes::{dial_for_depth, notes};
use crate::engine::{kv_of, load_routers};
use crate::eval::report::ReportFormat;
use crate::eval::text::answers::most_answer;
use crate::eval::text::generation::generate;
use crate::eval::text::report::MeasuredTexts;
use crate::eval::text::sweep::{TextSweep, sweep};
use crate::eval::text::texts::{Limits, ordinary, own};
use crate::eval::text::{DialPosition, HeldOut, TextOrigin, TextReport, curve};
use crate::eval::text::{Prompts, Text};
use crate::model::{Decoder, Model};
use crate::progress::Tell;
use crate::router::Router;
use crate::trace::{KvMode, RouterInfo, Scope, Settings};

/// Texts that the static controls are chosen on.
const STATIC_TEXTS: usize = 16;

/// Thirtieths of the layers that are left out in the mean where the user names no depth.
const LEFT_OUT: [f64; 7] = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0];

/// Files of texts, and the prompts in them where the model writes the answers.
struct Source<'a> {
    files: &'a [PathBuf],
    prompts: Option<Prompts>,
}

impl Source<'_> {
    /// The texts; `None` where it was stopped.
    fn texts(&self, work: &Work, texts: usize, what: &str, tell: Tell) -> Result<Option<HeldOut>> {
        let limits = Limits { texts, ..work.limits };
        match &self.prompts {
            Some(prompts) => own(&work.model, prompts, limits, work.threads, &work.stop, (what, tell)),
            None => ordinary(&work.model, self.files, limits).map(Some),
        }
    }
}

/// The prompts of the files that are measured, and of those that the static controls are chosen on; `None` where no file
/// is named, or files hold whole texts.
///
/// # Errors
/// Files that cannot be read, and options that need some.
fn read_prompts(args: &EvalArgs, files: &[PathBuf]) -> Result<[Option<Prompts>; 2]> {
    let is_own = args.text.kind() == TextOrigin::Own;
    if !is_own && files.is_empty() {
        let message = "--ordinary needs files: name them after --text, for the prompts that ship have no answers";
        return Err(UsageError::new(message).into());
    }
    let read = |files: &[PathBuf]| match files.is_empty() || !is_own {
        true => Ok(None),
        false => Prompts::read(files).map(Some),
    };
    Ok([read(files)?, read(&args.text.train_text)?])
}

/// Where the texts that are measured come from, and those that the static controls are chosen on. A model has prompts of
/// its own where no files are named.
fn sources<'a>(
    args: &'a EvalArgs,
    files: &'a [PathBuf],
    [measured, others]: [Option<Prompts>; 2],
    decoder: &Decoder,
) -> Result<(Source<'a>, Option<Source<'a>>)> {
    let source = |files: &'a [PathBuf], read: Option<Prompts>, own: fn(&Decoder) -> Prompts| Source {
        files,
        prompts: read.or_else(|| files.is_empty().then(|| own(decoder))),
    };
    let measured = source(files, measured, Prompts::held_out_of_model);
    if !args.controls {
        return Ok((measured, None));
    }
    let mut others = source(&args.text.train_text, others, Prompts::of_model);
    if let (Some(prompts), Some(of_measured)) = (&mut others.prompts, &measured.prompts) {
        *prompts = std::mem::take(prompts).without(of_measured);
        if prompts.files.iter().all(Vec::is_empty) {
            return Err(none_apart());
        }
    }
    Ok((measured, Some(others)))
}

/// What all steps of a measurement need.
struct Work {
    model: Model,
    routers: Box<dyn Router>,
    kv: KvMode,
    limits: Limits,
    threads: usize,
    stop: Arc<AtomicBool>,
}

/// Runs the command.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, anything else for what failed or was stopped.
pub(super) fn run(args: &EvalArgs, files: &[PathBuf]) -> Result<()> {
    let mut limits = args.text.limits(args.limit)?;
    args.check_places()?;
    let prompts = read_prompts(args, files)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let model = args.model.load(&stop)?;
    let sources = sources(args, files, prompts, &model.decoder)?;
    limits.answer_tokens = most_answer(&model.decoder, limits.answer_tokens);
    let choice = args.router_choice();
    let Some(routers) = load_routers(&choice, &model)? else {
        let message = format!(
            "--text measures routers, and there are none for {}: give a checkpoint with --routers, as `drllm-tui train \
             --method depth` makes them",
            model.info.name
        );
        return Err(UsageError::new(message).into());
    };
    ensure!(
        !routers.proposes_programs(),
        "--text needs routers of layers, and {} predicts whole programs: choose other routers with --routers",
        crate::text::escape_controls(&routers.info().name)
    );
    let asked = asked(args, routers.info(), model.info.layers)?;
    let kv = args.kv.map_or_else(|| kv_of(&choice, Scope::Token), KvMode::from);
    tell_notes(routers.info(), &asked, kv);
    let work = Work {
        threads: args.model.threads_for(&model),
        model,
        routers,
        kv,
        limits,
        stop,
    };
    let progress = CommandProgress::announcing();
    let report = measure(args, &work, &sources, &asked, &mut |step| progress.count(step));
    progress.finish();
    match report? {
        Some(report) => publish(args, &report),
        None => bail!("stopped; nothing was reported"),
    }
}

/// Writes the texts, reads them under all policies, and has the routers write. `None` where it was stopped.
fn measure(
    args: &EvalArgs,
    work: &Work,
    (source, others): &(Source, Option<Source>),
    asked: &[DialPosition],
    tell: Tell,
) -> Result<Option<TextReport>> {
    let Some(held_out) = source.texts(work, work.limits.texts, "answers", tell)? else {
        return Ok(None);
    };
    tell_passed_over(&held_out);
    let mut training = None;
    if let Some(others) = others {
        let Some(texts) = others.texts(work, STATIC_TEXTS, "answers to choose static programs on", tell)? else {
            return Ok(None);
        };
        training = Some(apart(texts.texts, &held_out)?);
    }
    let job = TextSweep {
        decoder: &work.model.decoder,
        routers: Some(&*work.routers),
        kv: work.kv,
        threads: work.threads,
        stop: &work.stop,
        seed: work.limits.seed,
    };
    let Some(swept) = sweep(&job, &held_out.texts, asked, training.as_deref(), tell)? else {
        return Ok(None);
    };
    let mut generation = Vec::new();
    if args.text.generate {
        let Some(written) = generate(&job, &work.model, &held_out, asked, work.limits, tell)? else {
            return Ok(None);
        };
        generation = written;
    }
    let (model, routers) = (&work.model.info, work.routers.info());
    Ok(Some(TextReport {
        version: env!("CARGO_PKG_VERSION").into(),
        model: model.name.clone(),
        model_sha256: model.sha256.clone(),
        layers: model.layers,
        exact: args.model.exact,
        routers: routers.name.clone(),
        routers_sha256: routers.sha256.clone(),
        kv: work.kv,
        measured: measured(args, (source.files, &work.model.decoder), &held_out, work.limits),
        rows: swept.rows(work.limits.seed),
        comparisons: swept.comparisons(work.limits.seed),
        removal: swept.removal,
        influence: swept.influence,
        generation,
    }))
}

/// The positions of the dial that are measured.
fn asked(args: &EvalArgs, routers: &RouterInfo, layers: usize) -> Result<Vec<DialPosition>> {
    let expected = |dial| routers.calibration.as_ref().and_then(|table| table.expected(dial));
    let at_dial = |&dial: &f64| DialPosition {
        dial,
        depth: None,
        expected: expected(dial),
    };
    let at_depth = |&depth: &f64| {
        let dial = dial_for_depth(Some(routers), depth).map_err(UsageError::new)?;
        let depth = Some(depth);
        Ok(DialPosition {
            depth,
            ..at_dial(&dial)
        })
    };
    let asked = if !args.dial.is_empty() {
        args.dial.iter().map(at_dial).collect()
    } else if !args.depth.is_empty() {
        args.depth.iter().map(at_depth).collect::<Result<Vec<_>>>()?
    } else {
        let Some((least, most)) = routers.calibration.as_ref().and_then(|table| table.depths()) else {
            let message = format!(
                "the routers {} carry no calibration table, so nobody knows the dials of the usual depths: name dials \
                 with --dial, like --dial=-0.6,-0.55,-0.5",
                crate::text::escape_controls(&routers.name)
            );
            return Err(UsageError::new(message).into());
        };
        let depths = usual_depths(layers);
        let known: Vec<f64> = depths.into_iter().filter(|d| (least..=most).contains(d)).collect();
        if known.is_empty() {
            let message = format!(
                "none of the usual depths is among those measured for these routers, {least:.1} to {most:.1}: name some \
                 with --depth"
            );
            return Err(UsageError::new(message).into());
        }
        known.iter().map(at_depth).collect::<Result<Vec<_>>>()?
    };
    for DialPosition { dial, .. } in &asked {
        let settings = Settings {
            dial: *dial,
            ..Settings::default()
        };
        settings.check(layers).map_err(UsageError::new)?;
    }
    Ok(asked)
}

/// Mean depths from one layer of thirty less than all down to four fifths.
fn usual_depths(layers: usize) -> Vec<f64> {
    let all = layers as f64;
    LEFT_OUT.iter().map(|parts| all - parts * all / 30.0).collect()
}

fn tell_notes(routers: &RouterInfo, asked: &[DialPosition], kv: KvMode) {
    let mut said: Vec<String> = Vec::new();
    for at in asked {
        let settings = Settings {
            scope: Scope::Token,
            kv,
            dial: at.dial,
            ..Settings::default()
        };
        for note in notes(Some(routers), &settings) {
            if !said.contains(&note) {
                crate::note!("{note}");
                said.push(note);
            }
        }
    }
}

fn tell_passed_over(held_out: &HeldOut) {
    if held_out.long > 0 {
        crate::note!(
            "{} prompts leave no room in the model's context and are passed over",
            held_out.long
        );
    }
    if held_out.short > 0 {
        crate::note!(
            "{} answers are too short to measure on and are passed over",
            held_out.short
        );
    }
}

fn none_apart() -> anyhow::Error {
    let message = "all texts of --train-text are measured on too: a program chosen on them proves nothing. Give \
                   --train-text others";
    UsageError::new(message).into()
}

/// Texts to choose on that are not measured on.
fn apart(training: Vec<Text>, held_out: &HeldOut) -> Result<Vec<Text>> {
    let is_measured = |text: &Text| held_out.texts.iter().any(|other| other.prompt == text.prompt);
    let before = training.len();
    let training: Vec<Text> = training.into_iter().filter(|text| !is_measured(text)).collect();
    if training.is_empty() {
        return Err(none_apart());
    }
    if training.len() < before {
        let left_out = before - training.len();
        crate::note!("{left_out} texts to choose static programs on are left out: they are measured on");
    }
    Ok(training)
}

fn measured(
    args: &EvalArgs,
    (files, decoder): (&[PathBuf], &Decoder),
    held_out: &HeldOut,
    limits: Limits,
) -> MeasuredTexts {
    let kind = args.text.kind();
    let files = match files {
        [] if decoder.loopmoe().is_some() => vec!["problems of its own, held out".to_owned()],
        [] => vec!["prompts that ship, held out".to_owned()],
        files => files.iter().map(|path| path.display().to_string()).collect(),
    };
    MeasuredTexts {
        kind,
        files,
        texts: held_out.texts.len(),
        tokens: held_out.tokens(),
        passed_over_long: held_out.long,
        passed_over_short: held_out.short,
        answer_tokens: limits.answer_tokens,
        temperature: (kind == TextOrigin::Own).then_some(limits.temperature),
        seed: limits.seed,
    }
}

/// Prints the report and draws its curve.
fn publish(args: &EvalArgs, report: &TextReport) -> Result<()> {
    let tables = tables::tables(report);
    // Files are refused before.
    let text = match args.format.report().unwrap_or_default() {
        ReportFormat::Text => tables::caption(report) + &table::text(&tables) + &curve::terminal(report),
        ReportFormat::Markdown => tables::caption(report) + &table::markdown(&tables),
        ReportFormat::Csv => table::csv(&tables),
        ReportFormat::Json => serde_json::to_string_pretty(report)? + "\n",
    };
    print(&text)?;
    match &args.curve {
        Some(path) => write_whole(path, |out| out.write_all(curve::svg(report).as_bytes())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_depths_go_down_to_four_fifths() {
        assert_eq!(usual_depths(30), [29.0, 28.5, 28.0, 27.0, 26.0, 25.0, 24.0]);
        let of_24 = usual_depths(24);
        assert!((of_24[0] - 23.2).abs() < 1e-9 && (of_24[6] - 19.2).abs() < 1e-9);
    }
}
