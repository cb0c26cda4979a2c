//! How answers are judged: arguments that `search` and `eval` share.

use anyhow::Result;
use clap::Args;

use super::UsageError;
use crate::eval::{AnswerKind, Scoring, ScoringConfig, Task};

/// How answers are judged.
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
    /// Have answers written, or letters scored, under the model's chat template instead of after the plain prompt
    #[arg(long)]
    chat: bool,
}

impl ScoringArgs {
    /// What the library takes.
    pub fn config(&self) -> ScoringConfig {
        ScoringConfig {
            choices: self.score,
            max_new_tokens: self.max_new_tokens,
            chat: self.chat,
        }
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
        let writes = |task: &Task| self.config().of(task.kind(), false).1.is_some();
        if self.max_new_tokens.is_some() && !tasks.iter().any(writes) {
            return refused(
                "--max-new-tokens is about answers that the model writes; add --score generated, or leave it out",
            );
        }
        let in_chat = |task: &Task| {
            let (scoring, generation) = self.config().of(task.kind(), false);
            scoring.under_chat_template(generation.as_ref())
        };
        if self.chat && !tasks.iter().any(in_chat) {
            return refused(
                "--chat is about answers that the model writes and about letters; add --score generated or --score \
                 letter, or leave it out",
            );
        }
        Ok(())
    }
}
