//! Chat templates: the model's own Jinja text that turns messages into a prompt.
//!
//! Rendered as transformers does: blocks trimmed, nothing escaped, Python's string methods, and its
//! `raise_exception`, `strftime_now` and `tojson`. A template comes with the model and is not
//! trusted: its work is bounded.

use super::catalog::ModelLocation;
use super::gguf::{self, GgufFile};
use super::jinja;
use crate::text::escape_controls;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, context, syntax::SyntaxConfig};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// Instructions, or 64-byte pieces of text, that a template may work on beyond its messages.
const FUEL: u64 = 2_000_000;
const NAME: &str = "chat_template";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

impl Message {
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }

    fn value(&self) -> Value {
        context! { role => self.role.name(), content => self.content.as_str() }
    }
}

impl Role {
    /// As templates write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the model's chat template {what}: {reason}; use --raw to give the prompt to the model as it is")]
pub struct ChatTemplateError {
    what: &'static str,
    reason: String,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// The template in a GGUF file's metadata; none when it has none.
    pub fn from_gguf(file: &GgufFile) -> Result<Option<Self>, ChatTemplateError> {
        file.string("tokenizer.chat_template").map(Self::new).transpose()
    }

    /// The template of a Hugging Face folder (chat_template.jinja, or in tokenizer_config.json);
    /// none when it has none.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>, ChatTemplateError> {
        Self::source_in(folder).as_deref().map(Self::new).transpose()
    }

    /// The template of a model on this machine; none when it has none.
    pub fn open(location: &ModelLocation) -> anyhow::Result<Option<Self>> {
        Ok(match location {
            ModelLocation::Gguf(path) => Self::from_gguf(&gguf::open(path)?)?,
            ModelLocation::Folder(path) => Self::from_folder(path)?,
        })
    }

    /// The Jinja text in a Hugging Face folder.
    pub(super) fn source_in(folder: &Path) -> Option<String> {
        if let Ok(source) = std::fs::read_to_string(folder.join("chat_template.jinja")) {
            return Some(source);
        }
        let bytes = std::fs::read(folder.join("tokenizer_config.json")).ok()?;
        let config: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        let template = &config["chat_template"];
        // A list of named templates stands where a model has several.
        let named = template
            .as_array()
            .and_then(|all| all.iter().find(|entry| entry["name"] == "default"));
        let source = named.map_or(template, |entry| &entry["template"]);
        source.as_str().map(str::to_owned)
    }

    /// Compiles a template.
    pub fn new(source: &str) -> Result<Self, ChatTemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| broken(&error))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        jinja::teach(&mut environment);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment
            .add_template_owned(NAME, jinja::prepared(source))
            .map_err(|error| broken(&error))?;
        Ok(Self { environment })
    }

    /// The prompt for `messages`, up to where the assistant's next answer begins. `bos` and `eos`
    /// are the texts of the model's beginning and end tokens.
    pub fn render(&self, messages: &[Message], bos: &str, eos: &str) -> Result<String, ChatTemplateError> {
        let mut environment = self.environment.clone();
        let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        environment.set_fuel(Some(FUEL + bytes as u64));
        let nothing = Value::from(());
        let rendered = environment.get_template(NAME).and_then(|template| {
            template.render(context! {
                messages => messages.iter().map(Message::value).collect::<Vec<Value>>(),
                add_generation_prompt => true,
                bos_token => bos,
                eos_token => eos,
                tools => nothing.clone(),
                documents => nothing,
            })
        });
        rendered.map_err(|error| match error.kind() {
            ErrorKind::OutOfFuel => ChatTemplateError {
                what: "does not come to an end",
                reason: "it was stopped".to_owned(),
            },
            _ => ChatTemplateError {
                what: "cannot be rendered",
                reason: reason(&error),
            },
        })
    }
}

fn broken(error: &Error) -> ChatTemplateError {
    ChatTemplateError {
        what: "is broken",
        reason: reason(error),
    }
}

fn reason(error: &Error) -> String {
    let kind = error.kind().to_string();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    escape_controls(&format!("{kind}{detail}{line}"))
}

fn raise_exception(message: &str) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

/// Today's date in Python's format codes; Llama 3 tells it to the model.
fn strftime_now(format: &str) -> Result<String, Error> {
    let mut text = String::new();
    write!(text, "{}", chrono::Local::now().format(format))
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, format!("unknown date format {format:?}")))?;
    Ok(text)
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
