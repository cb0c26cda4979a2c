//! A loop map that someone watches, as plain data: what is asked, and what each cell came to. The map itself,
//! [`crate::search::loop_map`], stands above the engine; the worker is given it as a [`Mapper`].

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Result;

use crate::model::Model;
use crate::program::Damping;

/// What is to be mapped.
#[derive(Clone, Debug, PartialEq)]
pub struct LoopMapRequest {
    /// A file of questions with choices; without one, those that come with the program.
    pub data: Option<PathBuf>,
    /// Questions, at most.
    pub limit: usize,
    /// Of the second time that a block runs.
    pub damping: Damping,
}

/// What one question came to under one program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoopMapStep {
    /// Which question, from 0.
    pub question: usize,
    /// Questions in all.
    pub questions: usize,
    /// The first and the last layer of the block that runs twice; none for the standard program, which comes first.
    pub cell: Option<(usize, usize)>,
    /// Threads of matrix products, 1 to 1024, which the program sets before it loads; as many as cores if absent.
    pub correct: bool,
    /// How far the right choice's score is above the best other.
    pub margin: f64,
    /// The right choice's score.
    pub log_likelihood: f64,
    /// Milliseconds since the map began.
    pub ms: f64,
}

/// Fills a map and tells of every cell.
///
/// # Errors
/// [`super::sequence::Stopped`] when the flag ended it, anything else where the questions cannot be asked.
pub type Mapper = fn(&Model, &LoopMapRequest, &mut dyn FnMut(LoopMapStep), &AtomicBool) -> Result<()>;
