//! Experts of a looped mixture of experts that a run does without.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An expert that no token may go to: `3:17` is expert 17 of layer 3, a layer with weights of its own, in all iterations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ExcludedExpert {
    /// Among the layers with weights of their own, from 0.
    pub layer: usize,
    /// Among the layer's routed experts, from 0.
    pub expert: usize,
}

impl fmt::Display for ExcludedExpert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.layer, self.expert)
    }
}

impl FromStr for ExcludedExpert {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(':').and_then(|(layer, expert)| {
            let number = |text: &str| text.trim().parse().ok();
            Some(ExcludedExpert {
                layer: number(layer)?,
                expert: number(expert)?,
            })
        });
        parsed.ok_or_else(|| {
            let short: String = text.chars().take(40).collect();
            format!("expected layer:expert, like 3:17, found '{}'", short.escape_default())
        })
    }
}

impl From<ExcludedExpert> for String {
    fn from(excluded: ExcludedExpert) -> String {
        excluded.to_string()
    }
}

impl TryFrom<String> for ExcludedExpert {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_it_is_read() {
        let excluded: ExcludedExpert = "3:17".parse().unwrap();
        assert_eq!((excluded.layer, excluded.expert), (3, 17));
        assert_eq!(serde_json::to_string(&excluded).unwrap(), "\"3:17\"");
        assert_eq!(serde_json::from_str::<ExcludedExpert>("\"3:17\"").unwrap(), excluded);
        for wrong in ["", "3", "3:", "a:1", "3:-1", "3:1:2"] {
            assert!(wrong.parse::<ExcludedExpert>().unwrap_err().contains("3:17"), "{wrong}");
        }
    }
}
