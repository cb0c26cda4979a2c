//! Files that a source delivers in several parts, joined in their order.
//!
//! What came of them is kept beside the place of the model, with a list of what it is, so that a pull that was stopped
//! goes on after its last whole part. The sum of the joined file says in the end whether all was right.

use super::staging::Staging;
use super::{Failure, Job, checksum};
use crate::files;
use crate::model::catalog::{CatalogEntry, ModelSource};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is kept of a file while its parts come.
pub(super) struct Joined<'a> {
    folder: PathBuf,
    list: List,
    staging: &'a Staging,
}

/// Which parts stand in the joined file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct List {
    /// Of the whole file, as the catalog has it.
    sha256: String,
    parts: Vec<Part>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Part {
    from: String,
    bytes: u64,
}

impl List {
    fn bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes))
    }
}

impl<'a> Joined<'a> {
    /// Takes up what an earlier pull kept of the same parts, or begins anew.
    pub(super) fn open(entry: &CatalogEntry, pieces: &[ModelSource], staging: &'a Staging) -> Result<Self, Failure> {
        let folder = staging.kept();
        let mut joined = Joined {
            list: read_list(&folder).unwrap_or_default(),
            folder,
            staging,
        };
        // Of a link, or of what is no file, nothing is taken up.
        let stored = joined.file().symlink_metadata().ok().filter(|found| found.is_file());
        let stored = stored.map_or(0, |metadata| metadata.len());
        let same = joined
            .list
            .parts
            .iter()
            .zip(pieces)
            .all(|(part, piece)| part.from == described(piece));
        let fits = joined.list.parts.len() <= pieces.len() && joined.list.bytes() <= stored.min(entry.bytes);
        if joined.list.sha256 != entry.sha256 || !same || !fits {
            joined.discard();
            joined.list = List {
                sha256: entry.sha256.clone(),
                parts: Vec::new(),
            };
        }
        std::fs::create_dir_all(&joined.folder).map_err(|error| staging.failure(error))?;
        Ok(joined)
    }

    /// How many parts are there already.
    pub(super) fn count(&self) -> usize {
        self.list.parts.len()
    }

    /// Bytes of the parts that are there.
    pub(super) fn bytes(&self) -> u64 {
        self.list.bytes()
    }

    /// The joined file.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join("joined")
    }

    /// Adds the next part, written through to the disk before the list names it.
    pub(super) fn append(&mut self, part: &Path, piece: &ModelSource, job: &mut Job) -> Result<(), Failure> {
        let fail = |error| self.staging.failure(error);
        let mut from = File::open(part).map_err(fail)?;
        let bytes = from.metadata().map_err(fail)?.len();
        let known = self.list.bytes();
        let mut to = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(self.file())
            .map_err(fail)?;
        // What a pull that died wrote of a part.
        to.set_len(known).map_err(fail)?;
        io::Seek::seek(&mut to, io::SeekFrom::Start(known)).map_err(fail)?;
        checksum::copy_and_sum(&mut from, &mut to, "joining the parts", Some(bytes), job).map_err(fail)?;
        to.sync_all().map_err(fail)?;
        self.list.parts.push(Part {
            from: described(piece),
            bytes,
        });
        self.write_list().map_err(fail)
    }

    /// Forgets what was kept.
    pub(super) fn discard(&self) {
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!("{} could not be removed: {error}", self.folder.display());
            }
            _ => {}
        }
    }

    fn write_list(&self) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        serde_json::to_writer(&mut file, &self.list)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(list_path(&self.folder)).map_err(|error| error.error)?;
        Ok(())
    }
}

fn list_path(folder: &Path) -> PathBuf {
    folder.join("parts.json")
}

/// The list of what was kept; none when there is none that can be read.
fn read_list(folder: &Path) -> Option<List> {
    serde_json::from_slice(&files::read(&list_path(folder), files::TEXT).ok()?).ok()
}

/// What makes a part the same one: where it is from.
fn described(piece: &ModelSource) -> String {
    match piece {
        ModelSource::Hub { repo, file, .. } => format!("{repo}/{file}"),
        ModelSource::Pypi {
            package,
            version,
            member,
            ..
        } => format!("{package} {version}: {member}"),
    }
}

impl ModelSource {
    /// The sources of the parts in their order; of a whole file, itself.
    pub(super) fn pieces(&self) -> Vec<ModelSource> {
        let numbered = |text: &str, n: u32| text.replace("{nn}", &format!("{n:02}")).replace("{n}", &n.to_string());
        let piece = |n: u32| match self {
            ModelSource::Hub { repo, file, .. } => ModelSource::Hub {
                repo: numbered(repo, n),
                file: numbered(file, n),
                parts: 1,
            },
            ModelSource::Pypi {
                package,
                version,
                member,
                ..
            } => ModelSource::Pypi {
                package: numbered(package, n),
                version: version.clone(),
                member: numbered(member, n),
                parts: 1,
            },
        };
        match self.parts() {
            1 => vec![self.clone()],
            parts => (1..=parts).map(piece).collect(),
        }
    }
}
