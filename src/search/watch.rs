//! A search that someone watches: the engine's worker hands over the model, each simulation goes out as
//! plain data. It is the search of `drllm-tui search` on a file whose one question has the id `prompt`.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;

use super::evaluator::{DEFAULT_CACHE_BYTES, watch_question};
use super::mcts::{SearchSettings, Simulation};
use crate::engine::search::{Expected, SearchRequest, SearchStep, Tried, Visited};
use crate::engine::sequence::Stopped;
use crate::eval::{Answer, AnswerKind, GenerationSettings, Question, Scoring};
use crate::model::Model;

/// The id of the one question; it seeds the search together with the request's seed.
pub const ID: &str = "prompt";

/// A [`crate::engine::search::Searcher`].
///
/// # Errors
/// As [`watch_question`]; [`Stopped`] when stopped.
pub fn watch(
    model: &Model,
    request: &SearchRequest,
    tell: &mut dyn FnMut(SearchStep),
    stop: &AtomicBool,
) -> Result<()> {
    let start = Instant::now();
    let settings = SearchSettings {
        simulations: request.simulations,
        seed: request.seed,
        ..SearchSettings::default()
    };
    let (question, scoring, generation) = asked(request);
    let judged = (scoring, generation.as_ref());
    let mut observer = |simulation: &Simulation| {
        let ms = start.elapsed().as_secs_f64() * 1e3;
        tell(step(simulation, ms));
    };
    let found = watch_question(
        model,
        &question,
        judged,
        &settings,
        DEFAULT_CACHE_BYTES,
        stop,
        &mut observer,
    )?;
    found.map(drop).ok_or_else(|| Stopped.into())
}

/// The question as files have it, and how its answers are judged.
fn asked(request: &SearchRequest) -> (Question, Scoring, Option<GenerationSettings>) {
    let (answer, scoring, generation) = match &request.expected {
        Expected::Choice { texts, right } => {
            let (choices, right) = (texts.clone(), *right);
            (Answer::Choice { choices, right }, Scoring::Sum, None)
        }
        Expected::Number { text, tokens } => {
            let generation = GenerationSettings {
                answers: AnswerKind::Number,
                max_new_tokens: *tokens,
                chat: false,
            };
            (Answer::Number(text.clone()), Scoring::Generated, Some(generation))
        }
    };
    let question = Question {
        id: ID.to_owned(),
        question: request.question.clone(),
        answer,
    };
    (question, scoring, generation)
}

/// A simulation as plain data, `ms` milliseconds after the search began.
pub fn step(simulation: &Simulation, ms: f64) -> SearchStep {
    let nodes = &simulation.tree.nodes;
    let visited = |&node: &usize| Visited {
        node,
        visits: nodes[node].visits,
        reward: nodes[node].reward,
    };
    let last = simulation
        .path
        .last()
        .filter(|_| simulation.new)
        .map(|&node| &nodes[node]);
    SearchStep {
        simulation: simulation.number,
        path: simulation.path.iter().map(visited).collect(),
        tried: last.map(|node| Tried {
            program: node.program.clone(),
            correct: node.evaluation.correct,
            margin: node.evaluation.margin,
        }),
        ms,
    }
}
