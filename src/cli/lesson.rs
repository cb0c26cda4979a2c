//! `drllm-tui lesson`: guided tours, listed, started or checked.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::{UsageError, explore, output};
use crate::config::Config;
use crate::text::escape_controls;
use crate::tui::lesson::{self, LESSONS_DIR, Listed};

/// Guided tours through the screen: list them, or start one by its name.
#[derive(Args, Clone, Debug, Default)]
pub struct LessonArgs {
    /// The lesson to start; without it the lessons are listed
    name: Option<String>,
    /// Check a lesson file of your own and say where it is wrong
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    check: Option<PathBuf>,
    /// What the explorer begins with when a lesson is started.
    #[command(flatten)]
    pub explore: explore::ExploreArgs,
}

/// Lists, checks, or opens the screen; the exit code.
///
/// # Errors
/// [`UsageError`] for a lesson that is not there or is wrong; else as the screen.
pub fn run(args: LessonArgs, config: &Config, config_dir: &Path) -> Result<u8> {
    if let Some(path) = &args.check {
        let lesson = lesson::load(path).map_err(|e| UsageError::new(e.to_string()))?;
        output::print(&format!("{} steps, nothing wrong\n", lesson.steps.len()))?;
        return Ok(0);
    }
    let lessons = lesson::list(Some(&config_dir.join(LESSONS_DIR)));
    let Some(name) = &args.name else {
        output::print(&listed(&lessons))?;
        return Ok(0);
    };
    let at = lesson::find(&lessons, name).map_err(UsageError::new)?;
    explore::open(args.explore, config, config_dir, Some(at))
}

fn listed(lessons: &[Listed]) -> String {
    let width = lessons.iter().map(|l| l.name().chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for lesson in lessons {
        let name = escape_controls(lesson.name());
        let what = match lesson {
            Listed::Usable(lesson) => format!("{}: {}", lesson.title, lesson.summary),
            Listed::Broken { message, .. } => format!("cannot be used: {message}"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name:width$}  {}", escape_controls(&what));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.toml"), "title = 'x'\nsummary = 'y'\nstep = 3").unwrap();
        let text = listed(&lesson::list(Some(dir.path())));
        assert!(text.lines().any(|l| l.starts_with("1-program ")), "{text}");
        let own = text.lines().find(|l| l.starts_with("mine ")).unwrap();
        assert!(own.contains("cannot be used") && own.contains("mine.toml:3:8"), "{own}");
    }
}
