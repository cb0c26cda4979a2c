//! A fixed program as a model of its own: a GGUF file whose layers are those that the program runs, in its order.
//!
//! Only the header is made anew. Metadata and tensors are copied as they stand in the source, so that weights stay
//! quantised as they were and other programs run the file as they ran the source. A layer that the program runs twice is
//! there twice: a repeat has keys and values of its own, as any two layers have.

use std::io::{self, Write};

use super::config::{Architecture, ModelConfig};
use super::gguf::GgufFile;
use super::gguf_scan::{self, RawEntry};
use crate::program::Program;
use crate::text::escape_controls;

/// As many layers as llama.cpp takes (`LLAMA_MAX_LAYERS`).
const MOST_LAYERS: usize = 512;
/// Of tensors, where the file names no other.
const ALIGNMENT: usize = 32;
/// The layout that is written; that of version 2 is the same.
const VERSION: u32 = 3;
const U32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Metadata of the architecture that may be a list of one value for each layer.
const OF_EACH_LAYER: [&str; 3] = ["attention.head_count", "attention.head_count_kv", "feed_forward_length"];

/// Why a program cannot be written as a GGUF file.
#[derive(Debug, thiserror::Error)]
pub enum ProgramFileError {
    /// The program runs no layer.
    #[error("the program is empty: a GGUF file needs at least one layer; name the layers that run, like 0-11 13-29")]
    Empty,
    #[error(
        "the program '{0}' has a damped repeat: a GGUF file has whole layers only, and no program that reads it damps one; \
         leave the '~' away, or run it here (`drllm-tui run --program '{0}'`)"
    )]
    /// The program, which has a damped repeat, is no program of whole layers.
    Damped(Program),
    /// The program runs so many layers, more than llama.cpp takes.
    #[error("the program runs {0} layers, llama.cpp takes at most {MOST_LAYERS}; give a shorter one")]
    Long(usize),
    /// The source is a Gemma 3 model, whose layers with windows are known by their numbers alone.
    #[error(
        "{path} is a gemma3 model, of which llama.cpp takes every sixth layer for one without a window, by its number: under \
         '{program}' these would be other layers than here; models of architecture llama, qwen2 and qwen3 can be exported"
    )]
    Windows {
        /// The source's, escaped.
        path: String,
        /// Which was to be written.
        program: Program,
    },
    /// The source has version 1 of the layout.
    #[error(
        "{path} has GGUF version 1, whose lengths are narrower than those that are written; convert it with a current \
         llama.cpp first"
    )]
    Old {
        /// The source's, escaped.
        path: String,
    },
    #[error(
        "{path} has tensor {tensor}, which is of no layer of its {layers}; leaving it out could change what it computes"
    )]
    /// A tensor is named like one of a layer that the source does not have.
    Stray {
        /// The source's, escaped.
        path: String,
        /// Its name, escaped.
        tensor: String,
        /// Layers of the source.
        layers: usize,
    },
    /// The source's header cannot be read as a model's.
    #[error("cannot read the shape of {path}: {reason}")]
    Shape {
        /// The source's, escaped.
        path: String,
        /// What is missing or wrong.
        reason: String,
    },
}

/// A program's file, ready to be written.
pub struct ProgramFile<'a> {
    /// The file up to the padding before its tensors.
    header: Vec<u8>,
    /// What follows, each padded to the alignment.
    tensors: Vec<&'a [u8]>,
    alignment: usize,
}

impl<'a> ProgramFile<'a> {
    /// The model that `program` makes of `source`, whose weights have the sum `sha256`.
    ///
    /// # Errors
    /// A program that no GGUF file can hold, and sources whose layers depend on their number.
    pub fn new(source: &'a GgufFile, sha256: &str, program: &Program) -> Result<Self, ProgramFileError> {
        let path = || escape_controls(&source.path.display().to_string());
        let shape = |reason: String| ProgramFileError::Shape { path: path(), reason };
        let config = ModelConfig::from_gguf(&source.content).map_err(|e| shape(format!("{e:#}")))?;
        check(&config, program, path)?;
        let mut entries = Vec::new();
        let mut tensors = Vec::new();
        for bytes in source.files() {
            let raw = gguf_scan::raw_header(bytes).map_err(|flaw| shape(format!("{flaw:?}")))?;
            if raw.version < 2 {
                return Err(ProgramFileError::Old { path: path() });
            }
            // The first part of a split model has the metadata.
            if entries.is_empty() {
                entries = raw.entries;
            }
            tensors.extend(raw.tensors);
        }
        let alignment = source.integer("general.alignment").map_or(ALIGNMENT, |n| n as usize);
        let mut file = ProgramFile {
            header: Vec::new(),
            tensors: Vec::new(),
            alignment,
        };
        let named = tensors.iter().map(|tensor| (text(tensor.name), tensor.form));
        let placed = placed(named.collect(), &config, program).map_err(|tensor| ProgramFileError::Stray {
            path: path(),
            tensor: escape_controls(&tensor),
            layers: config.layers,
        })?;
        let metadata = metadata(&entries, &config, sha256, program);
        let put = &mut file.header;
        put.extend(b"GGUF");
        put.extend(VERSION.to_le_bytes());
        put.extend((placed.len() as u64).to_le_bytes());
        put.extend((metadata.len() as u64).to_le_bytes());
        metadata.iter().for_each(|entry| put.extend(entry));
        let mut offset = 0;
        for (name, source_name, form) in placed {
            let Some(bytes) = source.tensor_bytes(&source_name) else {
                return Err(shape(format!("tensor {} is not in it", escape_controls(&source_name))));
            };
            put.extend(string(name.as_bytes()));
            put.extend(form);
            put.extend((offset as u64).to_le_bytes());
            offset += bytes.len().next_multiple_of(alignment);
            file.tensors.push(bytes);
        }
        Ok(file)
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        let padded = |length: usize| length.next_multiple_of(self.alignment) as u64;
        let tensors: u64 = self.tensors.iter().map(|bytes| padded(bytes.len())).sum();
        padded(self.header.len()) + tensors
    }

    /// Writes the file.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let parts = std::iter::once(&self.header[..]).chain(self.tensors.iter().copied());
        for bytes in parts {
            out.write_all(bytes)?;
            let padding = bytes.len().next_multiple_of(self.alignment) - bytes.len();
            out.write_all(&vec![0; padding])?;
        }
        Ok(())
    }
}

fn check(config: &ModelConfig, program: &Program, path: impl Fn() -> String) -> Result<(), ProgramFileError> {
    if program.is_empty() {
        return Err(ProgramFileError::Empty);
    }
    if program.is_damped() {
        return Err(ProgramFileError::Damped(program.clone()));
    }
    if program.depth() > MOST_LAYERS {
        return Err(ProgramFileError::Long(program.depth()));
    }
    if config.architecture == Architecture::Gemma3 {
        let (path, program) = (path(), program.clone());
        return Err(ProgramFileError::Windows { path, program });
    }
    Ok(())
}

/// The new names of all tensors, their names in the source and their forms: what comes before the layers in the source,
/// the layers of the program, the rest.
///
/// # Errors
/// The name of a tensor of a layer that the model lacks.
#[allow(clippy::type_complexity, reason = "three names beside each other, used once")]
fn placed<'f>(
    tensors: Vec<(String, &'f [u8])>,
    config: &ModelConfig,
    program: &Program,
) -> Result<Vec<(String, String, &'f [u8])>, String> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut layers: Vec<Vec<(String, &[u8])>> = vec![Vec::new(); config.layers];
    let mut in_layers = false;
    for (name, form) in tensors {
        let of_layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
        let Some((number, part)) = of_layer else {
            let outside = if in_layers { &mut after } else { &mut before };
            outside.push((name.clone(), name, form));
            continue;
        };
        let layer = number.parse::<usize>().ok().and_then(|number| layers.get_mut(number));
        let part = part.to_owned();
        layer.ok_or(name)?.push((part, form));
        in_layers = true;
    }
    for (new, &old) in program.layers().iter().enumerate() {
        let parts = layers[old].iter();
        before.extend(parts.map(|(part, form)| (format!("blk.{new}.{part}"), format!("blk.{old}.{part}"), *form)));
    }
    before.extend(after);
    Ok(before)
}

/// The entries of the metadata as they are written, in the source's order.
fn metadata(entries: &[RawEntry], config: &ModelConfig, sha256: &str, program: &Program) -> Vec<Vec<u8>> {
    let prefix = format!("{}.", config.architecture.name());
    let mut written = Vec::with_capacity(entries.len() + 2);
    for raw in entries {
        let key = text(raw.key);
        let own = key.strip_prefix(&prefix);
        // Of the parts that the source is split into, and of a size that is another now.
        if key.starts_with("split.") || ["general.size_label", "general.parameter_count"].contains(&key.as_str()) {
            continue;
        }
        written.push(match (own, key.as_str()) {
            (Some("block_count"), _) => entry(&key, U32, &(program.depth() as u32).to_le_bytes()),
            (Some(own), _) if raw.kind == ARRAY && OF_EACH_LAYER.contains(&own) => {
                entry(&key, ARRAY, &picked(raw.value, config.layers, program))
            }
            (_, "general.name") if raw.kind == STRING => {
                // The length before a string takes 8 bytes.
                let name = format!("{} ({program})", text(&raw.value[8..]));
                entry(&key, STRING, &string(name.as_bytes()))
            }
            _ => entry(&key, raw.kind, raw.value),
        });
    }
    written.push(entry("drllm.program", STRING, &string(program.to_string().as_bytes())));
    written.push(entry("drllm.source_sha256", STRING, &string(sha256.as_bytes())));
    written
}

/// A list of one value for each of `layers` as one for each layer of the program. What is no such list stays as it is.
fn picked(value: &[u8], layers: usize, program: &Program) -> Vec<u8> {
    // The type of its values, their number, the values.
    let (head, values) = value.split_at(12);
    let count = u64::from_le_bytes(head[4..].try_into().expect("eight bytes"));
    if count != layers as u64 || !values.len().is_multiple_of(layers) {
        return value.to_vec();
    }
    let width = values.len() / layers;
    let mut picked = head[..4].to_vec();
    picked.extend((program.depth() as u64).to_le_bytes());
    for &layer in program.layers() {
        picked.extend(&values[layer * width..][..width]);
    }
    picked
}

fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let mut entry = string(key.as_bytes());
    entry.extend(kind.to_le_bytes());
    entry.extend(value);
    entry
}

/// Its length, then its bytes.
fn string(bytes: &[u8]) -> Vec<u8> {
    let mut string = (bytes.len() as u64).to_le_bytes().to_vec();
    string.extend(bytes);
    string
}

/// Names are ASCII where a model is one that runs; what is none is not found again, and refused.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_follow_the_program_and_others_stay() {
        let list = |numbers: &[u16]| {
            let mut list = 2u32.to_le_bytes().to_vec();
            list.extend((numbers.len() as u64).to_le_bytes());
            numbers.iter().for_each(|n| list.extend(n.to_le_bytes()));
            list
        };
        let program = Program::parse("0 (1-2)x2", 3).unwrap();
        assert_eq!(picked(&list(&[7, 8, 9]), 3, &program), list(&[7, 8, 9, 8, 9]));
        assert_eq!(picked(&list(&[7, 8]), 3, &program), list(&[7, 8]));
        assert_eq!(picked(&list(&[]), 3, &program), list(&[]));
    }

    #[test]
    fn tensors_keep_the_sources_order() {
        let config = super::super::testing::small_config();
        let program = Program::parse("2 0x2", 3).unwrap();
        let names = ["token_embd", "blk.0.a", "blk.0.b", "blk.1.a", "blk.2.a", "output"];
        let all = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), &b""[..])).collect();
        let placed = placed(all(&names), &config, &program).unwrap();
        let placed: Vec<(&str, &str)> = placed.iter().map(|(new, old, _)| (&**new, &**old)).collect();
        let expected = [
            ("token_embd", "token_embd"),
            ("blk.0.a", "blk.2.a"),
            ("blk.1.a", "blk.0.a"),
            ("blk.1.b", "blk.0.b"),
            ("blk.2.a", "blk.0.a"),
            ("blk.2.b", "blk.0.b"),
            ("output", "output"),
        ];
        assert_eq!(placed, expected);
        for stray in ["blk.3.a", "blk.x.a", "blk.-1.a"] {
            assert_eq!(super::placed(all(&[stray]), &config, &program).unwrap_err(), stray);
        }
    }
}
