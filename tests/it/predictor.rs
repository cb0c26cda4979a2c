//! A predictor of programs as a user makes and runs it, on a tiny model: search of segments, training, runs, evaluation.

use crate::common::ModelFolder;
use serde_json::Value;

const SEARCH: &str = "search --model model --device cpu --data q.jsonl --simulations 16 --edits segments";
const TRAIN: &str = "train --model model --device cpu --method polar --epochs 3 --width 16 --feature-layer 1";

fn place() -> ModelFolder {
    let place = ModelFolder::new();
    let line = |i: usize| {
        format!(
            r#"{{"id": "q{i}", "question": "What is {i} and {}?", "choices": ["x{}", "word", "{i}"], "answer": {}}}"#,
            (i * 7) % 13,
            (i * 5) % 11,
            i % 3
        )
    };
    let lines: Vec<String> = (0..40).map(line).collect();
    std::fs::write(place.path("q.jsonl"), lines.join("\n")).unwrap();
    place
}

fn read(place: &ModelFolder, name: &str) -> String {
    std::fs::read_to_string(place.path(name)).unwrap()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn from_segments_to_programs_to_a_report() {
    let place = place();
    place.ok(&format!("{SEARCH} --out r.jsonl"));
    let records = read(&place, "r.jsonl");
    assert!(records.starts_with(r#"{"type":"header""#) && records.contains(r#""edits":"segments""#));
    assert!(records.contains("(0-1)x2") || records.contains("(1-2)x2") || records.contains("(2-3)x2"));
    place.refused(
        1,
        &format!("{} --out r.jsonl --resume", SEARCH.replace(" --edits segments", "")),
        "edits",
    );

    place.ok(&format!(
        "{TRAIN} --records r.jsonl --out a.safetensors --metrics m.jsonl --curves c.svg"
    ));
    place.ok(&format!("{TRAIN} --records r.jsonl --out b.safetensors --threads 1"));
    let bytes = |name| std::fs::read(place.path(name)).unwrap();
    assert_eq!(bytes("a.safetensors"), bytes("b.safetensors"), "the same seed");
    let metrics = json_lines(&read(&place, "m.jsonl"));
    assert_eq!(metrics.len(), 4, "a plan and three epochs");
    assert!(metrics[0]["programs"].as_u64().unwrap() > 40 && metrics[0]["no_parse"] == 0);
    assert!(metrics[3]["validation"]["known_any"].is_number());
    assert!(read(&place, "c.svg").starts_with("<svg"));
    place.ok(&format!("{TRAIN} --records r.jsonl --out a.safetensors --resume"));
    let set = "--targets set --contrast 1 --layer-price 0.1";
    place.ok(&format!("{TRAIN} --records r.jsonl {set} --out set.safetensors"));
    assert_ne!(bytes("set.safetensors"), bytes("a.safetensors"));
    for (wrong, says) in [
        ("--contrast=-1", "--contrast is -1: expected 0 to 100"),
        ("--layer-price NaN", "--layer-price is NaN: expected 0 to 100"),
        ("--targets most", "possible values: each, set"),
    ] {
        place.refused(
            2,
            &format!("{TRAIN} --records r.jsonl {wrong} --out c.safetensors"),
            says,
        );
    }

    let run = "run abcd --model model --device cpu --routers a.safetensors --raw --max-tokens 3 --ignore-eos --json";
    let trace = json_lines(&place.ok(run));
    let candidates = trace[0]["candidates"].as_array().unwrap();
    assert!((1..=5).contains(&candidates.len()));
    assert_eq!(candidates[0]["program"], trace[0]["program"]);
    let scores: Vec<f64> = candidates.iter().map(|c| c["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] <= 0.0, "{scores:?}");
    let boundaries: Vec<f64> = trace[0]["boundaries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p.as_f64().unwrap())
        .collect();
    let decisions = trace[0]["decisions"].as_array().unwrap();
    assert_eq!(boundaries.len(), decisions.len());
    // Within a segment all layers have the probabilities of its actions.
    for layer in 1..boundaries.len() {
        let same = decisions[layer]["probs"] == decisions[layer - 1]["probs"];
        assert!(
            same || boundaries[layer] >= 0.5 || layer == 4,
            "{boundaries:?} {decisions:?}"
        );
    }
    // Boundaries that are no probabilities are refused by their line.
    let text = place.ok(run);
    let short = text.replacen("\"boundaries\":[", "\"boundaries\":[0.5,", 1);
    let odd = text.replacen("\"boundaries\":[", "\"boundaries\":[7", 1);
    for (name, text) in [("short.jsonl", short), ("odd.jsonl", odd)] {
        std::fs::write(place.path(name), text).unwrap();
        place.refused(
            1,
            &format!("stats {name}"),
            "line 1: the boundaries are not one probability for each",
        );
    }
    assert_eq!(trace[0]["routers"]["method"], "polar");
    assert_eq!(trace[0]["decisions"][0]["by"], "predictor");
    assert!(trace[1..4].iter().all(|step| step["program"] == trace[0]["program"]));
    let pinned = json_lines(&place.ok(&format!("{run} --pin 1=skip --budget 2")));
    assert!(
        pinned[0]["program"]
            .as_str()
            .unwrap()
            .split(' ')
            .all(|item| item != "1")
    );
    assert_eq!(
        (&pinned[0]["decisions"][1]["by"], &pinned[0]["budget_exact"]),
        (&"pin".into(), &false.into())
    );
    assert!(pinned[1]["depth"].as_u64().unwrap() <= 2);
    place.refused(2, &format!("{run} --scope token"), "choose scope prompt");
    place.refused(2, &format!("{run} --pin 1@0=skip"), "pin the layer at every token");

    let eval = "eval --model model --device cpu --data q.jsonl --routers a.safetensors --limit 12";
    let report = place.ok(&format!("{eval} --format json"));
    let report: Value = serde_json::from_str(&report).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let named: Vec<&str> = rows.iter().map(|r| r["method"].as_str().unwrap()).collect();
    let expected = [
        "base",
        "routers, prompt",
        "pass@1, another question's",
        "pass@5",
        "surest of 5",
        "vote of 5",
        "pass@5, another question's",
    ];
    assert_eq!(named, expected);
    let correct = |row: usize| rows[row]["correct"].as_u64().unwrap();
    assert!(
        [1, 4, 5].iter().all(|row| correct(3) >= correct(*row)),
        "one of five is no worse than any of them"
    );
    assert!(rows[1]["standard"].is_number() && rows[0]["standard"].is_null());
    let text = place.ok(eval);
    assert!(text.contains("Questions answered by the standard program: "), "{text}");
    place.refused(
        1,
        &format!("{} --text", eval.replace("--data q.jsonl ", "")),
        "needs routers of layers",
    );
}

#[test]
fn a_selector_is_fitted_on_other_questions() {
    let place = place();
    place.ok(&format!("{SEARCH} --out r.jsonl"));
    place.ok(&format!("{TRAIN} --records r.jsonl --out a.safetensors"));
    let questions = read(&place, "q.jsonl");
    let lines: Vec<&str> = questions.lines().collect();
    std::fs::write(place.path("test.jsonl"), lines[..10].join("\n")).unwrap();
    let eval = "eval --model model --device cpu --data test.jsonl --routers a.safetensors";
    let select = "--selector-data q.jsonl --selector-limit 24";
    let report = |more: &str| -> Value {
        serde_json::from_str(&place.ok(&format!("{eval} {select} --format json {more}"))).unwrap()
    };
    let whole = report("--outcomes o.jsonl");
    // The questions that are measured are left out.
    let selector = &whole["selector"];
    assert_eq!(selector["questions"], 14);
    let count = |name: &str| selector[name].as_u64().unwrap();
    assert!(count("any") >= count("correct").max(count("first")));
    assert_eq!(selector["weights"].as_array().unwrap().len(), 7);
    let rows = whole["rows"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|r| r["method"] == name).unwrap();
    let selected = row("selected of 5");
    assert!(selected["correct"].as_u64() <= row("pass@5")["correct"].as_u64());
    assert!(selected["standard"].is_number() && selected["p"].is_number());

    // A run that was killed goes on to the same end, whether the selector was fitted or not.
    let outcomes = read(&place, "o.jsonl");
    let counts = |report: &Value| -> Vec<Value> {
        let rows = report["rows"].as_array().unwrap();
        rows.iter()
            .map(|r| serde_json::json!([r["correct"], r["mean_depth"]]))
            .collect()
    };
    for kept in [6, 17] {
        let cut: String = outcomes.split_inclusive('\n').take(kept).collect();
        std::fs::write(place.path("o.jsonl"), cut).unwrap();
        let resumed = report("--outcomes o.jsonl --resume");
        assert_eq!(&resumed["selector"], selector);
        assert_eq!(counts(&resumed), counts(&whole));
    }
    let damaged = outcomes.replacen(r#""question":"q11""#, r#""question":"other""#, 1);
    std::fs::write(place.path("o.jsonl"), damaged).unwrap();
    place.refused(
        1,
        &format!("{eval} {select} --outcomes o.jsonl --resume"),
        "question 'other' of the selector where 'q11' was expected",
    );
    let text = place.ok(&format!("{eval} {select}"));
    assert!(
        text.contains("selector: fitted on 14 other questions, its picks right on"),
        "{text}"
    );
    place.refused(
        1,
        &format!("{eval} --selector-data test.jsonl"),
        "Give --selector-data other questions",
    );
    place.refused(
        2,
        &format!("{eval} --selector-data q.jsonl --selector-limit 0"),
        "--selector-limit is 0",
    );
    let none = eval.replace("a.safetensors", "none");
    place.refused(
        2,
        &format!("{none} {select}"),
        "picks among the programs of a predictor",
    );
}

#[test]
fn records_that_teach_nothing_are_refused() {
    let place = place();
    place.refused(2, &format!("{TRAIN} --out a.safetensors"), "--records");
    std::fs::write(place.path("empty.jsonl"), "").unwrap();
    place.refused(
        1,
        &format!("{TRAIN} --records empty.jsonl --out a.safetensors"),
        "holds no records",
    );
    place.ok(&format!("{SEARCH} --limit 6 --out r.jsonl"));
    let mut lines = json_lines(&read(&place, "r.jsonl"));
    for line in &mut lines[1..] {
        line["right"] = Value::Array(Vec::new());
        line["best"] = Value::Null;
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(place.path("unsolved.jsonl"), text).unwrap();
    let train = format!("{TRAIN} --records unsolved.jsonl --out a.safetensors");
    place.refused(
        1,
        &train,
        "no question with a right program of segments (6 questions without one",
    );
    let other = "train --model model --device cpu --method depth --records r.jsonl --out a.safetensors";
    place.refused(2, other, "--method depth learns from --prompts");
    let other = "train --model model --device cpu --method depth --contrast 1 --out a.safetensors";
    place.refused(2, other, "--contrast is an option of --method polar");
    let other = format!("{TRAIN} --records r.jsonl --texts 8 --out a.safetensors");
    place.refused(2, &other, "--texts is an option of --method depth");
    let layer = format!(
        "{} --records r.jsonl --out a.safetensors",
        TRAIN.replace("-layer 1", "-layer 9")
    );
    place.refused(2, &layer, "--feature-layer is 9: expected 0 to 4");
}
