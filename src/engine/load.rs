//! From what the user asked for to a model and its routers in memory.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};

use super::events::{LoadRequest, RouterChoice};
use crate::model::catalog::{ModelLocation, PullProgress};
use crate::model::{self, ActivationBits, KvBits, Model, gguf};
use crate::router::checkpoint::{KV, SCOPE};
use crate::router::{Router, load_router, metadata_entry, read_router};
use crate::trace::{KvMode, ModelInfo, Scope};
use crate::{files, paths};

/// Routers that ship inside the program for one model.
struct Shipped {
    /// Of their model's file.
    sha256: &'static str,
    depth: &'static [u8],
    verifier: Option<&'static [u8]>,
    dr_llm: Option<&'static [u8]>,
}

const SHIPPED: &[Shipped] = &[
    Shipped {
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        depth: include_bytes!("../../assets/routers/smollm2-135m-instruct.depth.safetensors"),
        verifier: Some(include_bytes!(
            "../../assets/routers/smollm2-135m-instruct.verifier.safetensors"
        )),
        dr_llm: Some(include_bytes!(
            "../../assets/routers/smollm2-135m-instruct.dr-llm.safetensors"
        )),
    },
    // Qwen2.5-Coder-0.5B-Instruct Q4_K_M of the catalog.
    Shipped {
        sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        depth: include_bytes!("../../assets/routers/qwen2.5-coder-0.5b-instruct.depth.safetensors"),
        verifier: None,
        dr_llm: None,
    },
    // The looped model that is part of the program.
    Shipped {
        sha256: "639f5172c44e15c7b504fba9cf6cc499c7f3d1b837dd095ca103ff5f8ace3d57",
        depth: include_bytes!("../../assets/routers/loopmoe.depth.safetensors"),
        verifier: None,
        dr_llm: None,
    },
];

impl Shipped {
    /// The bytes of a choice among them, and its name; `None` for a choice of others.
    fn of(&self, choice: &RouterChoice) -> Option<(&'static [u8], &'static str)> {
        Some(match choice {
            RouterChoice::BuiltIn => (self.best(), "built-in"),
            RouterChoice::Verifier => (self.verifier?, "verifier"),
            RouterChoice::DrLlm => (self.dr_llm?, "dr-llm"),
            RouterChoice::None | RouterChoice::File(_) => return None,
        })
    }

    /// Those that `built-in` names.
    fn best(&self) -> &'static [u8] {
        self.depth
    }
}

/// Finds or pulls the model and loads it. `pulling(what, done, total)` hears of bytes, `loading` of
/// stages.
pub fn load_model(
    request: &LoadRequest,
    pulling: &mut dyn FnMut(&str, u64, Option<u64>),
    loading: &mut dyn FnMut(&str),
    stop: &AtomicBool,
) -> Result<Model> {
    let (device, note) = model::device_or_note(&request.device)?;
    let progress = &mut |p: PullProgress| pulling(&p.what, p.done, p.total);
    let located = model::catalog::locate(request.model.as_deref(), progress, stop)?;
    if let ModelLocation::Gguf(path) = &located.location {
        // A sum of gigabytes that are no model is nothing to wait for.
        gguf::check_magic(path)?;
    }
    let sha256 = located.sha256(progress, stop)?;
    let mut model = Model::load(&located, sha256, &device, request.exact, loading)?;
    if let Some(iterations) = request.iterations {
        model = model.with_iterations(iterations)?;
    }
    if request.activations == ActivationBits::Eight {
        model = model.with_eight_bit_activations();
    }
    if request.kv_bits == KvBits::Eight {
        model = model.with_eight_bit_kv();
    }
    model.notes.extend(note);
    Ok(model)
}

/// How much routers of one's own were trained, the most first: in the names of their files.
const TRAINED: [&str; 2] = ["full", "quick"];

/// Where depth routers for a model that has none go, which were trained to an extent of `quick` or `full`.
///
/// # Errors
/// Where there is no home folder.
pub fn trained_routers(model: &ModelInfo, extent: &str) -> Result<PathBuf, paths::NoHome> {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name = model.name.strip_suffix(".gguf").unwrap_or(&model.name);
    let name: String = name.chars().take(80).map(plain).collect();
    let sha: String = model.sha256.chars().take(12).collect();
    let iterations = model
        .other_iterations()
        .map_or(String::new(), |k| format!(".{k}-iterations"));
    let file = format!("{name}-{sha}{iterations}.{extent}.depth.safetensors");
    Ok(paths::data_dir()?.join("routers").join(file))
}

/// The routers of a choice, checked against the model. Built-in are those that ship for it, else those that were trained
/// for it on this machine, see [`trained_routers`].
pub fn load_routers(choice: &RouterChoice, model: &Model) -> Result<Option<Box<dyn Router>>> {
    // They have a router for each execution of the training.
    let shipped = SHIPPED
        .iter()
        .find(|shipped| shipped.sha256 == model.info.sha256 && model.info.other_iterations().is_none());
    let routers = match (choice, shipped.and_then(|shipped| shipped.of(choice))) {
        (RouterChoice::None, _) => return Ok(None),
        (RouterChoice::BuiltIn, None) => {
            let paths = TRAINED
                .iter()
                .filter_map(|extent| trained_routers(&model.info, extent).ok());
            match paths.into_iter().find(|path| files::stands(path)) {
                Some(path) => load_router(&path)?,
                None => return Ok(None),
            }
        }
        (RouterChoice::File(path), _) => {
            is_there(path, shipped)?;
            load_router(path)?
        }
        (_, Some((bytes, name))) => read_router(bytes, name).context("the built-in routers are damaged")?,
        (other, None) => bail!(
            "no routers ship for {} as '{other}': give {}a checkpoint or 'none'",
            model.info.name,
            if shipped.is_some() { "'built-in', " } else { "" }
        ),
    };
    let config = model.decoder.config();
    routers.check(&model.info.name, config.layers, config.hidden_size)?;
    Ok(Some(routers))
}

/// Whether there is a file of this name.
///
/// # Errors
/// There is none; the names that routers of the model go by are listed.
fn is_there(path: &Path, shipped: Option<&Shipped>) -> Result<()> {
    let why = match std::fs::metadata(path) {
        Err(error) => error.to_string(),
        Ok(found) if found.is_dir() => "it is a folder".to_owned(),
        Ok(_) => return Ok(()),
    };
    let by_name = [RouterChoice::DrLlm, RouterChoice::Verifier];
    let by_name = by_name.iter().filter_map(|choice| Some(shipped?.of(choice)?.1));
    let names: Vec<&str> = ["built-in"].into_iter().chain(by_name).chain(["none"]).collect();
    bail!(
        "cannot read the routers {}: {why}; expected {}, or the path of a checkpoint",
        path.display(),
        names.join(", ")
    )
}

/// The scope that the routers of a choice were made for: what is meant where the user names none. Routers that do not
/// say were made for scope `prompt`, as are those of a file that cannot be read; loading it will tell.
pub fn scope_of(choice: &RouterChoice) -> Scope {
    let named = entry_of(choice, SCOPE);
    let known = Scope::ALL
        .into_iter()
        .find(|scope| Some(scope.name()) == named.as_deref());
    known.unwrap_or_default()
}

/// What skipped layers are left with where the user does not say, under the routers of a choice in a scope: as when the
/// routers were made. In scope `prompt` all tokens have one program and nothing reads what is filled, so nothing is.
pub fn kv_of(choice: &RouterChoice, scope: Scope) -> KvMode {
    let named = entry_of(choice, KV).filter(|_| scope == Scope::Token);
    let known = KvMode::ALL
        .into_iter()
        .find(|mode| Some(mode.name()) == named.as_deref());
    known.unwrap_or_default()
}

/// An entry of the metadata of the routers of a choice.
fn entry_of(choice: &RouterChoice, key: &str) -> Option<String> {
    match (choice, SHIPPED[0].of(choice)) {
        (_, Some((bytes, _))) => metadata_entry(bytes, key),
        (RouterChoice::File(path), _) => metadata_entry(BufReader::new(files::open(path).ok()?), key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_of_routers_lists_the_names_that_there_are() {
        let refused = |path: &str, shipped| is_there(Path::new(path), shipped).unwrap_err().to_string();
        let message = refused("/nowhere/foo", SHIPPED.first());
        assert!(
            message.starts_with("cannot read the routers /nowhere/foo: "),
            "{message}"
        );
        assert!(
            message.ends_with("; expected built-in, dr-llm, verifier, none, or the path of a checkpoint"),
            "{message}"
        );
        // Only built-in ones ship for the looped model, and none for others.
        for shipped in [SHIPPED.last(), None] {
            let message = refused("foo", shipped);
            assert!(
                message.ends_with("; expected built-in, none, or the path of a checkpoint"),
                "{message}"
            );
        }
        assert!(refused("src", None).contains("it is a folder; expected"));
        assert!(is_there(Path::new("Cargo.toml"), None).is_ok());
    }
}
