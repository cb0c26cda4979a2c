//! An evaluation as a user runs it, on a tiny model: stopped and continued, bad input.

mod tiny_model;

use std::path::PathBuf;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

const QUESTIONS: usize = 24;
const EVAL: &str = "eval --model model --device cpu --routers r.safetensors --data q.jsonl";

/// A folder with a model, routers of it and questions: q.jsonl, t.jsonl to train on, n.jsonl with
/// numbers to write.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.path("model")).unwrap();
        tiny_model::write(&place.path("model"), 7);
        let choices = |seed: usize| {
            move |i: usize| {
                let (a, b) = ((i * 7 + seed) % 13, (i * 5 + seed) % 11);
                format!(
                    r#"{{"id": "q{i}", "question": "What is {i} and {a} in {seed}?", "choices": ["x{b}", "word", "{i}"], "answer": {}}}"#,
                    (i + seed) % 3
                )
            }
        };
        place.questions("q.jsonl", choices(0));
        place.questions("t.jsonl", choices(1));
        let marker = "####";
        place.questions("n.jsonl", |i| {
            format!(r#"{{"question": "What is {i}?", "answer": "{marker} {}"}}"#, i % 10)
        });
        place.ok("search --model model --device cpu --data t.jsonl --simulations 8 --out s.jsonl");
        place.ok("train --model model --device cpu --records s.jsonl --epochs 3 --lr 0.05 --out r.safetensors");
        place
    }

    fn questions(&self, name: &str, line: impl Fn(usize) -> String) {
        let lines: Vec<String> = (0..QUESTIONS).map(line).collect();
        std::fs::write(self.path(name), lines.join("\n")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs the program in the folder: exit code, standard output, standard error.
    fn run(&self, args: &str) -> (i32, String, String) {
        let output = Command::cargo_bin("drllm-tui")
            .unwrap()
            .current_dir(&self.0)
            .env("DRLLM_CACHE_DIR", self.path("cache"))
            .args(args.split(' '))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn ok(&self, args: &str) -> String {
        let (code, out, err) = self.run(args);
        assert_eq!(code, 0, "{args}: {err}");
        out
    }

    /// A report as JSON, without the times, which differ between runs.
    fn report(&self, args: &str) -> Value {
        let mut report: Value = serde_json::from_str(&self.ok(&format!("{args} --format json"))).unwrap();
        for row in report["rows"].as_array_mut().unwrap() {
            assert!(row["mean_ms"].as_f64().unwrap() > 0.0);
            row["mean_ms"].take();
        }
        report
    }

    fn refused(&self, code: i32, args: &str, expected: &str) {
        let (found, _, err) = self.run(args);
        assert_eq!(found, code, "{args}: {err}");
        assert!(err.contains(expected), "{args}: {err}");
    }
}

#[test]
fn a_stopped_evaluation_goes_on_to_the_same_report() {
    let place = Place::new();
    // Two tasks, one of which writes its answers, and controls whose depths the rows before give.
    let eval = format!("{EVAL} n.jsonl --max-new-tokens 4 --budget 3 --controls --outcomes o.jsonl");
    let expected = place.report(&eval);
    let unwritten = eval.replace(" --outcomes o.jsonl", " --threads 1");
    assert_eq!(expected, place.report(&unwritten), "writing changes nothing");

    let whole = place.read("o.jsonl");
    let lines: Vec<Value> = whole.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 1 + 4 * QUESTIONS, "methods, then controls, of each task");
    assert_eq!(lines[0]["tasks"][1]["generation"]["max_new_tokens"], 4);
    assert_eq!(lines[1]["outcomes"][0]["method"], "base");
    // What the lines say is what the report says.
    let base = lines[1..=QUESTIONS].iter().map(|l| &l["outcomes"][0]);
    let right = base.filter(|o| o["correct"] == true).count();
    assert_eq!(expected["rows"][0]["correct"], right);

    let at = |line: usize| whole.lines().take(line).map(|l| l.len() + 1).sum::<usize>();
    // Killed in the header, among the methods, between rounds, among the controls, in the second task.
    for cut in [
        10,
        at(9) + 40,
        at(1 + QUESTIONS),
        at(30 + QUESTIONS) + 7,
        at(2 + 3 * QUESTIONS),
        whole.len(),
    ] {
        std::fs::write(place.path("o.jsonl"), &whole[..cut]).unwrap();
        assert_eq!(place.report(&format!("{eval} --resume")), expected, "cut at {cut}");
        let lines = place.read("o.jsonl").lines().count();
        assert_eq!(lines, 1 + 4 * QUESTIONS, "cut at {cut}");
    }
    let before = place.read("o.jsonl");

    place.refused(1, &eval, "continue it with --resume or replace it with --force");
    for (other, expected) in [
        (eval.replace("--budget 3", "--budget 2"), "methods[2]"),
        (
            eval.replace(" n.jsonl --max-new-tokens 4", ""),
            "tasks = a list of 2, this evaluation has a list of 1",
        ),
        (
            format!("{eval} --limit 5"),
            "tasks[0].questions = 24, this evaluation has 5",
        ),
        (format!("{eval} --exact"), "exact = false"),
        (format!("{eval} --score token"), "tasks[0].scoring = \"sum\""),
        (format!("{eval} --control-depth 2"), "control_depth"),
    ] {
        place.refused(1, &format!("{other} --resume"), expected);
    }
    assert_eq!(place.read("o.jsonl"), before, "what was refused changed nothing");
    place.refused(2, &format!("{EVAL} --resume"), "--outcomes");
    place.report(&format!("{EVAL} --limit 3 --outcomes o.jsonl --force"));
    assert_eq!(place.read("o.jsonl").lines().count(), 4);
}
