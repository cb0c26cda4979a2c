//! Results as lm-evaluation-harness 0.4 writes them, for what reads those: its table maker, leaderboards, viewers.
//!
//! A folder for each method, named after model and method, with `results_TIME.json` and for each task
//! `samples_TASK_TIME.jsonl`. The log-likelihoods of single choices are not kept by an evaluation, so `resps` are empty.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::grading::letters::letter;
use super::report::{EvaluationReport, EvaluationRow};
use super::{Question, Scoring, ScoringConfig, Task, prompts};
use crate::router::checkpoint::hex;

/// A file to be written, by its path below the folder of the results.
#[derive(Clone, Debug, PartialEq)]
pub struct HarnessFile {
    /// The method's folder.
    pub folder: String,
    /// In the method's folder.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// All files of a report. `time` stands in their names and in the results.
pub fn files(
    report: &EvaluationReport,
    tasks: &[Task],
    scoring: ScoringConfig,
    time: chrono::DateTime<chrono::Local>,
) -> Vec<HarnessFile> {
    let stamp = time.format("%Y-%m-%dT%H-%M-%S%.6f").to_string();
    let mut seen = HashSet::new();
    let methods = report.rows.iter().map(|row| row.method.as_str());
    let methods: Vec<&str> = methods.filter(|method| seen.insert(*method)).collect();
    let mut files = Vec::new();
    for method in methods {
        let of_method = report.rows.iter().filter(|row| row.method == method);
        let rows: Vec<(&EvaluationRow, &Task)> = of_method
            .filter_map(|row| Some((row, tasks.iter().find(|task| task.name == row.task)?)))
            .collect();
        let name = format!("{} {method}", report.model);
        let folder = sanitized(&name);
        let results = results(report, &rows, scoring, &name, time);
        files.push(HarnessFile {
            folder: folder.clone(),
            name: format!("results_{stamp}.json"),
            text: format!("{results:#}\n"),
        });
        for (row, task) in rows {
            files.push(HarnessFile {
                folder: folder.clone(),
                name: format!("samples_{}_{stamp}.jsonl", sanitized(&task.name)),
                text: samples(row, task, scoring),
            });
        }
    }
    files
}

/// A name without what file names may not have.
fn sanitized(name: &str) -> String {
    let plain = |c: char| match c {
        '"' | '<' | '>' | ':' | '/' | '|' | '\\' | '?' | '*' | '[' | ']' => '_',
        c if c.is_whitespace() || c.is_control() => '_',
        c => c,
    };
    let name: String = name.chars().take(150).map(plain).collect();
    name.trim_start_matches('.').to_owned()
}

/// What the harness calls the share of right answers.
fn metric(scoring: Scoring) -> &'static str {
    match scoring {
        Scoring::Sum | Scoring::Letter | Scoring::ChatLetter => "acc",
        // By the characters of a choice, as the harness has it.
        Scoring::Char => "acc_norm",
        Scoring::Token => "acc_per_token",
        Scoring::Generated => "exact_match",
    }
}

fn results(
    report: &EvaluationReport,
    rows: &[(&EvaluationRow, &Task)],
    scoring: ScoringConfig,
    name: &str,
    time: chrono::DateTime<chrono::Local>,
) -> Value {
    let by_task = |value: &dyn Fn(&EvaluationRow, &Task) -> Value| -> Value {
        let entries = rows.iter().map(|(row, task)| (row.task.clone(), value(row, task)));
        Value::Object(entries.collect::<Map<_, _>>())
    };
    let kind = |task: &Task| scoring.of(task.kind(), false).0;
    json!({
        "results": by_task(&|row, task| {
            let metric = metric(kind(task));
            let mut values = Map::new();
            values.insert("alias".into(), row.task.clone().into());
            values.insert(format!("{metric},none"), row.accuracy.into());
            values.insert(format!("{metric}_stderr,none"), standard_error(row));
            values.insert("depth,none".into(), row.mean_depth.into());
            values.insert("sample_len".into(), row.questions.into());
            values.into()
        }),
        "group_subtasks": by_task(&|_, _| json!([])),
        "configs": by_task(&|row, task| {
            let kind = kind(task);
            json!({
                "task": row.task,
                "output_type": if kind == Scoring::Generated { "generate_until" } else { "multiple_choice" },
                "num_fewshot": 0,
                "metric_list": [{"metric": metric(kind), "aggregation": "mean", "higher_is_better": true}],
                "metadata": {"version": 1.0, "sha256": task.sha256, "scoring": kind.name()},
            })
        }),
        "versions": by_task(&|_, _| json!(1.0)),
        "n-shot": by_task(&|_, _| json!(0)),
        "higher_is_better": by_task(&|_, task| json!({metric(kind(task)): true})),
        "n-samples": by_task(&|row, _| json!({"original": row.questions, "effective": row.questions})),
        "config": {
            "model": "drllm-tui",
            "model_args": {
                "model": report.model,
                "model_sha256": report.model_sha256,
                "routers": report.routers,
                "routers_sha256": report.routers_sha256,
                "exact": report.exact,
                "version": report.version,
            },
            "batch_size": 1,
            "device": "cpu",
            "limit": null,
        },
        "date": time.timestamp_micros() as f64 / 1e6,
        "model_source": "drllm-tui",
        "model_name": name,
        "model_name_sanitized": sanitized(name),
        "task_hashes": by_task(&|_, task| task.sha256.clone().into()),
    })
}

/// Of a mean of right answers, by the sample's own deviation; the harness writes `N/A` where there is none.
fn standard_error(row: &EvaluationRow) -> Value {
    match row.questions {
        0 | 1 => "N/A".into(),
        n => (row.accuracy * (1.0 - row.accuracy) / (n - 1) as f64).sqrt().into(),
    }
}

/// A line for each question.
fn samples(row: &EvaluationRow, task: &Task, scoring: ScoringConfig) -> String {
    let (kind, generation) = scoring.of(task.kind(), false);
    let metric = metric(kind);
    let line = |(index, question): (usize, &Question)| {
        let outcome = row.outcomes.get(index)?;
        let choices = question.answer.choices();
        let prompt = prompts::prompt(&question.question, choices, kind, generation.as_ref());
        let right = choices.iter().position(|choice| choice == question.answer.text());
        let target = match right {
            Some(right) => right.to_string(),
            None => question.answer.text().to_owned(),
        };
        let doc = json!({
            "id": question.id, "question": question.question, "choices": choices, "answer": question.answer.text(),
        });
        let arguments: Map<String, Value> = match (kind, choices.len()) {
            (Scoring::Generated, _) | (_, 0) => vec![argument(0, &prompt, None)],
            _ => (0..choices.len())
                .map(|i| argument(i, &prompt, Some(scored(i, &choices[i], kind))))
                .collect(),
        }
        .into_iter()
        .collect();
        let sum = |text: &str| hex(&Sha256::digest(text.as_bytes()));
        let sample = json!({
            "doc_id": index,
            "doc": doc,
            "target": target,
            "arguments": arguments,
            "resps": [],
            "filtered_resps": [],
            "filter": "none",
            "metrics": [metric],
            "doc_hash": sum(&format!("{doc:#}")),
            "prompt_hash": sum(&prompt),
            "target_hash": sum(&target),
            metric: f64::from(u8::from(outcome.correct)),
            "depth": outcome.depth,
        });
        Some(format!("{sample}\n"))
    };
    task.questions.iter().enumerate().filter_map(line).collect()
}

/// What is scored after the prompt: a choice, or its letter.
fn scored(index: usize, choice: &str, scoring: Scoring) -> String {
    let letter = letter(index).unwrap_or('?');
    match scoring {
        Scoring::Letter => format!(" {letter}"),
        Scoring::ChatLetter => letter.to_string(),
        _ => format!(" {choice}"),
    }
}

/// What was asked of the model: a prompt, and what is scored after it.
fn argument(index: usize, prompt: &str, scored: Option<String>) -> (String, Value) {
    let mut given = json!({"arg_0": prompt});
    if let Some(scored) = scored {
        given["arg_1"] = scored.into();
    }
    (format!("gen_args_{index}"), given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_their_folder() {
        assert_eq!(sanitized("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(sanitized("a/b: c\u{1b}[1m"), "a_b__c__1m");
        assert_eq!(sanitized(&"x".repeat(999)).len(), 150);
    }

    #[test]
    fn the_error_is_that_of_a_sample() {
        let row = |correct: usize, questions: usize| EvaluationRow {
            questions,
            correct,
            accuracy: correct as f64 / questions as f64,
            ..EvaluationRow::new("t", &super::super::Variant::base(1), &[], None)
        };
        // Python's statistics.stdev([1, 1, 1, 0]) / 2
        assert!((standard_error(&row(3, 4)).as_f64().unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(standard_error(&row(1, 1)), "N/A");
    }
}
