//! The loop map as a user makes it, on a tiny model.

use crate::common::ModelFolder;

const QUESTIONS: usize = 40;
const CELLS: usize = 4 * 5 / 2;

/// A folder with a model and two files of questions.
fn place() -> ModelFolder {
    let place = ModelFolder::new();
    let question = |i: usize| {
        format!(
            r#"{{"id": "q{i}", "question": "What is {i} and {}?", "choices": ["x{}", "word", "{i}"], "answer": {}}}"#,
            (i * 7) % 13,
            (i * 5) % 11,
            i % 3
        )
    };
    let lines = |from: usize, to: usize| (from..to).map(question).collect::<Vec<_>>().join("\n");
    place.write("q.jsonl", &lines(0, QUESTIONS));
    place.write("other.jsonl", &lines(QUESTIONS - 5, QUESTIONS + 20));
    place
}

const MAP: &str = "search map --model model --device cpu --data q.jsonl";

fn read(place: &ModelFolder, name: &str) -> String {
    std::fs::read_to_string(place.path(name)).unwrap()
}

#[test]
fn a_map_does_not_depend_on_threads_and_survives_a_kill() {
    let place = place();
    let with_transfer = "--measure margin --transfer other.jsonl --best 3";
    let report = place.ok(&format!(
        "{MAP} {with_transfer} --out two.jsonl --threads 2 --svg map.svg"
    ));
    let again = place.ok(&format!("{MAP} {with_transfer} --out one.jsonl --threads 1"));
    assert_eq!(report, again);
    let whole = read(&place, "two.jsonl");
    assert_eq!(whole, read(&place, "one.jsonl"));
    let of = |kind: &str| whole.matches(&format!(r#""type":"{kind}""#)).count();
    assert_eq!(
        (of("loop_map"), of("question"), of("transfer")),
        (1, QUESTIONS, 20),
        "5 questions are known"
    );
    assert_eq!(read(&place, "map.svg").matches("<title>").count(), CELLS);

    // A kill in the middle of a line: of the map, of the transfer.
    for cut in [whole.len() / 3, whole.len() - 40] {
        place.write("cut.jsonl", &whole[..cut]);
        let resumed = place.ok(&format!("{MAP} {with_transfer} --out cut.jsonl --resume"));
        assert_eq!((resumed, read(&place, "cut.jsonl")), (report.clone(), whole.clone()));
    }
    // A map that is done says the same again, or another thing of the same scores.
    let accuracy = place.ok(&format!("{MAP} --out cut.jsonl --resume"));
    assert!(
        accuracy.contains("by accuracy") && !accuracy.contains("Transfer"),
        "{accuracy}"
    );
    assert_eq!(read(&place, "cut.jsonl"), whole, "nothing is computed for that");

    place.refused(1, &format!("{MAP} --out cut.jsonl"), "--resume");
    let damped = format!("{MAP} --out cut.jsonl --resume --damping 0.5");
    place.refused(1, &damped, r#"damping = "1", this map has "0.5""#);
    place.write("foreign.jsonl", "{\"precious\": true}\n");
    place.refused(
        1,
        &format!("{MAP} --out foreign.jsonl --resume"),
        "is no line of a loop map",
    );
    let other = "search map --model model --device cpu --data other.jsonl --out cut.jsonl --resume";
    place.refused(1, other, "task = \"q\", this map has \"other\"");
    assert_eq!(read(&place, "cut.jsonl"), whole);
}

#[test]
fn a_cell_is_its_program_run_by_itself() {
    let place = place();
    for (damping, suffix) in [("1", ""), ("0.5", "~0.5"), ("-1", "~-1")] {
        let map = format!("{MAP} --out m.jsonl --force --damping {damping} --format json");
        let map: serde_json::Value = serde_json::from_str(&place.ok(&map)).unwrap();
        let cells = map["cells"].as_array().unwrap();
        assert_eq!(cells.len(), CELLS);
        for (first, last, program) in [
            (0, 3, format!("(0-3)x2{suffix}")),
            (1, 2, format!("0,(1-2)x2{suffix},3")),
            (3, 3, format!("0-2,3x2{suffix}")),
        ] {
            let eval = format!("eval --model model --device cpu --data q.jsonl --program {program} --format json");
            let eval: serde_json::Value = serde_json::from_str(&place.ok(&eval)).unwrap();
            let (base, row) = (&eval["rows"][0], &eval["rows"][1]);
            let cell = cells
                .iter()
                .find(|cell| cell["cell"] == serde_json::json!([first, last]))
                .unwrap();
            let share = |row: &serde_json::Value| row["correct"].as_f64().unwrap() / QUESTIONS as f64;
            assert_eq!(cell["accuracy"].as_f64(), Some(share(row)), "{program}");
            assert_eq!(map["accuracy"].as_f64(), Some(share(base)));
            assert_eq!(
                (&cell["fixed"], &cell["broken"]),
                (&row["fixed"], &row["broken"]),
                "{program}"
            );
        }
    }
}

#[test]
fn what_is_wrong_says_what_to_do() {
    let place = place();
    place.write("gsm.jsonl", r#"{"question": "One and one?", "answer": "It is #### 2"}"#);
    for (code, args, expected) in [
        (2, "--limit 0", "at least 1"),
        (2, "--longest 0", "blocks of all lengths"),
        (2, "--best 0", "--best is 0"),
        (2, "--damping 2.5", "expected a damping from -1 to 2"),
        (2, "--transfer-limit 3", "--transfer, which is not given"),
        (2, "--svg m.jsonl", "named twice"),
        (1, "--svg nowhere/m.svg", "a folder that is there"),
        (2, "--svg q.jsonl", "named twice"),
    ] {
        place.refused(code, &format!("{MAP} --out m.jsonl {args}"), expected);
    }
    place.write("copy.jsonl", &read(&place, "q.jsonl"));
    let copy = format!("{MAP} --out m.jsonl --transfer copy.jsonl");
    place.refused(1, &copy, "prove nothing");
    let written = "search map --model model --device cpu --data gsm.jsonl --out m.jsonl --measure margin";
    place.refused(2, written, "leave --measure out");
    let written = written.replace(" --measure margin", " --max-new-tokens 2 --longest 1 --format json");
    let report: serde_json::Value = serde_json::from_str(&place.ok(&written)).unwrap();
    assert_eq!(
        report["cells"].as_array().unwrap().len(),
        4,
        "written answers are mapped too"
    );
    assert_eq!(report["questions"], 1);
    let none = &report["cells"][0]["difference"]["interval"];
    assert!(none.is_null(), "one question has no interval");
}
