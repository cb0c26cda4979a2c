//! `models`: what models are known, getting one, what is inside one, and a program of one as a model of its own.

mod export;

use super::output;
use super::progress::CommandProgress;
use crate::model::catalog::{self, CatalogEntry, CatalogError, Located, ModelLocation};
use crate::model::loopmoe;
use crate::model::summary::ModelSummary;
use crate::text::escape_controls;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::atomic::AtomicBool;

/// Arguments of `models`.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the models known by name
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Get a model into the cache folder and print its path
    Pull {
        /// A name from `models list`, or of the Hugging Face hub: org/name, or org/name/file.gguf
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Show what a model on this machine is and how it runs: architecture, widths, tensor types, licence, sha256; kernels,
    /// memory, and which fields of its file are read, without effect, not known or refused
    Inspect {
        /// A name from `models list`, a hub name that was pulled, a .gguf file or a model folder
        #[arg(value_name = "NAME|PATH")]
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a fixed program of a model as an ordinary GGUF file: the layers that it runs, in its order, as other programs
    /// (llama.cpp, ollama) run them
    Export(export::ModelsExportArgs),
}

impl ModelsArgs {
    /// Where the model's name goes, if it was left out and the command is about one.
    pub fn unnamed(&mut self) -> Option<&mut Option<String>> {
        let name = match &mut self.command {
            Command::List { .. } => return None,
            Command::Pull { name } | Command::Inspect { name, .. } => name,
            Command::Export(args) => &mut args.name,
        };
        name.is_none().then_some(name)
    }
}

/// Runs `models`.
pub fn run(args: ModelsArgs) -> Result<()> {
    match args.command {
        Command::List { json } => list(json),
        Command::Pull { name } => {
            let located = output::locate(name.as_deref())?;
            if located.location == ModelLocation::BuiltIn {
                crate::note!("{} is inside this program: there is nothing to pull", located.name);
                return Ok(());
            }
            output::print(&format!(
                "{}\n",
                escape_controls(&located.location.path().display().to_string())
            ))
        }
        Command::Inspect { name, json } => inspect(name.as_deref(), json),
        Command::Export(args) => export::export(&args),
    }
}

fn list(json: bool) -> Result<()> {
    if json {
        let mut entries: Vec<_> = catalog::entries().iter().map(as_json).collect::<Result<_>>()?;
        entries.push(built_in_as_json());
        return output::print_json(&entries.into(), true);
    }
    let mut text = String::new();
    for entry in catalog::entries() {
        let is_default = if entry == catalog::default_entry() {
            " (default)"
        } else {
            ""
        };
        let place = escape_controls(&entry.path()?.display().to_string());
        let cached = if entry.is_cached() {
            format!("cached: {place}")
        } else {
            format!("not cached; `drllm-tui models pull {}` gets it", entry.name)
        };
        let size = HumanBytes(entry.bytes);
        writeln!(text, "{}{is_default}  {size}  {}", entry.name, entry.licence)?;
        writeln!(text, "  {}\n  {cached}", entry.description)?;
    }
    let size = HumanBytes(loopmoe::BUILT_IN.len() as u64);
    writeln!(
        text,
        "{}  {size}  {}\n  {BUILT_IN_IS}\n  inside this program; nothing to pull",
        catalog::BUILT_IN,
        env!("CARGO_PKG_LICENSE")
    )?;
    output::print(&text)
}

/// What the model inside this program is.
const BUILT_IN_IS: &str = "LoopMoE: a looped mixture of experts that solves small problems, 6 layers run as 12";

fn as_json(entry: &CatalogEntry) -> Result<serde_json::Value> {
    Ok(json!({
        "name": entry.name,
        "description": entry.description,
        "architecture": entry.architecture,
        "bytes": entry.bytes,
        "sha256": entry.sha256,
        "licence": entry.licence,
        "default": entry == catalog::default_entry(),
        "cached": entry.is_cached(),
        "path": entry.path()?,
    }))
}

fn built_in_as_json() -> serde_json::Value {
    json!({
        "name": catalog::BUILT_IN,
        "description": BUILT_IN_IS,
        "architecture": "loopmoe",
        "bytes": loopmoe::BUILT_IN.len(),
        "sha256": format!("{:x}", Sha256::digest(loopmoe::BUILT_IN)),
        "licence": env!("CARGO_PKG_LICENSE"),
        "default": false,
        "cached": true,
        "path": null,
    })
}

fn inspect(name: Option<&str>, json: bool) -> Result<()> {
    let located = catalog::cached(name)?.with_context(|| {
        let name = name.unwrap_or(&catalog::default_entry().name);
        format!("model {name} is not on this machine; get it with `drllm-tui models pull {name}`")
    })?;
    let summary = ModelSummary::of(&located)?;
    let sha256 = sum(&located)?;
    if let Some(entry) = located.entry
        && entry.sha256 != sha256
    {
        bail!(
            "{} is corrupt: its sha256 is {sha256}, the catalog has {}; get it again with `drllm-tui models pull {}`",
            escape_controls(&summary.path.display().to_string()),
            entry.sha256,
            entry.name
        );
    }
    if json {
        let mut value = serde_json::to_value(&summary)?;
        value["sha256"] = sha256.into();
        return output::print_json(&value, true);
    }
    output::print(&table(&summary, &sha256)?)
}

fn sum(located: &Located) -> Result<String, CatalogError> {
    let bar = CommandProgress::announcing();
    located.sha256(
        &mut |step| bar.bytes(&step.what, step.done, step.total),
        &AtomicBool::new(false),
    )
}

/// How the model runs, and what became of the fields of its file.
fn running(summary: &ModelSummary) -> Vec<(&'static str, String)> {
    let Some(running) = &summary.running else {
        let reason = summary.refused.clone().unwrap_or_default();
        return vec![("refused", reason)];
    };
    let layers = summary.layers.unwrap_or_default();
    let mut rows = vec![(
        "runs",
        format!(
            "{} of {layers} blocks by the packed kernels alone",
            running.blocks_by_kernels
        ),
    )];
    for matrices in &running.matrices {
        let size = HumanBytes(matrices.bytes as u64);
        rows.push(("products", format!("{} × {}, {size}", matrices.count, matrices.how)));
    }
    let kv = running.kv_bytes_a_token as u64;
    let context = summary.context.unwrap_or_default();
    rows.push((
        "memory",
        format!(
            "{} of weights; keys and values {} a token, {} for the whole context",
            HumanBytes(running.bytes as u64),
            HumanBytes(kv),
            HumanBytes(kv.saturating_mul(context))
        ),
    ));
    let fields = &running.fields;
    for (label, list) in [
        ("fields read", &fields.read),
        ("without effect", &fields.ignored),
        ("not known", &fields.unknown),
    ] {
        if !list.is_empty() {
            rows.push((label, list.join(", ")));
        }
    }
    rows.extend(running.notes.iter().map(|note| ("note", note.clone())));
    rows
}

fn table(summary: &ModelSummary, sha256: &str) -> Result<String> {
    let number = |value: Option<u64>| value.map_or("not stated".to_owned(), |value| HumanCount(value).to_string());
    let mut rows = vec![
        ("name", summary.name.clone()),
        ("architecture", summary.architecture.clone()),
        ("layers", number(summary.layers)),
    ];
    if let Some(looped) = &summary.looped {
        let own = summary
            .layers
            .map(|all| all - (looped.layers * (looped.iterations - 1)) as u64);
        let words = format!(
            "{} layers from {} on run {} times: {} layers of their own, and each execution counts as one",
            looped.layers,
            looped.first,
            looped.iterations,
            number(own)
        );
        rows.push(("loop", words));
    }
    rows.extend([
        ("width", number(summary.width)),
        ("feed-forward", number(summary.feed_forward_width)),
        ("heads", number(summary.heads)),
        ("KV heads", number(summary.kv_heads)),
        ("context", number(summary.context)),
        ("vocabulary", number(summary.vocabulary)),
        ("parameters", number(Some(summary.parameters))),
    ]);
    for kind in &summary.tensors {
        let tensors = format!("{} × {}, {}", kind.count, kind.kind, HumanBytes(kind.bytes));
        rows.push(("tensors", tensors));
    }
    let licence = summary.licence.clone().unwrap_or("not stated".to_owned());
    let template = if summary.chat_template { "yes" } else { "no" };
    rows.extend([
        ("chat template", template.to_owned()),
        ("licence", licence),
        ("path", summary.path.display().to_string()),
        (
            "size",
            format!("{} ({} bytes)", HumanBytes(summary.bytes), summary.bytes),
        ),
        ("sha256", sha256.to_owned()),
    ]);
    rows.extend(running(summary));
    let mut text = String::new();
    for (label, value) in rows {
        writeln!(text, "{label:<14} {}", escape_controls(&value))?;
    }
    Ok(text)
}
