//! Files that others made, left or linked: reading them within bounds, writing them whole.
//!
//! One rule for links: what replaces a file takes the place of its *name*. A symbolic link that
//! stands there is replaced and what it points to is left alone. Only where a file is gone on with
//! (`--resume`, `--log`) is a link that was named followed, as by any program that appends.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

/// Most bytes of a text that a person or a model's maker writes: settings, lists, templates.
pub const TEXT: u64 = 16 << 20;
/// Most bytes of a tokenizer.json; the largest known have 40 MB.
pub const TOKENIZER: u64 = 256 << 20;
/// Most bytes of data that are read whole: traces, records, questions, checkpoints.
pub const DATA: u64 = 2 << 30;

/// What a temporary file's name ends in.
const PART: &str = ".part";
/// Random characters before that.
const RANDOM: usize = 6;
/// A temporary file this old has no writer, where locks cannot tell.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Opens a regular file for reading. What only looks like a file - a pipe, a device, a socket - is
/// refused without waiting for it.
///
/// # Errors
/// What the system says, and [`ErrorKind::InvalidInput`] for what is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    regular(&path.metadata()?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    without_waiting(&mut options);
    let file = options.open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file whole, at most `most` bytes.
///
/// # Errors
/// As [`open`], and [`ErrorKind::InvalidData`] for a file that is larger.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    if length > most {
        return Err(too_large(most));
    }
    read_from(file, most)
}

/// As [`read`], for text in UTF-8.
///
/// # Errors
/// As [`read`], and [`ErrorKind::InvalidData`] for other text, with the place.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = 1 + e.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count();
        let message = format!("it is not UTF-8 text (line {line}, byte {at}); save it as UTF-8");
        io::Error::new(ErrorKind::InvalidData, message)
    })
}

/// Reads all of standard input, say, at most `most` bytes.
///
/// # Errors
/// What the system says, and [`ErrorKind::InvalidData`] for more.
pub fn read_from(reader: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(too_large(most)),
        false => Ok(bytes),
    }
}

/// Whether anything stands at a path, a link that leads nowhere included.
pub fn stands(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Refuses to replace what is no file: a folder, a device, a pipe, or a link to one.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], in words.
pub fn check_replaceable(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(there) => regular(&there),
        // Nothing, or a link that leads nowhere and is replaced.
        Err(_) => Ok(()),
    }
}

fn regular(there: &Metadata) -> io::Result<()> {
    let kind = there.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let (error, what) = match kind.is_dir() {
        true => (ErrorKind::IsADirectory, "a folder"),
        false => (ErrorKind::InvalidInput, "a pipe, a device or a socket"),
    };
    Err(io::Error::new(error, format!("it is not a regular file but {what}")))
}

fn too_large(most: u64) -> io::Error {
    let message = format!("it has more than {} MiB; is it the right file?", most >> 20);
    io::Error::new(ErrorKind::InvalidData, message)
}

/// Opening a pipe does not wait for its other end.
pub fn without_waiting(options: &mut OpenOptions) {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NONBLOCK);
    #[cfg(not(unix))]
    let _ = options;
}

/// Whether a file is ours alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// This program holds the lock until the file is closed.
    Held,
    /// Another process has it.
    Busy,
    /// The file system knows no locks.
    Unknown,
}

/// Asks for a file's lock and does not wait.
pub fn lock(file: &File) -> Locked {
    match file.try_lock() {
        Ok(()) => Locked::Held,
        Err(TryLockError::WouldBlock) => Locked::Busy,
        Err(TryLockError::Error(_)) => Locked::Unknown,
    }
}

/// The right to make a file, for as long as that takes: held by one process at a time. It is the lock of a file beside the
/// one that is made, hidden, which goes when the right is given up.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    /// Keeps the lock.
    _file: File,
    is_sure: bool,
}

/// Asks for the right to make `path` and does not wait; `None` where another process has it. Where the file system knows
/// no locks everyone gets it, as [`Claim::is_sure`] says.
///
/// # Errors
/// What the system says; something beside it that is no file.
pub fn claim(path: &Path) -> io::Result<Option<Claim>> {
    let mut name = prefix_of(path);
    name.push("lock");
    let path = folder_of(path).join(name);
    loop {
        check_replaceable(&path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        without_waiting(&mut options);
        let file = options.open(&path)?;
        let locked = lock(&file);
        if locked == Locked::Busy {
            return Ok(None);
        }
        // Who held it before may have removed the file between its opening and its lock.
        if stands(&path) && is_one(&file, &path) {
            let is_sure = locked == Locked::Held;
            return Ok(Some(Claim {
                path,
                _file: file,
                is_sure,
            }));
        }
    }
}

impl Claim {
    /// Whether other processes are kept away.
    pub fn is_sure(&self) -> bool {
        self.is_sure
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // It is locked still: whoever opened it meanwhile finds, once they have the lock, that the name is gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether an open file is the one of that name.
fn is_one(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |there: io::Result<Metadata>| there.ok().map(|there| (there.dev(), there.ino()));
        let opened = id(file.metadata());
        opened.is_some() && opened == id(path.metadata())
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
    }
}

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// As of any new file: what the umask leaves.
    All,
    /// The user alone.
    User,
}

/// A file that takes a path's place once it is whole and on the disk.
pub struct Whole {
    file: NamedTempFile,
    path: PathBuf,
}

impl Whole {
    /// A new file beside `path`. What killed writers of `path` left there is removed.
    ///
    /// # Errors
    /// What the system says; something at `path` that is no file.
    pub fn new(path: &Path, readers: Readers) -> io::Result<Whole> {
        check_replaceable(path)?;
        let (folder, prefix) = (folder_of(path), prefix_of(path));
        sweep(&folder, &prefix);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(PART).rand_bytes(RANDOM);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = if readers == Readers::All { 0o666 } else { 0o600 };
            builder.permissions(std::fs::Permissions::from_mode(mode));
        }
        #[cfg(not(unix))]
        let _ = readers;
        loop {
            let file = builder.tempfile_in(&folder)?;
            // The lock says that its writer lives. Another writer of the same path may have removed
            // the file between its making and its lock.
            lock(file.as_file());
            if stands(file.path()) {
                let path = path.to_path_buf();
                return Ok(Whole { file, path });
            }
        }
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// What the system says; the path is then as it was.
    pub fn finish(self) -> io::Result<File> {
        self.file.as_file().sync_all()?;
        let file = self.file.persist(&self.path).map_err(|e| e.error)?;
        if cfg!(unix)
            && let Ok(folder) = File::open(folder_of(&self.path))
        {
            // Where a folder cannot be synchronised the file is there all the same.
            let _ = folder.sync_all();
        }
        Ok(file)
    }
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// What the system says; whatever was at `path` is then untouched.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(Whole::new(path, Readers::All)?);
    fill(&mut out)?;
    let whole = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    whole.finish().map(drop)
}

/// Writes bytes whole or not at all.
///
/// # Errors
/// What the system says; whatever was at `path` is then untouched.
pub fn write(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let mut whole = Whole::new(path, readers)?;
    whole.write_all(bytes)?;
    whole.finish().map(drop)
}

/// Removes what killed writers of `path` left beside it.
pub fn sweep_beside(path: &Path) {
    sweep(&folder_of(path), &prefix_of(path));
}

fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_path_buf()
}

/// What the names of a path's temporary files begin with.
fn prefix_of(path: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    match path.file_name() {
        // A name may have 255 bytes.
        Some(name) if name.len() <= 200 => prefix.push(name),
        _ => prefix.push("drllm-tui"),
    }
    prefix.push(".");
    prefix
}

fn sweep(folder: &Path, prefix: &OsStr) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let prefix = prefix.as_encoded_bytes();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let random = name.as_encoded_bytes().strip_prefix(prefix);
        let random = random.and_then(|rest| rest.strip_suffix(PART.as_bytes()));
        let ours = random.is_some_and(|r| r.len() == RANDOM && r.iter().all(u8::is_ascii_alphanumeric));
        if ours && entry.file_type().is_ok_and(|kind| kind.is_file()) && is_abandoned(&entry.path()) {
            // Another process may have been quicker.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    let Ok(file) = open(path) else { return false };
    match lock(&file) {
        Locked::Held => true,
        Locked::Busy => false,
        Locked::Unknown => {
            let age = file.metadata().and_then(|m| m.modified()).ok();
            age.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > STALE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(read_text(&path, 3).unwrap(), "abc");
        assert!(read(&path, 2).unwrap_err().to_string().contains("right file"));
        std::fs::write(&path, b"a\nb\xff").unwrap();
        let wrong = read_text(&path, 9).unwrap_err().to_string();
        assert!(wrong.contains("line 2, byte 3"), "{wrong}");
        assert_eq!(read(dir.path(), 9).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(read(&dir.path().join("no"), 9).unwrap_err().kind(), ErrorKind::NotFound);
        let sparse = File::create(&path).unwrap();
        sparse.set_len(3 << 30).unwrap();
        assert!(read(&path, DATA).is_err());
    }

    #[test]
    fn one_at_a_time_makes_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("r.st"), dir.path().join("s.st"));
        let held = claim(&path).unwrap().unwrap();
        assert!(held.is_sure());
        assert!(claim(&path).unwrap().is_none(), "it is held");
        assert!(claim(&other).unwrap().is_some(), "another file");
        drop(held);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
        // What a killed process left is no hindrance.
        std::fs::write(dir.path().join(".r.st.lock"), "").unwrap();
        assert!(claim(&path).unwrap().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for path in [pipe.as_path(), Path::new("/dev/zero"), Path::new("/dev/null")] {
            let error = read(path, TEXT).unwrap_err().to_string();
            assert!(error.contains("not a regular file"), "{error}");
            assert!(write(path, b"x", Readers::All).is_err());
        }
        assert!(stands(Path::new("/dev/null")));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_replaced_and_not_what_it_points_to() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        std::fs::write(&target, "precious").unwrap();
        for end in ["target", "nowhere"] {
            std::os::unix::fs::symlink(dir.path().join(end), &link).unwrap();
            assert!(stands(&link));
            write(&link, b"new", Readers::User).unwrap();
            assert!(link.symlink_metadata().unwrap().is_file());
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(link.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::remove_file(&link).unwrap();
        }
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn what_a_kill_leaves_is_removed_and_what_lives_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        std::fs::write(dir.path().join(".out.abCD12.part"), "half").unwrap();
        std::fs::write(dir.path().join(".out.notours.part"), "a").unwrap();
        std::fs::write(dir.path().join(".other.abCD12.part"), "b").unwrap();
        let living = Whole::new(&path, Readers::All).unwrap();
        let mut second = Whole::new(&path, Readers::All).unwrap();
        second.write_all(b"whole").unwrap();
        second.finish().unwrap();
        drop(living);
        let mut left: Vec<_> = dir.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".other.abCD12.part", ".out.notours.part", "out"]);
        assert_eq!(std::fs::read(path).unwrap(), b"whole");
    }
}
