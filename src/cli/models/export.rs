//! `models export`: a fixed program as a GGUF file that other programs run.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Error, Result, anyhow, bail};
use clap::Args;
use indicatif::HumanBytes;

use crate::cli::UsageError;
use crate::cli::output::{self, check_named_once, refuse_existing, write_whole};
use crate::cli::progress::CommandProgress;
use crate::cli::run::stop_on_signals;
use crate::model::catalog::ModelLocation;
use crate::model::gguf_program::ProgramFile;
use crate::model::{ModelConfig, gguf};
use crate::program::Program;
use crate::text::{counted, escape_controls};

#[derive(Debug, Args)]
pub struct ModelsExportArgs {
    /// A GGUF model: a name from `models list`, a hub name or a .gguf file; the default model if absent
    #[arg(value_name = "NAME|PATH")]
    pub(super) name: Option<String>,
    /// The layers that run, like '0-11 13-29', '0-6 7x2 8-29' or '0-3 (4-6)x2 7-29'
    #[arg(long)]
    program: String,
    /// Where to write the model
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace FILE if it exists
    #[arg(long)]
    force: bool,
}

/// Says what it means that a signal came, or what failed otherwise.
fn stopped(args: &ModelsExportArgs, stop: &AtomicBool, error: Error) -> Error {
    match stop.load(Ordering::Relaxed) {
        true => anyhow!("stopped; nothing was written to {}", args.out.display()),
        false => error,
    }
}

/// Writes in parts, and no more once it is told to stop.
struct Stoppable<'a> {
    out: &'a mut dyn Write,
    stop: &'a AtomicBool,
}

/// Bytes that are written between two looks at the flag.
const PART: usize = 1 << 20;

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        self.out.write(&bytes[..bytes.len().min(PART)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub(super) fn export(args: &ModelsExportArgs) -> Result<()> {
    refuse_existing(&args.out, args.force)?;
    let located = output::locate(args.name.as_deref())?;
    let path = match &located.location {
        ModelLocation::Gguf(path) => path,
        ModelLocation::Folder(path) => bail!(
            "{} is a folder of safetensors, and only GGUF files are exported; convert it first with llama.cpp's \
             convert_hf_to_gguf.py, then export the file that it writes",
            escape_controls(&path.display().to_string())
        ),
        ModelLocation::LoopMoe(_) | ModelLocation::BuiltIn => bail!(
            "{} is a LoopMoE model, an architecture that GGUF has no name for; run its programs here with `run --program`",
            located.name
        ),
    };
    check_named_once(&[&args.out], &[path])?;
    let source = gguf::open(path)?;
    let layers = ModelConfig::from_gguf(&source.content)?.layers;
    let program = Program::parse(&args.program, layers);
    let program =
        program.map_err(|e| UsageError::new(format!("--program '{}': {e}", args.program.escape_default())))?;
    let bar = CommandProgress::announcing();
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop)?;
    let sha256 = located.sha256(&mut |step| bar.bytes(&step.what, step.done, step.total), &stop);
    let sha256 = sha256.map_err(|error| stopped(args, &stop, error.into()))?;
    bar.finish();
    let file = ProgramFile::new(&source, &sha256, &program).map_err(|e| UsageError::new(e.to_string()))?;
    let written = write_whole(&args.out, |out| file.write(&mut Stoppable { out, stop: &stop }));
    written.map_err(|error| stopped(args, &stop, error))?;
    crate::note!(
        "{}: {} of the {layers} of {}, {}",
        escape_controls(&args.out.display().to_string()),
        counted(program.depth(), "layer"),
        located.name,
        HumanBytes(file.bytes())
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_ends_where_it_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        let stop = AtomicBool::new(false);
        // Stopped after the first part of two.
        let written = write_whole(&path, |out| {
            let mut out = Stoppable { out, stop: &stop };
            assert_eq!(out.write(&vec![1; PART + 1])?, PART);
            stop.store(true, Ordering::Relaxed);
            out.write_all(&[1])
        });
        assert!(format!("{:#}", written.unwrap_err()).contains("stopped"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
        stop.store(false, Ordering::Relaxed);
        write_whole(&path, |out| {
            Stoppable { out, stop: &stop }.write_all(&vec![1; PART + 1])
        })
        .unwrap();
        assert_eq!(path.metadata().unwrap().len(), PART as u64 + 1);
    }
}
