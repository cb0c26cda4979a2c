//! `drllm-tui train-lm`: a small language model from nothing.

mod capacity;
mod curves;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use super::UsageError;
use super::args::device_name;
use super::output::{check_named_once, print};
use super::progress::CommandProgress;
use super::run::stop_on_signals;
use super::train::{MetricsLines, check_told, claim};
use crate::eval::parallel::default_threads;
use crate::files;
use crate::model::device_or_note;
use crate::model::loopmoe::file::{Stored, save};
use crate::model::loopmoe::{LoopMoeConfig, WordList};
use crate::note;
use crate::progress::Progress as Step;
use crate::train::lm::settings::Preset;
use crate::train::lm::{LmSettings, LmTask, train};
use crate::train::state::{is_state, write_whole};

/// Train a looped mixture of experts (LoopMoE, arXiv 2606.04438) or its plain twin from nothing, on problems that the
/// program makes
#[derive(Args, Debug)]
pub struct TrainLmArgs {
    /// Where the model goes (safetensors)
    #[arg(long, value_name = "FILE", required_unless_present = "capacity")]
    out: Option<PathBuf>,
    /// Sizes and numbers that go together
    #[arg(long, value_enum, default_value = "small")]
    preset: Preset,
    /// The twin without a loop: 12 layers of their own, equal parameters, FLOPs and ratio of attention to experts
    #[arg(long)]
    plain: bool,
    /// Ablation: the body has plain pre-norms instead of IterAdaLN
    #[arg(long, conflicts_with = "plain")]
    no_iter_adaln: bool,
    /// Ablation: the loop has the twin's own ranks, experts and widths
    #[arg(long, conflicts_with = "plain")]
    unbalanced: bool,
    /// Print parameters, FLOPs and ratio of the looped model and its twin, and train nothing
    #[arg(long, conflicts_with_all = ["out", "plain", "metrics", "curves", "resume"])]
    capacity: bool,
    #[arg(long, value_name = "N", help = "Steps of the training [default: that of the preset]")]
    steps: Option<usize>,
    /// Sequences a step [default: that of the preset]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Greatest learning rate [default: that of the preset]
    #[arg(long)]
    lr: Option<f64>,
    /// Kinds of problems [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    tasks: Vec<LmTask>,
    #[arg(long, default_value_t = 42, value_parser = crate::cli::args::whole::<u64>)]
    seed: u64,
    /// How the weights are stored
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Stored,
    /// Write what every step came to here, as JSON lines
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Draw the curves of loss and accuracy here
    #[arg(long, value_name = "FILE.svg")]
    curves: Option<PathBuf>,
    /// Go on with a training that was stopped
    #[arg(long)]
    resume: bool,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
    /// Groups of sequences computed at once; changes no result [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Where the products are computed
    #[arg(long, value_parser = device_name, default_value = "cpu")]
    device: String,
}

/// Runs the command.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, anything else for what failed or was stopped.
pub fn run(args: &TrainLmArgs) -> Result<()> {
    if args.capacity {
        return print(&capacity::text(args.preset, &args.model()));
    }
    let out = args.out.as_deref().expect("clap asks for --out without --capacity");
    let settings = args.settings()?;
    let state_at = state_path(out);
    args.check_places(out, &state_at)?;
    let _claim = claim(out)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let (device, note) = device_or_note(&args.device)?;
    if let Some(note) = note {
        note!("{note}");
    }
    if !args.resume && files::stands(&state_at) {
        std::fs::remove_file(&state_at)?;
    }
    let started = Instant::now();
    let mut lines = MetricsLines::new(args.metrics.as_deref())?;
    let progress = CommandProgress::new();
    let mut reports = Vec::new();
    let threads = args.threads.unwrap_or_else(default_threads);
    let trained = train(&settings, threads, &device, Some(&state_at), &stop, &mut |report| {
        if reports.is_empty() {
            progress.count(Step::new("steps", report.step - 1, settings.steps));
        }
        reports.push(*report);
        let note = format!(
            "; answers: loss {:.3}, {:.1} % of tokens right",
            report.answer_loss,
            100.0 * report.answer_accuracy
        );
        progress.count(Step {
            note: &note,
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
    let training = serde_json::to_value(&settings)?;
    save(
        out,
        &settings.model,
        &WordList::default(),
        training,
        &trained.parameters,
        args.dtype,
    )?;
    // Another --dtype would want it; a finished training is not gone on with.
    let _ = std::fs::remove_file(&state_at);
    crate::note!(
        "{} in {} after {:.1} min; `drllm-tui eval-lm {}` says what it can do",
        if args.plain {
            "the plain twin"
        } else {
            "the looped model"
        },
        out.display(),
        started.elapsed().as_secs_f64() / 60.0,
        out.display()
    );
    Ok(())
}

impl TrainLmArgs {
    /// The sizes that are asked for.
    fn model(&self) -> LoopMoeConfig {
        let mut model = match (self.plain, self.unbalanced) {
            (true, _) => self.preset.plain(),
            (false, true) => self.preset.unbalanced(),
            (false, false) => self.preset.looped(),
        };
        if self.no_iter_adaln {
            model.iter_condition_size = 0;
        }
        model
    }

    fn settings(&self) -> Result<LmSettings> {
        let defaults = self.preset.settings(self.model());
        let mut settings = LmSettings {
            steps: self.steps.unwrap_or(defaults.steps),
            batch: self.batch.unwrap_or(defaults.batch),
            learning_rate: self.lr.unwrap_or(defaults.learning_rate),
            seed: self.seed,
            ..defaults
        };
        if !self.tasks.is_empty() {
            settings.tasks.clone_from(&self.tasks);
        }
        settings.group = settings.group.min(settings.batch);
        // Few steps are not all warm-up.
        settings.warm_up = settings.warm_up.min(settings.steps / 5);
        let ranges = [
            ("--steps", settings.steps as f64, 1.0, 1e7),
            ("--batch", settings.batch as f64, 1.0, 65_536.0),
            ("--lr", settings.learning_rate, 1e-12, 10.0),
            ("--threads", self.threads.unwrap_or(1) as f64, 1.0, 1024.0),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(UsageError::new(format!("{name} is {value}: expected {least} to {most}")).into());
            }
        }
        Ok(settings)
    }

    /// Refuses places that cannot be written, and what would be overwritten, before hours of work go into it.
    fn check_places(&self, out: &Path, state_at: &Path) -> Result<()> {
        let out = out.to_path_buf();
        let written = [Some(&out), self.metrics.as_ref(), self.curves.as_ref()];
        let written: Vec<&PathBuf> = written.into_iter().flatten().collect();
        check_named_once(&written, &[])?;
        for path in &written {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            if !folder.is_dir() {
                bail!(
                    "{} is no folder, so nothing can be written there; make it first",
                    folder.display()
                );
            }
            if **path == out && files::stands(path) && !self.force {
                bail!("{} exists already; replace it with --force", path.display());
            }
        }
        let told = [self.metrics.as_deref(), self.curves.as_deref()];
        check_told(told, self.resume, self.force)?;
        files::sweep_beside(state_at);
        if files::stands(state_at) {
            if !is_state(state_at) {
                bail!(
                    "{} is no state of a training, and one would be written there; move it away or choose another --out",
                    state_at.display()
                );
            }
            if !self.resume && !self.force {
                bail!(
                    "{} was left by a training that was stopped; go on with --resume or begin anew with --force",
                    state_at.display()
                );
            }
        }
        Ok(())
    }
}

/// Where a training's state lies, beside its model.
fn state_path(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".state");
    out.with_file_name(name)
}
