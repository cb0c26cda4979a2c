//! Search, training and evaluation as a user runs them, on a tiny model.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::common::ModelFolder;
use candle_nn::ops::log_softmax;
use drllm::engine::sequence::Sequence;
use drllm::engine::{LoadRequest, load_model};
use drllm::eval::{Answer, EncodedQuestion, Scoring, Task};
use drllm::model::Model;
use drllm::program::Program;
use drllm::train::VerifierSettings;
use drllm::train::verifier::{EffectTable, VerifierJob};

const QUESTIONS: usize = 60;

/// A folder with a model and questions.
struct Place(ModelFolder);

impl Place {
    fn new() -> Self {
        let place = Place(ModelFolder::new());
        let lines = (0..QUESTIONS).map(|i| {
            format!(
                r#"{{"id": "q{i}", "question": "What is {i} and {}?", "choices": ["x{}", "word", "{i}"], "answer": {}}}"#,
                (i * 7) % 13,
                (i * 5) % 11,
                i % 3
            )
        });
        let lines: Vec<String> = lines.collect();
        std::fs::write(place.path("q.jsonl"), lines.join("\n")).unwrap();
        place
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }
}

impl std::ops::Deref for Place {
    type Target = ModelFolder;

    fn deref(&self) -> &ModelFolder {
        &self.0
    }
}

const SEARCH: &str = "search --model model --device cpu --data q.jsonl --simulations 12";

#[test]
fn records_do_not_depend_on_threads_and_survive_a_kill() {
    let place = Place::new();
    place.ok(&format!("{SEARCH} --out two.jsonl --threads 2"));
    place.ok(&format!("{SEARCH} --out one.jsonl --threads 1 --cache 0"));
    let whole = place.read("two.jsonl");
    assert_eq!(whole, place.read("one.jsonl"));
    let lines = whole.iter().filter(|&&b| b == b'\n').count();
    assert_eq!(lines, 1 + QUESTIONS);

    // A kill in the middle of a line.
    std::fs::write(place.path("cut.jsonl"), &whole[..whole.len() / 2]).unwrap();
    place.ok(&format!("{SEARCH} --out cut.jsonl --resume"));
    assert_eq!(whole, place.read("cut.jsonl"));

    place.refused(1, &format!("{SEARCH} --out cut.jsonl"), "--resume");
    let seeded = format!("{SEARCH} --out cut.jsonl --resume --seed 1");
    place.refused(1, &seeded, "seed = 42, this search has 1");
    assert_eq!(whole, place.read("cut.jsonl"));
    place.ok(&format!("{SEARCH} --out cut.jsonl --force --limit 3"));
    let limited = place.read("cut.jsonl");
    assert_eq!(
        limited,
        whole[..limited.len()],
        "the first questions of the same search"
    );
}

#[test]
fn from_records_to_routers_to_a_report() {
    let place = Place::new();
    place.ok(&format!("{SEARCH} --out r.jsonl"));
    let train = "train --model model --device cpu --records r.jsonl --epochs 3";
    place.ok(&format!("{train} --out a.safetensors --metrics m.jsonl"));
    place.ok(&format!("{train} --out b.safetensors --threads 1"));
    assert_eq!(
        place.read("a.safetensors"),
        place.read("b.safetensors"),
        "the same seed"
    );
    let metrics = String::from_utf8(place.read("m.jsonl")).unwrap();
    let metrics: Vec<serde_json::Value> = metrics.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(metrics.len(), 4, "a plan and three epochs");
    assert_eq!(metrics[3]["epoch"], 3);
    assert!(metrics[1]["validation"]["macro_f1"].is_number());
    place.refused(1, &format!("{train} --out a.safetensors"), "--force");

    let eval = "eval --model model --device cpu --data q.jsonl --routers a.safetensors --scope prompt,token";
    let json = place.ok(&format!("{eval} --program 0-3 --budget 3 --format json"));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let named: Vec<&str> = rows.iter().map(|r| r["method"].as_str().unwrap()).collect();
    let expected = [
        "base",
        "routers, prompt",
        "routers, prompt, budget 3",
        "routers, token",
        "routers, token, budget 3",
        "program 0-3",
    ];
    assert_eq!(named, expected);
    let (base, program) = (&rows[0], &rows[5]);
    assert_eq!(base["questions"], QUESTIONS);
    assert_eq!(
        (&base["correct"], &base["mean_depth"]),
        (&program["correct"], &program["mean_depth"])
    );
    assert_eq!((program["fixed"].as_u64(), program["p"].as_f64()), (Some(0), Some(1.0)));
    assert!(rows[2]["mean_depth"].as_f64().unwrap() <= 3.0);
    let again = place.ok(&format!("{eval} --program 0-3 --budget 3 --format json --threads 1"));
    assert_eq!(without_times(&json), without_times(&again));

    let controls = place.ok(&format!("{eval} --controls --control-depth 2.5 --format json"));
    let report: serde_json::Value = serde_json::from_str(&controls).unwrap();
    let controls: Vec<(&str, f64)> = report["rows"].as_array().unwrap()[3..]
        .iter()
        .map(|r| (r["method"].as_str().unwrap(), r["mean_depth"].as_f64().unwrap()))
        .collect();
    let named: Vec<&str> = controls.iter().map(|c| c.0).collect();
    assert_eq!(
        named,
        [
            "random layers at 2.50",
            "early exit at 2.50",
            "block influence at 2.50",
            "exit by entropy at 2.50",
            "exit by agreement at 2.50"
        ],
        "each control once"
    );
    for depth in ["nan", "inf", "-3", "4", "2.5,9"] {
        place.refused(
            2,
            &format!("{eval} --controls --control-depth {depth}"),
            "--control-depth is ",
        );
    }
    assert!(controls[..3].iter().all(|c| (2.0..=3.0).contains(&c.1)), "{controls:?}");

    // What the search called right from the start is what base gets right.
    let records = String::from_utf8(place.read("r.jsonl")).unwrap();
    let right = records.lines().filter(|l| l.contains(r#""baseline":true"#)).count();
    assert_eq!(base["correct"], right);
}

/// A report without what differs between runs.
fn without_times(json: &str) -> serde_json::Value {
    let mut report: serde_json::Value = serde_json::from_str(json).unwrap();
    for row in report["rows"].as_array_mut().unwrap() {
        assert!(row["mean_ms"].as_f64().unwrap() > 0.0);
        row["mean_ms"].take();
    }
    report
}

#[test]
fn a_verifier_has_implausible_answers_skip() {
    let place = Place::new();
    let train = "train --model model --device cpu --data q.jsonl";
    place.ok(&format!("{train} --reject 1,1-2 --spare 0 --out a.safetensors"));
    place.ok(&format!("{train} --reject 1,1-2 --spare 0 --out again.safetensors"));
    assert_eq!(place.read("a.safetensors"), place.read("again.safetensors"));
    place.ok(&format!("{train} --verifier-spans 1,1-2 --spare 1 --out b.safetensors"));
    let eval = "eval --model model --device cpu --data q.jsonl --scope token --format json";
    let depth = |routers: &str| -> f64 {
        let json = place.ok(&format!("{eval} --routers {routers}"));
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        report["rows"][1]["mean_depth"].as_f64().unwrap()
    };
    assert!((2.0..=4.0).contains(&depth("a.safetensors")));
    assert_eq!(depth("b.safetensors"), 4.0, "nothing is skipped for sure");
    // The scope that they were made for is meant where none is named.
    let run = place.ok("run a --raw --model model --device cpu --routers a.safetensors --max-tokens 1 --json");
    assert!(run.contains(r#""scope":"token""#), "{run}");
    for span in ["0-9", "1-2,2", "0-1x2", "17-"] {
        place.refused(
            2,
            &format!("{train} --verifier-spans {span} --out c.safetensors"),
            "--verifier-spans",
        );
    }
    place.refused(2, &format!("{train} --out c.safetensors"), "--verifier-spans");
    let other = format!("{train} --verifier-spans 1-2 --epochs 3 --out c.safetensors");
    place.refused(2, &other, "cannot be used with");
    place.refused(
        1,
        &format!("{train} --verifier-spans 1-2 --out a.safetensors"),
        "exists already",
    );
}

/// The model of a place, in memory.
fn model_of(place: &Place) -> Model {
    let request = LoadRequest {
        model: Some(place.path("model").to_str().unwrap().to_owned()),
        device: "cpu".to_owned(),
        ..LoadRequest::default()
    };
    load_model(&request, &mut |_, _, _| {}, &mut |_| {}, &AtomicBool::new(false)).unwrap()
}

#[test]
fn no_text_is_written_where_there_is_nothing_to_judge() {
    let place = Place::new();
    let job = VerifierJob {
        model: &model_of(&place),
        tasks: &[],
        settings: &VerifierSettings::new(1, &[1, 2]),
        windows: 8,
        validation: 0.0,
        threads: 2,
        stop: &AtomicBool::new(false),
    };
    let mut works: Vec<String> = Vec::new();
    let trained = drllm::train::verifier::train(&job, &mut |step| works.push(step.what.to_owned()));
    let error = trained.expect_err("there are no questions").to_string();
    assert!(error.contains("nothing to judge"), "{error}");
    assert_eq!(works, ["questions"]);
}

#[test]
fn the_table_of_effects_holds_what_the_model_does() {
    let place = Place::new();
    let stop = &AtomicBool::new(false);
    let model = model_of(&place);
    let questions = Task::load(&place.path("q.jsonl")).unwrap().questions;
    let questions = &questions[..4];
    let settings = VerifierSettings {
        texts: 8,
        ..VerifierSettings::new(1, &[1, 2])
    };
    let mut table = EffectTable::measure(&model, questions, &settings, 8, 2, stop, |_| {})
        .unwrap()
        .unwrap();
    let program = |skipped: &[usize]| Program::from_layers((0..4).filter(|layer| !skipped.contains(layer)));
    let programs = [program(&[]), program(&[1]), program(&[1, 2])];
    let mut row = 0;
    for (question, item) in questions.iter().zip(&table.items) {
        assert_eq!(item.rows.start, row);
        let Answer::Choice { choices, .. } = &question.answer else {
            panic!("a question with choices was expected");
        };
        for (choice, text) in choices.iter().enumerate() {
            let ids = model.tokenizer.encode(&format!(" {text}")).unwrap();
            // Token by token, as text is generated.
            let log_probs = programs.each_ref().map(|program| {
                let mut sequence = Sequence::new(&model.decoder, stop);
                let prompt = model.prompt_ids(&question.prompt(), true).unwrap();
                let mut logits = sequence.run_program(&prompt, &programs[0]).unwrap();
                let mut log_probs = Vec::new();
                for &id in &ids {
                    let all = log_softmax(&logits, 0).unwrap().to_vec1::<f32>().unwrap();
                    log_probs.push(all[id as usize]);
                    logits = sequence.run_program(&[id], program).unwrap();
                }
                log_probs
            });
            let score: f32 = log_probs[0].iter().sum();
            assert!((score - item.scores[choice]).abs() < 1e-3);
            let [kept, by_span @ ..] = log_probs;
            for (token, kept) in kept.iter().enumerate().skip(1) {
                assert_eq!(table.choice[row], choice);
                for (log_probs, found) in by_span.iter().zip(table.effects_of(row)) {
                    let expected = log_probs[token] - kept;
                    assert!((found - expected).abs() < 1e-3, "{found} instead of {expected}");
                }
                row += 1;
            }
        }
    }
    assert!(row > 4, "rows to compare");
    assert!(
        table.effects.iter().any(|effect| effect.abs() > 1e-2),
        "effects to compare"
    );
    let later = table.later[0].len();
    assert!(table.write(&model, &settings, 2, stop, |_| {}).unwrap());
    assert!(!table.written.is_empty() && table.written.len().is_multiple_of(table.hidden_size));
    assert!(table.later[0].len() > later);
    let first = table.written.clone();
    table.write(&model, &settings, 1, stop, |_| {}).unwrap();
    assert_eq!(table.written, first, "whatever the number of threads");
}

#[test]
fn the_best_static_program_is_listed() {
    let place = Place::new();
    std::fs::write(place.path("p.txt"), "0 2-3\n0-2\n").unwrap();
    let search = "search --model model --device cpu --data q.jsonl";
    place.ok(&format!("{search} --programs p.txt --out r.jsonl"));
    let table = place.ok("search best r.jsonl --top 2");
    assert!(
        table.contains(&format!("3 programs were run on all {QUESTIONS} questions")),
        "{table}"
    );
    assert_eq!(table.lines().count(), 4, "{table}");
    for (programs, says) in [
        ("0-2\n0-2\n", "line 2: '0-2' stands there twice"),
        ("0-2\n0 1x3 2-3\n", "line 2: '0 1x3 2-3' is none that a search reaches"),
        ("0 2 1 3\n", "is none that a search reaches"),
    ] {
        std::fs::write(place.path("p.txt"), programs).unwrap();
        place.refused(1, &format!("{search} --programs p.txt --out s.jsonl"), says);
    }
    // Segments are programs of the other edits, and the records say so.
    std::fs::write(place.path("p.txt"), "0-2\n0 (1-2)x2 3\n").unwrap();
    place.ok(&format!("{search} --programs p.txt --limit 4 --out t.jsonl"));
    let records = std::fs::read_to_string(place.path("t.jsonl")).unwrap();
    assert!(records.contains(r#""edits":"segments""#) && records.contains(r#""0 (1-2)x2 3""#));
}

const TRAIN: &str = "train --model model --device cpu --records r.jsonl --epochs 3 --features f";

#[test]
fn features_are_computed_once_and_damage_is_named() {
    let place = Place::new();
    place.ok(&format!("{SEARCH} --out r.jsonl --limit 30"));
    let told = |args: &str| {
        let (code, _, err) = place.run(args);
        assert_eq!(code, 0, "{args}: {err}");
        err
    };
    let first = told(&format!("{TRAIN} --out a.safetensors --curves a.svg"));
    assert!(
        first.contains("of features in f") && !first.contains("are there"),
        "{first}"
    );
    assert!(
        first.contains("held-out macro-F1"),
        "the curves in the terminal: {first}"
    );
    assert!(place.read("a.svg").starts_with(b"<svg"));
    let second = told(&format!("{TRAIN} --out b.safetensors --lr 0.01"));
    assert!(
        second.contains("examples are there") && !second.contains("of features in"),
        "{second}"
    );

    let file = std::fs::read_dir(place.path("f"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = std::fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let at = whole.len() - 1;
    std::fs::write(&file, damaged).unwrap();
    let third = told(&format!("{TRAIN} --out c.safetensors"));
    // The last byte belongs to the last example, where it has all windows.
    assert!(
        third.contains("does not agree with its checksum; computing 1 of"),
        "{third}"
    );
    assert_eq!(std::fs::read(&file).unwrap()[at], whole[at]);
    assert_eq!(place.read("a.safetensors"), place.read("c.safetensors"));

    told(&format!("{TRAIN} --out d.safetensors --windows 2"));
    assert_eq!(
        std::fs::read_dir(place.path("f")).unwrap().count(),
        2,
        "other windows, another file"
    );
}

#[test]
#[cfg(unix)]
fn a_killed_training_goes_on_to_the_same_bytes() {
    let place = Place::new();
    place.ok(&format!("{SEARCH} --out r.jsonl --limit 40"));
    let train = TRAIN.replace("--epochs 3", "--epochs 400");
    place.ok(&format!("{train} --out whole.safetensors --metrics whole.jsonl"));
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("drllm-tui"))
        .current_dir(place.folder())
        .args(format!("{train} --out r.safetensors --metrics m.jsonl").split(' '))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let state = place.path("r.safetensors.state");
    while !state.exists() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it could be killed"
        );
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path("r.safetensors").exists());

    place.refused(1, &format!("{train} --out r.safetensors"), "--resume");
    let other = format!("{train} --out r.safetensors --resume --lr 0.5");
    place.refused(1, &other, "learning_rate = 0.001, this one has 0.5");
    place.ok(&format!(
        "{train} --out r.safetensors --metrics m.jsonl --resume --threads 1"
    ));
    assert_eq!(place.read("r.safetensors"), place.read("whole.safetensors"));
    assert_eq!(place.read("m.jsonl"), place.read("whole.jsonl"));
    assert!(!state.exists());
}

#[test]
fn ablations_are_a_table_and_save_nothing() {
    let place = Place::new();
    place.ok(&format!("{SEARCH} --out r.jsonl --limit 30"));
    let csv = place.ok(&format!(
        "{TRAIN} --ablate=loss,windows,linear-layers,input,scale --format csv"
    ));
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 1 + 1 + 2 + 4 + 3 + 1 + 1, "{csv}");
    assert!(rows[0].starts_with("variant,macro-F1,F1 skip"), "{csv}");
    assert!(rows.iter().all(|row| row.split(',').count() == 10), "{csv}");
    assert!(
        rows[1].starts_with("as asked,") && csv.contains("\ninput: embeddings,"),
        "{csv}"
    );
    place.refused(
        2,
        &format!("{TRAIN} --ablate --out a.safetensors"),
        "cannot be used with",
    );
    let deep = format!("{TRAIN} --out a.safetensors --linear-layers 3");
    place.refused(2, &deep, "compare others with --ablate");
}

#[test]
fn damaged_records_are_named_and_left_out_only_when_asked() {
    let place = Place::new();
    place.ok(&format!("{SEARCH} --out r.jsonl --limit 30"));
    let text = String::from_utf8(place.read("r.jsonl")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[3] = "{\"type\": \"example\", \"id\": 7}";
    std::fs::write(place.path("r.jsonl"), lines.join("\n") + "\n").unwrap();
    let train = format!("{TRAIN} --out a.safetensors");
    place.refused(1, &train, "r.jsonl, line 4");
    let (code, _, err) = place.run(&format!("{train} --skip-damaged"));
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("left out: r.jsonl, line 4"), "{err}");
    place.refused(
        2,
        &format!("{train} --metrics r.jsonl --force"),
        "r.jsonl is named twice",
    );
    let (code, _, err) = place.run(&format!("{TRAIN} --out /dev/null/a.safetensors --skip-damaged"));
    assert!(code == 1 && err.contains("choose another folder"), "{err}");
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let place = Place::new();
    place.model("other", 8);
    place.ok(&format!("{SEARCH} --out r.jsonl --limit 5"));
    let train = "train --device cpu --records r.jsonl --out a.safetensors";
    place.refused(1, &format!("{train} --model other"), "r.jsonl holds records of");
    assert!(!Path::new(&place.path("a.safetensors")).exists());
    place.refused(1, "train --records none.jsonl --out a.safetensors", "none.jsonl");
    place.refused(2, &format!("{train} --lr 0"), "--lr is 0");

    std::fs::write(
        place.path("bad.jsonl"),
        "{\"question\": \"Q\", \"choices\": [\"a\", \"b\"], \"answer\": 2}",
    )
    .unwrap();
    let bad = "search --model model --data bad.jsonl --out x.jsonl";
    place.refused(1, bad, "line 1: the answer is 2");
    assert!(!place.path("x.jsonl").exists());
    place.refused(2, &format!("{SEARCH} --out x.jsonl --simulations 0"), "simulations");
    place.refused(2, "eval --model model --data q.jsonl --program 0-9", "column 3");
    place.refused(2, "eval --model model --data q.jsonl --dial 0", "need routers");
    place.refused(
        1,
        "eval --model model --data q.jsonl --routers q.jsonl",
        "no router checkpoint",
    );
}

impl Place {
    fn questions(&self, name: &str, line: impl Fn(usize) -> String) {
        let lines: Vec<String> = (0..40).map(line).collect();
        std::fs::write(self.path(name), lines.join("\n")).unwrap();
    }

    /// Numbers and mathematics. The tiny model writes bytes at random, digits among them: each
    /// question stands there once for each digit, so that some answers are right.
    fn written_questions(&self) {
        self.questions("numbers.jsonl", |i| {
            let (question, digit, marker) = (i / 10, i % 10, "####");
            format!(r#"{{"question": "What is {question}?", "answer": "so it is\n{marker} {digit}"}}"#)
        });
        self.questions("maths.jsonl", |i| {
            format!(r#"{{"problem": "What is {i}?", "solution": "thus \\boxed{{\\frac{{{i}}}{{2}}}}"}}"#)
        });
    }
}

#[test]
fn written_answers_are_searched_trained_on_and_measured() {
    let place = Place::new();
    place.written_questions();
    let search = "search --model model --device cpu --simulations 6 --max-new-tokens 12";
    for task in ["numbers", "maths"] {
        let of_task = format!("{search} --data {task}.jsonl");
        place.ok(&format!("{of_task} --out {task}-r.jsonl --threads 2"));
        place.ok(&format!("{of_task} --out one.jsonl --threads 1 --force"));
        let whole = place.read(&format!("{task}-r.jsonl"));
        assert_eq!(whole, place.read("one.jsonl"), "threads change nothing");
        std::fs::write(place.path("cut.jsonl"), &whole[..whole.len() / 2]).unwrap();
        place.ok(&format!("{of_task} --out cut.jsonl --resume"));
        assert_eq!(whole, place.read("cut.jsonl"));
    }
    let records = String::from_utf8(place.read("numbers-r.jsonl")).unwrap();
    let records: Vec<serde_json::Value> = records.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(records[0]["scoring"], "generated");
    let how = serde_json::json!({"answers": "number", "max_new_tokens": 12, "chat": false});
    assert_eq!(records[0]["generation"], how);
    assert_eq!(records[2]["answer"], "1");
    assert!(records[2].get("choices").is_none());
    for (programs, margin) in [("right", 1.0), ("wrong", -1.0)] {
        let margins = records[1..].iter().flat_map(|r| r[programs].as_array().unwrap());
        assert!(margins.into_iter().all(|p| p["margin"] == margin));
    }

    // Other limits are other records.
    let other = "search --model model --device cpu --simulations 6 --max-new-tokens 11 --data numbers.jsonl --resume";
    place.refused(1, &format!("{other} --out numbers-r.jsonl"), "generation");

    let eval = "eval --model model --device cpu --routers none --max-new-tokens 12 --format json";
    let json = place.ok(&format!(
        "{eval} --data numbers.jsonl maths.jsonl q.jsonl --program 0-2"
    ));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["scoring"], "generated+sum");
    assert_eq!(report["generation"].as_array().unwrap().len(), 2);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    assert_eq!(
        (rows[0]["questions"].as_u64(), rows[1]["mean_depth"].as_f64()),
        (Some(40), Some(3.0))
    );
    // What the search called right from the start is what base gets right.
    let right = records[1..].iter().filter(|r| r["baseline"] == true).count();
    assert_eq!(rows[0]["correct"], right);
    let solved = records[1..].iter().filter(|r| r["best"].is_string()).count();
    assert!((1..40).contains(&solved), "{solved} of 40");
}

#[test]
fn letters_are_scored_and_routers_learn_from_any_records() {
    let place = Place::new();
    let eval = "eval --model model --device cpu --routers none --data q.jsonl --limit 20 --format json";
    let report = |score: &str| -> serde_json::Value {
        serde_json::from_str(&place.ok(&format!("{eval} --score {score}"))).unwrap()
    };
    let (letter, generated) = (report("letter"), report("generated"));
    assert_eq!(
        (&letter["scoring"], &generated["scoring"]),
        (&"letter".into(), &"generated".into())
    );
    assert_eq!(generated["generation"][0]["max_new_tokens"], 10);
    assert_ne!(
        letter["rows"][0]["correct"],
        serde_json::json!(0),
        "one of three by chance"
    );

    place.ok(&format!("{SEARCH} --score letter --limit 20 --out letters.jsonl"));
    let train = "train --model model --device cpu --epochs 1";
    place.ok(&format!("{train} --records letters.jsonl --out letters.safetensors"));
    place.ok(&format!("{SEARCH} --limit 20 --out texts.jsonl"));
    place.ok(&format!("{train} --records texts.jsonl --out texts.safetensors"));
    place.refused(
        1,
        &format!("{train} --records texts.jsonl letters.jsonl --out x.safetensors"),
        "scoring = \"letter\"",
    );

    // Records of written answers, as a model that can write some would leave them.
    let header = r#"{"type":"header","format":1,"task":"t","data_sha256":"d","model":"model","model_sha256":"SHA","layers":4,"exact":false,"scoring":"generated","generation":{"answers":"math","max_new_tokens":15,"chat":false},"simulations":6,"seed":42,"stop_at_saving":null,"exploration":1.8,"length_penalty":3.0,"random_child":0.1}"#;
    let sha = String::from_utf8(place.read("texts.jsonl")).unwrap();
    let sha: serde_json::Value = serde_json::from_str(sha.lines().next().unwrap()).unwrap();
    let mut lines = vec![header.replace("SHA", sha["model_sha256"].as_str().unwrap())];
    for i in 0..20 {
        lines.push(format!(
            r#"{{"type":"example","id":"m{i}","task":"t","question":"What is {i}?","answer":"{i}","model":"model","baseline":false,"best":"0 2-3","right":[{{"program":"0 2-3","margin":1.0}}],"wrong":[{{"program":"0-3","margin":-1.0}}],"simulations":1,"seed":42}}"#
        ));
    }
    std::fs::write(place.path("written.jsonl"), lines.join("\n") + "\n").unwrap();
    place.ok(&format!("{train} --records written.jsonl --out written.safetensors"));
}

#[test]
fn letters_are_scored_under_the_chat_template() {
    let place = Place::new();
    let eval = "eval --model model --device cpu --routers none --data q.jsonl --limit 20 --format json";
    let letters = "--score letter --chat";
    place.refused(1, &format!("{eval} {letters}"), "no chat template; leave out --chat");
    place.refused(
        2,
        &format!("{eval} --score token --chat"),
        "--score letter, or leave it out",
    );
    std::fs::write(
        place.path("model/chat_template.jinja"),
        "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}",
    )
    .unwrap();
    // What is scored are the letters that the assistant begins with.
    let model = model_of(&place);
    let questions = Task::load(&place.path("q.jsonl")).unwrap().questions;
    let encoded = EncodedQuestion::for_model(&questions[0], &model, Scoring::ChatLetter).unwrap();
    let text =
        "<user> Question: What is 0 and 0?\nA. x0\nB. word\nC. 0\nAnswer with the letter alone.\nAnswer:\n<assistant> ";
    let ids = |text: &str| model.tokenizer.encode_prompt(text).unwrap();
    assert_eq!(encoded.prompt, ids(text));
    let whole = |letter: &str| ids(&format!("{text}{letter}"))[encoded.prompt.len()..].to_vec();
    assert_eq!(encoded.choices, ["A", "B", "C"].map(whole));

    let report: serde_json::Value = serde_json::from_str(&place.ok(&format!("{eval} {letters}"))).unwrap();
    assert_eq!(report["scoring"], "chat-letter");
    place.ok(&format!("{SEARCH} {letters} --limit 20 --out letters.jsonl"));
    let train = "train --model model --device cpu --epochs 1";
    place.ok(&format!("{train} --records letters.jsonl --out letters.safetensors"));
    // Of the same questions after the plain prompt: of another kind.
    place.ok(&format!("{SEARCH} --score letter --limit 20 --out plain.jsonl"));
    place.refused(
        1,
        &format!("{train} --records plain.jsonl letters.jsonl --out x.safetensors"),
        "scoring = \"chat-letter\"",
    );
    assert_ne!(place.read("letters.jsonl"), place.read("plain.jsonl"));
}

#[test]
fn how_answers_are_judged_fits_the_questions() {
    let place = Place::new();
    place.written_questions();
    let eval = "eval --model model --device cpu --routers none --data";
    place.refused(2, &format!("{eval} numbers.jsonl --score char"), "Leave --score out");
    place.refused(
        2,
        &format!("{eval} q.jsonl --max-new-tokens 5"),
        "add --score generated",
    );
    place.refused(2, &format!("{eval} q.jsonl --chat"), "add --score generated");
    place.refused(2, &format!("{eval} numbers.jsonl --max-new-tokens 0"), "is 0");
    place.refused(1, &format!("{eval} numbers.jsonl --chat"), "no chat template");
    let both = [place.read("numbers.jsonl"), place.read("maths.jsonl")].join(&b'\n');
    std::fs::write(place.path("both.jsonl"), both).unwrap();
    place.refused(
        1,
        &format!("{eval} both.jsonl"),
        "line 41: a question with a mathematical answer",
    );
    std::fs::write(place.path("empty.jsonl"), "\n").unwrap();
    place.refused(1, &format!("{eval} empty.jsonl"), "no question");
    place.questions("bad.jsonl", |i| {
        format!(r##"{{"question": "Q{i}", "answer": "{} many"}}"##, "####")
    });
    place.refused(
        1,
        &format!("{eval} bad.jsonl"),
        "line 1: the answer ends in '#### many'",
    );
    let long = format!(
        r##"{{"question": "{}", "answer": "{} 1"}}"##,
        "long ".repeat(80),
        "####"
    );
    std::fs::write(place.path("long.jsonl"), long).unwrap();
    place.refused(1, &format!("{eval} long.jsonl"), "question long-1: the prompt has");
}
