//! What a stopped training goes on from, kept beside the routers that are being trained.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::features::FeatureKey;
use super::network::Parameters;
use super::optimiser::AdamW;
use super::settings::TrainPlan;
use super::trainer::EpochReport;
use crate::files::{self, Readers};
use crate::line_file::difference;
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
    /// What a training under `plan` on these data and features depends on.
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
    /// Where the training is.
    pub parameters: Parameters,
    /// Their moments.
    pub adam: AdamW,
    /// The parameters of the best epoch.
    pub best: Parameters,
}

/// The end of an epoch. The order of the next one's examples follows from seed and epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainState {
    /// One a layer of the model.
    pub layers: Vec<LayerState>,
    /// Of all epochs so far.
    pub reports: Vec<EpochReport>,
}

const PARTS: [&str; 4] = ["parameters", "first", "second", "best"];

impl TrainState {
    /// Writes the state, whole or not at all.
    pub fn save(&self, path: &Path, key: &StateKey) -> Result<()> {
        let pieces = |layer: &LayerState| -> Vec<u8> {
            let parts = [&layer.parameters, &layer.adam.first, &layer.adam.second, &layer.best];
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
        let mut metadata = HashMap::from([
            ("key".to_owned(), key.fields().to_string()),
            ("reports".to_owned(), serde_json::to_string(&self.reports)?),
        ]);
        seal(&mut metadata, &views);
        write_whole(path, &safetensors::serialize(views, Some(metadata))?)
    }

    /// Reads a state of this training; `None` where there is none.
    ///
    /// # Errors
    /// Damaged files, and states of other trainings with the first difference.
    pub fn load(path: &Path, key: &StateKey) -> Result<Option<Self>> {
        let bytes = match files::read(path, files::DATA) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("cannot read the state {}", path.display()))?,
        };
        let damaged = || damaged(path);
        let (_, header) = SafeTensors::read_metadata(&bytes).with_context(damaged)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let json = |name: &str| metadata.get(name).map_or("", String::as_str);
        let found: serde_json::Value = serde_json::from_str(json("key")).with_context(damaged)?;
        let expected = key.fields();
        let fields = expected.as_object().expect("a key is an object");
        if let Some((name, here)) = fields.iter().find(|(name, value)| found[name.as_str()] != **value) {
            bail!(
                "{} is of a training with {name} = {}, this one has {here}; use the same settings, another --out, or \
                 --force to begin anew",
                path.display(),
                escape_controls(&found[name.as_str()].to_string())
            );
        }
        let reports: Vec<EpochReport> = serde_json::from_str(json("reports")).with_context(damaged)?;
        let tensors = SafeTensors::deserialize(&bytes).with_context(damaged)?;
        ensure!(is_sealed(&metadata, &tensors) == Some(true), damaged());
        let layers = (0..tensors.len()).map(|l| {
            let tensor = tensors.tensor(&format!("layers.{l}"))?;
            let values = tensor.data().chunks_exact(4);
            let values: Vec<f32> = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let size = values.len() / PARTS.len();
            let part = |i: usize| values[i * size..(i + 1) * size].to_vec();
            Ok(LayerState {
                parameters: part(0),
                adam: AdamW {
                    first: part(1),
                    second: part(2),
                },
                best: part(3),
            })
        });
        let layers = layers.collect::<Result<Vec<_>>>().with_context(damaged)?;
        let size = key.plan.parameters / layers.len().max(1);
        let parts = |l: &LayerState| [&l.parameters, &l.adam.first, &l.adam.second, &l.best].map(Vec::len);
        let fits = layers.len() * size == key.plan.parameters && layers.iter().all(|l| parts(l) == [size; 4]);
        ensure!(fits && !reports.is_empty(), damaged());
        Ok(Some(TrainState { layers, reports }))
    }
}

/// What is said of a file that cannot be gone on with.
pub(super) fn damaged(path: &Path) -> String {
    format!(
        "{} is no state of a training, or damaged; begin anew with --force",
        path.display()
    )
}

/// Writes a state that is vectors of numbers by name and reports, whole or not at all. `key` is what the training depends
/// on.
///
/// # Errors
/// A disk that is full.
pub(super) fn save_vectors<K: Serialize, R: Serialize>(
    path: &Path,
    key: &K,
    vectors: &[(&str, &[f32])],
    reports: &[R],
) -> Result<()> {
    let bytes = |(_, values): &(&str, &[f32])| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let parts: Vec<Vec<u8>> = vectors.iter().map(bytes).collect();
    let mut views = Vec::new();
    for ((name, _), bytes) in vectors.iter().zip(&parts) {
        views.push((*name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes)?));
    }
    let mut metadata = HashMap::from([
        ("key".to_owned(), serde_json::to_string(key)?),
        ("reports".to_owned(), serde_json::to_string(reports)?),
    ]);
    seal(&mut metadata, &views);
    write_whole(path, &safetensors::serialize(views, Some(metadata))?)
}

/// Vectors in the order of their names, and the reports.
pub(super) type Vectors<R, const N: usize> = ([Vec<f32>; N], Vec<R>);

/// Reads what [`save_vectors`] wrote; `None` where there is no file. `needs_seal`: whether a file without a check sum is
/// refused, rather than taken for one of an earlier version.
///
/// # Errors
/// A state of another training, with the first difference named, and one that is damaged.
pub(super) fn load_vectors<K: Serialize + DeserializeOwned, R: DeserializeOwned, const N: usize>(
    path: &Path,
    key: &K,
    names: [&str; N],
    needs_seal: bool,
) -> Result<Option<Vectors<R, N>>> {
    let bytes = match files::read(path, files::DATA) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.with_context(|| format!("cannot read the state {}", path.display()))?,
    };
    let damaged = || damaged(path);
    let (_, header) = SafeTensors::read_metadata(&bytes).with_context(damaged)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let json = |name: &str| metadata.get(name).map_or("", String::as_str);
    let found: K = serde_json::from_str(json("key")).with_context(damaged)?;
    if let Some((field, here, there)) = difference(key, &found, &[]) {
        bail!(
            "{} is of a training with {field} = {there}, this one has {here}; use the same settings, another --out, or \
             --force to begin anew",
            path.display()
        );
    }
    let reports: Vec<R> = serde_json::from_str(json("reports")).with_context(damaged)?;
    let tensors = SafeTensors::deserialize(&bytes).with_context(damaged)?;
    ensure!(is_sealed(&metadata, &tensors).unwrap_or(!needs_seal), damaged());
    let mut vectors = [const { Vec::new() }; N];
    for (vector, name) in vectors.iter_mut().zip(names) {
        let tensor = tensors.tensor(name).with_context(damaged)?;
        let values = tensor.data().as_chunks::<4>().0.iter();
        *vector = values.map(|b| f32::from_le_bytes(*b)).collect();
    }
    Ok(Some((vectors, reports)))
}

/// Where the metadata keep the check sum of the rest.
const SEAL: &str = "sha256";

/// Adds a check sum of everything else to a state's metadata: a bit that flips must not train other
/// routers.
fn seal(metadata: &mut HashMap<String, String>, tensors: &[(&str, TensorView)]) {
    let sum = sum(
        metadata,
        tensors.iter().map(|(name, view)| (*name, view.shape(), view.data())),
    );
    metadata.insert(SEAL.to_owned(), sum);
}

/// Whether the check sum agrees; `None` where there is none.
fn is_sealed(metadata: &HashMap<String, String>, tensors: &SafeTensors) -> Option<bool> {
    let found = metadata.get(SEAL)?;
    let views = tensors.tensors();
    let parts = views
        .iter()
        .map(|(name, view)| (name.as_str(), view.shape(), view.data()));
    Some(*found == sum(metadata, parts))
}

fn sum<'a>(
    metadata: &HashMap<String, String>,
    tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [u8])>,
) -> String {
    let entries = metadata.iter().filter(|(key, _)| *key != SEAL);
    let entries: BTreeMap<&str, &str> = entries.map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let tensors: BTreeMap<&str, _> = tensors.map(|(name, shape, bytes)| (name, (shape, bytes))).collect();
    let mut digest = Sha256::new();
    digest.update(format!("{entries:?}"));
    for (name, (shape, bytes)) in tensors {
        digest.update(format!("{name:?} {shape:?} {}", bytes.len()));
        digest.update(bytes);
    }
    format!("{:x}", digest.finalize())
}

/// Whether a file is a training's state, damaged or not; of what cannot be read it is not said.
pub fn is_state(path: &Path) -> bool {
    let Ok(bytes) = files::read(path, files::DATA) else {
        return false;
    };
    let header = SafeTensors::read_metadata(&bytes).ok().map(|(_, header)| header);
    header.is_some_and(|h| h.metadata().as_ref().is_some_and(|m| m.contains_key("key")))
}

/// Writes a file whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    files::write(path, bytes, Readers::All).with_context(|| format!("cannot write {}", path.display()))
}
