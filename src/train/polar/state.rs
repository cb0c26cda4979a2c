//! What a stopped training of a predictor goes on from.

use std::path::Path;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::PolarSettings;
use super::trainer::PolarEpochReport;
use crate::train::optimiser::AdamW;
use crate::train::state::{damaged, load_vectors, save_vectors};

/// What a training depends on. Where it differs, nothing can be gone on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolarKey {
    pub format: u32,
    #[serde(flatten)]
    pub settings: PolarSettings,
    pub model_sha256: String,
    pub data_sha256: String,
    pub exact: bool,
}

/// The end of an epoch. What comes next follows from seed and epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolarState {
    pub parameters: Vec<f32>,
    pub adam: AdamW,
    /// The parameters of the best epoch.
    pub best: Vec<f32>,
    pub reports: Vec<PolarEpochReport>,
}

const PARTS: [&str; 4] = ["parameters", "first", "second", "best"];

impl PolarState {
    fn parts(&self) -> [&Vec<f32>; 4] {
        [&self.parameters, &self.adam.first, &self.adam.second, &self.best]
    }

    /// Writes the state, whole or not at all.
    pub fn save(&self, path: &Path, key: &PolarKey) -> Result<()> {
        let vectors: Vec<(&str, &[f32])> = PARTS.into_iter().zip(self.parts().map(Vec::as_slice)).collect();
        save_vectors(path, key, &vectors, &self.reports)
    }

    /// The state at `path`, if there is one.
    ///
    /// # Errors
    /// A state of another training, with the first difference named, and one that is damaged.
    pub fn load(path: &Path, key: &PolarKey, parameters: usize) -> Result<Option<PolarState>> {
        let Some(([values, first, second, best], reports)) = load_vectors(path, key, PARTS, true)? else {
            return Ok(None);
        };
        let state = PolarState {
            parameters: values,
            adam: AdamW { first, second },
            best,
            reports,
        };
        let fits = state.parts().iter().all(|part| part.len() == parameters);
        ensure!(
            fits && !state.reports.is_empty() && state.reports.len() <= key.settings.epochs,
            damaged(path)
        );
        Ok(Some(state))
    }
}
