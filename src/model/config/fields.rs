//! Which fields of a model's file are understood, which change nothing, and which are not known.

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value;

/// What became of the fields of a model's config.json, or of the keys of its architecture in GGUF metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fields {
    /// What the model computes depends on them, and they were read.
    pub read: Vec<String>,
    /// What they say changes nothing of what the model computes here.
    pub ignored: Vec<String>,
    /// Not known to this program.
    pub unknown: Vec<String>,
    /// What else a user should know, in sentences.
    pub notes: Vec<String>,
}

impl Fields {
    /// Sentences for a user: the notes, and which fields are not known.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.notes.clone();
        if !self.unknown.is_empty() {
            warnings.push(format!(
                "the model's file has fields that this program does not know and ignores: {}; if one of them changes what \
                 the model computes, its numbers here are wrong",
                self.unknown.join(", ")
            ));
        }
        warnings
    }
}

/// What a field is to this program.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Read,
    Harmless,
    /// It asks for something that this program does not do, unless its value is among these: 1 and so on.
    Refused(Neutral),
}

/// The values under which a field asks for nothing; null is always one.
#[derive(Clone, Copy)]
pub(super) enum Neutral {
    /// No value at all.
    Null,
    /// No, none, 0, nothing in a list.
    None,
    Zero,
    One,
    /// A scale: 1, or 0 for "not used".
    OneOrZero,
    Yes,
    Texts(&'static [&'static str]),
}

impl Neutral {
    fn admits(self, value: &Value) -> bool {
        let is = |wanted: f64| value.as_f64() == Some(wanted);
        let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(|map| map.is_empty());
        match self {
            _ if value.is_null() => true,
            Neutral::Null => false,
            Neutral::None => value == false || is(0.0) || value == "" || empty,
            Neutral::Zero => is(0.0) || value == false,
            Neutral::One => is(1.0) || value == true,
            Neutral::OneOrZero => is(0.0) || is(1.0),
            Neutral::Yes => value == true || is(1.0),
            Neutral::Texts(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
        }
    }
}

/// Sorts the fields of a file; `kind` says what each is, `None` for one that is not known.
///
/// # Errors
/// Names a field that asks for what this program does not do.
pub(super) fn sort<'a>(
    given: impl Iterator<Item = (&'a str, Value)>,
    kind: impl Fn(&str) -> Option<Kind>,
) -> Result<Fields> {
    let mut fields = Fields::default();
    for (name, value) in given {
        let list = match kind(name) {
            Some(Kind::Read) => &mut fields.read,
            Some(Kind::Refused(neutral)) if !neutral.admits(&value) => bail!(
                "'{}' is {}, which this program does not compute; its numbers would be wrong",
                name.escape_default(),
                shown(&value)
            ),
            Some(Kind::Harmless | Kind::Refused(_)) => &mut fields.ignored,
            None => &mut fields.unknown,
        };
        list.push(name.escape_default().to_string());
    }
    for list in [&mut fields.read, &mut fields.ignored, &mut fields.unknown] {
        list.sort();
    }
    Ok(fields)
}

/// A value for a message: short, without control characters.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => other.to_string(),
    };
    let short: String = text.chars().take(LONGEST).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{}{more}", crate::text::escape_controls(&short))
}
