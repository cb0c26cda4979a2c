//! What skipped layers are left with.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a token leaves in a layer that it does not run (spec §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvMode {
    /// Nothing.
    #[default]
    Ragged,
    /// In the pass (l, 0) the key and value of the state that passes layer l, as FlexiDepth does (arXiv 2503.23798).
    /// The pass (l, 1) is never filled.
    Fill,
}

impl KvMode {
    /// Both of them.
    pub const ALL: [KvMode; 2] = [KvMode::Ragged, KvMode::Fill];

    /// As in settings and traces.
    pub fn name(self) -> &'static str {
        match self {
            KvMode::Ragged => "ragged",
            KvMode::Fill => "fill",
        }
    }
}

impl fmt::Display for KvMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
