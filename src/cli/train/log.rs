//! What a training tells: JSON lines for programs, a table on standard error for people.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::line_file::{Existing, FileWords, LineFile};
use crate::train::settings::TrainPlan;
use crate::train::trainer::{EpochReport, TrainEvent};

const WORDS: FileWords = FileWords {
    contents: "metrics",
    writer: "training",
    option: "--metrics",
};

/// JSON lines, each written as it comes, whole and synced, so that they can be followed.
pub struct MetricsLines {
    path: Option<PathBuf>,
    file: Option<LineFile>,
}

impl MetricsLines {
    /// `path`: where the lines go, if anywhere. They begin anew.
    pub fn new(path: Option<&Path>) -> Result<Self> {
        Ok(MetricsLines {
            path: path.map(Path::to_owned),
            file: None,
        })
    }

    pub fn write(&mut self, line: &str) -> Result<()> {
        let line = line.to_owned() + "\n";
        match (&mut self.file, &self.path) {
            (Some(file), _) => file.append(&line),
            (None, None) => Ok(()),
            // Only now: a training that is refused leaves no empty file.
            (None, Some(path)) => {
                let file = self.file.insert(LineFile::open(path, Existing::Overwrite, WORDS)?);
                file.begin(0, &line)
            }
        }
    }
}

/// A training's epochs.
pub struct Log {
    lines: MetricsLines,
    pub reports: Vec<EpochReport>,
}

impl Log {
    /// `metrics`: where the JSON lines go. They begin anew: a training that is gone on with tells
    /// its earlier epochs again.
    pub fn new(metrics: Option<&Path>) -> Result<Self> {
        Ok(Log {
            lines: MetricsLines::new(metrics)?,
            reports: Vec::new(),
        })
    }

    pub fn tell(&mut self, event: &TrainEvent) -> Result<()> {
        let line = match event {
            TrainEvent::Plan(plan) => {
                print_plan(plan);
                serde_json::to_string(plan)?
            }
            TrainEvent::Epoch(report) => {
                print_epoch(report);
                self.reports.push((*report).clone());
                serde_json::to_string(report)?
            }
        };
        self.lines.write(&line)
    }
}

fn print_plan(plan: &TrainPlan) {
    let [skip, execute, repeat] = plan.class_counts;
    let [w_skip, w_execute, w_repeat] = plan.class_weights;
    crate::note!(
        "{} examples to train on, {} held out; {} steps, {} of them warm-up; {} parameters\ndecisions: {skip} skip, \
         {execute} execute, {repeat} repeat; class weights {w_skip:.3}, {w_execute:.3}, {w_repeat:.3}\nepoch   loss  \
         held-out loss  macro-F1   skip  execute  repeat  depth (target)",
        plan.train_examples,
        plan.validation_examples,
        plan.steps,
        plan.warm_up_steps,
        plan.parameters
    );
}

fn print_epoch(report: &EpochReport) {
    let m = &report.validation;
    let f1 = |f1: Option<f64>| f1.map_or("-".into(), |f1| format!("{f1:.3}"));
    crate::note!(
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
