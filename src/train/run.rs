//! A training of layer routers from its examples to its checkpoint: features from the disk or computed, then the loop.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;

use super::ablation::{AblationRow, Group, variants};
use super::checkpoint;
use super::features::compute;
use super::trainer::{TRAINING, TrainEvent, TrainedRouters, TrainingJob, metadata, settings_json};
use super::{FeatureFile, FeatureKey, FeatureWriter, RouterDataset, TrainSettings, train};
use crate::model::Model;
use crate::progress::{Progress, Tell};
use crate::router::{InputNorm, RouterSet};

/// What every training on the same examples shares.
pub struct TrainingRun<'a> {
    /// What computes the features.
    pub model: &'a Model,
    /// Examples, and what was left out.
    pub data: &'a RouterDataset,
    /// Windows of the prompt that routers read.
    pub windows: usize,
    /// Whether the model runs in exact f32 arithmetic.
    pub exact: bool,
    /// The folder of the features.
    pub features: &'a Path,
    /// Changes no result.
    pub threads: usize,
    /// Ends a training.
    pub stop: &'a AtomicBool,
}

impl TrainingRun<'_> {
    /// What the checkpoint of a training with these settings says of it, beside what
    /// [`checkpoint::base_model`] says.
    pub fn metadata(&self, settings: &TrainSettings) -> [(&'static str, String); 3] {
        [
            ("data_sha256", self.data.sha256.clone()),
            ("windows", self.windows.to_string()),
            (TRAINING, settings_json(settings)),
        ]
    }

    /// Trains; `None` where it was stopped. The end of each epoch is kept in `state`, and a state that is there is gone
    /// on with.
    ///
    /// # Errors
    /// Those of [`train`].
    pub fn train(
        &self,
        settings: &TrainSettings,
        features: &FeatureFile,
        state: Option<&Path>,
        tell: &mut dyn FnMut(TrainEvent) -> Result<()>,
    ) -> Result<Option<TrainedRouters>> {
        let job = TrainingJob {
            data: self.data,
            features,
            settings,
            threads: self.threads,
            state,
        };
        train(&job, self.stop, tell)
    }

    /// Trains with one setting changed at a time: a row each, fewer than there are variants where it was stopped.
    ///
    /// # Errors
    /// Those of [`train`], and of the features; `None` where these were not finished.
    pub fn ablate(&self, settings: &TrainSettings, groups: &[Group], tell: Tell) -> Result<Option<Ablation>> {
        let variants = variants(self.windows, settings, groups);
        let mut windows: Vec<usize> = variants.iter().map(|v| v.windows).collect();
        windows.sort_unstable();
        windows.dedup();
        let Some(features) = self.features(&windows, tell)? else {
            return Ok(None);
        };
        let count = variants.len();
        tell(Progress::new("trainings", 0, count));
        let mut rows: Vec<AblationRow> = Vec::new();
        for variant in variants {
            let at = windows.binary_search(&variant.windows);
            let features = &features[at.expect("every variant's windows are there")];
            let started = Instant::now();
            let Some(trained) = self.train(&variant.settings, features, None, &mut |_| Ok(()))? else {
                break;
            };
            rows.push(AblationRow {
                variant: variant.name,
                best: trained.best,
                parameters: trained.plan.parameters,
                seconds: started.elapsed().as_secs_f64(),
            });
            tell(Progress::new("trainings", rows.len(), count));
        }
        let complete = rows.len() == count;
        Ok(Some(Ablation { rows, complete }))
    }

    /// The features for each number of windows, from the disk as far as they are there; `None` where it was stopped.
    ///
    /// # Errors
    /// Files that cannot be read or written, and those of the model.
    pub fn features(&self, windows: &[usize], tell: Tell) -> Result<Option<Vec<FeatureFile>>> {
        let examples = &self.data.examples;
        let open = |&windows: &usize| {
            let key = FeatureKey::new(self.model, self.exact, examples, windows);
            let writer = FeatureWriter::open(self.features, key)?;
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
        tell(Progress::new("features", before, examples.len()));
        let whole = compute(self.model, examples, &mut writers, self.threads, self.stop, |done| {
            tell(Progress::new("features", done, examples.len()));
        })?;
        if !whole {
            return Ok(None);
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
                self.features.display()
            );
        }
        Ok(Some(files))
    }

    /// The checkpoint of what was trained.
    ///
    /// # Errors
    /// Those of [`TrainedRouters::routers`].
    pub fn routers(&self, trained: &TrainedRouters) -> Result<RouterSet> {
        let mut metadata = metadata(trained, self.data, self.windows);
        metadata.extend(checkpoint::base_model(self.model));
        let size = (self.windows, trained.plan.settings.width);
        Ok(checkpoint::routers(
            trained.routers()?,
            size,
            InputNorm::None,
            metadata,
            self.model,
        ))
    }
}

/// Trainings with one setting changed at a time.
pub struct Ablation {
    /// One a training that came to its end.
    pub rows: Vec<AblationRow>,
    /// Whether none was stopped.
    pub complete: bool,
}
