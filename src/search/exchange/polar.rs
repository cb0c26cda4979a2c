//! PoLar's layout: samples, each with its valid and invalid transitions, which are programs.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Exported, Foreign, Layout, Sample, Stated, paths, truth};
use crate::search::records::{ExampleRecord, RecordFile, ScoredProgram};

pub(super) fn export(file: &RecordFile) -> Exported {
    let transitions =
        |scored: &[ScoredProgram]| -> Value { scored.iter().map(|s| Value::from(s.program.layers())).collect() };
    let sample = |(index, example): (usize, &ExampleRecord)| {
        json!({
            "sample_id": index,
            "query_id": example.id,
            "question": example.question,
            "gt_ans": example.answer_text(),
            "initial_score": if example.baseline { 1.0 } else { 0.0 },
            "final_valid_transitions": transitions(&example.right),
            "final_invalid_transitions": transitions(&example.wrong),
        })
    };
    let samples: Vec<Value> = file.examples.iter().enumerate().map(sample).collect();
    Exported {
        written: samples.len(),
        unsolved: 0,
        json: json!({ "BASE_MODEL": file.header.model, "samples": samples }),
    }
}

/// Whether a file has the fields of [`export`], all of them and no other.
pub(super) fn is_export(json: &Value) -> bool {
    let has = |value: &Value, names: &[&str]| {
        let fields = value.as_object();
        fields.is_some_and(|fields| fields.len() == names.len() && names.iter().all(|&name| fields.contains_key(name)))
    };
    let sample = [
        "sample_id",
        "query_id",
        "question",
        "gt_ans",
        "initial_score",
        "final_valid_transitions",
        "final_invalid_transitions",
    ];
    let samples = json["samples"].as_array();
    has(json, &["BASE_MODEL", "samples"])
        && samples.is_some_and(|samples| samples.iter().all(|value| has(value, &sample)))
}

/// The authors' loader takes an object with `samples`, a list of samples, or an object of samples.
pub(super) fn read(json: Value) -> Result<Foreign> {
    let text = |json: &Value, name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
    let model = text(&json, "BASE_MODEL");
    let samples = match json {
        Value::Array(samples) => samples,
        Value::Object(mut object) => match object.remove("samples") {
            Some(Value::Array(samples)) => samples,
            Some(_) => bail!("'samples' is no list; is this PoLar's layout?"),
            None => object.into_iter().map(|(_, sample)| sample).collect(),
        },
        _ => bail!("expected an object with 'samples' or a list of samples, as PoLar writes it"),
    };
    ensure!(
        samples.is_empty() || samples.iter().any(|s| s.get("final_valid_transitions").is_some()),
        "no sample has 'final_valid_transitions'; is this PoLar's layout?"
    );
    let named = |(index, value): (usize, &Value)| {
        let name = format!("sample {}", index + 1);
        sample(value, &name).context(name)
    };
    Ok(Foreign {
        layout: Layout::Polar,
        model,
        settings: Stated::default(),
        samples: samples.iter().enumerate().map(named).collect(),
    })
}

fn sample(value: &Value, name: &str) -> Result<Sample> {
    ensure!(value.is_object(), "this is no object");
    let valid = value.get("final_valid_transitions");
    let valid = valid.context("final_valid_transitions is missing")?;
    let invalid = value.get("final_invalid_transitions").unwrap_or(&Value::Null);
    // The names under which the authors' loader looks for each field.
    let question = ["/question", "/sample_info/question", "/sample_info/query"];
    let answer = [
        "/gt_ans",
        "/ground_truth",
        "/answer",
        "/sample_info/ground_truth",
        "/sample_info/answer",
    ];
    let score = [
        "/initial_transition_metric",
        "/initial_score",
        "/evaluation_result/initial_score",
    ];
    let first = |names: &[&str]| {
        let mut found = names.iter().filter_map(|name| value.pointer(name));
        found.find(|value| !value.is_null()).unwrap_or(&Value::Null)
    };
    let text = |names: &[&str]| match first(names) {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    Ok(Sample {
        name: name.to_owned(),
        id: text(&["/query_id", "/sample_info/query_id"]),
        question: text(&question),
        answer: text(&answer),
        baseline: truth(first(&score)).context("initial_score")?,
        right: paths(valid).context("final_valid_transitions")?,
        wrong: paths(invalid).context("final_invalid_transitions")?,
    })
}
