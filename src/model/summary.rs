//! What a model is, read from its files without loading it.

use super::catalog::{Located, ModelLocation};
use super::folder;
use super::gguf::{self, GgufFile};
use crate::files;
use anyhow::{Context, Result};
use memmap2::Mmap;
use safetensors::SafeTensors;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What `models inspect` shows. Numbers that a file does not state are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub name: String,
    pub architecture: String,
    pub layers: Option<u64>,
    /// Width of the hidden state.
    pub width: Option<u64>,
    pub feed_forward_width: Option<u64>,
    pub heads: Option<u64>,
    pub kv_heads: Option<u64>,
    /// Tokens that the model was trained for.
    pub context: Option<u64>,
    pub vocabulary: Option<u64>,
    pub parameters: u64,
    pub tensors: Vec<TensorKind>,
    pub licence: Option<String>,
    pub chat_template: bool,
    pub path: PathBuf,
    pub bytes: u64,
}

/// All tensors stored in one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorKind {
    #[serde(rename = "type")]
    pub kind: String,
    pub count: u64,
    pub bytes: u64,
}

impl Summary {
    pub fn of(located: &Located) -> Result<Self> {
        let mut summary = match &located.location {
            ModelLocation::Gguf(path) => of_gguf(&gguf::open(path)?),
            ModelLocation::Folder(path) => of_folder(path)?,
        };
        summary.name.clone_from(&located.name);
        if let Some(entry) = located.entry {
            summary.licence = Some(entry.licence.clone());
        }
        Ok(summary)
    }
}

/// Counts tensors by type.
#[derive(Default)]
struct Tally {
    kinds: BTreeMap<String, (u64, u64)>,
    parameters: u64,
}

impl Tally {
    fn add(&mut self, kind: String, elements: u64, bytes: u64) {
        let (count, sum) = self.kinds.entry(kind).or_default();
        *count += 1;
        *sum += bytes;
        self.parameters += elements;
    }

    /// The type that takes most room first.
    fn kinds(self) -> Vec<TensorKind> {
        let kind = |(kind, (count, bytes))| TensorKind { kind, count, bytes };
        let mut kinds: Vec<_> = self.kinds.into_iter().map(kind).collect();
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.bytes));
        kinds
    }
}

fn of_gguf(file: &GgufFile) -> Summary {
    let mut tally = Tally::default();
    for info in file.content.tensor_infos.values() {
        let bytes = gguf::tensor_size(info).expect("sizes were checked when the file was opened");
        let elements = info.shape.dims().iter().map(|&dim| dim as u64).product();
        tally.add(format!("{:?}", info.ggml_dtype), elements, bytes);
    }
    let heads = file.own("attention.head_count");
    Summary {
        name: String::new(),
        architecture: file.architecture().to_owned(),
        layers: file.own("block_count"),
        width: file.own("embedding_length"),
        feed_forward_width: file.own("feed_forward_length"),
        heads,
        kv_heads: file.own("attention.head_count_kv").or(heads),
        context: file.own("context_length"),
        vocabulary: file.array_length("tokenizer.ggml.tokens").or(file.own("vocab_size")),
        parameters: tally.parameters,
        tensors: tally.kinds(),
        licence: file.string("general.license").map(str::to_owned),
        chat_template: file.string("tokenizer.chat_template").is_some(),
        path: file.path.clone(),
        bytes: file.mmap.len() as u64,
    }
}

fn of_folder(path: &Path) -> Result<Summary> {
    let config = path.join(folder::CONFIG);
    let bytes = files::read(&config, files::TEXT).with_context(|| format!("cannot read {}", config.display()))?;
    let config: Value = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is not JSON; get the folder again", config.display()))?;
    let mut tally = Tally::default();
    let mut size = 0;
    for file in folder::weight_files(path)? {
        size += add_safetensors(&mut tally, &file)
            .with_context(|| format!("{} cannot be read as safetensors; get it again", file.display()))?;
    }
    let number = |key: &str| config[key].as_u64();
    let heads = number("num_attention_heads");
    Ok(Summary {
        name: String::new(),
        architecture: config["model_type"].as_str().unwrap_or("unknown").to_owned(),
        layers: number("num_hidden_layers"),
        width: number("hidden_size"),
        feed_forward_width: number("intermediate_size"),
        heads,
        kv_heads: number("num_key_value_heads").or(heads),
        context: number("max_position_embeddings"),
        vocabulary: number("vocab_size"),
        parameters: tally.parameters,
        tensors: tally.kinds(),
        licence: None,
        chat_template: super::chat::ChatTemplate::source_in(path)
            .map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?
            .is_some(),
        path: path.to_path_buf(),
        bytes: size,
    })
}

/// Counts a file's tensors; returns its size in bytes.
fn add_safetensors(tally: &mut Tally, path: &Path) -> Result<u64> {
    let file = files::open(path)?;
    // SAFETY: only read; see gguf::open for a file that is truncated meanwhile.
    let mmap = unsafe { Mmap::map(&file) }?;
    for (_, tensor) in SafeTensors::deserialize(&mmap)?.iter() {
        let elements = tensor.shape().iter().map(|&dim| dim as u64).product();
        tally.add(format!("{:?}", tensor.dtype()), elements, tensor.data().len() as u64);
    }
    Ok(mmap.len() as u64)
}
