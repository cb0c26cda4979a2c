//! What a stopped training goes on from, kept beside the routers that are being trained.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::features::FeatureKey;
use super::network::Parameters;
use super::settings::TrainPlan;
use super::trainer::EpochReport;
use crate::text::escape_controls;

/// Version of the layout of this file.
const FORMAT: u32 = 1;

/// What a training depends on. Where it differs, nothing can be gone on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateKey {
    format: u32,
    #[serde(flatten)]
    plan: TrainPlan,
    data_sha256: String,
    features: FeatureKey,
}

impl StateKey {
    pub fn new(plan: &TrainPlan, data_sha256: &str, features: &FeatureKey) -> Self {
        StateKey {
            format: FORMAT,
            plan: plan.clone(),
            data_sha256: data_sha256.into(),
            features: features.clone(),
        }
    }

    fn fields(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a key has string keys only")
    }
}

/// One layer's router in training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerState {
    pub parameters: Parameters,
    /// Adam's moments.
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    /// The parameters of the best epoch.
    pub best: Parameters,
}

/// The end of an epoch. The order of the next one's examples follows from seed and epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainState {
    pub layers: Vec<LayerState>,
    /// Of all epochs so far.
    pub reports: Vec<EpochReport>,
}

const PARTS: [&str; 4] = ["parameters", "first", "second", "best"];

impl TrainState {
    /// Writes the state, whole or not at all.
    pub fn save(&self, path: &Path, key: &StateKey) -> Result<()> {
        let pieces = |layer: &LayerState| -> Vec<u8> {
            let parts = [&layer.parameters, &layer.first, &layer.second, &layer.best];
            parts.into_iter().flatten().flat_map(|x| x.to_le_bytes()).collect()
        };
        let tensors: Vec<(String, Vec<u8>)> = self
            .layers
            .iter()
            .enumerate()
            .map(|(l, layer)| (format!("layers.{l}"), pieces(layer)))
            .collect();
        let mut views = Vec::new();
        for (name, bytes) in &tensors {
            let shape = vec![PARTS.len(), bytes.len() / (4 * PARTS.len())];
            views.push((name.as_str(), TensorView::new(Dtype::F32, shape, bytes)?));
        }
        let metadata = HashMap::from([
            ("key".to_owned(), key.fields().to_string()),
            ("reports".to_owned(), serde_json::to_string(&self.reports)?),
        ]);
        write_whole(path, &safetensors::serialize(views, Some(metadata))?)
    }

    /// Reads a state of this training; `None` where there is none.
    ///
    /// # Errors
    /// Damaged files, and states of other trainings with the first difference.
    pub fn load(path: &Path, key: &StateKey) -> Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("cannot read the state {}", path.display()))?,
        };
        let damaged = || {
            format!(
                "{} is no state of a training, or damaged; begin anew with --force",
                path.display()
            )
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).with_context(damaged)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let json = |name: &str| metadata.get(name).map_or("", String::as_str);
        let found: serde_json::Value = serde_json::from_str(json("key")).with_context(damaged)?;
        let expected = key.fields();
        let fields = expected.as_object().expect("a key is an object");
        if let Some((name, here)) = fields.iter().find(|(name, value)| found[name.as_str()] != **value) {
            anyhow::bail!(
                "{} is of a training with {name} = {}, this one has {here}; use the same settings, another --out, or \
                 --force to begin anew",
                path.display(),
                escape_controls(&found[name.as_str()].to_string())
            );
        }
        let reports: Vec<EpochReport> = serde_json::from_str(json("reports")).with_context(damaged)?;
        let tensors = SafeTensors::deserialize(&bytes).with_context(damaged)?;
        let layers = (0..tensors.len()).map(|l| {
            let tensor = tensors.tensor(&format!("layers.{l}"))?;
            let values = tensor.data().chunks_exact(4);
            let values: Vec<f32> = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let size = values.len() / PARTS.len();
            let part = |i: usize| values[i * size..(i + 1) * size].to_vec();
            Ok(LayerState {
                parameters: part(0),
                first: part(1),
                second: part(2),
                best: part(3),
            })
        });
        let layers = layers.collect::<Result<Vec<_>>>().with_context(damaged)?;
        let size: usize = layers.iter().map(|l| l.parameters.len()).sum();
        ensure!(size == key.plan.parameters && !reports.is_empty(), damaged());
        Ok(Some(TrainState { layers, reports }))
    }
}

/// Writes a file whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let write = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        // As other files: what the user's umask leaves, not for the owner alone.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
