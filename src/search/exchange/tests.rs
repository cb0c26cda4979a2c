use serde_json::json;

use super::*;
use crate::eval::{Answer, Question, Task};
use crate::program::Program;
use crate::search::records::tests::{header, questions, record};
use crate::search::records::{ExampleRecord, RecordFile, ScoredProgram};
use crate::trace::ModelInfo;

fn task(questions: Vec<Question>) -> Task {
    Task {
        name: "tiny".into(),
        sha256: "d".into(),
        questions,
    }
}

fn model() -> ModelInfo {
    ModelInfo {
        name: "model".into(),
        sha256: "m".into(),
        layers: 4,
        ..ModelInfo::default()
    }
}

/// Three records: corrected, right from the start, unsolved.
fn file() -> RecordFile {
    let questions = questions(3);
    let mut examples: Vec<ExampleRecord> = questions.iter().map(record).collect();
    let program = |text: &str| ScoredProgram {
        program: Program::parse(text, 4).unwrap(),
        margin: Some(0.5),
    };
    examples[1].baseline = true;
    examples[1].right = ["0-3", "0-1 3", "0x2 1-3", "1 3"].map(program).into();
    examples[1].wrong = ["0-2 3x2"].map(program).into();
    examples[1].best = Some(program("1 3").program);
    examples[1].simulations = 4;
    examples[2].best = None;
    let unsolved = &mut examples[2];
    unsolved.wrong.append(&mut unsolved.right);
    RecordFile {
        path: "r.jsonl".into(),
        header: header(),
        examples,
    }
}

/// What is left of a record without its margins, under the seed of imported ones.
fn without_margins(example: &ExampleRecord) -> ExampleRecord {
    let mut example = example.clone();
    for scored in example.right.iter_mut().chain(&mut example.wrong) {
        scored.margin = None;
    }
    example.seed = 0;
    example
}

fn read_back(json: &Value, layout: Layout, questions: Vec<Question>) -> Imported {
    let foreign = read(json.to_string().as_bytes(), layout).unwrap();
    import(foreign, &task(questions), &model(), crate::search::Edits::Layers)
}

fn damage(json: &Value, layout: Layout) -> Vec<String> {
    let imported = read_back(json, layout, questions(3));
    imported.damaged.iter().map(|e| format!("{e:#}")).collect()
}

#[test]
fn polar_holds_everything_but_margins() {
    let file = file();
    let exported = export(&file, Layout::Polar);
    assert_eq!((exported.written, exported.unsolved), (3, 0));
    let sample = &exported.json["samples"][1];
    assert_eq!(sample["gt_ans"], "that");
    assert_eq!(sample["initial_score"], 1.0);
    assert_eq!(sample["final_valid_transitions"][2], json!([0, 0, 1, 2, 3]));
    let imported = read_back(&exported.json, Layout::Polar, questions(3));
    let expected: Vec<_> = file.examples.iter().map(without_margins).collect();
    assert_eq!(imported.examples, expected);
    assert!(imported.damaged.is_empty() && imported.reaches_end);
    assert_eq!((imported.programs, imported.no_vectors, imported.repeated), (9, 0, 0));
    assert_eq!(imported.header.imported.as_deref(), Some("polar"));
}

#[test]
fn drllm_holds_the_right_programs_of_solved_questions() {
    let file = file();
    let exported = export(&file, Layout::Drllm);
    assert_eq!((exported.written, exported.unsolved), (2, 1));
    let json = &exported.json;
    assert_eq!(json["questions"][0], "Question: What is 0?\nAnswer:");
    assert_eq!(json["best_path"], json!([[0, 2, 3], [1, 3]]));
    assert_eq!(json["good_paths"][1].as_array().unwrap().len(), 4);
    assert_eq!(json["original_correct"], json!([0, 1]));
    assert_eq!(json["improved_cases"], json!([true, false]));
    assert_eq!(
        (&json["path_lengths"], &json["average_path_length"]),
        (&json!([3, 2]), &json!(2.5))
    );
    let imported = read_back(json, Layout::Drllm, questions(3));
    let expected: Vec<_> = file.examples[..2].iter().map(without_margins).collect();
    let expected: Vec<_> = expected
        .into_iter()
        .map(|e| ExampleRecord {
            wrong: Vec::new(),
            simulations: e.right.iter().filter(|s| s.program != Program::standard(4)).count(),
            ..e
        })
        .collect();
    assert_eq!(imported.examples, expected);
    assert_eq!(imported.header.settings.simulations, 50);
}

#[test]
fn imported_records_are_whole_records() {
    let imported = read_back(&export(&file(), Layout::Polar).json, Layout::Polar, questions(3));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let mut bytes = Vec::new();
    crate::search::records::write_records(&mut bytes, &imported.header, &imported.examples).unwrap();
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(crate::search::read_records(&path).unwrap().examples, imported.examples);
}

#[test]
fn programs_that_are_no_action_vectors_are_counted_and_left_out() {
    let json = json!([{
        "question": "What is 0?",
        "final_valid_transitions": [[0, 1, 0, 1, 3], [2, 2, 2], {"path": [0, 1, 1, 3]}, [0, 1, 2, 3], [0, 1, 1, 3]],
        "final_invalid_transitions": [[3, 0]],
    }]);
    let imported = read_back(&json, Layout::Polar, questions(1));
    assert_eq!((imported.programs, imported.no_vectors), (5, 3));
    let example = &imported.examples[0];
    let right: Vec<String> = example.right.iter().map(|s| s.program.to_string()).collect();
    assert_eq!(right, ["0 1x2 3", "0-3"]);
    // As long as the standard program, with fewer distinct layers; the score is read off the lists.
    assert_eq!(example.best.as_ref().unwrap().to_string(), "0 1x2 3");
    assert!(example.baseline && example.wrong.is_empty());
}

#[test]
fn questions_are_found_by_id_or_text_whatever_surrounds_it() {
    let mut known = questions(4);
    known[2].question = "Two\nlines?".into();
    known[3].question = known[1].question.clone();
    known[3].answer = Answer::Choice {
        choices: vec!["north".into(), "south".into()],
        right: 1,
    };
    let prompts = [
        "What is 0?",
        "\"Question: What is 1?\nA. this\nB. that\nAnswer with a single letter (A, B, C, or D).",
        "Question: Two\nlines?\n\n(A) this\n(B) that\n\nAnswer: The correct answer is ",
        "Question: What is 1?\nA. north\nB. south\nAnswer:",
    ];
    let rows = prompts.map(|_| json!([[0, 1, 3]]));
    let json = json!({
        "questions": prompts, "good_paths": rows, "best_path": prompts.map(|_| [0, 1, 3]),
        "best_response": ["A", "B", "this", "\\boxed{south}"], "original_correct": [false, 0, 0.0, 0],
    });
    let imported = read_back(&json, Layout::Drllm, known.clone());
    assert!(imported.damaged.is_empty(), "{:?}", imported.damaged);
    let ids: Vec<&str> = imported.examples.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["q0", "q1", "q2", "q3"]);

    // An id alone is enough, as in files whose questions were taken out.
    let json = json!({"samples": [
        {"sample_info": {"query_id": "q3"}, "final_valid_transitions": []},
        {"sample_info": {"query_id": "q3"}, "final_valid_transitions": []},
    ]});
    let imported = read_back(&json, Layout::Polar, known);
    assert_eq!((imported.examples[0].id.as_str(), imported.repeated), ("q3", 1));
}

#[test]
fn damaged_samples_are_named() {
    let good = json!({"question": "What is 0?", "final_valid_transitions": [[0]]});
    let with = |field: &str, value: Value| {
        let mut sample = good.clone();
        sample[field] = value;
        json!({"samples": [good.clone(), sample]})
    };
    let cases = [
        (
            with("question", json!("What is 9?")),
            "--data has no question 'What is 9?'",
        ),
        (with("question", json!("What\u{1b}[2J")), "no question 'What␛[2J'"),
        (
            with("final_valid_transitions", json!([[0, 4]])),
            "runs layer 4; the model has the layers 0 to 3",
        ),
        (
            with("final_valid_transitions", json!([[0, -1]])),
            "final_valid_transitions: a program is no list",
        ),
        (
            with("final_valid_transitions", json!("0-3")),
            "expected a list of programs",
        ),
        (
            with("final_invalid_transitions", json!([[0]])),
            "'0' stands among the right ones and among the wrong",
        ),
        (
            with("initial_score", json!("yes")),
            "initial_score: a score is no number",
        ),
        (
            with("gt_ans", json!("that")),
            "the answer is 'that' in the file and 'this' in the questions",
        ),
        (with("gt_ans", json!("B")), "the answer is 'B'"),
        (
            json!([good, {"question": "What is 1?", "initial_score": 0, "final_valid_transitions": [[0, 1, 2, 3]]}]),
            "the standard program is wrong by its score",
        ),
        (json!([good, 3]), "this is no object"),
    ];
    for (json, expected) in cases {
        let damaged = damage(&json, Layout::Polar);
        assert_eq!(damaged.len(), 1, "{expected}: {damaged:?}");
        assert!(
            damaged[0].starts_with("sample 2: ") && damaged[0].contains(expected),
            "{expected}: {damaged:?}"
        );
    }
    let alike = json!({"questions": ["Q?"], "best_path": [[0]], "good_paths": [[[0]]]});
    let mut known = questions(2);
    known.iter_mut().for_each(|q| q.question = "Q?".into());
    let imported = read_back(&alike, Layout::Drllm, known);
    assert!(format!("{:#}", imported.damaged[0]).contains("2 questions 'Q?'"));
}

#[test]
fn files_of_another_layout_are_refused() {
    let error = |text: &[u8], layout| format!("{:#}", read(text, layout).unwrap_err());
    let columns = export(&file(), Layout::Drllm).json.to_string();
    let samples = export(&file(), Layout::Polar).json.to_string();
    assert!(error(columns.as_bytes(), Layout::Polar).contains("is this PoLar's layout?"));
    assert!(error(samples.as_bytes(), Layout::Drllm).contains("'questions' is missing"));
    assert!(error(b"{\"questions\": [", Layout::Drllm).contains("no JSON"));
    assert!(error(&[0x1f, 0x8b, 8], Layout::Polar).contains("gzip"));
    assert!(error(b"{\"questions\": [\"q\"], \"best_path\": []}", Layout::Drllm).contains("'best_path' has 0 rows"));
    assert!(error(b"{\"questions\": 3}", Layout::Drllm).contains("no list"));
    assert!(error(b"3", Layout::Polar).contains("expected an object"));
}
