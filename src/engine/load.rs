//! From what the user asked for to a model and its routers in memory.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};

use super::events::{LoadRequest, RouterChoice};
use crate::model::catalog::Progress;
use crate::model::{self, Model};
use crate::router::RouterSet;

/// Routers that ship inside the program: the sha256 of their model's file and their checkpoint.
const BUILT_IN: &[(&str, &[u8])] = &[(
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    include_bytes!("../../assets/routers/smollm2-135m-instruct.safetensors"),
)];

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
    let routers = match choice {
        RouterChoice::None => return Ok(None),
        RouterChoice::File(path) => RouterSet::load(path)?,
        RouterChoice::BuiltIn => match BUILT_IN.iter().find(|(sha256, _)| *sha256 == model.info.sha256) {
            Some((_, bytes)) => RouterSet::from_bytes(bytes, "built-in").context("the built-in routers are damaged")?,
            None => return Ok(None),
        },
    };
    let config = model.decoder.config();
    routers.check(&model.info.name, config.layers, config.hidden_size)?;
    Ok(Some(routers))
}
