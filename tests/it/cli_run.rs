//! `drllm-tui run` as its user sees it, on the default model and the routers that ship.

use crate::common::drllm;
use drllm::program::{Action, Program};
use drllm::trace::{Arithmetic, DecidedBy, Trace};
use predicates::str::contains;

/// Runs with `--json` and returns the trace.
fn trace(args: &[&str]) -> Trace {
    let output = drllm().arg("run").args(args).arg("--json").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    assert_eq!(error, "", "nothing but the trace is printed in a pipe");
    Trace::from_json_lines(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

fn refused(args: &[&str], code: i32, message: &str) {
    let run = drllm().arg("run").args(args).assert();
    run.code(code).stderr(contains(message)).stdout("");
}

#[test]
fn the_answer_comes_on_stdout_and_nothing_else() {
    let run = drllm()
        .args(["run", "What is the capital of France?", "--routers", "none"])
        .assert();
    run.success().stdout("The capital of France is Paris.\n").stderr("");
}

#[test]
fn a_prompt_is_read_from_standard_input() {
    let mut command = drllm();
    command.args(["run", "-", "--routers", "none", "--max-tokens", "3"]);
    command
        .write_stdin(b"What is the capital of \xff France?".to_vec())
        .assert()
        .success();
}

#[test]
fn ids_are_fed_as_they_are_and_logits_reported() {
    let ids = ["--ids", "504,3575,282,4649,314", "--routers", "none", "--exact"];
    let trace = trace(&[&ids[..], &["--max-tokens", "2", "--logits", "2", "--probe", "100,5007"]].concat());
    let ids: Vec<u32> = trace.header.prompt.iter().map(|t| t.id).collect();
    assert_eq!(ids, [504, 3575, 282, 4649, 314]);
    // From the independent float32 implementation.
    let logits = trace.header.logits.unwrap();
    assert_eq!((logits.top[0].0, logits.top[1].0), (7042, 260));
    assert!((logits.top[0].1 - 17.37125).abs() < 1e-3 && (logits.logsumexp - 17.62933).abs() < 1e-3);
    assert!((logits.probe[1].1 + 1.5742).abs() < 1e-3);
    assert_eq!(trace.steps.len(), 2);
    assert!(trace.steps.iter().all(|s| s.logits.is_some() && s.depth == 30));
    assert_eq!(trace.header.program, Program::standard(30));
    // Three next tokens are named unless another number is asked for; their probabilities follow from the logits.
    let (first, second) = (&logits.top[0], &trace.header.next[0]);
    assert_eq!((trace.header.next.len(), second.id), (3, first.0));
    assert!((second.probability - (first.1 - logits.logsumexp).exp()).abs() < 1e-5);
    assert_eq!(trace.steps[1].id, trace.steps[0].next[0].id);
}

#[test]
fn as_many_next_tokens_are_named_as_are_asked_for() {
    for count in [0, 5] {
        let named = trace(&["Hi", "--max-tokens", "2", "--next", &count.to_string()]);
        assert_eq!(named.header.next.len(), count);
        assert!(named.steps.iter().all(|step| step.next.len() == count));
    }
}

#[test]
fn overrides_act_and_are_recorded() {
    let prompt = ["Why is the sky blue?", "--max-tokens", "6", "--ignore-eos"];
    // Routers that decide on the prompt too.
    let routed = [&prompt[..], &["--routers", "verifier"]].concat();
    let pinned = trace(&[&routed[..], &["--pin", "7=skip", "--pin", "9@2-3=repeat"]].concat());
    assert_eq!(pinned.header.decisions[7].by, DecidedBy::Pin);
    assert!(pinned.steps.iter().all(|s| s.decisions[7].action == Action::Skip));
    assert!(pinned.steps.iter().all(|s| !s.program.layers().contains(&7)));
    let at = |position: usize| pinned.header.prompt[position].pinned.clone();
    assert_eq!((at(2), at(4)), (vec![(9, Action::Repeat)], vec![]));

    for scope in ["prompt", "token"] {
        let capped = trace(&[&routed[..], &["--budget", "20", "--scope", scope]].concat());
        assert!(capped.header.program.depth() <= 20);
        assert!(
            capped
                .steps
                .iter()
                .all(|s| s.depth <= 20 && s.program.depth() == s.depth)
        );
        assert!(capped.header.decisions.iter().any(|d| d.by == DecidedBy::Budget));
        assert_eq!(capped.header.budget_exact, Some(scope == "prompt"));
        let mean = capped.summary.unwrap().mean_depth;
        assert!(mean <= 20.0, "{mean}");
    }

    let dialled = trace(&[&routed[..], &["--dial", "0.5"]].concat());
    let plain = trace(&[&prompt[..], &["--routers", "none"]].concat());
    assert_eq!(
        dialled.header.program,
        Program::standard(30),
        "a dial of 0.5 executes every layer once"
    );
    assert_eq!(dialled.text(), plain.text());
    assert!(dialled.header.routers.is_some() && plain.header.routers.is_none());

    let fixed = trace(&[&prompt[..], &["--program", "0-11 13-29"]].concat());
    assert_eq!(fixed.header.program.to_string(), "0-11 13-29");
    let damped = ["--program", "0-6 7x2~0.50 8-29", "--logits", "1"];
    let damped = trace(&[&prompt[..], &damped].concat());
    assert_eq!(damped.header.program.to_string(), "0-6 7x2~0.5 8-29");
    let [whole, repeated] = ["7x2~1", "7x2"].map(|item| {
        let t = trace(
            &[
                &prompt[..],
                &["--program", &format!("0-6 {item} 8-29"), "--logits", "1"],
            ]
            .concat(),
        );
        (t.header.program, t.header.logits)
    });
    assert_eq!(whole, repeated, "damped by 1 is not damped");
    assert_ne!(damped.header.logits, repeated.1);
    assert!(
        fixed
            .steps
            .iter()
            .all(|s| s.decisions.iter().all(|d| d.by == DecidedBy::Program))
    );
    assert_eq!(fixed.summary.unwrap().layers_saved, 1.0);
}

#[test]
fn a_file_of_overrides_is_replayed_and_flags_win_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.overrides");
    std::fs::write(&path, "scope token\nbudget 24\npin 7=skip  # why not\noff pin 8=skip\n").unwrap();
    let path = path.to_str().unwrap();
    let prompt = [
        "Why is the sky blue?",
        "--max-tokens",
        "4",
        "--ignore-eos",
        "--routers",
        "verifier",
    ];
    let replayed = trace(&[&prompt[..], &["--overrides", path]].concat());
    let given = ["--scope", "token", "--budget", "24", "--pin", "7=skip"];
    let same = trace(&[&prompt[..], &given].concat());
    assert_eq!(replayed.header.settings, same.header.settings);
    let programs = |t: &Trace| t.steps.iter().map(|s| (s.id, s.program.clone())).collect::<Vec<_>>();
    assert_eq!(programs(&replayed), programs(&same));
    assert!(
        replayed
            .steps
            .iter()
            .all(|s| s.depth <= 24 && s.decisions[7].by == DecidedBy::Pin)
    );

    let flags = ["--overrides", path, "--scope", "prompt", "--pin", "7=repeat"];
    let over = trace(&[&prompt[..], &flags].concat());
    assert_eq!(over.header.settings.budget, Some(24));
    assert_eq!(over.header.settings.scope, drllm::trace::Scope::Prompt);
    assert_eq!(
        over.header.decisions[7].action,
        Action::Repeat,
        "the flag's pin is the last one"
    );

    std::fs::write(path, "dial 0\npin 30=skip\n").unwrap();
    refused(
        &["x", "--overrides", path],
        2,
        "my.overrides: line 2, column 5: there is no layer 30",
    );
    std::fs::write(path, "\n  dial 7\n").unwrap();
    refused(
        &["x", "--overrides", path],
        2,
        "my.overrides: line 2, column 8: expected a number from -1",
    );
    refused(
        &["x", "--overrides", "/nowhere/o"],
        1,
        "cannot read the overrides /nowhere/o",
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed: &str| {
        let sampling = [
            "--temperature",
            "0.9",
            "--top-k",
            "40",
            "--top-p",
            "0.95",
            "--max-tokens",
            "12",
        ];
        let trace = trace(&[&["Tell a story.", "--scope", "token", "--seed", seed][..], &sampling].concat());
        trace
            .steps
            .iter()
            .map(|s| (s.id, s.program.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(run("1"), run("1"));
    assert_ne!(run("1"), run("2"));
}

#[test]
fn stop_strings_end_the_answer() {
    let stopped = trace(&["What is the capital of France?", "--routers", "none", "--stop", "Paris"]);
    assert_eq!(stopped.text(), "The capital of France is ");
    assert_eq!(stopped.summary.unwrap().stop, drllm::trace::StopReason::StopString);
}

#[test]
fn the_documented_example_is_a_trace() {
    let text = include_str!("../data/example.trace.jsonl");
    let trace = Trace::from_json_lines(text).unwrap();
    assert!(
        trace.to_json_lines() == text,
        "what is read is not what is written again"
    );
    assert!(trace.summary.is_some() && !trace.steps.is_empty());
}

#[test]
fn mistakes_in_the_arguments_exit_with_2() {
    refused(&["x", "--program", "0-11 13-30"], 2, "column 9: there is no layer 30");
    refused(&["x", "--program", "0-5 7y2"], 2, "column 6");
    refused(
        &["x", "--program", "0-5 7x2~3"],
        2,
        "column 9: expected a damping from -1 to 2 of at most three decimals",
    );
    refused(&["x", "--budget", "0"], 2, "the budget is 0");
    refused(&["x", "--budget", "61"], 2, "expected 1 to 60");
    refused(&["x", "--dial", "1.5"], 2, "the dial is 1.5");
    refused(&["x", "--pin", "7=jump"], 2, "unknown action");
    refused(&["x", "--pin", "30=skip"], 2, "layers 0-29");
    refused(&["x", "--pin", "0=repeat", "--budget", "1"], 2, "over the budget");
    refused(&["x", "--routers", "none", "--budget", "20"], 2, "there are no routers");
    refused(&["  "], 2, "the prompt is empty");
    refused(&["x", "--device", "tpu"], 2, "expected auto, cpu, cuda:N or metal");
    refused(&["x", "--threads", "0"], 2, "expected 1 to 1024");
    refused(&["x", "--probe", "1"], 2, "--json");
    // What the model lacks, and what is below every range.
    refused(
        &["--ids", "1,99999999"],
        2,
        "id 99999999 of the prompt is outside the vocabulary of 49152",
    );
    refused(&["x", "--json", "--probe", "99999999"], 2, "outside the vocabulary");
    refused(&["x", "--iterations", "2"], 2, "has no loop");
    refused(&["x", "--exclude-expert", "3:17"], 2, "has no experts");
    refused(&["x", "--temperature", "-1"], 2, "the temperature is -1: expected 0");
    refused(&["x", "--seed", "-1"], 2, "expected a whole number from 0");
    refused(&["x", "--top-p", "-0.5"], 2, "top-p is -0.5");
    refused(&["x", "--repetition-penalty", "1e-40"], 2, "expected 0.001 or more");
    refused(&["x", "--repetition-penalty", "-1"], 2, "expected 0.001 or more");
}

#[test]
fn what_cannot_be_done_exits_with_1_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let text = file("renamed.gguf", b"this is no model at all, only some text");
    refused(&["x", "--model", &text], 1, "GGUF");
    let whole = std::fs::read(crate::common::default_model()).unwrap();
    let truncated = file("truncated.gguf", &whole[..whole.len() / 2]);
    refused(&["x", "--model", &truncated], 1, "truncated");
    refused(&["x", "--model", "no-such-model"], 1, "no-such-model");
    refused(&["x", "--routers", &text], 1, "no router checkpoint");
    refused(&["x", "--routers", "/nowhere/routers"], 1, "cannot read the routers");
    let long = vec!["504"; 8192].join(",");
    refused(&["--ids", &long], 1, "context holds 8192");
}

#[test]
fn eight_bits_are_near_and_said() {
    let run = |more: &[&str]| {
        let ids = [
            "--ids",
            "504,3575,282,4649,314",
            "--routers",
            "none",
            "--max-tokens",
            "2",
            "--probe",
            "7042,260",
        ];
        trace(&[&ids[..], more].concat())
    };
    let probes = |trace: &Trace| -> Vec<f32> {
        let of = [trace.header.logits.as_ref(), trace.steps[0].logits.as_ref()];
        of.iter()
            .flat_map(|logits| logits.unwrap().probe.iter().map(|p| p.1))
            .collect()
    };
    let (usual, exact) = (run(&[]), run(&["--exact"]));
    assert_eq!(
        (usual.header.model.arithmetic, usual.header.model.kv_bits),
        (Arithmetic::Usual, None)
    );
    assert_eq!(exact.header.model.arithmetic, Arithmetic::Exact);
    for (more, arithmetic, kv_bits) in [
        (&["--activations", "8"][..], Arithmetic::EightBits, None),
        (&["--kv-bits", "8"][..], Arithmetic::Usual, Some(8)),
        (
            &["--activations", "8", "--kv-bits", "8"][..],
            Arithmetic::EightBits,
            Some(8),
        ),
    ] {
        let eight = run(more);
        assert_eq!(
            (eight.header.model.arithmetic, eight.header.model.kv_bits),
            (arithmetic, kv_bits)
        );
        let (eight, usual, exact) = (probes(&eight), probes(&usual), probes(&exact));
        for ((eight, usual), exact) in eight.iter().zip(&usual).zip(&exact) {
            assert!((usual - exact).abs() < 0.02, "{usual} and {exact}");
            assert!((eight - exact).abs() < 1.0, "{more:?}: {eight} and {exact}");
        }
        assert_ne!(eight, usual, "{more:?} changes something");
    }
    refused(&["x", "--activations", "8", "--exact"], 2, "cannot be used with");
    refused(&["x", "--activations", "7"], 2, "possible values: 8, 15");
    // A model whose weights are f32 in its file runs without such kernels, and it is said.
    let place = crate::common::ModelFolder::new();
    place.write("exact.toml", "exact = true\nactivations = 8\nkv_bits = 8\n");
    let (code, _, told) = place.run("run --config exact.toml --model model --device cpu --max-tokens 1 word");
    assert!(
        code == 0 && told.contains("activations are not rounded to 8 bits: exact = true"),
        "exact wins, and it is said: {told}"
    );
    let run = "run --model model --device cpu --activations 8 --kv-bits 8 --max-tokens 1 word";
    let (code, _, told) = place.run(run);
    assert_eq!(code, 0, "{told}");
    for note in [
        "activations are not rounded to 8 bits",
        "keys and values are not kept in 8 bits",
    ] {
        assert!(told.contains(note), "{told}");
    }
}

#[test]
fn as_many_next_tokens_are_named_as_there_are() {
    for next in ["99999999999", "18446744073709551615"] {
        let trace = trace(&["x", "--routers", "none", "--max-tokens", "1", "--next", next]);
        let next = &trace.header.next;
        assert_eq!(next.len(), 49_152);
        assert!(next.is_sorted_by(|a, b| a.probability >= b.probability));
    }
}

#[test]
#[cfg(unix)]
fn a_signal_ends_a_run_with_what_there_is_of_it() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    for signal in ["-INT", "-TERM"] {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin("drllm-tui"))
            .args(["run", "Tell me a story.", "--routers", "none", "--json"])
            .args(["--ignore-eos", "--max-tokens", "8000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let begun: Vec<String> = lines.by_ref().take(3).collect();
        assert!(begun[2].contains(r#""type":"token""#), "{begun:?}");
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let rest: Vec<String> = lines.collect();
        let last = rest.last().unwrap();
        assert!(
            last.contains(r#""type":"summary""#) && last.contains(r#""stop":"stopped""#),
            "{last}"
        );
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("stopped after ") && told.contains(" token"), "{told}");
    }
}
