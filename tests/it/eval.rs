//! An evaluation as a user runs it, on a tiny model: stopped and continued, bad input.

use crate::common::ModelFolder;
use drllm::testing::tiny_model;
use serde_json::Value;

const QUESTIONS: usize = 24;
const EVAL: &str = "eval --model model --device cpu --routers r.safetensors --data q.jsonl";

/// A folder with a model, routers of it and questions: q.jsonl, t.jsonl to train on, n.jsonl with
/// numbers to write.
struct Place(ModelFolder);

impl Place {
    fn new() -> Self {
        let place = Place(ModelFolder::new());
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

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
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
}

impl std::ops::Deref for Place {
    type Target = ModelFolder;

    fn deref(&self) -> &ModelFolder {
        &self.0
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
    let questions = place.read("q.jsonl");
    for written in [
        "--outcomes ./q.jsonl --force",
        "--curve r.safetensors",
        "--outcomes n --curve n",
    ] {
        place.refused(2, &format!("{EVAL} {written}"), "named twice");
    }
    assert_eq!(place.read("q.jsonl"), questions);
    place.report(&format!("{EVAL} --limit 3 --outcomes o.jsonl --force"));
    assert_eq!(place.read("o.jsonl").lines().count(), 4);
}

/// Names and mean depths of a report's rows.
fn rows(report: &Value) -> Vec<(&str, f64)> {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.map(|r| (r["method"].as_str().unwrap(), r["mean_depth"].as_f64().unwrap()))
        .collect()
}

#[test]
#[cfg(unix)]
fn stopped_in_the_middle_of_an_answer_it_says_how_to_go_on() {
    let place = Place::new();
    let args = format!("{EVAL} --outcomes o.jsonl").replace("q.jsonl", "n.jsonl") + " --max-new-tokens 200";
    let child = std::process::Command::new(assert_cmd::cargo::cargo_bin("drllm-tui"))
        .current_dir(place.folder())
        .args(args.split(' '))
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let lines = || std::fs::read_to_string(place.path("o.jsonl")).map_or(0, |text| text.lines().count());
    let started = std::time::Instant::now();
    while lines() < 3 {
        assert!(started.elapsed().as_secs() < 60, "no outcome came");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "it ended before it was stopped: {err}");
    assert!(err.contains("stopped; continue with --resume"), "{err}");
    assert!((3..1 + QUESTIONS).contains(&lines()));
    let report = place.report(&format!("{args} --resume"));
    assert_eq!(report["rows"][0]["questions"], QUESTIONS);
    assert_eq!(lines(), 1 + QUESTIONS);
}

#[test]
fn written_answers_have_every_control() {
    let place = Place::new();
    let report = place.report(
        "eval --model model --device cpu --routers none --data n.jsonl --max-new-tokens 4 --controls --control-depth 2",
    );
    let expected = ["random layers at 2.00", "early exit at 2.00", "block influence at 2.00"];
    let rows = rows(&report);
    assert_eq!(rows[1..4], expected.map(|name| (name, 2.0)));
    // A question ends before layer 2, before layer 3 or not at all, whichever comes nearest.
    let names: Vec<&str> = rows[4..].iter().map(|row| row.0).collect();
    assert_eq!(names, ["exit by entropy at 2.00", "exit by agreement at 2.00"]);
    assert_eq!(rows[4].1, 2.0, "a threshold that ends every question");
    assert!(
        (3.0..=4.0).contains(&rows[5].1),
        "two layers agree before layer 3 at the earliest: {}",
        rows[5].1
    );
}

#[test]
fn a_sweep_is_a_curve_in_the_terminal_and_as_svg() {
    let place = Place::new();
    let eval = format!("{EVAL} --sweep --dial=-0.4,0 --program 0-2 --controls");
    let report = place.report(&format!("{eval} --curve c.svg"));
    let rows = rows(&report);
    let of = |start: &str| rows.iter().filter(|r| r.0.starts_with(start)).count();
    // As they are, 9 dials (one of the sweep's was asked for), budgets 3 and 2.
    assert_eq!((of("routers, prompt"), of("routers, token")), (12, 12), "{rows:?}");
    assert_eq!(of("routers, prompt, dial -0.4"), 1, "{rows:?}");
    let names: Vec<&str> = rows.iter().map(|r| r.0).collect();
    assert_eq!(
        names[..4],
        [
            "base",
            "routers, prompt",
            "routers, prompt, dial -0.4",
            "routers, prompt, dial 0"
        ]
    );
    for (name, depth) in &rows {
        let budget = name.split_once("budget ").map(|(_, b)| b.parse::<f64>().unwrap());
        assert!(budget.is_none_or(|b| *depth <= b), "{name}: {depth}");
    }
    // Controls stand at the depths of what was asked for by itself.
    let mut asked: Vec<String> = rows
        .iter()
        .filter(|r| !r.0.contains("budget") && r.0.starts_with("routers"))
        .filter(|r| r.0.matches("dial").count() == 0 || r.0.ends_with("dial -0.4") || r.0.ends_with("dial 0"))
        .filter(|r| r.1 < 3.995)
        .map(|r| format!("early exit at {:.2}", r.1))
        .collect();
    asked.dedup();
    let exits: Vec<&str> = names.iter().filter(|n| n.starts_with("early exit")).copied().collect();
    assert_eq!(exits, asked);

    let svg = place.read("c.svg");
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
    assert_eq!(
        svg.matches("<polyline").count(),
        5,
        "base, dial and budget in both scopes"
    );
    assert_eq!(
        svg.matches("<title>").count(),
        rows.len() + 2,
        "routers as they are stand on two curves"
    );
    for part in [
        "95 % intervals",
        "executed layers per forward pass",
        "accuracy, %",
        "<title>program 0-2: ",
    ] {
        assert!(svg.contains(part), "{part}");
    }
    let text = place.ok(&eval);
    for part in [
        "q: accuracy, % over depth",
        "d routers, prompt: dial",
        "B routers, token: budget",
        "p program",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        !place
            .ok(&format!("{EVAL} --limit 3"))
            .contains("accuracy, % over depth")
    );
    place.refused(
        1,
        &format!("{EVAL} --curve nowhere/c.svg"),
        "nowhere/c.svg: expected a file in a folder",
    );
    place.refused(
        2,
        "eval --model model --device cpu --routers none --data q.jsonl --sweep",
        "need routers",
    );
}

/// Right answers under each program, on a file of questions.
fn right(place: &Place, data: &str, programs: &[&str]) -> Vec<u64> {
    let rows: String = programs.iter().map(|p| format!(" --program {p}")).collect();
    let report = place.report(&format!(
        "eval --model model --device cpu --routers none --data {data}{rows}"
    ));
    let rows = report["rows"].as_array().unwrap()[1..].iter();
    rows.map(|r| r["correct"].as_u64().unwrap()).collect()
}

#[test]
fn the_best_static_program_is_chosen_on_other_questions() {
    let place = Place::new();
    let train = format!("{EVAL} --train-data t.jsonl");
    let eval = format!("{train} --controls --control-depth 3,1.5 --outcomes o.jsonl");
    let report = place.report(&eval);
    let chosen = &report["training"];
    let program = chosen["program"].as_str().unwrap();
    let as_argument = program.replace(' ', ",");
    assert_eq!(chosen["questions"], QUESTIONS);
    let of_training = right(&place, "t.jsonl", &[&as_argument, "0-3"]);
    assert_eq!(
        (&chosen["correct"], &chosen["base"]),
        (&of_training[0].into(), &of_training[1].into())
    );
    let singles = [
        "1-3",
        "0,2-3",
        "0-1,3",
        "0-2",
        "0x2,1-3",
        "0,1x2,2-3",
        "0-1,2x2,3",
        "0-2,3x2",
    ];
    let of_singles = right(&place, "t.jsonl", &singles);
    assert!(
        of_singles.iter().all(|&n| n <= of_training[0]),
        "{of_singles:?} {chosen}"
    );
    let rows = report["rows"].as_array().unwrap();
    let row = |name: &str| {
        rows.iter()
            .find(|r| r["method"] == name)
            .unwrap_or_else(|| panic!("{name}: {report}"))
    };
    let expected = right(&place, "q.jsonl", &[&as_argument])[0];
    assert_eq!(row(&format!("static {program}"))["correct"], expected);

    // One layer less is the one that is missed least; of equals the lowest.
    let best = (0..4)
        .max_by_key(|&layer| (of_singles[layer], std::cmp::Reverse(layer)))
        .unwrap();
    let expected = right(&place, "q.jsonl", &singles[best..=best])[0];
    assert_eq!(row("static removal at 3.00")["correct"], expected);
    let half = row("static removal at 1.50")["mean_depth"].as_f64().unwrap();
    assert!((1.0..=2.0).contains(&half));

    // Of the blocks that may run twice the best on training questions.
    let blocks = [
        "0x2,1-3",
        "0,1x2,2-3",
        "0-1,2x2,3",
        "0-2,3x2",
        "(0-1)x2,2-3",
        "0,(1-2)x2,3",
        "0-1,(2-3)x2",
        "(0-2)x2,3",
        "0,(1-3)x2",
        "(0-3)x2",
    ];
    let of_blocks = right(&place, "t.jsonl", &blocks);
    let best = (0..blocks.len())
        .max_by_key(|&block| (of_blocks[block], std::cmp::Reverse(block)))
        .unwrap();
    let expected = right(&place, "q.jsonl", &blocks[best..=best])[0];
    let name = format!("best loop block {}", blocks[best].replace(',', " "));
    assert_eq!(row(&name)["correct"], expected);
    let damped = |row: &&Value| {
        let name = row["method"].as_str().unwrap();
        name.starts_with("best damped loop ") && name.contains("~0.5")
    };
    assert_eq!(rows.iter().filter(damped).count(), 1, "{report}");

    // Killed while training and after.
    let whole = place.read("o.jsonl");
    let lines: Vec<Value> = whole.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let training = lines.iter().filter(|l| l["type"] == "training").count();
    assert!(
        training >= 3 * QUESTIONS && training % QUESTIONS == 0,
        "whole rounds: {training}"
    );
    for tenths in [1, 3, 5, 9] {
        std::fs::write(place.path("o.jsonl"), &whole[..whole.len() * tenths / 10]).unwrap();
        assert_eq!(
            place.report(&format!("{eval} --resume --threads 1")),
            report,
            "{tenths}"
        );
    }
    place.refused(
        1,
        &format!("{eval} --train-limit 5 --resume"),
        "training[0].questions = 24, this evaluation has 5",
    );

    let text = place.ok(&format!("{train} --train-limit 6"));
    assert!(text.contains("on 6 training questions"), "{text}");
    // Without --controls, removal stands at the routers' depths.
    assert_eq!(
        text.matches("static removal at").count() > 0,
        text.contains("  3."),
        "{text}"
    );
}

#[test]
fn a_static_program_is_not_chosen_on_the_questions_it_is_measured_on() {
    let place = Place::new();
    std::fs::copy(place.path("q.jsonl"), place.path("copy.jsonl")).unwrap();
    place.refused(
        1,
        &format!("{EVAL} --train-data copy.jsonl"),
        "copy.jsonl was made of a file that is among --data",
    );
    let (q, t) = (place.read("q.jsonl"), place.read("t.jsonl"));
    let some: Vec<&str> = q.lines().take(2).collect();
    std::fs::write(place.path("some.jsonl"), some.join("\n")).unwrap();
    place.refused(
        1,
        &format!("{EVAL} --train-data some.jsonl"),
        "all its questions are among --data too",
    );
    let renamed = some.join("\n").replace("\"id\": \"q", "\"id\": \"other");
    std::fs::write(place.path("both.jsonl"), format!("{t}\n{renamed}")).unwrap();
    let (code, out, err) = place.run(&format!("{EVAL} --train-data both.jsonl"));
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("both.jsonl: 2 questions left out that are among --data too"),
        "{err}"
    );
    assert!(out.contains(&format!("on {QUESTIONS} training questions")), "{out}");
    place.refused(
        2,
        &format!("{EVAL} --train-data t.jsonl --train-limit 0"),
        "--train-limit is 0",
    );

    // The same from records.
    std::fs::write(place.path("p.txt"), "0 2-3\n0-2\n0-2 3x2\n").unwrap();
    let search = "search --model model --device cpu --programs p.txt";
    place.ok(&format!("{search} --data t.jsonl --out t-r.jsonl"));
    let report = place.report(&format!("{EVAL} --static-records t-r.jsonl"));
    let best = place.ok("search best t-r.jsonl --top 1");
    let program = report["training"]["program"].as_str().unwrap();
    assert!(best.trim_end().ends_with(&format!("  {program}")), "{best} {program}");
    assert_eq!(report["training"]["tried"], 4, "the standard program and three others");
    let last = report["rows"].as_array().unwrap().last().unwrap();
    assert_eq!(last["method"], format!("static {program}"));
    place.refused(1, &format!("{EVAL} --static-records s.jsonl"), "search --programs FILE");
    place.ok(&format!("{search} --data q.jsonl --out q-r.jsonl"));
    place.refused(
        1,
        &format!("{EVAL} --static-records q-r.jsonl"),
        "q-r.jsonl was made of a file that is among --data",
    );
    std::fs::create_dir(place.path("other")).unwrap();
    tiny_model::write(&place.path("other"), 8);
    let other = "search --model other --device cpu --programs p.txt --data t.jsonl --out o-r.jsonl";
    place.ok(other);
    place.refused(
        1,
        &format!("{EVAL} --static-records o-r.jsonl"),
        "o-r.jsonl holds records of other",
    );
    place.refused(
        2,
        &format!("{EVAL} --static-records t-r.jsonl --train-data t.jsonl"),
        "cannot be used with",
    );
}

#[test]
#[cfg(unix)]
fn a_disk_that_fills_leaves_whole_lines_to_go_on_from() {
    let place = Place::new();
    let commands = [
        (
            "search --model model --device cpu --data t.jsonl --simulations 8 --out full.jsonl",
            "records",
        ),
        (
            "eval --model model --device cpu --data t.jsonl --routers none --program 0-2 --outcomes full.jsonl",
            "outcomes",
        ),
    ];
    for (args, contents) in commands {
        place.ok(args);
        let whole = place.read("full.jsonl");
        std::fs::remove_file(place.path("full.jsonl")).unwrap();
        // A limit on the size of files is met as a full disk is: a part of a line, then an error. Without
        // the trap the system would end the program.
        let limited = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", whole.len() / 2 / 512);
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(limited)
            .arg(assert_cmd::cargo::cargo_bin("drllm-tui"))
            .args(args.split(' '))
            .current_dir(place.folder())
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{err}");
        let expected = format!("cannot write to full.jsonl; the {contents} before are on the disk. Make room");
        assert!(
            err.contains(&expected) && err.contains("continue with --resume"),
            "{err}"
        );
        let left = place.read("full.jsonl");
        assert!(
            left.ends_with('\n') && left.lines().count() > 2 && left.len() <= whole.len() / 2,
            "{left}"
        );
        assert!(contents == "outcomes" || whole.starts_with(&left));
        place.ok(&format!("{args} --resume"));
        let resumed = place.read("full.jsonl");
        assert!(resumed.starts_with(&left));
        match contents {
            "records" => assert_eq!(resumed, whole),
            // Seconds differ.
            _ => assert_eq!(resumed.lines().count(), whole.lines().count()),
        }
        std::fs::remove_file(place.path("full.jsonl")).unwrap();
    }
}

#[test]
fn bad_questions_are_named_and_leave_nothing_behind() {
    let place = Place::new();
    std::fs::write(place.path("empty.jsonl"), "\n\n").unwrap();
    let good = r#"{"question": "Q", "choices": ["a", "b"], "answer": 1}"#;
    std::fs::write(
        place.path("range.jsonl"),
        format!("{good}\n{}", good.replace("1}", "2}").replace('Q', "R")),
    )
    .unwrap();
    for (data, expected) in [
        ("empty.jsonl", "empty.jsonl: the file holds no question"),
        (
            "range.jsonl",
            "range.jsonl: line 2: the answer is 2; expected an index from 0 below the 2 choices",
        ),
    ] {
        place.refused(1, &format!("{EVAL} {data} --outcomes x.jsonl"), expected);
        place.refused(1, &format!("{EVAL} --train-data {data} --outcomes x.jsonl"), expected);
        place.refused(
            1,
            &format!("search --model model --data {data} --out x.jsonl"),
            expected,
        );
        assert!(!place.path("x.jsonl").exists());
    }
}

/// What lm-evaluation-harness's table maker reads, and every question beside it.
#[test]
fn results_are_written_as_a_harness_writes_them() {
    let place = ModelFolder::new();
    let lines: Vec<String> = (0..6)
        .map(|i| {
            format!(
                r#"{{"id": "q{i}", "question": "Q{i}?", "choices": ["a{i}", "b"], "answer": {}}}"#,
                i % 2
            )
        })
        .collect();
    place.write("q.jsonl", &lines.join("\n"));
    let args = "eval --model model --device cpu --routers none --data q.jsonl";
    let listed = place.ok(&format!(
        "{args} --program 0,2-3 --format lm-eval --out runs --outcomes o.jsonl"
    ));
    let files: Vec<&str> = listed.lines().collect();
    assert_eq!(files.len(), 4, "{listed}");
    let outcomes = std::fs::read_to_string(place.path("o.jsonl")).unwrap();
    let outcomes: Vec<Value> = outcomes
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (at, method) in ["base", "program_0_2-3"].into_iter().enumerate() {
        let (results, samples) = (files[2 * at], files[2 * at + 1]);
        let folder = format!("runs/model_{method}/");
        assert!(
            results.starts_with(&format!("{folder}results_")) && results.ends_with(".json"),
            "{results}"
        );
        assert!(
            samples.starts_with(&format!("{folder}samples_q_")) && samples.ends_with(".jsonl"),
            "{samples}"
        );
        let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
        let results: Value = serde_json::from_str(&read(results)).unwrap();
        let samples: Vec<Value> = read(samples)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let right: Vec<f64> = samples.iter().map(|sample| sample["acc"].as_f64().unwrap()).collect();
        let task = &results["results"]["q"];
        let mean = right.iter().sum::<f64>() / 6.0;
        assert_eq!(task["acc,none"].as_f64().unwrap(), mean);
        let deviation = right.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / 5.0;
        assert!((task["acc_stderr,none"].as_f64().unwrap() - (deviation / 6.0).sqrt()).abs() < 1e-12);
        assert_eq!(
            (&task["alias"], task["depth,none"].as_f64().unwrap()),
            (&"q".into(), [4.0, 3.0][at])
        );
        assert_eq!(
            (&results["versions"]["q"], &results["n-shot"]["q"]),
            (&1.0.into(), &0.into())
        );
        assert_eq!(results["higher_is_better"]["q"]["acc"], true);
        assert_eq!(results["n-samples"]["q"]["effective"], 6);
        for (index, sample) in samples.iter().enumerate() {
            let outcome = &outcomes[index]["outcomes"][at];
            assert_eq!(sample["acc"] == 1.0, outcome["correct"] == true, "{sample}");
            assert_eq!(
                (&sample["doc_id"], &sample["target"]),
                (&index.into(), &(index % 2).to_string().into())
            );
            assert_eq!(
                sample["arguments"]["gen_args_1"]["arg_0"],
                format!("Question: Q{index}?\nAnswer:")
            );
            assert_eq!(sample["arguments"]["gen_args_1"]["arg_1"], " b");
            assert_eq!(sample["doc_hash"].as_str().unwrap().len(), 64);
        }
    }
    place.refused(
        2,
        &format!("{args} --format lm-eval"),
        "name their folder with --out DIR",
    );
    place.refused(
        2,
        &format!("{args} --format lm-eval --out q.jsonl"),
        "--out q.jsonl is no folder",
    );
    place.refused(
        2,
        &format!("{args} --out runs"),
        "--out is the folder of --format lm-eval",
    );
    place.refused(
        2,
        "eval --model model --text --routers none --format lm-eval",
        "not for --text",
    );
    // Files of one name are two tasks.
    std::fs::create_dir(place.path("other")).unwrap();
    place.write("other/q.jsonl", &lines[..2].join("\n"));
    let args = "eval --model model --device cpu --routers none --data other/q.jsonl q.jsonl q.jsonl";
    let report: Value = serde_json::from_str(&place.ok(&format!("{args} --format json"))).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let tasks: Vec<(&str, u64)> = rows
        .iter()
        .map(|r| (r["task"].as_str().unwrap(), r["questions"].as_u64().unwrap()))
        .collect();
    assert_eq!(tasks, [("other-q", 2), ("q", 6), ("q-2", 6)]);
}

#[test]
fn problems_are_made_and_asked() {
    let place = ModelFolder::new();
    place.ok("problems calc --difficulty 1 --count 30 --out calc.jsonl");
    let report = place.ok("eval --model loopmoe --device cpu --data calc.jsonl --format json");
    let report: Value = serde_json::from_str(&report).unwrap();
    let right = report["rows"][0]["correct"].as_u64().unwrap();
    assert!(right >= 28, "the built-in model solves 99.5 % of these: {right} of 30");

    place.ok("problems chain --difficulty 2-3 --count 12 --out chain-{difficulty}.jsonl");
    let asked = place.ok("eval --model model --device cpu --data chain-2.jsonl chain-3.jsonl --format json");
    let asked: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(asked["rows"][0]["questions"], 12);
    assert!(asked.to_string().contains("chain-3"), "{asked}");

    for (code, args, expected) in [
        (2, "chain --out c.jsonl", "the same for every difficulty"),
        (2, "chain --difficulty 0 --out c.jsonl", "from 1 to 20"),
        (2, "calc --difficulty 3-13 --out c-{difficulty}.jsonl", "from 1 to 12"),
        (2, "calc --difficulty 3-2 --out c-{difficulty}.jsonl", "a range like"),
        (2, "where --difficulty 1 --count 0 --out c.jsonl", "expected 1 to"),
        (1, "calc --difficulty 1 --out calc.jsonl", "--force"),
        // One of them is there: none is written.
        (
            1,
            "chain --difficulty 1-3 --out chain-{difficulty}.jsonl",
            "chain-2.jsonl exists already",
        ),
        (
            1,
            "chain --difficulty 1 --out nowhere/c.jsonl",
            "nothing was changed there",
        ),
    ] {
        place.refused(code, &format!("problems {args}"), expected);
    }
    assert!(!place.path("chain-1.jsonl").exists());
}
