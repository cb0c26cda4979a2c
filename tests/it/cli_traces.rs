//! What is done with recorded traces, without a model: `diff`, `export`, `stats`.

use std::path::{Path, PathBuf};

use crate::common::drllm;
use drllm::program::Action;
use drllm::testing::fixture;
use drllm::trace::Trace;
use predicates::str::contains;

/// A folder with traces in it, where commands run so that only file names are printed.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(traces: &[(&str, &Trace)]) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        for (name, trace) in traces {
            folder.write(name, trace.to_json_lines());
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> assert_cmd::Command {
        let mut command = drllm();
        command.current_dir(self.0.path()).args(args);
        command
    }

    /// Standard output of a command that exits with `code` and complains of nothing.
    fn stdout(&self, args: &[&str], code: i32) -> String {
        let output = self.command(args).assert().code(code).stderr("");
        String::from_utf8(output.get_output().stdout.clone()).unwrap()
    }
}

fn shipped(name: &str) -> Trace {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/traces").join(name);
    Trace::from_json_lines(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A trace and one that differs in all that can differ.
fn pair() -> Folder {
    let before = fixture::trace(7, 12);
    let mut after = before.clone();
    let layer = (0..fixture::LAYERS)
        .find(|&l| before.header.decisions[l].action == Action::Execute)
        .unwrap();
    after.header.decisions[layer].action = Action::Skip;
    after.header.settings.budget = Some(24);
    after.header.device = "cuda:0".into();
    for step in &mut after.steps[..5] {
        step.decisions[layer].action = Action::Repeat;
        step.ms += 10.0;
    }
    after.steps[8].id += 1;
    after.steps[8].text = " \u{1b}[31mred".into();
    Folder::new(&[("a.jsonl", &before), ("b.jsonl", &after)])
}

#[test]
fn diff_says_what_differs() {
    let folder = pair();
    insta::assert_snapshot!("diff", folder.stdout(&["diff", "a.jsonl", "b.jsonl"], 1));
    let json = folder.stdout(&["diff", "a.jsonl", "b.jsonl", "--format", "json"], 1);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["differ"], serde_json::json!(["settings", "tokens", "decisions"]));
    assert_eq!(value["diverges"]["token"], 8);
    assert_eq!(value["decisions"]["prompt"]["kinds"][0]["cells"], 12);
    assert_eq!(value["decisions"]["cells"].as_array().unwrap().len(), 17);
    assert!(!json.contains('\u{1b}'));
}

#[test]
fn diff_exits_as_diff_does() {
    let folder = pair();
    let mut slower = fixture::trace(7, 12);
    slower.header.device = "metal".into();
    slower.header.prefill_ms *= 3.0;
    slower.header.model.name = "a-copy".into();
    slower.steps.iter_mut().for_each(|s| s.ms += 1.0);
    slower.summary.as_mut().unwrap().decode_tokens_per_second = 1.0;
    folder.write("slower.jsonl", slower.to_json_lines());
    let alike = folder.stdout(&["diff", "a.jsonl", "slower.jsonl"], 0);
    assert!(alike.contains("alike") && alike.contains("measured ms"), "{alike}");

    let mut reworded = fixture::trace(7, 12);
    reworded.steps[3].id += 1;
    folder.write("reworded.jsonl", reworded.to_json_lines());
    let only = |what, code| folder.stdout(&["diff", "-q", "a.jsonl", "reworded.jsonl", "--only", what], code);
    assert_eq!(
        (only("decisions", 0), only("tokens", 1)),
        (String::new(), String::new())
    );

    let trouble = |args: &[&str], message: &str| {
        let run = folder.command(&[&["diff"], args].concat()).assert();
        run.code(2).stdout("").stderr(contains(message));
    };
    folder.write("broken.jsonl", "{}\n");
    trouble(&["a.jsonl", "nosuch.jsonl"], "cannot read the trace nosuch.jsonl");
    trouble(&["a.jsonl", "broken.jsonl"], "broken.jsonl is no trace of `run --json`");
    trouble(&["-", "-"], "standard input holds one of them");
    trouble(&["a.jsonl"], "<B>");
    trouble(&["a.jsonl", "a.jsonl", "--log", "/nowhere/log"], "cannot write the log");
    let text = std::fs::read(folder.path("a.jsonl")).unwrap();
    let mut piped = folder.command(&["diff", "-", "a.jsonl"]);
    piped.write_stdin(text).assert().code(0);
}

#[test]
fn export_writes_every_format() {
    let folder = Folder::new(&[("sky.jsonl", &shipped("sky-budget.trace.jsonl"))]);
    let text = folder.stdout(&["export", "sky.jsonl", "--format", "text"], 0);
    insta::assert_snapshot!("export_text", text);
    for (format, part) in [
        ("svg", "<svg xmlns"),
        ("html", "<!DOCTYPE html>"),
        ("csv", "position,part,id,token"),
        ("json", "{\"schema\":1"),
    ] {
        let name = format!("out.{format}");
        folder.stdout(&["export", "sky.jsonl", "--out", &name], 0);
        let written = std::fs::read_to_string(folder.path(&name)).unwrap();
        assert_eq!(written, folder.stdout(&["export", "sky.jsonl", "--format", format], 0));
        assert!(written.contains(part), "{format}");
    }
    let csv = std::fs::read_to_string(folder.path("out.csv")).unwrap();
    insta::assert_snapshot!("export_csv", csv.lines().take(32).collect::<Vec<_>>().join("\n"));
}

#[test]
fn export_replaces_nothing_unasked_and_names_its_formats() {
    let folder = Folder::new(&[("a.jsonl", &fixture::trace(7, 2))]);
    folder.write("a.svg", "mine");
    let export = |args: &[&str], code, message| {
        let run = folder.command(&[&["export", "a.jsonl"], args].concat()).assert();
        run.code(code).stdout("").stderr(contains(message));
    };
    export(&["--out", "a.svg"], 1, "exists already");
    assert_eq!(std::fs::read_to_string(folder.path("a.svg")).unwrap(), "mine");
    export(&["--out", "a.svg", "--force"], 0, "");
    assert!(
        std::fs::read_to_string(folder.path("a.svg"))
            .unwrap()
            .starts_with("<?xml")
    );
    export(
        &["--out", "a.png"],
        2,
        "--format svg, tape, html, csv, json, text or overrides",
    );
    export(&[], 2, "no format");
    export(&["--out", "nowhere/a.svg"], 1, "cannot write nowhere/a.svg");
}

#[test]
fn exported_overrides_say_what_the_run_was_asked() {
    let folder = Folder::new(&[("pins.jsonl", &shipped("france-pins.trace.jsonl"))]);
    let overrides = folder.stdout(&["export", "pins.jsonl", "--format", "overrides"], 0);
    assert_eq!(
        overrides,
        "scope token\nkv fill\ndial -0.5\npin 12=skip\npin 20@40-44=repeat\n"
    );
}

/// The map's rows on a screen: what is between the layer's number and the shares.
fn screen_rows(trace: &Trace) -> Vec<String> {
    use ratatui::{Terminal, backend::TestBackend};
    let (width, height) = (300, 80);
    let mut app = fixture::empty(drllm::tui::color::ColorTier::Truecolor);
    drllm::tui::update::update(&mut app, drllm::tui::update::UiEvent::Resize(width, height));
    app.open("t".into(), None, trace.clone());
    app.ui.map.zoom = Some(1);
    app.ui.map.fold = Some(false);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| drllm::tui::view::view(&app, frame)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(line).collect()
}

#[test]
fn exported_text_is_what_the_screen_shows() {
    for name in ["sky-budget", "france-pins", "sky-depth"] {
        let trace = shipped(&format!("{name}.trace.jsonl"));
        let folder = Folder::new(&[("t.jsonl", &trace)]);
        let text = folder.stdout(&["export", "t.jsonl", "--format", "text"], 0);
        let map = &text[text.find("\ndecisions: ").unwrap()..text.find("\nconfidence").unwrap()];
        let rows: Vec<&str> = map.lines().skip(3).take(trace.layers()).collect();
        let screen = screen_rows(&trace);
        for (row, layer) in rows.iter().zip((0..trace.layers()).rev()) {
            let cells = row.trim_start().strip_prefix(&layer.to_string()).unwrap().trim_start();
            assert!(
                screen.iter().any(|line| line.contains(cells)),
                "{name}, layer {layer}: {cells}\n{}",
                screen.join("\n")
            );
        }
    }
}

#[test]
fn stats_counts_over_traces() {
    let traces = [
        ("sky.jsonl", &shipped("sky-budget.trace.jsonl")),
        ("plants.jsonl", &shipped("plants-raw.trace.jsonl")),
        ("depth.jsonl", &shipped("sky-depth.trace.jsonl")),
    ];
    let folder = Folder::new(&traces);
    let stats = |format: &str| {
        let args = ["stats", "sky.jsonl", "plants.jsonl", "depth.jsonl", "--programs", "3"];
        folder.stdout(&[&args[..], &["--format", format]].concat(), 0)
    };
    insta::assert_snapshot!("stats_text", stats("text"));
    insta::assert_snapshot!("stats_markdown", stats("markdown"));
    let json: serde_json::Value = serde_json::from_str(&stats("json")).unwrap();
    let tokens: usize = traces.iter().map(|(_, t)| t.steps.len()).sum();
    assert_eq!(json["answer_tokens"], tokens);
    assert_eq!(json["layers"].as_array().unwrap().len(), 30);
    assert_eq!(json["programs"].as_array().unwrap().len(), 3);
    let csv = stats("csv");
    let mean = json["layers"][7]["answers"][1].as_f64().unwrap() * 100.0;
    assert!(csv.contains(&format!("\nlayers,7,answer execute,{mean}\n")), "{csv}");
    assert!(
        csv.lines()
            .all(|line| line.split(',').count() == 4 || line.contains('"'))
    );
}

#[test]
fn stats_refuses_what_it_cannot_count() {
    let mut other = fixture::trace(7, 2);
    other.header.model.sha256 = "ff".into();
    let folder = Folder::new(&[("a.jsonl", &fixture::trace(7, 2)), ("other.jsonl", &other)]);
    let refused = |args: &[&str], code, message| {
        let run = folder.command(&[&["stats"], args].concat()).assert();
        run.code(code).stdout("").stderr(contains(message));
    };
    refused(&["a.jsonl", "other.jsonl"], 1, "other.jsonl: a run of SmolLM2");
    refused(&["nosuch.jsonl"], 1, "cannot read the trace nosuch.jsonl");
    refused(&[], 2, "<TRACE>");
    refused(&["a.jsonl", "--budget", "20"], 2, "cannot be used with");
    refused(&["a.jsonl", "--limit", "2"], 2, "cannot be used with");
    refused(&["--prompts", "nosuch.txt"], 1, "cannot read the prompts nosuch.txt");
    refused(&["--prompts", "nosuch.txt", "--limit", "0"], 2, "--limit is 0");
    refused(&["--prompts", "nosuch.txt", "--dial", "3"], 2, "the dial is 3");
    folder.write("bad.jsonl", "{\"answer\":1}\n");
    refused(&["--prompts", "bad.jsonl"], 1, "bad.jsonl, line 1: expected a string");
}

#[test]
fn stats_runs_a_file_of_prompts() {
    let folder = Folder::new(&[]);
    folder.write("p.txt", "Why is the sky blue?\n\nName a colour.\nnever run\n");
    let args = [
        "stats",
        "--prompts",
        "p.txt",
        "--limit",
        "2",
        "--max-tokens",
        "3",
        "--ignore-eos",
        "--routers",
        "verifier",
    ];
    let json = folder.stdout(&[&args[..], &["--budget", "25", "--format", "json"]].concat(), 0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["runs"], &json["answer_tokens"]), (&2.into(), &6.into()));
    assert!(json["depth"]["greatest"].as_u64().unwrap() <= 25);
    assert_eq!(json["agreement"][0]["pairs"], 2 * 3 * 30);
}

#[test]
fn manual_pages_cover_every_command() {
    let folder = Folder::new(&[]);
    let page = folder.stdout(&["man"], 0);
    assert!(
        page.contains(".TH drllm-tui 1") && page.contains("drllm\\-tui\\-run(1)"),
        "{page}"
    );
    folder.stdout(&["man", "--out", "pages/man1"], 0);
    for command in ["", "-run", "-open", "-diff", "-export", "-stats", "-models-pull"] {
        let path = folder.path(&format!("pages/man1/drllm-tui{command}.1"));
        let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
    }
    let overrides = std::fs::read_to_string(folder.path("pages/man1/drllm-tui-run.1")).unwrap();
    assert!(overrides.contains("overrides"));
    folder.write("file", "");
    let refused = folder.command(&["man", "--out", "file/x"]).assert();
    refused.code(1).stderr(contains("cannot make the folder file/x"));
}

#[test]
fn completions_know_the_commands() {
    let folder = Folder::new(&[]);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = folder.stdout(&["completions", shell], 0);
        assert!(script.contains("export") && script.contains("overrides"), "{shell}");
    }
}

#[test]
fn what_cannot_be_opened_is_said_before_the_screen() {
    let folder = Folder::new(&[("a.jsonl", &fixture::trace(7, 2))]);
    for args in [
        ["open", "a.jsonl", "nosuch.jsonl"],
        ["--trace", "a.jsonl", "--trace=nosuch.jsonl"],
    ] {
        let run = folder.command(&args).assert();
        run.code(1)
            .stdout("")
            .stderr(contains("cannot read the trace nosuch.jsonl"));
    }
    folder.command(&["open"]).assert().code(2).stderr(contains("<TRACE>"));
    folder.write("my.overrides", "bugdet 3\n");
    let refused = folder.command(&["--overrides", "my.overrides"]).assert();
    refused
        .code(2)
        .stderr(contains("my.overrides: line 1, column 1: expected scope, kv, dial"));
}
