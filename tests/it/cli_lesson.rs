//! `drllm-tui lesson` as its user sees it, without the screen.

use crate::common::drllm;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

#[test]
fn lessons_are_listed_and_broken_ones_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("lessons")).unwrap();
    std::fs::write(
        dir.path().join("lessons/mine.toml"),
        "title = 'x'\nsummary = 'y'\n[[step]]\ntxet = 'z'",
    )
    .unwrap();
    let mut command = drllm();
    let run = command.arg("lesson").env("DRLLM_CONFIG_DIR", dir.path()).assert();
    run.success().stdout(
        contains("1-program")
            .and(contains("mine.toml:4:1"))
            .and(contains("unknown field `txet`")),
    );
}

#[test]
fn a_name_that_is_not_there_is_refused_with_the_nearest() {
    let run = drllm().args(["lesson", "overide"]).assert();
    run.code(2)
        .stderr(contains("there is no lesson 'overide'").and(contains("3-override")));
}

#[test]
fn a_file_is_checked() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/lessons/1-program.toml");
    drllm()
        .args(["lesson", "--check", shipped])
        .assert()
        .success()
        .stdout(contains("6 steps"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    std::fs::write(&path, "title = 'x'\n").unwrap();
    let run = drllm().args(["lesson", "--check"]).arg(&path).assert();
    run.code(2).stderr(contains("bad.toml:1:1"));
}
