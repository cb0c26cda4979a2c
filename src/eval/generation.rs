//! Answers that the model writes, by the engine's own generation loop.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use math_grading::Verdict;
use serde::{Deserialize, Serialize};

use super::grading;
use super::tasks::{AnswerKind, Question};
use super::variants::Outcome;
use crate::engine::events::Prompt;
use crate::engine::generate::{Output, generate};
use crate::engine::sequence::Stopped;
use crate::model::Model;
use crate::router::Router;
use crate::text::escape_controls;
use crate::trace::{Sampling, Settings, StopReason};

/// How the model is made to write its answers: greedily, until an end token, a stop string or
/// `max_new_tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationSettings {
    /// What is asked for, which gives the prompt its form.
    pub answers: AnswerKind,
    /// Most tokens of an answer.
    pub max_new_tokens: usize,
    /// Under the model's chat template, as a user's message; else the prompt as it is.
    pub chat: bool,
}

/// New tokens in an evaluation: as much as worked solutions of grade-school mathematics need.
const SOLUTION_TOKENS: usize = 256;
/// Dr.LLM's search (arXiv 2510.12773, released code): a box, a letter.
const BOX_TOKENS: usize = 15;
const LETTER_TOKENS: usize = 10;

/// New tokens where the user does not say.
///
/// A number that a solution ends with is not there before the solution is, so in a search it needs
/// as many as in an evaluation.
pub fn default_new_tokens(answers: AnswerKind, in_search: bool) -> usize {
    match answers {
        AnswerKind::Choice => LETTER_TOKENS,
        AnswerKind::Math if in_search => BOX_TOKENS,
        AnswerKind::Math | AnswerKind::Number => SOLUTION_TOKENS,
    }
}

/// What the model wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenAnswer {
    /// What of the answer the prompt began, and what the model went on with.
    pub text: String,
    /// Executed layers per forward pass, meaned over the prompt's pass and each new token's.
    pub depth: f64,
    /// Mean log-probability of what the model wrote; 0 where it wrote nothing.
    pub confidence: f64,
}

impl GenerationSettings {
    /// `who` (scope, dial, budget, pins or a program) for a run that writes an answer. A new
    /// question, and for a letter a new line, ends it.
    pub fn settings(&self, who: &Settings) -> Settings {
        let stop = match self.answers {
            AnswerKind::Choice => "\n",
            AnswerKind::Number | AnswerKind::Math => "\nQuestion:",
        };
        Settings {
            raw: !self.chat,
            max_tokens: self.max_new_tokens,
            stop: vec![stop.into()],
            ignore_eos: false,
            sampling: Sampling::default(),
            shadow: false,
            // Of the token that is taken, since that is the likeliest one.
            logits: 1,
            probe: Vec::new(),
            ..who.clone()
        }
    }
}

/// Has the model write its answer to a question. In scope `prompt` the program is decided on the
/// prompt and holds for all that is written.
///
/// # Errors
/// Names the question: a prompt beyond the context, a chat template that the model does not have,
/// settings that contradict the model or the routers. [`Stopped`] when stopped before the end.
pub fn write(
    model: &Model,
    routers: Option<&dyn Router>,
    who: &Settings,
    question: &Question,
    generation: &GenerationSettings,
    stop: &AtomicBool,
) -> Result<WrittenAnswer> {
    if generation.chat {
        model.expect_chat_template()?;
    }
    let settings = generation.settings(who);
    let prompt = Prompt::Text(generation.prompt(&question.question, question.answer.choices()));
    let mut text = generation.begun().to_owned();
    let (mut depth, mut passes) = (0, 0usize);
    let (mut log_probs, mut before) = (0.0, None);
    let summary = generate(model, routers, &prompt, &settings, stop, &mut |output| {
        passes += 1;
        match output {
            Output::Header(header) => {
                depth += header.program.depth();
                before = header.logits;
            }
            Output::Step(step) => {
                depth += step.depth;
                let taken = before.iter().flat_map(|b| b.top.first().map(|top| top.1 - b.logsumexp));
                log_probs += taken.map(f64::from).sum::<f64>();
                before = step.logits;
                if !step.special {
                    text += &step.text;
                }
            }
        }
    });
    let summary = match summary {
        Err(e) if e.is::<Stopped>() => return Err(e),
        summary => summary.with_context(|| format!("question {}", escape_controls(&question.id)))?,
    };
    ensure!(summary.stop != StopReason::Stopped, Stopped);
    Ok(WrittenAnswer {
        text,
        depth: depth as f64 / passes.max(1) as f64,
        confidence: log_probs / passes.saturating_sub(1).max(1) as f64,
    })
}

/// [`write()`], and whether it is right.
pub fn answer(
    model: &Model,
    routers: Option<&dyn Router>,
    who: &Settings,
    question: &Question,
    generation: &GenerationSettings,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let written = write(model, routers, who, question, generation, stop)?;
    Ok(judge(question, &written))
}

/// Whether what was written is right.
pub fn judge(question: &Question, written: &WrittenAnswer) -> Outcome {
    let verdict = grading::grade(&question.answer, &written.text);
    Outcome {
        correct: verdict == Verdict::Right,
        not_understood: verdict == Verdict::NotUnderstood,
        depth: written.depth,
        ..Outcome::default()
    }
}
