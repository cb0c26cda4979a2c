//! Questions, how answers are scored, and reports that can say no.
//!
//! `tasks` reads questions, `made` makes some, `prompts` puts them to the model; `multiple_choice` scores choices under
//! a program, `generation` has the model write its answer and `grading` says whether that is right. `variants` are the
//! rows of a report (base, a fixed program, routers), `answering` answers a question under one of them, `controls` what
//! routers must beat, `evaluation` runs questions under them, `selector` learns which of several proposed programs
//! counts, `outcomes` is what stays on disk of each question, `statistics` the intervals and tests, `report` the table,
//! `curve` its picture and `harness` the files of lm-evaluation-harness. `text` measures on free text instead of
//! questions. `parallel` spreads questions over threads without changing any result.

pub mod answering;
pub mod controls;
pub mod curve;
pub mod evaluation;
pub mod generation;
pub mod grading;
pub mod harness;
pub mod made;
pub mod multiple_choice;
pub mod outcomes;
pub mod parallel;
pub mod problems;
pub mod prompts;
pub mod report;
pub mod scoring;
pub mod selector;
pub mod statistics;
pub mod tasks;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
pub mod variants;

pub use answering::{PreparedQuestion, Runs};
pub use controls::Control;
pub use evaluation::Evaluation;
pub use generation::GenerationSettings;
pub use multiple_choice::{ChoiceScore, ChoiceScorer, EncodedQuestion, Scoring};
pub use outcomes::{OutcomeFile, OutcomeHeader};
pub use scoring::ScoringConfig;
pub use tasks::{Answer, AnswerKind, Question, Task};
pub use variants::{Outcome, Pick, Series, Variant, Variants};
