//! `drllm-tui train`: routers from search records.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::UsageError;
use super::base_model::BaseModelArgs;
use super::counter::Counter;
use super::run::stop_on_signals;
use crate::model::Model;
use crate::router::checkpoint::DEFAULT_WINDOWS;
use crate::router::{RouterInfo, RouterSet};
use crate::search::read_records;
use crate::train::trainer::{EpochReport, TrainEvent, TrainPlan, metadata};
use crate::train::{Dataset, Features, TrainSettings, train};

/// Train routers on the records of a search.
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// Records of `drllm-tui search`; several files are taken together
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    records: Vec<PathBuf>,
    /// Where the routers go (safetensors)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[arg(long, value_name = "N", default_value_t = TrainSettings::default().epochs)]
    epochs: usize,
    /// Greatest learning rate
    #[arg(long, default_value_t = TrainSettings::default().learning_rate)]
    lr: f64,
    /// Examples a step
    #[arg(long, value_name = "N", default_value_t = TrainSettings::default().batch)]
    batch: usize,
    #[arg(long, default_value_t = TrainSettings::default().seed)]
    seed: u64,
    /// Windows of the pooling, W
    #[arg(long, value_name = "W", default_value_t = DEFAULT_WINDOWS)]
    windows: usize,
    /// Width of the routers' hidden layer, r
    #[arg(long, value_name = "R", default_value_t = TrainSettings::default().width)]
    width: usize,
    /// γ of the focal loss; 0 is weighted cross-entropy
    #[arg(long, default_value_t = TrainSettings::default().gamma)]
    gamma: f64,
    /// Train on standardised hidden states (folded into the first layer of the checkpoint)
    #[arg(long)]
    standardise: bool,
    /// Least share of examples that the search turned from wrong to right; others are left out
    #[arg(long, value_name = "SHARE", default_value_t = 0.3)]
    corrected_share: f64,
    /// Write the metrics of every epoch here, as JSON lines
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    model: BaseModelArgs,
}

/// Runs the command.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, anything else for what failed or was stopped.
pub fn run(args: TrainArgs) -> Result<()> {
    let threads = args.model.threads()?;
    let settings = args.settings()?;
    for path in [Some(&args.out), args.metrics.as_ref()].into_iter().flatten() {
        if path.exists() && !args.force {
            bail!("{} exists already; replace it with --force", path.display());
        }
        check_folder(path)?;
    }
    let records = args.records.iter().map(|path| read_records(path));
    let records = records.collect::<Result<Vec<_>>>()?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let model = args.model.load(&stop)?;
    let data = Dataset::new(&records, &model.info, args.corrected_share, args.seed)?;
    describe(&data);
    let total = data.examples.len();
    let mut counter = Counter::new("features", 0, total);
    let features = Features::compute(&model, &data.examples, args.windows, threads, &stop, |done| {
        counter.done(done, "")
    })?;
    counter.finish();
    let Some(mut features) = features else {
        bail!("stopped before training; nothing was written");
    };
    let mut log = Log::default();
    let trained = train(&data, &mut features, &settings, &stop, &mut |event| log.tell(&event))?;
    let Some(trained) = trained else {
        bail!("stopped while training; nothing was written");
    };
    let mut metadata = metadata(&trained, &data, args.windows);
    metadata.insert("base_model".into(), model.info.name.clone());
    metadata.insert("base_model_sha256".into(), model.info.sha256.clone());
    metadata.insert("config_sha256".into(), model.decoder.config().shape_sha256());
    if let Some(path) = &args.metrics {
        write_whole(path, log.lines.as_bytes())?;
    }
    let routers = routers(&model, &args, trained.routers, metadata);
    routers.save(&args.out)?;
    eprintln!(
        "routers of epoch {} (macro-F1 {:.3} on {} held-out examples) in {}",
        trained.best.epoch,
        trained.best.validation.macro_f1,
        trained.plan.validation_examples,
        args.out.display()
    );
    Ok(())
}

impl TrainArgs {
    fn settings(&self) -> Result<TrainSettings> {
        let ranges = [
            ("--epochs", self.epochs as f64, 1.0, 100_000.0),
            ("--batch", self.batch as f64, 1.0, 65_536.0),
            ("--windows", self.windows as f64, 1.0, 4096.0),
            ("--width", self.width as f64, 1.0, 65_536.0),
            ("--lr", self.lr, 1e-12, 10.0),
            ("--gamma", self.gamma, 0.0, 10.0),
            ("--corrected-share", self.corrected_share, 0.0, 1.0),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(UsageError::new(format!("{name} is {value}: expected {least} to {most}")).into());
            }
        }
        Ok(TrainSettings {
            epochs: self.epochs,
            learning_rate: self.lr,
            batch: self.batch,
            width: self.width,
            gamma: self.gamma,
            standardise: self.standardise,
            seed: self.seed,
            ..TrainSettings::default()
        })
    }
}

fn describe(data: &Dataset) {
    let corrected = data.examples.iter().filter(|e| e.corrected).count();
    eprintln!(
        "{} examples, {corrected} of them corrected by the search; left out: {} without a right program, {} questions \
         seen before, {} to keep the share of corrected ones",
        data.examples.len(),
        data.unsolved,
        data.duplicates,
        data.thinned
    );
}

fn routers(
    model: &Model,
    args: &TrainArgs,
    layers: Vec<crate::router::MlpRouter>,
    metadata: std::collections::HashMap<String, String>,
) -> RouterSet {
    RouterSet {
        layers,
        windows: args.windows,
        width: args.width,
        hidden_size: model.decoder.config().hidden_size,
        metadata,
        info: RouterInfo {
            windows: args.windows,
            width: args.width,
            ..RouterInfo::default()
        },
    }
}

/// The metrics as JSON lines, and for people on standard error.
#[derive(Default)]
struct Log {
    lines: String,
}

impl Log {
    fn tell(&mut self, event: &TrainEvent) -> Result<()> {
        self.lines += &match event {
            TrainEvent::Plan(plan) => {
                print_plan(plan);
                serde_json::to_string(plan)?
            }
            TrainEvent::Epoch(report) => {
                print_epoch(report);
                serde_json::to_string(report)?
            }
        };
        self.lines.push('\n');
        Ok(())
    }
}

fn print_plan(plan: &TrainPlan) {
    let [skip, execute, repeat] = plan.class_counts;
    let [w_skip, w_execute, w_repeat] = plan.class_weights;
    eprintln!(
        "{} examples to train on, {} held out; {} steps, {} of them warm-up\ndecisions: {skip} skip, {execute} execute, \
         {repeat} repeat; class weights {w_skip:.3}, {w_execute:.3}, {w_repeat:.3}\nepoch   loss  held-out loss  \
         macro-F1   skip  execute  repeat  depth (target)",
        plan.train_examples, plan.validation_examples, plan.steps, plan.warm_up_steps
    );
}

fn print_epoch(report: &EpochReport) {
    let m = &report.validation;
    let f1 = |f1: Option<f64>| f1.map_or("-".into(), |f1| format!("{f1:.3}"));
    eprintln!(
        "{:>5}  {:.4}  {:>13.4}  {:>8.3}  {:>5}  {:>7}  {:>6}  {:.2} ({:.2}){}",
        report.epoch,
        report.train_loss,
        m.loss,
        m.macro_f1,
        f1(m.f1_skip),
        f1(m.f1_execute),
        f1(m.f1_repeat),
        m.mean_predicted_depth,
        m.mean_target_depth,
        if report.best { "  best" } else { "" }
    );
}

/// The folder a file is written into.
fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Refuses a place that cannot be written before hours of work go into it.
fn check_folder(path: &Path) -> Result<()> {
    tempfile::NamedTempFile::new_in(folder(path))
        .map(drop)
        .with_context(|| format!("cannot write {}; choose another folder", path.display()))
}

/// Writes a file whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
