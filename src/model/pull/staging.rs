//! The folder a pull works in until all is well.

use super::{Expected, Failure, Job, checksum, sync_folder};
use crate::model::catalog::CatalogError;
use crate::text::escape_controls;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PREFIX: &str = ".pull-";
const WAIT: Duration = Duration::from_millis(200);

/// A folder of its own in the models folder, removed when the pull ends. Whoever holds its lock
/// owns it, so a folder whose lock is free was left by a pull that died.
pub(super) struct Staging {
    dir: PathBuf,
    /// Where parts of the model are kept from one pull to the next.
    kept: PathBuf,
    /// Bytes the model needs, for messages.
    needed: u64,
    /// None where the file system has no locks; the folder's name is then unique.
    _lock: Option<File>,
}

impl Staging {
    /// Waits for other pulls of the same model, and clears what dead ones left.
    pub(super) fn enter(models: &Path, name: &str, needed: u64, job: &mut Job) -> Result<Self, CatalogError> {
        let unwritable = |source: io::Error| unwritable(models, needed, source);
        std::fs::create_dir_all(models).map_err(unwritable)?;
        sweep(models);
        let key = name.replace(['/', '\\'], "--");
        let lock = File::create(models.join(format!("{PREFIX}{key}.lock"))).map_err(unwritable)?;
        let locked = loop {
            match lock.try_lock() {
                Ok(()) => break true,
                Err(TryLockError::WouldBlock) => {
                    job.report(&format!("waiting for another pull of {name}"), 0, None);
                    std::thread::sleep(WAIT);
                }
                Err(TryLockError::Error(error)) => {
                    tracing::debug!("{} has no file locks: {error}", models.display());
                    break false;
                }
            }
            if job.is_cancelled() {
                return Err(CatalogError::Cancelled);
            }
        };
        let dir = if locked {
            models.join(format!("{PREFIX}{key}"))
        } else {
            models.join(format!("{PREFIX}{key}-{}", std::process::id()))
        };
        remove(&dir);
        std::fs::create_dir(&dir).map_err(unwritable)?;
        Ok(Self {
            dir,
            kept: models.join(format!(".parts-{key}")),
            needed,
            _lock: locked.then_some(lock),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// The folder for what the next pull of the model can use, which this one does not make or remove.
    pub(super) fn kept(&self) -> PathBuf {
        self.kept.clone()
    }

    /// An empty folder inside.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.dir.join(name);
        remove(&path);
        std::fs::create_dir_all(&path).map_err(|error| self.failure(error))?;
        Ok(path)
    }

    /// Checks a fetched file, writes it through to the disk and moves it to its place.
    pub(super) fn install(
        &self,
        fetched: &Path,
        place: &Path,
        expected: Expected,
        job: &mut Job,
    ) -> Result<(), Failure> {
        let fail = |error| self.failure(error);
        let mut file = File::open(fetched).map_err(fail)?;
        let bytes = file.metadata().map_err(fail)?.len();
        if expected.bytes.is_some_and(|expected| bytes != expected) {
            return Err(Failure::Source(format!(
                "what it delivered has {bytes} bytes, expected {}",
                expected.bytes.unwrap_or_default()
            )));
        }
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let what = format!("checking {name}");
        let sum = checksum::copy_and_sum(&mut file, &mut io::sink(), &what, Some(bytes), job).map_err(fail)?;
        if expected.sha256.is_some_and(|expected| sum != expected) {
            return Err(Failure::Source(format!(
                "what it delivered has sha256 {sum}, expected {}",
                expected.sha256.unwrap_or_default()
            )));
        }
        file.sync_all().map_err(fail)?;
        self.move_to(fetched, place)?;
        checksum::remember(place, &sum);
        Ok(())
    }

    /// Moves a folder whose files are all checked to its place.
    pub(super) fn install_folder(&self, whole: &Path, place: &Path) -> Result<(), Failure> {
        sync_folder(whole);
        // What stands there is incomplete, or it would have been used.
        remove(place);
        self.move_to(whole, place)
    }

    fn move_to(&self, from: &Path, place: &Path) -> Result<(), Failure> {
        let fail = |error| self.failure(error);
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent).map_err(fail)?;
            std::fs::rename(from, place).map_err(fail)?;
            sync_folder(parent);
        }
        Ok(())
    }

    /// What a failure to read or write in here means.
    pub(super) fn failure(&self, error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::Interrupted => Failure::cancelled(),
            _ => Failure::Fatal(unwritable(&self.dir, self.needed, error)),
        }
    }

    /// As the failure of a full disk, for tools that only say so in words.
    pub(super) fn full(&self) -> Failure {
        self.failure(io::ErrorKind::StorageFull.into())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

fn unwritable(folder: &Path, needed: u64, source: io::Error) -> CatalogError {
    let folder = escape_controls(&folder.display().to_string());
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => CatalogError::Full { folder, needed },
        _ => CatalogError::Cache { folder, source },
    }
}

/// Removes the folders of pulls that died: those whose lock is free.
fn sweep(models: &Path) {
    let Ok(entries) = std::fs::read_dir(models) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix(".lock").filter(|stem| stem.starts_with(PREFIX)) else {
            continue;
        };
        let dir = models.join(stem);
        if !dir.exists() {
            continue;
        }
        // Opening it does not create it: the lock of a live pull must stay the same file.
        if let Ok(lock) = File::open(entry.path())
            && lock.try_lock().is_ok()
        {
            remove(&dir);
        }
    }
}

fn remove(dir: &Path) {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::debug!("{} could not be removed: {error}", dir.display()),
    }
}
