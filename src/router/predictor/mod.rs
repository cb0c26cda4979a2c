//! PoLar's predictor: a question in, whole programs out, before the model runs (arXiv 2606.06574; spec §6).
//!
//! `features` is what it reads of a question: the frozen model's own hidden states after its first layers. `network` is the
//! arithmetic, `decode` makes programs of what the network says, `file` is the checkpoint.

pub mod decode;
pub mod features;
mod file;
pub mod network;

use std::collections::HashMap;

use anyhow::Result;
use candle_core::Tensor;

use super::checkpoint::check_fit;
use super::programs::ProposedPrograms;
use super::router::Router;
use crate::model::Decoder;
use crate::trace::{RouterInfo, Scope};
pub use decode::Logits;
pub use network::{Network, PredictorShape};

/// Entry of the metadata: the layers that a question runs through before it is read.
pub const FEATURE_LAYER: &str = "feature_layer";

/// What the metadata call the method.
pub const METHOD: &str = crate::trace::PREDICTOR;

/// A trained predictor.
#[derive(Clone, Debug)]
pub struct Predictor {
    /// What reads a question's features.
    pub network: Network,
    /// Layers of the standard program that a question runs through before it is read: 0 are its embeddings.
    pub feature_layer: usize,
    /// What the checkpoint says of itself, as [`RouterSet::metadata`](super::RouterSet::metadata), and `feature_layer`.
    pub metadata: HashMap<String, String>,
    /// What traces say of it.
    pub info: RouterInfo,
}

impl PartialEq for Predictor {
    fn eq(&self, other: &Self) -> bool {
        self.feature_layer == other.feature_layer && self.network == other.network
    }
}

impl Predictor {
    /// A predictor that says `metadata` of itself; `name` is for messages, `sha256` is that of its file.
    pub fn new(
        network: Network,
        feature_layer: usize,
        mut metadata: HashMap<String, String>,
        (name, sha256): (&str, &str),
    ) -> Predictor {
        metadata.insert("method".to_owned(), METHOD.to_owned());
        let info = RouterInfo {
            name: name.to_owned(),
            sha256: sha256.to_owned(),
            width: network.shape.width,
            method: Some(METHOD.to_owned()),
            scope: Some(Scope::Prompt),
            ..RouterInfo::default()
        };
        Predictor {
            network,
            feature_layer,
            metadata,
            info,
        }
    }

    /// What the network says of a prompt.
    ///
    /// # Errors
    /// Those of `check` and of the model.
    pub fn logits(&self, decoder: &Decoder, ids: &[u32], check: &dyn Fn() -> Result<()>) -> Result<Logits> {
        let features = features::of_question(decoder, ids, self.feature_layer, check)?;
        self.answer(&features)
    }

    /// What the network says of features (tokens, hidden_size).
    ///
    /// # Errors
    /// Features of another size.
    pub fn answer(&self, features: &Tensor) -> Result<Logits> {
        let (boundaries, operations) = self.network.forward(&features.unsqueeze(0)?, None, None)?;
        let operations = operations.squeeze(0)?.to_vec2::<f32>()?;
        Ok(Logits {
            boundaries: boundaries.squeeze(0)?.to_vec1()?,
            operations: operations.iter().map(|row| [row[0], row[1], row[2]]).collect(),
        })
    }
}

impl Router for Predictor {
    fn info(&self) -> &RouterInfo {
        &self.info
    }

    fn check(&self, model: &str, layers: usize, hidden_size: usize) -> Result<()> {
        let made_for = (self.network.shape.layers, self.network.shape.inputs);
        check_fit(&self.info, &self.metadata, made_for, model, (layers, hidden_size))
    }

    fn proposes_programs(&self) -> bool {
        true
    }

    fn propose(
        &self,
        decoder: &Decoder,
        ids: &[u32],
        dial: f64,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<ProposedPrograms> {
        let logits = self.logits(decoder, ids, check)?;
        anyhow::ensure!(
            logits.is_finite(),
            "the predictor {} answers with numbers that are not finite: it is damaged, or made for another model; train it \
             anew, or run with --routers none",
            crate::text::escape_controls(&self.info.name)
        );
        Ok(logits.propose(dial))
    }
}

#[cfg(test)]
mod tests;
