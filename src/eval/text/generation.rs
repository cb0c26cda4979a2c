//! What the routers write by themselves, judged by the whole model.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use anyhow::Result;
use serde::Serialize;

use super::Text;
use super::answers::sampling;
use super::reading::Reference;
use super::sweep::{DialPosition, TextSweep, each};
use super::texts::{HeldOut, Limits};
use crate::engine::Generation;
use crate::engine::events::Prompt;
use crate::engine::sequence::Stopped;
use crate::eval::statistics::bootstrap_ratio;
use crate::model::Model;
use crate::progress::Tell;
use crate::router::Router;
use crate::trace::{Scope, Settings};

/// Tokens of the runs whose repetition is counted.
const GRAM: usize = 4;

/// Texts that one policy wrote to all prompts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrittenTexts {
    /// The routers' dial; absent for the whole model.
    pub dial: Option<f64>,
    /// The mean depth that the dial was chosen for, if it was.
    pub asked: Option<f64>,
    /// How many: one a prompt.
    pub texts: usize,
    /// Of all answers, without end tokens.
    pub tokens: usize,
    /// Tokens of an answer.
    pub mean_length: f64,
    /// Executed layers of a generated token.
    pub depth: f64,
    /// exp of the mean −ln p(token | all before) under the whole model, with its 95 % interval by texts; absent where
    /// nothing was written.
    pub perplexity: Option<f64>,
    /// The interval's lower end.
    pub perplexity_low: Option<f64>,
    /// The interval's upper end.
    pub perplexity_high: Option<f64>,
    /// Of all runs of four tokens in an answer, those that stood there before.
    pub repeated_4grams: f64,
}

/// One answer.
struct Answer {
    tokens: usize,
    depth: usize,
    /// −Σ ln p under the whole model, in nats.
    surprise: f64,
    grams: usize,
    repeated: usize,
}

/// Has the whole model, and the routers at each position of the dial, write answers to the prompts of `held_out`, each
/// with the same random numbers. The first is the whole model's. `None` where it was stopped.
///
/// # Errors
/// Those of the engine.
pub fn generate(
    job: &TextSweep,
    model: &Model,
    held_out: &HeldOut,
    asked: &[DialPosition],
    limits: Limits,
    tell: Tell,
) -> Result<Option<Vec<WrittenTexts>>> {
    let mut all = Vec::with_capacity(asked.len() + 1);
    for at in std::iter::once(None).chain(asked.iter().map(Some)) {
        let what = match at {
            None => "writing, full model".to_owned(),
            Some(at) => format!("writing, dial {:.3}", at.dial),
        };
        let one = |index: usize| {
            let settings = Settings {
                scope: Scope::Token,
                kv: job.kv,
                dial: at.map_or(Settings::default().dial, |at| at.dial),
                max_tokens: limits.answer_tokens,
                sampling: sampling(limits.temperature, limits.seed, held_out.indices[index]),
                ..Settings::default()
            };
            let routers = at.and(job.routers);
            answer(job, model, routers, &held_out.texts[index].prompt, &settings)
        };
        let Some(answers) = each(job, held_out.texts.len(), &what, tell, one)? else {
            return Ok(None);
        };
        all.push(written(&answers, at, job.seed));
    }
    Ok(Some(all))
}

fn answer(
    job: &TextSweep,
    model: &Model,
    routers: Option<&dyn Router>,
    prompt: &[u32],
    settings: &Settings,
) -> Result<Answer> {
    let (mut run, _) = Generation::start(model, routers, &Prompt::Ids(prompt.to_vec()), settings, job.stop)?;
    let (mut ids, mut depth) = (Vec::new(), 0);
    while let Some(step) = run.step()? {
        if !model.tokenizer.eos_ids().contains(&step.id) {
            ids.push(step.id);
            depth += step.depth;
        }
    }
    if job.stop.load(Ordering::Relaxed) {
        return Err(Stopped.into());
    }
    let (grams, repeated) = repeats(&ids);
    let (prompt, tokens) = (prompt.to_vec(), ids.len());
    let surprise = match tokens {
        0 => 0.0,
        _ => Reference::new(job.decoder, &Text { prompt, answer: ids }, job.stop, |_, _| Ok(()))?.surprise(),
    };
    Ok(Answer {
        tokens,
        depth,
        surprise,
        grams,
        repeated,
    })
}

/// Runs of four tokens, and how many of them stood before.
fn repeats(ids: &[u32]) -> (usize, usize) {
    let grams = ids.windows(GRAM);
    let distinct: HashSet<&[u32]> = grams.clone().collect();
    (grams.len(), grams.len() - distinct.len())
}

fn written(answers: &[Answer], at: Option<&DialPosition>, seed: u64) -> WrittenTexts {
    let sum = |of: fn(&Answer) -> usize| answers.iter().map(of).sum::<usize>();
    let tokens = sum(|a| a.tokens);
    let clusters: Vec<(f64, f64)> = answers.iter().map(|a| (a.surprise, a.tokens as f64)).collect();
    let surprise: f64 = answers.iter().map(|a| a.surprise).sum();
    let interval = bootstrap_ratio(&clusters, seed);
    WrittenTexts {
        dial: at.map(|at| at.dial),
        asked: at.and_then(|at| at.depth),
        texts: answers.len(),
        tokens,
        mean_length: tokens as f64 / answers.len().max(1) as f64,
        depth: sum(|a| a.depth) as f64 / tokens.max(1) as f64,
        perplexity: (tokens > 0).then(|| (surprise / tokens as f64).exp()),
        perplexity_low: interval.map(|(low, _)| low.exp()),
        perplexity_high: interval.map(|(_, high)| high.exp()),
        repeated_4grams: sum(|a| a.repeated) as f64 / sum(|a| a.grams).max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_runs_of_four_tokens() {
        assert_eq!(repeats(&[1, 2, 3]), (0, 0));
        assert_eq!(repeats(&[1, 2, 3, 4, 5]), (2, 0));
        // 1234 2341 3412 4123 1234 2341
        assert_eq!(repeats(&[1, 2, 3, 4, 1, 2, 3, 4, 1]), (6, 2));
        assert_eq!(repeats(&[7; 10]), (7, 6));
    }

    #[test]
    fn perplexity_is_of_tokens_and_repetition_of_runs() {
        let answer = |tokens: usize, each: f64, repeated| Answer {
            tokens,
            depth: 5 * tokens,
            surprise: each * tokens as f64,
            grams: tokens.saturating_sub(3),
            repeated,
        };
        let found = written(&[answer(10, 1.0, 1), answer(30, 3.0, 3), answer(0, 0.0, 0)], None, 1);
        assert_eq!((found.texts, found.tokens, found.depth), (3, 40, 5.0));
        assert!((found.perplexity.unwrap() - 2.5f64.exp()).abs() < 1e-9);
        assert!((found.repeated_4grams - 4.0 / 34.0).abs() < 1e-9);
        assert!((found.mean_length - 40.0 / 3.0).abs() < 1e-9);
        assert!(found.perplexity_low.unwrap() < found.perplexity_high.unwrap());
        assert_eq!(written(&[answer(0, 0.0, 0)], None, 1).perplexity, None);
    }
}
