//! Hugging Face folders: which files one has to have.

use super::catalog::CatalogError;
use crate::files;
use crate::paths;
use crate::text::{escape_controls, without_mark};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// One file with all weights, where they are not split.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// Which weights are in which file, where they are.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// Read when they are there.
pub(super) const OPTIONAL: [&str; 5] = [
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "added_tokens.json",
    "special_tokens_map.json",
];

/// A JSON file of a folder that need not be there; null where it is not.
///
/// # Errors
/// A file that is there and is not JSON, by name and place.
pub(super) fn json(folder: &Path, name: &str) -> Result<serde_json::Value, String> {
    let path = folder.join(name);
    if !files::stands(&path) {
        return Ok(serde_json::Value::Null);
    }
    let bytes = files::read(&path, files::TEXT).map_err(|error| format!("{name}: {error}"))?;
    serde_json::from_slice(without_mark(&bytes)).map_err(|error| format!("{name} is damaged: {error}"))
}

/// That a folder has what a model needs.
pub(super) fn check(path: &Path) -> Result<(), CatalogError> {
    for name in [CONFIG, TOKENIZER] {
        if !path.join(name).is_file() {
            return Err(not_a_folder(path, format!("{name} is missing{}", hint(path))));
        }
    }
    weight_files(path).map(|_| ())
}

/// The safetensors files of a model folder, sorted by name: those its index names, or all.
pub fn weight_files(path: &Path) -> Result<Vec<PathBuf>, CatalogError> {
    let index = path.join(INDEX);
    let names: BTreeSet<String> = if index.is_file() {
        let bytes =
            files::read(&index, files::TEXT).map_err(|error| not_a_folder(path, format!("{INDEX}: {error}")))?;
        shards(&bytes).map_err(|reason| not_a_folder(path, reason))?
    } else {
        let entries = std::fs::read_dir(path).map_err(|error| not_a_folder(path, error.to_string()))?;
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".safetensors"))
            .collect()
    };
    if names.is_empty() {
        return Err(not_a_folder(path, "it has no *.safetensors file".to_owned()));
    }
    let files: Vec<PathBuf> = names.iter().map(|name| path.join(name)).collect();
    match files.iter().zip(&names).find(|(file, _)| !file.is_file()) {
        Some((_, name)) => Err(not_a_folder(
            path,
            format!("{name} is missing, which {INDEX} names; get the folder again"),
        )),
        None => Ok(files),
    }
}

/// The file names in an index. They must lie in the folder itself.
pub(super) fn shards(index: &[u8]) -> Result<BTreeSet<String>, String> {
    let index: serde_json::Value = serde_json::from_slice(index).map_err(|error| format!("{INDEX}: {error}"))?;
    let map = index["weight_map"]
        .as_object()
        .ok_or_else(|| format!("{INDEX} has no weight_map"))?;
    map.values()
        .map(|name| match name.as_str() {
            Some(name) if name.ends_with(".safetensors") && paths::is_plain_name(name) => Ok(name.to_owned()),
            _ => Err(format!(
                "{INDEX} names {}, a file in this folder was expected",
                escape_controls(&name.to_string())
            )),
        })
        .collect()
}

fn not_a_folder(path: &Path, reason: String) -> CatalogError {
    CatalogError::NotAFolder {
        path: escape_controls(&path.display().to_string()),
        reason,
    }
}

/// For folders of GGUF files, which are given by file.
fn hint(path: &Path) -> String {
    let found = std::fs::read_dir(path).ok().and_then(|entries| {
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths
            .filter(|path| path.extension().is_some_and(|end| end == "gguf"))
            .min()
    });
    match found {
        Some(file) => format!(
            "; it holds GGUF files, give one: --model {}",
            escape_controls(&file.display().to_string())
        ),
        None => "; a model folder has config.json, tokenizer.json and *.safetensors".to_owned(),
    }
}
