//! Tokenizers from a Hugging Face folder: tokenizer.json, and the files beside it that say where a
//! text begins and ends.

use super::added;
use super::{Ends, Foreign, Kind, MAX_ID, MOST_GROWN, TIME, Tokenizer, TokenizerError, vet};
use crate::files;
use crate::guard;
use crate::model::folder;
use crate::text::escape_controls;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What building a tokenizer may take; a second is usual.
const TIME_TO_BUILD: Duration = Duration::from_secs(60);

impl Tokenizer {
    /// Builds the tokenizer of a folder with tokenizer.json and, where there are any,
    /// tokenizer_config.json, generation_config.json and config.json.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer.json");
        let from = escape_controls(&path.display().to_string());
        let failed = |reason: String| TokenizerError::Build {
            from: from.clone(),
            reason: escape_controls(&reason),
        };
        let bytes = files::read(&path, files::TOKENIZER).map_err(|error| failed(error.to_string()))?;
        let growth = vet::growth(&bytes).map_err(failed)?;
        let built = guard::within(TIME_TO_BUILD, move || tokenizers::Tokenizer::from_bytes(&bytes));
        let built = built.map_err(|error| failed(error.to_string()))?;
        let mut inner = built.map_err(|error| failed(error.to_string()))?;
        // Both are settings of training runs that some files carry along.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| failed(error.to_string()))?;
        let beside = added::beside(&|name| folder::json(folder, name), &inner).map_err(failed)?;
        let bytes: u64 = beside.iter().map(|token| token.content.len() as u64).sum();
        if bytes.saturating_mul(growth) > MOST_GROWN {
            return Err(failed(format!(
                "the {bytes} bytes of the tokens beside it may become {growth} times as many"
            )));
        }
        // Adding a token runs the author's steps on it.
        let grown = guard::within(TIME_TO_BUILD, move || {
            let own = inner.get_vocab_size(true);
            let added = inner.add_tokens(beside).map_err(|error| error.to_string());
            added.map(|_| (inner.get_vocab_size(true).saturating_sub(own), inner))
        });
        let (beside, inner) = grown.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
        let kind = kind(&inner).ok_or_else(|| TokenizerError::Unsupported {
            from: from.clone(),
            found: "without a byte-level or SentencePiece decoder".to_owned(),
            supported: "byte-level BPE and SentencePiece".to_owned(),
        })?;
        let tokens: Vec<(u32, String)> = inner.get_vocab(true).into_iter().map(|(text, id)| (id, text)).collect();
        if let Some((id, _)) = tokens.iter().find(|(id, _)| *id >= MAX_ID) {
            return Err(failed(format!(
                "it has the token id {id}, at most {MAX_ID} is plausible"
            )));
        }
        let inner = Arc::new(inner);
        let ends = ends(folder, &inner).map_err(failed)?;
        // No thread has it any more: `ends` waits for its own, or fails.
        let inner = Arc::try_unwrap(inner).unwrap_or_else(|shared| (*shared).clone());
        let foreign = Foreign {
            growth,
            stuck: AtomicBool::new(false),
        };
        let mut tokenizer = Self::assemble(inner, (from, Some(foreign)), tokens, ends, kind);
        tokenizer.beside = beside;
        Ok(tokenizer)
    }
}

/// How the vocabulary is written, read off the decoder.
fn kind(inner: &tokenizers::Tokenizer) -> Option<Kind> {
    let decoder = serde_json::to_value(inner.get_decoder()?).ok()?;
    if has_step(&decoder, &|step| step["type"] == "ByteLevel") {
        return Some(Kind::ByteLevel);
    }
    let fallback = has_step(&decoder, &|step| {
        step["type"] == "ByteFallback" || step["type"] == "Metaspace"
    });
    let strips_first_space = has_step(&decoder, &|step| match step["type"].as_str() {
        Some("Strip") => step["start"] != 0,
        Some("Metaspace") => step["prepend_scheme"] != "never",
        _ => false,
    });
    fallback.then_some(Kind::SentencePiece { strips_first_space })
}

fn has_step(decoder: &Value, wanted: &dyn Fn(&Value) -> bool) -> bool {
    let nested = decoder["decoders"].as_array();
    wanted(decoder) || nested.is_some_and(|steps| steps.iter().any(|step| has_step(step, wanted)))
}

fn ends(folder: &Path, inner: &Arc<tokenizers::Tokenizer>) -> Result<Ends, String> {
    let tokenizer = folder::json(folder, "tokenizer_config.json")?;
    let generation = folder::json(folder, "generation_config.json")?;
    let config = folder::json(folder, "config.json")?;
    let named = |key: &str| token_text(&tokenizer[key]).and_then(|text| inner.token_to_id(text));
    let bos = named("bos_token").or_else(|| token_ids(&config["bos_token_id"]).next());
    let eos = named("eos_token")
        .into_iter()
        .chain(token_ids(&generation["eos_token_id"]))
        .chain(token_ids(&config["eos_token_id"]))
        .collect();
    let add_bos = match tokenizer["add_bos_token"].as_bool() {
        Some(add) => add,
        None => {
            // Not said, so what the post-processor does is what counts.
            let inner = inner.clone();
            let firsts = guard::within(TIME, move || {
                [true, false].map(|special| Some(*inner.encode("a", special).ok()?.get_ids().first()?))
            });
            let [special, plain] = firsts.map_err(|error| error.to_string())?;
            bos.is_some() && special == bos && plain != bos
        }
    };
    Ok(Ends {
        bos: bos.filter(|&id| id < MAX_ID),
        eos,
        add_bos,
    })
}

/// A token as tokenizer_config.json writes it: `"</s>"` or `{"content": "</s>", …}`.
fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

/// One id or a list of them.
fn token_ids(value: &Value) -> impl Iterator<Item = u32> {
    let many = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    many.iter()
        .filter_map(|id| id.as_u64())
        .filter_map(|id| id.try_into().ok())
}
