use super::*;
use crate::eval::Answer;

fn task() -> Task {
    let question = |i: usize| Question {
        id: format!("q{i}"),
        question: "Which?".into(),
        answer: Answer::Number("1".into()),
    };
    Task {
        name: "t".into(),
        sha256: "d".into(),
        questions: (0..4).map(question).collect(),
    }
}

fn header() -> OutcomeHeader {
    OutcomeHeader {
        format: FORMAT,
        model: "m".into(),
        model_sha256: "s".into(),
        layers: 4,
        exact: false,
        device: "cpu".into(),
        routers_sha256: None,
        tasks: vec![TaskHeader::new(&task(), Scoring::Sum, None)],
        methods: vec!["base".into()],
        controls: true,
        control_depth: vec![2.5],
        selector: Vec::new(),
        training: Vec::new(),
    }
}

const ROUNDS: [&[&str]; 2] = [&["base", "program 0"], &["early exit at 2.50"]];

/// Runs both rounds, or until `most` questions were answered anew; what all came to.
fn evaluate(path: &Path, existing: Existing, most: usize) -> Result<Vec<Vec<Outcome>>> {
    let task = task();
    let mut file = OutcomeFile::open(path, &header(), existing)?;
    let (mut all, mut anew) = (Vec::new(), 0);
    for methods in ROUNDS {
        let taken = file.take(&task, methods)?;
        let first = taken.len();
        all.extend(taken);
        for (index, question) in task.questions.iter().enumerate().skip(first) {
            if anew == most {
                return Ok(all);
            }
            let outcome = |m: usize| Outcome {
                correct: (index + m).is_multiple_of(2),
                not_understood: index == 1,
                depth: 1.0 / (index + 3) as f64,
                seconds: 0.1,
                standard: false,
            };
            let outcomes: Vec<Outcome> = (0..methods.len()).map(outcome).collect();
            file.write(&task, question, methods, &outcomes)?;
            all.push(outcomes);
            anew += 1;
        }
    }
    file.finish()?;
    Ok(all)
}

#[test]
fn cut_at_any_byte_a_file_is_completed_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("o.jsonl");
    let expected = evaluate(&path, Existing::Refuse, 100).unwrap();
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(whole.iter().filter(|&&b| b == b'\n').count(), 1 + 8);
    for cut in (0..=whole.len()).step_by(61).chain([whole.len()]) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(
            evaluate(&path, Existing::Resume, 100).unwrap(),
            expected,
            "cut at {cut}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
    }
    // A run that is stopped twice.
    evaluate(&path, Existing::Overwrite, 3).unwrap();
    evaluate(&path, Existing::Resume, 2).unwrap();
    assert_eq!(evaluate(&path, Existing::Resume, 100).unwrap(), expected);
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

#[test]
fn what_does_not_belong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("o.jsonl");
    evaluate(&path, Existing::Refuse, 100).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    let cases = [
        (
            good.replacen("\"layers\":4", "\"layers\":5", 1),
            "layers = 5, this evaluation has 4",
        ),
        (
            good.replacen("\"sha256\":\"d\"", "\"sha256\":\"e\"", 1),
            "tasks[0].sha256 = \"e\"",
        ),
        (good.replacen("\"format\":1", "\"format\":9", 1), "format 9"),
        (
            good.replacen("\"question\":\"q1\"", "\"question\":\"x\"", 1),
            "line 3: question 'x' of t where 'q1'",
        ),
        (
            good.replacen("program 0", "program 1", 1),
            "line 2: outcomes of 'base; program 1'",
        ),
        (good.replacen("\"depth\"", "\"deep\"", 1), "line 2 holds no outcomes"),
        (good.lines().last().unwrap().to_owned() + "\n", "line 1: outcomes begin"),
        (
            good.clone() + good.lines().last().unwrap() + "\n",
            "line 10: more lines",
        ),
    ];
    for (text, expected) in cases {
        std::fs::write(&path, &text).unwrap();
        let error = format!("{:#}", evaluate(&path, Existing::Resume, 100).unwrap_err());
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(
            error.contains("--force") || error.contains("--outcomes"),
            "what to do: {error}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing was changed");
    }
    assert!(evaluate(&path, Existing::Refuse, 1).is_err());
}

#[test]
fn training_rounds_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("o.jsonl");
    let programs = ["0-3", "0-2"].map(|p| Program::parse(p, 4).unwrap());
    let mut file = OutcomeFile::open(&path, &header(), Existing::Refuse).unwrap();
    file.write_training("1 edit", "a", &programs).unwrap();
    file.write_training("1 edit", "b", &[]).unwrap();
    drop(file);
    let open = || OutcomeFile::open(&path, &header(), Existing::Resume).unwrap();
    let taken = open().take_training("1 edit", &["a", "b", "c"], &programs).unwrap();
    assert_eq!(taken, [programs.to_vec(), vec![]]);
    let wrong = |round: &str, id: &str, programs: &[Program]| {
        open().take_training(round, &[id], programs).unwrap_err().to_string()
    };
    assert!(wrong("2 edits", "a", &programs).contains("line 2: question 'a' of round '1 edit' where"));
    assert!(wrong("1 edit", "b", &programs).contains("where 'b'"));
    assert!(wrong("1 edit", "a", &programs[..1]).contains("the program '0-2', which was not run"));
    let misplaced = open().take(&task(), ROUNDS[0]).unwrap_err().to_string();
    assert!(
        misplaced.contains("training question 'a' out of its order"),
        "{misplaced}"
    );
}
