//! `drllm-tui train --reject`: routers that reject implausible answers.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

use super::{TrainArgs, of_model};
use crate::cli::UsageError;
use crate::cli::counter::Counter;
use crate::engine::{SCOPE, Scope};
use crate::eval::{Question, Task};
use crate::model::Model;
use crate::program::Program;
use crate::router::checkpoint::hex;
use crate::router::{FastRouters, InputNorm, RouterInfo, RouterSet};
use crate::text::escape_controls;
use crate::train::dataset::is_held_out;
use crate::train::rejection::{Rejection, Report, Table, fit};

/// Runs the command on the questions of `--data`.
///
/// # Errors
/// A [`UsageError`] for layers that are no spans of the model's.
pub fn run(args: &TrainArgs, spans: &[String], model: &Model, threads: usize, stop: &AtomicBool) -> Result<()> {
    let layers = model.info.layers;
    let (first, lasts) = parse_spans(spans, layers)?;
    let settings = Rejection {
        seed: args.seed,
        spared: args.spare,
        ..Rejection::new(first, &lasts)
    };
    let tasks = args
        .data
        .iter()
        .map(|path| Task::load(path))
        .collect::<Result<Vec<_>>>()?;
    let questions: Vec<Question> = tasks.iter().flat_map(|t| t.questions.iter().cloned()).collect();
    let mut counter = Counter::new("questions", 0, questions.len());
    let table = Table::measure(model, &questions, &settings, args.windows, threads, stop, |done| {
        counter.done(done, "")
    })?;
    counter.finish();
    let Some(mut table) = table else {
        bail!("stopped while measuring what a rejection costs; nothing was written");
    };
    let mut counter = Counter::new("texts of the model's own", 0, settings.texts);
    if !table.write(model, &settings, threads, stop, |done| counter.done(done, ""))? {
        bail!("stopped while the model wrote text; nothing was written");
    }
    counter.finish();
    let held_out = |&i: &usize| is_held_out(&table.items[i].id, args.validation, args.seed);
    let (held_out, training): (Vec<usize>, Vec<usize>) = (0..table.items.len()).partition(held_out);
    let fitted = fit(&table, &training, &held_out, &settings)?;
    describe("fitted to", &fitted.training, &settings);
    if let Some(report) = &fitted.held_out {
        describe("held out", report, &settings);
    }
    let out = args
        .out
        .as_ref()
        .expect("clap asks for --out where there is no --ablate");
    let routers = RouterSet {
        layers: settings.routers(&fitted, &table),
        windows: args.windows,
        width: settings.width(),
        hidden_size: table.hidden_size,
        input_norm: InputNorm::None,
        metadata: metadata(args, &settings, &tasks, model),
        info: RouterInfo {
            windows: args.windows,
            width: settings.width(),
            ..RouterInfo::default()
        },
        fast: FastRouters::default(),
    };
    routers.save(out)?;
    crate::note!("routers for scope token in {}", out.display());
    Ok(())
}

/// Spans of layers without a gap that begin at the same layer: that one, and their last ones, ascending.
fn parse_spans(texts: &[String], layers: usize) -> Result<(usize, Vec<usize>)> {
    let wrong = |text: &str, why: String| UsageError::new(format!("--reject '{}': {why}", escape_controls(text)));
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
        let why = format!("layers {first} and {other}: all spans begin at the layer whose router judges");
        return Err(wrong(&all, why).into());
    }
    let mut lasts: Vec<usize> = spans.into_iter().map(|(_, last)| last).collect();
    lasts.dedup();
    Ok((first, lasts))
}

fn describe(which: &str, report: &Report, settings: &Rejection) {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let spans = settings.lasts.iter().zip(&report.rejected);
    let spans = spans.map(|(last, &share)| format!("{}-{last} by {}", settings.first, percent(share)));
    crate::note!(
        "{which} {} questions: {} right, {} unmodified; left out: {} of the choices' tokens ({:.2} layers a token), by \
         {} of the questions' and {} of those that the model wrote",
        report.questions,
        percent(report.accuracy),
        percent(report.base),
        spans.collect::<Vec<_>>().join(", "),
        report.layers,
        percent(report.ordinary_rejected),
        percent(report.written_rejected)
    );
}

fn metadata(args: &TrainArgs, settings: &Rejection, tasks: &[Task], model: &Model) -> HashMap<String, String> {
    let spans = settings.lasts.iter().map(|last| format!("{}-{last}", settings.first));
    let data: Vec<&str> = tasks.iter().map(|t| t.sha256.as_str()).collect();
    let entries = [
        ("format", "1".to_owned()),
        ("windows", args.windows.to_string()),
        ("width", settings.width().to_string()),
        ("data_sha256", hex(&Sha256::digest(data.concat()))),
        (SCOPE, Scope::Token.to_string()),
        ("seed", settings.seed.to_string()),
        ("reject", spans.collect::<Vec<_>>().join(",")),
        ("spare", settings.spared.to_string()),
        ("validation", args.validation.to_string()),
    ];
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    entries.into_iter().chain(of_model(model)).collect()
}
