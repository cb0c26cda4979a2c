//! What a stopped training goes on from.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::settings::LmSettings;
use super::trainer::StepReport;
use crate::files;
use crate::line_file::difference;
use crate::train::state::{is_sealed, seal, write_whole};

/// Version of the layout of this file and of what a step computes.
pub const FORMAT: u32 = 1;

/// What a training depends on. Where it differs, nothing can be gone on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    pub format: u32,
    #[serde(flatten)]
    pub settings: LmSettings,
}

impl Key {
    pub fn new(settings: &LmSettings) -> Self {
        Key {
            format: FORMAT,
            settings: settings.clone(),
        }
    }
}

/// Parameters and Adam's moments after some steps, flat, in the order of the model's parameters. What comes next follows
/// from seed and step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub parameters: Vec<f32>,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    /// One a step.
    pub reports: Vec<StepReport>,
}

const PARTS: [&str; 3] = ["parameters", "first", "second"];

impl State {
    /// Writes the state, whole or not at all.
    ///
    /// # Errors
    /// A disk that is full.
    pub fn save(&self, path: &Path, key: &Key) -> Result<()> {
        let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let parts = [&self.parameters, &self.first, &self.second].map(|part| bytes(part));
        let mut views = Vec::new();
        for (name, bytes) in PARTS.iter().zip(&parts) {
            views.push((*name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes)?));
        }
        let mut metadata = HashMap::from([
            ("key".to_owned(), serde_json::to_string(key)?),
            ("reports".to_owned(), serde_json::to_string(&self.reports)?),
        ]);
        seal(&mut metadata, &views);
        write_whole(path, &safetensors::serialize(views, Some(metadata))?)
    }

    /// The state at `path`, if there is one.
    ///
    /// # Errors
    /// A state of another training, with the first difference named, and one that is damaged.
    pub fn load(path: &Path, key: &Key, parameters: usize) -> Result<Option<State>> {
        let bytes = match files::read(path, files::DATA) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("cannot read the state {}", path.display()))?,
        };
        let damaged = || {
            format!(
                "{} is no state of a language model's training, or damaged; begin anew with --force",
                path.display()
            )
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).with_context(damaged)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let json = |name: &str| metadata.get(name).map_or("", String::as_str);
        let found: Key = serde_json::from_str(json("key")).with_context(damaged)?;
        if let Some((field, here, there)) = difference(key, &found, &[]) {
            bail!(
                "{} is of a training with {field} = {there}, this one has {here}; use the same settings, another --out, \
                 or --force to begin anew",
                path.display()
            );
        }
        let tensors = SafeTensors::deserialize(&bytes).with_context(damaged)?;
        ensure!(is_sealed(&metadata, &tensors) == Some(true), damaged());
        let part = |name: &str| -> Result<Vec<f32>> {
            let tensor = tensors.tensor(name).with_context(damaged)?;
            let values = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            Ok(values.collect())
        };
        let state = State {
            parameters: part(PARTS[0])?,
            first: part(PARTS[1])?,
            second: part(PARTS[2])?,
            reports: serde_json::from_str(json("reports")).with_context(damaged)?,
        };
        let sizes = [&state.parameters, &state.first, &state.second].map(Vec::len);
        let fits = sizes == [parameters; 3] && state.reports.len() <= key.settings.steps;
        ensure!(fits, damaged());
        Ok(Some(state))
    }
}
