//! Who decides: the routers, and the policy that settles every decision.

pub mod checkpoint;
mod device;
mod fast;
pub mod input_norm;
pub mod mlp;
pub mod policy;
pub mod pooling;
pub mod predictor;
pub mod programs;
#[expect(clippy::module_inception, reason = "the trait that the folder is about")]
mod router;

pub use checkpoint::{RouterSet, load_router, metadata_entry, read_router};
pub use fast::FastRouters;
pub use fast::RouterQuery;
pub use input_norm::InputNorm;
pub use mlp::MlpRouter;
pub use pooling::pool_windows;
pub use predictor::Predictor;
pub use programs::ProposedPrograms;
pub use router::Router;
