//! How much of what a search found is luck: with dozens of programs and four choices some program is right for most
//! questions whatever it computes. So the search's programs stand beside random ones of the same lengths and beside
//! those of other questions, and what it chose is run again where luck would not last: on the question in other words,
//! in other arithmetic, on other questions.

mod records;
pub mod report;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail, ensure};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use records::{LuckHeader, LuckWriter};
pub use report::LuckReport;

use super::evaluator::{DEFAULT_CACHE_BYTES, with_evaluator};
use super::mcts::{question_rng, target};
use super::records::{ExampleRecord, Gold, RecordFile};
use super::tree::Edits;
use crate::eval::{Answer, AnswerKind, Question};
use crate::model::Model;
use crate::program::{Program, segments};
use crate::text::escape_controls;

/// Programs chosen on every second question to be run on the others.
const CHOSEN: usize = 5;
/// Draws before a program that was drawn already is taken again: some lengths have few programs.
const REDRAWS: usize = 20;
/// What stands before and after the question in other words.
const WORDINGS: [(&str, &str); 3] = [
    ("Here is a question. ", ""),
    ("", " What is right?"),
    ("Please answer the following question. ", ""),
];

/// A program that was run on a question: its depth, and whether the answer was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(usize, u8)", into = "(usize, u8)")]
pub struct Try {
    /// Executions.
    pub depth: usize,
    /// Whether the answer was right.
    pub right: bool,
}

impl From<(usize, u8)> for Try {
    fn from((depth, right): (usize, u8)) -> Try {
        Try {
            depth,
            right: right != 0,
        }
    }
}

impl From<Try> for (usize, u8) {
    fn from(run: Try) -> Self {
        (run.depth, run.right.into())
    }
}

/// What programs chosen for a question came to on a variation of it. Absent where there is no such program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariationOutcome {
    /// Of the standard program.
    pub standard: bool,
    /// Of the search's best program.
    pub own: Option<bool>,
    /// Of the best one among the random programs that were right, chosen as the search chooses.
    pub lucky: Option<bool>,
    /// Of the search's best program for another question, one that began as this one does: right, or wrong.
    pub other: Option<bool>,
}

/// What came of one question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LuckQuestion {
    /// The question's.
    pub id: String,
    /// Random programs of the lengths that the search tried on this question.
    pub random: Vec<Try>,
    /// Programs that the search tried on other questions.
    pub others: Vec<Try>,
    /// The question in other words, then with its choices in another order where the model reads them. None where the
    /// search found nothing but the standard program.
    pub variations: Vec<VariationOutcome>,
    /// Of the programs chosen on half A; none of questions of half A.
    pub held_out: Vec<bool>,
    /// The question as it is, in the other arithmetic.
    pub arithmetic: Option<VariationOutcome>,
}

/// What is run, and on what.
pub struct Luck {
    records: RecordFile,
    questions: Vec<Question>,
    standard: Program,
    tries: usize,
    seed: u64,
    chosen: Vec<Program>,
}

impl Luck {
    /// For the records of a search, `tries` programs of each kind a question; as many as the search's simulations if
    /// absent.
    ///
    /// # Errors
    /// Records of fewer than two questions, or without any program besides the standard one.
    pub fn new(mut records: RecordFile, tries: Option<usize>, seed: u64) -> Result<Luck> {
        let path = records.path.display().to_string();
        let standard = Program::standard(records.header.layers);
        let mut known = HashSet::new();
        records.examples.retain(|example| known.insert(example.id.clone()));
        ensure!(
            records.examples.len() >= 2,
            "{path} holds {} question; another question's programs are asked for, so two are the least",
            records.examples.len()
        );
        let lonely = |example: &ExampleRecord| !tried(example, &standard).any(|_| true);
        if let Some(example) = records.examples.iter().find(|example| lonely(example)) {
            bail!(
                "{path}: question '{}' has no program besides the standard one; nothing was searched there",
                escape_controls(&example.id)
            );
        }
        let kind = records.header.generation.as_ref().map(|g| g.answers);
        let questions = records.examples.iter().map(|example| question(example, kind)).collect();
        Ok(Luck {
            tries: tries.unwrap_or(records.header.settings.simulations),
            chosen: choose(&records.examples, &standard),
            records,
            questions,
            standard,
            seed,
        })
    }

    /// The records whose programs are asked about.
    pub fn records(&self) -> &RecordFile {
        &self.records
    }

    /// The questions, in the order of the records.
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// What holds for all lines of a file.
    pub fn header(&self, other_arithmetic: bool) -> LuckHeader {
        LuckHeader {
            format: records::FORMAT,
            search: self.records.header.clone(),
            tries: self.tries,
            seed: self.seed,
            chosen: self.chosen.clone(),
            other_arithmetic,
        }
    }

    /// Runs everything that is asked of a question; `None` when stopped. `other` is the same model in the other
    /// arithmetic.
    ///
    /// # Errors
    /// As [`super::search_question`].
    pub fn measure(
        &self,
        index: usize,
        model: &Model,
        other: Option<&Model>,
        stop: &AtomicBool,
    ) -> Result<Option<LuckQuestion>> {
        let example = &self.records.examples[index];
        let mut rng = question_rng(self.seed, &example.id);
        let random = self.random_programs(index, &mut rng);
        let others = self.programs_of_others(index, &mut rng);
        let chosen = if in_half_b(index) { &self.chosen[..] } else { &[] };
        let on_question = self.on(&self.questions[index], model, stop, |run| {
            let mut all = |programs: &[Program]| -> Result<Vec<Try>> {
                let run = programs.iter().map(|program| {
                    Ok(Try {
                        depth: program.depth(),
                        right: run(program)?,
                    })
                });
                run.collect()
            };
            Ok((all(&random)?, all(&others)?, all(chosen)?))
        })?;
        let Some((random_tries, other_tries, held_out)) = on_question else {
            return Ok(None);
        };
        let right = random.iter().zip(&random_tries).filter(|(_, run)| run.right);
        let best = Best {
            own: example.best.as_ref().filter(|best| **best != self.standard),
            lucky: target(right.map(|(program, _)| program)),
            other: self.best_of_another(index, &mut rng),
        };
        let mut variations = Vec::new();
        if best.own.is_some() {
            for varied in self.variations(&self.questions[index]) {
                match self.outcome(&varied, &best, model, stop)? {
                    Some(outcome) => variations.push(outcome),
                    None => return Ok(None),
                }
            }
        }
        let arithmetic = match other {
            None => None,
            Some(other) => match self.outcome(&self.questions[index], &best, other, stop)? {
                None => return Ok(None),
                outcome => outcome,
            },
        };
        Ok(Some(LuckQuestion {
            id: example.id.clone(),
            random: random_tries,
            others: other_tries,
            variations,
            held_out: held_out.iter().map(|run| run.right).collect(),
            arithmetic,
        }))
    }

    fn outcome(
        &self,
        question: &Question,
        best: &Best,
        model: &Model,
        stop: &AtomicBool,
    ) -> Result<Option<VariationOutcome>> {
        self.on(question, model, stop, |run| {
            Ok(VariationOutcome {
                standard: run(&self.standard)?,
                own: best.own.map(&mut *run).transpose()?,
                lucky: best.lucky.map(&mut *run).transpose()?,
                other: best.other.map(&mut *run).transpose()?,
            })
        })
    }

    /// Hands `ask` what runs a program on a question.
    fn on<T>(
        &self,
        question: &Question,
        model: &Model,
        stop: &AtomicBool,
        ask: impl FnOnce(&mut dyn FnMut(&Program) -> Result<bool>) -> Result<T>,
    ) -> Result<Option<T>> {
        let header = &self.records.header;
        let judged = (header.scoring, header.generation.as_ref());
        with_evaluator(model, question, judged, DEFAULT_CACHE_BYTES, stop, |evaluator| {
            ask(&mut |program| Ok(evaluator.evaluate(program)?.correct)).map(Some)
        })
    }

    /// As many programs as the search may try, each of the length of one that it tried on this question.
    fn random_programs(&self, index: usize, rng: &mut ChaCha8Rng) -> Vec<Program> {
        let mut like: Vec<&Program> = tried(&self.records.examples[index], &self.standard).collect();
        like.shuffle(rng);
        let (layers, edits) = (self.records.header.layers, self.records.header.settings.edits);
        drawn(self.tries, |draw| {
            let like = like
                .get(draw)
                .or_else(|| like.choose(rng))
                .expect("a program was tried");
            elsewhere(like, layers, edits, rng)
        })
    }

    fn programs_of_others(&self, index: usize, rng: &mut ChaCha8Rng) -> Vec<Program> {
        drawn(self.tries, |_| {
            let example = &self.records.examples[self.another(index, rng)];
            let programs: Vec<&Program> = tried(example, &self.standard).collect();
            (*programs
                .choose(rng)
                .expect("every question has programs that were tried"))
            .clone()
        })
    }

    fn another(&self, index: usize, rng: &mut ChaCha8Rng) -> usize {
        let at = rng.random_range(0..self.records.examples.len() - 1);
        at + usize::from(at >= index)
    }

    /// The best program of another question that the standard program answers as it does this one: rightly, or wrongly.
    fn best_of_another(&self, index: usize, rng: &mut ChaCha8Rng) -> Option<&Program> {
        let examples = self.records.examples.iter().enumerate();
        let alike = examples.filter(|(at, e)| *at != index && e.baseline == self.records.examples[index].baseline);
        let best: Vec<&Program> = alike
            .filter_map(|(_, example)| example.best.as_ref())
            .filter(|best| **best != self.standard)
            .collect();
        best.choose(rng).copied()
    }

    /// The question in other words, and with its choices in another order where they stand in the prompt.
    fn variations(&self, question: &Question) -> Vec<Question> {
        let words = WORDINGS.iter().map(|(before, after)| Question {
            question: format!("{before}{}{after}", question.question),
            ..question.clone()
        });
        let mut all: Vec<Question> = words.collect();
        let header = &self.records.header;
        if let (true, Answer::Choice { choices, right }) = (header.scoring.reads_choices(), &question.answer) {
            for by in 1..choices.len().min(3) {
                let mut turned = choices.clone();
                turned.rotate_right(by);
                all.push(Question {
                    answer: Answer::Choice {
                        choices: turned,
                        right: (right + by) % choices.len(),
                    },
                    ..question.clone()
                });
            }
        }
        all
    }
}

/// The programs that are run once more on a variation.
struct Best<'a> {
    own: Option<&'a Program>,
    lucky: Option<&'a Program>,
    other: Option<&'a Program>,
}

/// Every second question is of half B, on which nothing is chosen.
fn in_half_b(index: usize) -> bool {
    index % 2 == 1
}

/// All programs besides the standard one that a search ran on a question.
fn tried<'a>(example: &'a ExampleRecord, standard: &'a Program) -> impl Iterator<Item = &'a Program> {
    let all = example.right.iter().chain(&example.wrong).map(|scored| &scored.program);
    all.filter(move |program| *program != standard)
}

fn question(example: &ExampleRecord, kind: Option<AnswerKind>) -> Question {
    let answer = match (&example.answer, kind) {
        (Gold::Index(right), _) => Answer::Choice {
            choices: example.choices.clone(),
            right: *right,
        },
        (Gold::Text(text), Some(AnswerKind::Math)) => Answer::Math(text.clone()),
        (Gold::Text(text), _) => Answer::Number(text.clone()),
    };
    Question {
        id: example.id.clone(),
        question: example.question.clone(),
        answer,
    }
}

/// The programs that turned most more questions of half A right than wrong; of equals the one that was tried more often.
fn choose(examples: &[ExampleRecord], standard: &Program) -> Vec<Program> {
    let mut gains: HashMap<&Program, (i64, usize)> = HashMap::new();
    for (_, example) in examples.iter().enumerate().filter(|(index, _)| !in_half_b(*index)) {
        for (programs, right) in [(&example.right, 1), (&example.wrong, 0)] {
            for scored in programs.iter().filter(|scored| scored.program != *standard) {
                let (gain, seen) = gains.entry(&scored.program).or_default();
                *gain += right - i64::from(example.baseline);
                *seen += 1;
            }
        }
    }
    let mut ranked: Vec<_> = gains.into_iter().collect();
    ranked.sort_by_cached_key(|(program, (gain, seen))| (Reverse(*gain), Reverse(*seen), program.to_string()));
    ranked
        .into_iter()
        .take(CHOSEN)
        .map(|(program, _)| program.clone())
        .collect()
}

/// `count` programs, each drawn anew a few times where it was drawn before.
fn drawn(count: usize, mut draw: impl FnMut(usize) -> Program) -> Vec<Program> {
    let mut seen = HashSet::new();
    let mut one = |at| {
        let mut program = draw(at);
        for _ in 0..REDRAWS {
            if !seen.contains(&program) {
                break;
            }
            program = draw(at);
        }
        seen.insert(program.clone());
        program
    };
    (0..count).map(&mut one).collect()
}

/// A program with as many skips and repeats as another one, in segments of the same lengths, at random layers.
fn elsewhere(program: &Program, layers: usize, edits: Edits, rng: &mut ChaCha8Rng) -> Program {
    let parsed = match edits {
        Edits::Layers => None,
        Edits::Segments => segments::parse(program, layers),
    };
    if let Some(mut parsed) = parsed {
        parsed.shuffle(rng);
        let mut start = 0;
        for segment in &mut parsed {
            segment.start = start;
            start += segment.length;
        }
        return segments::expand(&parsed);
    }
    let mut actions = program.to_actions(layers).expect("records hold what their edits reach");
    actions.shuffle(rng);
    Program::from_actions(&actions)
}
