//! What several tests need.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use drllm::engine::{LoadRequest, RouterChoice, load_model, load_routers};
use drllm::model::Model;
use drllm::model::catalog::{self, ModelLocation};
use drllm::router::RouterSet;

/// The default model in exact mode or not, pulled by the program's own code if it is not cached.
fn load(exact: bool) -> Model {
    let request = LoadRequest {
        model: std::env::var("DRLLM_TEST_MODEL").ok(),
        device: "cpu".into(),
        exact,
        ..LoadRequest::default()
    };
    let stop = AtomicBool::new(false);
    load_model(&request, &mut |_, _, _| {}, &mut |_| {}, &stop).expect("the default model loads")
}

/// The default model in exact mode.
pub fn exact_model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| load(true))
}

/// The default model as it runs by default.
pub fn fast_model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| load(false))
}

/// The routers that ship for the default model.
pub fn routers() -> &'static RouterSet {
    static ROUTERS: OnceLock<RouterSet> = OnceLock::new();
    ROUTERS.get_or_init(|| {
        let routers = load_routers(&RouterChoice::BuiltIn, fast_model()).expect("the built-in routers load");
        routers.expect("routers ship for the default model")
    })
}

/// The program under test.
pub fn drllm() -> assert_cmd::Command {
    assert_cmd::Command::cargo_bin("drllm-tui").expect("the binary is built")
}

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
