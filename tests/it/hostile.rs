//! Files, folders and streams that mean harm, as `repro.sh` of a former search for faults had them: each
//! is an error in words, and the program goes on or ends in order.

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use drllm::testing::tiny_model;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with the tiny model, and nothing of the user's.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.path("model")).unwrap();
        tiny_model::write(&place.path("model"), 7);
        let questions: Vec<String> = (0..48)
            .map(|i| json!({"id": format!("q{i}"), "question": format!("What is {i}?"), "choices": ["x", "y"], "answer": i % 2}).to_string())
            .collect();
        std::fs::write(place.path("q.jsonl"), questions.join("\n") + "\n").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drllm-tui"));
        command
            .args(args.split_whitespace())
            .current_dir(self.0.path())
            .env("DRLLM_CACHE_DIR", self.path("cache"))
            .env("DRLLM_CONFIG_DIR", self.path("config"))
            .env("DRLLM_STATE_DIR", self.path("state"))
            .env("HF_ENDPOINT", "http://127.0.0.1:9")
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null());
        command
    }

    /// Exit code, standard output, standard error; it ends within a minute.
    fn run(&self, args: &str) -> (i32, String, String) {
        ended(self.command(args), Duration::from_secs(60))
    }

    /// Exits with 1 and says all of `words`, on lines that a terminal obeys nothing in.
    fn refused(&self, args: &str, words: &[&str]) {
        let (code, _, err) = self.run(args);
        assert_eq!(code, 1, "{args}: {err}");
        for word in words {
            assert!(err.contains(word), "{args}: no '{word}' in {err}");
        }
        assert!(!err.contains("panicked") && !err.contains('\u{1b}'), "{err}");
    }

    fn json(&self, file: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(file)).unwrap()).unwrap()
    }

    fn write(&self, file: &str, value: &Value) {
        std::fs::write(self.path(file), value.to_string()).unwrap();
    }

    /// Everything in the folder that has this in its name.
    fn left(&self, part: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.contains(part)).collect()
    }
}

fn ended(mut command: Command, most: Duration) -> (i32, String, String) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let Output { status, stdout, stderr } = wait(child, most);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn wait(mut child: Child, most: Duration) -> Output {
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).unwrap();
            }
            bytes
        })
    };
    let out = drain(child.stdout.take().map(|p| Box::new(p) as _));
    let err = drain(child.stderr.take().map(|p| Box::new(p) as _));
    let start = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > most => {
                child.kill().unwrap();
                panic!("it hangs: {}", String::from_utf8_lossy(&err.join().unwrap()));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    Output {
        status,
        stdout: out.join().unwrap(),
        stderr: err.join().unwrap(),
    }
}

const RUN: &str = "run hi --routers none --max-tokens 2 --model model";

#[test]
fn nothing_of_the_current_folder_runs() {
    let place = Place::new();
    for name in ["pip.py", "logging.py", "sitecustomize.py", "runpy.py"] {
        let code = format!("open({:?}, 'w').write('x')", place.path("RAN").display().to_string());
        std::fs::write(place.path(name), code).unwrap();
    }
    for name in ["pip3", "pip", "python", "python3", "kill"] {
        let script = format!("#!/bin/sh\necho x > '{}'\n", place.path("RAN").display());
        std::fs::write(place.path(name), script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(place.path(name), mode).unwrap();
    }
    let mut command = place.command("tokenize hi");
    let path = std::env::var("PATH").unwrap();
    // No index is reached, and a careless PATH has the current folder in it.
    command
        .env("PATH", format!(".::{path}"))
        .env("PIP_INDEX_URL", "http://127.0.0.1:9/simple");
    command
        .env("PYTHONPATH", place.0.path())
        .env("PIP_CONFIG_FILE", "/dev/null");
    let (code, _, err) = ended(command, Duration::from_secs(120));
    assert_eq!(code, 1, "{err}");
    assert!(!place.path("RAN").exists(), "{err}");
}

#[test]
fn chat_templates_have_limits() {
    let place = Place::new();
    let nested =
        "{% set ns = namespace(x=[]) %}{% for i in range(50000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}";
    let doubled = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}";
    let shared = "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}\
                  {% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}";
    let endless = "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}";
    let templates = [
        nested.to_owned(),
        doubled.to_owned(),
        shared.to_owned(),
        endless.to_owned(),
        "{{ '{:>4000000000}'.format(1) }}".to_owned(),
        format!("{{{{ {}1 }}}}", "not ".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(200_000)),
        format!("{{{{ a{} }}}}", ".a".repeat(200_000)),
        format!("{{{{ 1{} }}}}", "|int".repeat(100_000)),
        format!("{{{{ {}{} }}}}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{}{}", "{% if 1 %}".repeat(40_000), "{% endif %}".repeat(40_000)),
        "x".repeat(2 << 20),
    ];
    for template in &templates {
        std::fs::write(place.path("model/chat_template.jinja"), template).unwrap();
        let shown: String = template.chars().take(60).collect();
        let (code, _, err) = place.run(RUN);
        // Deep ones that fit into the stack may print nothing, which is no fault.
        assert!(code == 0 || code == 1, "{shown}: {code} {err}");
        assert!(
            !err.contains("panicked") && !err.contains("overflowed"),
            "{shown}: {err}"
        );
        if code == 1 {
            let named = err.contains("model") && (err.contains("--raw") || err.contains("context"));
            assert!(named, "{shown}: {err}");
        }
        let (code, _, err) = place.run(&format!("{RUN} --raw"));
        assert_eq!(code, 0, "--raw needs no template: {shown}: {err}");
    }
    let plain = "{% for m in messages %}{{ m.role ~ ': ' ~ m.content }}{% endfor %}";
    std::fs::write(place.path("model/chat_template.jinja"), plain).unwrap();
    assert_eq!(place.run(RUN).0, 0);
}

#[test]
fn tokenizer_files_have_limits() {
    let place = Place::new();
    let sound = place.json("model/tokenizer.json");
    let with = |part: &str, value: Value| {
        let mut changed = sound.clone();
        changed[part] = value;
        changed
    };
    let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    let h = replace(json!({"String": "h"}), &"h".repeat(300));
    let regex = |pattern: &str| {
        let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, sound["pre_tokenizer"]]})
    };
    let charsmap = |table: &str| {
        with(
            "normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": table}),
        )
    };
    let long = "a".repeat(3000);
    let refused = [
        (charsmap(""), "hello"),
        (charsmap("AAAAAA=="), "hello"),
        (charsmap("/////////////////////w=="), "hello"),
        (charsmap("BAAAAAAAAAA="), "hello"),
        (with("normalizer", replace(json!({"String": ""}), "xxx")), "hello"),
        (with("normalizer", replace(json!({"Regex": "(?=h)"}), "xxx")), "hello"),
        (
            with("normalizer", json!({"type": "Sequence", "normalizers": [h, h, h, h]})),
            "hello",
        ),
        (with("pre_tokenizer", regex("(?:(?=(a|aa)+$)a)*b")), long.as_str()),
        (
            with(
                "model",
                json!({"type": "BPE", "continuing_subword_prefix": "éé", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}),
            ),
            "hello",
        ),
        (
            with(
                "post_processor",
                json!({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B", "type_id": 0}}], "pair": [], "special_tokens": {}}),
            ),
            "hello",
        ),
    ];
    for (tokenizer, text) in &refused {
        place.write("model/tokenizer.json", tokenizer);
        let start = Instant::now();
        let (code, out, err) = place.run(&format!("tokenize {text} --model model"));
        let shown: String = tokenizer["normalizer"].to_string().chars().take(80).collect();
        assert!(code == 0 || code == 1, "{shown}: {code} {err}");
        assert!(!err.contains("panicked at"), "{shown}: {err}");
        assert!(
            code == 0 && !out.is_empty() || err.contains("tokenizer.json"),
            "{shown}: {err}"
        );
        assert!(start.elapsed() < Duration::from_secs(40), "{shown}");
    }
    // A table of SentencePiece's without a trie is nothing to index.
    place.write("model/tokenizer.json", &refused[0].0);
    place.refused(
        "tokenize hello --model model",
        &["tokenizer.json", "precompiled_charsmap"],
    );
}

#[test]
fn damaged_side_files_are_not_ignored() {
    let place = Place::new();
    for name in ["tokenizer_config.json", "generation_config.json"] {
        std::fs::write(place.path("model").join(name), "{\"chat_template\": ").unwrap();
        place.refused(RUN, &[name, "damaged"]);
        std::fs::remove_file(place.path("model").join(name)).unwrap();
    }
}

#[test]
fn what_is_no_number_reaches_no_trace() {
    let place = Place::new();
    // Router checkpoints.
    let (r, d) = (4usize, tiny_model::HIDDEN);
    let mut tensors = std::collections::HashMap::new();
    for layer in 0..tiny_model::LAYERS {
        let shapes: [(&str, &[usize]); 4] = [
            ("linear1.weight", &[r, d]),
            ("linear1.bias", &[r]),
            ("linear2.weight", &[3, r]),
            ("linear2.bias", &[3]),
        ];
        for (part, shape) in shapes {
            let value = if layer == 2 && part == "linear1.bias" {
                f32::NAN
            } else {
                0.1
            };
            let tensor = candle_core::Tensor::full(value, shape, &candle_core::Device::Cpu).unwrap();
            tensors.insert(format!("model.routers.{layer}.{part}"), tensor);
        }
    }
    candle_core::safetensors::save(&tensors, place.path("nan.safetensors")).unwrap();
    let run = "run hi --max-tokens 2 --json --model model --routers nan.safetensors";
    place.refused(run, &["nan.safetensors", "model.routers.2.linear1.bias", "NaN"]);
    // Weights.
    for value in [f32::NAN, f32::INFINITY] {
        let path = place.path("model/model.safetensors");
        let mut weights = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
        let norm = candle_core::Tensor::full(value, (d,), &candle_core::Device::Cpu).unwrap();
        weights.insert("model.norm.weight".to_owned(), norm);
        candle_core::safetensors::save(&weights, &path).unwrap();
        let (code, out, err) = place.run("run hi --max-tokens 2 --json --model model --routers none");
        assert_eq!(code, 1, "{err}");
        assert!(
            out.is_empty() && err.contains("not finite") && err.contains("model"),
            "{out}{err}"
        );
        tiny_model::write(&place.path("model"), 7);
    }
    // A temperature that makes quotients of no number.
    let (code, _, err) = place.run(&format!("{RUN} --temperature 1e-39"));
    assert!(code == 2 && err.contains("temperature"), "{err}");
}

#[test]
fn resuming_touches_its_own_kind_of_file_alone() {
    let place = Place::new();
    let search = "search --data q.jsonl --model model --simulations 1 --resume --out p";
    let eval = "eval --data q.jsonl --model model --routers none --resume --outcomes p";
    let train = "train --records search.jsonl --model model --epochs 1 --resume --out r.safetensors";
    assert_eq!(
        place
            .run("search --data q.jsonl --model model --simulations 1 --out search.jsonl")
            .0,
        0
    );
    for precious in [&b"{\"precious\": true}"[..], b"precious\nlines\n", &[0; 100_000]] {
        for command in [
            search,
            eval,
            &format!("{train} --metrics p"),
            &format!("{train} --curves p"),
        ] {
            std::fs::write(place.path("p"), precious).unwrap();
            let (code, _, err) = place.run(command);
            assert_eq!(code, 1, "{command}: {err}");
            assert!(err.contains('p') && !err.contains("panicked"), "{err}");
            assert_eq!(std::fs::read(place.path("p")).unwrap(), precious, "{command}");
        }
    }
    for name in ["r.safetensors", "r.safetensors.state"] {
        std::fs::write(place.path(name), "precious").unwrap();
        place.refused(train, &[name]);
        place.refused(&train.replace("--resume", ""), &[name]);
        assert_eq!(std::fs::read(place.path(name)).unwrap(), b"precious");
        std::fs::remove_file(place.path(name)).unwrap();
    }
}

#[test]
fn what_is_replaced_is_the_link_and_not_what_it_points_to() {
    let place = Place::new();
    std::fs::write(place.path("target"), "precious").unwrap();
    assert_eq!(
        place
            .run("search --data q.jsonl --model model --simulations 1 --out records")
            .0,
        0
    );
    std::fs::write(
        place.path("trace"),
        place.run("run hi --max-tokens 2 --json --model model --routers none").1,
    )
    .unwrap();
    for shard in ["a --shard 1/2", "b --shard 0/2"] {
        let search = format!("search --data q.jsonl --model model --simulations 1 --out {shard}");
        assert_eq!(place.run(&search).0, 0);
    }
    for command in [
        "search --data q.jsonl --model model --simulations 1 --force --out link",
        "eval --data q.jsonl --model model --routers none --force --outcomes link",
        "search merge a b --force --out link",
        "train --records records --model model --epochs 1 --force --out link",
        "train --records records --model model --epochs 1 --force --out r --metrics link",
        "train --records records --model model --epochs 1 --force --out r --curves link",
        "export trace --format csv --force --out link",
    ] {
        let _ = std::fs::remove_file(place.path("link"));
        symlink(place.path("target"), place.path("link")).unwrap();
        let (code, _, err) = place.run(command);
        assert_eq!(code, 0, "{command}: {err}");
        assert_eq!(std::fs::read(place.path("target")).unwrap(), b"precious", "{command}");
        assert!(!place.path("link").is_symlink(), "{command}");
        // What is no file is not replaced at all, and a link that leads nowhere is something that is there.
        let (code, _, err) = place.run(&command.replace("link", "/dev/null"));
        assert!(code != 0 && err.contains("/dev/null"), "{command}: {err}");
        std::fs::remove_file(place.path("link")).unwrap();
        symlink("nowhere", place.path("link")).unwrap();
        let _ = std::fs::remove_file(place.path("r"));
        let (code, _, err) = place.run(&command.replace(" --force", ""));
        assert!(
            code == 1 && err.contains("link") && !place.path("nowhere").exists(),
            "{command}: {err}"
        );
    }
}

#[test]
fn a_finished_training_succeeds_again_and_leftovers_go() {
    let place = Place::new();
    assert_eq!(
        place
            .run("search --data q.jsonl --model model --simulations 1 --out s.jsonl")
            .0,
        0
    );
    let train = "train --records s.jsonl --model model --epochs 2 --out r.safetensors --resume --metrics m.jsonl";
    std::fs::write(place.path(".r.safetensors.state.abC123.part"), "half").unwrap();
    let (code, _, err) = place.run(train);
    assert_eq!(code, 0, "{err}");
    let routers = std::fs::read(place.path("r.safetensors")).unwrap();
    let (code, _, err) = place.run(train);
    assert!(code == 0 && err.contains("already"), "{err}");
    assert_eq!(std::fs::read(place.path("r.safetensors")).unwrap(), routers);
    place.refused(
        &format!("{train} --epochs 3").replace("--epochs 2 ", ""),
        &["another training"],
    );
    assert_eq!(place.left(".part"), [""; 0]);
    assert_eq!(place.left(".state"), [""; 0]);
    // A training that is refused leaves nothing.
    place.refused(
        "train --records q.jsonl --model model --out x.safetensors --metrics x.jsonl",
        &["q.jsonl"],
    );
    assert_eq!(place.left("x."), [""; 0]);
}

#[test]
fn a_state_with_a_flipped_bit_is_no_state() {
    let place = Place::new();
    assert_eq!(
        place
            .run("search --data q.jsonl --model model --simulations 1 --out s.jsonl")
            .0,
        0
    );
    let state = place.path("r.state");
    let train = "train --records s.jsonl --model model --epochs 20000 --out r --resume";
    let mut child = place.command(train).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !state.exists() {
        assert!(start.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let sound = std::fs::read(&state).unwrap();
    let header = 8 + u64::from_le_bytes(sound[..8].try_into().unwrap()) as usize;
    for at in [
        header,
        header + 5,
        sound.len() - 1,
        (header + sound.len()) / 2,
        header / 2,
        40,
    ] {
        let mut flipped = sound.clone();
        flipped[at] ^= 1;
        std::fs::write(&state, &flipped).unwrap();
        let (code, _, err) = place.run(train);
        assert!(
            code == 1 && err.contains("r.state") && !err.contains("panicked"),
            "{at}: {err}"
        );
        assert_eq!(std::fs::read(&state).unwrap(), flipped);
    }
}

/// Runs with one stream whose reader is gone.
fn without_reader(place: &Place, args: &str, stdout: bool) -> i32 {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command(args);
    if stdout {
        command.stdout(writer).stderr(Stdio::piped());
    } else {
        command.stderr(writer).stdout(Stdio::piped());
    }
    let child = command.spawn().unwrap();
    drop(command);
    let ended = wait(child, Duration::from_secs(60));
    let err = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!err.contains("panicked"), "{args}: {err}");
    ended.status.code().unwrap_or(-1)
}

#[test]
fn streams_without_a_reader_end_nothing() {
    let place = Place::new();
    let trace = place.run("run hi --max-tokens 2 --json --model model --routers none").1;
    std::fs::write(place.path("t"), trace).unwrap();
    for args in [
        "lesson",
        "lesson --check l.toml",
        "completions bash",
        "man",
        "config",
        "config --keymap",
        "--help",
        "run --help",
        "--version",
        "models list",
        "models inspect model",
        "tokenize hi --model model",
        "stats t",
        "export t --format csv",
        RUN,
        "diff t t",
    ] {
        let code = without_reader(&place, args, true);
        let expected = if args.contains("l.toml") { 2 } else { 0 };
        assert_eq!(code, expected, "{args}");
    }
    for (args, expected) in [
        ("run hi --model /nonexistent.gguf", 1),
        ("run --nonsense", 2),
        ("models inspect model", 0),
        ("search --data q.jsonl --model model --simulations 1 --out s", 0),
        (
            "search --data q.jsonl --model model --simulations 1 --shard 1/2 --out a",
            0,
        ),
        (
            "search --data q.jsonl --model model --simulations 1 --shard 0/2 --out b",
            0,
        ),
        ("search merge a b --out merged", 0),
        ("train --records s --model model --epochs 1 --out r", 0),
        ("train --records s --model model --epochs 1 --ablate", 0),
        ("eval --data q.jsonl --model model --routers none", 0),
        (RUN, 0),
    ] {
        assert_eq!(without_reader(&place, args, false), expected, "{args}");
    }
    // A full device is a failure, and said.
    for args in ["lesson", "completions bash", "config"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = place.command(args);
        let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let ended = wait(child, Duration::from_secs(20));
        assert_eq!(ended.status.code(), Some(1), "{args}");
    }
}

#[test]
fn pipes_devices_and_endless_files_are_refused_at_once() {
    let place = Place::new();
    let made = Command::new("mkfifo").arg(place.path("fifo")).status().unwrap();
    assert!(made.success());
    std::fs::File::create(place.path("sparse"))
        .unwrap()
        .set_len(3 << 30)
        .unwrap();
    std::fs::create_dir_all(place.path("config/lessons")).unwrap();
    std::fs::create_dir_all(place.path("config/themes")).unwrap();
    for file in ["fifo", "/dev/zero", "sparse"] {
        for command in [
            "stats FILE",
            "diff FILE FILE",
            "export FILE --format csv",
            "search --data FILE --model model --out o",
            "eval --data FILE --model model",
            "train --records FILE --model model --out o",
            "search merge FILE --out o",
            "search export --format drllm FILE --out o",
            "search best FILE",
            "search import --format drllm --data q.jsonl FILE --out o",
            "run hi --model model --routers FILE",
            "run hi --model model --overrides FILE",
            "run hi --model FILE",
            "stats --prompts FILE --model model",
            "run hi --config FILE",
            "lesson --check FILE",
            "search --data q.jsonl --model model --simulations 1 --out FILE --resume",
            "eval --data q.jsonl --model model --routers none --outcomes FILE --resume",
            "run hi --model model --log FILE",
        ] {
            if command.contains("--log") && file == "sparse" {
                continue;
            }
            let start = Instant::now();
            let (code, _, err) = place.run(&command.replace("FILE", file));
            assert!(code == 1 || code == 2, "{command} {file}: {code} {err}");
            assert!(
                !err.contains("panicked") && !err.contains("memory allocation"),
                "{command} {file}: {err}"
            );
            assert!(start.elapsed() < Duration::from_secs(20), "{command} {file}");
        }
        for part in [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
        ] {
            let there = place.path("model").join(part);
            let before = std::fs::read(&there).ok();
            let _ = std::fs::remove_file(&there);
            symlink(place.path(file), &there).unwrap();
            let (code, _, err) = place.run(RUN);
            assert!(code == 1, "{part} {file}: {code} {err}");
            std::fs::remove_file(&there).unwrap();
            if let Some(before) = before {
                std::fs::write(&there, before).unwrap();
            }
        }
    }
    std::fs::rename(place.path("fifo"), place.path("config/lessons/x.toml")).unwrap();
    let (code, out, _) = place.run("lesson");
    assert!(
        code == 0 && out.contains("x") && out.contains("cannot be used"),
        "{out}"
    );
    symlink("/nowhere", place.path("config/themes/mut.toml")).unwrap();
    let (_, _, err) = place.run("config --theme mut");
    assert!(!err.contains("did you mean 'mut'"), "{err}");
}

#[test]
fn errors_obey_no_terminal_and_global_options_stand_anywhere() {
    let place = Place::new();
    let hostile = "x\u{1b}[31m\u{9b}2J\r\u{202e}\u{61c}\u{200b}\u{e0041}";
    for args in [
        vec!["run", "hi", "--device", hostile],
        vec!["run", "hi", "--model", hostile],
        vec![hostile],
        vec![
            "search",
            "--data",
            "q.jsonl",
            "--model",
            "model",
            "--simulations",
            "1",
            "--out",
            hostile,
        ],
        vec!["train", "s.jsonl", "--model", "model", "--out", hostile],
        vec!["lesson", hostile],
        vec!["run", "hi", "--scope", hostile],
    ] {
        let mut command = place.command("");
        command.args(&args);
        let (_, out, err) = ended(command, Duration::from_secs(60));
        for c in ['\u{1b}', '\u{9b}', '\r', '\u{202e}', '\u{61c}', '\u{200b}', '\u{e0041}'] {
            assert!(!err.contains(c) && !out.contains(c), "{args:?}: {err:?}");
        }
    }
    std::fs::write(place.path("c.toml"), "max_tokens = 3\n").unwrap();
    for args in [
        format!("--config c.toml {RUN}"),
        format!("{RUN} --config c.toml"),
        format!("--log log {RUN}"),
    ] {
        assert_eq!(place.run(&args).0, 0, "{args}");
    }
    for args in ["--theme dark run hi", "--model x models list", "--restore stats t"] {
        let (code, _, err) = place.run(args);
        assert!(code == 2 && err.contains("belongs behind"), "{args}: {err}");
    }
}

#[test]
fn a_model_that_shrinks_is_told() {
    let place = Place::new();
    let path = place.path("model/model.safetensors");
    // Large enough that it is still being read when it is cut.
    let mut child = place
        .command(RUN)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..200 {
        if let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) {
            let _ = file.set_len(0);
        }
        std::thread::sleep(Duration::from_millis(1));
        if child.try_wait().unwrap().is_some() {
            break;
        }
    }
    let ended = wait(child, Duration::from_secs(30));
    let err = String::from_utf8_lossy(&ended.stderr).into_owned();
    // Whenever it is cut: words, and never a panic.
    assert!(ended.status.success() || !err.is_empty(), "{err}");
    assert!(!err.contains("panicked"), "{err}");
}

/// Tests of this file write nowhere else.
#[test]
fn places_are_apart() {
    let place = Place::new();
    assert!(Path::new(&place.path("model")).starts_with(std::env::temp_dir()));
    let mut file = std::fs::File::create(place.path("x")).unwrap();
    file.write_all(b"x").unwrap();
}

/// With every limit on its memory, from hardly enough to start to enough for a run, the program ends with a word about it.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_is_refused_is_told() {
    let place = Place::new();
    let limited = |kib: usize, args: &str| {
        let mut command = place.command("");
        let limited = format!("ulimit -v {kib}; exec \"$0\" {args}");
        let program = env!("CARGO_BIN_EXE_drllm-tui");
        command = {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &limited, program])
                .current_dir(place.0.path())
                .stdin(Stdio::null());
            for (name, value) in command.get_envs() {
                shell.env(name, value.unwrap_or_default());
            }
            shell
        };
        ended(command, Duration::from_secs(60))
    };
    let step = 2048;
    let starts = (1..512)
        .map(|n| n * 8192)
        .find(|&kib| limited(kib, "--version").0 == 0)
        .unwrap();
    let mut refused = 0;
    for kib in (0..).map(|n| starts + n * step) {
        let (code, _, err) = limited(kib, "run --model model hi --max-tokens 2");
        if code == 0 {
            break;
        }
        refused += 1;
        assert!(
            err.to_lowercase().contains("memory") && !err.contains("panicked"),
            "{kib} KiB: {code}: {err}"
        );
    }
    assert!(refused > 0, "a limit of {starts} KiB is enough for a run");
}

#[test]
fn arguments_that_are_no_text_are_named() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let odd = std::ffi::OsStr::from_bytes(b"m\xff\x1b.gguf");
    for (before, named) in [
        ("run hi --model", "of '--model'"),
        ("--routers", "of '--routers'"),
        ("run", "is not UTF-8"),
    ] {
        let mut command = place.command(before);
        command.arg(odd);
        let (code, _, err) = ended(command, Duration::from_secs(60));
        assert!(
            code == 2 && err.contains("is not UTF-8") && err.contains(named),
            "{before}: {err}"
        );
        assert!(
            err.contains("another name") && !err.contains('\u{1b}'),
            "{before}: {err}"
        );
    }
}

#[test]
fn arguments_that_are_no_number_say_what_is_expected() {
    let place = Place::new();
    for (arguments, said) in [
        (
            "search --data q --out o --limit -1",
            "'-1' for '--limit <N>': expected a whole number from 0",
        ),
        (
            "search --data q --out o --simulations=1.5",
            "expected a whole number from 0",
        ),
        (
            "train --records r --out o --epochs many",
            "expected a whole number from 0",
        ),
        (
            "eval --data q --limit 99999999999999999999999",
            "expected a smaller number",
        ),
        ("run hi --budget -3", "expected a whole number"),
        (
            "eval --data q --dial=-0.4,low",
            "'low' for '--dial <DIALS>': expected a number",
        ),
    ] {
        let (code, _, err) = ended(place.command(arguments), Duration::from_secs(60));
        assert!(code == 2 && err.contains(said), "{arguments}: {err}");
        assert!(err.contains("--help") && !err.contains("digit"), "{arguments}: {err}");
    }
}
