//! `drllm-tui search import`: records from the layouts of the public codebases.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{MOST_NAMED, tell_damaged};
use crate::cli::output::{check_named_once, locate, refuse_existing, write_whole};
use crate::cli::progress::CommandProgress;
use crate::config::Config;
use crate::eval::Task;
use crate::files;
use crate::model::summary::ModelSummary;
use crate::search::Edits;
use crate::search::exchange::{self, Imported, Layout};
use crate::search::records::write_records;
use crate::text::{counted, escape_controls, without_mark};
use crate::trace::ModelInfo;

/// Make records of a file in the layout of Dr.LLM's or PoLar's code.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The file (JSON)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[arg(long, value_enum)]
    format: Layout,
    /// The questions that were searched: the layouts hold no choices
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Where the records go
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The model that was searched: catalog name, GGUF file, Hugging Face folder or hub name; the
    /// default model if absent
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Which programs are kept: action vectors, or PoLar's segments
    #[arg(long, value_enum, default_value_t)]
    edits: Edits,
    /// Leave damaged samples, and those of no question in --data, out
    #[arg(long)]
    skip_damaged: bool,
    /// Replace --out
    #[arg(long)]
    force: bool,
}

impl ImportArgs {
    /// Takes the model that the user configured where the command line names none.
    pub(super) fn configure(&mut self, config: &Config) {
        self.model = self.model.take().or_else(|| config.model.clone());
    }
}

pub fn run(args: &ImportArgs) -> Result<()> {
    check_named_once(&[&args.out], &[&args.file, &args.data])?;
    refuse_existing(&args.out, args.force)?;
    let bytes = files::read(&args.file, files::DATA).with_context(|| format!("cannot read {}", args.file.display()))?;
    let foreign =
        exchange::read(without_mark(&bytes), args.format).with_context(|| format!("in {}", args.file.display()))?;
    let task = Task::load(&args.data)?;
    let model = identify(args.model.as_deref())?;
    let samples = foreign.samples.len();
    let named = foreign.model.clone();
    let imported = exchange::import(foreign, &task, &model, args.edits);
    if !args.skip_damaged && !imported.damaged.is_empty() {
        bail!("{}", refusal(args, &imported, samples));
    }
    write_whole(&args.out, |out| {
        write_records(out, &imported.header, &imported.examples)
    })?;
    tell_damaged(&imported.damaged, "sample", "samples");
    tell(&imported, named.as_deref(), &model);
    crate::note!(
        "{} of {} in {}",
        counted(imported.examples.len(), "record"),
        counted(samples, "sample"),
        args.out.display()
    );
    Ok(())
}

/// Name, sha256 and layers of a model, without loading it.
fn identify(name: Option<&str>) -> Result<ModelInfo> {
    let located = locate(name)?;
    let summary = ModelSummary::of(&located)?;
    let layers = summary
        .layers
        .and_then(|layers| usize::try_from(layers).ok())
        .filter(|&n| n > 0);
    let bar = CommandProgress::announcing();
    Ok(ModelInfo {
        layers: layers.with_context(|| format!("the model {} does not say how many layers it has", summary.name))?,
        sha256: located.sha256(
            &mut |step| bar.bytes(&step.what, step.done, step.total),
            &AtomicBool::new(false),
        )?,
        name: summary.name,
        ..ModelInfo::default()
    })
}

fn refusal(args: &ImportArgs, imported: &Imported, samples: usize) -> String {
    let shown = imported.damaged.iter().take(MOST_NAMED).map(|e| format!("\n  {e:#}"));
    let more = imported.damaged.len().saturating_sub(MOST_NAMED);
    format!(
        "{}: {} of {samples} samples cannot be used; --skip-damaged leaves them out{}{}",
        args.file.display(),
        imported.damaged.len(),
        shown.collect::<String>(),
        if more > 0 {
            format!("\n  and {more} more")
        } else {
            String::new()
        }
    )
}

/// What the user should know of the records.
fn tell(imported: &Imported, named: Option<&str>, model: &ModelInfo) {
    if let Some(named) = named.filter(|named| *named != model.name) {
        crate::note!(
            "the file names the model {}, the records are taken as those of {}",
            escape_controls(named),
            escape_controls(&model.name)
        );
    }
    if imported.programs > 0 && !imported.reaches_end {
        crate::note!(
            "no program runs layer {}, the last of {}: is the file of a model with fewer layers?",
            model.layers - 1,
            escape_controls(&model.name)
        );
    }
    if imported.no_vectors > 0 {
        crate::note!(
            "{} of {} programs left out: {}",
            imported.no_vectors,
            imported.programs,
            match imported.header.settings.edits {
                Edits::Layers => {
                    "they are no action vectors (each layer at most twice, in order); --edits segments keeps PoLar's"
                }
                Edits::Segments => "they are no segments of 1 to 4 layers skipped, kept or run twice, in order",
            }
        );
    }
    if imported.repeated > 0 {
        crate::note!(
            "{} left out: their question was there before",
            counted(imported.repeated, "sample")
        );
    }
}
