//! SHA-256 of model files, remembered so that starts stay fast.
//!
//! What was computed once is kept in the cache folder with the file's size and time of change; as
//! long as both are the same the sum is taken from there. A cache folder that cannot be written
//! only costs the time to compute it again.

use super::pull::Job;
use crate::files::{self, Readers};
use crate::paths;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::Metadata;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

const CHUNK: usize = 1 << 20;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Memo {
    path: PathBuf,
    bytes: u64,
    modified_nanoseconds: u128,
    sha256: String,
    /// Of the others: a memo that is damaged is none.
    #[serde(default)]
    check: String,
}

/// The sum of a file in lower-case hexadecimal, remembered or computed.
pub(super) fn sha256(path: &Path, job: &mut Job) -> io::Result<String> {
    let path = path.canonicalize()?;
    match remembered(&path, &files::open(&path)?.metadata()?) {
        Some(sum) => Ok(sum),
        None => computed(&path, job),
    }
}

/// As [`sha256`], of the bytes that are there now.
pub(super) fn computed(path: &Path, job: &mut Job) -> io::Result<String> {
    let path = path.canonicalize()?;
    let mut file = files::open(&path)?;
    let metadata = file.metadata()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sum = copy_and_sum(
        &mut file,
        &mut io::sink(),
        &format!("checking {name}"),
        Some(metadata.len()),
        job,
    )?;
    remember(&path, &sum);
    Ok(sum)
}

/// Copies all of `from`, and returns the sum of what passed. [`io::ErrorKind::Interrupted`] when
/// the job was cancelled.
pub(super) fn copy_and_sum(
    from: &mut dyn Read,
    to: &mut dyn Write,
    what: &str,
    total: Option<u64>,
    job: &mut Job,
) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0u8; CHUNK];
    let mut done = 0u64;
    loop {
        if job.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = match from.read(&mut buffer) {
            // By a signal; ours is the one above.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if count == 0 {
            return Ok(format!("{:x}", digest.finalize()));
        }
        digest.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
        done += count as u64;
        job.report(what, done, total);
    }
}

/// Keeps a sum that was computed while the file was written.
pub(super) fn remember(path: &Path, sha256: &str) {
    let kept = || -> Option<()> {
        let path = path.canonicalize().ok()?;
        let memo = memo(&path, &path.metadata().ok()?, sha256)?;
        let place = place(&path)?;
        let folder = place.parent()?;
        std::fs::create_dir_all(folder).ok()?;
        files::write(&place, &serde_json::to_vec(&memo).ok()?, Readers::User).ok()
    };
    if kept().is_none() {
        tracing::debug!("the check sum of {} could not be kept", path.display());
    }
}

fn remembered(path: &Path, metadata: &Metadata) -> Option<String> {
    let bytes = files::read(&place(path)?, files::TEXT).ok()?;
    let kept: Memo = serde_json::from_slice(&bytes).ok()?;
    (memo(path, metadata, &kept.sha256)? == kept).then_some(kept.sha256)
}

fn memo(path: &Path, metadata: &Metadata, sha256: &str) -> Option<Memo> {
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let mut memo = Memo {
        path: path.to_path_buf(),
        bytes: metadata.len(),
        modified_nanoseconds: modified.as_nanos(),
        sha256: sha256.to_owned(),
        check: String::new(),
    };
    let fields = serde_json::to_vec(&memo).ok()?;
    memo.check = format!("{:x}", Sha256::digest(&fields));
    Some(memo)
}

/// Where a file's sum is kept; nowhere in unit tests, which leave the user's cache folder alone.
fn place(path: &Path) -> Option<PathBuf> {
    if cfg!(test) {
        return None;
    }
    let key = format!("{:x}", Sha256::digest(path.as_os_str().as_encoded_bytes()));
    Some(
        paths::cache_dir()
            .ok()?
            .join("sums")
            .join(format!("{}.json", &key[..16])),
    )
}
