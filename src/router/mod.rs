//! Who decides: the routers, and the policy that settles every decision.

pub mod checkpoint;
pub mod decision;
mod device;
mod fast;
pub mod mlp;
pub mod pin;
pub mod policy;
pub mod pooling;

pub use checkpoint::{RouterSet, metadata_entry};
pub use decision::{DecidedBy, Decision, RouterInfo};
pub use fast::FastRouters;
pub(crate) use fast::Question;
pub use mlp::MlpRouter;
pub use pin::Pin;
pub use pooling::pool_windows;
