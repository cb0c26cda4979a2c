//! A loop map that someone watches: the engine's worker hands over the model, each cell goes out as plain data.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Cell, CellScore, score_question};
use crate::engine::loop_map::{LoopMapRequest, LoopMapStep};
use crate::engine::sequence::Stopped;
use crate::eval::problems::{LmTask, Problem};
use crate::eval::{Answer, AnswerKind, Question, Scoring, Task};
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

/// Of the problems for a LoopMoE model, and their choices at most.
const SEED: u64 = 1;
const CHOICES: usize = 4;

/// Problems that a LoopMoE model knows the words of, of all kinds in turn and as hard as its training had them. Each wrong
/// choice is the answer with one word of another problem's.
fn problems(count: usize) -> Vec<Question> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut problem = |index: usize| {
        let kind = LmTask::ALL[index % LmTask::ALL.len()];
        let Problem { question, answer, .. } = Problem::new(kind, kind.trained(), &mut rng);
        let mut choices = vec![answer.clone()];
        // A kind of few answers may have fewer wrong ones.
        for _ in 0..100 {
            let other = Problem::new(kind, kind.trained(), &mut rng).answer;
            let at = rng.random_range(0..answer.len());
            let mut wrong = answer.clone();
            wrong[at] = other.get(at).copied().unwrap_or(wrong[at]);
            if !choices.contains(&wrong) && choices.len() < CHOICES {
                choices.push(wrong);
            }
        }
        let right = rng.random_range(0..choices.len());
        choices.swap(0, right);
        Question {
            id: format!("problem-{}", index + 1),
            question: question.join(" "),
            answer: Answer::Choice {
                choices: choices.iter().map(|words| words.join(" ")).collect(),
                right,
            },
        }
    };
    (0..count).map(&mut problem).collect()
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
        None if model.decoder.loopmoe().is_some() => problems(request.limit),
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
    fn problems_have_one_right_answer_and_wrong_ones_beside_it() {
        let made = problems(70);
        assert_eq!(made, problems(70));
        for question in &made {
            let choices = question.answer.choices();
            let distinct: HashSet<&String> = choices.iter().collect();
            assert!(choices.len() >= 2 && distinct.len() == choices.len(), "{question:?}");
            assert!(question.question.ends_with('='));
            let right: Vec<&str> = question.answer.text().split(' ').collect();
            let changed = |wrong: &String| wrong.split(' ').zip(&right).filter(|(a, b)| a != *b).count();
            assert!(choices.iter().all(|choice| changed(choice) <= 1), "{question:?}");
            if let Some(digits) = question.question.strip_prefix("sort ") {
                let mut digits: Vec<&str> = digits.trim_end_matches([' ', '=']).split(' ').collect();
                digits.sort_unstable();
                assert_eq!(right[..right.len() - 1], digits[..]);
            }
        }
    }

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
