//! Questions answered by a model: under routers or a program, or under each of the programs that a predictor proposes.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::generation::{self, GenerationSettings};
use super::grading;
use super::multiple_choice::{ChoiceScore, ChoiceScorer, EncodedQuestion, Scoring};
use super::selector::{self, AnsweredCandidate, Selector, SelectorFeatures};
use super::tasks::Question;
use super::variants::{Outcome, Pick, Variant};
use crate::engine::decide::DecisionPolicy;
use crate::engine::sequence::Sequence;
use crate::model::{Decoder, Model, logsumexp};
use crate::program::Program;
use crate::router::Router;
use crate::trace::{CandidateProgram, Scope, Settings};

/// What a question came to under one program, and how sure the model was.
#[derive(Clone, Debug)]
pub struct Ran {
    outcome: Outcome,
    /// What the model answered, the same text where two answers are the same; none where it cannot be read.
    answer: Option<String>,
    /// Of choices the probability of the best one among them by their scores; of what is written the mean log-probability
    /// of its tokens.
    confidence: f64,
}

impl Ran {
    /// The confidence as log-odds where it is a probability; as it is where it is the mean log-probability of a text.
    fn log_odds(&self) -> f64 {
        match self.confidence {
            p if (0.0..1.0).contains(&p) => (p / (1.0 - p)).ln(),
            p if p >= 1.0 => f64::INFINITY,
            log_probability => log_probability,
        }
    }
}

/// What a question came to under the programs that were run on it.
pub type Runs = HashMap<Program, Ran>;

/// A question made ready once for all methods.
pub enum PreparedQuestion<'a> {
    /// Its choices are scored.
    Scored(EncodedQuestion, Scoring),
    /// The model writes its answer.
    Written(&'a Question, &'a GenerationSettings),
}

impl<'a> PreparedQuestion<'a> {
    /// # Errors
    /// As [`EncodedQuestion::for_model`], where choices are scored.
    pub fn new(
        question: &'a Question,
        model: &Model,
        scoring: Scoring,
        generation: Option<&'a GenerationSettings>,
    ) -> Result<Self> {
        Ok(match generation {
            Some(generation) => PreparedQuestion::Written(question, generation),
            None => PreparedQuestion::Scored(EncodedQuestion::for_model(question, model, scoring)?, scoring),
        })
    }

    /// # Errors
    /// As [`answer`] and [`generation::answer`].
    pub fn answer(
        &self,
        model: &Model,
        routers: Option<&dyn Router>,
        settings: &Settings,
        stop: &AtomicBool,
    ) -> Result<Outcome> {
        let started = Instant::now();
        let mut outcome = match self {
            PreparedQuestion::Scored(question, scoring) => {
                answer(&model.decoder, routers, settings, question, *scoring, stop)
            }
            PreparedQuestion::Written(question, how) => {
                generation::answer(model, routers, settings, question, how, stop)
            }
        }?;
        outcome.seconds = started.elapsed().as_secs_f64();
        Ok(outcome)
    }

    /// What the question came to under the programs that are proposed for the prompt `ids`: all of them run, but for those
    /// that `runs` has of this question, and one counts. Depth and time are those of all of them but for [`Pick::Surest`] and
    /// [`Pick::Selected`], whose depth is that of the program they pick.
    ///
    /// # Errors
    /// As [`Self::answer`]; [`Pick::Selected`] without a selector.
    pub fn answer_by_candidates(
        &self,
        with: (&Model, Option<&dyn Router>),
        settings: &Settings,
        (pick, ids, selector): (Pick, &[u32], Option<&Selector>),
        runs: &mut Runs,
        stop: &AtomicBool,
    ) -> Result<Outcome> {
        let most = if pick == Pick::FirstOfAnother { 1 } else { usize::MAX };
        let ran = self.run_candidates(with, settings, (ids, most), runs, stop)?;
        let seconds = ran.seconds;
        let picked = |index: usize| Outcome {
            seconds,
            ..ran.all[index].1.outcome
        };
        let all = || ran.all.iter().map(|(_, one)| one);
        let depth = all().map(|r| r.outcome.depth).sum::<f64>() / ran.all.len() as f64;
        Ok(match pick {
            Pick::Surest => {
                let surer = |best: usize, i: usize| match ran.all[i].1.confidence > ran.all[best].1.confidence {
                    true => i,
                    false => best,
                };
                picked((1..ran.all.len()).fold(0, surer))
            }
            Pick::Selected => {
                let selector = selector.context("no selector was fitted")?;
                picked(selector.pick(&ran.features(with.0.info.layers)))
            }
            Pick::Vote => Outcome {
                depth,
                standard: false,
                ..picked(elected(all().map(|r| r.answer.as_deref())))
            },
            Pick::FirstOfAnother | Pick::Any | Pick::AnyOfAnother => Outcome {
                correct: all().any(|r| r.outcome.correct),
                not_understood: all().all(|r| r.outcome.not_understood),
                depth,
                seconds,
                standard: false,
            },
        })
    }

    /// What a selector is fitted on: the features of each program that is proposed for the prompt `ids`, and whether it is
    /// right.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub fn known_candidates(
        &self,
        with: (&Model, Option<&dyn Router>),
        settings: &Settings,
        ids: &[u32],
        stop: &AtomicBool,
    ) -> Result<Vec<(SelectorFeatures, bool)>> {
        let ran = self.run_candidates(with, settings, (ids, usize::MAX), &mut Runs::new(), stop)?;
        let right = ran.all.iter().map(|(_, one)| one.outcome.correct);
        Ok(ran.features(with.0.info.layers).into_iter().zip(right).collect())
    }

    /// Runs the first `most` of the programs that are proposed for the prompt `ids`, at least one.
    fn run_candidates(
        &self,
        (model, routers): (&Model, Option<&dyn Router>),
        settings: &Settings,
        (ids, most): (&[u32], usize),
        runs: &mut Runs,
        stop: &AtomicBool,
    ) -> Result<RanCandidates> {
        let started = Instant::now();
        let mut policy = DecisionPolicy::new(settings, routers, model.info.layers)?;
        policy.program_for(&Sequence::new(&model.decoder, stop), ids)?;
        let candidates: Vec<CandidateProgram> = policy.candidates().iter().take(most).cloned().collect();
        let mut seconds = started.elapsed().as_secs_f64();
        let mut all = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            if !runs.contains_key(&candidate.program) {
                let one = self.run(model, &candidate.program, stop)?;
                runs.insert(candidate.program.clone(), one);
            }
            let one = runs[&candidate.program].clone();
            seconds += one.outcome.seconds;
            all.push((candidate, one));
        }
        ensure!(!all.is_empty(), "no program was proposed");
        Ok(RanCandidates { all, seconds })
    }

    /// Runs one program, and asks how sure the model is of its answer.
    fn run(&self, model: &Model, program: &Program, stop: &AtomicBool) -> Result<Ran> {
        let started = Instant::now();
        let standard = *program == Program::standard(model.info.layers);
        let (mut outcome, answer, confidence) = match self {
            PreparedQuestion::Scored(question, scoring) => {
                let score = ChoiceScorer::new(&model.decoder, question)?.run(program, *scoring)?;
                let outcome = Outcome {
                    correct: score.correct,
                    depth: program.depth() as f64,
                    ..Outcome::default()
                };
                (outcome, Some(score.best().to_string()), score.confidence())
            }
            PreparedQuestion::Written(question, how) => {
                let who = Variant::program(program.clone()).settings;
                let written = generation::write(model, None, &who, question, how, stop)?;
                let answer = grading::reading(&question.answer, &written.text);
                (generation::judge(question, &written), answer, written.confidence)
            }
        };
        outcome.seconds = started.elapsed().as_secs_f64();
        outcome.standard = standard;
        Ok(Ran {
            outcome,
            answer,
            confidence,
        })
    }
}

/// The programs that were proposed for a question, the best one first, and what each came to.
struct RanCandidates {
    /// At least one.
    all: Vec<(CandidateProgram, Ran)>,
    /// Of the proposal and all runs.
    seconds: f64,
}

impl RanCandidates {
    /// What a selector reads of each, on a model of `layers` layers.
    fn features(&self, layers: usize) -> Vec<SelectorFeatures> {
        let shown: Vec<AnsweredCandidate> = self
            .all
            .iter()
            .map(|(candidate, ran)| AnsweredCandidate {
                answer: ran.answer.as_deref(),
                confidence: ran.log_odds(),
                standard: ran.outcome.standard,
                depth: candidate.program.depth() as f64 / layers as f64,
                score: candidate.score,
            })
            .collect();
        selector::features(&shown)
    }
}

/// Which of some answers, the best program's first, is the first of those that most of them are. What cannot be read has no
/// vote; of answers with as many votes the one that comes first is taken.
fn elected<'a>(answers: impl Iterator<Item = Option<&'a str>> + Clone) -> usize {
    let votes = |answer: &str| answers.clone().filter(|other| *other == Some(answer)).count();
    let mut best = (0, 0);
    for (index, answer) in answers.clone().enumerate() {
        let votes = answer.map_or(0, votes);
        if votes > best.1 {
            best = (index, votes);
        }
    }
    best.0
}

/// Answers one question by the scores of its choices. The program is decided on the question part
/// and holds for every choice in scope `prompt`; in scope `token` every token of a choice is routed
/// as if it had been generated. Takes no time, see [`PreparedQuestion::answer`].
///
/// # Errors
/// Settings that contradict the model or the routers, a pass that was stopped.
pub fn answer(
    decoder: &Decoder,
    routers: Option<&dyn Router>,
    settings: &Settings,
    question: &EncodedQuestion,
    scoring: Scoring,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let by_token = settings.program.is_none() && settings.scope == Scope::Token;
    let mut standard = false;
    let (score, depth) = if by_token {
        by_tokens(decoder, routers, settings, question, scoring, stop)?
    } else {
        let program = match &settings.program {
            Some(program) => program.clone(),
            None => {
                let mut policy = DecisionPolicy::new(settings, routers, decoder.config().layers)?;
                let mut sequence = Sequence::new(decoder, stop).with_kv(settings.kv);
                match policy.program_for(&sequence, &question.prompt)?.cloned() {
                    Some(program) => {
                        standard = program == Program::standard(decoder.config().layers);
                        program
                    }
                    None => policy.prompt(&mut sequence, &question.prompt)?.program,
                }
            }
        };
        let score = ChoiceScorer::new(decoder, question)?.run(&program, scoring)?;
        (score, program.depth() as f64)
    };
    Ok(Outcome {
        correct: score.correct,
        not_understood: false,
        depth,
        seconds: 0.0,
        standard,
    })
}

/// The score in scope `token`, and the mean depth: the prompt's pass counts once, each choice's
/// tokens but its last, which predicts nothing that is asked for, count one each.
fn by_tokens(
    decoder: &Decoder,
    routers: Option<&dyn Router>,
    settings: &Settings,
    question: &EncodedQuestion,
    scoring: Scoring,
    stop: &AtomicBool,
) -> Result<(ChoiceScore, f64)> {
    let mut policy = DecisionPolicy::new(settings, routers, decoder.config().layers)?;
    let mut sequence = Sequence::new(decoder, stop).with_kv(settings.kv);
    let prompt = policy.prompt(&mut sequence, &question.prompt)?;
    let first = prompt.logits.to_vec1::<f32>()?;
    let branches: Vec<&[u32]> = question.choices.iter().map(|c| &c[..c.len() - 1]).collect();
    let rows: usize = branches.iter().map(|b| b.len()).sum();
    let (logits, actions) = match rows {
        0 => (Vec::new(), Vec::new()),
        _ => {
            let (logits, actions) = policy.branches(&mut sequence, &branches)?;
            (logits.to_vec2::<f32>()?, actions)
        }
    };
    let mut rows = logits.iter();
    let mut score = |choice: &Vec<u32>| {
        let predictors = std::iter::once(&first).chain(rows.by_ref().take(choice.len() - 1));
        predictors
            .zip(choice)
            .map(|(logits, &id)| log_prob(logits, id))
            .collect()
    };
    let log_probs: Vec<Vec<f64>> = question.choices.iter().map(&mut score).collect();
    let depths = actions.iter().flatten().map(|a| a.executions()).sum::<usize>() + prompt.program.depth();
    let depth = depths as f64 / (1 + actions.len()) as f64;
    Ok((question.score(&log_probs, scoring), depth))
}

/// ln p of a token by logits (vocab_size).
fn log_prob(logits: &[f32], id: u32) -> f64 {
    f64::from(logits[id as usize]) - logsumexp(logits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::{LAYERS, question, tiny_decoder, tiny_routers};

    fn outcome(method: &Variant) -> Outcome {
        let (decoder, routers) = (tiny_decoder(), tiny_routers());
        let stop = AtomicBool::new(false);
        answer(
            &decoder,
            Some(&routers),
            &method.settings,
            &question(),
            Scoring::Sum,
            &stop,
        )
        .unwrap()
    }

    #[test]
    fn routers_that_decide_alike_score_alike_in_both_scopes() {
        let (decoder, routers, question) = (tiny_decoder(), tiny_routers(), question());
        let stop = AtomicBool::new(false);
        let method = Variant::routers(Scope::Token, -0.5, None);
        let (by_token, depth) = by_tokens(
            &decoder,
            Some(&routers),
            &method.settings,
            &question,
            Scoring::Sum,
            &stop,
        )
        .unwrap();
        let program = Program::from_layers([0, 2, 2, 3]);
        let scorer = ChoiceScorer::new(&decoder, &question).unwrap();
        let at_once = scorer.run(&program, Scoring::Sum).unwrap();
        for (a, b) in by_token.scores.iter().zip(&at_once.scores) {
            assert!((a - b).abs() < 1e-4, "{by_token:?} {at_once:?}");
        }
        assert_eq!(depth, 4.0);
        let prompt = outcome(&Variant::routers(Scope::Prompt, -0.5, None));
        assert_eq!(prompt, outcome(&Variant::program(program)));
    }

    #[test]
    fn depth_is_that_of_a_forward_pass() {
        assert_eq!(outcome(&Variant::base(LAYERS)).depth, 4.0);
        assert_eq!(outcome(&Variant::program(Program::from_layers([0, 3]))).depth, 2.0);
        for scope in [Scope::Prompt, Scope::Token] {
            let budgeted = Variant::routers(scope, -0.5, Some(3));
            assert!(outcome(&budgeted).depth <= 3.0, "{}", budgeted.name);
        }
    }

    #[test]
    fn most_votes_win_and_of_equals_the_better_program() {
        let of = |answers: &[&'static str]| elected(answers.iter().map(|a| (!a.is_empty()).then_some(*a)));
        assert_eq!(of(&["a", "b", "c", "b", "d"]), 1);
        assert_eq!(of(&["a", "b", "b", "a", "c"]), 0);
        assert_eq!(of(&["", "", "b", "", "c"]), 2, "what cannot be read has no vote");
        assert_eq!(of(&["", ""]), 0);
    }
}
