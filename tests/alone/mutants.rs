//! Mutated files of every kind that the program reads: each is read, or refused in words that name the
//! file and that a terminal obeys nothing in; nothing panics, hangs or eats the memory.
//!
//! Seeded: the same mutants each time, as many as there is time for. `DRLLM_MUTANTS_SECONDS` (20) and
//! `DRLLM_MUTANTS_SEED` (1) change that; `DRLLM_MUTANTS_KIND` takes one kind alone. A mutant that fails is
//! kept under the temporary folder, and the message says where.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use candle_core::quantized::gguf_file::Value as Gguf;
use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use drllm::engine::{LoadRequest, Prompt, RouterChoice, generate, load_model, load_routers};
use drllm::eval::Task;
use drllm::guard;
use drllm::model::chat::{ChatRole, ChatTemplate, Message};
use drllm::router::RouterSet;
use drllm::search::records::{read_records, read_records_skipping};
use drllm::testing::tiny_model;
use drllm::trace::{Overrides, Settings, Trace};
use drllm::tui::color::ColorTier;
use drllm::tui::theme::Theme;
use drllm::tui::{lesson, session};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Mutants of a kind that are tried at least.
const MUTANTS: usize = 40;
/// What a mutant may take; a machine may be busy.
const TIME: Duration = Duration::from_secs(30);
/// Of the whole process, over all kinds.
const MOST_MEMORY: u64 = 3 << 30;

/// A kind of file.
struct Kind {
    name: &'static str,
    /// The file that is mutated, in a folder of its own.
    file: &'static str,
    seeds: Vec<Vec<u8>>,
    /// The other files of the folder.
    beside: Vec<(PathBuf, Vec<u8>)>,
    read: fn(&Path) -> Result<(), String>,
    /// What an error has to name.
    named: &'static str,
}

fn text<E: std::fmt::Display>(error: E) -> String {
    format!("{error:#}")
}

fn asset(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn run_model(path: &Path, routers: RouterChoice) -> Result<(), String> {
    run_prompt(path, routers, "hi\u{1b}")
}

fn run_prompt(path: &Path, routers: RouterChoice, prompt: &str) -> Result<(), String> {
    let request = LoadRequest {
        model: Some(path.display().to_string()),
        routers,
        device: "cpu".into(),
        ..LoadRequest::default()
    };
    let stop = AtomicBool::new(false);
    let model = load_model(&request, &mut |_, _, _| {}, &mut |_| {}, &stop).map_err(text)?;
    let routers = load_routers(&request.routers, &model).map_err(text)?;
    let settings = Settings {
        max_tokens: 2,
        ..Settings::default()
    };
    let mut trace: Option<Trace> = None;
    generate(
        &model,
        routers.as_deref(),
        &Prompt::Text(prompt.into()),
        &settings,
        &stop,
        &mut |output| match (output, &mut trace) {
            (drllm::engine::Output::Header(header), _) => trace = Some(Trace::new(*header)),
            (drllm::engine::Output::Step(step), Some(trace)) => trace.steps.push(*step),
            _ => {}
        },
    )
    .map_err(text)?;
    // What is written can be read.
    let trace = trace.expect("a run that succeeds has a header");
    Trace::from_json_lines(&trace.to_json_lines())
        .map(drop)
        .map_err(|e| panic!("unreadable: {e:#}"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap()
}

fn kinds() -> Vec<Kind> {
    let model = tempfile::tempdir().unwrap();
    tiny_model::write(model.path(), 7);
    let of_model = |name: &str| std::fs::read(model.path().join(name)).unwrap();
    let parts = ["config.json", "tokenizer.json", "model.safetensors"];
    let beside = |file: &str| -> Vec<(PathBuf, Vec<u8>)> {
        let others = parts.iter().filter(|part| **part != file);
        others.map(|part| (PathBuf::from(part), of_model(part))).collect()
    };
    let of_folder: fn(&Path) -> Result<(), String> = |path| run_model(folder_of(path), RouterChoice::None);
    let folder = |name: &'static str, file: &'static str, seeds: Vec<Vec<u8>>| Kind {
        name,
        file,
        seeds,
        beside: beside(file),
        read: of_folder,
        named: "drllm-mutants",
    };
    let index = {
        let names = tiny_weights(&of_model("model.safetensors"));
        let map: serde_json::Map<String, Value> = names
            .into_iter()
            .map(|name| (name, json!("model.safetensors")))
            .collect();
        json!({"metadata": {}, "weight_map": map}).to_string().into_bytes()
    };
    let template = "{% for m in messages %}{% if m.role == 'user' %}<|{{ m.role }}|>{{ m.content | trim }}{% endif %}\
                    {% endfor %}{% set ns = namespace(x=[1]) %}{% for i in range(3) %}{% set ns.x = ns.x + [ns.x] %}\
                    {% endfor %}{{ '{:>8}'.format(1) ~ ns.x | tojson }}{% if add_generation_prompt %}<|end|>{% endif %}";
    let tokenizer_config = json!({"bos_token": "<|end|>", "eos_token": {"content": "<|end|>"}, "add_bos_token": true,
        "chat_template": [{"name": "default", "template": template}]});
    let traces = ["sky-depth", "france-pins"].map(|name| asset(&format!("assets/traces/{name}.trace.jsonl")));
    let mut traces = traces.to_vec();
    traces.push(asset("tests/data/example.trace.jsonl"));
    let head = json!({"format": "drllm-tui session", "version": 1, "program": "0.1.0"});
    let run = json!({"run": {"id": 1, "recording": null, "prompt": "x", "parent": null, "trace": String::from_utf8(traces[2].clone()).unwrap()}});
    let session = format!("{head}\n{}\n{run}\n", json!({}));
    vec![
        Kind {
            name: "gguf",
            file: "m.gguf",
            seeds: gguf(),
            beside: Vec::new(),
            read: |path| run_model(path, RouterChoice::None),
            named: "m.gguf",
        },
        folder("config", "config.json", vec![of_model("config.json")]),
        folder("tokenizer", "tokenizer.json", tokenizers(&of_model("tokenizer.json"))),
        folder(
            "tokenizer_config",
            "tokenizer_config.json",
            vec![tokenizer_config.to_string().into_bytes()],
        ),
        folder(
            "generation_config",
            "generation_config.json",
            vec![b"{\"eos_token_id\": [256, 1]}".to_vec()],
        ),
        folder(
            "chat_template",
            "chat_template.jinja",
            vec![template.as_bytes().to_vec()],
        ),
        folder("safetensors", "model.safetensors", vec![of_model("model.safetensors")]),
        folder("index", "model.safetensors.index.json", vec![index]),
        Kind {
            name: "template",
            file: "t.jinja",
            seeds: vec![template.as_bytes().to_vec()],
            beside: Vec::new(),
            read: render,
            named: "the model",
        },
        Kind {
            name: "routers",
            file: "r.safetensors",
            seeds: vec![routers()],
            beside: parts
                .iter()
                .map(|part| (Path::new("model").join(part), of_model(part)))
                .collect(),
            read: |path| run_model(&folder_of(path).join("model"), RouterChoice::File(path.to_owned())),
            named: "r.safetensors",
        },
        Kind {
            name: "built-in routers",
            file: "r.safetensors",
            seeds: vec![asset("assets/routers/smollm2-135m-instruct.dr-llm.safetensors")],
            beside: Vec::new(),
            read: |path| RouterSet::load(path).map(drop).map_err(text),
            named: "r.safetensors",
        },
        Kind {
            name: "trace",
            file: "t.jsonl",
            seeds: traces,
            beside: Vec::new(),
            read: |path| drllm::cli::trace_file::read_trace(path).map(drop).map_err(text),
            named: "t.jsonl",
        },
        Kind {
            name: "records",
            file: "s.jsonl",
            seeds: vec![left_by(model.path(), &[SEARCH], "s.jsonl")],
            beside: Vec::new(),
            read: |path| {
                let _ = read_records_skipping(path);
                read_records(path).map(drop).map_err(text)
            },
            named: "s.jsonl",
        },
        Kind {
            name: "outcomes",
            file: "o.jsonl",
            seeds: vec![left_by(model.path(), &[&format!("{EVAL} --force")], "o.jsonl")],
            beside: with_questions(model.path()),
            read: |path| program(folder_of(path), &format!("{EVAL} --resume")),
            named: "o.jsonl",
        },
        Kind {
            name: "Dr.LLM's records",
            file: "f.json",
            seeds: vec![left_by(
                model.path(),
                &[SEARCH, "search export s.jsonl --format drllm --out f.json"],
                "f.json",
            )],
            beside: with_questions(model.path()),
            read: |path| program(folder_of(path), &format!("{IMPORT} --format drllm")),
            named: "f.json",
        },
        Kind {
            name: "PoLar's records",
            file: "f.json",
            seeds: vec![left_by(
                model.path(),
                &[SEARCH, "search export s.jsonl --format polar --out f.json"],
                "f.json",
            )],
            beside: with_questions(model.path()),
            read: |path| program(folder_of(path), &format!("{IMPORT} --format polar")),
            named: "f.json",
        },
        Kind {
            name: "predictor",
            file: "r.safetensors",
            seeds: vec![left_by(
                model.path(),
                &[
                    &format!("{SEARCH} --edits segments"),
                    "train --method polar --records s.jsonl --model model --epochs 1 --width 8 --feature-layer 1 \
                     --out r.safetensors",
                ],
                "r.safetensors",
            )],
            beside: with_questions(model.path()),
            read: |path| run_model(&folder_of(path).join("model"), RouterChoice::File(path.to_owned())),
            named: "r.safetensors",
        },
        Kind {
            name: "LoopMoE",
            file: "m.safetensors",
            seeds: vec![left_by(
                model.path(),
                &["train-lm --preset tiny --steps 1 --batch 2 --tasks copy --out m.safetensors"],
                "m.safetensors",
            )],
            beside: Vec::new(),
            read: |path| run_prompt(path, RouterChoice::None, "3 + 4 ="),
            named: "m.safetensors",
        },
        Kind {
            name: "questions",
            file: "q.jsonl",
            seeds: vec![asset("tests/data/questions.jsonl")],
            beside: Vec::new(),
            read: |path| Task::load(path).map(drop).map_err(text),
            named: "q.jsonl",
        },
        Kind {
            name: "prompts",
            file: "p.jsonl",
            seeds: vec![b"\"one\"\n{\"prompt\": \"two\"}\n{\"question\": \"three\"}\n".to_vec()],
            beside: Vec::new(),
            read: |path| drllm::engine::prompt_file::read(path).map(drop).map_err(text),
            named: "p.jsonl",
        },
        Kind {
            name: "overrides",
            file: "o",
            seeds: vec![b"budget 12 # note\npin 3=skip\npin 4@7=repeat\nkv fill\nprogram 0-11 13-29\n".to_vec()],
            beside: Vec::new(),
            read: |path| {
                Overrides::parse(&String::from_utf8_lossy(&std::fs::read(path).unwrap()), 30)
                    .map(drop)
                    .map_err(text)
            },
            named: "",
        },
        Kind {
            name: "session",
            file: "session.jsonl",
            seeds: vec![session.into_bytes()],
            beside: Vec::new(),
            read: |path| session::read(path).map(drop).map_err(text),
            named: "session.jsonl",
        },
        Kind {
            name: "lesson",
            file: "l.toml",
            seeds: vec![
                asset("assets/lessons/1-program.toml"),
                asset("assets/lessons/4-budget.toml"),
            ],
            beside: Vec::new(),
            read: |path| lesson::load(path).map(drop).map_err(text),
            named: "l.toml",
        },
        Kind {
            name: "theme",
            file: "mine.toml",
            seeds: vec![asset("themes/dark.toml"), asset("themes/nord.toml")],
            beside: Vec::new(),
            read: |path| {
                Theme::load("mine", Some(folder_of(path)), ColorTier::Truecolor)
                    .map(drop)
                    .map_err(text)
            },
            named: "mine.toml",
        },
        Kind {
            name: "configuration",
            file: "c.toml",
            seeds: vec![asset("assets/config.toml"), b"[keys.global]\nq = 'quit'\n".to_vec()],
            beside: Vec::new(),
            read: |path| {
                drllm::config::Config::load(Some(path), folder_of(path))
                    .map(drop)
                    .map_err(text)
            },
            named: "c.toml",
        },
    ]
}

fn render(path: &Path) -> Result<(), String> {
    let source = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let message = Message::new(ChatRole::User, "hi \u{1b}[31m");
    ChatTemplate::new(&source)
        .and_then(|t| t.render(&[message], "<s>", "</s>"))
        .map(drop)
        .map_err(text)
}

const EVAL: &str = "eval --limit 4 --data q.jsonl --model model --routers none --outcomes o.jsonl --threads 1";
const IMPORT: &str = "search import f.json --data q.jsonl --model model --out i.jsonl --force";
const SEARCH: &str = "search --simulations 4 --data q.jsonl --model model --out s.jsonl --force";

/// Runs the program in a folder; what it says on standard error where it fails.
fn program(place: &Path, args: &str) -> Result<(), String> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_drllm-tui"));
    command.args(args.split_whitespace()).current_dir(place);
    for folder in ["DRLLM_CACHE_DIR", "DRLLM_CONFIG_DIR", "DRLLM_STATE_DIR"] {
        command.env(folder, place.join("own"));
    }
    let done = command.output().unwrap();
    let words = String::from_utf8_lossy(&done.stderr).into_owned();
    match done.status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(words),
        code => panic!("'{args}' ends with {code:?}: {words}"),
    }
}

/// A file that commands leave in a folder with the tiny model in `model` and questions in `q.jsonl`.
fn left_by(model: &Path, commands: &[&str], file: &str) -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    for (name, bytes) in with_questions(model) {
        let path = place.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    for command in commands {
        program(place.path(), command).unwrap();
    }
    std::fs::read(place.path().join(file)).unwrap()
}

/// The tiny model in `model`, questions in `q.jsonl`.
fn with_questions(model: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = std::fs::read_dir(model)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                Path::new("model").join(entry.file_name()),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    let question = |i: usize| {
        let choices = [format!("x{}", i * 7 % 13), "word".to_owned(), i.to_string()];
        json!({"id": format!("q{i}"), "question": format!("What is {i}?"), "choices": choices, "answer": i % 3})
    };
    let questions: String = (0..40).map(|i| format!("{}\n", question(i))).collect();
    files.push(("q.jsonl".into(), questions.into_bytes()));
    files
}

fn tiny_weights(bytes: &[u8]) -> Vec<String> {
    let tensors = safetensors::SafeTensors::deserialize(bytes).unwrap();
    tensors.names().into_iter().map(str::to_owned).collect()
}

fn routers() -> Vec<u8> {
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    let (r, d) = (4, tiny_model::HIDDEN);
    for layer in 0..tiny_model::LAYERS {
        for (part, shape) in [
            ("linear1.weight", vec![r, d]),
            ("linear1.bias", vec![r]),
            ("linear2.weight", vec![3, r]),
            ("linear2.bias", vec![3]),
        ] {
            tensors.insert(
                format!("model.routers.{layer}.{part}"),
                Tensor::full(0.25f32, shape, &Device::Cpu).unwrap(),
            );
        }
    }
    let dir = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(&tensors, dir.path().join("r")).unwrap();
    std::fs::read(dir.path().join("r")).unwrap()
}

/// The tokenizer of the tiny model, with steps of every kind that hostile files were made of.
fn tokenizers(plain: &[u8]) -> Vec<Vec<u8>> {
    let plain: Value = serde_json::from_slice(plain).unwrap();
    let mut stepped = plain.clone();
    stepped["normalizer"] = json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        {"type": "Replace", "pattern": {"Regex": "h+"}, "content": "▁"},
        {"type": "NFKC"}]});
    stepped["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "'s| ?\\p{L}+|\\s+(?!\\S)|(a|aa)+$"}, "behavior": "Isolated", "invert": false},
        plain["pre_tokenizer"]]});
    stepped["post_processor"] = json!({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {}});
    vec![plain.to_string().into_bytes(), stepped.to_string().into_bytes()]
}

/// A small model of each quantisation, with a byte vocabulary.
fn gguf() -> Vec<Vec<u8>> {
    [GgmlDType::F32, GgmlDType::Q8_0, GgmlDType::Q4_0]
        .map(|kind| {
            let (layers, hidden, inner) = (2, 32, 64);
            let tensor = |shape: &[usize], kind: GgmlDType| {
                let tensor = Tensor::rand(-0.5f32, 0.5, shape, &Device::Cpu).unwrap();
                QTensor::quantize(&tensor, kind).unwrap()
            };
            let words: Vec<String> = (0..=255u8)
                .map(|byte| format!("<0x{byte:02X}>"))
                .chain(["<s>".into(), "</s>".into(), "<unk>".into()])
                .collect();
            let types = words
                .iter()
                .map(|word| Gguf::I32(if word.len() == 6 { 6 } else { 3 }))
                .collect();
            let scores = words.iter().map(|_| Gguf::F32(0.0)).collect();
            let mut tensors = vec![
                ("token_embd".to_owned(), tensor(&[words.len(), hidden], kind)),
                ("output_norm".to_owned(), tensor(&[hidden], GgmlDType::F32)),
            ];
            for layer in 0..layers {
                let matrices = [
                    ("attn_q", hidden, hidden),
                    ("attn_k", hidden, hidden),
                    ("attn_v", hidden, hidden),
                    ("attn_output", hidden, hidden),
                    ("ffn_gate", inner, hidden),
                    ("ffn_up", inner, hidden),
                    ("ffn_down", hidden, inner),
                ];
                for (part, out, into) in matrices {
                    tensors.push((format!("blk.{layer}.{part}"), tensor(&[out, into], kind)));
                }
                for part in ["attn_norm", "ffn_norm"] {
                    tensors.push((format!("blk.{layer}.{part}"), tensor(&[hidden], GgmlDType::F32)));
                }
            }
            let entries = [
                ("general.architecture", Gguf::String("llama".into())),
                ("llama.block_count", Gguf::U32(layers as u32)),
                ("llama.embedding_length", Gguf::U32(hidden as u32)),
                ("llama.feed_forward_length", Gguf::U32(inner as u32)),
                ("llama.attention.head_count", Gguf::U32(2)),
                ("llama.attention.head_count_kv", Gguf::U32(2)),
                ("llama.attention.layer_norm_rms_epsilon", Gguf::F32(1e-5)),
                ("llama.context_length", Gguf::U32(64)),
                ("llama.rope.dimension_count", Gguf::U32(16)),
                ("tokenizer.ggml.model", Gguf::String("llama".into())),
                (
                    "tokenizer.ggml.tokens",
                    Gguf::Array(words.iter().cloned().map(Gguf::String).collect()),
                ),
                ("tokenizer.ggml.token_type", Gguf::Array(types)),
                ("tokenizer.ggml.scores", Gguf::Array(scores)),
                ("tokenizer.ggml.bos_token_id", Gguf::U32(256)),
                ("tokenizer.ggml.eos_token_id", Gguf::U32(257)),
                (
                    "tokenizer.chat_template",
                    Gguf::String("{% for m in messages %}{{ m.content }}{% endfor %}".into()),
                ),
            ];
            let entries: Vec<(&str, &Gguf)> = entries.iter().map(|(key, value)| (*key, value)).collect();
            let tensors: Vec<(String, QTensor)> = tensors
                .into_iter()
                .map(|(name, t)| (format!("{name}.weight"), t))
                .collect();
            let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
            let mut bytes = std::io::Cursor::new(Vec::new());
            gguf_file::write(&mut bytes, &entries, &tensors).unwrap();
            bytes.into_inner()
        })
        .to_vec()
}

/// Values that readers stumble over.
const VALUES: [&str; 24] = [
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "-1e999",
    "1e-39",
    "4294967295",
    "9007199254740993",
    "18446744073709551615",
    "340282366920938463463374607431768211456",
    "[]",
    "{}",
    "\"\"",
    "[[[[[[[[[[]]]]]]]]]]",
    "\"\\u0000\\u001b[31m\"",
    "\"\u{202e}\u{200b}\u{e0041}\"",
    "\"../../../../etc/passwd\"",
    "\"/dev/zero\"",
    "\"\\ud800\"",
    "NaN",
    "[1,2,3]",
    "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
    "1.5",
];

fn mutant(rng: &mut ChaCha8Rng, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        // Headers are where lengths and names stand.
        let at = if rng.random_bool(0.5) {
            at % 512.min(bytes.len())
        } else {
            at
        };
        let end = (at + rng.random_range(1..64)).min(bytes.len());
        match rng.random_range(0..9) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(
                    at..at,
                    part.iter().copied().cycle().take(part.len() * rng.random_range(1..40)),
                );
            }
            5 => drop(bytes.splice(at..at, VALUES.choose(rng).unwrap().bytes())),
            6 => bytes[at..end].fill(*[0, 0xff, b'[', b'{', b'"', b'\n', 0x80].choose(rng).unwrap()),
            7 => {
                let other = rng.random_range(0..bytes.len());
                bytes.swap(at, other);
            }
            _ => {
                // A number or word becomes another.
                let is_word = |b: &u8| b.is_ascii_alphanumeric() || b".-".contains(b);
                let begin = bytes[..at].iter().rposition(|b| !is_word(b)).map_or(0, |i| i + 1);
                let end = bytes[at..]
                    .iter()
                    .position(|b| !is_word(b))
                    .map_or(bytes.len(), |i| at + i);
                bytes.splice(begin..end.max(begin), VALUES.choose(rng).unwrap().bytes());
            }
        }
    }
    bytes
}

/// A JSON text with one of its values replaced, taken away or doubled.
fn json_mutant(rng: &mut ChaCha8Rng, seed: &[u8]) -> Option<Vec<u8>> {
    let lines: Vec<&str> = std::str::from_utf8(seed).ok()?.lines().collect();
    let at = rng.random_range(0..lines.len().max(1));
    let mut value: Value = serde_json::from_str(lines.get(at)?).ok()?;
    let mut node = &mut value;
    loop {
        let inner = match node {
            Value::Object(fields) => fields.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        };
        if inner == 0 || rng.random_bool(0.15) {
            *node = serde_json::from_str(VALUES.choose(rng).unwrap()).unwrap_or(Value::Null);
            break;
        }
        let index = rng.random_range(0..inner);
        node = match node {
            Value::Object(fields) => {
                let key = fields.keys().nth(index).unwrap().clone();
                if rng.random_bool(0.05) {
                    fields.remove(&key);
                    break;
                }
                fields.get_mut(&key).unwrap()
            }
            Value::Array(items) => {
                if rng.random_bool(0.1) {
                    let more = rng.random_range(1..50);
                    items.extend(vec![items[index].clone(); more]);
                    break;
                }
                &mut items[index]
            }
            _ => unreachable!("it has something in it"),
        };
    }
    let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
    lines[at] = value.to_string();
    Some((lines.join("\n") + "\n").into_bytes())
}

fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or_default()
        << 10
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
fn mutants_of_every_kind_are_read_or_refused_in_words() {
    let kinds = kinds();
    let only = std::env::var("DRLLM_MUTANTS_KIND").ok();
    let kinds: Vec<Kind> = kinds
        .into_iter()
        .filter(|kind| only.as_ref().is_none_or(|name| kind.name == name))
        .collect();
    let seconds = setting("DRLLM_MUTANTS_SECONDS", 0) as f64 / kinds.len() as f64;
    let seed = setting("DRLLM_MUTANTS_SEED", 1);
    for kind in &kinds {
        let place = tempfile::Builder::new().prefix("drllm-mutants-").tempdir().unwrap();
        for (name, bytes) in &kind.beside {
            let path = place.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let path = place.path().join(kind.file);
        for bytes in &kind.seeds {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!((kind.read)(&path), Ok(()), "{}: a seed is refused", kind.name);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let start = Instant::now();
        let (mut tried, mut refused) = (0, 0);
        // By number where no time is asked for, so that a run of the tests tries the same everywhere.
        while tried < MUTANTS || start.elapsed().as_secs_f64() < seconds {
            let parent = kind.seeds.choose(&mut rng).unwrap();
            let structural = if rng.random_bool(0.4) {
                json_mutant(&mut rng, parent)
            } else {
                None
            };
            let bytes = structural.unwrap_or_else(|| mutant(&mut rng, parent));
            // Here templates run in this process, where fuel is their only bound; what the program does about
            // the rest is for tests/it/hostile.rs.
            let numbers = bytes.split(|byte| !byte.is_ascii_digit());
            if kind.name.contains("template") && numbers.map(<[u8]>::len).any(|digits| digits > 5) {
                continue;
            }
            std::fs::write(&path, &bytes).unwrap();
            let (read, file) = (kind.read, path.clone());
            let fault = match guard::within(TIME, move || read(&file)) {
                Ok(Ok(())) => None,
                Ok(Err(error)) => {
                    refused += 1;
                    let obeyed = error
                        .chars()
                        .any(|c| c != '\n' && (c.is_control() || drllm::text::is_hostile(c)));
                    // Some messages are escaped where they are printed.
                    let escaped = drllm::text::escape_controls_multiline(&error);
                    let is_prompts = error.contains("the prompt ");
                    let unnamed = !is_prompts && !escaped.contains(kind.named) || escaped.chars().count() > 4000;
                    (obeyed && escaped == error || unnamed).then_some(error)
                }
                Err(failed) => Some(failed.to_string()),
            };
            if let Some(fault) = fault {
                let kept = std::env::temp_dir().join(format!("mutant-{}-{}", kind.name.replace(' ', "-"), kind.file));
                std::fs::write(&kept, &bytes).unwrap();
                panic!(
                    "{}, mutant {tried} of seed {seed}, kept as {}: {fault}",
                    kind.name,
                    kept.display()
                );
            }
            tried += 1;
        }
        println!("{}: {tried} mutants, {refused} refused", kind.name);
        assert!(memory() < MOST_MEMORY, "{}: {} MiB", kind.name, memory() >> 20);
    }
}
