//! Training routers from search records (Dr.LLM, arXiv 2510.12773; spec §5).
//!
//! `dataset` turns records into examples, `features` runs the frozen model once per example and
//! keeps the pooled windows, `network` is all layers' routers as batched tensors, `loss` and
//! `metrics` judge their decisions, `trainer` is the loop.

pub mod dataset;
pub mod features;
pub mod loss;
pub mod metrics;
pub mod network;
pub mod trainer;

pub use dataset::{Dataset, Example};
pub use features::Features;
pub use metrics::Metrics;
pub use trainer::{TrainSettings, train};
