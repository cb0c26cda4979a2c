//! A file of prompts: read for `stats --prompts`, and for the screen that runs them one by one.

use crate::files;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Reads a file as [`parse`] does.
///
/// # Errors
/// Names the file, and the line that holds no prompt.
pub fn read(path: &Path) -> Result<Vec<(usize, String)>> {
    let name = path.display().to_string();
    let text = files::read_text(path, files::TEXT).with_context(|| format!("cannot read the prompts {name}"))?;
    parse(&name, &text)
}

/// Prompts with the lines where they stand, from 1: of a text whose name ends in `.jsonl` the
/// `prompt`s or `question`s, of any other its lines. Blank lines are left out.
///
/// # Errors
/// Names the text, and the line that holds no prompt.
pub fn parse(name: &str, text: &str) -> Result<Vec<(usize, String)>> {
    let extension = Path::new(name).extension();
    let json = extension.is_some_and(|e| e.eq_ignore_ascii_case("jsonl"));
    let lines = (1..).zip(text.trim_start_matches('\u{feff}').lines());
    let written = lines.filter(|(_, line)| !line.trim().is_empty());
    let prompt = |(number, line): (usize, &str)| match json {
        true => Ok((number, of_json(line).with_context(|| format!("{name}, line {number}"))?)),
        false => Ok((number, line.to_owned())),
    };
    let prompts = written.map(prompt).collect::<Result<Vec<_>>>()?;
    ensure!(!prompts.is_empty(), "{name} holds no prompts: expected one a line");
    Ok(prompts)
}

fn of_json(line: &str) -> Result<String> {
    let value: Value = serde_json::from_str(line).context("expected a JSON object a line")?;
    let prompt = match &value {
        Value::String(text) => Some(text),
        value => ["prompt", "question"].iter().find_map(|key| match &value[*key] {
            Value::String(text) => Some(text),
            _ => None,
        }),
    };
    match prompt {
        Some(text) if !text.trim().is_empty() => Ok(text.clone()),
        Some(_) => bail!("the prompt is empty"),
        None => bail!("expected a string, or an object with a string named `prompt` or `question`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_read_from_both_kinds_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            read(&path).map_err(|e| format!("{e:#}"))
        };
        let two = Ok(vec![(1, "One?".to_owned()), (3, "Two?".to_owned())]);
        assert_eq!(read("a.txt", "One?\r\n\nTwo?\n"), two);
        assert_eq!(
            read("a.jsonl", "{\"question\":\"One?\",\"answer\":1}\n\n\"Two?\"\n"),
            two
        );
        assert_eq!(
            read("b.jsonl", "\n\n{\"prompt\":\"Two?\",\"question\":1}").unwrap()[0].0,
            3
        );
        for (text, message) in [
            ("{\"answer\":1}", "line 1: expected a string, or an object"),
            ("{\"prompt\":\" \"}", "line 1: the prompt is empty"),
            ("\nnot json", "line 2: expected a JSON object a line"),
            ("\n\n", "holds no prompts"),
        ] {
            let error = read("c.jsonl", text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
