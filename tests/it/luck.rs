//! How much of a search is luck, as a user asks for it, on a tiny model.

use crate::common::ModelFolder;

const QUESTIONS: usize = 12;

/// A folder with a model, questions and the records of a search by segments.
fn place() -> ModelFolder {
    let place = ModelFolder::new();
    let question = |i: usize| {
        format!(
            r#"{{"id": "q{i}", "question": "What is {i}?", "choices": ["x{}", "word", "{i}"], "answer": {}}}"#,
            (i * 5) % 11,
            i % 3
        )
    };
    let lines: Vec<String> = (0..QUESTIONS).map(question).collect();
    place.write("q.jsonl", &lines.join("\n"));
    place.ok("search --model model --device cpu --data q.jsonl --out r.jsonl --edits segments --simulations 8");
    place
}

const LUCK: &str = "search luck --model model --device cpu r.jsonl";

fn read(place: &ModelFolder, name: &str) -> String {
    std::fs::read_to_string(place.path(name)).unwrap()
}

#[test]
fn tries_do_not_depend_on_threads_and_survive_a_kill() {
    let place = place();
    let report = place.ok(&format!(
        "{LUCK} --out two.jsonl --threads 2 --svg luck.svg --other-arithmetic"
    ));
    let again = place.ok(&format!("{LUCK} --out one.jsonl --threads 1 --other-arithmetic"));
    assert_eq!(report, again);
    let whole = read(&place, "two.jsonl");
    assert_eq!(whole, read(&place, "one.jsonl"));
    assert_eq!(whole.lines().count(), 1 + QUESTIONS);
    assert!(
        report.contains("12 questions, 8 random programs and 8 of other questions"),
        "{report}"
    );
    assert!(report.contains("the other arithmetic"), "{report}");
    assert!(read(&place, "luck.svg").contains("<title>"));

    place.write("cut.jsonl", &whole[..whole.len() - 30]);
    let resumed = place.ok(&format!("{LUCK} --out cut.jsonl --resume --other-arithmetic"));
    assert_eq!((resumed, read(&place, "cut.jsonl")), (report, whole.clone()));

    place.refused(1, &format!("{LUCK} --out cut.jsonl"), "--resume");
    let other = format!("{LUCK} --out cut.jsonl --resume --other-arithmetic --tries 9");
    place.refused(1, &other, "tries = 8, here it is 9");
    place.refused(2, &format!("{LUCK} --out r.jsonl --resume"), "named twice");
    assert_eq!(read(&place, "cut.jsonl"), whole);
}

#[test]
fn chosen_programs_are_what_eval_says_of_them() {
    let place = place();
    let report = place.ok(&format!("{LUCK} --out l.jsonl --format json"));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let chosen = &report["held_out"][0];
    // Half B alone.
    let lines = read(&place, "q.jsonl");
    let half: Vec<&str> = lines.lines().skip(1).step_by(2).collect();
    place.write("half.jsonl", &half.join("\n"));
    let program = chosen["program"].as_str().unwrap().replace(' ', ",");
    let eval = format!("eval --model model --device cpu --data half.jsonl --program {program} --format json");
    let eval: serde_json::Value = serde_json::from_str(&place.ok(&eval)).unwrap();
    let row = &eval["rows"][1];
    assert_eq!(chosen["accuracy"]["count"], row["correct"]);
    assert_eq!((&chosen["fixed"], &chosen["broken"]), (&row["fixed"], &row["broken"]));
    assert_eq!(report["half_b"]["count"], eval["rows"][0]["correct"]);
}

#[test]
fn what_is_wrong_says_what_to_do() {
    let place = place();
    for (code, args, expected) in [
        (2, "--tries 0", "at least 1"),
        (2, "--limit 0", "at least 2"),
        (1, "--limit 1", "two are the least"),
        (2, "--exact", "--other-arithmetic adds the other one"),
        (1, "--svg nowhere/l.svg", "a folder that is there"),
        (2, "--svg l.jsonl", "named twice"),
    ] {
        place.refused(code, &format!("{LUCK} --out l.jsonl {args}"), expected);
    }
    place.refused(
        1,
        "search luck --model loopmoe --device cpu r.jsonl --out l.jsonl",
        "name that one with --model",
    );
    place.write("none.jsonl", "{}\n");
    place.refused(1, "search luck none.jsonl --out l.jsonl", "no search record");
}
