//! A search on a real Slurm, where there is one: see `slurm/run.sh`.
use std::io::Write;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use drllm::model::catalog;
use drllm::testing::tiny_model;

/// What `run.sh` ends with where there is no Slurm.
const SKIPPED: i32 = 77;

#[test]
fn four_slurm_tasks_find_what_one_process_finds() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/run.sh");
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(script)
        .arg(cargo_bin("drllm-tui"))
        .arg(model(folder.path()))
        .output()
        .expect("bash runs scripts");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if output.status.code() == Some(SKIPPED) {
        let wanted = std::env::var_os("DRLLM_TEST_SLURM").is_some();
        assert!(!wanted, "DRLLM_TEST_SLURM is set, but {out}{err}");
        // Not `println!`, which the test runner keeps to itself.
        writeln!(std::io::stderr(), "skipped: the search on Slurm, {}", out.trim()).unwrap();
        return;
    }
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("the same from four Slurm tasks"), "{out}{err}");
}

/// The default model; where it is not on this machine, a tiny one, so that nothing is pulled.
fn model(folder: &Path) -> String {
    match catalog::cached(None) {
        Ok(Some(located)) => located.location.path().display().to_string(),
        _ => {
            tiny_model::write(folder, 7);
            folder.display().to_string()
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
