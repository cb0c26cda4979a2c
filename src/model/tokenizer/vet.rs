//! What a tokenizer.json may make of a text and of memory, found out before the crate builds it.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// Most bytes that a byte of text may become.
const MOST_GROWTH: u64 = 1 << 12;
/// Most bytes of a text that a step puts in front.
const MOST_PREPENDED: usize = 1 << 10;

#[derive(Deserialize)]
struct Parts {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    // Large, and made of words only.
    #[serde(default, rename = "model")]
    _model: IgnoredAny,
}

/// How many bytes a byte of text may become.
///
/// # Errors
/// Steps that ask for more memory than any tokenizer needs, in words.
pub(super) fn growth(json: &[u8]) -> Result<u64, String> {
    let parts: Parts = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let mut growth = 1;
    for part in [&parts.normalizer, &parts.pre_tokenizer, &parts.decoder] {
        step(part, &mut growth)?;
    }
    Ok(growth)
}

fn step(value: &Value, growth: &mut u64) -> Result<(), String> {
    let fields = match value {
        Value::Array(steps) => return steps.iter().try_for_each(|value| step(value, growth)),
        Value::Object(fields) => fields,
        _ => return Ok(()),
    };
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    let factor = match text("type") {
        "Replace" => text("content").len(),
        "Prepend" if text("prepend").len() > MOST_PREPENDED => {
            return Err(format!("a step puts {} bytes before a text", text("prepend").len()));
        }
        "Precompiled" => longest_rewrite(text("precompiled_charsmap"))?,
        _ => 1,
    };
    *growth = growth.saturating_mul(factor.max(1) as u64);
    if *growth > MOST_GROWTH {
        return Err(format!(
            "its steps make over {MOST_GROWTH} bytes of one: no text fits into memory after that"
        ));
    }
    fields.values().try_for_each(|value| step(value, growth))
}

/// Of SentencePiece's table: the length of its trie, the trie, and texts that end in zeros.
fn longest_rewrite(base64: &str) -> Result<usize, String> {
    let table = decoded(base64).ok_or("its precompiled_charsmap is no base64")?;
    let (length, rest) = table
        .split_first_chunk()
        .ok_or("its precompiled_charsmap is too short")?;
    let length = u32::from_le_bytes(*length) as usize;
    let texts = rest.get(length..).ok_or_else(|| {
        format!(
            "its precompiled_charsmap declares {length} bytes and has {}",
            rest.len()
        )
    })?;
    if length < 4 {
        return Err("its precompiled_charsmap is empty".to_owned());
    }
    Ok(texts.split(|&byte| byte == 0).map(<[u8]>::len).max().unwrap_or(1))
}

fn decoded(base64: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(base64.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for c in base64.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(normalizer: Value) -> Result<u64, String> {
        growth(
            json!({"normalizer": normalizer, "model": {"vocab": {}}})
                .to_string()
                .as_bytes(),
        )
    }

    #[test]
    fn ordinary_steps_pass() {
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        assert_eq!(of(Value::Null), Ok(1));
        assert_eq!(
            of(json!({"type": "Sequence", "normalizers": [prepend, replace]})),
            Ok(3)
        );
        // A trie of one unit, and the texts "ab" and "c".
        let table = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAABhYgBjAA=="});
        assert_eq!(of(table), Ok(2));
    }

    #[test]
    fn steps_that_eat_memory_are_refused() {
        let replace = json!({"type": "Replace", "pattern": {"String": "h"}, "content": "h".repeat(300)});
        let many =
            json!({"type": "Sequence", "normalizers": [replace, {"type": "Sequence", "normalizers": [replace]}]});
        assert!(of(many).unwrap_err().contains("one"));
        assert!(of(json!({"type": "Prepend", "prepend": "x".repeat(5000)})).is_err());
        for table in ["/////////////////////w==", "", "AAAAAA==", "AAAA", "é", "AAAAAAA="] {
            let refused = of(json!({"type": "Precompiled", "precompiled_charsmap": table}));
            assert!(refused.unwrap_err().contains("precompiled_charsmap"), "{table}");
        }
    }
}
