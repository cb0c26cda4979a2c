//! How many problems a model solves, by task and difficulty.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use candle_core::{D, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::corpus::HELD_OUT;
use crate::eval::parallel::for_each_ordered;
use crate::eval::problems::{LmTask, Problem};
use crate::eval::statistics::wilson;
use crate::model::loopmoe::words::START;
use crate::model::loopmoe::{Excluded, ExecutionObserver, LatentCache, LoopMoe, WordList};

/// Problems that go through the model together.
const BATCH: usize = 50;

/// What is asked: so many problems of a kind, at K iterations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemSet {
    /// Which kind.
    pub task: LmTask,
    /// In the kind's own unit, see [`Problem::difficulty`].
    pub difficulty: usize,
    /// How often the loop runs, K.
    pub iterations: usize,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProblemScore {
    /// Which kind.
    pub task: LmTask,
    /// In the kind's own unit, see [`Problem::difficulty`].
    pub difficulty: usize,
    /// Whether a training sees this difficulty.
    pub trained: bool,
    /// How often the loop ran, K.
    pub iterations: usize,
    /// Problems that were solved.
    pub right: usize,
    /// Problems that were asked.
    pub of: usize,
    /// Wilson's 95 % interval of right / of.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

impl ProblemScore {
    /// The score of `right` problems solved `of` those asked.
    pub fn new(question: ProblemSet, right: usize, of: usize) -> Self {
        let (low, high) = wilson(right, of);
        ProblemScore {
            task: question.task,
            difficulty: question.difficulty,
            trained: question.difficulty <= question.task.trained(),
            iterations: question.iterations,
            right,
            of,
            low,
            high,
        }
    }

    /// Share of the problems that were solved, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.of.max(1) as f64
    }
}

/// The problems of a task and difficulty; a seed always gives the same ones, to every model and at every K.
pub fn problems(task: LmTask, difficulty: usize, count: usize, seed: u64) -> Vec<Problem> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(HELD_OUT + task as u64 * 1000 + difficulty as u64);
    (0..count).map(|_| Problem::new(task, difficulty, &mut rng)).collect()
}

/// A batch of problems as one tensor, shorter ones filled up behind their end, where nothing looks at them.
pub struct ProblemBatch {
    /// (problems, tokens)
    pub tokens: Tensor,
    /// Of each problem: where its answer begins, and where it ends.
    pub answers: Vec<(usize, usize)>,
    /// As `tokens`.
    pub ids: Vec<Vec<u32>>,
}

impl ProblemBatch {
    /// # Errors
    /// Those of the device.
    pub fn new(problems: &[Problem], words: &WordList, device: &candle_core::Device) -> Result<Self> {
        let mut ids = Vec::new();
        let mut answers = Vec::new();
        for problem in problems {
            let text = std::iter::once(&START).chain(&problem.question).chain(&problem.answer);
            ids.push(words.encode(&text.copied().collect::<Vec<_>>().join(" "))?);
            let begin = 1 + problem.question.len();
            answers.push((begin, begin + problem.answer.len()));
        }
        let longest = ids.iter().map(Vec::len).max().unwrap_or(1);
        ids.iter_mut().for_each(|ids| ids.resize(longest, 0));
        let tokens = Tensor::from_vec(ids.concat(), (ids.len(), longest), device)?;
        Ok(ProblemBatch { tokens, answers, ids })
    }

    /// Which problems the model answers as they should be: each token of the answer, its end included, is the likeliest
    /// behind the right ones before it. That is so just where greedy decoding writes this answer.
    ///
    /// # Errors
    /// Those of the model.
    pub fn solved(
        &self,
        model: &LoopMoe,
        iterations: usize,
        observer: &mut dyn ExecutionObserver,
    ) -> Result<Vec<bool>> {
        let path = model.config().standard_path(iterations);
        let mut cache = LatentCache::default();
        let logits = model.forward(&self.tokens, &path, &mut cache, &Excluded::new(), observer)?;
        let likeliest: Vec<Vec<u32>> = logits.argmax(D::Minus1)?.to_vec2()?;
        let rows = likeliest.iter().zip(&self.ids).zip(&self.answers);
        Ok(rows
            .map(|((row, ids), &(begin, end))| row[begin - 1..end - 1] == ids[begin..end])
            .collect())
    }
}

/// Asks `count` problems for each question; `None` if it was stopped. `done` hears how many questions are answered.
///
/// # Errors
/// Those of the model.
pub fn evaluate(
    model: &LoopMoe,
    words: &WordList,
    questions: &[ProblemSet],
    (count, seed): (usize, u64),
    threads: usize,
    stop: &AtomicBool,
    mut done: impl FnMut(usize),
) -> Result<Option<Vec<ProblemScore>>> {
    let mut scores = Vec::new();
    let device = candle_core::Device::Cpu;
    let ask = |at: usize| {
        let question = questions[at];
        let mut right = 0;
        for part in problems(question.task, question.difficulty, count, seed).chunks(BATCH) {
            let solved = ProblemBatch::new(part, words, &device)?.solved(model, question.iterations, &mut ())?;
            right += solved.into_iter().filter(|solved| *solved).count();
        }
        Ok(Some(ProblemScore::new(question, right, count)))
    };
    for_each_ordered(0..questions.len(), threads, stop, ask, |_, score| {
        scores.push(score);
        done(scores.len());
        Ok(())
    })?;
    Ok((scores.len() == questions.len()).then_some(scores))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::loopmoe::testing::{model, tiny};
    use crate::model::loopmoe::{LoopMoeConfig, words::END};

    #[test]
    fn an_answer_is_solved_where_greedy_decoding_writes_it() {
        let words = WordList::default();
        let model = model(
            &LoopMoeConfig {
                vocab_size: words.count(),
                ..tiny()
            },
            3,
        );
        let asked = problems(LmTask::Copy, 1, 3, 9);
        // What the model writes behind the question is taken as the right answer; of the last, all but one word.
        let greedy = |question: &[&'static str]| {
            let mut text = format!("<s> {}", question.join(" "));
            for _ in 0..3 {
                let ids = words.encode(&text).unwrap();
                let tokens = crate::model::loopmoe::testing::ids(&ids);
                let path = model.config().standard_path(2);
                let run = model.forward(&tokens, &path, &mut LatentCache::default(), &Excluded::new(), &mut ());
                let next = LoopMoe::likeliest(&run.unwrap()).unwrap();
                text += &format!(" {}", words.decode(&[next]));
            }
            let all: Vec<String> = text.split(' ').map(str::to_owned).collect();
            all[all.len() - 3..].to_vec()
        };
        let mut answered: Vec<Problem> = Vec::new();
        for (at, mut problem) in asked.into_iter().enumerate() {
            let mut answer = greedy(&problem.question);
            if at == 2 {
                answer[1] = if answer[1] == END {
                    "a".to_owned()
                } else {
                    END.to_owned()
                };
            }
            problem.answer = answer.into_iter().map(|word| &*word.leak()).collect();
            answered.push(problem);
        }
        // One question is longer, so that the others are filled up.
        answered[0].question.extend(["a", "b"]);
        answered[0].answer = greedy(&answered[0].question)
            .into_iter()
            .map(|word| &*word.leak())
            .collect();
        let batch = ProblemBatch::new(&answered, &words, &candle_core::Device::Cpu).unwrap();
        assert_eq!(batch.solved(&model, 2, &mut ()).unwrap(), [true, true, false]);
    }

    #[test]
    fn all_models_get_the_same_problems() {
        assert_eq!(problems(LmTask::Sort, 5, 20, 1), problems(LmTask::Sort, 5, 20, 1));
        assert_ne!(problems(LmTask::Sort, 5, 20, 1), problems(LmTask::Sort, 5, 20, 2));
        let question = ProblemSet {
            task: LmTask::Calc,
            difficulty: 7,
            iterations: 4,
        };
        let score = ProblemScore::new(question, 5, 10);
        assert!(!score.trained && score.accuracy() == 0.5 && score.low < 0.24 && score.high > 0.76);
    }
}
