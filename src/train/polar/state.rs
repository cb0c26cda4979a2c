//! What a stopped training of a predictor goes on from.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::PolarSettings;
use super::trainer::EpochReport;
use crate::files;
use crate::line_file::difference;
use crate::train::optimiser::AdamW;
use crate::train::state::{is_sealed, seal, write_whole};

/// What a training depends on. Where it differs, nothing can be gone on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    pub format: u32,
    #[serde(flatten)]
    pub settings: PolarSettings,
    pub model_sha256: String,
    pub data_sha256: String,
    pub exact: bool,
}

/// The end of an epoch. What comes next follows from seed and epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub parameters: Vec<f32>,
    pub adam: AdamW,
    /// The parameters of the best epoch.
    pub best: Vec<f32>,
    pub reports: Vec<EpochReport>,
}

const PARTS: [&str; 4] = ["parameters", "first", "second", "best"];

impl State {
    fn parts(&self) -> [&Vec<f32>; 4] {
        [&self.parameters, &self.adam.first, &self.adam.second, &self.best]
    }

    /// Writes the state, whole or not at all.
    pub fn save(&self, path: &Path, key: &Key) -> Result<()> {
        let bytes = |values: &Vec<f32>| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let parts = self.parts().map(bytes);
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
                "{} is no state of such a training, or damaged; begin anew with --force",
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
        let reports: Vec<EpochReport> = serde_json::from_str(json("reports")).with_context(damaged)?;
        let tensors = SafeTensors::deserialize(&bytes).with_context(damaged)?;
        ensure!(is_sealed(&metadata, &tensors) == Some(true), damaged());
        let part = |name: &str| -> Result<Vec<f32>> {
            let tensor = tensors.tensor(name).with_context(damaged)?;
            let values = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            Ok(values.collect())
        };
        let [values, first, second, best] = PARTS.map(part);
        let state = State {
            parameters: values?,
            adam: AdamW {
                first: first?,
                second: second?,
            },
            best: best?,
            reports,
        };
        let fits = state.parts().iter().all(|part| part.len() == parameters);
        ensure!(
            fits && !state.reports.is_empty() && state.reports.len() <= key.settings.epochs,
            damaged()
        );
        Ok(Some(state))
    }
}
