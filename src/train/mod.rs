//! Training routers from search records (Dr.LLM, arXiv 2510.12773; spec §5).
//!
//! `dataset` turns records into examples, `features` runs the frozen model once per example and
//! keeps the pooled windows on disk, `network` is one layer's router forward and backward (its
//! arithmetic in `math`), `loss` and `metrics` judge decisions, `settings` are a training's numbers,
//! `trainer` is the loop, `state` what a stopped training goes on from, `ablation` a table of other
//! settings. `rejection` makes another kind of router, which judges answers in scope `token`.

pub mod ablation;
pub mod dataset;
pub mod depth;
pub mod features;
pub mod loss;
pub mod math;
pub mod metrics;
pub mod network;
pub mod rejection;
pub mod settings;
pub mod state;
pub mod trainer;

pub use dataset::{Dataset, Example};
pub use features::{FeatureFile, FeatureKey, FeatureWriter};
pub use metrics::Metrics;
pub use rejection::Rejection;
pub use settings::TrainSettings;
pub use trainer::train;
