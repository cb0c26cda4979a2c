use std::path::Path;

use anyhow::Result;

use super::writer::Existing;
use super::*;
use crate::search::mcts::ProgramOutcome;

pub(crate) fn header() -> RecordHeader {
    RecordHeader {
        format: FORMAT,
        task: "tiny".into(),
        data_sha256: "d".into(),
        model: "model".into(),
        model_sha256: "m".into(),
        layers: 4,
        exact: false,
        activations: crate::model::ActivationBits::default(),
        scoring: Scoring::Sum,
        generation: None,
        part: None,
        imported: None,
        settings: SearchSettings::default(),
    }
}

pub(crate) fn questions(count: usize) -> Vec<Question> {
    let question = |i: usize| Question {
        id: format!("q{i}"),
        question: format!("What is {i}?"),
        answer: Answer::Choice {
            choices: vec!["this".into(), "that".into()],
            right: i % 2,
        },
    };
    (0..count).map(question).collect()
}

pub(crate) fn record(question: &Question) -> ExampleRecord {
    let program = |text: &str, correct, margin| {
        let evaluation = ProgramOutcome { correct, margin };
        (Program::parse(text, 4).unwrap(), evaluation)
    };
    let result = SearchResult {
        baseline: ProgramOutcome {
            correct: false,
            margin: -0.5,
        },
        evaluated: vec![program("0-3", false, -0.5), program("0 2-3", true, 0.123_456)],
        simulations: 1,
    };
    ExampleRecord::new(question, &header(), &result)
}

/// Writes the records of the first `count` of `questions`.
fn write(path: &Path, questions: &[Question], count: usize, existing: Existing) -> Result<usize> {
    let (mut writer, done) = RecordWriter::open(path, &header(), questions, existing)?;
    for question in &questions[done.len()..count] {
        writer.write(&record(question))?;
    }
    Ok(done.len())
}

#[test]
fn records_read_back_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let questions = questions(2);
    write(&path, &questions, 2, Existing::Refuse).unwrap();
    let found = read_records(&path).unwrap();
    assert_eq!(found.header, header());
    assert_eq!(found.examples, [record(&questions[0]), record(&questions[1])]);
    let first = &found.examples[0];
    assert!(first.corrected());
    assert_eq!((first.saved(4), first.right[0].margin), (Some(1), Some(0.1235)));
    assert_eq!(first.wrong[0].program, Program::standard(4));
}

#[test]
fn a_torn_line_is_dropped_and_the_rest_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let questions = questions(5);
    let whole = folder.path().join("whole.jsonl");
    write(&whole, &questions, 5, Existing::Refuse).unwrap();
    let whole = std::fs::read(whole).unwrap();
    let path = folder.path().join("r.jsonl");
    // Killed at any byte, a resumed search ends with the same file.
    for cut in (0..=whole.len()).step_by(97).chain([whole.len()]) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        write(&path, &questions, 5, Existing::Resume).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(write(&path, &questions, 5, Existing::Resume).unwrap(), 0);
}

#[test]
fn nothing_is_overwritten_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let questions = questions(3);
    write(&path, &questions, 3, Existing::Refuse).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = write(&path, &questions, 1, Existing::Refuse).unwrap_err().to_string();
    assert!(error.contains("--resume") && error.contains("--force"), "{error}");

    let open = |header: &RecordHeader, questions: &[Question]| {
        let opened = RecordWriter::open(&path, header, questions, Existing::Resume);
        opened.map(|_| ()).unwrap_err().to_string()
    };
    let mut other = header();
    other.settings.seed = 7;
    assert!(open(&other, &questions).contains("seed = 42, this search has 7"));
    let error = open(&header(), &questions[1..]);
    assert!(
        error.contains("line 2: question 'q0' where 'q1' was expected"),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);

    write(&path, &questions, 1, Existing::Overwrite).unwrap();
    assert_eq!(read_records(&path).unwrap().examples.len(), 1);
}

#[test]
fn one_shard_does_not_take_the_place_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let shard = |shard: &str, questions| RecordHeader {
        part: Some(SearchShard {
            shard: shard.parse().unwrap(),
            questions,
        }),
        ..header()
    };
    let open = |header: &RecordHeader, existing| {
        let opened = RecordWriter::open(&path, header, &questions(2), existing);
        opened.map(|_| ()).map_err(|e| e.to_string())
    };
    open(&shard("1/3", 6), Existing::Refuse).unwrap();
    // What a record means does not depend on its shard: routers may train on several.
    assert_eq!(shard("1/3", 6).difference(&shard("2/3", 6)), None);
    let before = std::fs::read(&path).unwrap();
    for existing in [Existing::Resume, Existing::Overwrite] {
        let error = open(&shard("2/3", 6), existing).unwrap_err();
        assert!(
            error.contains("r.jsonl holds shard 1/3 of 6 questions, this search is shard 2/3"),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
    assert!(open(&shard("1/3", 7), Existing::Resume).unwrap_err().contains("of 7"));
    assert!(
        open(&header(), Existing::Resume)
            .unwrap_err()
            .contains("a whole search")
    );
    open(&shard("1/3", 6), Existing::Resume).unwrap();
    open(&shard("1/3", 7), Existing::Overwrite).unwrap();
    assert_eq!(read_records(&path).unwrap().header, shard("1/3", 7));
}

#[test]
fn older_files_read_as_before() {
    let text = serde_json::to_string(&header()).unwrap();
    assert!(!text.contains("part") && !text.contains("imported"), "{text}");
    assert_eq!(serde_json::from_str::<RecordHeader>(&text).unwrap(), header());
}

#[test]
fn a_field_that_only_one_header_has_is_a_difference() {
    let imported = RecordHeader {
        imported: Some("polar".into()),
        ..header()
    };
    let expected = |here: &str, there: &str| Some(("imported".into(), here.into(), there.into()));
    assert_eq!(header().difference(&imported), expected("nothing", "\"polar\""));
    assert_eq!(imported.difference(&header()), expected("\"polar\"", "nothing"));
}

#[test]
fn damaged_records_are_skipped_on_request_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let questions = questions(4);
    write(&path, &questions, 4, Existing::Refuse).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = good.lines().map(|line| format!("{line}\n")).collect();
    lines[1].truncate(40);
    lines[1].push('\n');
    lines[3] = lines[3].replace("\"best\":\"0 2-3\"", "\"best\":\"0 2-9\"");
    std::fs::write(&path, lines.concat()).unwrap();
    assert!(format!("{:#}", read_records(&path).unwrap_err()).contains("line 2"));
    let (file, damaged) = read_records_skipping(&path).unwrap();
    assert_eq!(file.examples, [record(&questions[1]), record(&questions[3])]);
    let damaged: Vec<String> = damaged.iter().map(|e| format!("{e:#}")).collect();
    assert!(
        damaged[0].contains("line 2") && damaged[1].contains("line 4"),
        "{damaged:?}"
    );
    assert_eq!(damaged.len(), 2);

    // Without its header a file says nothing of its records.
    std::fs::write(&path, lines[1..].concat()).unwrap();
    assert!(read_records_skipping(&path).is_err());
}

#[test]
fn two_searches_do_not_write_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let _first = RecordWriter::open(&path, &header(), &[], Existing::Refuse).unwrap();
    let second = RecordWriter::open(&path, &header(), &[], Existing::Resume);
    let error = second.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("another search"), "{error}");
}

#[test]
fn bad_lines_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    write(&path, &questions(2), 2, Existing::Refuse).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let cases = [
        (String::new(), "holds no records"),
        (format!("{}\n{{\"type\":\n", lines[0]), "line 2 is no search record"),
        (format!("{}\n", lines[1]), "line 1: records begin with their header"),
        (format!("{}\n{}\n", lines[0], lines[0]), "line 2: a second header"),
        (good.replacen("\"format\":1", "\"format\":9", 1), "records of format 9"),
        (good.replacen("\"best\":\"0 2-3\"", "\"best\":\"0 2-4\"", 1), "line 2"),
        (
            good.replacen("\"best\":\"0 2-3\"", "\"best\":\"0-2\"", 1),
            "none of the right",
        ),
        (good.replacen("\"answer\":1", "\"answer\":4", 1), "the answer is 4"),
    ];
    for (text, expected) in cases {
        std::fs::write(&path, &text).unwrap();
        let error = format!("{:#}", read_records(&path).unwrap_err());
        assert!(error.contains(expected), "{expected}: {error}");
        let is_first = expected.starts_with("line 1:") || text.is_empty();
        assert_eq!(error.contains("holds no records"), is_first, "{error}");
    }
    let torn = format!("{}\n{{\"type\":\n{}\n", lines[0], lines[2]);
    std::fs::write(&path, torn).unwrap();
    let error = read_records_advised(&path, SKIP_DAMAGED).unwrap_err().to_string();
    assert!(
        error.contains("line 2 is no search record") && error.ends_with(SKIP_DAMAGED),
        "{error}"
    );
    let error = read_records_advised(&folder.path().join("no"), SKIP_DAMAGED).unwrap_err();
    assert!(!format!("{error:#}").contains("--skip-damaged"), "nothing is damaged");
}

#[test]
fn what_is_advised_about_a_damaged_line_works() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let questions = questions(4);
    write(&path, &questions, 4, Existing::Refuse).unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let refused = |lines: &[&str]| {
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        format!("{:#}", write(&path, &questions, 4, Existing::Resume).unwrap_err())
    };
    let torn = refused(&[lines[0], lines[1], "{", lines[3], lines[4]]);
    assert!(
        torn.contains("line 3 is no search record") && torn.contains("`head -n 2`"),
        "{torn}"
    );
    let missing = refused(&[lines[0], lines[1], lines[3], lines[4]]);
    assert!(
        missing.contains("a line is missing") && missing.contains("`head -n 2`"),
        "{missing}"
    );
    let no_records = refused(&["{", lines[1]]);
    assert!(no_records.contains("holds no records"), "{no_records}");
    std::fs::write(&path, lines[..2].join("\n") + "\n").unwrap();
    write(&path, &questions, 4, Existing::Resume).unwrap();
}
