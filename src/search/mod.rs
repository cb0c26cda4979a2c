//! Monte Carlo tree search over programs (spec §4): which programs answer a question rightly.
//!
//! `tree` holds programs as nodes and the edits between them, `mcts` is the search, generic over
//! an [`Evaluate`]; `evaluator` runs programs on the model with shared prefixes; `records` is what
//! stays on disk, `shard` a part of it that one of several machines does, `exchange` the same in
//! the layouts of other codebases. `loop_map` asks what running a block of layers twice does, for every block; `luck` how much of what a search found is none of its merit. `watch` tells the engine's worker of a search as it goes. `ranking`
//! and `static_program` ask which one program is best for all questions, `static_baseline` chooses it for an evaluation.

pub mod evaluator;
pub mod exchange;
pub mod loop_map;
pub mod luck;
pub mod mcts;
pub mod ranking;
pub mod records;
pub mod shard;
pub mod static_baseline;
pub mod static_program;
pub mod tree;
pub mod watch;

pub use evaluator::{ProgramEvaluator, WritingEvaluator, search_question};
pub use mcts::{Evaluate, ProgramOutcome, SearchResult, SearchSettings, search};
pub use records::{ExampleRecord, RecordHeader, RecordWriter, read_records};
pub use shard::Shard;
pub use static_baseline::StaticBaseline;
pub use static_program::StaticSearch;
pub use tree::Edits;
