//! TOML that a user writes (config, keys, themes), and errors that say where in it something is
//! wrong and what was probably meant.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::files;
use crate::text::escape_controls;

/// Files over this many bytes are refused: nothing a person writes here is near it, and a device
/// file or a wrong path must not fill the memory.
const MAX_BYTES: u64 = 1 << 20;

/// A position in a file; line and column count from 1, the column in characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The name to call it by, as a rule its path; unescaped.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", escape_controls(&self.file), self.line, self.column)
    }
}

/// Why a config file, keymap or theme was refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read, or is no text.
    #[error("cannot read {}: {reason}", escape_controls(&path.display().to_string()))]
    Read {
        /// The file; unescaped.
        path: PathBuf,
        /// What the system, or the check of its size or encoding, says.
        reason: String,
    },
    /// The text says something that is wrong.
    #[error("{place}: {message}")]
    Content {
        /// Where in the text.
        place: Place,
        /// What is wrong, and what was expected.
        message: String,
    },
}

/// A TOML text and the name to call it by.
#[derive(Clone, Copy)]
pub struct ConfigSource<'a> {
    /// In errors, before line and column.
    pub name: &'a str,
    /// The whole text, which places count in.
    pub text: &'a str,
}

impl<'a> ConfigSource<'a> {
    /// # Errors
    /// With the place of the first syntax error.
    pub fn parse(self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        DeTable::parse(self.text).map_err(|e| self.toml_error(&e))
    }

    /// What the TOML crate found wrong, with this text's name and place.
    pub fn toml_error(self, error: &toml::de::Error) -> ConfigError {
        self.error(error.span().unwrap_or(0..0), error.message())
    }

    /// An error about the bytes of `span`.
    pub fn error(self, span: Range<usize>, message: impl AsRef<str>) -> ConfigError {
        ConfigError::Content {
            place: self.place(span.start),
            message: escape_controls(message.as_ref()),
        }
    }

    /// The place of a byte offset.
    pub fn place(self, offset: usize) -> Place {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            file: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The value as a table.
    pub fn table<'v, 'i>(self, key: &str, value: &'v Spanned<DeValue<'i>>) -> Result<&'v DeTable<'i>, ConfigError> {
        value
            .get_ref()
            .as_table()
            .ok_or_else(|| self.wrong_type(key, "a table", value))
    }

    /// The value as a string.
    pub fn string<'v>(self, key: &str, value: &'v Spanned<DeValue<'_>>) -> Result<&'v str, ConfigError> {
        value
            .get_ref()
            .as_str()
            .ok_or_else(|| self.wrong_type(key, "a string in quotes", value))
    }

    fn wrong_type(self, key: &str, expected: &str, value: &Spanned<DeValue<'_>>) -> ConfigError {
        let found = value.get_ref().type_str();
        self.error(value.span(), format!("'{key}' is of type {found}: expected {expected}"))
    }
}

/// Reads a small UTF-8 file whole.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    let refuse = |reason: String| ConfigError::Read {
        path: path.to_owned(),
        reason,
    };
    files::read_text(path, MAX_BYTES).map_err(|e| refuse(e.to_string()))
}

/// The end of a message about the unknown `word`: the likeliest of `known`, or all of them.
pub fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let simplified = word.to_lowercase().replace('_', "-");
    let distance = |name: &str| strsim::osa_distance(&simplified, &name.to_lowercase().replace('_', "-"));
    let best = known.iter().map(|name| (distance(name), *name)).min_by_key(|(d, _)| *d);
    match best {
        Some((d, name)) if d <= 1 + name.chars().count() / 3 => format!("did you mean '{name}'?"),
        Some(_) => format!("expected one of {}", known.join(", ")),
        None => "there are none to choose from".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let source = ConfigSource {
            name: "a.toml",
            text: "é = 1\n日本 = x",
        };
        assert_eq!(source.place(0).to_string(), "a.toml:1:1");
        assert_eq!(source.place(source.text.find('x').unwrap()).to_string(), "a.toml:2:6");
        assert_eq!(source.place(1).column, 1, "inside a character");
        assert_eq!(source.place(10_000).line, 2, "past the end");
    }

    #[test]
    fn syntax_errors_name_the_place() {
        let source = ConfigSource {
            name: "bad\u{1b}.toml",
            text: "a = 1\nb = = 2\n",
        };
        let message = source.parse().unwrap_err().to_string();
        assert!(message.starts_with("bad␛.toml:2:5: "), "{message}");
    }

    #[test]
    fn nearest_names_are_suggested_and_far_ones_listed() {
        let known = ["max_tokens", "model", "theme"];
        assert_eq!(suggestion("max-token", known), "did you mean 'max_tokens'?");
        assert_eq!(suggestion("Theme", known), "did you mean 'theme'?");
        assert_eq!(suggestion("zzzzzzz", known), "expected one of max_tokens, model, theme");
        assert_eq!(suggestion("x", []), "there are none to choose from");
    }

    #[test]
    fn unreadable_files_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| read_text(path).unwrap_err().to_string();
        assert!(refused(&dir.path().join("none.toml")).contains("none.toml"));
        assert!(refused(dir.path()).contains("regular file"));
        let path = dir.path().join("latin1.toml");
        std::fs::write(&path, b"a = '\xe9'").unwrap();
        assert!(refused(&path).contains("not UTF-8 text (line 1, byte 5)"));
        std::fs::write(&path, vec![b'#'; MAX_BYTES as usize + 1]).unwrap();
        assert!(refused(&path).contains("right file"));
    }
}
