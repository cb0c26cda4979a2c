//! `models export`: a fixed program as a GGUF file that other programs run.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};
use clap::Args;
use indicatif::HumanBytes;

use crate::cli::UsageError;
use crate::cli::output::{self, check_named_once, refuse_existing, write_whole};
use crate::cli::progress::CommandProgress;
use crate::model::catalog::ModelLocation;
use crate::model::gguf_program::ProgramFile;
use crate::model::{ModelConfig, gguf};
use crate::program::Program;
use crate::text::escape_controls;

#[derive(Debug, Args)]
pub struct ModelsExportArgs {
    /// A GGUF model: a name from `models list`, a hub name or a .gguf file; the default model if absent
    #[arg(value_name = "NAME|PATH")]
    name: Option<String>,
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
    let sha256 = located.sha256(
        &mut |step| bar.bytes(&step.what, step.done, step.total),
        &AtomicBool::new(false),
    )?;
    bar.finish();
    let file = ProgramFile::new(&source, &sha256, &program).map_err(|e| UsageError::new(e.to_string()))?;
    write_whole(&args.out, |out| file.write(out))?;
    crate::note!(
        "{}: {} layers of the {layers} of {}, {}",
        escape_controls(&args.out.display().to_string()),
        program.depth(),
        located.name,
        HumanBytes(file.bytes())
    );
    Ok(())
}
