//! LoopMoE as a user and an independent implementation know it: the numbers of benches/loopmoe_golden.py, and a training
//! that is killed, gone on with and measured.

use std::path::PathBuf;
use std::time::Duration;

use assert_cmd::Command;
use candle_core::{Device, Tensor};
use drllm::model::loopmoe::parameters::parameters;
use drllm::model::loopmoe::{Excluded, LatentCache, LoopMoe, LoopMoeConfig, Seen};
use serde::Deserialize;
use tempfile::TempDir;

#[derive(Deserialize)]
struct Goldens {
    config: LoopMoeConfig,
    ids: Vec<u32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    iterations: usize,
    iter_adaln: bool,
    /// (tokens, vocab_size)
    logits: Vec<Vec<f32>>,
    /// Of the last token, by execution.
    seen: Vec<SeenGolden>,
}

#[derive(Debug, Deserialize)]
struct SeenGolden {
    layer: usize,
    iteration: usize,
    /// 1 where nothing gates.
    alpha: f32,
    chosen: Vec<u32>,
    weights: Vec<f32>,
}

/// Numbers in [-0.5, 0.5) that follow from a tensor's name: splitmix64, begun at the name's FNV-1a hash.
fn values(name: &str, shape: &[usize]) -> Tensor {
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let gain = if name.contains("norm") { 1.0 } else { 0.0 };
    let mut number = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        gain + (z >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| number()).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

/// Runs the tokens in chunks; the logits of each token, and what the last one did.
fn run(model: &LoopMoe, ids: &[u32], iterations: usize, chunk: usize) -> (Vec<Vec<f32>>, Vec<SeenGolden>) {
    let path = model.config().standard_path(iterations);
    let mut cache = LatentCache::default();
    let (mut logits, mut last) = (Vec::new(), Vec::new());
    for part in ids.chunks(chunk) {
        last.clear();
        let mut look = |seen: &Seen| {
            let token = seen.before.dim(1)? - 1;
            let gate = seen.attention.and_then(|m| m.alpha.as_ref());
            let alpha = gate.map(|alpha| alpha.flatten_all()?.get(token)?.to_scalar());
            let experts = seen
                .routing
                .map(|routing| routing.of_token(token))
                .transpose()?
                .unwrap_or_default();
            last.push(SeenGolden {
                layer: seen.pass.execution.layer,
                iteration: seen.pass.execution.iteration,
                alpha: alpha.transpose()?.unwrap_or(1.0),
                chosen: experts.iter().map(|(e, _)| *e as u32).collect(),
                weights: experts.iter().map(|(_, w)| *w).collect(),
            });
            Ok(())
        };
        let tokens = Tensor::new(part, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let out = model
            .forward(&tokens, &path, &mut cache, &Excluded::new(), &mut look)
            .unwrap();
        logits.extend(out.get(0).unwrap().to_vec2::<f32>().unwrap());
    }
    (logits, last)
}

#[test]
fn an_independent_implementation_gives_the_same_numbers() {
    let goldens: Goldens = serde_json::from_str(include_str!("../data/loopmoe.json")).unwrap();
    let close = |a: f32, b: f32| (a - b).abs() < 2e-5 * (1.0 + b.abs());
    for case in &goldens.cases {
        let mut config = goldens.config.clone();
        if !case.iter_adaln {
            config.iter_condition_size = 0;
        }
        let weights = parameters(&config)
            .into_iter()
            .map(|p| (p.name.clone(), values(&p.name, &p.shape)));
        let model = LoopMoe::new(&config, weights).unwrap();
        for chunk in [goldens.ids.len(), 1, 4] {
            let (logits, seen) = run(&model, &goldens.ids, case.iterations, chunk);
            let both = logits.iter().flatten().zip(case.logits.iter().flatten());
            for (found, expected) in both {
                assert!(
                    close(*found, *expected),
                    "K = {}, {chunk}: {found} {expected}",
                    case.iterations
                );
            }
            assert_eq!(logits.len(), goldens.ids.len());
            assert_eq!(seen.len(), case.seen.len());
            for (found, expected) in seen.iter().zip(&case.seen) {
                let places = |s: &SeenGolden| (s.layer, s.iteration, s.chosen.clone());
                assert_eq!(places(found), places(expected), "{expected:?}");
                assert!(close(found.alpha, expected.alpha), "{found:?} {expected:?}");
                let mut weights = found.weights.iter().zip(&expected.weights);
                assert!(weights.all(|(a, b)| close(*a, *b)), "{found:?} {expected:?}");
            }
        }
    }
}

struct Place(TempDir);

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::cargo_bin("drllm-tui").unwrap();
        command.current_dir(&self.0).args(args.split(' '));
        command
    }

    fn refused(&self, args: &str) -> String {
        let output = self.command(args).assert().failure().get_output().clone();
        String::from_utf8(output.stderr).unwrap()
    }
}

const TINY: &str = "train-lm --preset tiny --batch 4 --tasks copy,sort";

#[test]
fn a_training_that_was_stopped_ends_in_the_same_bytes_and_is_measured() {
    let place = Place(tempfile::tempdir().unwrap());
    let whole = format!("{TINY} --steps 6 --out whole.safetensors --threads 2 --metrics steps.jsonl --curves c.svg");
    place.command(&whole).assert().success();
    let bytes = std::fs::read(place.path("whole.safetensors")).unwrap();
    let steps = std::fs::read_to_string(place.path("steps.jsonl")).unwrap();
    assert_eq!(steps.lines().count(), 6);
    assert!(
        std::fs::read_to_string(place.path("c.svg"))
            .unwrap()
            .starts_with("<svg")
    );
    assert!(!place.path("whole.safetensors.state").exists());

    // The first signal ends it after a step; what was done is kept.
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("drllm-tui"));
    let stopped = format!("{TINY} --steps 6 --out stopped.safetensors --threads 1 --metrics stopped.jsonl");
    let mut child = child
        .current_dir(&place.0)
        .args(stopped.split(' '))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !place.path("stopped.jsonl").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    #[cfg(unix)]
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    #[cfg(not(unix))]
    child.kill().unwrap();
    child.wait().unwrap();
    place.command(&format!("{stopped} --resume")).assert().success();
    assert!(std::fs::read(place.path("stopped.safetensors")).unwrap() == bytes);
    // The steps before the stop are told again.
    assert_eq!(std::fs::read_to_string(place.path("stopped.jsonl")).unwrap(), steps);

    let plain = format!("{TINY} --plain --steps 1 --out plain.safetensors");
    place.command(&plain).assert().success();
    let eval = "eval-lm whole.safetensors --problems 4 --tasks copy --iterations 1,4,8 --format csv";
    let output = place.command(eval).assert().success().get_output().stdout.clone();
    let report = String::from_utf8(output).unwrap();
    for part in [
        "difficulty,\"copy 16 (beyond), K = 8\",of,4",
        "iterations,\"layer 2, iteration 4\",moved,",
        "pairs,",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    let eval = "eval-lm plain.safetensors --problems 2 --tasks sort --format json";
    let output = place.command(eval).assert().success().get_output().stdout.clone();
    let report: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(report["scores"].as_array().unwrap().len(), 16);
    assert_eq!(report["iterations"].as_array().unwrap().len(), 0);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    let place = Place(tempfile::tempdir().unwrap());
    let stay = format!("{TINY} --steps 1 --out model.safetensors");
    place.command(&stay).assert().success();
    std::fs::write(place.path("other.safetensors.state"), "mine").unwrap();
    std::fs::write(place.path("noise.safetensors"), "noise").unwrap();
    for (args, part) in [
        (stay.as_str(), "model.safetensors exists already"),
        (
            "train-lm --preset tiny --steps 0 --out a.safetensors",
            "--steps is 0: expected 1 to",
        ),
        ("train-lm --out other.safetensors", "is no state of a training"),
        ("train-lm --out nowhere/a.safetensors", "nowhere is no folder"),
        ("train-lm", "--out"),
        (
            "train-lm --plain --unbalanced --out a.safetensors",
            "cannot be used with",
        ),
        (
            "eval-lm noise.safetensors",
            "noise.safetensors is no LoopMoE model that can be used: it is no safetensors",
        ),
        (
            "eval-lm model.safetensors --iterations 9",
            "expected a whole number from 1 to 8",
        ),
        ("eval-lm model.safetensors --problems 0", "--problems is 0"),
    ] {
        let said = place.refused(args);
        assert!(said.contains(part), "{args}: {said}");
    }
    assert_eq!(
        std::fs::read_to_string(place.path("other.safetensors.state")).unwrap(),
        "mine"
    );
    let output = place
        .command("train-lm --capacity")
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let text = String::from_utf8(output).unwrap();
    assert!(
        text.contains("attention : feed-forward") && text.contains("n_routed_experts"),
        "{text}"
    );
}

/// What the program prints and says, and whether it ended well.
fn told(folder: &TempDir, arguments: &[&str]) -> (String, String, bool) {
    let mut command = Command::cargo_bin("drllm-tui").unwrap();
    command.current_dir(folder.path()).args(arguments);
    // Nothing may be fetched: the model is inside the program.
    command.env("DRLLM_CACHE_DIR", folder.path().join("cache"));
    let output = command.timeout(Duration::from_secs(120)).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.success())
}

#[test]
fn the_built_in_model_runs_without_a_download() {
    let folder = TempDir::new().unwrap();
    let answer = |arguments: &[&str]| {
        let run = [&["run", "--model", "loopmoe"], arguments].concat();
        let (out, err, ok) = told(&folder, &run);
        assert!(ok, "{err}");
        out.trim().to_owned()
    };
    assert_eq!(answer(&["sort 7 2 9 4 1 3 8"]), "1 2 3 4 7 8 9 .");
    assert_eq!(answer(&["walk 5 5 : up up left ="]), "4 7 .");
    // One iteration is not enough to walk.
    assert_ne!(answer(&["--program", "0-3 10-11", "walk 5 5 : up up left ="]), "4 7 .");
    assert_eq!(
        answer(&["--program", "0-7 10-11", "sort 7 2 9 4 1 3 8"]),
        "1 2 3 4 7 8 9 ."
    );
    // The trace names what the run did without, and the experts that are none are refused by name.
    let without = |experts: &[&str]| {
        let options = experts.iter().flat_map(|expert| ["--exclude-expert", expert]);
        let run = ["run", "--model", "loopmoe", "sort 7 2 9", "--json"].into_iter();
        told(&folder, &run.chain(options).collect::<Vec<_>>())
    };
    let (out, err, ok) = without(&["3:0", "3:1"]);
    assert!(
        ok && out.contains("\"excluded_experts\":[\"3:0\",\"3:1\"]"),
        "{out}{err}"
    );
    for (expert, expected) in [
        ("0:1", "layer 0 is dense"),
        ("9:1", "there is no layer 9"),
        ("3:999", "there is no expert 999"),
        ("3", "expected layer:expert, like 3:17"),
    ] {
        let (_, err, ok) = without(&[expert]);
        assert!(!ok && err.contains(expected), "{expert}: {err}");
    }
    let all: Vec<String> = (0..200).map(|expert| format!("3:{expert}")).collect();
    let (_, err, ok) = without(&all[..63].iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        !ok && err.contains("layer 3 would have 3 experts left, a token needs 4"),
        "{err}"
    );
    let (_, err, ok) = told(&folder, &["run", "--model", "loopmoe", "What is the \u{1b}[2Jmoon?"]);
    assert!(
        !ok && err.contains("'What' is none of the 53 words") && err.contains("knows no language"),
        "{err}"
    );
    let (out, _, ok) = told(&folder, &["models", "list"]);
    assert!(
        ok && out.contains("loopmoe") && out.contains("inside this program"),
        "{out}"
    );
    let (out, err, ok) = told(&folder, &["models", "inspect", "loopmoe"]);
    assert!(
        ok && out.contains("architecture   loopmoe") && out.contains("layers         12"),
        "{out}{err}"
    );
    assert!(
        !folder.path().join("cache").join("models").exists(),
        "something was fetched"
    );
}

#[test]
fn the_loop_runs_as_often_as_is_asked() {
    let folder = TempDir::new().unwrap();
    let run = |arguments: &[&str]| told(&folder, &[&["run", "--model", "loopmoe"], arguments].concat());
    let answer = |iterations: &str| {
        run(&["--iterations", iterations, "walk 5 5 : up up left ="])
            .0
            .trim()
            .to_owned()
    };
    assert_eq!(answer("4"), "4 7 .");
    assert_ne!(answer("1"), "4 7 .");
    // The same as leaving out iterations of the training, or of more than that.
    let program =
        |program: &str, more: &[&str]| run(&[more, &["--program", program, "walk 5 5 : up up left ="]].concat());
    assert_eq!(answer("2"), program("0-5 10-11", &[]).0.trim());
    assert_eq!(program("0-9 18-19", &["--iterations", "8"]).0.trim(), "4 7 .");
    let (out, err, ok) = run(&["--iterations", "6", "sort 7 2 9 4 1 3 8", "--json"]);
    assert!(ok, "{err}");
    let header: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    let model = &header["model"];
    assert_eq!(model["layers"], 16);
    let expected = serde_json::json!({"first": 2, "layers": 2, "iterations": 6, "trained": 4});
    assert_eq!(model["loop"], expected);
    // Those that ship have a router for each of 12 executions.
    assert_eq!(header["routers"], serde_json::Value::Null);
    let (out, err, ok) = told(
        &folder,
        &["run", "--model", "loopmoe", "--iterations", "4", "sort 7 2 9", "--json"],
    );
    assert!(
        ok && out.contains("\"name\":\"built-in\"") && !out.contains("trained"),
        "{out}{err}"
    );
    for (arguments, expected) in [
        (&["--iterations", "9"][..], "expected a whole number from 1 to 8"),
        (&["--iterations", "0"], "expected a whole number from 1 to 8"),
        (
            &["--iterations", "5", "--routers", "dr-llm"],
            "no routers ship for loopmoe",
        ),
    ] {
        let (_, err, ok) = run(&[arguments, &["sort 7 2 9"]].concat());
        assert!(!ok && err.contains(expected), "{arguments:?}: {err}");
    }
}

#[test]
fn routers_are_searched_and_trained_on_it_by_the_same_commands() {
    let folder = TempDir::new().unwrap();
    let questions = (0..60).map(|i| {
        let (a, b, c) = (i % 10, i / 10, (i * 3 + 1) % 10);
        format!(
            "{{\"question\": \"calc {a} + {b} + {c} =\", \"answer\": \"#### {}\"}}\n",
            (a + b + c) % 10
        )
    });
    std::fs::write(folder.path().join("q.jsonl"), questions.collect::<String>()).unwrap();
    let well = |arguments: &[&str]| {
        let (out, err, ok) = told(&folder, arguments);
        assert!(ok, "{arguments:?}: {err}");
        out
    };
    let model = ["--model", "loopmoe"];
    let with = |arguments: &[&'static str]| [arguments, &model].concat();
    well(&with(&[
        "search",
        "--data",
        "q.jsonl",
        "--out",
        "r.jsonl",
        "--chat",
        "--simulations",
        "20",
    ]));
    well(&with(&["train", "--records", "r.jsonl", "--out", "r.safetensors"]));
    let report = well(&with(&[
        "eval",
        "--data",
        "q.jsonl",
        "--routers",
        "r.safetensors",
        "--chat",
    ]));
    assert!(report.contains("routers, prompt"), "{report}");
}

/// Its prompts are problems of its own, and so are those that are measured on.
#[test]
fn depth_routers_of_the_looped_model() {
    let folder = tempfile::tempdir().unwrap();
    let well = |arguments: &[&str]| {
        let (out, err, ok) = told(&folder, &[arguments, &["--model", "loopmoe"]].concat());
        assert!(ok, "{arguments:?}: {err}");
        out + &err
    };
    let sizes = [
        "--texts",
        "24",
        "--held-out",
        "6",
        "--steps",
        "4",
        "--batch",
        "4",
        "--width",
        "8",
    ];
    let train = |out: &str| {
        well(
            &[
                &[
                    "train",
                    "--method",
                    "depth",
                    "--out",
                    out,
                    "--metrics",
                    "m.jsonl",
                    "--force",
                ],
                &sizes[..],
            ]
            .concat(),
        );
        std::fs::read(folder.path().join(out)).unwrap()
    };
    assert_eq!(
        train("a.safetensors"),
        train("b.safetensors"),
        "the same seed, the same bytes"
    );
    let metrics = std::fs::read_to_string(folder.path().join("m.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    assert!(
        last["depth"].as_f64().unwrap() > 6.0 && last["kl"].as_f64().unwrap().is_finite(),
        "{last}"
    );
    let report = well(&[
        "eval",
        "--text",
        "--routers",
        "a.safetensors",
        "--dial=0",
        "--limit",
        "6",
    ]);
    assert!(report.contains("6 texts") && report.contains("routers"), "{report}");
    let run = well(&["run", "sort 7 2 9 =", "--routers", "a.safetensors"]);
    assert!(run.contains("2 7 9"), "{run}");
}
