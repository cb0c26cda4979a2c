//! From what the user asked for to a model and its routers in memory.

use std::fs::File;
use std::io::BufReader;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};

use super::events::{LoadRequest, RouterChoice};
use super::settings::Scope;
use crate::model::catalog::Progress;
use crate::model::{self, Model};
use crate::router::{RouterSet, metadata_entry};

/// Routers that ship inside the program.
struct Shipped {
    /// Of their model's file.
    sha256: &'static str,
    best: &'static [u8],
    dr_llm: &'static [u8],
}

const SHIPPED: &[Shipped] = &[Shipped {
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    best: include_bytes!("../../assets/routers/smollm2-135m-instruct.safetensors"),
    dr_llm: include_bytes!("../../assets/routers/smollm2-135m-instruct.dr-llm.safetensors"),
}];

/// Entry of a checkpoint's metadata: the scope its routers were made for.
pub const SCOPE: &str = "scope";

/// Finds or pulls the model and loads it. `pulling(what, done, total)` hears of bytes, `loading` of
/// stages.
pub fn load_model(
    request: &LoadRequest,
    pulling: &mut dyn FnMut(&str, u64, Option<u64>),
    loading: &mut dyn FnMut(&str),
    stop: &AtomicBool,
) -> Result<Model> {
    let device = model::device(&request.device)?;
    let progress = &mut |p: Progress| pulling(&p.what, p.done, p.total);
    let located = model::catalog::locate(request.model.as_deref(), progress, stop)?;
    let sha256 = located.sha256(progress, stop)?;
    Model::load(&located, sha256, &device, request.exact, loading)
}

/// The routers of a choice, checked against the model.
pub fn load_routers(choice: &RouterChoice, model: &Model) -> Result<Option<RouterSet>> {
    let shipped = SHIPPED.iter().find(|shipped| shipped.sha256 == model.info.sha256);
    let built_in = |bytes, name| RouterSet::from_bytes(bytes, name).context("the built-in routers are damaged");
    let routers = match (choice, shipped) {
        (RouterChoice::None, _) | (RouterChoice::BuiltIn, None) => return Ok(None),
        (RouterChoice::File(path), _) => RouterSet::load(path)?,
        (RouterChoice::BuiltIn, Some(shipped)) => built_in(shipped.best, "built-in")?,
        (RouterChoice::DrLlm, Some(shipped)) => built_in(shipped.dr_llm, "dr-llm")?,
        (RouterChoice::DrLlm, None) => bail!(
            "no routers ship for {}, so 'dr-llm' names none: give a checkpoint or 'none'",
            model.info.name
        ),
    };
    let config = model.decoder.config();
    routers.check(&model.info.name, config.layers, config.hidden_size)?;
    Ok(Some(routers))
}

/// The scope that the routers of a choice were made for: what is meant where the user names none. Routers that do not
/// say were made for scope `prompt`, as are those of a file that cannot be read; loading it will tell.
pub fn scope_of(choice: &RouterChoice) -> Scope {
    let known = match choice {
        RouterChoice::None => None,
        RouterChoice::BuiltIn => metadata_entry(SHIPPED[0].best, SCOPE),
        RouterChoice::DrLlm => metadata_entry(SHIPPED[0].dr_llm, SCOPE),
        RouterChoice::File(path) => File::open(path)
            .ok()
            .and_then(|file| metadata_entry(BufReader::new(file), SCOPE)),
    };
    match known {
        Some(name) if name == Scope::Token.name() => Scope::Token,
        _ => Scope::Prompt,
    }
}
