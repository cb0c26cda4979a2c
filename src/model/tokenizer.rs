//! stand-in
use super::gguf::GgufFile;
use anyhow::Result;
use candle_core::quantized::tokenizer::TokenizerFromGguf;
pub struct Tokenizer {
    t: tokenizers::Tokenizer,
}
impl Tokenizer {
    pub fn from_gguf(f: &GgufFile) -> Result<Self> {
        Ok(Tokenizer {
            t: tokenizers::Tokenizer::from_gguf(&f.content)?,
        })
    }
    pub fn from_folder(_f: &std::path::Path) -> Result<Self> {
        anyhow::bail!("no")
    }
    pub fn vocab_size(&self) -> usize {
        self.t.get_vocab_size(true)
    }
    pub fn encode(&self, s: &str) -> Result<Vec<u32>> {
        Ok(self.t.encode(s, false).map_err(anyhow::Error::msg)?.get_ids().to_vec())
    }
    pub fn begin(&self) -> Option<u32> {
        None
    }
    pub fn piece(&self, id: u32) -> String {
        self.t.decode(&[id], false).unwrap()
    }
    pub fn is_special(&self, id: u32) -> bool {
        id < 17
    }
    pub fn eos_ids(&self) -> &[u32] {
        &[2]
    }
    pub fn stream(&self) -> StreamDecoder<'_> {
        StreamDecoder { t: self }
    }
}
pub struct StreamDecoder<'a> {
    t: &'a Tokenizer,
}
impl StreamDecoder<'_> {
    pub fn push(&mut self, id: u32) -> String {
        self.t.piece(id)
    }
}
