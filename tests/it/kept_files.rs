//! What a command may replace, and what config.toml says to commands that measure.

use crate::common::ModelFolder;

const SEARCH: &str = "search --data q.jsonl --simulations 2 --model model --device cpu";
const EVAL: &str = "eval --data q.jsonl --routers none --model model --device cpu";

fn place() -> ModelFolder {
    let place = ModelFolder::new();
    let question =
        |i: usize| format!(r#"{{"id": "q{i}", "question": "What is {i}?", "choices": ["x", "{i}"], "answer": 1}}"#);
    let lines: Vec<String> = (0..30).map(question).collect();
    place.write("q.jsonl", &lines.join("\n"));
    place
}

fn read(place: &ModelFolder, name: &str) -> String {
    std::fs::read_to_string(place.path(name)).unwrap()
}

#[test]
fn pictures_replace_their_own_kind_alone() {
    let place = place();
    place.ok(&format!("{SEARCH} --out r.jsonl"));
    for (command, fresh) in [
        (format!("{EVAL} --curve p.svg"), ""),
        (
            format!("{EVAL} --program 0-2 --curve p.svg --outcomes o.jsonl"),
            "o.jsonl",
        ),
        (
            "search map --longest 1 --data q.jsonl --model model --device cpu --out m.jsonl --svg p.svg".into(),
            "m.jsonl",
        ),
        (
            "search luck r.jsonl --model model --device cpu --out l.jsonl --svg p.svg".into(),
            "l.jsonl",
        ),
    ] {
        let again = || {
            if !fresh.is_empty() {
                let _ = std::fs::remove_file(place.path(fresh));
            }
        };
        for precious in ["precious", "<svg>Loop map of accuracy over depth</svg>"] {
            place.write("p.svg", precious);
            place.refused(1, &command, "p.svg was not drawn by --");
            assert_eq!(read(&place, "p.svg"), precious);
        }
        again();
        place.ok(&format!("{command} --force"));
        let drawn = read(&place, "p.svg");
        assert!(drawn.starts_with("<svg xmlns"), "{drawn}");
        again();
        place.ok(&command);
        let model = command.replace("p.svg", "model/model.safetensors") + " --force";
        place.refused(2, &model, "named twice");
    }
    // That of another option is not its own.
    place.write("p.svg", &read(&place, "p.svg"));
    place.refused(1, &format!("{EVAL} --curve p.svg"), "not drawn by --curve");
    place.refused(2, &format!("{EVAL} --force"), "neither is given");
    place.refused(
        2,
        &format!("{EVAL} --outcomes o.jsonl --resume --force"),
        "leave one of the two out",
    );
}

#[test]
fn exports_of_a_search_replace_their_own_kind_alone() {
    let place = place();
    let resumed = format!("{SEARCH} --out r.jsonl --resume");
    for layout in ["polar", "drllm"] {
        for precious in [
            "precious",
            r#"{"samples": []}"#,
            r#"{"questions": [], "best_path": []}"#,
        ] {
            place.write("e.json", precious);
            place.refused(
                1,
                &format!("{resumed} --export {layout}=e.json"),
                "was not written by --export",
            );
            assert_eq!(read(&place, "e.json"), precious);
        }
        std::fs::remove_file(place.path("e.json")).unwrap();
        place.ok(&format!("{resumed} --export {layout}=e.json"));
        let written = read(&place, "e.json");
        place.ok(&format!("{resumed} --export {layout}=e.json"));
        assert_eq!(read(&place, "e.json"), written);
    }
    let nowhere = format!("{SEARCH} --out n.jsonl --export polar=nowhere/e.json");
    place.refused(1, &nowhere, "a folder that is there");
    assert!(!place.path("n.jsonl").exists(), "before anything is searched");
    for out in ["q.jsonl", "./q.jsonl", "model/model.safetensors", "model/config.json"] {
        place.refused(2, &format!("{SEARCH} --force --out {out}"), "named twice");
    }
}

#[test]
fn an_input_is_no_output() {
    let place = place();
    place.ok(&format!("{SEARCH} --out r.jsonl"));
    place.ok("search export r.jsonl --format polar --out c.json");
    let trace = place.ok("run hi --json --max-tokens 2 --model model --device cpu --routers none");
    place.write("keep.jsonl", &trace);
    let import = "search import c.json --format polar --data q.jsonl --model model --force --out";
    for (input, command) in [
        ("keep.jsonl", "export keep.jsonl --format csv --force --out".to_owned()),
        (
            "r.jsonl",
            "search export r.jsonl --format polar --force --out".to_owned(),
        ),
        ("c.json", import.to_owned()),
        ("q.jsonl", import.to_owned()),
    ] {
        let before = read(&place, input);
        let link = place.path("link");
        let _ = std::fs::remove_file(&link);
        let mut names = vec![input.to_owned(), format!("./{input}"), format!("model/../{input}")];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(place.path(input), &link).unwrap();
            names.push("link".to_owned());
        }
        names.push(place.path(input).display().to_string());
        for name in names {
            place.refused(2, &format!("{command} {name}"), "named twice");
            assert_eq!(read(&place, input), before, "{command} {name}");
        }
    }
}

#[test]
fn commands_that_measure_take_what_is_configured() {
    let place = place();
    let config = "model = \"./model\"\ndevice = \"cpu\"\nexact = true\nthreads = 1\n";
    place.write("c.toml", config);
    let search = "search --config c.toml --data q.jsonl --simulations 2 --out";
    place.ok(&format!("{search} c.jsonl"));
    place.ok(&format!("{SEARCH} --exact --out e.jsonl"));
    assert_eq!(read(&place, "c.jsonl"), read(&place, "e.jsonl"));
    // Resumed records keep their arithmetic, and other questions are not added in another.
    place.ok(&format!("{SEARCH} --out usual.jsonl --limit 2"));
    place.refused(1, &format!("{search} usual.jsonl --resume"), "exact = false");
    let report = place.ok("eval --config c.toml --data q.jsonl --routers none --format json");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["exact"], true);
    place.ok("train --config c.toml --records c.jsonl --validation 0.5 --epochs 1 --out r.safetensors");
    // The arithmetic of luck is that of the records.
    place.ok("search luck --config c.toml usual.jsonl --out l.jsonl");
    let ids = place.ok("tokenize hi --model model");
    assert_eq!(place.ok("tokenize hi --config c.toml"), ids);
    let inspected = |named: &str| -> serde_json::Value {
        let summary: serde_json::Value =
            serde_json::from_str(&place.ok(&format!("models inspect --json {named}"))).unwrap();
        summary["sha256"].clone()
    };
    assert_eq!(inspected("--config c.toml"), inspected("model"));
    // What is left alone and would change numbers is said.
    place.write("bits.toml", &format!("{config}activations = 8\nseed = 3\n"));
    let (code, _, told) = place.run("eval --config bits.toml --data q.jsonl --routers none");
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("config.toml sets activations and seed, which this command leaves alone"),
        "{told}"
    );
    place.write("threads.toml", "threads = 100000\n");
    place.refused(
        2,
        "eval --config threads.toml --data q.jsonl",
        "threads is 100000: expected 1 to 1024",
    );
}

#[test]
fn trainings_take_turns_and_refuse_what_they_do_not_read() {
    let place = place();
    place.ok(&format!("{SEARCH} --out r.jsonl"));
    let train = "train --records r.jsonl --model model --device cpu --out v.safetensors";
    place.refused(
        2,
        &format!("{train} --verifier-spans 1-2"),
        "--data, not from --records",
    );
    place.refused(
        2,
        &format!("{train} --format json"),
        "--format is of the table of --ablate",
    );
    place.refused(2, &format!("{train} --spare 0.5"), "--data");
    let depth = "train --method depth --model model --out v.safetensors";
    place.refused(
        2,
        &format!("{depth} --verifier-spans 1-2"),
        "--verifier-spans has no effect with --method depth",
    );
    let held = drllm::files::claim(&place.path("v.safetensors")).unwrap().unwrap();
    place.refused(1, train, "v.safetensors is being written by another training");
    let lm = "train-lm --out v.safetensors --steps 1";
    place.refused(1, lm, "v.safetensors is being written by another training");
    drop(held);
    place.ok(&format!("{train} --validation 0.5 --epochs 1"));
    assert!(!place.path(".v.safetensors.lock").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_standard_output_is_named() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let place = place();
    for command in [
        "models list",
        "tokenize hi --model model",
        "config",
        "run hi --model model --max-tokens 1",
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = std::process::Command::new(assert_cmd::cargo::cargo_bin("drllm-tui"))
            .current_dir(place.folder())
            .args(command.split(' '))
            .stdout(full)
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}: {told}");
        assert!(
            told.contains("cannot write to standard output: No space left"),
            "{command}: {told}"
        );
    }
}
