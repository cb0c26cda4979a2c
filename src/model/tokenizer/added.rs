//! Tokens of a Hugging Face folder that stand beside tokenizer.json: transformers adds them when it opens the folder.
//!
//! They stand in tokenizer_config.json (`added_tokens_decoder`, the named special tokens, the lists of more); where that
//! has no `added_tokens_decoder`, in added_tokens.json and special_tokens_map.json as well.

use std::collections::BTreeSet;

use serde_json::Value;
use tokenizers::AddedToken;

const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];
const DECODER: &str = "added_tokens_decoder";

/// What is to be added to `inner`, in transformers' order; `read` gives a file of the folder, null where there is none.
///
/// # Errors
/// Those of `read`.
pub(super) fn beside(
    read: &dyn Fn(&str) -> Result<Value, String>,
    inner: &tokenizers::Tokenizer,
) -> Result<Vec<AddedToken>, String> {
    let config = read("tokenizer_config.json")?;
    let mut numbered: Vec<(u64, AddedToken)> = Vec::new();
    let map = match config[DECODER].as_object() {
        Some(decoder) => {
            let token = |(id, token): (&String, &Value)| Some((id.parse().ok()?, described(token)?));
            numbered.extend(decoder.iter().filter_map(token));
            Value::Null
        }
        None => read("special_tokens_map.json")?,
    };
    // What special_tokens_map.json says goes before what tokenizer_config.json says.
    let given = |key: &str| if map[key].is_null() { &config[key] } else { &map[key] };
    let mut special: Vec<AddedToken> = NAMED.iter().filter_map(|key| described(given(key))).collect();
    for key in LISTS {
        match given(key) {
            Value::Array(tokens) => special.extend(tokens.iter().filter_map(described)),
            Value::Object(tokens) => special.extend(tokens.values().filter_map(described)),
            _ => {}
        }
    }
    if config[DECODER].is_null()
        && let Some(tokens) = read("added_tokens.json")?.as_object()
    {
        for (text, id) in tokens {
            let is_special = special.iter().any(|token| token.content == *text);
            let token = AddedToken::from(text.clone(), is_special).normalized(!is_special);
            numbered.extend(id.as_u64().map(|id| (id, token)));
        }
    }
    numbered.sort_by_key(|(id, _)| *id);
    let has: Vec<AddedToken> = inner.get_added_tokens_decoder().into_values().collect();
    let is_there = |token: &AddedToken| has.iter().any(|known| same(known, token));
    let mut known: BTreeSet<String> = has.iter().map(|token| token.content.clone()).collect();
    let mut added: Vec<AddedToken> = Vec::new();
    for (_, mut token) in numbered {
        token.special |= special.iter().any(|special| special.content == token.content);
        if !is_there(&token) {
            known.insert(token.content.clone());
            added.push(token);
        }
    }
    for token in special {
        if !token.content.is_empty() && known.insert(token.content.clone()) {
            added.push(AddedToken { special: true, ..token });
        }
    }
    Ok(added)
}

/// Whether two tokens are the same in all they say.
fn same(one: &AddedToken, other: &AddedToken) -> bool {
    let flags = |token: &AddedToken| {
        (
            token.single_word,
            token.lstrip,
            token.rstrip,
            token.normalized,
            token.special,
        )
    };
    one.content == other.content && flags(one) == flags(other)
}

/// A token as these files write it: `"</s>"`, which is special, or `{"content": "</s>", …}`.
fn described(value: &Value) -> Option<AddedToken> {
    if let Some(text) = value.as_str() {
        return Some(AddedToken::from(text.to_owned(), true));
    }
    let flag = |name: &str| value[name].as_bool();
    let special = flag("special").unwrap_or(false);
    let token = AddedToken::from(value["content"].as_str()?.to_owned(), special)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false))
        .normalized(flag("normalized").unwrap_or(!special));
    Some(token)
}
