//! Routers on disk: safetensors in the names of the authors' code, metadata of our own.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use super::fast::FastRouters;
use super::input_norm::InputNorm;
use super::mlp::MlpRouter;
use super::predictor::Predictor;
use super::router::Router;
use crate::files::{self, Readers};
use crate::trace::{Calibration, KvMode, PromptRouting, RouterInfo, Scope};

/// Windows of the pooling where a checkpoint does not say: the authors' 8.
pub const DEFAULT_WINDOWS: usize = 8;

/// Entry of the metadata: the scope that the routers were made for.
pub const SCOPE: &str = "scope";

/// Entry of the metadata: what tokens left in skipped layers when the routers were made, as [`KvMode`] names it.
pub const KV: &str = "kv";

/// Bytes of a safetensors header, at most.
const MOST_HEADER: u64 = 100_000_000;

/// The routers of all layers (spec §3, §8).
#[derive(Clone, Debug, PartialEq)]
pub struct RouterSet {
    /// One a layer.
    pub layers: Vec<MlpRouter>,
    /// Windows of the pooling, W.
    pub windows: usize,
    /// Width of the hidden layer, r.
    pub width: usize,
    /// Size of the hidden states they read, d.
    pub hidden_size: usize,
    /// What they do to their input first.
    pub input_norm: InputNorm,
    /// What the checkpoint says of itself: `base_model`, `config_sha256`, `windows`, `width`,
    /// `data_sha256`, `format`; where they are set, `input_norm`, `method`, `scope`, `prompt`, `kv`, `calibration`.
    pub metadata: HashMap<String, String>,
    /// What traces say of them.
    pub info: RouterInfo,
    /// The same routers as decoding asks them.
    pub fast: FastRouters,
}

/// An entry of a checkpoint's metadata, if it has one; reads no more than its header.
pub fn metadata_entry(mut checkpoint: impl Read, key: &str) -> Option<String> {
    let mut length = [0; 8];
    checkpoint.read_exact(&mut length).ok()?;
    let header = checkpoint.take(u64::from_le_bytes(length).min(MOST_HEADER));
    let header: serde_json::Value = serde_json::from_reader(header).ok()?;
    Some(header.get("__metadata__")?.get(key)?.as_str()?.to_owned())
}

/// Reads a checkpoint's bytes: routers of layers, or a predictor of programs. `name` is for messages and the trace.
///
/// # Errors
/// Damaged files, missing layers and shapes that do not agree are named.
pub fn read_router(bytes: &[u8], name: &str) -> Result<Box<dyn Router>> {
    let (tensors, metadata) = parts(bytes, name)?;
    if Predictor::is_there(&metadata, &tensors) {
        return Ok(Box::new(Predictor::read(&tensors, metadata, name, &sum(bytes))?));
    }
    Ok(Box::new(RouterSet::from_bytes(bytes, name)?))
}

/// Reads a checkpoint file, see [`read_router`].
///
/// # Errors
/// As there, and a file that cannot be read.
pub fn load_router(path: &Path) -> Result<Box<dyn Router>> {
    let (bytes, name) = read_file(path)?;
    read_router(&bytes, &name)
}

fn read_file(path: &Path) -> Result<(Vec<u8>, String)> {
    let bytes =
        files::read(path, files::DATA).with_context(|| format!("cannot read the routers {}", path.display()))?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Ok((bytes, name.into_owned()))
}

fn parts<'b>(bytes: &'b [u8], name: &str) -> Result<(SafeTensors<'b>, HashMap<String, String>)> {
    let damaged = || format!("{name} is no router checkpoint: it cannot be read as safetensors");
    let (_, header) = SafeTensors::read_metadata(bytes).with_context(damaged)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    Ok((SafeTensors::deserialize(bytes).with_context(damaged)?, metadata))
}

fn sum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

impl RouterSet {
    /// Reads the bytes of a checkpoint of routers of layers; `name` is for messages and the trace.
    ///
    /// # Errors
    /// Damaged files, missing layers and shapes that do not agree are named; a predictor of programs.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self> {
        let (tensors, metadata) = parts(bytes, name)?;
        ensure!(
            !Predictor::is_there(&metadata, &tensors),
            "{name} predicts whole programs, and routers of layers are needed here"
        );
        let count = (0..)
            .take_while(|l| tensors.tensor(&tensor_name(*l, "linear1.weight")).is_ok())
            .count();
        ensure!(
            count > 0,
            "{name} holds no routers: expected tensors named model.routers.0.linear1.weight and so on"
        );
        ensure!(
            tensors.len() == 4 * count,
            "{name} holds {} tensors, expected 4 for each of {count} routers",
            tensors.len()
        );
        let first = tensors.tensor(&tensor_name(0, "linear1.weight"))?;
        let &[width, hidden_size] = first.shape() else {
            anyhow::bail!(
                "{name}: model.routers.0.linear1.weight has shape {:?}, expected (r, d)",
                first.shape()
            );
        };
        let read =
            |layer: usize, part: &str, shape: &[usize]| finite_floats(&tensors, &tensor_name(layer, part), shape, name);
        let layers = (0..count).map(|layer| {
            Ok(MlpRouter {
                w1: read(layer, "linear1.weight", &[width, hidden_size])?,
                b1: read(layer, "linear1.bias", &[width])?,
                w2: read(layer, "linear2.weight", &[3, width])?,
                b2: read(layer, "linear2.bias", &[3])?,
            })
        });
        let windows = match metadata.get("windows") {
            Some(w) => {
                let windows = w.parse().ok().filter(|w| (1..=4096).contains(w));
                windows.with_context(|| format!("{name}: its metadata says windows = '{}'", w.escape_default()))?
            }
            None => DEFAULT_WINDOWS,
        };
        Ok(RouterSet {
            layers: layers.collect::<Result<_>>()?,
            windows,
            width,
            hidden_size,
            input_norm: choice(&metadata, "input_norm", &InputNorm::ALL, InputNorm::name, name)?.unwrap_or_default(),
            info: RouterInfo {
                name: name.into(),
                sha256: sum(bytes),
                windows,
                width,
                method: metadata.get("method").cloned(),
                scope: choice(&metadata, SCOPE, &Scope::ALL, Scope::name, name)?,
                prompt: choice(&metadata, "prompt", &PromptRouting::ALL, PromptRouting::name, name)?,
                kv: choice(&metadata, KV, &KvMode::ALL, KvMode::name, name)?,
                calibration: calibration(&metadata, count, name)?,
            },
            metadata,
            fast: FastRouters::default(),
        })
    }

    /// Reads the file of a checkpoint of routers of layers.
    ///
    /// # Errors
    /// As [`Self::from_bytes`], and a file that cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let (bytes, name) = read_file(path)?;
        Self::from_bytes(&bytes, &name)
    }

    /// Writes f32 tensors in the authors' names and the metadata, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let (r, d) = (self.width, self.hidden_size);
        let mut tensors = Vec::new();
        for (layer, router) in self.layers.iter().enumerate() {
            let parts: [(&str, &[f32], Vec<usize>); 4] = [
                ("linear1.weight", &router.w1, vec![r, d]),
                ("linear1.bias", &router.b1, vec![r]),
                ("linear2.weight", &router.w2, vec![3, r]),
                ("linear2.bias", &router.b2, vec![3]),
            ];
            for (part, values, shape) in parts {
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                tensors.push((tensor_name(layer, part), shape, bytes));
            }
        }
        write(path, &tensors, &self.metadata)
    }
}

/// Name, shape and bytes of a tensor in f32 that is to be written.
pub(super) type Part = (String, Vec<usize>, Vec<u8>);

/// Writes a checkpoint, whole or not at all.
pub(super) fn write(path: &Path, tensors: &[Part], metadata: &HashMap<String, String>) -> Result<()> {
    let mut views = Vec::new();
    for (name, shape, bytes) in tensors {
        views.push((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?));
    }
    let bytes = sort_metadata(safetensors::serialize(views, Some(metadata.clone()))?)?;
    files::write(path, &bytes, Readers::All).with_context(|| format!("cannot write the routers {}", path.display()))
}

/// Whether routers made for `made_for` (layers, hidden size) fit a model.
///
/// # Errors
/// Names both shapes.
pub(super) fn check_fit(
    info: &RouterInfo,
    metadata: &HashMap<String, String>,
    made_for: (usize, usize),
    model: &str,
    has: (usize, usize),
) -> Result<()> {
    ensure!(
        made_for == has,
        "the routers {} are for a model of {} layers with hidden size {}{}; {model} has {} layers with hidden size {}. \
         Train routers for it with `drllm-tui train`, or run it with --routers none",
        info.name,
        made_for.0,
        made_for.1,
        match metadata.get("base_model") {
            Some(base) => format!(" ({})", crate::text::escape_controls(base)),
            None => String::new(),
        },
        has.0,
        has.1
    );
    Ok(())
}

/// An entry that names one of `all`, if there is one.
///
/// # Errors
/// Another name: these routers want what this version does not know.
fn choice<T: Copy>(
    metadata: &HashMap<String, String>,
    key: &str,
    all: &[T],
    name_of: fn(T) -> &'static str,
    checkpoint: &str,
) -> Result<Option<T>> {
    let Some(word) = metadata.get(key) else { return Ok(None) };
    let known = all.iter().copied().find(|&value| name_of(value) == word);
    let names: Vec<&str> = all.iter().map(|&value| name_of(value)).collect();
    known.map(Some).with_context(|| {
        format!(
            "{checkpoint}: its metadata says {key} = '{}', which this version does not know: expected {}. Update \
             drllm-tui, or choose other routers",
            word.escape_default(),
            names.join(" or ")
        )
    })
}

fn calibration(metadata: &HashMap<String, String>, layers: usize, checkpoint: &str) -> Result<Option<Calibration>> {
    let Some(json) = metadata.get("calibration") else {
        return Ok(None);
    };
    let parsed = Calibration::parse(json, layers);
    let damaged =
        |why| anyhow::anyhow!("{checkpoint}: its calibration table is damaged: {why}. Make the routers again");
    parsed.map(Some).map_err(damaged)
}

/// Sorts the keys of the header's metadata, which the crate writes in the random order of a hash
/// map: the same routers are the same bytes. The header keeps its length.
fn sort_metadata(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    let (length, _) = SafeTensors::read_metadata(&bytes)?;
    let header = &mut bytes[8..8 + length];
    let mut json: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header)?;
    if let Some(metadata) = json.get_mut("__metadata__").and_then(|m| m.as_object_mut()) {
        metadata.sort_keys();
    }
    let mut sorted = serde_json::to_vec(&json)?;
    sorted.resize(length, b' ');
    header.copy_from_slice(&sorted);
    Ok(bytes)
}

/// The numbers of a tensor of this shape, all finite; `checkpoint` is for messages.
pub(super) fn finite_floats(tensors: &SafeTensors, name: &str, shape: &[usize], checkpoint: &str) -> Result<Vec<f32>> {
    let tensor = tensors
        .tensor(name)
        .with_context(|| format!("{checkpoint} has no tensor {name}"))?;
    ensure!(
        tensor.shape() == shape,
        "{checkpoint}: {name} has shape {:?}, expected {shape:?}",
        tensor.shape()
    );
    let values = floats(&tensor).with_context(|| format!("{checkpoint}: {name}"))?;
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        anyhow::bail!(
            "{checkpoint}: {name} holds {} at position {at}: the routers are damaged; train them anew, or run with \
             --routers none",
            values[at]
        );
    }
    Ok(values)
}

fn tensor_name(layer: usize, part: &str) -> String {
    format!("model.routers.{layer}.{part}")
}

fn floats(tensor: &TensorView) -> Result<Vec<f32>> {
    let data = tensor.data();
    Ok(match tensor.dtype() {
        Dtype::F32 => data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        Dtype::BF16 => data
            .chunks_exact(2)
            .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect(),
        Dtype::F16 => data
            .chunks_exact(2)
            .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect(),
        other => anyhow::bail!("type {other:?} is not supported; expected F32, BF16 or F16"),
    })
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(layers: usize) -> RouterSet {
        let (r, d) = (2, 3);
        let fill = |n: usize, from: usize| (0..n).map(|i| (i + from) as f32 / 4.0).collect::<Vec<_>>();
        let router = |l: usize| MlpRouter {
            w1: fill(r * d, l),
            b1: fill(r, l),
            w2: fill(3 * r, l),
            b2: fill(3, l),
        };
        RouterSet {
            layers: (0..layers).map(router).collect(),
            windows: 4,
            width: r,
            hidden_size: d,
            input_norm: InputNorm::None,
            metadata: HashMap::from([("windows".into(), "4".into()), ("base_model".into(), "tiny".into())]),
            info: RouterInfo::default(),
            fast: FastRouters::default(),
        }
    }

    #[test]
    fn saves_and_loads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routers.safetensors");
        let routers = small(3);
        routers.save(&path).unwrap();
        let loaded = RouterSet::load(&path).unwrap();
        assert_eq!((&loaded.layers, loaded.windows), (&routers.layers, 4));
        assert_eq!(loaded.info.name, "routers.safetensors");
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
        let bytes = std::fs::read(&path).unwrap();
        for _ in 0..5 {
            routers.clone().save(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "the same routers, the same bytes");
        }
    }

    #[test]
    fn reads_bf16_and_the_default_windows() {
        let values: Vec<u8> = [1.5f32, -2.0]
            .iter()
            .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
            .collect();
        let zeros = vec![0u8; 12];
        let view = |shape: &[usize], bytes: &'static [u8]| TensorView::new(Dtype::BF16, shape.to_vec(), bytes).unwrap();
        let (values, zeros): (&'static [u8], &'static [u8]) = (values.leak(), zeros.leak());
        let tensors = vec![
            ("model.routers.0.linear1.weight", view(&[2, 1], values)),
            ("model.routers.0.linear1.bias", view(&[2], &zeros[..4])),
            ("model.routers.0.linear2.weight", view(&[3, 2], zeros)),
            ("model.routers.0.linear2.bias", view(&[3], &zeros[..6])),
        ];
        let bytes = safetensors::serialize(tensors, None).unwrap();
        let routers = RouterSet::from_bytes(&bytes, "authors").unwrap();
        assert_eq!(routers.layers[0].w1, [1.5, -2.0]);
        assert_eq!(routers.windows, 8);
    }

    fn reloaded(entries: &[(&str, &str)]) -> Result<RouterSet> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("depth.safetensors");
        let mut routers = small(3);
        let entries = entries.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        routers.metadata.extend(entries);
        routers.save(&path).unwrap();
        RouterSet::load(&path)
    }

    #[test]
    fn says_what_it_was_made_for() {
        let plain = reloaded(&[]).unwrap();
        assert_eq!(plain.input_norm, InputNorm::None);
        let names = |info: &RouterInfo| (info.scope, info.prompt, info.kv);
        assert_eq!(names(&plain.info), (None, None, None));
        let json = serde_json::to_string(&plain.info).unwrap();
        assert!(!json.contains("kv") && !json.contains("calibration"), "{json}");
        let table = r#"{"texts":2,"tokens":9,"points":[{"dial":-0.6,"depth":2,"kl":0.2,"agreement":0.8},
            {"dial":-0.5,"depth":3,"kl":0,"agreement":1}]}"#;
        let depth = reloaded(&[
            ("input_norm", "rms"),
            ("method", "depth"),
            ("scope", "token"),
            ("prompt", "full"),
            ("kv", "fill"),
            ("calibration", table),
        ])
        .unwrap();
        assert_eq!(depth.input_norm, InputNorm::Rms);
        let expected = (Some(Scope::Token), Some(PromptRouting::Full), Some(KvMode::Fill));
        assert_eq!(names(&depth.info), expected);
        assert_eq!(depth.info.calibration.as_ref().unwrap().points.len(), 2);
        let json = serde_json::to_string(&depth.info).unwrap();
        assert_eq!(serde_json::from_str::<RouterInfo>(&json).unwrap(), depth.info);
        assert!(
            json.contains(r#""method":"depth","scope":"token","prompt":"full","kv":"fill""#),
            "{json}"
        );
    }

    #[test]
    fn unknown_wishes_and_damaged_tables_are_refused_by_name() {
        for (key, value, parts) in [
            ("input_norm", "layer", ["input_norm = 'layer'", "none or rms"]),
            ("scope", "word", ["scope = 'word'", "prompt or token"]),
            ("prompt", "half", ["prompt = 'half'", "routed or full"]),
            ("kv", "copy", ["kv = 'copy'", "ragged or fill"]),
            ("calibration", "{}", ["depth.safetensors: its calibration", "texts"]),
        ] {
            let message = reloaded(&[(key, value)]).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
            assert!(message.contains("depth.safetensors"), "{message}");
        }
    }

    #[test]
    fn refuses_what_does_not_fit_and_says_both_shapes() {
        let message = small(3).check("big", 30, 576).unwrap_err().to_string();
        for part in ["3 layers", "hidden size 3", "tiny", "30 layers", "hidden size 576"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(small(3).check("tiny", 3, 3).is_ok());
        let error = RouterSet::from_bytes(b"not safetensors", "x").unwrap_err().to_string();
        assert!(error.contains("x is no router checkpoint"), "{error}");
        let error = RouterSet::load(Path::new("/nowhere/r.safetensors"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("cannot read the routers"), "{error}");
    }
}
