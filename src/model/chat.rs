//! Chat templates: the model's own Jinja text that turns messages into a prompt.
//!
//! Rendered as transformers does: blocks trimmed, nothing escaped, Python's string methods, and its
//! `raise_exception`, `strftime_now` and `tojson`. A template comes with the model and is not
//! trusted: it has fuel, and in the program it is compiled and rendered by a process of its own, see
//! [`super::apart`].

use super::apart::{self, Asked, Done, Task};
use super::catalog::ModelLocation;
use super::folder;
use super::gguf::{self, GgufFile};
use super::jinja;
use crate::files;
use crate::text::escape_controls;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, context, syntax::SyntaxConfig};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::Path;

/// Instructions, or 64-byte pieces of text, that a template may work on beyond its messages.
const FUEL: u64 = 2_000_000;
/// Most bytes of a template; the longest known have some 30 KiB.
const MOST_BYTES: usize = 1 << 20;
const NAME: &str = "chat_template";

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// Who gives the instructions that hold for the conversation.
    System,
    /// Who asks.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: ChatRole,
    /// As the template puts it into the prompt.
    pub content: String,
}

impl Message {
    /// A message of one role.
    pub fn new(role: ChatRole, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }

    fn value(&self) -> Value {
        context! { role => self.role.name(), content => self.content.as_str() }
    }
}

impl ChatRole {
    /// As templates write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// Why a chat template cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the chat template of {of} {what}: {reason}; use --raw to give the prompt to the model as it is")]
pub struct ChatTemplateError {
    /// The file, escaped.
    of: String,
    what: String,
    reason: String,
}

/// A chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    /// The file, escaped.
    of: String,
    source: String,
}

impl ChatTemplate {
    /// The template in a GGUF file's metadata; none when it has none.
    pub fn from_gguf(file: &GgufFile) -> Result<Option<Self>, ChatTemplateError> {
        let source = file.string("tokenizer.chat_template");
        Ok(source.map(|source| Self::of(&file.path, source)))
    }

    /// The template of a Hugging Face folder (chat_template.jinja, or in tokenizer_config.json);
    /// none when it has none.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>, ChatTemplateError> {
        let source = Self::source_in(folder).map_err(|reason| ChatTemplateError {
            of: escape_controls(&folder.display().to_string()),
            what: "cannot be read".to_owned(),
            reason: escape_controls(&reason),
        })?;
        Ok(source.map(|source| Self::of(folder, &source)))
    }

    /// The template of a model on this machine; none when it has none.
    pub fn open(location: &ModelLocation) -> anyhow::Result<Option<Self>> {
        Ok(match location {
            ModelLocation::Gguf(path) => Self::from_gguf(&gguf::open(path)?)?,
            ModelLocation::Folder(path) => Self::from_folder(path)?,
            ModelLocation::LoopMoe(_) | ModelLocation::BuiltIn => Some(Self::of_problems()),
        })
    }

    /// What a LoopMoE model is asked with: a problem ends in `=`.
    pub(super) fn of_problems() -> Self {
        Self::of(
            Path::new("the model"),
            "{% set problem = messages[0].content | trim %}{{ bos_token }} {{ problem }}\
             {% if not problem.endswith('=') %} ={% endif %}",
        )
    }

    /// The Jinja text in a Hugging Face folder.
    ///
    /// # Errors
    /// A file that is there and cannot be read, by name.
    pub(super) fn source_in(folder: &Path) -> Result<Option<String>, String> {
        let jinja = folder.join("chat_template.jinja");
        if files::stands(&jinja) {
            let source = files::read_text(&jinja, files::TEXT);
            return source.map(Some).map_err(|e| format!("chat_template.jinja: {e}"));
        }
        let config = folder::json(folder, "tokenizer_config.json")?;
        let template = &config["chat_template"];
        // A list of named templates stands where a model has several.
        let named = template
            .as_array()
            .and_then(|all| all.iter().find(|entry| entry["name"] == "default"));
        let source = named.map_or(template, |entry| &entry["template"]);
        Ok(source.as_str().map(str::to_owned))
    }

    /// A template that compiles.
    pub fn new(source: &str) -> Result<Self, ChatTemplateError> {
        let template = Self::of(Path::new("the model"), source);
        template.perform(None).map(|_| template)
    }

    /// A template of a file. It is looked at when it is first asked for, so that a model with a broken one
    /// can still be given prompts as they are.
    fn of(file: &Path, source: &str) -> Self {
        Self {
            of: escape_controls(&file.display().to_string()),
            source: source.to_owned(),
        }
    }

    fn perform(&self, asked: Option<Asked>) -> Result<String, ChatTemplateError> {
        let refused = |what: &str, reason: &str| ChatTemplateError {
            of: self.of.clone(),
            what: what.to_owned(),
            reason: escape_controls(reason),
        };
        if self.source.len() > MOST_BYTES {
            return Err(refused(
                "is too large",
                &format!("it has over {} KiB", MOST_BYTES >> 10),
            ));
        }
        let task = Task {
            source: self.source.clone(),
            asked,
        };
        match apart::perform(&task) {
            Done::Text(text) => Ok(text),
            Done::Refused { what, reason } => Err(refused(&what, &reason)),
        }
    }

    /// The prompt for `messages`, up to where the assistant's next answer begins. `bos` and `eos`
    /// are the texts of the model's beginning and end tokens.
    pub fn render(&self, messages: &[Message], bos: &str, eos: &str) -> Result<String, ChatTemplateError> {
        self.perform(Some(Asked {
            messages: messages.to_vec(),
            bos: bos.to_owned(),
            eos: eos.to_owned(),
        }))
    }
}

/// A compiled template.
pub(super) struct Compiled {
    environment: Environment<'static>,
}

impl Compiled {
    pub(super) fn new(source: &str) -> Result<Self, Refusal> {
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

    pub(super) fn render(&self, asked: &Asked) -> Result<String, Refusal> {
        let Asked { messages, bos, eos } = asked;
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
            ErrorKind::OutOfFuel => Refusal("does not come to an end", "it was stopped".to_owned()),
            _ => Refusal("cannot be rendered", reason(&error)),
        })
    }
}

/// What a template did wrong, and how.
pub(super) struct Refusal(pub(super) &'static str, pub(super) String);

fn broken(error: &Error) -> Refusal {
    Refusal("is broken", reason(error))
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
