//! Records in the layouts of the public codebases, there and back.
//!
//! Dr.LLM's (parameterlab/dr-llm, `data_generation.py`) is one JSON object of columns, an entry a
//! question; PoLar's (tianyi-lab/PoLar, `merged_mcts_samples.json`) a list of samples. Both write a
//! program as the list of the layers it runs. Neither has margins, nor how answers were scored;
//! Dr.LLM's has no wrong programs, no ids and no choices.

mod drllm;
mod import;
mod polar;

use anyhow::{Context, Result};
use serde_json::Value;

pub use import::{Imported, import};

use super::records::RecordFile;

/// A layout of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// parameterlab/dr-llm: columns of questions, best and good paths
    Drllm,
    /// tianyi-lab/PoLar: samples with valid and invalid transitions
    Polar,
}

impl Layout {
    /// As the command line and imported records name it.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Drllm => "drllm",
            Layout::Polar => "polar",
        }
    }
}

/// Records in another layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The whole file.
    pub json: Value,
    /// Questions in it.
    pub written: usize,
    /// Questions without a right program, which Dr.LLM's layout leaves out.
    pub unsolved: usize,
}

/// Records in the layout `layout`.
pub fn export(file: &RecordFile, layout: Layout) -> Exported {
    match layout {
        Layout::Drllm => drllm::export(file),
        Layout::Polar => polar::export(file),
    }
}

/// Whether bytes are what [`export`] writes in a layout, as far as the names of their fields tell.
pub fn is_export(bytes: &[u8], layout: Layout) -> bool {
    let Ok(json) = serde_json::from_slice(bytes) else {
        return false;
    };
    match layout {
        Layout::Drllm => drllm::is_export(&json),
        Layout::Polar => polar::is_export(&json),
    }
}

/// A file in another layout, its samples not yet matched to questions.
#[derive(Debug)]
pub struct Foreign {
    /// Which layout the file is in.
    pub layout: Layout,
    /// The model's name, as the file gives it.
    pub model: Option<String>,
    /// Of the search that made it.
    pub settings: Stated,
    /// Each sample, or what is wrong with it, naming it.
    pub samples: Vec<Result<Sample>>,
}

/// The settings of the search, where a file states them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stated {
    /// Simulations a question.
    pub simulations: Option<usize>,
    /// c of the UCB.
    pub exploration: Option<f64>,
    /// λ of the UCB.
    pub length_penalty: Option<f64>,
    /// Probability of going to a random child instead of the best.
    pub random_child: Option<f64>,
}

/// What a file says of one question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// `sample 3`, from 1.
    pub name: String,
    /// The question's id; Dr.LLM's layout has none.
    pub id: Option<String>,
    /// The question, or the whole prompt with it.
    pub question: Option<String>,
    /// PoLar's right answer; in Dr.LLM's layout what the model wrote.
    pub answer: Option<String>,
    /// Whether the standard program is right, where it is said.
    pub baseline: Option<bool>,
    /// Layers in execution order.
    pub right: Vec<Vec<usize>>,
    /// Layers in execution order; Dr.LLM's layout has none.
    pub wrong: Vec<Vec<usize>>,
}

/// Reads the text of a file in the layout `layout`.
///
/// # Errors
/// Text that is no JSON, and JSON that is not of this layout. Damaged samples stand in
/// [`Foreign::samples`].
pub fn read(bytes: &[u8], layout: Layout) -> Result<Foreign> {
    anyhow::ensure!(
        !bytes.starts_with(&[0x1f, 0x8b]),
        "the file is compressed with gzip; unpack it first"
    );
    let json: Value = serde_json::from_slice(bytes).context("the file is no JSON; get it again")?;
    match layout {
        Layout::Drllm => drllm::read(&json),
        Layout::Polar => polar::read(json),
    }
}

/// A program as both layouts write it.
fn path(value: &Value) -> Result<Vec<usize>> {
    // PoLar's search also writes {"path": [...]}.
    let list = value.get("path").unwrap_or(value).as_array();
    let layers = list.and_then(|list| list.iter().map(index).collect::<Option<Vec<usize>>>());
    layers.context("a program is no list of layer numbers")
}

fn paths(value: &Value) -> Result<Vec<Vec<usize>>> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(path).collect(),
        _ => anyhow::bail!("expected a list of programs"),
    }
}

fn index(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok())
}

/// Right or wrong, written as true, 1 or 1.0. A share of several attempts is right above one half.
fn truth(value: &Value) -> Result<Option<bool>> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(right) => Ok(Some(*right)),
        _ => value
            .as_f64()
            .map(|score| Some(score > 0.5))
            .context("a score is no number"),
    }
}

#[cfg(test)]
mod tests;
