//! A model as one safetensors file: the weights by name, and in the metadata its config, its words and how it was made.
//!
//! ```text
//! __metadata__   "loopmoe": one JSON object. The crate writes several entries in the random order of a hash map, with
//!                one the same model is the same bytes.
//!                  format    1
//!                  config    a `LoopMoeConfig`
//!                  words     a list; a token's id is its place
//!                  training  the settings, for people
//! tensors        those of `parameters`, all of them and no other, f32, f16 or bf16
//! ```

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::config::LoopMoeConfig;
use super::decoder::LoopMoe;
use super::parameters::{Parameter, parameters};
use super::words::WordList;
use crate::files::{self, Readers};
use crate::text::escape_controls;

/// The version of the layout that this program reads and writes.
pub const FORMAT: u32 = 1;

/// The name of the metadata's one entry.
const ENTRY: &str = "loopmoe";

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    config: LoopMoeConfig,
    words: Vec<String>,
    training: serde_json::Value,
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stored {
    /// As they are trained
    F32,
    /// Half as large; the selection bias stays f32
    F16,
}

/// A model from a file.
pub struct LoopMoeFile {
    /// The weights, on the device that was asked for.
    pub model: LoopMoe,
    /// What its tokens stand for.
    pub words: WordList,
    /// The settings of its training, as that wrote them.
    pub training: serde_json::Value,
    /// The type of its matrices in the file: `F32`, `F16`, `BF16`.
    pub stored: &'static str,
    /// Of the file.
    pub bytes: usize,
}

/// Tokens of a sequence where a file does not say how long those of its training were.
const CONTEXT: usize = 64;

impl LoopMoeFile {
    /// Tokens of the training's sequences: positions beyond were never seen.
    pub fn context(&self) -> usize {
        let named = self.training["context"]
            .as_u64()
            .filter(|&n| (1..=1 << 20).contains(&n));
        named.map_or(CONTEXT, |n| n as usize)
    }
}

/// Writes a model, whole or not at all: `flat` are its parameters in the order of [`parameters`].
///
/// # Errors
/// A disk that is full.
pub fn save(
    path: &Path,
    config: &LoopMoeConfig,
    words: &WordList,
    training: serde_json::Value,
    flat: &[f32],
    stored: Stored,
) -> Result<()> {
    let list = parameters(config);
    let mut rest = flat;
    let mut tensors: Vec<(&Parameter, Dtype, Vec<u8>)> = Vec::new();
    for parameter in &list {
        let (values, after) = rest.split_at(parameter.count());
        rest = after;
        // A bias that is rounded would select other experts.
        let (dtype, bytes) = match stored == Stored::F16 && parameter.learns() {
            true => (
                Dtype::F16,
                values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            ),
            false => (Dtype::F32, values.iter().flat_map(|x| x.to_le_bytes()).collect()),
        };
        tensors.push((parameter, dtype, bytes));
    }
    let mut views = Vec::new();
    for (parameter, dtype, bytes) in &tensors {
        views.push((
            parameter.name.as_str(),
            TensorView::new(*dtype, parameter.shape.clone(), bytes)?,
        ));
    }
    let header = Header {
        format: FORMAT,
        config: config.clone(),
        words: words.list().to_vec(),
        training,
    };
    let metadata = HashMap::from([(ENTRY.to_owned(), serde_json::to_string(&header)?)]);
    let bytes = safetensors::serialize(views, Some(metadata))?;
    files::write(path, &bytes, Readers::All).with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a model.
///
/// # Errors
/// Names the file and what of it does not serve.
pub fn load(path: &Path, device: &Device) -> Result<LoopMoeFile> {
    let bytes = files::read(path, files::DATA).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&bytes, device).with_context(|| format!("{} is no LoopMoE model that can be used", path.display()))
}

/// The words of a model's file, without its weights.
///
/// # Errors
/// As [`load`].
pub fn words(path: &Path) -> Result<WordList> {
    let bytes = files::read(path, files::DATA).with_context(|| format!("cannot read {}", path.display()))?;
    words_of(&bytes).with_context(|| format!("{} is no LoopMoE model that can be used", path.display()))
}

pub(super) fn words_of(bytes: &[u8]) -> Result<WordList> {
    header(bytes).map(|(_, words, _)| words)
}

/// Reads a model from a file's bytes.
///
/// # Errors
/// What does not serve: metadata that are missing or damaged, a tensor that is missing, unknown, of another shape or
/// type, or that holds what is no number.
pub fn parse(bytes: &[u8], device: &Device) -> Result<LoopMoeFile> {
    let (config, words, training) = header(bytes)?;
    let tensors = SafeTensors::deserialize(bytes).context("it is cut off or damaged; get it again")?;
    let list = parameters(&config);
    if let Some(name) = tensors
        .names()
        .into_iter()
        .find(|name| list.iter().all(|p| p.name != *name))
    {
        bail!(
            "it has a tensor '{}', which its config does not ask for",
            escape_controls(name)
        );
    }
    let weights = list.iter().map(|parameter| {
        let view = tensors.tensor(&parameter.name);
        let view = view.with_context(|| format!("it lacks the tensor '{}' {:?}", parameter.name, parameter.shape))?;
        let values = values(parameter, &view)?;
        let tensor = Tensor::from_vec(values, parameter.shape.as_slice(), device)?;
        Ok((parameter.name.clone(), tensor))
    });
    let stored = match tensors.tensor(&list[0].name)?.dtype() {
        Dtype::F16 => "F16",
        Dtype::BF16 => "BF16",
        _ => "F32",
    };
    Ok(LoopMoeFile {
        stored,
        model: LoopMoe::new(&config, weights.collect::<Result<Vec<_>>>()?)?,
        words,
        training,
        bytes: bytes.len(),
    })
}

/// What the metadata say, checked.
fn header(bytes: &[u8]) -> Result<(LoopMoeConfig, WordList, serde_json::Value)> {
    let (_, header) = SafeTensors::read_metadata(bytes).context("it is no safetensors file")?;
    let entry = header.metadata().as_ref().and_then(|metadata| metadata.get(ENTRY));
    let entry = entry.context(
        "its metadata have no entry 'loopmoe', which files of `drllm-tui train-lm` have; of a Hugging Face model, name the \
         folder instead",
    )?;
    let version: serde_json::Value = serde_json::from_str(entry).context("its metadata are damaged")?;
    ensure!(
        version["format"] == FORMAT,
        "its metadata say format = {}: this version of the program reads {FORMAT}",
        escape_controls(&version["format"].to_string())
    );
    let header: Header = serde_json::from_value(version).context("its metadata are damaged")?;
    let Header {
        config,
        words,
        training,
        ..
    } = header;
    config.check()?;
    ensure!(
        words.len() == config.vocab_size,
        "its metadata list {} words, the config's vocab_size is {}",
        words.len(),
        config.vocab_size
    );
    let words = WordList::from_list(words).context(
        "its metadata's list of words names one twice or lacks '<s>' or '.'; make the file anew with `drllm-tui train-lm`",
    )?;
    Ok((config, words, training))
}

fn values(parameter: &Parameter, view: &TensorView) -> Result<Vec<f32>> {
    let Parameter { name, shape, .. } = parameter;
    ensure!(
        view.shape() == shape.as_slice(),
        "its tensor '{name}' has the shape {:?}: expected {shape:?} after its config",
        view.shape()
    );
    let halves = || view.data().as_chunks::<2>().0.iter();
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
        Dtype::F16 => halves().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => halves().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        other => bail!("its tensor '{name}' is of type {other:?}: expected F32, F16 or BF16"),
    };
    if let Some(at) = values.iter().position(|x| !x.is_finite()) {
        bail!(
            "its tensor '{name}' holds {} at place {at}: expected finite numbers",
            values[at]
        );
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::loopmoe::testing::{ids, tiny};
    use crate::model::loopmoe::{Excluded, LatentCache};
    use crate::train::lm::trainer::first_parameters;
    use serde_json::{Value, json};

    fn config() -> LoopMoeConfig {
        LoopMoeConfig {
            vocab_size: WordList::default().count(),
            ..tiny()
        }
    }

    fn written(stored: Stored, change: impl FnOnce(&mut Vec<f32>)) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let config = config();
        let mut flat = first_parameters(&parameters(&config), 5);
        change(&mut flat);
        save(&path, &config, &WordList::default(), json!({"steps": 3}), &flat, stored).unwrap();
        std::fs::read(path).unwrap()
    }

    fn said(bytes: &[u8]) -> String {
        format!("{:#}", parse(bytes, &Device::Cpu).err().expect("it is refused"))
    }

    /// The file with another value in its metadata, or another tensor.
    fn changed(bytes: &[u8], entry: (&str, Value), tensor: Option<(&str, Vec<usize>, Dtype, Vec<u8>)>) -> Vec<u8> {
        let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
        let mut json: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()[ENTRY]).unwrap();
        json[entry.0] = entry.1;
        let metadata = HashMap::from([(ENTRY.to_owned(), json.to_string())]);
        let tensors = SafeTensors::deserialize(bytes).unwrap();
        let mut views: Vec<(String, TensorView)> = tensors.tensors();
        if let Some((name, shape, dtype, data)) = &tensor {
            views.retain(|(n, _)| n != name);
            if !shape.is_empty() {
                views.push((name.to_string(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
            }
        }
        safetensors::serialize(views, Some(metadata)).unwrap()
    }

    #[test]
    fn a_file_goes_round_and_halves_are_close() {
        let read = |stored| parse(&written(stored, |_| {}), &Device::Cpu).unwrap();
        let (whole, halves) = (read(Stored::F32), read(Stored::F16));
        assert_eq!(
            (&whole.words, &whole.training),
            (&WordList::default(), &json!({"steps": 3}))
        );
        assert!(written(Stored::F32, |_| {}) == written(Stored::F32, |_| {}));
        assert_eq!(whole.model.config(), &config());
        assert!(halves.bytes < whole.bytes * 2 / 3);
        let logits = |file: &LoopMoeFile| {
            let path = config().standard_path(3);
            let mut cache = LatentCache::default();
            let run = file
                .model
                .forward(&ids(&[0, 5, 9]), &path, &mut cache, &Excluded::new(), &mut ());
            run.unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let (a, b) = (logits(&whole), logits(&halves));
        assert!(
            a != b && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.05),
            "{a:?} {b:?}"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let good = written(Stored::F32, |_| {});
        let bias = "model.layers.1.mlp.gate.e_score_correction_bias";
        let other = LoopMoeConfig {
            n_routed_experts: 7,
            ..config()
        };
        let shape = "'model.layers.1.mlp.gate.weight' has the shape [6, 12]: expected [7, 12]";
        let odd = LoopMoeConfig {
            iterations: 9,
            ..config()
        };
        let same = || ("training", json!(null));
        for (entry, tensor, expected) in [
            (
                ("format", json!("x\u{1b}")),
                None,
                "format = \"x\\u001b\": this version",
            ),
            (("format", json!(2)), None, "format = 2: this version"),
            (("config", json!({"hidden": 3})), None, "unknown field `hidden`"),
            (("config", json!(odd)), None, "iterations is 9: expected 1 to 8"),
            (("words", json!(["a"])), None, "list 1 words"),
            (("config", json!(other)), None, shape),
            (
                same(),
                Some((bias, vec![5], Dtype::F32, vec![0; 20])),
                "e_score_correction_bias' has the shape [5]",
            ),
            (
                same(),
                Some((bias, vec![], Dtype::F32, vec![])),
                "it lacks the tensor 'model.layers.1.mlp.gate.e_score",
            ),
            (
                same(),
                Some(("extra", vec![1], Dtype::F32, vec![0; 4])),
                "tensor 'extra', which its config",
            ),
            (same(), Some((bias, vec![6], Dtype::I32, vec![0; 24])), "of type I32"),
            (
                same(),
                Some((bias, vec![6], Dtype::F32, f32::INFINITY.to_le_bytes().repeat(6))),
                "e_score_correction_bias' holds inf at place 0",
            ),
        ] {
            let said = said(&changed(&good, entry, tensor));
            assert!(said.contains(expected), "{said}");
        }
        assert!(said(&good[..good.len() / 2]).contains("safetensors"));
        let nan = written(Stored::F32, |flat| flat[3] = f32::NAN);
        assert!(said(&nan).contains("'model.embed_tokens.weight' holds NaN at place 3"));
    }
}
