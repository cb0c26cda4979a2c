//! What a stopped training of depth routers goes on from.

use std::path::Path;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::DepthSettings;
use super::trainer::DepthStepReport;
use crate::train::optimiser::AdamW;
use crate::train::state::{damaged, load_vectors, save_vectors};

/// What a training depends on. Where it differs, nothing can be gone on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DepthKey {
    /// Version of the layout of this file and of what a step computes.
    pub format: u32,
    /// The numbers of the training.
    #[serde(flatten)]
    pub settings: DepthSettings,
    /// What identifies the model's weights, hexadecimal.
    pub model_sha256: String,
    /// Of a loop that runs more or less often than in its training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<usize>,
    /// Of the prompts that texts were written to, hexadecimal.
    pub prompts_sha256: String,
    /// Of the checkpoint that the training begins with.
    pub from_sha256: Option<String>,
    /// Whether the model ran in exact f32 arithmetic.
    pub exact: bool,
}

/// Parameters and Adam's moments after some steps. What comes next follows from seed and step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DepthState {
    /// Of all routers, see [`DepthShape`](super::routers::DepthShape).
    pub parameters: Vec<f32>,
    /// Moments of the parameters.
    pub adam: AdamW,
    /// One a step.
    pub reports: Vec<DepthStepReport>,
}

const PARTS: [&str; 3] = ["parameters", "first", "second"];

impl DepthState {
    /// Writes the state, whole or not at all.
    pub fn save(&self, path: &Path, key: &DepthKey) -> Result<()> {
        let vectors: Vec<(&str, &[f32])> = PARTS
            .into_iter()
            .zip([&self.parameters[..], &self.adam.first, &self.adam.second])
            .collect();
        save_vectors(path, key, &vectors, &self.reports)
    }

    /// The state at `path`, if there is one.
    ///
    /// # Errors
    /// A state of another training, with the first difference named, and one that is damaged.
    pub fn load(path: &Path, key: &DepthKey, parameters: usize) -> Result<Option<DepthState>> {
        // States of earlier versions have no check sum.
        let Some(([values, first, second], reports)) = load_vectors(path, key, PARTS, false)? else {
            return Ok(None);
        };
        let sizes = [&values, &first, &second].map(Vec::len);
        let state = DepthState {
            parameters: values,
            adam: AdamW { first, second },
            reports,
        };
        let fits = sizes == [parameters; 3] && state.reports.len() <= key.settings.steps;
        ensure!(fits, damaged(path));
        Ok(Some(state))
    }
}
