//! `drllm-tui train`: routers from search records.

mod args;
mod curves;
mod depth;
mod log;
mod reject;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result, bail};

pub use args::TrainArgs;

use super::counter::Counter;
use super::output::print;
use super::run::stop_on_signals;
use crate::files;
use crate::model::Model;
use crate::paths::cache_dir;
use crate::router::{FastRouters, InputNorm, RouterInfo, RouterSet};
use crate::search::records::{RecordFile, read_records, read_records_skipping};
use crate::text::escape_controls;
use crate::train::ablation::{self, Group, Row, variants};
use crate::train::features::compute;
use crate::train::state::{is_state, write_whole};
use crate::train::trainer::{Job, TRAINING, Trained, metadata, settings_json};
use crate::train::{Dataset, FeatureFile, FeatureKey, FeatureWriter, TrainSettings, train};
use args::state_path;
use log::Log;

/// Runs the command.
///
/// # Errors
/// [`UsageError`](super::UsageError) for what the arguments got wrong, anything else for what failed
/// or was stopped.
pub fn run(args: TrainArgs) -> Result<()> {
    let threads = args.model.threads()?;
    let settings = args.settings()?;
    args.check_places()?;
    let records = args.records.iter().map(|path| read(path, args.skip_damaged));
    let records = records.collect::<Result<Vec<_>>>()?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    if args.method == Some(args::Method::Depth) {
        return depth::run(&args, threads, &stop);
    }
    let model = args.model.load(&stop)?;
    if !args.reject.is_empty() {
        return reject::run(&args, &args.reject, &model, threads, &stop);
    }
    let data = Dataset::new(&records, &model.info, args.corrected_share, args.seed)?;
    describe(&data);
    let place = Place {
        model: &model,
        data: &data,
        args: &args,
        threads,
        stop: &stop,
    };
    match (&args.out, &args.ablate) {
        (Some(out), _) => place.train(&settings, out),
        (None, groups) => place.ablate(&settings, groups.as_deref().unwrap_or_default()),
    }
}

fn read(path: &Path, skip_damaged: bool) -> Result<RecordFile> {
    if !skip_damaged {
        return read_records(path).context("--skip-damaged leaves damaged lines out");
    }
    let (file, damaged) = read_records_skipping(path)?;
    damaged
        .iter()
        .for_each(|line| crate::note!("left out: {}", escape_controls(&format!("{line:#}"))));
    Ok(file)
}

fn describe(data: &Dataset) {
    let corrected = data.examples.iter().filter(|e| e.corrected).count();
    crate::note!(
        "{} examples, {corrected} of them corrected by the search; left out: {} without a right program, {} questions \
         seen before, {} to keep the share of corrected ones",
        data.examples.len(),
        data.unsolved,
        data.duplicates,
        data.thinned
    );
}

/// What every training of a command shares.
struct Place<'a> {
    model: &'a Model,
    data: &'a Dataset,
    args: &'a TrainArgs,
    threads: usize,
    stop: &'a AtomicBool,
}

impl Place<'_> {
    fn train(&self, settings: &TrainSettings, out: &Path) -> Result<()> {
        let expected = [
            ("data_sha256", self.data.sha256.clone()),
            ("windows", self.args.windows.to_string()),
            (TRAINING, settings_json(settings)),
        ];
        if is_finished(self.args, out, self.model, &expected)? {
            return Ok(());
        }
        let features = self.features(&[self.args.windows])?.remove(0);
        let state = state_path(out);
        if !self.args.resume && state.exists() {
            std::fs::remove_file(&state).with_context(|| format!("cannot remove {}", state.display()))?;
        }
        let job = Job {
            data: self.data,
            features: &features,
            settings,
            threads: self.threads,
            state: Some(&state),
        };
        let mut log = Log::new(self.args.metrics.as_deref())?;
        let trained = train(&job, self.stop, &mut |event| log.tell(&event))?;
        let Some(trained) = trained else {
            bail!(
                "stopped after {} of {} epochs; go on with --resume",
                log.reports.len(),
                settings.epochs
            );
        };
        if let Some(path) = &self.args.curves {
            write_whole(path, curves::svg(&log.reports).as_bytes())?;
        }
        crate::note!("{}", curves::terminal(&log.reports).trim_end());
        self.routers(&trained)?.save(out)?;
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

    fn ablate(&self, settings: &TrainSettings, groups: &[Group]) -> Result<()> {
        let all = <Group as clap::ValueEnum>::value_variants();
        let variants = variants(
            self.args.windows,
            settings,
            if groups.is_empty() { all } else { groups },
        );
        let mut windows: Vec<usize> = variants.iter().map(|v| v.windows).collect();
        windows.sort_unstable();
        windows.dedup();
        let features = self.features(&windows)?;
        let mut counter = Counter::new("trainings", 0, variants.len());
        let mut rows: Vec<Row> = Vec::new();
        for variant in variants {
            let at = windows
                .binary_search(&variant.windows)
                .expect("every variant's windows are there");
            let started = Instant::now();
            let job = Job {
                data: self.data,
                features: &features[at],
                settings: &variant.settings,
                threads: self.threads,
                state: None,
            };
            let Some(trained) = train(&job, self.stop, &mut |_| Ok(()))? else {
                // What is done took long enough to be worth seeing.
                print(&ablation::print(&rows, self.args.format))?;
                bail!("stopped after {} trainings", rows.len());
            };
            rows.push(Row {
                variant: variant.name,
                best: trained.best,
                parameters: trained.plan.parameters,
                seconds: started.elapsed().as_secs_f64(),
            });
            counter.done(rows.len(), "");
        }
        counter.finish();
        print(&ablation::print(&rows, self.args.format))
    }

    /// The features for each number of windows, from the disk as far as they are there.
    fn features(&self, windows: &[usize]) -> Result<Vec<FeatureFile>> {
        let folder: PathBuf = match &self.args.features {
            Some(folder) => folder.clone(),
            None => cache_dir()?.join("features"),
        };
        let examples = &self.data.examples;
        let open = |&windows: &usize| {
            let key = FeatureKey::new(self.model, self.args.model.exact, examples, windows);
            let writer = FeatureWriter::open(&folder, key)?;
            let path = writer.path().display();
            let done = writer.done();
            if let Some(damage) = &writer.damage {
                crate::note!(
                    "{path}: {damage}; computing {} of {} examples anew",
                    examples.len() - done,
                    examples.len()
                );
            } else if done > 0 {
                crate::note!(
                    "{path}: the features of {done} of {} examples are there",
                    examples.len()
                );
            }
            Ok(writer)
        };
        let mut writers = windows.iter().map(open).collect::<Result<Vec<_>>>()?;
        let before = writers.iter().map(FeatureWriter::done).min().unwrap_or_default();
        let mut counter = Counter::new("features", before, examples.len());
        let whole = compute(self.model, examples, &mut writers, self.threads, self.stop, |done| {
            counter.done(done, "")
        })?;
        counter.finish();
        if !whole {
            bail!("stopped while computing features; those so far will be used by the next training");
        }
        let files = writers
            .into_iter()
            .map(FeatureWriter::finish)
            .collect::<Result<Vec<_>>>()?;
        if before < examples.len() {
            let bytes: u64 = files.iter().map(FeatureFile::bytes).sum();
            crate::note!(
                "{:.0} MB of features in {}, which may be removed",
                bytes as f64 / 1e6,
                folder.display()
            );
        }
        Ok(files)
    }

    fn routers(&self, trained: &Trained) -> Result<RouterSet> {
        let (windows, width) = (self.args.windows, self.args.width());
        let config = self.model.decoder.config();
        let mut metadata = metadata(trained, self.data, windows);
        metadata.extend(of_model(self.model));
        Ok(RouterSet {
            layers: trained.routers()?,
            windows,
            width,
            hidden_size: config.hidden_size,
            input_norm: InputNorm::None,
            metadata,
            info: RouterInfo {
                windows,
                width,
                ..RouterInfo::default()
            },
            fast: FastRouters::default(),
        })
    }
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
    let found = RouterSet::load(out).context("--resume goes on with routers, or replaces them with --force")?;
    let entries = expected.iter().map(|(key, value)| (*key, value.as_str()));
    let model = of_model(model);
    let entries = entries.chain(model.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let differs = entries
        .filter(|(key, _)| *key != "base_model")
        .find(|(key, value)| found.metadata.get(*key).map(String::as_str) != Some(*value));
    if let Some((key, _)) = differs {
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

/// What a checkpoint's metadata say of the model that its routers belong to.
fn of_model(model: &Model) -> [(String, String); 3] {
    let config = model.decoder.config();
    [
        ("base_model", model.info.name.clone()),
        ("base_model_sha256", model.info.sha256.clone()),
        ("config_sha256", config.shape_sha256()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
}
