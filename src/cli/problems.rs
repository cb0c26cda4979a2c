//! `drllm-tui problems`: files of questions that the program makes.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::UsageError;
use super::output::{refuse_existing, write_whole};
use crate::eval::made::{MadeKind, line};
use crate::text::counted;

/// Make questions with exact answers, a file for each difficulty: for `search`, `train` and `eval`
#[derive(Args, Debug)]
pub struct ProblemsArgs {
    #[arg(value_enum)]
    kind: MadeKind,
    /// Difficulties: one like 3, or a range like 1-6
    #[arg(long, value_name = "N|A-B", default_value = "1-6")]
    difficulty: String,
    /// Questions of each difficulty
    #[arg(long, value_name = "N", default_value_t = 500)]
    count: usize,
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Where the questions go, a JSON line each; {difficulty} in it becomes the difficulty
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

/// What stands in --out for the difficulty.
const PLACEHOLDER: &str = "{difficulty}";
/// Of a file.
const MOST: usize = 1_000_000;

/// Runs the command.
///
/// # Errors
/// [`UsageError`] for what the arguments got wrong, anything else for what failed.
pub fn run(args: &ProblemsArgs) -> Result<()> {
    let refused = |message: String| Err(UsageError::new(message).into());
    let (first, last) = args.range()?;
    if !(1..=MOST).contains(&args.count) {
        return refused(format!("--count is {}: expected 1 to {MOST}", args.count));
    }
    let named = args.out.to_string_lossy().contains(PLACEHOLDER);
    if first < last && !named {
        return refused(format!(
            "--out {} is the same for every difficulty: write {PLACEHOLDER} into it, like {}-{PLACEHOLDER}.jsonl",
            args.out.display(),
            args.kind.name()
        ));
    }
    let path = |difficulty: usize| -> PathBuf {
        match args.out.to_str() {
            Some(text) if named => text.replace(PLACEHOLDER, &difficulty.to_string()).into(),
            _ => args.out.clone(),
        }
    };
    // Nothing is written where one of them may not be.
    for difficulty in first..=last {
        refuse_existing(&path(difficulty), args.force)?;
    }
    for difficulty in first..=last {
        write(&path(difficulty), args, difficulty)?;
    }
    Ok(())
}

fn write(path: &Path, args: &ProblemsArgs, difficulty: usize) -> Result<()> {
    let questions = args.kind.questions(difficulty, args.count, args.seed);
    write_whole(path, |out| {
        questions
            .iter()
            .try_for_each(|question| out.write_all(line(question).as_bytes()))?;
        Ok(())
    })?;
    crate::note!(
        "{} of difficulty {difficulty} in {}",
        counted(args.count, "question"),
        path.display()
    );
    Ok(())
}

impl ProblemsArgs {
    fn range(&self) -> Result<(usize, usize)> {
        let (first, last) = self
            .difficulty
            .split_once('-')
            .unwrap_or((&self.difficulty, &self.difficulty));
        let most = self.kind.hardest();
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if 1 <= first && first <= last && last <= most => Ok((first, last)),
            _ => Err(UsageError::new(format!(
                "--difficulty is '{}': expected a number from 1 to {most}, or a range like 1-{most}, for {}",
                crate::text::escape_controls(&self.difficulty),
                self.kind.name()
            ))
            .into()),
        }
    }
}
