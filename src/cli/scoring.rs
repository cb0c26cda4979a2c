//! How answers are judged: arguments that `search` and `eval` share.

use anyhow::Result;
use clap::Args;

use super::UsageError;
use crate::eval::generation::default_new_tokens;
use crate::eval::{AnswerKind, Generation, Scoring, Task};

#[derive(Args, Clone, Debug)]
pub struct ScoringArgs {
    /// How an answer is judged: log-likelihood of the choices' texts (sum, the default, or mean per
    /// token or char), or of their letters, or what the model writes (always so for numbers and
    /// mathematics)
    #[arg(long, value_enum)]
    score: Option<Scoring>,
    /// Tokens of an answer that the model writes, at most [default: 256; letters 10; mathematics in a
    /// search 15]
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Have answers written under the model's chat template instead of after the plain prompt
    #[arg(long)]
    chat: bool,
}

impl ScoringArgs {
    /// How questions of a kind are judged, and where answers are written, how.
    pub fn of(&self, answers: AnswerKind, in_search: bool) -> (Scoring, Option<Generation>) {
        let scoring = match answers {
            AnswerKind::Choice => self.score.unwrap_or_default(),
            AnswerKind::Number | AnswerKind::Math => Scoring::Generated,
        };
        let generation = (scoring == Scoring::Generated).then(|| Generation {
            answers,
            max_new_tokens: self
                .max_new_tokens
                .unwrap_or_else(|| default_new_tokens(answers, in_search)),
            chat: self.chat,
        });
        (scoring, generation)
    }

    /// Refuses what none of the tasks would heed.
    ///
    /// # Errors
    /// [`UsageError`], with the way out.
    pub fn check(&self, tasks: &[Task]) -> Result<()> {
        let refused = |message: &str| Err(UsageError::new(message).into());
        if self.max_new_tokens == Some(0) {
            return refused("--max-new-tokens is 0: expected at least 1");
        }
        let of_choices = self.score.is_some_and(|s| s != Scoring::Generated);
        if of_choices && tasks.iter().all(|t| t.kind() != AnswerKind::Choice) {
            return refused(
                "--score is about choices, and these questions have none: what the model writes is graded. Leave \
                 --score out",
            );
        }
        let writes = |task: &Task| self.of(task.kind(), false).1.is_some();
        if (self.max_new_tokens.is_some() || self.chat) && !tasks.iter().any(writes) {
            return refused(
                "--max-new-tokens and --chat are about answers that the model writes; add --score generated, or leave \
                 them out",
            );
        }
        Ok(())
    }

    /// The names of all scorings in use, joined by `+`.
    pub fn names(&self, tasks: &[Task]) -> String {
        let mut names = Vec::new();
        for name in tasks.iter().map(|t| self.of(t.kind(), false).0.name()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join("+")
    }

    /// How answers are written in an evaluation, each way once.
    pub fn generations(&self, tasks: &[Task]) -> Vec<Generation> {
        let mut all = Vec::new();
        for generation in tasks.iter().filter_map(|t| self.of(t.kind(), false).1) {
            if !all.contains(&generation) {
                all.push(generation);
            }
        }
        all
    }
}
