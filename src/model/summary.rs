//! What a model is, read from its files without loading it.

use super::catalog::{BUILT_IN, Located, ModelLocation};
use super::config::{Architecture, Fields};
use super::folder;
use super::gguf::{self, GgufFile};
use super::loopmoe::{self, file::LoopMoeFile};
use super::{Decoder, LoadOptions, ModelConfig, WeightSource, loaded};
use crate::files;
use crate::text::{escape_controls, without_mark};
use crate::trace::Loop;
use anyhow::{Context, Result};
use candle_core::{DType, Device};
use memmap2::Mmap;
use safetensors::SafeTensors;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What `models inspect` shows. Numbers that a file does not state are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelSummary {
    /// The catalog's, the hub's, or the file's.
    pub name: String,
    /// As the file names it, not always one that is supported.
    pub architecture: String,
    /// L; of a looped model its executions.
    pub layers: Option<u64>,
    /// Width of the hidden state.
    pub width: Option<u64>,
    /// Width of the feed-forward; of one expert where there are experts.
    pub feed_forward_width: Option<u64>,
    /// Query heads.
    pub heads: Option<u64>,
    /// Key/value heads.
    pub kv_heads: Option<u64>,
    /// Tokens that the model was trained for.
    pub context: Option<u64>,
    /// Tokens that it knows.
    pub vocabulary: Option<u64>,
    /// Where layers are executions of fewer layers, how they come about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looped: Option<Loop>,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// The type that takes most room first.
    pub tensors: Vec<TensorKind>,
    /// SPDX identifier, or as the file names it.
    pub licence: Option<String>,
    /// Whether a conversation can be put to it.
    pub chat_template: bool,
    /// The file, the first one of several, or the folder.
    pub path: PathBuf,
    /// Of all files with weights.
    pub bytes: u64,
    /// How the model runs on the CPU; none where it is refused.
    pub running: Option<Running>,
    /// Why the model is refused.
    pub refused: Option<String>,
}

/// How a model runs on the CPU, found out by loading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Running {
    /// Blocks that run through the packed kernels whole.
    pub blocks_by_kernels: usize,
    /// The matrices of blocks and head.
    pub matrices: Vec<Matrices>,
    /// Bytes of the weights in memory.
    pub bytes: usize,
    /// Bytes of keys and values that a token leaves.
    pub kv_bytes_a_token: usize,
    /// What became of the fields of its config.
    pub fields: Fields,
    /// What else a user should know, in sentences.
    pub notes: Vec<String>,
}

/// Matrices whose products are computed in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Matrices {
    /// The way, in words.
    pub how: String,
    /// How many there are.
    pub count: usize,
    /// Of their weights in memory.
    pub bytes: usize,
}

/// All tensors stored in one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorKind {
    /// As GGUF or safetensors name it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Tensors of this type.
    pub count: u64,
    /// Of these tensors in the files.
    pub bytes: u64,
}

impl ModelSummary {
    /// Reads a model's files, and loads it to see how it runs.
    ///
    /// # Errors
    /// Files that cannot be read or are no model. What is wrong only when it is loaded is [`Self::refused`].
    pub fn of(located: &Located) -> Result<Self> {
        let mut summary = match &located.location {
            ModelLocation::Gguf(path) => of_gguf(&gguf::open(path)?),
            ModelLocation::Folder(path) => of_folder(path)?,
            ModelLocation::LoopMoe(path) => of_loopmoe(&files::read(path, files::DATA)?, path)?,
            ModelLocation::BuiltIn => of_loopmoe(loopmoe::BUILT_IN, Path::new(BUILT_IN))?,
        };
        summary.name.clone_from(&located.name);
        if located.location == ModelLocation::BuiltIn {
            summary.licence = Some(env!("CARGO_PKG_LICENSE").to_owned());
        }
        if let Some(entry) = located.entry {
            summary.licence = Some(entry.licence.clone());
        }
        match Running::of(located) {
            Ok((config, running)) => {
                // As it was read: lists, other spellings, and what the file leaves out.
                let number = |count: usize| Some(count as u64);
                summary.layers = number(config.layers);
                summary.width = number(config.hidden_size);
                summary.feed_forward_width = number(config.intermediate_size);
                summary.heads = number(config.heads);
                summary.kv_heads = number(config.kv_heads);
                summary.context = number(config.context);
                summary.vocabulary = summary.vocabulary.or(number(config.vocab_size));
                summary.running = Some(running);
            }
            Err(error) => summary.refused = Some(escape_controls(&format!("{error:#}"))),
        }
        Ok(summary)
    }
}

impl Running {
    fn of(located: &Located) -> Result<(ModelConfig, Self)> {
        let loopmoe = |file: LoopMoeFile| {
            let context = file.context();
            let decoder = Decoder::of_loopmoe(file.model, context)?;
            Ok((
                decoder.config().clone(),
                Self::of_decoder(&decoder, Fields::default(), Vec::new())?,
            ))
        };
        let (config, fields, source) = match &located.location {
            ModelLocation::LoopMoe(path) => return loopmoe(loopmoe::file::load(path, &Device::Cpu)?),
            ModelLocation::BuiltIn => return loopmoe(loopmoe::file::parse(loopmoe::BUILT_IN, &Device::Cpu)?),
            ModelLocation::Gguf(path) => {
                let file = gguf::open(path)?;
                let (config, fields) = ModelConfig::from_metadata(&file.content)?;
                (config, fields, WeightSource::Gguf(Box::new(file)))
            }
            ModelLocation::Folder(path) => {
                let (config, fields) = ModelConfig::from_folder(&path.join(folder::CONFIG))?;
                (config, fields, WeightSource::open_folder(path)?)
            }
        };
        let notes = loaded::tensor_notes(&config, &source);
        let place = LoadOptions {
            device: Device::Cpu,
            dtype: DType::F32,
            exact: false,
            fused: false,
        };
        let decoder = Decoder::load(config, &source, place, &mut |_| {})?;
        Ok((decoder.config().clone(), Self::of_decoder(&decoder, fields, notes)?))
    }

    fn of_decoder(decoder: &Decoder, fields: Fields, notes: Vec<String>) -> Result<Self> {
        let matrices = decoder.ways().into_iter();
        Ok(Running {
            blocks_by_kernels: decoder.blocks_by_kernels(),
            matrices: matrices
                .map(|(how, count, bytes)| Matrices { how, count, bytes })
                .collect(),
            bytes: decoder.bytes(),
            kv_bytes_a_token: decoder.kv_bytes_a_token()?,
            notes: fields.notes.iter().cloned().chain(notes).collect(),
            fields,
        })
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

fn of_gguf(file: &GgufFile) -> ModelSummary {
    let mut tally = Tally::default();
    for (name, info) in &file.content.tensor_infos {
        let bytes = gguf::tensor_size(info).expect("sizes were checked when the file was opened");
        let elements = info.shape.dims().iter().map(|&dim| dim as u64).product();
        tally.add(file.type_name(name, info), elements, bytes);
    }
    let heads = file.own("attention.head_count");
    ModelSummary {
        name: String::new(),
        architecture: file.architecture().to_owned(),
        layers: file.own("block_count"),
        width: file.own("embedding_length"),
        feed_forward_width: file.own("feed_forward_length"),
        heads,
        kv_heads: file.own("attention.head_count_kv").or(heads),
        context: file.own("context_length"),
        vocabulary: file.array_length("tokenizer.ggml.tokens").or(file.own("vocab_size")),
        looped: None,
        parameters: tally.parameters,
        tensors: tally.kinds(),
        licence: file.string("general.license").map(str::to_owned),
        chat_template: file.string("tokenizer.chat_template").is_some(),
        path: file.path.clone(),
        bytes: file.bytes(),
        running: None,
        refused: None,
    }
}

fn of_loopmoe(bytes: &[u8], path: &Path) -> Result<ModelSummary> {
    let file = loopmoe::file::parse(bytes, &Device::Cpu)?;
    let mut tally = Tally::default();
    add_tensors(&mut tally, bytes)?;
    let config = file.model.config();
    let number = |count: usize| Some(count as u64);
    Ok(ModelSummary {
        name: String::new(),
        architecture: Architecture::LoopMoe.name().to_owned(),
        layers: number(config.depth(config.iterations)),
        width: number(config.hidden_size),
        feed_forward_width: number(config.moe_intermediate_size),
        heads: number(config.num_attention_heads),
        kv_heads: None,
        context: number(file.context()),
        vocabulary: number(config.vocab_size),
        looped: (config.body_layers > 0).then_some(Loop {
            first: config.prefix_layers,
            layers: config.body_layers,
            iterations: config.iterations,
            trained: None,
        }),
        parameters: tally.parameters,
        tensors: tally.kinds(),
        licence: None,
        chat_template: true,
        path: path.to_path_buf(),
        bytes: bytes.len() as u64,
        running: None,
        refused: None,
    })
}

fn of_folder(path: &Path) -> Result<ModelSummary> {
    let config = path.join(folder::CONFIG);
    let bytes = files::read(&config, files::TEXT).with_context(|| format!("cannot read {}", config.display()))?;
    let config: Value = serde_json::from_slice(without_mark(&bytes))
        .with_context(|| format!("{} is not JSON; get the folder again", config.display()))?;
    let mut tally = Tally::default();
    let mut size = 0;
    for file in folder::weight_files(path)? {
        size += add_safetensors(&mut tally, &file)
            .with_context(|| format!("{} cannot be read as safetensors; get it again", file.display()))?;
    }
    let number = |key: &str| config[key].as_u64();
    let heads = number("num_attention_heads");
    Ok(ModelSummary {
        name: String::new(),
        architecture: config["model_type"].as_str().unwrap_or("unknown").to_owned(),
        layers: number("num_hidden_layers"),
        width: number("hidden_size"),
        feed_forward_width: number("intermediate_size"),
        heads,
        kv_heads: number("num_key_value_heads").or(heads),
        context: number("max_position_embeddings"),
        vocabulary: number("vocab_size"),
        looped: None,
        parameters: tally.parameters,
        tensors: tally.kinds(),
        licence: None,
        chat_template: super::chat::ChatTemplate::source_in(path)
            .map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?
            .is_some(),
        path: path.to_path_buf(),
        bytes: size,
        running: None,
        refused: None,
    })
}

/// Counts a file's tensors; returns its size in bytes.
fn add_safetensors(tally: &mut Tally, path: &Path) -> Result<u64> {
    let file = files::open(path)?;
    // SAFETY: only read; see gguf::open for a file that is truncated meanwhile.
    let mmap = unsafe { Mmap::map(&file) }?;
    add_tensors(tally, &mmap)?;
    Ok(mmap.len() as u64)
}

fn add_tensors(tally: &mut Tally, bytes: &[u8]) -> Result<()> {
    for (_, tensor) in SafeTensors::deserialize(bytes)?.iter() {
        let elements = tensor.shape().iter().map(|&dim| dim as u64).product();
        tally.add(format!("{:?}", tensor.dtype()), elements, tensor.data().len() as u64);
    }
    Ok(())
}
