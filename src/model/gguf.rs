//! Opening GGUF files that may be truncated, renamed, corrupt or hostile.
//!
//! candle's reader builds what the header declares. So the header is first walked here over the
//! mapped file, without allocating, and refused when it declares more than the file can hold; after
//! candle has read it, every tensor is held against the file's length.

use super::gguf_scan::{self, Flaw};
use super::kernel::{self, Arena, PackedType};
use super::split;
use crate::files;
use crate::text::escape_controls;
use anyhow::Context;
use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use memmap2::Mmap;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

/// The values of `general.architecture` whose blocks this program runs.
pub const SUPPORTED_ARCHITECTURES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

/// A GGUF file whose header is sound and whose tensors all lie within the file; or a model that is split into several
/// such files.
pub struct GgufFile {
    /// Metadata of the file, or of the first one, and the tensors of all.
    pub content: Content,
    /// The file, or the first one.
    pub path: PathBuf,
    /// Holds the weights that are packed from it.
    pub arena: Arena,
    parts: Vec<Part>,
    /// Which part a tensor is in, where there are several.
    part_of: HashMap<String, usize>,
    /// Tensors of IQ4_NL, which `content` calls Q4_0.
    iq4_nl: HashSet<String>,
}

/// One file.
struct Part {
    mmap: Mmap,
    /// Where its tensors begin.
    data: u64,
}

/// Why a GGUF file is not opened. Paths and what is quoted from a file are escaped.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file cannot be read.
    #[error("cannot read model file {path}: {source}; check the path and its permissions")]
    Io {
        /// The file's.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file has no bytes.
    #[error("model file {path} is empty; delete it and get it again (`drllm-tui models pull` for the default model)")]
    Empty {
        /// The file's.
        path: String,
    },
    /// The file is of another kind.
    #[error(
        "{path} is not a GGUF file: expected it to begin with \"GGUF\", found {found}; \
         give a .gguf file or a folder with config.json, tokenizer.json and *.safetensors"
    )]
    NotGguf {
        /// The file's.
        path: String,
        /// What it begins with instead.
        found: String,
    },
    /// The file's layout is of a version that is not read.
    #[error("model file {path} has GGUF version {found}; versions 1, 2 and 3 in little-endian order are supported")]
    Version {
        /// The file's.
        path: String,
        /// The number in the file.
        found: u32,
    },
    #[error(
        "model file {path} is truncated: {what} needs {expected} bytes, the file has {actual}; \
         delete it and get it again"
    )]
    /// The file ends before what its header declares.
    Truncated {
        /// The file's.
        path: String,
        /// Which part of the file lies beyond its end.
        what: String,
        /// Bytes that the file needs to hold it.
        expected: u64,
        /// Bytes that the file has.
        actual: u64,
    },
    /// The file contradicts itself.
    #[error("model file {path} is corrupt: {reason}; delete it and get it again")]
    Corrupt {
        /// The file's.
        path: String,
        /// What contradicts itself or is missing.
        reason: String,
    },
    /// The file is one part of a model, whose name does not say where the others are.
    #[error(
        "model file {path} is one of {parts} parts, and its name does not end in -00001-of-{parts:05}.gguf or another part's \
         number; give the parts their names again, or join them with `llama-gguf-split --merge`"
    )]
    Split {
        /// The file's.
        path: String,
        /// How many there are.
        parts: u64,
    },
    /// A part of a split model does not belong to the others.
    #[error("model file {path} is not part {part} of {parts} of the model: {reason}; get the parts again")]
    Part {
        /// The part's.
        path: String,
        /// From 1.
        part: usize,
        /// How many there are.
        parts: usize,
        /// What does not agree.
        reason: String,
    },
    #[error(
        "model file {path} has tensor {tensor} of type {kind}, which this program does not read; it reads {supported}: use a \
         file of the same model in one of these, such as Q4_K_M"
    )]
    /// A tensor has a type that is not read.
    Type {
        /// The file's.
        path: String,
        /// Its name.
        tensor: String,
        /// The type's name, or its number where it has none here.
        kind: String,
        /// The types that are read, in words.
        supported: String,
    },
    /// The model has an architecture that is not supported.
    #[error(
        "model file {path} has architecture \"{found}\"; supported are {}",
        SUPPORTED_ARCHITECTURES.join(", ")
    )]
    Architecture {
        /// The file's.
        path: String,
        /// Its `general.architecture`.
        found: String,
    },
}

/// Opens a GGUF file of a supported architecture; given one part of a model that is split, all parts.
pub fn open(path: &Path) -> Result<GgufFile, GgufError> {
    let Some(paths) = split::paths(path).filter(|paths| paths.len() > 1) else {
        let mmap = map(path)?;
        let (content, iq4_nl) = parse(&mmap, &escape_controls(&path.display().to_string()))?;
        return Ok(GgufFile {
            parts: vec![Part {
                mmap,
                data: content.tensor_data_offset,
            }],
            content,
            path: path.to_path_buf(),
            arena: Arena::default(),
            part_of: HashMap::new(),
            iq4_nl,
        });
    };
    let mut whole: Option<Content> = None;
    let mut parts = Vec::with_capacity(paths.len());
    let (mut part_of, mut iq4_nl) = (HashMap::new(), HashSet::new());
    for (index, path) in paths.iter().enumerate() {
        let shown = escape_controls(&path.display().to_string());
        let mmap = map(path)?;
        let (content, own) = parse_part(&mmap, &shown, index == 0)?;
        iq4_nl.extend(own);
        let not_it = |reason: String| GgufError::Part {
            path: shown.clone(),
            part: index + 1,
            parts: paths.len(),
            reason,
        };
        for (key, expected) in [("split.no", index), ("split.count", paths.len())] {
            let found = content.metadata.get(key).and_then(integer);
            if found != Some(expected as u64) {
                let found = found.map_or_else(|| "missing".to_owned(), |found| found.to_string());
                return Err(not_it(format!("its {key} is {found}, {expected} was expected")));
            }
        }
        parts.push(Part {
            mmap,
            data: content.tensor_data_offset,
        });
        for name in content.tensor_infos.keys() {
            if part_of.insert(name.clone(), index).is_some() {
                let name = escape_controls(name);
                return Err(not_it(format!("tensor {name} is in another part, too")));
            }
        }
        match &mut whole {
            None => whole = Some(content),
            Some(whole) => whole.tensor_infos.extend(content.tensor_infos),
        }
    }
    let content = whole.expect("a split model has parts");
    let declared = content.metadata.get("split.tensors.count").and_then(integer);
    if declared.is_some_and(|declared| declared != part_of.len() as u64) {
        return Err(GgufError::Corrupt {
            path: escape_controls(&path.display().to_string()),
            reason: format!(
                "the parts have {} tensors together, the first declares {}",
                part_of.len(),
                declared.unwrap_or_default()
            ),
        });
    }
    Ok(GgufFile {
        content,
        path: paths[0].clone(),
        arena: Arena::default(),
        parts,
        part_of,
        iq4_nl,
    })
}

fn map(path: &Path) -> Result<Mmap, GgufError> {
    let shown = escape_controls(&path.display().to_string());
    let io = |source| GgufError::Io {
        path: shown.clone(),
        source,
    };
    let file = files::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.is_dir() {
        return Err(io(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    if metadata.len() == 0 {
        return Err(GgufError::Empty { path: shown });
    }
    // SAFETY: the map is only read. Someone who truncates the file meanwhile ends this process by
    // SIGBUS, as with every memory-mapped model; pulls therefore replace files by rename only.
    unsafe { Mmap::map(&file) }.map_err(io)
}

/// Whether a file, or every part of a model that is split, begins as GGUF files do; the rest is for [`open`].
///
/// # Errors
/// A file that does not, or cannot be read.
pub fn check_magic(path: &Path) -> Result<(), GgufError> {
    let parts = split::paths(path).unwrap_or_else(|| vec![path.to_path_buf()]);
    parts.iter().try_for_each(|part| magic_of(part, path))
}

/// As [`check_magic`], of one file of the model at `whole`.
fn magic_of(path: &Path, whole: &Path) -> Result<(), GgufError> {
    let io = |source| GgufError::Io {
        path: escape_controls(&path.display().to_string()),
        source,
    };
    let mut magic = [0; 4];
    let read = files::open(path).map_err(io)?.read(&mut magic).map_err(io)?;
    match &magic[..read] {
        b"GGUF" => Ok(()),
        _ => open(whole).map(drop),
    }
}

impl GgufFile {
    /// The bytes of the file that has a tensor, and where its tensors begin.
    pub fn holder(&self, name: &str) -> (&[u8], u64) {
        let part = &self.parts[self.part_of.get(name).copied().unwrap_or(0)];
        (&part.mmap, part.data)
    }

    /// The bytes of the file, or of each part.
    pub(super) fn files(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(|part| &part.mmap[..])
    }

    /// Bytes of the file, or of all.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.mmap.len() as u64).sum()
    }

    /// The stored bytes of a tensor, in its own type.
    pub fn tensor_bytes(&self, name: &str) -> Option<&[u8]> {
        let info = self.content.tensor_infos.get(name)?;
        let (bytes, data) = self.holder(name);
        let start = data + info.offset;
        let end = start + tensor_size(info).ok()?;
        bytes.get(start as usize..end as usize)
    }

    /// How a tensor is packed for the CPU kernels, where they take its type.
    pub(super) fn packed_type(&self, name: &str) -> Option<PackedType> {
        match self.iq4_nl.contains(name) {
            true => Some(PackedType::Iq4Nl),
            false => PackedType::of(self.content.tensor_infos.get(name)?.ggml_dtype),
        }
    }

    /// A tensor as candle takes it; of IQ4_NL in Q8_0, which holds its values exactly.
    ///
    /// # Errors
    /// A tensor that is not there, or cannot be put on the device.
    pub fn quantised(&self, name: &str, device: &Device) -> anyhow::Result<QTensor> {
        let info = self.content.tensor_infos.get(name);
        let info = info.with_context(|| format!("the file has no tensor '{name}'"))?;
        if self.iq4_nl.contains(name) {
            let blocks = self.tensor_bytes(name);
            let blocks = blocks.with_context(|| format!("tensor '{name}' lies past the file's end"))?;
            let bytes: Vec<u8> = blocks
                .chunks_exact(kernel::IQ4_NL_BLOCK)
                .flat_map(kernel::iq4_nl_as_q8_0)
                .collect();
            let storage = QStorage::from_data(Cow::Owned(bytes), device, GgmlDType::Q8_0)?;
            return Ok(QTensor::new(storage, info.shape.clone())?);
        }
        let (bytes, data) = self.holder(name);
        let tensor = info.read(&mut Cursor::new(bytes), data, device);
        tensor.with_context(|| format!("cannot read tensor '{name}' of {}", self.path.display()))
    }

    /// The name of a tensor's type.
    pub fn type_name(&self, name: &str, info: &TensorInfo) -> String {
        match self.iq4_nl.contains(name) {
            true => gguf_scan::IQ4_NL.to_owned(),
            false => type_name(info.ggml_dtype),
        }
    }

    /// `general.architecture`, one of [`SUPPORTED_ARCHITECTURES`].
    pub fn architecture(&self) -> &str {
        self.string("general.architecture").unwrap_or_default()
    }

    /// A text of the metadata; none where there is no such key or it holds something else.
    pub fn string(&self, key: &str) -> Option<&str> {
        match self.content.metadata.get(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A whole number of any stored width; negative ones are none.
    pub fn integer(&self, key: &str) -> Option<u64> {
        self.content.metadata.get(key).and_then(integer)
    }

    /// A truth value of the metadata; none where there is no such key or it holds something else.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        match self.content.metadata.get(key) {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    /// Elements of a list in the metadata.
    pub fn array_length(&self, key: &str) -> Option<u64> {
        match self.content.metadata.get(key) {
            Some(Value::Array(values)) => Some(values.len() as u64),
            _ => None,
        }
    }

    /// A key under the architecture's own prefix: `own("block_count")` is `llama.block_count`.
    pub fn own(&self, key: &str) -> Option<u64> {
        self.integer(&format!("{}.{key}", self.architecture()))
    }
}

/// A metadata value as a whole number, whatever width it was stored in.
/// A tensor type as GGUF names it: `Q4_K`.
fn type_name(kind: GgmlDType) -> String {
    let name = format!("{kind:?}");
    match name.strip_suffix('K') {
        Some(bits) => format!("{bits}_K"),
        None => name,
    }
}

/// What `general.file_type` calls a file's mix of tensor types: llama.cpp's `llama_ftype`, of the types that are read.
pub(super) fn file_type_name(value: u64) -> Option<&'static str> {
    Some(match value {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        21 => "Q2_K_S",
        25 => "IQ4_NL",
        32 => "BF16",
        _ => return None,
    })
}

/// Whether a mix is named after a tensor type: `Q4_K_M` after `Q4_K`.
pub(super) fn is_mix_of(mix: &str, kind: &str) -> bool {
    mix.strip_prefix(kind)
        .is_some_and(|size| matches!(size, "" | "_S" | "_M" | "_L"))
}

pub(super) fn integer(value: &Value) -> Option<u64> {
    match *value {
        Value::U8(v) => Some(v.into()),
        Value::U16(v) => Some(v.into()),
        Value::U32(v) => Some(v.into()),
        Value::U64(v) => Some(v),
        Value::I8(v) => v.try_into().ok(),
        Value::I16(v) => v.try_into().ok(),
        Value::I32(v) => v.try_into().ok(),
        Value::I64(v) => v.try_into().ok(),
        _ => None,
    }
}

/// Bytes a tensor takes in the file, or why its shape is impossible.
pub fn tensor_size(info: &TensorInfo) -> Result<u64, String> {
    let dims = info.shape.dims();
    let elements = dims
        .iter()
        .try_fold(1u64, |product, &dim| product.checked_mul(dim as u64));
    let (block, bytes) = (info.ggml_dtype.block_size() as u64, info.ggml_dtype.type_size() as u64);
    let row = dims.last().copied().unwrap_or(1) as u64;
    if !row.is_multiple_of(block) {
        return Err(format!(
            "its rows of {row} do not divide into {:?} blocks of {block}",
            info.ggml_dtype
        ));
    }
    elements
        .and_then(|elements| (elements / block).checked_mul(bytes))
        .ok_or_else(|| format!("its shape {dims:?} is larger than any memory"))
}

/// A file that is a whole model.
fn parse(bytes: &[u8], path: &str) -> Result<(Content, HashSet<String>), GgufError> {
    let (content, iq4_nl) = parse_part(bytes, path, true)?;
    let parts = content.metadata.get("split.count").and_then(integer);
    match parts.filter(|&parts| parts > 1) {
        Some(parts) => Err(GgufError::Split {
            path: path.to_owned(),
            parts,
        }),
        None => Ok((content, iq4_nl)),
    }
}

/// A file whose header is sound and whose tensors lie within it, and the names of those of IQ4_NL; the `first` of a model
/// names the architecture.
fn parse_part(bytes: &[u8], path: &str, first: bool) -> Result<(Content, HashSet<String>), GgufError> {
    let declared = gguf_scan::scan(bytes).map_err(|flaw| described(flaw, bytes, path))?;
    let corrupt = |reason: String| GgufError::Corrupt {
        path: path.to_owned(),
        reason,
    };
    // candle reads the header, and does not know IQ4_NL: it is shown blocks of the same size.
    let header = match declared.iq4_nl.as_slice() {
        [] => Cow::Borrowed(bytes),
        tensors => {
            let mut header = bytes[..declared.end].to_vec();
            let number = gguf_scan::number_of("Q4_0").to_le_bytes();
            tensors
                .iter()
                .for_each(|(_, at)| header[*at..at + 4].copy_from_slice(&number));
            Cow::Owned(header)
        }
    };
    let content =
        Content::read(&mut Cursor::new(&header)).map_err(|error| corrupt(escape_controls(&error.to_string())))?;
    if content.metadata.len() as u64 != declared.metadata || content.tensor_infos.len() as u64 != declared.tensors {
        return Err(corrupt(
            "two metadata entries or two tensors have the same name".to_owned(),
        ));
    }
    if first {
        check_architecture(&content, path)?;
    }
    check_tensors(&content, bytes.len() as u64, path)?;
    let iq4_nl = declared.iq4_nl.into_iter().map(|(name, _)| name).collect();
    Ok((content, iq4_nl))
}

fn check_architecture(content: &Content, path: &str) -> Result<(), GgufError> {
    let path = path.to_owned();
    match content.metadata.get("general.architecture") {
        Some(Value::String(name)) if SUPPORTED_ARCHITECTURES.contains(&name.as_str()) => Ok(()),
        Some(Value::String(name)) => Err(GgufError::Architecture {
            path,
            found: escape_controls(name),
        }),
        _ => Err(GgufError::Corrupt {
            path,
            reason: "it does not name its architecture (general.architecture)".to_owned(),
        }),
    }
}

/// Every tensor must lie within the file; the one that reaches furthest is named when not.
fn check_tensors(content: &Content, actual: u64, path: &str) -> Result<(), GgufError> {
    let mut furthest: Option<(u64, &str)> = None;
    let mut spans = Vec::with_capacity(content.tensor_infos.len());
    for (name, info) in &content.tensor_infos {
        let corrupt = |reason: String| GgufError::Corrupt {
            path: path.to_owned(),
            reason: format!("tensor {}: {reason}", escape_controls(name)),
        };
        let size = tensor_size(info).map_err(corrupt)?;
        let end = content
            .tensor_data_offset
            .checked_add(info.offset)
            .and_then(|start| start.checked_add(size))
            .ok_or_else(|| corrupt(format!("its offset {} is beyond any file", info.offset)))?;
        if size > 0 {
            spans.push((end - size, end, name));
        }
        if furthest.is_none_or(|(known, _)| end > known) {
            furthest = Some((end, name));
        }
    }
    match furthest {
        Some((expected, name)) if expected > actual => Err(GgufError::Truncated {
            path: path.to_owned(),
            what: format!("tensor {}", escape_controls(name)),
            expected,
            actual,
        }),
        _ => apart(spans, path),
    }
}

/// No byte belongs to two tensors: what is loaded is then no larger than the file.
fn apart(mut spans: Vec<(u64, u64, &String)>, path: &str) -> Result<(), GgufError> {
    spans.sort_unstable();
    let overlap = spans.windows(2).find(|pair| pair[1].0 < pair[0].1);
    match overlap {
        Some([(_, _, first), (_, _, second)]) => Err(GgufError::Corrupt {
            path: path.to_owned(),
            reason: format!(
                "the tensors {} and {} share bytes",
                escape_controls(first),
                escape_controls(second)
            ),
        }),
        _ => Ok(()),
    }
}

/// Says which file, and what to do, about a flaw found in the header.
fn described(flaw: Flaw, bytes: &[u8], path: &str) -> GgufError {
    let path = path.to_owned();
    match flaw {
        Flaw::Magic => GgufError::NotGguf {
            path,
            found: format!("\"{}\"", bytes[..bytes.len().min(4)].escape_ascii()),
        },
        Flaw::Version(found) => GgufError::Version { path, found },
        Flaw::Truncated { what, expected } => GgufError::Truncated {
            path,
            what,
            expected,
            actual: bytes.len() as u64,
        },
        Flaw::Absurd(reason) => GgufError::Corrupt { path, reason },
        Flaw::Type { tensor, kind } => GgufError::Type {
            path,
            tensor,
            kind,
            supported: gguf_scan::supported_types(),
        },
    }
}

#[cfg(test)]
#[path = "gguf_tests.rs"]
mod tests;
