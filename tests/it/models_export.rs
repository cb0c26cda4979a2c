//! `models export`: what a program makes of a model is the same model when it is read back as an ordinary file.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use drllm::engine::sequence::Sequence;
use drllm::model::gguf::{self, GgufFile};
use drllm::model::{Model, catalog};
use drllm::program::Program;
use predicates::prelude::*;
use predicates::str::contains;

use crate::common;

/// Two layers of a small Llama.
fn small() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports/llama.gguf")
}

fn load(path: &Path, exact: bool) -> Model {
    let stop = AtomicBool::new(false);
    let located = catalog::locate(path.to_str(), &mut |_| {}, &stop).unwrap();
    Model::load(&located, String::new(), &Device::Cpu, exact, &mut |_| {}).unwrap()
}

/// Logits of the last of some tokens, read as a prompt and then one by one.
fn logits(model: &Model, program: &Program) -> Vec<Vec<f32>> {
    let ids = [40, 60, 80, 100, 33, 70, 91, 12, 200, 45];
    let stop = AtomicBool::new(false);
    let mut sequence = Sequence::new(&model.decoder, &stop);
    let mut run = |ids: &[u32]| sequence.run_program(ids, program).unwrap().to_vec1().unwrap();
    let mut all = vec![run(&ids)];
    all.extend(ids.chunks(1).map(run));
    all
}

fn export(source: &Path, program: &str, out: &Path) -> assert_cmd::assert::Assert {
    let out = out.to_str().unwrap();
    common::drllm()
        .args([
            "models",
            "export",
            source.to_str().unwrap(),
            "--program",
            program,
            "--out",
            out,
        ])
        .assert()
}

/// A program on the source and all layers of the exported file are one model, to the bit.
fn check(source: &Path, programs: &[&str], exact: bool) {
    let folder = tempfile::tempdir().unwrap();
    let before = load(source, exact);
    for program in programs {
        let out = folder.path().join("program.gguf");
        let _ = std::fs::remove_file(&out);
        export(source, program, &out).success();
        let program = Program::parse(program, before.info.layers).unwrap();
        let after = load(&out, exact);
        assert!(after.notes == before.notes, "{:?}", after.notes);
        assert_eq!(after.info.layers, program.depth());
        assert_eq!(after.info.quantisation, before.info.quantisation);
        let alone = Program::standard(after.info.layers);
        assert!(logits(&before, &program) == logits(&after, &alone), "{program}");
        assert_eq!(
            before.prompt_ids("Two  words\n", false).unwrap(),
            after.prompt_ids("Two  words\n", false).unwrap()
        );
    }
}

#[test]
fn an_exported_program_computes_what_the_program_does() {
    check(&small(), &["0-1", "1", "0 1x2", "(0-1)x2", "1 0 1"], true);
    check(
        &common::default_model(),
        &["0-14 17-29", "0-6 7x2 8 (10-12)x2 14-29"],
        false,
    );
}

fn bytes<'f>(file: &'f GgufFile, name: &str) -> &'f [u8] {
    file.tensor_bytes(name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn tensors_are_copied_as_they_are_and_the_metadata_says_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("program.gguf");
    let source = common::default_model();
    export(&source, "0 (3-4)x2", &out)
        .success()
        .stderr(contains("5 layers of the 30"));
    let (before, after) = (gguf::open(&source).unwrap(), gguf::open(&out).unwrap());
    for (new, old) in [(0, 0), (1, 3), (2, 4), (3, 3), (4, 4)] {
        for part in ["attn_q", "ffn_down", "ffn_norm"] {
            let name = |layer| format!("blk.{layer}.{part}.weight");
            assert!(
                bytes(&after, &name(new)) == bytes(&before, &name(old)),
                "{part} of {new}"
            );
        }
    }
    assert!(bytes(&after, "token_embd.weight") == bytes(&before, "token_embd.weight"));
    assert_eq!(
        after.content.tensor_infos.len(),
        before.content.tensor_infos.len() / 30 * 5 + 2
    );
    assert_eq!(after.own("block_count"), Some(5));
    assert_eq!(after.string("drllm.program"), Some("0 (3-4)x2"));
    let name = format!("{} (0 (3-4)x2)", before.string("general.name").unwrap());
    assert_eq!(after.string("general.name"), Some(&*name));
    assert_eq!(after.string("drllm.source_sha256").map(str::len), Some(64));
    // What says nothing of layers stands as it stood.
    for (key, value) in &before.content.metadata {
        if !["llama.block_count", "general.name", "general.size_label"].contains(&key.as_str()) {
            let found = after.content.metadata.get(key).unwrap_or_else(|| panic!("no {key}"));
            assert_eq!(format!("{found:?}"), format!("{value:?}"), "{key}");
        }
    }
    let length = std::fs::metadata(&out).unwrap().len();
    assert_eq!(length % 32, 0, "the last tensor is padded, as llama.cpp wants it");
}

#[test]
fn what_cannot_be_exported_is_refused_by_name_and_nothing_is_written() {
    let folder = common::ModelFolder::new();
    let out = folder.path("out.gguf");
    let refused = |source: &Path, program: &str, code: i32, said: &str| {
        export(source, program, &out).code(code).stderr(contains(said));
        assert!(!out.exists(), "{said}");
    };
    refused(&small(), "0 1x2~0.5", 2, "the program '0 1x2~0.5' has a damped repeat");
    refused(&small(), "", 2, "the program is empty");
    refused(&small(), "0-2", 2, "there is no layer 2; this model has layers 0-1");
    refused(&small(), "0-1\u{1b}", 2, "\\u{1b}");
    refused(&folder.path("model"), "0-3", 1, "convert_hf_to_gguf.py");
    refused(Path::new("loopmoe"), "0-3", 1, "is a LoopMoE model");
    refused(&folder.path("nosuch.gguf"), "0", 1, "no file or folder");
    let whole = std::fs::read(small()).unwrap();
    let cut = folder.path("cut.gguf");
    std::fs::write(&cut, &whole[..whole.len() - 100]).unwrap();
    refused(&cut, "0", 1, "is truncated");
    std::fs::write(&out, "mine").unwrap();
    export(&small(), "0", &out)
        .code(1)
        .stderr(contains("exists already; replace it with --force"));
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
    let itself = folder.path("itself.gguf");
    std::fs::copy(small(), &itself).unwrap();
    let path = itself.to_str().unwrap();
    common::drllm()
        .args(["models", "export", path, "--program", "0", "--out", path, "--force"])
        .assert()
        .code(2)
        .stderr(contains("is named twice"));
    assert!(std::fs::read(&itself).unwrap() == whole);
    let forced = out.to_str().unwrap();
    common::drllm()
        .args(["models", "export", path, "--program", "0", "--out", forced, "--force"])
        .assert()
        .success()
        .stdout(predicate::str::is_empty());
    assert_eq!(load(&out, true).info.layers, 1);
}
