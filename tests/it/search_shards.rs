//! A search in shards, merged, exported and imported, as a user runs it; on a tiny model.

use crate::common::ModelFolder;
use assert_cmd::Command;
use serde_json::Value;

const QUESTIONS: usize = 41;
const SEARCH: &str = "search --model model --device cpu --data q.jsonl --simulations 8";

/// A folder with a model and questions.
struct Place(ModelFolder);

impl Place {
    fn new() -> Self {
        let place = Place(ModelFolder::new());
        let question = |i: usize| {
            let choices = format!(r#"["x{}", "word", "{i}"]"#, (i * 5) % 11);
            format!(
                r#"{{"id": "q{i}", "question": "What is {i}?", "choices": {choices}, "answer": {}}}"#,
                i % 3
            ) + "\n"
        };
        let questions: String = (0..QUESTIONS).map(question).collect();
        std::fs::write(place.path("q.jsonl"), questions).unwrap();
        place
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// Runs the program under the variables `A=1 B=2`: exit code and standard error.
    fn run(&self, environment: &str, args: &str) -> (i32, String) {
        let mut command = Command::cargo_bin("drllm-tui").unwrap();
        // The tests may run in an array themselves.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SLURM_") || name.starts_with("JOB_")) {
            command.env_remove(name);
        }
        command.envs(environment.split(' ').filter_map(|pair| pair.split_once('=')));
        let output = command
            .current_dir(self.folder())
            .args(args.split(' '))
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn ok(&self, environment: &str, args: &str) -> String {
        let (code, err) = self.run(environment, args);
        assert_eq!(code, 0, "{args}: {err}");
        err
    }

    fn refused(&self, environment: &str, code: i32, args: &str, expected: &str) {
        let (found, err) = self.run(environment, args);
        assert_eq!(found, code, "{args}: {err}");
        assert!(err.contains(expected), "{args}: {err}");
    }
}

impl std::ops::Deref for Place {
    type Target = ModelFolder;

    fn deref(&self) -> &ModelFolder {
        &self.0
    }
}

fn slurm(id: usize, min: usize, max: usize) -> String {
    format!(
        "SLURM_ARRAY_TASK_ID={id} SLURM_ARRAY_TASK_MIN={min} SLURM_ARRAY_TASK_MAX={max} SLURM_ARRAY_TASK_COUNT={} \
         SLURM_ARRAY_TASK_STEP=1",
        max - min + 1
    )
}

#[test]
fn shards_merge_into_the_file_of_one_machine() {
    let place = Place::new();
    place.ok("", &format!("{SEARCH} --out whole.jsonl"));
    assert!(!place.read("whole.jsonl").contains("\"part\""));
    let sharded = format!("{SEARCH} --out part-{{shard}}.jsonl");
    let told = place.ok(&slurm(1, 1, 3), &sharded);
    assert!(told.starts_with("shard 0/3: task 1 of the Slurm array 1-3\n"), "{told}");
    let told = place.ok("JOB_COMPLETION_INDEX=1 JOB_COMPLETIONS=3", &sharded);
    assert!(
        told.starts_with("shard 1/3: completion 1 of 3 of the Kubernetes Job\n"),
        "{told}"
    );
    // What is given wins.
    place.ok(&slurm(5, 0, 7), &format!("{sharded} --shard 2/3"));
    assert!(
        place
            .read("part-2-of-3.jsonl")
            .contains(r#""part":{"shard":"2/3","questions":41}"#)
    );
    let merge = "search merge part-2-of-3.jsonl part-0-of-3.jsonl part-1-of-3.jsonl --out";
    place.ok("", &format!("{merge} merged.jsonl"));
    assert_eq!(place.read("merged.jsonl"), place.read("whole.jsonl"));
    place.refused("", 1, &format!("{merge} merged.jsonl"), "--force");
    place.refused(
        "",
        1,
        &format!("{merge} part-0-of-3.jsonl --force"),
        "--out is the shard",
    );

    // A kill in the middle of a line.
    let shard = place.read("part-0-of-3.jsonl");
    std::fs::write(place.path("part-0-of-3.jsonl"), &shard[..shard.len() - 30]).unwrap();
    place.refused(
        "",
        1,
        &format!("{merge} m.jsonl"),
        "part-0-of-3.jsonl lacks 1 of 14 records",
    );
    assert!(!place.path("m.jsonl").exists());
    place.ok(&slurm(0, 0, 2), &format!("{sharded} --resume"));
    assert_eq!(place.read("part-0-of-3.jsonl"), shard);

    place.ok("", &format!("{SEARCH} --seed 1 --shard 1/3 --out other.jsonl"));
    let mixed = "search merge part-0-of-3.jsonl other.jsonl part-2-of-3.jsonl --out m.jsonl";
    place.refused(
        "",
        1,
        mixed,
        "other.jsonl was made with seed = 1, part-0-of-3.jsonl with 42",
    );
}

#[test]
fn no_two_tasks_of_an_array_write_one_file() {
    let place = Place::new();
    let one_name = format!("{SEARCH} --out r.jsonl");
    place.refused(&slurm(1, 0, 2), 2, &one_name, "write {shard} into it");
    place.refused(
        "JOB_COMPLETION_INDEX=1 JOB_COMPLETIONS=3",
        2,
        &one_name,
        "write {shard} into it",
    );
    place.refused("JOB_COMPLETION_INDEX=1", 2, &one_name, "name: JOB_COMPLETIONS");
    place.refused(
        "SLURM_ARRAY_TASK_ID=2 SLURM_ARRAY_TASK_COUNT=3 SLURM_ARRAY_TASK_STEP=2",
        2,
        &one_name,
        "steps of 2",
    );
    assert!(!place.path("r.jsonl").exists());
    place.ok(&slurm(1, 0, 2), &format!("{one_name} --shard all"));
    assert_eq!(place.read("r.jsonl").lines().count(), 1 + QUESTIONS);
    place.refused("", 2, &format!("{one_name} --shard 3/3"), "the last of 3 is 2/3");
    place.refused("", 2, &format!("{one_name} --shard 0/0"), "at least 1");
    place.ok("", &format!("{SEARCH} --shard 0/1 --out single-{{shard}}.jsonl"));
    assert_eq!(place.read("single-0-of-1.jsonl"), place.read("r.jsonl"));
}

/// The limit on a file's size stands for the full disk: the write that would pass it ends in the
/// middle of a line, the next fails.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_whole_lines() {
    let place = Place::new();
    place.ok("", &format!("{SEARCH} --out whole.jsonl"));
    let whole = place.read("whole.jsonl");
    let blocks = whole.len() / 2 / 512;
    let program = assert_cmd::cargo::cargo_bin("drllm-tui");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" {SEARCH} --out r.jsonl");
    let output = Command::new("sh")
        .current_dir(place.folder())
        .args(["-c", &script])
        .arg(program)
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(
        err.contains("cannot write to r.jsonl") && err.contains("continue with --resume"),
        "{err}"
    );
    let kept = place.read("r.jsonl");
    assert!(kept.ends_with('\n') && whole.starts_with(&kept), "{kept}");
    // More than the header, and all that fits.
    let next = whole[kept.len()..].split_inclusive('\n').next().unwrap().len();
    assert!(kept.lines().count() > 1 && kept.len() + next > blocks * 512);
    place.ok("", &format!("{SEARCH} --out r.jsonl --resume"));
    assert_eq!(place.read("r.jsonl"), whole);
}

#[test]
fn records_go_into_other_layouts_and_come_back() {
    let place = Place::new();
    place.ok("", &format!("{SEARCH} --out r.jsonl"));
    for layout in ["polar", "drllm"] {
        place.ok(
            "",
            &format!("search export --format {layout} r.jsonl --out {layout}.json"),
        );
        let import = format!("search import --format {layout} {layout}.json --data q.jsonl --model model");
        place.ok("", &format!("{import} --out {layout}.jsonl"));
        place.refused("", 1, &format!("{import} --out {layout}.jsonl"), "--force");
        // The layouts hold the same right programs, and routers train on them.
        let right = |name: &str| -> Vec<(Value, Value, Vec<Value>)> {
            let lines = place.read(name);
            let records = lines.lines().skip(1).map(|l| serde_json::from_str::<Value>(l).unwrap());
            let solved = records.filter(|r| !r["best"].is_null());
            let programs = |r: &Value| {
                r["right"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|s| s["program"].clone())
                    .collect()
            };
            solved
                .map(|r| (r["id"].clone(), r["best"].clone(), programs(&r)))
                .collect()
        };
        assert!(!right("r.jsonl").is_empty());
        assert_eq!(right(&format!("{layout}.jsonl")), right("r.jsonl"));
        let out = format!("--records {layout}.jsonl --out {layout}.safetensors --epochs 1");
        place.ok("", &format!("train --model model --device cpu {out}"));
    }
    let mixed = "train --model model --device cpu --records r.jsonl polar.jsonl --out x.safetensors";
    place.refused("", 1, mixed, "polar.jsonl was made with imported = \"polar\"");
}

#[test]
fn damaged_lines_and_samples_are_named_or_skipped() {
    let place = Place::new();
    place.ok("", &format!("{SEARCH} --out r.jsonl"));
    let good = place.read("r.jsonl");
    let torn: Vec<&str> = good
        .lines()
        .enumerate()
        .map(|(i, line)| if i == 3 { &line[..50] } else { line })
        .collect();
    std::fs::write(place.path("torn.jsonl"), torn.join("\n") + "\n").unwrap();
    let export = "search export --format polar torn.jsonl --out polar.json";
    place.refused("", 1, export, "torn.jsonl, line 4 is no search record");
    assert!(!place.path("polar.json").exists());
    let told = place.ok("", &format!("{export} --skip-damaged"));
    assert!(
        told.contains("skipped: torn.jsonl, line 4") && told.contains("1 damaged line skipped"),
        "{told}"
    );
    let mut json = place.json("polar.json");
    assert_eq!(json["samples"].as_array().unwrap().len(), QUESTIONS - 1);

    json["samples"][1]["final_valid_transitions"] = "none".into();
    json["samples"][2]["final_valid_transitions"] = serde_json::json!([[0, 1, 0, 1]]);
    std::fs::write(place.path("polar.json"), json.to_string()).unwrap();
    let import = "search import --format polar polar.json --data q.jsonl --model model --out i.jsonl";
    place.refused("", 1, import, "1 of 40 samples cannot be used; --skip-damaged");
    place.refused("", 1, import, "sample 2: final_valid_transitions: expected a list");
    assert!(!place.path("i.jsonl").exists());
    let told = place.ok("", &format!("{import} --skip-damaged"));
    assert!(told.contains("1 damaged sample skipped"), "{told}");
    assert!(told.contains("programs left out: they are no action vectors"), "{told}");
    assert!(told.contains("39 records of 40 samples in i.jsonl"), "{told}");
    let other = "search import --format drllm polar.json --data q.jsonl --model model --out o.jsonl";
    place.refused("", 1, other, "is this dr-llm's layout?");
}

#[test]
fn one_command_writes_the_file_that_polar_trains_on() {
    let place = crate::common::ModelFolder::new();
    let question = |i: usize| {
        format!(
            r#"{{"id": "q{i}", "question": "What is {i}?", "choices": ["x", "word", "{i}"], "answer": {}}}"#,
            i % 3
        )
    };
    let lines: Vec<String> = (0..4).map(question).collect();
    place.write("q.jsonl", &lines.join("\n"));
    let search = "search --model model --device cpu --data q.jsonl --edits segments --simulations 6 --out r.jsonl";
    place.ok(&format!("{search} --export polar=p.json --export drllm=d.json"));
    let text = std::fs::read_to_string(place.path("p.json")).unwrap();
    place.ok("search export --format polar r.jsonl --out again.json");
    assert_eq!(text, std::fs::read_to_string(place.path("again.json")).unwrap());
    // The fields and types that the authors' loader reads.
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for sample in json["samples"].as_array().unwrap() {
        assert!(sample["question"].is_string() && sample["gt_ans"].is_string());
        assert!(sample["initial_score"].is_f64());
        let programs = |name: &str| sample[name].as_array().unwrap().clone();
        let all = [
            programs("final_valid_transitions"),
            programs("final_invalid_transitions"),
        ]
        .concat();
        assert_eq!(all.len(), 7, "six and the standard one");
        let layers = all.iter().flat_map(|program| program.as_array().unwrap());
        assert!(layers.clone().count() > 0 && layers.clone().all(|layer| layer.as_u64().is_some_and(|l| l < 4)));
    }
    // The layout is made of a search that is done, too.
    std::fs::remove_file(place.path("p.json")).unwrap();
    place.ok(&format!("{search} --resume --export polar=p.json"));
    assert_eq!(text, std::fs::read_to_string(place.path("p.json")).unwrap());

    let anew = search.replace("r.jsonl", "n.jsonl");
    for (code, args, expected) in [
        (2, "--export polar", "polar=FILE or drllm=FILE"),
        (2, "--export other=x.json", "polar=FILE or drllm=FILE"),
        (2, "--export polar=q.jsonl", "named twice"),
        (1, "--export polar=p.json", "exists already"),
        (2, "--export polar=x.json --shard 0/2", "search merge"),
    ] {
        place.refused(code, &format!("{anew} {args}"), expected);
    }
    assert!(!place.path("n.jsonl").exists(), "nothing was searched");
}
