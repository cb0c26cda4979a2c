//! The routers of a run, as far as its trace knows them.

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::kv_mode::KvMode;
use super::scope::{PromptRouting, Scope};

/// The [`RouterInfo::method`] of a predictor (spec §6).
pub const PREDICTOR: &str = "polar";

/// The routers that decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouterInfo {
    /// `built-in` or the file's name.
    pub name: String,
    /// Of the file, hexadecimal.
    pub sha256: String,
    /// Windows of the pooling, W.
    pub windows: usize,
    /// Width of the hidden layer, r.
    pub width: usize,
    /// How they were made, where they say: `depth` (spec §8), `polar` (§6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The scope they were made for, where they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// What becomes of the prompt in scope `token`, where they say; routed otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptRouting>,
    /// What skipped layers were left with when they were made, where they say; nothing otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvMode>,
    /// What each position of the dial came to on held-out texts, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
}

impl RouterInfo {
    /// Whether it is a predictor, which names whole programs, rather than a router a layer.
    pub fn is_predictor(&self) -> bool {
        self.method.as_deref() == Some(PREDICTOR)
    }

    /// Whether both are the same routers, whatever their file is called and whichever version of this program wrote
    /// down what they say of themselves.
    pub fn is_same(&self, other: &RouterInfo) -> bool {
        self.sha256 == other.sha256
    }
}
