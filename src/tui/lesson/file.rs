//! Lesson files: TOML → [`Lesson`], with the place of every mistake.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::{Check, Lesson, LessonStep, LessonTask, Show};
use crate::config::source::suggestion;
use crate::config::{ConfigError, ConfigSource};
use crate::program::Action;
use crate::trace::{DecidedBy, Trace};
use crate::tui::action::UiAction;
use crate::tui::keymap::KeyAction;
use crate::tui::recordings;
use crate::tui::ui::Focus;

/// Traces over this many bytes are refused: the screen opens before they are read.
const MAX_TRACE: u64 = 16 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LessonFile {
    title: String,
    summary: String,
    #[serde(default)]
    step: Vec<Spanned<StepFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepFile {
    text: Spanned<String>,
    recording: Option<Spanned<String>>,
    trace: Option<Spanned<String>>,
    prompt: Option<String>,
    focus: Option<Spanned<String>>,
    #[serde(default)]
    tape: bool,
    layer: Option<usize>,
    token: Option<Spanned<usize>>,
    shown: Option<usize>,
    #[serde(default)]
    clear: bool,
    #[serde(default)]
    model: bool,
    task: Option<Spanned<String>>,
    done: Option<Spanned<CheckFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckFile {
    action: Option<Spanned<String>>,
    cell: Option<Action>,
    by: Option<DecidedBy>,
    layer: Option<usize>,
    token: Option<usize>,
    pins: Option<usize>,
    #[serde(default)]
    program: bool,
    budget: Option<usize>,
    depth: Option<f64>,
    #[serde(default)]
    ran: bool,
    guesses: Option<usize>,
    streak: Option<usize>,
}

/// Parses a lesson called `name`; `file` stands in errors. Traces are looked for in `folder`.
///
/// # Errors
/// With file, line and column.
pub fn parse(name: &str, file: &str, text: &str, folder: Option<&Path>) -> Result<Lesson, ConfigError> {
    let source = ConfigSource { name: file, text };
    let parsed: LessonFile = toml::from_str(text).map_err(|e| source.toml_error(&e))?;
    if parsed.step.is_empty() {
        let message = "the lesson has no steps: expected [[step]] with a text";
        return Err(source.error(0..0, message));
    }
    let steps = parsed.step.into_iter().map(|s| step(source, s, folder));
    Ok(Lesson {
        name: name.to_owned(),
        title: parsed.title,
        summary: parsed.summary,
        steps: steps.collect::<Result<_, _>>()?,
    })
}

fn step(source: ConfigSource<'_>, step: Spanned<StepFile>, folder: Option<&Path>) -> Result<LessonStep, ConfigError> {
    let span = step.span();
    let step = step.into_inner();
    if let Some(task) = &step.task {
        placeholders(source, task)?;
    }
    placeholders(source, &step.text)?;
    let task = match (step.task, step.done) {
        (Some(what), Some(done)) => Some(LessonTask {
            what: paragraphs(what.get_ref()),
            check: check(source, done)?,
        }),
        (None, None) => None,
        (Some(what), None) => {
            return Err(source.error(what.span(), "a task needs a check: done = { … } says when it is done"));
        }
        (None, Some(done)) => {
            return Err(source.error(done.span(), "done = { … } needs a task, the words that say what to do"));
        }
    };
    if let Some(token) = step.token.as_ref().filter(|t| *t.get_ref() == 0) {
        return Err(source.error(token.span(), "token is 0: tokens of the answer are counted from 1"));
    }
    Ok(LessonStep {
        text: paragraphs(step.text.get_ref()),
        show: show(source, step.recording, step.trace, folder, span)?,
        prompt: step.prompt.map(|p| p.trim_end().to_owned()),
        focus: step.focus.map(|f| focus(source, &f)).transpose()?,
        tape: step.tape,
        layer: step.layer,
        token: step.token.map(Spanned::into_inner),
        shown: step.shown,
        clear: step.clear,
        model: step.model,
        task,
    })
}

fn show(
    source: ConfigSource<'_>,
    recording: Option<Spanned<String>>,
    trace: Option<Spanned<String>>,
    folder: Option<&Path>,
    span: Range<usize>,
) -> Result<Option<Show>, ConfigError> {
    match (recording, trace) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(source.error(span, "a step opens a recording or a trace, not both")),
        (Some(name), None) => {
            let known: Vec<_> = recordings::built_in().into_iter().map(|r| r.name).collect();
            if !known.contains(name.get_ref()) {
                let hint = suggestion(name.get_ref(), known.iter().map(String::as_str));
                let message = format!("there is no recording '{}': {hint}", name.get_ref());
                return Err(source.error(name.span(), message));
            }
            Ok(Some(Show::Recording(name.into_inner())))
        }
        (None, Some(file)) => {
            let path = folder.unwrap_or(Path::new("")).join(file.get_ref());
            let text = read_trace(&path).map_err(|e| source.error(file.span(), e))?;
            let name = file.into_inner();
            Ok(Some(Show::Trace { name, text }))
        }
    }
}

fn read_trace(path: &Path) -> Result<String, String> {
    let refuse = |why: String| format!("the trace {} cannot be used: {why}", path.display());
    let about = std::fs::metadata(path).map_err(|e| refuse(e.to_string()))?;
    if !about.is_file() || about.len() > MAX_TRACE {
        return Err(refuse(format!("expected a file of at most {} MiB", MAX_TRACE >> 20)));
    }
    let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    Trace::from_json_lines(&text).map_err(|e| refuse(format!("{e:#}")))?;
    Ok(text)
}

fn focus(source: ConfigSource<'_>, name: &Spanned<String>) -> Result<Focus, ConfigError> {
    let found = Focus::ALL.into_iter().find(|f| f.name() == name.get_ref());
    found.ok_or_else(|| {
        let hint = suggestion(name.get_ref(), Focus::ALL.map(Focus::name));
        source.error(name.span(), format!("there is no pane '{}': {hint}", name.get_ref()))
    })
}

fn check(source: ConfigSource<'_>, done: Spanned<CheckFile>) -> Result<Check, ConfigError> {
    let span = done.span();
    let done = done.into_inner();
    let check = Check {
        action: done.action.map(|a| action(source, &a)).transpose()?,
        cell: done.cell,
        by: done.by,
        layer: done.layer,
        token: done.token,
        pins: done.pins,
        program: done.program,
        budget: done.budget,
        depth: done.depth,
        ran: done.ran,
        guesses: done.guesses,
        streak: done.streak,
    };
    if check == Check::default() {
        return Err(source.error(span, "done says nothing: it would be done at once"));
    }
    Ok(check)
}

fn action(source: ConfigSource<'_>, name: &Spanned<String>) -> Result<UiAction, ConfigError> {
    named(name.get_ref()).map_err(|hint| source.error(name.span(), hint))
}

fn named(name: &str) -> Result<UiAction, String> {
    let found = UiAction::ALL.iter().find(|a| a.name() == name).copied();
    found.ok_or_else(|| {
        let hint = suggestion(name, UiAction::ALL.iter().map(|a| a.name()));
        format!("unknown action '{name}': {hint}")
    })
}

/// Refuses `{words}` that name no action.
fn placeholders(source: ConfigSource<'_>, text: &Spanned<String>) -> Result<(), ConfigError> {
    for (_, action) in split(text.get_ref()) {
        if let Some(name) = action {
            named(name).map_err(|hint| source.error(text.span(), format!("in '{{{name}}}': {hint}")))?;
        }
    }
    Ok(())
}

/// Plain text, and behind it the name of an action whose key follows, if one does.
fn split(text: &str) -> Vec<(&str, Option<&str>)> {
    let mut parts = Vec::new();
    let (mut plain, mut at) = (0, 0);
    while let Some(open) = text[at..].find('{').map(|i| at + i) {
        let name_ends = text[open + 1..].find(|c: char| !c.is_ascii_lowercase() && c != '-');
        let close = name_ends.map_or(text.len(), |i| open + 1 + i);
        if text[close..].starts_with('}') && close > open + 1 {
            parts.push((&text[plain..open], Some(&text[open + 1..close])));
            plain = close + 1;
        }
        at = close.max(open + 1);
    }
    parts.push((&text[plain..], None));
    parts
}

/// `text` with `{action-name}` replaced by what `key` says of the action.
pub(super) fn with_keys(text: &str, key: impl Fn(UiAction) -> String) -> String {
    let part = |(plain, action): (&str, Option<&str>)| match action.and_then(|name| named(name).ok()) {
        Some(action) => format!("{plain}{}", key(action)),
        None => plain.to_owned(),
    };
    split(text).into_iter().map(part).collect()
}

/// Lines joined to paragraphs, as they are separated by blank lines.
fn paragraphs(text: &str) -> String {
    let words = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let paragraphs: Vec<String> = text.split("\n\n").map(words).filter(|p| !p.is_empty()).collect();
    paragraphs.join("\n")
}
