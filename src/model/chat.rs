//! stand-in
use super::{gguf::GgufFile, tokenizer::Tokenizer};
use anyhow::Result;
pub struct Message {
    pub role: String,
    pub content: String,
}
impl Message {
    pub fn user(t: &str) -> Self {
        Message {
            role: "user".into(),
            content: t.into(),
        }
    }
}
pub struct ChatTemplate;
impl ChatTemplate {
    pub fn from_gguf(_f: &GgufFile) -> Result<Option<Self>> {
        Ok(Some(ChatTemplate))
    }
    pub fn from_folder(_f: &std::path::Path) -> Result<Option<Self>> {
        Ok(None)
    }
    pub fn render(&self, m: &[Message], _t: &Tokenizer) -> Result<String> {
        Ok(format!(
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
            m[0].content
        ))
    }
}
