//! Runs programs on one question, sharing the hidden states of programs that begin alike.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use candle_core::Tensor;

use super::mcts::{Evaluate, ProgramOutcome, SearchObserver, SearchResult, SearchSettings, search_watched};
use crate::engine::sequence::Stopped;
use crate::eval::{ChoiceScorer, EncodedQuestion, GenerationSettings, Question, Scoring, Variant, generation};
use crate::model::Model;
use crate::program::{Execution, Program, StepSize};

/// Bytes of hidden states kept for one question, where the user does not say. At two threads the
/// search holds at most twice this.
pub const DEFAULT_CACHE_BYTES: usize = 256 << 20;

/// Evaluates programs on one question. A program is computed from where it first differs from all
/// earlier ones; the hidden states up to there are kept in a tree over prefixes.
pub struct ProgramEvaluator<'a> {
    scorer: &'a ChoiceScorer<'a>,
    scoring: Scoring,
    prefixes: Vec<Prefix>,
    /// Bytes that may still be kept. Once spent, new states are not kept; results stay the same.
    room: usize,
    /// Block executions so far.
    pub blocks_run: usize,
    /// Ends an evaluation with [`Stopped`] before the next block.
    pub stop: Option<&'a AtomicBool>,
}

/// A block's layer and the step that it takes.
type Taken = (usize, StepSize);

/// Programs that begin with the executions on the way to this node.
struct Prefix {
    /// Hidden states of question and choices after those: (tokens, hidden_size).
    hidden: Tensor,
    /// What may come next, and its node.
    next: Vec<(Taken, usize)>,
}

impl<'a> ProgramEvaluator<'a> {
    /// Keeps at most `cache_bytes` of hidden states, and always those of the embeddings.
    pub fn new(scorer: &'a ChoiceScorer<'a>, scoring: Scoring, cache_bytes: usize) -> Result<Self> {
        let root = Prefix {
            hidden: scorer.embed()?,
            next: Vec::new(),
        };
        Ok(ProgramEvaluator {
            scorer,
            scoring,
            prefixes: vec![root],
            room: cache_bytes,
            blocks_run: 0,
            stop: None,
        })
    }

    /// The node of the longest prefix of `program` that is kept, and its length.
    fn longest_prefix(&self, program: &Program) -> (usize, usize) {
        let mut node = 0;
        for (length, Execution { layer, step, .. }) in program.passes().enumerate() {
            match self.prefixes[node]
                .next
                .iter()
                .find(|(taken, _)| *taken == (layer, step))
            {
                Some(&(_, next)) => node = next,
                None => return (node, length),
            }
        }
        (node, program.depth())
    }

    /// Keeps `hidden` as what follows `node` by `taken`; the new node, if there is room.
    fn keep(&mut self, node: usize, taken: Taken, hidden: &Tensor) -> Option<usize> {
        let bytes = hidden.elem_count() * hidden.dtype().size_in_bytes();
        self.room = self.room.checked_sub(bytes)?;
        let new = self.prefixes.len();
        self.prefixes.push(Prefix {
            hidden: hidden.clone(),
            next: Vec::new(),
        });
        self.prefixes[node].next.push((taken, new));
        Some(new)
    }
}

impl Evaluate for ProgramEvaluator<'_> {
    fn evaluate(&mut self, program: &Program) -> Result<ProgramOutcome> {
        let (node, length) = self.longest_prefix(program);
        let mut hidden = self.prefixes[node].hidden.clone();
        let mut kept = Some(node);
        for Execution { layer, step, .. } in program.passes().skip(length) {
            if self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                return Err(Stopped.into());
            }
            hidden = self.scorer.take_step(layer, step, &hidden)?;
            self.blocks_run += 1;
            kept = kept.and_then(|node| self.keep(node, (layer, step), &hidden));
        }
        let score = self.scorer.finish(&hidden, self.scoring)?;
        Ok(ProgramOutcome {
            correct: score.correct,
            margin: score.margin,
        })
    }
}

/// Evaluates programs on one question by what the model writes under them, greedily. The margin is 1
/// where that is right and −1 where it is wrong: there is nothing in between.
pub struct WritingEvaluator<'a> {
    /// What writes the answers.
    pub model: &'a Model,
    /// What is asked.
    pub question: &'a Question,
    /// How answers are written.
    pub generation: &'a GenerationSettings,
    /// Ends an evaluation with [`crate::engine::sequence::Stopped`].
    pub stop: &'a AtomicBool,
}

impl Evaluate for WritingEvaluator<'_> {
    fn evaluate(&mut self, program: &Program) -> Result<ProgramOutcome> {
        let who = Variant::program(program.clone()).settings;
        let outcome = generation::answer(self.model, None, &who, self.question, self.generation, self.stop)?;
        Ok(ProgramOutcome {
            correct: outcome.correct,
            margin: if outcome.correct { 1.0 } else { -1.0 },
        })
    }
}

/// Searches one question on a model, its answers `judged` by scores or as they are written; `None`
/// when stopped.
///
/// # Errors
/// As [`EncodedQuestion::for_model`] and [`generation::answer`].
pub fn search_question(
    model: &Model,
    question: &Question,
    judged: (Scoring, Option<&GenerationSettings>),
    settings: &SearchSettings,
    cache_bytes: usize,
    stop: &AtomicBool,
) -> Result<Option<SearchResult>> {
    watch_question(model, question, judged, settings, cache_bytes, stop, &mut |_| {})
}

/// [`search_question`], telling `observer` of every simulation.
///
/// # Errors
/// As [`search_question`].
pub fn watch_question(
    model: &Model,
    question: &Question,
    judged: (Scoring, Option<&GenerationSettings>),
    settings: &SearchSettings,
    cache_bytes: usize,
    stop: &AtomicBool,
    observer: &mut SearchObserver,
) -> Result<Option<SearchResult>> {
    with_evaluator(model, question, judged, cache_bytes, stop, |mut evaluator| {
        let layers = model.info.layers;
        search_watched(&question.id, layers, settings, &mut evaluator, stop, observer)
    })
}

/// Hands `work` what runs programs on one question; `None` where it was stopped in the middle of an evaluation, as if
/// that had not begun.
///
/// # Errors
/// As [`search_question`].
pub fn with_evaluator<T>(
    model: &Model,
    question: &Question,
    judged: (Scoring, Option<&GenerationSettings>),
    cache_bytes: usize,
    stop: &AtomicBool,
    work: impl FnOnce(&mut dyn Evaluate) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let found = if let (_, Some(generation)) = judged {
        work(&mut WritingEvaluator {
            model,
            question,
            generation,
            stop,
        })
    } else {
        let encoded = EncodedQuestion::for_model(question, model, judged.0)?;
        let scorer = ChoiceScorer::new(&model.decoder, &encoded)?;
        let mut evaluator = ProgramEvaluator::new(&scorer, judged.0, cache_bytes)?;
        evaluator.stop = Some(stop);
        work(&mut evaluator)
    };
    found.or_else(|e| if e.is::<Stopped>() { Ok(None) } else { Err(e) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::testing::{LAYERS, question, tiny_decoder};
    use crate::search::tree::Edits;

    #[test]
    fn shared_prefixes_change_no_bit_and_save_work() {
        let decoder = tiny_decoder();
        let question = question();
        let scorer = ChoiceScorer::new(&decoder, &question).unwrap();
        let state_bytes = scorer.embed().unwrap().elem_count() * 4;
        for cache in [DEFAULT_CACHE_BYTES, 3 * state_bytes, 0] {
            let mut evaluator = ProgramEvaluator::new(&scorer, Scoring::Sum, cache).unwrap();
            let standard = Program::standard(LAYERS);
            let mut programs = vec![standard.clone(), Program::default()];
            programs.extend(Edits::Layers.of(&standard, LAYERS));
            programs.extend(Edits::Segments.of(&standard, LAYERS));
            let damped = [
                "0-1 1x2~0.5 2-3",
                "0 1x2~0.5 2-3",
                "0 1x3~0.5 2-3",
                "0 1x3~0.25 2-3",
                "(0-2)x2~-1 3",
            ];
            programs.extend(damped.map(|text| Program::parse(text, LAYERS).unwrap()));
            let mut from_scratch = 0;
            for program in &programs {
                let shared = evaluator.evaluate(program).unwrap();
                let alone = scorer.run(program, Scoring::Sum).unwrap();
                assert_eq!(
                    (shared.correct, shared.margin.to_bits()),
                    (alone.correct, alone.margin.to_bits())
                );
                from_scratch += program.depth();
            }
            assert!(evaluator.prefixes.len() <= 1 + cache / state_bytes);
            match cache {
                0 => assert_eq!(evaluator.blocks_run, from_scratch),
                _ => assert!(evaluator.blocks_run < from_scratch),
            }
        }
    }
}
