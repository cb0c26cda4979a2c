//! Training routers from search records (Dr.LLM, arXiv 2510.12773; spec §5).
//!
//! `dataset` turns records into examples, `features` runs the frozen model once per example and
//! keeps the pooled windows on disk, `network` is one layer's router forward and backward (its
//! arithmetic in `math`, AdamW and its schedule in `optimiser`), `loss` and `metrics` judge decisions, `settings` are a
//! training's numbers, `trainer` is the loop, `state` what a stopped training goes on from, `run` all of it in order,
//! `checkpoint` what is saved, `curves` its pictures, `ablation` a table of other settings. `depth` makes depth routers,
//! `verifier` token verifiers, `polar` a predictor of programs.

pub mod ablation;
pub mod checkpoint;
pub mod curves;
pub mod dataset;
pub mod depth;
pub mod features;
pub mod lm;
pub mod loss;
pub mod math;
pub mod metrics;
pub mod network;
pub mod optimiser;
pub mod polar;
pub mod run;
pub mod settings;
pub mod state;
pub mod trainer;
pub mod verifier;

pub use dataset::{RouterDataset, RouterExample};
pub use features::{FeatureFile, FeatureKey, FeatureWriter};
pub use metrics::Metrics;
pub use run::TrainingRun;
pub use settings::TrainSettings;
pub use trainer::train;
pub use verifier::VerifierSettings;
