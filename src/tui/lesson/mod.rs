//! Lessons: guided tours through the screen, in TOML files that anyone can write (docs/lessons.md).

mod file;
mod tour;

use std::path::Path;

use super::action::UiAction;
use super::ui::Focus;
use crate::config::ConfigError;
use crate::config::source::{read_text, suggestion};
use crate::program::Action;
use crate::trace::DecidedBy;
pub use file::parse;
pub use tour::{Guesses, Tour, height, is_own, page, pages};

/// The folder of the user's lessons, beside the config file.
pub const LESSONS_DIR: &str = "lessons";

/// The lessons inside the binary: name and TOML.
pub const SHIPPED: [(&str, &str); 8] = [
    ("1-program", include_str!("../../../assets/lessons/1-program.toml")),
    (
        "2-easy-and-hard",
        include_str!("../../../assets/lessons/2-easy-and-hard.toml"),
    ),
    ("3-override", include_str!("../../../assets/lessons/3-override.toml")),
    ("4-budget", include_str!("../../../assets/lessons/4-budget.toml")),
    ("5-training", include_str!("../../../assets/lessons/5-training.toml")),
    ("6-guess", include_str!("../../../assets/lessons/6-guess.toml")),
    ("7-loops", include_str!("../../../assets/lessons/7-loops.toml")),
    ("8-predictor", include_str!("../../../assets/lessons/8-predictor.toml")),
];

/// A guided tour.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// The file's name without its end.
    pub name: String,
    /// What it is about, in a few words.
    pub title: String,
    /// One line for the list.
    pub summary: String,
    /// At least one.
    pub steps: Vec<LessonStep>,
}

/// One thing to read, with what is shown meanwhile and perhaps something to do.
#[derive(Clone, Debug, PartialEq)]
pub struct LessonStep {
    /// Paragraphs; `{action-name}` stands for that action's key.
    pub text: String,
    /// The trace that is opened; what is on the screen stays if absent.
    pub show: Option<Show>,
    /// Comes into the prompt editor.
    pub prompt: Option<String>,
    /// The pane that gets the keys; the one that has them if absent.
    pub focus: Option<Focus>,
    /// Whether the pane of the map shows the tape, where it gets the keys.
    pub tape: bool,
    /// Where the cursor goes.
    pub layer: Option<usize>,
    /// A token of the answer, from 1.
    pub token: Option<usize>,
    /// Shows only so many tokens of the answer; the next ones come when they are guessed or stepped to.
    pub shown: Option<usize>,
    /// Takes every override back first.
    pub clear: bool,
    /// The task needs a loaded model.
    pub model: bool,
    /// What is to be done before the next step; nothing if absent.
    pub task: Option<LessonTask>,
}

/// A trace to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// A built-in recording by name.
    Recording(String),
    /// A file beside the lesson.
    Trace {
        /// The file's name.
        name: String,
        /// The file's JSON lines.
        text: String,
    },
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub struct LessonTask {
    /// What to do, in words; `{action-name}` stands for that action's key.
    pub what: String,
    /// When it is done.
    pub check: Check,
}

/// When a task is done: everything that stands here holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Check {
    /// The action was carried out in this step.
    pub action: Option<UiAction>,
    /// What was carried out at the cursor.
    pub cell: Option<Action>,
    /// Who decided at the cursor.
    pub by: Option<DecidedBy>,
    /// The cursor's layer.
    pub layer: Option<usize>,
    /// The cursor's token, counted from 1 in the answer.
    pub token: Option<usize>,
    /// At least so many pins are set.
    pub pins: Option<usize>,
    /// A fixed program other than the standard one is set.
    pub program: bool,
    /// A budget of at most so many block executions is set.
    pub budget: Option<usize>,
    /// The mean depth of what is on the screen is at most this.
    pub depth: Option<f64>,
    /// A run was computed to its end in this step.
    pub ran: bool,
    /// At least so many tokens were guessed, shallow or deep.
    pub guesses: Option<usize>,
    /// So many guesses in a row were right.
    pub streak: Option<usize>,
}

/// A lesson that is there, or one that cannot be used and why.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed {
    /// A lesson that can be begun.
    Usable(Lesson),
    /// A file of the user's that is no lesson.
    Broken {
        /// The file's name without its end.
        name: String,
        /// What is wrong, with its place in the file.
        message: String,
    },
}

impl Listed {
    /// The file's name without its end.
    pub fn name(&self) -> &str {
        match self {
            Listed::Usable(lesson) => &lesson.name,
            Listed::Broken { name, .. } => name,
        }
    }
}

/// The shipped lessons, then the user's by name; a user's lesson takes the place of a shipped one
/// of its name.
pub fn list(user_dir: Option<&Path>) -> Vec<Listed> {
    let own = user_dir.map_or_else(Vec::new, user_lessons);
    let replaced = |name: &str| own.iter().any(|lesson| lesson.name() == name);
    let shipped = SHIPPED.iter().filter(|(name, _)| !replaced(name));
    let shipped = shipped.map(|(name, text)| {
        let lesson = parse(name, &format!("assets/lessons/{name}.toml"), text, None);
        Listed::Usable(lesson.expect("the shipped lessons are tested"))
    });
    let shipped: Vec<Listed> = shipped.collect();
    shipped.into_iter().chain(own).collect()
}

fn user_lessons(dir: &Path) -> Vec<Listed> {
    let files = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<_> = files.map(|f| f.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    paths.sort();
    let listed = |path: &std::path::PathBuf| match load(path) {
        Ok(lesson) => Listed::Usable(lesson),
        Err(error) => Listed::Broken {
            name: stem(path),
            message: error.to_string(),
        },
    };
    paths.iter().map(listed).collect()
}

/// Reads a lesson's file.
///
/// # Errors
/// Names file, line and column of what is wrong.
pub fn load(path: &Path) -> Result<Lesson, ConfigError> {
    let text = read_text(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&stem(path), &path.display().to_string(), &text, Some(folder))
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The index of the lesson `name` in `lessons`: its name, or what stands before or after its number's hyphen.
///
/// # Errors
/// When there is none, with the nearest name, or when it is broken.
pub fn find(lessons: &[Listed], name: &str) -> Result<usize, String> {
    let short = |listed: &Listed| {
        let name = listed.name();
        let digits = name.trim_start_matches(|c: char| c.is_ascii_digit());
        digits.strip_prefix('-').unwrap_or(name).to_owned()
    };
    let at = lessons
        .iter()
        .position(|l| l.name() == name)
        .or_else(|| lessons.iter().position(|l| short(l) == name))
        .or_else(|| {
            lessons
                .iter()
                .position(|l| l.name().split_once('-').is_some_and(|(number, _)| number == name))
        });
    match at.map(|at| (at, &lessons[at])) {
        Some((at, Listed::Usable(_))) => Ok(at),
        Some((_, Listed::Broken { message, .. })) => Err(format!("the lesson '{name}' cannot be used: {message}")),
        None => {
            let hint = suggestion(name, lessons.iter().map(Listed::name));
            let name = crate::text::escape_controls(name);
            Err(format!("there is no lesson '{name}': {hint}"))
        }
    }
}

#[cfg(test)]
mod tests;
