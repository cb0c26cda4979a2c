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
use crate::router::{FastRouters, RouterInfo, RouterSet};
use crate::text::escape_controls;
use crate::train::dataset::is_held_out;
use crate::train::rejection::{Rejection, Report, Table, fit};

/// Runs the command on the questions of `--data`.
///
/// # Errors
/// A [`UsageError`] for layers that are no span of the model's.
pub fn run(args: &TrainArgs, span: &str, model: &Model, threads: usize, stop: &AtomicBool) -> Result<()> {
    let layers = model.info.layers;
    let (first, last) = parse_span(span, layers)?;
    let settings = Rejection {
        seed: args.seed,
        skip_logit: args.skip_logit,
        ..Rejection::new(first, last)
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
    let Some(table) = table else {
        bail!("stopped while measuring what a rejection costs; nothing was written");
    };
    let held_out = |&i: &usize| is_held_out(&table.items[i].id, args.validation, args.seed);
    let (held_out, training): (Vec<usize>, Vec<usize>) = (0..table.items.len()).partition(held_out);
    let fitted = fit(&table, &training, &held_out, &settings)?;
    describe("fitted to", &fitted.training);
    if let Some(report) = &fitted.held_out {
        describe("held out", report);
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
        metadata: metadata(args, &settings, &tasks, model),
        info: RouterInfo {
            windows: args.windows,
            width: settings.width(),
            ..RouterInfo::default()
        },
        fast: FastRouters::default(),
    };
    routers.save(out)?;
    eprintln!("routers for scope token in {}", out.display());
    Ok(())
}

/// Layers without a gap, each once.
fn parse_span(text: &str, layers: usize) -> Result<(usize, usize)> {
    let wrong = |why: String| UsageError::new(format!("--reject '{}': {why}", escape_controls(text)));
    let program = Program::parse(text, layers).map_err(|e| wrong(e.to_string()))?;
    match (program.layers().first(), program.layers().last()) {
        (Some(&first), Some(&last)) if program.layers().iter().copied().eq(first..=last) => Ok((first, last)),
        _ => Err(wrong("expected layers that follow each other, like 17-27".into()).into()),
    }
}

fn describe(which: &str, report: &Report) {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    eprintln!(
        "{which} {} questions: {} right, {} unmodified; rejected: {} of the choices' tokens, {} of ordinary text",
        report.questions,
        percent(report.accuracy),
        percent(report.base),
        percent(report.rejected),
        percent(report.ordinary_rejected)
    );
}

fn metadata(args: &TrainArgs, settings: &Rejection, tasks: &[Task], model: &Model) -> HashMap<String, String> {
    let data: Vec<&str> = tasks.iter().map(|t| t.sha256.as_str()).collect();
    let entries = [
        ("format", "1".to_owned()),
        ("windows", args.windows.to_string()),
        ("width", settings.width().to_string()),
        ("data_sha256", hex(&Sha256::digest(data.concat()))),
        (SCOPE, Scope::Token.to_string()),
        ("seed", settings.seed.to_string()),
        ("reject", format!("{}-{}", settings.first, settings.last)),
        ("skip_logit", settings.skip_logit.to_string()),
        ("validation", args.validation.to_string()),
    ];
    let entries = entries.map(|(key, value)| (key.to_owned(), value));
    entries.into_iter().chain(of_model(model)).collect()
}
