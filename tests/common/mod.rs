//! What the integration tests share.
#![allow(dead_code, reason = "every test file uses a part of it")]

use drllm::model::catalog::{self, ModelLocation};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

/// The default model's file, pulled by the program's own means when it is not there yet.
/// `DRLLM_TEST_MODEL` may name a copy.
pub fn default_model() -> PathBuf {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        let name = std::env::var("DRLLM_TEST_MODEL").ok();
        let located = catalog::locate(name.as_deref(), &mut |_| {}, &AtomicBool::new(false))
            .unwrap_or_else(|error| panic!("these tests need the default model: {error}"));
        match located.location {
            ModelLocation::Gguf(path) => path,
            ModelLocation::Folder(path) => panic!("{} is a folder, a GGUF file was expected", path.display()),
        }
    };
    MODEL.get_or_init(find).clone()
}
