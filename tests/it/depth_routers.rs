//! Depth routers as a user runs them, on a tiny model: how they are run where nothing is said, a depth for the dial, and
//! what does not go together.

use std::collections::HashMap;

use crate::common::ModelFolder;
use assert_cmd::Command;
use drllm::program::Program;
use drllm::router::{InputNorm, MlpRouter, RouterSet};
use drllm::testing::tiny_model::{HIDDEN, LAYERS};
use drllm::trace::{DecidedBy, KvMode, PromptRouting, RouterInfo, Scope, Trace};

const TABLE: &str = r#"{"texts": 2, "tokens": 90, "points": [
    {"dial": -0.7, "depth": 2.2, "kl": 0.4, "agreement": 0.6},
    {"dial": -0.2, "depth": 3.8, "kl": 0.1, "agreement": 0.9}]}"#;

struct Place(ModelFolder);

impl Place {
    fn new() -> Place {
        let place = Place(ModelFolder::new());
        let questions = r#"{"id": "q", "question": "Which?", "choices": ["b", "cdef"], "answer": 1}"#;
        std::fs::write(place.path("q.jsonl"), questions).unwrap();
        place
    }

    /// A checkpoint with two layers that always run, whose metadata are those of depth routers but for `changes`; an
    /// empty value takes an entry out.
    fn routers(&self, name: &str, changes: &[(&str, &str)]) {
        let router = |layer: usize| {
            let always = layer == 0 || layer == LAYERS - 1;
            let heard = |i: usize| if always { 0.0 } else { (i % 5) as f32 / 2.0 - 1.0 };
            MlpRouter {
                w1: (0..2 * HIDDEN).map(|i| heard(i + layer)).collect(),
                b1: vec![0.0; 2],
                w2: vec![0.0, 0.0, heard(0), heard(3), 0.0, 0.0],
                b2: vec![if always { -1e9 } else { 0.0 }, 0.0, -1e9],
            }
        };
        let said = [
            ("method", "depth"),
            ("scope", "token"),
            ("prompt", "full"),
            ("kv", "fill"),
            ("input_norm", "rms"),
            ("calibration", TABLE),
        ];
        let said = said.iter().chain(changes);
        let mut metadata: HashMap<String, String> = said.map(|(k, v)| (k.to_string(), v.to_string())).collect();
        metadata.retain(|_, value| !value.is_empty());
        let set = RouterSet {
            layers: (0..LAYERS).map(router).collect(),
            windows: 8,
            width: 2,
            hidden_size: HIDDEN,
            input_norm: InputNorm::Rms,
            metadata,
            info: RouterInfo::default(),
            fast: Default::default(),
        };
        set.save(&self.path(name)).unwrap();
    }

    /// A run's trace and what standard error says.
    fn trace(&self, args: &str) -> (Trace, String) {
        let all = format!("run abcd --raw --model model --device cpu --max-tokens 6 --ignore-eos --json {args}");
        let (code, out, error) = self.run(&all);
        assert_eq!(code, 0, "{error}");
        (Trace::from_json_lines(&out).unwrap(), error)
    }

    fn refused(&self, args: &str) -> String {
        let (code, out, error) = self.run(&format!("run abcd --raw --model model --device cpu {args}"));
        assert!(code != 0 && out.is_empty(), "{out}");
        error
    }
}

impl std::ops::Deref for Place {
    type Target = ModelFolder;

    fn deref(&self) -> &ModelFolder {
        &self.0
    }
}

/// Those that the explorer trains for a model that has none are its built-in ones from then on.
#[test]
fn those_trained_on_this_machine_are_found() {
    let place = Place::new();
    let (flat, _) = place.trace("--seed 1");
    assert!(flat.header.routers.is_none());
    let model = &flat.header.model;
    let name = |extent: &str| format!("{}-{}.{extent}.depth.safetensors", model.name, &model.sha256[..12]);
    std::fs::create_dir_all(place.path("data/routers")).unwrap();
    for (extent, other) in [("quick", "full"), ("full", "quick")] {
        place.routers(&format!("data/routers/{}", name(extent)), &[("trained", extent)]);
        let (trace, _) = place.trace("--seed 1");
        let routers = trace.header.routers.unwrap();
        assert!(
            routers.name.contains(extent) && !routers.name.contains(other),
            "{}",
            routers.name
        );
        assert_eq!(
            (trace.header.settings.scope, trace.header.settings.kv),
            (Scope::Token, KvMode::Fill)
        );
    }
    assert!(place.trace("--routers none").0.header.routers.is_none());
    // Damaged ones are told, with their name.
    place.write(&format!("data/routers/{}", name("full")), "no checkpoint");
    assert!(place.refused("--seed 1").contains(&name("full")));
}

#[test]
fn they_run_as_they_were_made_and_as_is_asked() {
    let place = Place::new();
    place.routers("depth.safetensors", &[]);
    let (trace, notes) = place.trace("--routers depth.safetensors");
    assert_eq!(notes, "");
    let settings = &trace.header.settings;
    assert_eq!((settings.scope, settings.kv), (Scope::Token, KvMode::Fill));
    let info = trace.header.routers.as_ref().unwrap();
    assert_eq!(info.method.as_deref(), Some("depth"));
    assert_eq!((info.prompt, info.kv), (Some(PromptRouting::Full), Some(KvMode::Fill)));
    assert_eq!(info.calibration.as_ref().unwrap().points.len(), 2);
    // The prompt is whole, and routers decide from there on.
    assert_eq!(trace.header.program, Program::standard(LAYERS));
    let whole = trace.header.decisions.iter();
    assert!(whole.clone().all(|d| d.by == DecidedBy::Program && d.probs.is_none()));
    let decisions: Vec<_> = trace.steps.iter().flat_map(|step| &step.decisions).collect();
    assert!(
        decisions
            .iter()
            .all(|d| d.probs.unwrap()[2] == 0.0 && d.by == DecidedBy::Router)
    );
    assert!(
        trace
            .steps
            .iter()
            .all(|s| s.decisions[0].probs == Some([0.0, 1.0, 0.0]))
    );
    assert_eq!(Trace::from_json_lines(&trace.to_json_lines()).unwrap(), trace);
    // A hard budget below the layers binds the answer, not the prompt.
    let (capped, _) = place.trace("--routers depth.safetensors --budget 2");
    assert_eq!(capped.header.program.depth(), LAYERS);
    assert!(capped.steps.iter().all(|s| s.depth <= 2));
    // In scope prompt nothing is filled unless that is asked for.
    let (prompt, notes) = place.trace("--routers depth.safetensors --scope prompt");
    assert_eq!(prompt.header.settings.kv, KvMode::Ragged);
    assert!(notes.contains("made for scope token"), "{notes}");
    let (prompt, _) = place.trace("--routers depth.safetensors --scope prompt --kv fill");
    assert_eq!(prompt.header.settings.kv, KvMode::Fill);
    // Routers of the other mode are allowed, and what holds is said.
    let (ragged, notes) = place.trace("--routers depth.safetensors --kv ragged");
    assert_eq!(ragged.header.settings.kv, KvMode::Ragged);
    assert!(
        notes.contains("made for kv fill, and their calibration was measured so; this run has kv ragged"),
        "{notes}"
    );
    // So does a file of overrides that names it.
    std::fs::write(place.path("my.overrides"), "kv ragged\n").unwrap();
    let (named, _) = place.trace("--routers depth.safetensors --overrides my.overrides");
    assert_eq!(named.header.settings.kv, KvMode::Ragged);
    let (_, notes) = place.trace("--routers depth.safetensors --dial -0.9");
    assert!(notes.contains("nothing was measured at the dial -0.9"), "{notes}");
}

#[test]
fn a_mean_depth_is_a_position_of_the_dial() {
    let place = Place::new();
    place.routers("depth.safetensors", &[]);
    place.routers("bare.safetensors", &[("calibration", "")]);
    let (trace, _) = place.trace("--routers depth.safetensors --depth 3");
    assert!((trace.header.settings.dial + 0.45).abs() < 1e-9);
    for (args, parts) in [
        ("--routers depth.safetensors --depth 3.9", ["2.2 to 3.8", "--dial"]),
        (
            "--routers bare.safetensors --depth 3",
            ["carry no calibration table", "--dial"],
        ),
        ("--routers none --depth 3", ["needs routers", "--routers"]),
        ("--routers depth.safetensors --depth 3 --dial 0", ["--depth", "--dial"]),
        (
            "--routers depth.safetensors --depth 3 --program 0-2",
            ["--depth", "--program"],
        ),
    ] {
        let error = place.refused(args);
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let eval = "eval --model model --device cpu --routers depth.safetensors --data q.jsonl --format json";
    let (code, report, error) = place.run(&format!("{eval} --scope token --depth 3"));
    assert_eq!(code, 0, "{error}");
    for name in [
        "routers, token, kv fill",
        "routers, token, depth 3 (dial -0.450), kv fill",
    ] {
        assert!(report.contains(name), "{report}");
    }
    let (_, report, _) = place.run(&format!("{eval} --scope token --kv ragged"));
    assert!(report.contains("\"routers, token\""), "{report}");
    let (code, _, error) = place.run(&format!("{eval} --depth 9"));
    assert!(code == 2 && error.contains("2.2 to 3.8"), "{error}");
}

#[test]
fn what_this_version_does_not_know_is_refused_by_name() {
    let place = Place::new();
    for (key, value, part) in [
        ("kv", "copy", "kv = 'copy'"),
        ("prompt", "half", "prompt = 'half'"),
        ("scope", "word", "scope = 'word'"),
        ("input_norm", "layer", "input_norm = 'layer'"),
        (
            "calibration",
            r#"{"texts":1,"tokens":1,"points":[]}"#,
            "its calibration table is damaged: it has 0 points",
        ),
    ] {
        place.routers("odd.safetensors", &[(key, value)]);
        let error = place.refused("--routers odd.safetensors");
        assert!(error.contains(part) && error.contains("odd.safetensors"), "{error}");
    }
}

#[test]
fn a_training_that_was_killed_ends_in_the_same_bytes() {
    let place = Place::new();
    std::fs::write(place.path("prompts.txt"), "one\ntwo\nthree\nfour\nfive\nsix\n").unwrap();
    let train = |out: &str, more: &[&str]| {
        let mut command = Command::cargo_bin("drllm-tui").unwrap();
        command.current_dir(place.folder());
        command.args([
            "train",
            "--method",
            "depth",
            "--model",
            "model",
            "--prompts",
            "prompts.txt",
        ]);
        command.args([
            "--texts",
            "4",
            "--held-out",
            "2",
            "--batch",
            "2",
            "--steps",
            "7",
            "--answer-tokens",
            "12",
        ]);
        command.args(["--width", "4", "--out", out]).args(more);
        command.assert()
    };
    train("whole.safetensors", &["--threads", "2"]).success();
    let whole = std::fs::read(place.path("whole.safetensors")).unwrap();
    assert!(
        !place.path("whole.safetensors.state").exists(),
        "the state of a training that ended is taken away"
    );
    let routers = RouterSet::load(&place.path("whole.safetensors")).unwrap();
    assert_eq!(routers.info.method.as_deref(), Some("depth"));
    assert_eq!(
        (routers.info.scope, routers.info.prompt, routers.info.kv),
        (Some(Scope::Token), Some(PromptRouting::Full), Some(KvMode::Fill))
    );
    assert_eq!(routers.input_norm, InputNorm::Rms);
    // What a kill after the answers leaves: their file, the last line cut.
    let texts = std::fs::read(place.path("whole.safetensors.texts.jsonl")).unwrap();
    std::fs::write(place.path("killed.safetensors.texts.jsonl"), &texts[..texts.len() - 5]).unwrap();
    train("killed.safetensors", &["--threads", "1", "--resume"]).success();
    assert_eq!(std::fs::read(place.path("killed.safetensors")).unwrap(), whole);
    // Other settings do not go on with it.
    std::fs::write(place.path("other.safetensors.texts.jsonl"), &texts).unwrap();
    let refused = train("other.safetensors", &["--resume", "--seed", "7"]).failure();
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("was made with seed = 42, this training has 7"), "{said}");
    std::fs::write(place.path("prompts.txt"), "one\ntwo\n").unwrap();
    let refused = train("few.safetensors", &[]).failure();
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("2 prompts can be used, 3 are needed at least"), "{said}");
}
