//! Dr.LLM's layout: one JSON object, its lists the columns of a table with a row a question.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::{Exported, Foreign, Layout, Sample, Stated, path, paths, truth};
use crate::program::Program;
use crate::search::records::{ExampleRecord, RecordFile};

/// What names the experiment in files of this program.
const OURS: &str = "drllm-tui";

/// Questions without a right program are left out, as the authors' code does for training: it
/// would read them as targets.
pub(super) fn export(file: &RecordFile) -> Exported {
    let solved = file.examples.iter().filter_map(|e| Some((e, e.best.as_ref()?)));
    let rows: Vec<(&ExampleRecord, &Program)> = solved.collect();
    let column = |cell: &dyn Fn(&ExampleRecord, &Program) -> Value| -> Value {
        rows.iter().map(|&(example, best)| cell(example, best)).collect()
    };
    let settings = &file.header.settings;
    let count = |which: fn(&ExampleRecord) -> bool| rows.iter().filter(|(e, _)| which(e)).count();
    let of_rows = |sum: usize| sum as f64 / rows.len().max(1) as f64;
    let unique = |program: &Program| {
        let executions = program.executions(file.header.layers);
        executions.iter().filter(|&&n| n > 0).count()
    };
    let json = json!({
        "exp": OURS,
        "original_accuracy": 100.0 * of_rows(count(|e| e.baseline)),
        "mcts_accuracy": 100.0 * of_rows(rows.len()),
        "improved_cases_accuracy": 100.0 * of_rows(count(ExampleRecord::corrected)),
        "average_path_length": of_rows(rows.iter().map(|(_, best)| best.depth()).sum()),
        "average_unique_layers": of_rows(rows.iter().map(|(_, best)| unique(best)).sum()),
        "num_simulations": settings.simulations,
        "exploration_constant": settings.exploration,
        "length_penalty": settings.length_penalty,
        "random_prob": settings.random_child,
        "max_path_length": 2 * file.header.layers,
        "num_samples": rows.len(),
        "model_name": file.header.model,
        "dataset": file.header.task,
        "visited_samples": file.examples.len(),
        "original_correct": column(&|e, _| u8::from(e.baseline).into()),
        "mcts_correct": column(&|_, _| 1.into()),
        "improved_cases": column(&|e, _| e.corrected().into()),
        "path_lengths": column(&|_, best| best.depth().into()),
        "unique_layers": column(&|_, best| unique(best).into()),
        "best_path": column(&|_, best| best.layers().into()),
        "good_paths": column(&|e, _| e.right.iter().map(|s| Value::from(s.program.layers())).collect()),
        "best_response": column(&|e, _| e.answer_text().into()),
        "questions": column(&|e, _| e.prompt(&file.header).into()),
    });
    Exported {
        json,
        written: rows.len(),
        unsolved: file.examples.len() - rows.len(),
    }
}

/// Whether this program wrote a file, by what its field `exp` says.
pub(super) fn is_export(json: &Value) -> bool {
    json["exp"] == OURS && json["questions"].is_array()
}

pub(super) fn read(json: &Value) -> Result<Foreign> {
    let table = json
        .as_object()
        .context("expected a JSON object of columns, as dr-llm writes it")?;
    let rows = column(table, "questions")?.context("the column 'questions' is missing; is this dr-llm's layout?")?;
    ensure!(
        table.contains_key("best_path") || table.contains_key("good_paths"),
        "the columns 'best_path' and 'good_paths' are missing; is this dr-llm's layout?"
    );
    for name in [
        "best_path",
        "good_paths",
        "original_correct",
        "mcts_correct",
        "best_response",
    ] {
        if let Some(column) = column(table, name)? {
            ensure!(
                column.len() == rows.len(),
                "the column '{name}' has {} rows, 'questions' has {}; get the file again",
                column.len(),
                rows.len()
            );
        }
    }
    let number = |name: &str| table.get(name).and_then(Value::as_f64);
    Ok(Foreign {
        layout: Layout::Drllm,
        model: table.get("model_name").and_then(Value::as_str).map(str::to_owned),
        settings: Stated {
            simulations: table.get("num_simulations").and_then(super::index),
            exploration: number("exploration_constant"),
            length_penalty: number("length_penalty"),
            random_child: number("random_prob"),
        },
        samples: (0..rows.len())
            .map(|row| sample(table, row).with_context(|| format!("sample {}", row + 1)))
            .collect(),
    })
}

fn column<'a>(table: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Vec<Value>>> {
    let list = |value: &'a Value| {
        value
            .as_array()
            .with_context(|| format!("the column '{name}' is no list"))
    };
    table.get(name).map(list).transpose()
}

fn sample(table: &Map<String, Value>, row: usize) -> Result<Sample> {
    let cell = |name: &str| table.get(name).map_or(&Value::Null, |column| &column[row]);
    let text = |name: &str| cell(name).as_str().map(str::to_owned);
    let mut right = paths(cell("good_paths")).context("good_paths")?;
    // Where nothing was right, best_path is the standard program.
    let solved = truth(cell("mcts_correct"))?.unwrap_or(!right.is_empty() || !table.contains_key("good_paths"));
    if solved && !cell("best_path").is_null() {
        let best = path(cell("best_path")).context("best_path")?;
        if !right.contains(&best) {
            right.push(best);
        }
    }
    Ok(Sample {
        name: format!("sample {}", row + 1),
        id: None,
        question: Some(text("questions").context("the question is no text")?),
        answer: text("best_response"),
        baseline: truth(cell("original_correct")).context("original_correct")?,
        right,
        wrong: Vec::new(),
    })
}
