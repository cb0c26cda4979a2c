//! Arguments of `eval --text`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::cli::UsageError;
use crate::eval::text::TextOrigin;
use crate::eval::text::answers::LEAST_ANSWER;
use crate::eval::text::texts::Limits;

/// Texts that are measured where the user does not say.
const TEXTS: usize = 64;

/// Most tokens of an answer, the temperature at which it is drawn and its seed, where the user does not say.
const ANSWER_TOKENS: usize = 112;
const TEMPERATURE: f64 = 0.7;
const SEED: u64 = 42;

/// Arguments that only `--text` heeds.
#[derive(Args, Debug)]
#[command(next_help_heading = "Of --text")]
pub struct TextArgs {
    /// The texts as they stand in the files: of JSON lines question and answer (of choices the right one), of other
    /// lines the first half as the prompt and the rest as the answer; without this the model writes the answers itself
    #[arg(long)]
    pub(super) ordinary: bool,
    /// Most tokens of an answer [default: 112]
    #[arg(long, value_name = "N")]
    answer_tokens: Option<usize>,
    /// At which the model draws its answers; 0 is greedy [default: 0.7]
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Draw the most likely token: --temperature 0
    #[arg(long, conflicts_with = "temperature")]
    greedy: bool,
    /// Files of other texts that the static controls are chosen on; the prompts that ship if absent
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "controls")]
    pub(in crate::cli::eval) train_text: Vec<PathBuf>,
    /// Let the routers write answers too: their perplexity under the whole model, repetition, length
    #[arg(long)]
    pub(super) generate: bool,
    /// Seeds what is drawn [default: 42]
    #[arg(long, value_name = "N", value_parser = crate::cli::args::whole::<u64>)]
    seed: Option<u64>,
}

impl TextArgs {
    /// Refuses what was given without `--text`.
    ///
    /// # Errors
    /// [`UsageError`] that names the option.
    // Not by clap: it waives what an option requires where that conflicts with another one.
    pub(in crate::cli::eval) fn check_absent(&self) -> Result<()> {
        let given = [
            ("--ordinary", self.ordinary),
            ("--answer-tokens", self.answer_tokens.is_some()),
            ("--temperature", self.temperature.is_some()),
            ("--greedy", self.greedy),
            ("--train-text", !self.train_text.is_empty()),
            ("--generate", self.generate),
            ("--seed", self.seed.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => {
                let message = format!("{option} is heeded by --text alone: measure on texts, or leave {option} out");
                Err(UsageError::new(message).into())
            }
            None => Ok(()),
        }
    }

    /// How many texts, and how they are made; `limit` is that of `--limit`.
    ///
    /// # Errors
    /// [`UsageError`] for numbers out of range.
    pub(super) fn limits(&self, limit: Option<usize>) -> Result<Limits> {
        let temperature = if self.greedy {
            0.0
        } else {
            self.temperature.unwrap_or(TEMPERATURE)
        };
        let answer_tokens = self.answer_tokens.unwrap_or(ANSWER_TOKENS);
        let refused = |message: String| Err(UsageError::new(message).into());
        if answer_tokens < LEAST_ANSWER {
            return refused(format!(
                "--answer-tokens is {answer_tokens}: expected at least {LEAST_ANSWER}"
            ));
        }
        if !(temperature.is_finite() && temperature >= 0.0) {
            return refused(format!("--temperature is {temperature}: expected 0 (greedy) or more"));
        }
        if limit == Some(0) {
            return refused("--limit is 0: expected at least 1".into());
        }
        Ok(Limits {
            texts: limit.unwrap_or(TEXTS),
            answer_tokens,
            temperature,
            seed: self.seed.unwrap_or(SEED),
        })
    }

    /// Where the answers come from.
    pub(super) fn kind(&self) -> TextOrigin {
        match self.ordinary {
            true => TextOrigin::Ordinary,
            false => TextOrigin::Own,
        }
    }
}
