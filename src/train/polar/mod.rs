//! Training a predictor of programs from search records (PoLar, arXiv 2606.06574; spec §6).
//!
//! `dataset` makes targets of the right programs of each question, `likelihood` what the network thinks of whole programs,
//! `trainer` is the loop, `state` what a stopped training goes on from, `curves` its picture. The network is that of [`crate::router::predictor`].

pub mod curves;
pub mod dataset;
mod likelihood;
mod state;
pub mod trainer;

use serde::{Deserialize, Serialize};

pub use dataset::{ProgramDataset, ProgramExample};
pub use trainer::{Features, PolarRun, TrainedPredictor};

/// What of a question's right programs the network is to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProgramTargets {
    /// Each of them, as PoLar does: the mean of their losses.
    #[default]
    Each,
    /// One of them, whichever (set-valued targets): the negative logarithm of their likelihoods' sum.
    Set,
}

/// The numbers of a training; the defaults are the authors', but for what is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolarSettings {
    /// Times that all examples are learnt from.
    pub epochs: usize,
    /// Greatest learning rate, falling to 0 along half a cosine.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warm_up: usize,
    /// Questions a step, each with all of its programs. The authors take 128 programs a step.
    pub batch: usize,
    /// Of AdamW.
    pub weight_decay: f64,
    /// Width of the network.
    pub width: usize,
    /// Layers of the model that a question runs through before it is read.
    pub feature_layer: usize,
    /// Right programs of a question that are learnt from, at most.
    pub programs: usize,
    /// Weight of the standard program where a shorter one is right, against 1 for each other one.
    pub standard_weight: f64,
    /// In nats: a right program weighs e to this power as much for each layer that it leaves out.
    pub layer_price: f64,
    /// What of the right programs is to be said.
    pub targets: ProgramTargets,
    /// Weight of the contrast with programs that are wrong: of the negative logarithm of the right programs' share of the
    /// likelihood of all that were tried.
    pub contrast: f64,
    /// Share of the questions held out to choose the best epoch by.
    pub validation: f64,
    /// Of the first parameters, the programs that are learnt from, the order of examples, dropout, and who is held out.
    pub seed: u64,
}

impl Default for PolarSettings {
    fn default() -> Self {
        PolarSettings {
            epochs: 10,
            learning_rate: 5e-4,
            warm_up: 10,
            batch: 16,
            weight_decay: 0.0,
            width: crate::router::predictor::network::WIDTH,
            feature_layer: 4,
            programs: 50,
            standard_weight: 0.3,
            layer_price: 0.0,
            targets: ProgramTargets::Each,
            contrast: 0.0,
            validation: 0.1,
            seed: 42,
        }
    }
}

#[cfg(test)]
mod tests;
