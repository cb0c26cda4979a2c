//! Tokenizers from GGUF metadata: byte-level BPE ("gpt2") and SentencePiece BPE ("llama").

use super::{END_TOKENS, Ends, Kind, MAX_ID, Tokenizer, TokenizerError, is_end};
use crate::model::gguf::{self, GgufFile};
use crate::text::escape_controls;
use candle_core::quantized::gguf_file::{Content, Value};
use std::collections::HashMap;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{NFC, NormalizerWrapper, Prepend, Replace, Sequence as NormalizerSequence};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

/// llama.cpp's token types that matter here.
const NORMAL: u64 = 1;
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// What llama.cpp takes for ends besides: padding, a repository's and a file's name in models that fill in the middle; of
/// each the first name that the vocabulary has.
const FILL_ENDS: [&[&str]; 3] = [
    &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
    &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"],
    &["<|file_sep|>"],
];

/// The splits under which llama.cpp adds a begin token where the file does not say.
const BEGIN_BY_SPLIT: [&str; 11] = [
    "llama-bpe",
    "llama3",
    "llama-v3",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "jina-v5-nano",
    "tekken",
    "chameleon",
];

/// SentencePiece's pieces have at most a few dozen bytes; longer entries take no part in merges.
const MAX_PIECE: usize = 256;

/// The split of Llama 3's tokenizer.json.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The split of Qwen2's tokenizer.json.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The split of Mistral's Tekken tokenizer.json.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// What llama.cpp falls back on for files that name no split.
const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];
const SUPPORTED_SPLITS: &str = "gpt-2, smollm, llama-bpe, qwen2, tekken and their aliases";

impl Tokenizer {
    /// Builds the tokenizer that a GGUF file carries in its metadata.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, TokenizerError> {
        let from = escape_controls(&file.path.display().to_string());
        Self::from_content(&file.content, &from)
    }

    pub(super) fn from_content(content: &Content, from: &str) -> Result<Self, TokenizerError> {
        let source = Metadata { content, from };
        let mut vocabulary = source.vocabulary()?;
        let end_turns = vocabulary.end_turns();
        let (mut inner, kind) = match source.string("tokenizer.ggml.model") {
            Some("gpt2") => (byte_level(&source, &vocabulary)?, Kind::ByteLevel),
            Some("llama") => {
                let strips_first_space = source.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
                let inner = sentence_piece(&source, &vocabulary, strips_first_space)?;
                (inner, Kind::SentencePiece { strips_first_space })
            }
            found => {
                return Err(source.unsupported(
                    found.unwrap_or("none"),
                    "gpt2 (byte-level BPE) and llama (SentencePiece)",
                ));
            }
        };
        inner
            .add_tokens(vocabulary.added())
            .map_err(|error| source.failed(error.to_string()))?;
        let mut ends = source.ends(&kind, vocabulary.texts.len())?;
        ends.eos.extend(end_turns);
        let tokens = vocabulary
            .texts
            .into_iter()
            .enumerate()
            .map(|(id, text)| (id as u32, text))
            .collect();
        Ok(Self::assemble(inner, (from.to_owned(), None), tokens, ends, kind))
    }
}

struct Metadata<'a> {
    content: &'a Content,
    from: &'a str,
}

struct Vocabulary {
    texts: Vec<String>,
    types: Vec<u64>,
}

impl Vocabulary {
    fn ids(&self) -> impl Iterator<Item = (String, u32)> {
        self.texts
            .iter()
            .enumerate()
            .map(|(id, text)| (text.clone(), id as u32))
    }

    fn kind(&self, id: usize) -> u64 {
        self.types.get(id).copied().unwrap_or(NORMAL)
    }

    /// Tokens that end a turn are control tokens whatever type the file gives them, and so are those of filling in the
    /// middle that llama.cpp takes for ends.
    fn end_turns(&mut self) -> Vec<u32> {
        let names: HashMap<&str, usize> = self
            .texts
            .iter()
            .enumerate()
            .map(|(id, text)| (text.as_str(), id))
            .collect();
        let has = |name: &str| names.contains_key(name);
        let turns = END_TOKENS
            .iter()
            .filter(|name| is_end(name, &has))
            .filter_map(|name| names.get(name));
        let fills = FILL_ENDS
            .iter()
            .filter_map(|kind| kind.iter().find_map(|name| names.get(name)));
        let ends: Vec<usize> = turns.chain(fills).copied().collect();
        if !self.types.is_empty() || !ends.is_empty() {
            self.types.resize(self.texts.len(), NORMAL);
        }
        for &id in &ends {
            self.types[id] = CONTROL;
        }
        ends.into_iter().map(|id| id as u32).collect()
    }

    /// Tokens that are looked for in the text before it is split.
    fn added(&self) -> Vec<AddedToken> {
        let token = |(id, text): (usize, &String)| {
            let special = match self.kind(id) {
                UNKNOWN | CONTROL => true,
                USER_DEFINED => false,
                _ => return None,
            };
            Some(AddedToken::from(text.clone(), special).normalized(false))
        };
        self.texts.iter().enumerate().filter_map(token).collect()
    }
}

impl Metadata<'_> {
    fn string(&self, key: &str) -> Option<&str> {
        match self.content.metadata.get(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A flag, which some files store as a number.
    fn boolean(&self, key: &str) -> Result<Option<bool>, TokenizerError> {
        match self.content.metadata.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(value) => match gguf::integer(value) {
                Some(number @ 0..=1) => Ok(Some(number == 1)),
                _ => Err(self.failed(format!("{key} is no flag"))),
            },
        }
    }

    fn array(&self, key: &str) -> Result<&[Value], TokenizerError> {
        match self.content.metadata.get(key) {
            Some(Value::Array(values)) => Ok(values),
            _ => Err(self.failed(format!("its metadata has no list {key}"))),
        }
    }

    fn strings<'a>(
        &'a self,
        key: &'a str,
    ) -> Result<impl Iterator<Item = Result<&'a str, TokenizerError>>, TokenizerError> {
        Ok(self.array(key)?.iter().map(move |value| match value {
            Value::String(text) => Ok(text.as_str()),
            _ => Err(self.failed(format!("{key} holds something other than strings"))),
        }))
    }

    fn vocabulary(&self) -> Result<Vocabulary, TokenizerError> {
        let texts: Vec<String> = self
            .strings("tokenizer.ggml.tokens")?
            .map(|text| text.map(str::to_owned))
            .collect::<Result<_, _>>()?;
        if texts.is_empty() || texts.len() as u64 > u64::from(MAX_ID) {
            return Err(self.failed(format!("its vocabulary has {} tokens", texts.len())));
        }
        let types = match self.content.metadata.get("tokenizer.ggml.token_type") {
            Some(Value::Array(types)) => types.iter().map(|kind| gguf::integer(kind).unwrap_or(NORMAL)).collect(),
            _ => Vec::new(),
        };
        Ok(Vocabulary { texts, types })
    }

    /// An id within the vocabulary; llama.cpp ignores others.
    fn id(&self, key: &str, size: usize) -> Option<u32> {
        let id = self.content.metadata.get(key).and_then(gguf::integer)?;
        (id < size as u64).then_some(id as u32)
    }

    fn ends(&self, kind: &Kind, size: usize) -> Result<Ends, TokenizerError> {
        let sentence_piece = matches!(kind, Kind::SentencePiece { .. });
        // llama.cpp's defaults for files that do not say.
        let begins = sentence_piece || self.split_name().is_some_and(|name| BEGIN_BY_SPLIT.contains(&name));
        let default = |id: u32| Some(id).filter(|&id| sentence_piece && (id as usize) < size);
        let id = |name: &str| self.id(&format!("tokenizer.ggml.{name}"), size);
        Ok(Ends {
            bos: id("bos_token_id").or(default(1)),
            eos: [
                id("eos_token_id").or(default(2)),
                id("eot_token_id"),
                id("eom_token_id"),
            ]
            .into_iter()
            .flatten()
            .collect(),
            add_bos: self.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(begins),
        })
    }

    fn split_name(&self) -> Option<&str> {
        self.string("tokenizer.ggml.pre")
    }

    fn failed(&self, reason: String) -> TokenizerError {
        TokenizerError::Build {
            from: self.from.to_owned(),
            reason: escape_controls(&reason),
        }
    }

    fn unsupported(&self, found: &str, supported: &str) -> TokenizerError {
        TokenizerError::Unsupported {
            from: self.from.to_owned(),
            found: escape_controls(found),
            supported: supported.to_owned(),
        }
    }
}

fn byte_level(source: &Metadata, vocabulary: &Vocabulary) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let merges = source
        .strings("tokenizer.ggml.merges")?
        .map(|merge| {
            let merge = merge?;
            let (left, right) = merge
                .split_once(' ')
                .ok_or_else(|| source.failed(format!("the merge \"{merge}\" is not a pair")))?;
            Ok((left.to_owned(), right.to_owned()))
        })
        .collect::<Result<Vec<_>, TokenizerError>>()?;
    let name = source.split_name();
    let splitting = Splitting::named(name)
        .map_err(|error| source.failed(error.to_string()))?
        .ok_or_else(|| source.unsupported(name.unwrap_or_default(), SUPPORTED_SPLITS))?;
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.ids().collect::<Vocab>(), merges)
        .ignore_merges(splitting.ignore_merges)
        .build()
        .map_err(|error| source.failed(error.to_string()))?;
    let mut inner = tokenizers::Tokenizer::new(model);
    inner.with_pre_tokenizer(Some(splitting.pre_tokenizer));
    if splitting.nfc {
        inner
            .with_normalizer(Some(NormalizerWrapper::from(NFC)))
            .map_err(|error| source.failed(error.to_string()))?;
    }
    Ok(inner)
}

/// How a family splits text into words before BPE.
struct Splitting {
    pre_tokenizer: PreTokenizerWrapper,
    /// Words that are tokens are taken whole.
    ignore_merges: bool,
    /// Text is normalised to Unicode NFC first.
    nfc: bool,
}

impl Splitting {
    /// By llama.cpp's names (`tokenizer.ggml.pre`); none for names that are not known.
    fn named(name: Option<&str>) -> tokenizers::Result<Option<Self>> {
        // No space is put in front of the text, and GPT-2's own split is in the crate.
        let gpt2 = || PreTokenizerWrapper::from(ByteLevel::new(false, true, true));
        let (pre_tokenizer, ignore_merges, nfc) = match name {
            None | Some("default") => (split_by(&DEFAULT)?, false, false),
            Some(
                "gpt-2" | "gpt2" | "phi-2" | "olmo" | "mpt" | "jina-es" | "jina-de" | "gigachat" | "jina-v2-es"
                | "jina-v2-de" | "a.x-4.0" | "mellum" | "modern-bert" | "exaone4",
            ) => (gpt2(), false, false),
            Some("smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone") => {
                let digits = PreTokenizerWrapper::from(Digits::new(true));
                (Sequence::new(vec![digits, gpt2()]).into(), false, false)
            }
            Some(
                "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2"
                | "jina-v5-nano",
            ) => (split_by(&[LLAMA3])?, true, false),
            Some("tekken") => (split_by(&[TEKKEN])?, true, false),
            Some("smaug-bpe") => (split_by(&[LLAMA3])?, false, false),
            Some("qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez") => (split_by(&[QWEN2])?, false, true),
            Some(_) => return Ok(None),
        };
        Ok(Some(Self {
            pre_tokenizer,
            ignore_merges,
            nfc,
        }))
    }
}

/// Splits by each expression in turn, then writes the parts in GPT-2's byte alphabet.
fn split_by(expressions: &[&str]) -> tokenizers::Result<PreTokenizerWrapper> {
    let mut steps = Vec::new();
    for expression in expressions {
        let pattern = SplitPattern::Regex((*expression).to_owned());
        steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
    }
    steps.push(ByteLevel::new(false, true, false).into());
    Ok(Sequence::new(steps).into())
}

fn sentence_piece(
    source: &Metadata,
    vocabulary: &Vocabulary,
    space_prefix: bool,
) -> Result<tokenizers::Tokenizer, TokenizerError> {
    let failed = |error: tokenizers::Error| source.failed(error.to_string());
    let scores = source.array("tokenizer.ggml.scores")?;
    if scores.len() != vocabulary.texts.len() {
        return Err(source.failed(format!(
            "it has {} scores for {} tokens",
            scores.len(),
            vocabulary.texts.len()
        )));
    }
    let scores: Vec<f32> = scores.iter().map(|score| score.to_f32().unwrap_or(f32::MIN)).collect();
    let mut model = BPE::builder()
        .vocab_and_merges(
            vocabulary.ids().collect::<Vocab>(),
            merges_from_scores(vocabulary, &scores),
        )
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(id) = source.id("tokenizer.ggml.unknown_token_id", vocabulary.texts.len()) {
        model = model.unk_token(vocabulary.texts[id as usize].clone());
    }
    let mut inner = tokenizers::Tokenizer::new(model.build().map_err(failed)?);
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if space_prefix {
        steps.push(Prepend::new("▁".to_owned()).into());
    }
    steps.push(Replace::new(" ", "▁").map_err(failed)?.into());
    inner
        .with_normalizer(Some(NormalizerSequence::new(steps)))
        .map_err(failed)?;
    Ok(inner)
}

/// SentencePiece's BPE joins the neighbours whose union scores best. As a list of merges: every
/// split of every token into two tokens, by falling score of the whole.
fn merges_from_scores(vocabulary: &Vocabulary, scores: &[f32]) -> Vec<(String, String)> {
    let ordinary =
        |id: &usize| matches!(vocabulary.kind(*id), NORMAL | USER_DEFINED) && vocabulary.texts[*id].len() <= MAX_PIECE;
    let known: HashMap<&str, usize> = (0..vocabulary.texts.len())
        .filter(ordinary)
        .map(|id| (vocabulary.texts[id].as_str(), id))
        .collect();
    let mut merges = Vec::new();
    for (&whole, &id) in &known {
        for (at, _) in whole.char_indices().skip(1) {
            let (left, right) = whole.split_at(at);
            if known.contains_key(left) && known.contains_key(right) {
                merges.push((scores[id], left, right));
            }
        }
    }
    // Ties as in the conversion of transformers: longer parts first; then by text, to be the same
    // in every run.
    merges.sort_by(|a, b| {
        let lengths = |merge: &(f32, &str, &str)| (merge.1.chars().count(), merge.2.chars().count());
        b.0.total_cmp(&a.0)
            .then_with(|| lengths(b).cmp(&lengths(a)))
            .then_with(|| (a.1, a.2).cmp(&(b.1, b.2)))
    });
    merges
        .into_iter()
        .map(|(_, left, right)| (left.to_owned(), right.to_owned()))
        .collect()
}
