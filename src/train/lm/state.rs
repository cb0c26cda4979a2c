//! What a stopped training goes on from.

use std::path::Path;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::settings::LmSettings;
use super::trainer::LmStepReport;
use crate::train::state::{damaged, load_vectors, save_vectors};

/// Version of the layout of this file and of what a step computes.
pub const FORMAT: u32 = 1;

/// What a training depends on. Where it differs, nothing can be gone on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LmKey {
    /// [`FORMAT`] of the program that wrote the state.
    pub format: u32,
    /// The numbers of the training.
    #[serde(flatten)]
    pub settings: LmSettings,
}

impl LmKey {
    /// What a training with these settings depends on.
    pub fn new(settings: &LmSettings) -> Self {
        LmKey {
            format: FORMAT,
            settings: settings.clone(),
        }
    }
}

/// Parameters and Adam's moments after some steps, flat, in the order of the model's parameters. What comes next follows
/// from seed and step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LmState {
    /// Of the model.
    pub parameters: Vec<f32>,
    /// Adam's means of the gradients.
    pub first: Vec<f32>,
    /// Adam's means of their squares.
    pub second: Vec<f32>,
    /// One a step.
    pub reports: Vec<LmStepReport>,
}

const PARTS: [&str; 3] = ["parameters", "first", "second"];

impl LmState {
    /// Writes the state, whole or not at all.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn save(&self, path: &Path, key: &LmKey) -> Result<()> {
        let vectors: Vec<(&str, &[f32])> = PARTS
            .into_iter()
            .zip([&self.parameters[..], &self.first, &self.second])
            .collect();
        save_vectors(path, key, &vectors, &self.reports)
    }

    /// The state at `path`, if there is one.
    ///
    /// # Errors
    /// A state of another training, with the first difference named, and one that is damaged.
    pub fn load(path: &Path, key: &LmKey, parameters: usize) -> Result<Option<LmState>> {
        let Some(([values, first, second], reports)) = load_vectors(path, key, PARTS, true)? else {
            return Ok(None);
        };
        let state = LmState {
            parameters: values,
            first,
            second,
            reports,
        };
        let sizes = [&state.parameters, &state.first, &state.second].map(Vec::len);
        let fits = sizes == [parameters; 3] && state.reports.len() <= key.settings.steps;
        ensure!(fits, damaged(path));
        Ok(Some(state))
    }
}
