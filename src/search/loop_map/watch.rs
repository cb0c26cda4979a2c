//! A loop map that someone watches: the engine's worker hands over the model, each cell goes out as plain data.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::{Cell, CellScore, score_question};
use crate::engine::loop_map::{LoopMapRequest, LoopMapStep};
use crate::engine::sequence::Stopped;
use crate::eval::{AnswerKind, Question, Scoring, Task};
use crate::model::Model;

/// The questions that are asked where no file is named.
const SHIPPED: &str = include_str!("../../../assets/questions.jsonl");

/// The questions that ship.
///
/// # Errors
/// None but where a line is damaged, which a test excludes.
pub fn shipped() -> Result<Vec<Question>> {
    SHIPPED.lines().map(Question::parse).collect()
}

/// A [`crate::engine::loop_map::Mapper`].
///
/// # Errors
/// Those of the file of questions; [`Stopped`] when stopped.
pub fn watch(
    model: &Model,
    request: &LoopMapRequest,
    tell: &mut dyn FnMut(LoopMapStep),
    stop: &AtomicBool,
) -> Result<()> {
    let start = Instant::now();
    let mut questions = match &request.data {
        Some(path) => {
            let task = Task::load(path)?;
            ensure!(
                task.kind() == AnswerKind::Choice,
                "{} holds questions whose answers the model writes, which takes hours here: name a file of questions \
                 with choices, or use `drllm-tui search map`",
                path.display()
            );
            task.questions
        }
        None => shipped()?,
    };
    questions.truncate(request.limit);
    let cells = Cell::all(model.info.layers, usize::MAX);
    for (question, asked) in questions.iter().enumerate() {
        let mut each = |cell: Option<Cell>, score: CellScore| {
            tell(LoopMapStep {
                question,
                questions: questions.len(),
                cell: cell.map(Into::into),
                correct: score.correct,
                margin: score.margin,
                log_likelihood: score.log_likelihood,
                ms: start.elapsed().as_secs_f64() * 1e3,
            });
        };
        let judged = (Scoring::Sum, None);
        let scored = score_question(model, asked, judged, (&cells, request.damping), stop, &mut each)?;
        if scored.is_none() {
            return Err(Stopped.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn questions_that_ship_are_choices_that_differ() {
        let questions = shipped().unwrap();
        assert!(questions.len() >= 20);
        let asked: HashSet<&str> = questions.iter().map(|q| q.question.as_str()).collect();
        assert_eq!(asked.len(), questions.len());
        assert!(questions.iter().all(|q| q.answer.kind() == AnswerKind::Choice));
        let rights: HashSet<&str> = questions.iter().map(|q| q.answer.text()).collect();
        assert_eq!(rights.len(), questions.len());
    }
}
