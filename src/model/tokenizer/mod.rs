//! Text to token ids and back.
//!
//! The work is done by the crate tokenizers; what is built here is its configuration from GGUF
//! metadata or a Hugging Face folder, the table of the bytes behind every id, which lets text be
//! streamed without half characters, and the tokens that begin and end a text.

mod added;
mod folder;
mod from_gguf;
mod stream;
mod vet;

pub use stream::StreamDecoder;

use super::catalog::ModelLocation;
use super::gguf::{self, GgufError};
use super::loopmoe::words::{END, START};
use super::loopmoe::{self, WordList};
use crate::guard::{self, Failed};
use crate::text::escape_controls;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Ids beyond this are taken for damage: no vocabulary comes near.
const MAX_ID: u32 = 1 << 22;

/// Most bytes that the steps of a tokenizer.json may make of a text.
const MOST_GROWN: u64 = 1 << 28;
/// What a tokenizer.json may take for a text, and again for so many bytes of it. A millisecond is usual;
/// a machine may be busy.
const TIME: Duration = Duration::from_secs(5);
const BYTES_IN_TIME: usize = 100_000;

/// Tokens that end a turn or a text, by the names that llama.cpp collects them by, whatever type a file gives them.
const END_TOKENS: [&str; 24] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<|eot|>",
    "</s>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Whether a token of this name ends a turn, where the vocabulary also has those that `has` knows.
fn is_end(name: &str, has: &dyn Fn(&str) -> bool) -> bool {
    let calls = has("<|call|>") || has("<|calls|>");
    match name {
        // Ends a message there, after which a turn goes on.
        "<|end|>" if calls && (has("<|return|>") || has("<|flush|>")) => false,
        // An ordinary word there.
        "</s>" if has("<|tool_response>") || has("<|plamo:eos|>") => false,
        name => END_TOKENS.contains(&name),
    }
}

/// Why there is no tokenizer, or why it refuses a text.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file's tokenizer is damaged or incomplete.
    #[error(
        "the tokenizer cannot be built from {from}: {reason}; get the model again, or use a copy with a tokenizer.json"
    )]
    Build {
        /// The file, escaped.
        from: String,
        /// What is missing or wrong.
        reason: String,
    },
    #[error(
        "{from} uses the tokenizer \"{found}\"; supported are {supported}; \
         a Hugging Face folder of the same model, with its tokenizer.json, works with any"
    )]
    /// The model has a kind of tokenizer that is not supported.
    Unsupported {
        /// The file, escaped.
        from: String,
        /// Which kind, escaped.
        found: String,
        /// Those that are, in words.
        supported: String,
    },
    /// The tokenizer fails on a text.
    #[error("the tokenizer of {from} cannot take this text: {reason}")]
    Encode {
        /// The file, escaped.
        from: String,
        /// What the tokenizer says.
        reason: String,
    },
    /// The file that it is made of cannot be opened.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The LoopMoE file that it is made of cannot be read.
    #[error(transparent)]
    LoopMoe(#[from] anyhow::Error),
}

/// A model's vocabulary and the way it splits text.
pub struct Tokenizer {
    inner: Inner,
    /// The file, escaped.
    from: String,
    /// Of a tokenizer.json, whose regular expressions and steps are its author's.
    foreign: Option<Foreign>,
    pieces: Pieces,
    special: BTreeSet<u32>,
    bos: Option<u32>,
    eos: Vec<u32>,
    add_bos: bool,
    /// SentencePiece puts a space before a text, which decoding takes away again.
    strips_first_space: bool,
    /// How many of the tokens stand beside tokenizer.json.
    beside: usize,
}

/// What splits text.
enum Inner {
    /// Locked for writing only to switch special tokens off for one text.
    Library(Arc<RwLock<tokenizers::Tokenizer>>),
    /// The fixed list of a LoopMoE model.
    Words(WordList),
}

impl Tokenizer {
    /// The tokenizer of a model on this machine.
    pub fn open(location: &ModelLocation) -> Result<Self, TokenizerError> {
        match location {
            ModelLocation::Gguf(path) => Self::from_gguf(&gguf::open(path)?),
            ModelLocation::Folder(path) => Self::from_folder(path),
            ModelLocation::LoopMoe(path) => Ok(Self::from_words(loopmoe::file::words(path)?)),
            ModelLocation::BuiltIn => Ok(Self::from_words(loopmoe::built_in_words()?)),
        }
    }

    /// The tokenizer of a list of words, each of which decodes with a space before it.
    pub(super) fn from_words(words: WordList) -> Self {
        let begin = words.id(START);
        let tokens: Vec<(u32, String)> = (0..).zip(words.list().iter().map(|word| format!("▁{word}"))).collect();
        let kind = Kind::SentencePiece {
            strips_first_space: true,
        };
        Tokenizer {
            pieces: Pieces::new(&tokens, |_| false, &kind),
            special: begin.into_iter().collect(),
            bos: begin,
            eos: words.id(END).into_iter().collect(),
            add_bos: true,
            strips_first_space: true,
            beside: 0,
            inner: Inner::Words(words),
            from: "this model".to_owned(),
            foreign: None,
        }
    }

    /// Token ids of `text`. Special tokens written out in it are parsed; none is added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.ids(text, false)
    }

    /// As [`Self::encode`], but special tokens written out in `text` stay ordinary text: for words
    /// of a user that must not open or close a turn.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.ids(text, true)
    }

    /// Token ids; `plain`: special tokens stay text.
    fn ids(&self, text: &str, plain: bool) -> Result<Vec<u32>, TokenizerError> {
        let refused = |reason: String| TokenizerError::Encode {
            from: self.from.clone(),
            reason: escape_controls(&reason),
        };
        let inner = match &self.inner {
            Inner::Library(inner) => inner,
            Inner::Words(words) => return words.encode(text).map_err(|unknown| refused(unknown.to_string())),
        };
        let Some(foreign) = &self.foreign else {
            let done = guard::catch(|| ids(inner, text, plain));
            return done.map_err(|e| refused(e.to_string()))?.map_err(refused);
        };
        if foreign.stuck.load(Ordering::Relaxed) {
            return Err(refused("it did not come to an end with a text before".to_owned()));
        }
        if (text.len() as u64).saturating_mul(foreign.growth) > MOST_GROWN {
            return Err(refused(format!(
                "its {} bytes may become {} times as many",
                text.len(),
                foreign.growth
            )));
        }
        let (inner, owned) = (inner.clone(), text.to_owned());
        let most = TIME + TIME * (text.len() / BYTES_IN_TIME) as u32;
        let done = guard::within(most, move || ids(&inner, &owned, plain));
        if matches!(done, Err(Failed::Late(_))) {
            foreign.stuck.store(true, Ordering::Relaxed);
        }
        done.map_err(|e| refused(e.to_string()))?.map_err(refused)
    }

    /// As [`Self::encode`], with the beginning-of-text token in front when the model wants one and
    /// the text (a chat template's, say) does not bring it already.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.encode(text)?;
        match self.bos {
            Some(bos) if self.add_bos && ids.first() != Some(&bos) => ids.insert(0, bos),
            _ => {}
        }
        Ok(ids)
    }

    /// The text of a whole sequence, special tokens written out. Bytes that are no UTF-8 become
    /// U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut stream = StreamDecoder::from_start(self);
        let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
        text.push_str(&stream.flush());
        text
    }

    /// One token by itself, for display. Half characters show as U+FFFD, unknown ids as `<id>`.
    /// Not escaped: see [`crate::text`].
    pub fn decode_piece(&self, id: u32) -> String {
        match self.piece(id) {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => format!("<{id}>"),
        }
    }

    /// As [`Self::decode_piece`], but what is not whole characters as its bytes, `<E2 80>`.
    pub fn piece_or_bytes(&self, id: u32) -> String {
        match self.part_of_character(id) {
            Some(bytes) => crate::text::bytes_in_words(bytes),
            None => self.decode_piece(id),
        }
    }

    /// The bytes of a token that is not whole characters.
    pub fn part_of_character(&self, id: u32) -> Option<&[u8]> {
        self.piece(id).filter(|bytes| std::str::from_utf8(bytes).is_err())
    }

    /// The bytes behind an id; none when the vocabulary does not have it.
    pub fn piece(&self, id: u32) -> Option<&[u8]> {
        self.pieces.get(id)
    }

    /// Control tokens such as `<|im_start|>`, which stand for no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// The beginning-of-text token.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Whether the model expects [`Self::bos`] before a prompt.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Tokens that end generation: end of text first, then ends of turns.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos
    }

    /// The texts of the beginning and end tokens, as chat templates want them.
    pub fn bos_eos_texts(&self) -> (String, String) {
        let text = |id: Option<u32>| id.map(|id| self.decode_piece(id)).unwrap_or_default();
        (text(self.bos), text(self.eos.first().copied()))
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.pieces.spans.len()
    }

    /// How many ids the tokenizer's own file has; those beside it, a padding token say, need not be in the model.
    pub fn own_size(&self) -> usize {
        self.vocab_size() - self.beside
    }

    /// Puts the parts together: `tokens` are (id, text as the vocabulary has it).
    fn assemble(
        inner: tokenizers::Tokenizer,
        (from, foreign): (String, Option<Foreign>),
        tokens: Vec<(u32, String)>,
        ends: Ends,
        kind: Kind,
    ) -> Self {
        let added = inner.get_added_tokens_decoder();
        let special: BTreeSet<u32> = added
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(&id, _)| id)
            .collect();
        let mut eos = ends.eos;
        let has = |name: &str| inner.token_to_id(name).is_some();
        for name in END_TOKENS.into_iter().filter(|name| is_end(name, &has)) {
            eos.extend(inner.token_to_id(name).filter(|id| added.contains_key(id)));
        }
        let mut seen = BTreeSet::new();
        eos.retain(|&id| seen.insert(id));
        let literal = |id: &u32| added.contains_key(id);
        Self {
            pieces: Pieces::new(&tokens, literal, &kind),
            special,
            bos: ends.bos,
            eos,
            add_bos: ends.add_bos,
            strips_first_space: matches!(
                kind,
                Kind::SentencePiece {
                    strips_first_space: true
                }
            ),
            beside: 0,
            inner: Inner::Library(Arc::new(RwLock::new(inner))),
            from,
            foreign,
        }
    }
}

/// What the model's files say about where a text begins and ends.
struct Ends {
    bos: Option<u32>,
    eos: Vec<u32>,
    add_bos: bool,
}

/// How vocabulary entries stand for bytes.
enum Kind {
    /// GPT-2's alphabet: every byte is one printable character.
    ByteLevel,
    /// `▁` for a space, `<0xNN>` for a byte.
    SentencePiece { strips_first_space: bool },
}

/// How a tokenizer.json is held.
struct Foreign {
    /// Bytes that a byte of text may become.
    growth: u64,
    /// A text is still being worked on that should have been done.
    stuck: AtomicBool,
}

fn ids(inner: &RwLock<tokenizers::Tokenizer>, text: &str, plain: bool) -> Result<Vec<u32>, String> {
    let encoded = |inner: &tokenizers::Tokenizer| {
        let encoding = inner.encode_fast(text, false).map_err(|error| error.to_string())?;
        Ok(encoding.get_ids().to_vec())
    };
    if !plain {
        return encoded(&inner.read().unwrap_or_else(PoisonError::into_inner));
    }
    let mut inner = inner.write().unwrap_or_else(PoisonError::into_inner);
    inner.set_encode_special_tokens(true);
    // A panic must not leave it so.
    let done = guard::catch(|| encoded(&inner));
    inner.set_encode_special_tokens(false);
    done.map_err(|e| e.to_string())?
}

/// The bytes of every token, back to back.
struct Pieces {
    bytes: Vec<u8>,
    /// By id: start and end in `bytes`.
    spans: Vec<Option<(u32, u32)>>,
}

impl Pieces {
    fn new(tokens: &[(u32, String)], literal: impl Fn(&u32) -> bool, kind: &Kind) -> Self {
        let size = tokens.iter().map(|(id, _)| *id as usize + 1).max().unwrap_or(0);
        let mut pieces = Self {
            bytes: Vec::new(),
            spans: vec![None; size],
        };
        let alphabet = byte_alphabet();
        for (id, text) in tokens {
            let start = pieces.bytes.len() as u32;
            match kind {
                _ if literal(id) => pieces.bytes.extend_from_slice(text.as_bytes()),
                Kind::ByteLevel => push_byte_level(&mut pieces.bytes, text, &alphabet),
                Kind::SentencePiece { .. } => push_sentence_piece(&mut pieces.bytes, text),
            }
            pieces.spans[*id as usize] = Some((start, pieces.bytes.len() as u32));
        }
        pieces
    }

    fn get(&self, id: u32) -> Option<&[u8]> {
        let (start, end) = (*self.spans.get(id as usize)?)?;
        Some(&self.bytes[start as usize..end as usize])
    }
}

fn push_byte_level(bytes: &mut Vec<u8>, text: &str, alphabet: &HashMap<char, u8>) {
    let start = bytes.len();
    for c in text.chars() {
        match alphabet.get(&c) {
            Some(&byte) => bytes.push(byte),
            None => {
                // Not written in the alphabet, so not meant to be read in it.
                bytes.truncate(start);
                bytes.extend_from_slice(text.as_bytes());
                return;
            }
        }
    }
}

fn push_sentence_piece(bytes: &mut Vec<u8>, text: &str) {
    let byte = text
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'))
        .filter(|digits| digits.len() == 2)
        .and_then(|digits| u8::from_str_radix(digits, 16).ok());
    match byte {
        Some(byte) => bytes.push(byte),
        None => bytes.extend_from_slice(text.replace('▁', " ").as_bytes()),
    }
}

/// GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others for U+0100 and on.
fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 0x100u32..;
    (0..=255u8)
        .filter_map(|byte| {
            let code = if printable(byte) {
                Some(u32::from(byte))
            } else {
                others.next()
            };
            Some((char::from_u32(code?)?, byte))
        })
        .collect()
}

#[cfg(test)]
mod tests;
