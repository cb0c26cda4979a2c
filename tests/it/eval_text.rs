//! Routers measured on free text as a user does it, on a tiny model: every control, bad input.

use std::collections::HashMap;

use crate::common::ModelFolder;
use drllm::router::{FastRouters, InputNorm, MlpRouter, RouterSet};
use drllm::testing::tiny_model::{HIDDEN, LAYERS};
use drllm::trace::RouterInfo;
use rand::{Rng, SeedableRng};
use serde_json::Value;

const EVAL: &str = "eval --model model --device cpu --routers r.safetensors --answer-tokens 12 --text";

/// The only layer of the tiny model that a token may leave out.
const ROUTED: usize = 2;

struct Place(ModelFolder);

impl Place {
    fn new() -> Self {
        let place = Place(ModelFolder::new());
        depth_routers(Some(
            r#"{"texts": 2, "tokens": 9, "points": [
                {"dial": -0.7, "depth": 3.0, "kl": 0.4, "agreement": 0.5},
                {"dial": -0.3, "depth": 4.0, "kl": 0.0, "agreement": 1.0}]}"#,
        ))
        .save(&place.path("r.safetensors"))
        .unwrap();
        depth_routers(None).save(&place.path("plain.safetensors")).unwrap();
        let lines = |of: &dyn Fn(usize) -> String| (0..8).map(of).collect::<Vec<_>>().join("\n");
        place.write("p.txt", &lines(&|i| format!("Tell me of {i} things.")));
        place.write("t.txt", &lines(&|i| format!("What are {i} words?")));
        place.write(
            "q.jsonl",
            &lines(&|i| match i % 2 {
                0 => format!(r##"{{"question": "What is {i}?", "answer": "It is {i} of course.\n#### {i}"}}"##),
                _ => format!(
                    r#"{{"id": "q{i}", "question": "Which is {i}?", "choices": ["a", "number {i}"], "answer": 1}}"#
                ),
            }),
        );
        place
    }

    fn report(&self, args: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{args} --format json"))).unwrap()
    }

    fn refused(&self, code: i32, args: &str, expected: &[&str]) {
        let (found, _, err) = self.run(args);
        assert_eq!(found, code, "{args}: {err}");
        for part in expected {
            assert!(err.contains(part), "{args}: {part} is not in {err}");
        }
    }
}

impl std::ops::Deref for Place {
    type Target = ModelFolder;

    fn deref(&self) -> &ModelFolder {
        &self.0
    }
}

/// Routers of which one listens to the state; the others always execute.
fn depth_routers(calibration: Option<&str>) -> RouterSet {
    const WIDTH: usize = 4;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let mut random = |count: usize, by: f32| (0..count).map(|_| rng.random_range(-by..by)).collect::<Vec<f32>>();
    let router = |layer: usize| {
        let z = random(WIDTH, 1.5);
        MlpRouter {
            w1: random(WIDTH * HIDDEN, 0.8),
            b1: random(WIDTH, 0.2),
            w2: [vec![0.0; WIDTH], z, vec![0.0; WIDTH]].concat(),
            b2: match layer {
                ROUTED => vec![0.0, 0.0, -1e9],
                _ => vec![-1e9, 0.0, -1e9],
            },
        }
    };
    let entries = [
        ("method", "depth"),
        ("scope", "token"),
        ("prompt", "full"),
        ("kv", "fill"),
        ("input_norm", "rms"),
        ("windows", "1"),
    ];
    let entries = entries
        .into_iter()
        .chain(calibration.map(|table| ("calibration", table)));
    RouterSet {
        layers: (0..LAYERS).map(router).collect(),
        windows: 1,
        width: WIDTH,
        hidden_size: HIDDEN,
        input_norm: InputNorm::Rms,
        metadata: entries
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect::<HashMap<_, _>>(),
        info: RouterInfo::default(),
        fast: FastRouters::default(),
    }
}

const CONTROLS: [&str; 7] = [
    "routers, ragged caches",
    "shuffled",
    "best static",
    "random layers",
    "exit by entropy",
    "exit by agreement",
    "block influence",
];

#[test]
fn every_control_stands_beside_the_routers() {
    let place = Place::new();
    let eval = format!("{EVAL} p.txt --train-text t.txt --limit 6 --dial=-0.55,-0.5 --controls --generate");
    let report = place.report(&format!("{eval} --curve c.svg --threads 2"));
    assert_eq!(
        report,
        place.report(&format!("{eval} --threads 1")),
        "threads change nothing"
    );
    let text = &report["text"];
    assert_eq!((&text["kind"], &text["temperature"]), (&"own".into(), &0.7.into()));
    let (texts, tokens) = (text["texts"].as_u64().unwrap(), text["tokens"].as_u64().unwrap());
    assert!(
        (4..=6).contains(&texts) && (16..=12 * texts).contains(&tokens),
        "{text}"
    );
    assert_eq!(report["static"]["order"], serde_json::json!([ROUTED]));

    let rows = report["rows"].as_array().unwrap();
    let of = |method: &str| -> Vec<&Value> { rows.iter().filter(|r| r["method"] == method).collect() };
    for method in ["full model", "routers"].iter().chain(&CONTROLS) {
        assert!(!of(method).is_empty(), "{method}: {report:#}");
    }
    let number = |row: &Value, field: &str| row[field].as_f64().unwrap_or_else(|| panic!("{field}: {row}"));
    for row in rows {
        for (low, mean, high) in [
            ("kl_low", "kl", "kl_high"),
            ("agreement_low", "agreement", "agreement_high"),
        ] {
            assert!(
                number(row, low) <= number(row, mean) && number(row, mean) <= number(row, high),
                "{row}"
            );
        }
        let depth = number(row, "depth");
        assert!(
            number(row, "depth_least") <= depth && depth <= number(row, "depth_most"),
            "{row}"
        );
    }
    let full = of("full model")[0];
    assert_eq!(
        (number(full, "kl"), number(full, "agreement"), number(full, "depth")),
        (0.0, 1.0, 4.0)
    );
    let routed = of("routers");
    assert_eq!(routed.len(), 2);
    assert!(number(routed[0], "depth") > number(routed[1], "depth"), "{report:#}");
    assert!(
        (number(&routed[0]["expected"], "depth") - 3.5).abs() < 1e-9,
        "of the calibration"
    );
    for (routers, shuffled) in routed.iter().zip(of("shuffled")) {
        assert_eq!(routers["depth"], shuffled["depth"]);
    }

    let comparisons = report["comparisons"].as_array().unwrap();
    for control in CONTROLS {
        let of: Vec<&Value> = comparisons.iter().filter(|c| c["control"] == control).collect();
        assert_eq!(of.len(), 2, "{control}: one at each dial");
        for comparison in of {
            let p = number(comparison, "p");
            assert!((0.0..=1.0).contains(&p));
            assert!(number(comparison, "kl") >= 0.0 && number(comparison, "control_kl") >= 0.0);
        }
    }

    let written = report["generation"].as_array().unwrap();
    assert_eq!((written.len(), &written[0]["dial"]), (3, &Value::Null));
    for answer in written {
        assert!(number(answer, "perplexity") >= 1.0 && number(answer, "repeated_4grams") <= 1.0);
        assert!(number(answer, "mean_length") <= 12.0);
    }

    let svg = std::fs::read_to_string(place.path("c.svg")).unwrap();
    let shown = place.ok(&eval);
    let table = place.ok(&format!("{eval} --format markdown"));
    let csv = place.ok(&format!("{eval} --format csv"));
    for part in ["full model", "routers"].iter().chain(&CONTROLS) {
        for out in [&svg, &shown, &table, &csv] {
            assert!(out.contains(part), "{part}: {out}");
        }
    }
    assert!(
        svg.contains("KL over depth") && svg.contains("same likeliest token"),
        "{svg}"
    );
    for part in [
        "the model's own answers (temperature 0.7)",
        "Free generation",
        "Best static: layers left out in turn 2",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn depths_by_the_calibration_and_texts_of_files() {
    let place = Place::new();
    let report = place.report(&format!("{EVAL} --limit 3"));
    let dials = |report: &Value| {
        let rows = report["rows"].as_array().unwrap().iter();
        rows.filter_map(|r| r["dial"].as_f64()).collect::<Vec<_>>()
    };
    assert_eq!(
        dials(&report).len(),
        7,
        "the usual depths, on the prompts that ship: {report}"
    );
    assert_eq!(report["comparisons"], Value::Null, "without --controls");
    let report = place.report(&format!("{EVAL} q.jsonl --ordinary --depths 3.5"));
    assert_eq!(report["text"]["kind"], "ordinary");
    assert_eq!(report["text"]["temperature"], Value::Null);
    assert!((dials(&report)[0] + 0.5).abs() < 1e-9);
    // The first half of a line is the prompt.
    place.write("l.txt", "abcdefgh\n");
    let report = place.report(&format!("{EVAL} l.txt --ordinary --depths 3.5"));
    assert_eq!(
        (&report["text"]["texts"], &report["text"]["tokens"]),
        (&1.into(), &4.into())
    );
    // A prompt that leaves no room is passed over.
    let long = "x".repeat(300);
    place.write("x.txt", &format!("{long}\nTell me more.\n"));
    let (code, _, err) = place.run(&format!("{EVAL} x.txt --depths 3.5"));
    assert!(code == 0 && err.contains("1 prompts leave no room"), "{err}");
    let (_, _, err) = place.run(&format!("{EVAL} p.txt --limit 2 --dial=-0.9"));
    assert!(err.contains("nothing was measured at the dial -0.9"), "{err}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let place = Place::new();
    for (option, name) in [
        ("--scope token", "--scope"),
        ("--budget 3", "--budget"),
        ("--sweep", "--sweep"),
        ("--program 0-2", "--program"),
        ("--train-data q.jsonl", "--train-data"),
        ("--score token", "--score"),
        ("--outcomes o.jsonl", "--outcomes"),
        ("--data q.jsonl", "--data"),
    ] {
        place.refused(2, &format!("{EVAL} {option}"), &["--text", name]);
    }
    place.refused(
        2,
        "eval --model model --device cpu --routers r.safetensors --data q.jsonl --generate",
        &["--text"],
    );
    let plain = EVAL.replace("r.safetensors", "plain.safetensors");
    place.refused(2, &format!("{plain} p.txt"), &["no calibration table", "--dial"]);
    place.ok(&format!("{plain} p.txt --limit 2 --dials=-0.6,-0.5"));
    place.refused(
        2,
        &format!("{} p.txt", EVAL.replace("r.safetensors", "none")),
        &["--routers"],
    );
    place.refused(2, &format!("{EVAL} p.txt --depth 2"), &["3.0 to 4.0"]);
    place.refused(2, &format!("{EVAL} p.txt --dial=-7"), &["the dial is -7"]);
    place.refused(2, &format!("{EVAL} --ordinary"), &["--ordinary needs files"]);
    place.refused(2, &format!("{EVAL} p.txt --limit 0"), &["--limit is 0"]);
    place.refused(
        2,
        &format!("{EVAL} p.txt --controls --train-text p.txt"),
        &["--train-text", "measured on too"],
    );
    place.write("empty.txt", "\n");
    place.refused(1, &format!("{EVAL} empty.txt"), &["empty.txt holds no prompts"]);
    place.refused(1, &format!("{EVAL} nowhere.txt"), &["nowhere.txt"]);
    place.write("x.txt", &"x".repeat(300));
    place.refused(1, &format!("{EVAL} x.txt --depths 3.5"), &["no text can be measured"]);
}
