//! Text that comes a token at a time.

use super::Tokenizer;

/// Turns token ids into text as they come and never yields half a character: bytes of one that is
/// not complete wait, at most three, for the next token. Bytes that cannot become a character come
/// out as U+FFFD at once.
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    pending: Vec<u8>,
    strips_space: bool,
}

impl<'a> StreamDecoder<'a> {
    /// For tokens that continue a text: an answer after its prompt.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            tokenizer,
            pending: Vec::new(),
            strips_space: false,
        }
    }

    /// For tokens from the beginning of a text, where SentencePiece has put a space of its own.
    pub fn from_start(tokenizer: &'a Tokenizer) -> Self {
        Self {
            strips_space: tokenizer.strips_first_space,
            ..Self::new(tokenizer)
        }
    }

    /// The text that `id` completes; empty while a character is incomplete, and for unknown ids.
    pub fn push(&mut self, id: u32) -> String {
        let bytes = self.tokenizer.piece(id).unwrap_or_default();
        // A special token in front (`<s>`) does not take the space's place.
        let strip = self.strips_space && !bytes.is_empty() && !self.tokenizer.is_special(id);
        if strip {
            self.strips_space = false;
        }
        let bytes = if strip {
            bytes.strip_prefix(b" ").unwrap_or(bytes)
        } else {
            bytes
        };
        self.pending.extend_from_slice(bytes);
        self.complete()
    }

    /// What is left at the end: U+FFFD when a character was never completed.
    pub fn flush(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }

    fn complete(&mut self) -> String {
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    match error.error_len() {
                        Some(bad) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            rest = &rest[bad..];
                        }
                        None => break,
                    }
                }
            }
        }
        let done = self.pending.len() - rest.len();
        self.pending.drain(..done);
        text
    }
}
