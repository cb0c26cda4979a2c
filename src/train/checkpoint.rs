//! Checkpoints of trained layer routers: put together, and recognised when a training is asked for again.

use std::collections::HashMap;

use crate::model::Model;
use crate::router::{FastRouters, InputNorm, MlpRouter, RouterSet};
use crate::trace::RouterInfo;

/// What a checkpoint's metadata say of the model that its routers belong to.
pub fn base_model(model: &Model) -> [(String, String); 3] {
    let config = model.decoder.config();
    [
        ("base_model", model.info.name.clone()),
        ("base_model_sha256", model.info.sha256.clone()),
        ("config_sha256", config.shape_sha256()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
}

/// The first of the metadata's keys in which routers are not those of a training: `expected`, and what
/// [`base_model`] says but for the name.
pub fn differs(
    metadata: impl Fn(&str) -> Option<String>,
    model: &Model,
    expected: &[(&str, String)],
) -> Option<String> {
    let [_, sha256, config] = base_model(model);
    let expected = expected.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    let mut expected = expected.chain([sha256, config]);
    expected
        .find(|(key, value)| metadata(key).as_ref() != Some(value))
        .map(|(key, _)| key)
}

/// Routers of `model`, one a layer, of `width` hidden units that read `windows` windows.
pub fn routers(
    layers: Vec<MlpRouter>,
    (windows, width): (usize, usize),
    input_norm: InputNorm,
    metadata: HashMap<String, String>,
    model: &Model,
) -> RouterSet {
    RouterSet {
        layers,
        windows,
        width,
        hidden_size: model.decoder.config().hidden_size,
        input_norm,
        metadata,
        info: RouterInfo {
            windows,
            width,
            ..RouterInfo::default()
        },
        fast: FastRouters::default(),
    }
}
