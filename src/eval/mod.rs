//! Questions, how answers are scored, and reports that can say no.
//!
//! `tasks` reads questions, `multiple_choice` scores choices under a program, `methods` are the rows
//! of a report (base, a fixed program, routers), `statistics` the intervals and tests, `report` the
//! table. `parallel` spreads questions over threads without changing any result.

pub mod methods;
pub mod multiple_choice;
pub mod parallel;
pub mod report;
pub mod statistics;
pub mod tasks;
#[cfg(test)]
pub(crate) mod testing;

pub use methods::{Method, Outcome};
pub use multiple_choice::{ChoiceScorer, EncodedQuestion, Score, Scoring};
pub use tasks::{Question, Task};
