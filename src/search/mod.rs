//! Monte Carlo tree search over programs (spec §4): which programs answer a question rightly.
//!
//! `tree` holds programs as nodes and the edits between them, `mcts` is the search, generic over
//! an [`Evaluate`]; `evaluator` runs programs on the model with shared prefixes; `records` is what
//! stays on disk.

pub mod evaluator;
pub mod mcts;
pub mod records;
pub mod tree;

pub use evaluator::{ProgramEvaluator, WritingEvaluator};
pub use mcts::{Evaluate, Evaluation, SearchResult, SearchSettings, search};
pub use records::{ExampleRecord, RecordHeader, RecordWriter, read_records};
