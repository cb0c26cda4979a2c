//! Writing feature files: example by example, so that a kill costs the last few of them.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use half::f16;
use half::slice::HalfFloatSliceExt;
use sha2::{Digest, Sha256};

use super::FeatureKey;
use super::file::{ENTRY, FeatureFile, HEADER, Layout, MAGIC, checksum, read_at, write_at};
use super::scaling::{Moments, Sums};
use crate::files;
use crate::text::escape_controls;

/// The moments that values are scaled by come from this many examples.
const FIRST: usize = 128;
/// Examples between two waits for the disk.
const SYNC_EVERY: usize = 64;

/// Fills a feature file. While it does, no other process may; afterwards all may read.
pub struct FeatureWriter {
    file: FeatureFile,
    /// The first examples, until there are enough for the moments.
    first: Vec<Vec<Vec<f32>>>,
    /// Entries of examples that are written but may not be on the disk yet.
    unsynced: Vec<[u8; ENTRY]>,
    /// What was found wrong with the file that was there.
    pub damage: Option<String>,
}

impl FeatureWriter {
    /// Opens the file of `key` in `folder`, keeping what it holds already as far as every example
    /// agrees with its checksum.
    ///
    /// # Errors
    /// No room on the disk for the rest, a folder that cannot be written, and a file that another
    /// process writes.
    pub fn open(folder: &Path, key: FeatureKey) -> Result<Self> {
        let path = folder.join(format!("features-{}.bin", &key.sha256()[..16]));
        let shown = path.display().to_string();
        let unwritable = || format!("cannot write the features {shown}; choose another folder with --features");
        std::fs::create_dir_all(folder).with_context(unwritable)?;
        files::check_replaceable(&path).with_context(unwritable)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        files::without_waiting(&mut options);
        let fresh = !files::stands(&path);
        let file = options.open(&path).with_context(unwritable)?;
        let begun = Self::begun(file, path.clone(), folder, key, &unwritable);
        if begun.is_err() && fresh {
            // What was refused before anything was written leaves nothing.
            let _ = std::fs::remove_file(&path);
        }
        begun
    }

    fn begun(
        file: File,
        path: PathBuf,
        folder: &Path,
        key: FeatureKey,
        unwritable: &dyn Fn() -> String,
    ) -> Result<Self> {
        let shown = path.display().to_string();
        let alone = lock(&file, &path)?;
        let mut writer = FeatureWriter {
            file: FeatureFile {
                stored: Moments::identity(0),
                counts: Vec::new(),
                path,
                file,
                key,
            },
            first: Vec::new(),
            unsynced: Vec::new(),
            damage: None,
        };
        writer.damage = writer.take_up()?;
        if writer.done() == writer.key().examples {
            return Ok(writer);
        }
        ensure!(
            alone,
            "{shown} is read by another training and is not whole; wait for it or choose another --features"
        );
        check_room(&writer.file, folder)?;
        let begun = match writer.done() {
            0 => writer.begin(),
            _ => writer.file.file.set_len(writer.file.bytes()),
        };
        begun.with_context(unwritable)?;
        Ok(writer)
    }

    /// Examples that are there.
    pub fn done(&self) -> usize {
        self.file.counts.len() + self.first.len()
    }

    /// What the features depend on.
    pub fn key(&self) -> &FeatureKey {
        &self.file.key
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Adds the next example's windows, (n, hidden_size) for each layer.
    pub fn push(&mut self, entering: &[Vec<f32>]) -> Result<()> {
        let finite = entering.iter().position(|w| w.iter().any(|x| !x.is_finite()));
        if let Some(layer) = finite {
            bail!(
                "the hidden state that enters layer {layer} of example {} is not finite: the model computes nonsense \
                 there; try --exact, or another model",
                self.done() + 1
            );
        }
        if self.file.stored.mean.is_empty() {
            self.first.push(entering.to_vec());
            if self.first.len() == FIRST.min(self.key().examples) {
                let first = std::mem::take(&mut self.first);
                self.store_moments(&first)?;
                first.iter().try_for_each(|entering| self.write(entering))?;
            }
        } else {
            self.write(entering)?;
        }
        let all = self.done() == self.key().examples;
        if self.unsynced.len() >= SYNC_EVERY || all {
            self.flush()?;
        }
        Ok(())
    }

    /// Waits until what was written is on the disk, and only then says in the file that it is there.
    pub fn flush(&mut self) -> Result<()> {
        let first = self.file.counts.len() - self.unsynced.len();
        let entries = self.unsynced.concat();
        let place = Layout(&self.file.key).entry(first);
        let file = &self.file.file;
        let written = file.sync_data().and_then(|()| write_at(file, &entries, place));
        self.written(written)?;
        self.unsynced.clear();
        Ok(())
    }

    /// The whole file, for reading.
    pub fn finish(mut self) -> Result<FeatureFile> {
        self.flush()?;
        // Others may read from now on. Where locks are not known, nothing is locked.
        let _ = self.file.file.unlock().and_then(|()| self.file.file.lock_shared());
        Ok(self.file)
    }

    fn written(&self, result: std::io::Result<()>) -> Result<()> {
        result.with_context(|| {
            format!(
                "cannot write to {}; make room, or choose another folder with --features. What is there will be used",
                self.file.path.display()
            )
        })
    }

    fn begin(&mut self) -> std::io::Result<()> {
        let json = self.file.key.to_json();
        let mut header = MAGIC.to_vec();
        header.extend((json.len() as u32).to_le_bytes());
        header.extend(json.as_bytes());
        header.resize(HEADER, b' ');
        self.file.file.set_len(0)?;
        self.file.file.set_len(Layout(&self.file.key).end())?;
        write_at(&self.file.file, &header, 0)
    }

    fn store_moments(&mut self, examples: &[Vec<Vec<f32>>]) -> Result<()> {
        let layout = Layout(&self.file.key);
        let mut sums = Sums::new(self.file.key.layers * layout.row());
        for entering in examples {
            for (layer, windows) in entering.iter().enumerate() {
                sums.add(layer * layout.row(), windows);
            }
        }
        let moments = sums.moments();
        let values = moments.mean.iter().chain(&moments.deviation);
        let mut bytes: Vec<u8> = values.flat_map(|x| x.to_le_bytes()).collect();
        bytes.extend(checksum(Sha256::new_with_prefix(&bytes)).to_le_bytes());
        self.written(write_at(&self.file.file, &bytes, layout.moments()))?;
        self.file.stored = moments;
        Ok(())
    }

    fn write(&mut self, entering: &[Vec<f32>]) -> Result<()> {
        let layout = Layout(&self.file.key);
        let (example, row) = (self.file.counts.len(), layout.row());
        let count = entering.first().map_or(0, |w| w.len() / self.file.key.hidden_size);
        let mut hash = Sha256::new();
        let mut halves = vec![f16::ZERO; count * self.file.key.hidden_size];
        for (layer, windows) in entering.iter().enumerate() {
            let stored = self.file.stored.mean[layer * row..]
                .iter()
                .zip(&self.file.stored.deviation[layer * row..]);
            let scaled = windows.iter().zip(stored).map(|(x, (mean, deviation))| {
                let greatest = f16::MAX.to_f32();
                ((x - mean) / deviation).clamp(-greatest, greatest)
            });
            halves.convert_from_f32_slice(&scaled.collect::<Vec<f32>>());
            let bytes: Vec<u8> = halves.iter().flat_map(|v| v.to_le_bytes()).collect();
            hash.update(&bytes);
            self.written(write_at(&self.file.file, &bytes, layout.values(layer, example)))?;
        }
        let mut entry = [0; ENTRY];
        entry[..4].copy_from_slice(&(count as u32).to_le_bytes());
        entry[8..].copy_from_slice(&checksum(hash).to_le_bytes());
        self.unsynced.push(entry);
        self.file.counts.push(count as u32);
        Ok(())
    }

    /// Takes up what the file holds; says what is wrong with it.
    fn take_up(&mut self) -> Result<Option<String>> {
        let length = self.file.file.metadata().map(|m| m.len()).unwrap_or_default();
        if length == 0 {
            return Ok(None);
        }
        if let Some(wrong) = self.wrong_header() {
            return Ok(Some(wrong));
        }
        let Some(moments) = self.read_moments() else {
            return Ok(self.entry(0).is_some().then(|| "its moments are damaged".to_owned()));
        };
        self.file.stored = moments;
        for example in 0..self.file.key.examples {
            let Some((count, expected)) = self.entry(example) else {
                break;
            };
            let sum = || {
                let mut hash = Sha256::new();
                for layer in 0..self.file.key.layers {
                    hash.update(self.file.raw(layer, example, count).ok()?);
                }
                Some(checksum(hash))
            };
            if count > self.file.key.windows || sum() != Some(expected) {
                if example == 0 {
                    self.file.stored = Moments::identity(0);
                }
                return Ok(Some(format!(
                    "example {} does not agree with its checksum",
                    example + 1
                )));
            }
            self.file.counts.push(count as u32);
        }
        if self.file.counts.is_empty() {
            // The moments come back with the first examples.
            self.file.stored = Moments::identity(0);
        }
        Ok(None)
    }

    fn wrong_header(&self) -> Option<String> {
        let mut header = vec![0; HEADER];
        let whole = read_at(&self.file.file, &mut header, 0).is_ok();
        if !whole || header[..8] != *MAGIC {
            return Some("it is no feature file".into());
        }
        let length = u32::from_le_bytes(header[8..12].try_into().expect("4 bytes")) as usize;
        let json = header.get(12..12 + length)?;
        let Ok(found) = serde_json::from_slice::<FeatureKey>(json) else {
            return Some("its header is damaged".into());
        };
        let fields = |key: &FeatureKey| serde_json::to_value(key).unwrap_or_default();
        let (found, expected) = (fields(&found), fields(&self.file.key));
        let differs = expected
            .as_object()?
            .iter()
            .find(|(name, value)| found[name.as_str()] != **value);
        differs.map(|(name, value)| {
            let found = escape_controls(&found[name.as_str()].to_string());
            format!("it holds features of {name} = {found}, expected {value}")
        })
    }

    fn read_moments(&self) -> Option<Moments> {
        let layout = Layout(&self.file.key);
        let mut bytes = vec![0; layout.moments_length() + 8];
        read_at(&self.file.file, &mut bytes, layout.moments()).ok()?;
        let sum = bytes.split_off(layout.moments_length());
        if checksum(Sha256::new_with_prefix(&bytes)).to_le_bytes() != sum[..] {
            return None;
        }
        let floats = |bytes: &[u8]| -> Vec<f32> {
            let each = bytes.chunks_exact(4);
            each.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        };
        let (mean, deviation) = bytes.split_at(bytes.len() / 2);
        Some(Moments {
            mean: floats(mean),
            deviation: floats(deviation),
        })
    }

    /// Windows and checksum of an example that is there.
    fn entry(&self, example: usize) -> Option<(usize, u64)> {
        let mut entry = [0; ENTRY];
        read_at(&self.file.file, &mut entry, Layout(&self.file.key).entry(example)).ok()?;
        let count = u32::from_le_bytes(entry[..4].try_into().expect("4 bytes")) as usize;
        let sum = u64::from_le_bytes(entry[8..].try_into().expect("8 bytes"));
        (count > 0).then_some((count, sum))
    }
}

/// Locks the file for this process alone, or with other readers: whether alone.
fn lock(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        // Not every file system has locks.
        Ok(()) | Err(TryLockError::Error(_)) => return Ok(true),
        Err(TryLockError::WouldBlock) => {}
    }
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => bail!(
            "{} is being written by another training; wait for it or choose another folder with --features",
            path.display()
        ),
        _ => Ok(false),
    }
}

/// Refuses a file that would fill the disk.
fn check_room(file: &FeatureFile, folder: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let held = file.file.metadata().map(|m| m.blocks() * 512).unwrap_or_default();
        if let Ok(disk) = rustix::fs::statvfs(folder) {
            return room(file.bytes().saturating_sub(held), disk.f_bavail * disk.f_frsize, folder);
        }
    }
    Ok(())
}

fn room(needed: u64, available: u64, folder: &Path) -> Result<()> {
    ensure!(
        needed <= available,
        "the features need {needed} bytes in {}, where {available} are available; make room, or choose a folder on \
         another disk with --features",
        folder.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_before_anything_is_computed() {
        let error = room(1_105_923_072, 500_000, Path::new("/small"))
            .unwrap_err()
            .to_string();
        for part in ["1105923072 bytes", "/small", "500000 are available", "--features"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(room(5, 5, Path::new("/small")).is_ok());
    }
}
