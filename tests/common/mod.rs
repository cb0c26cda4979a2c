//! What several tests need.

#![allow(dead_code, reason = "each test uses some of it")]

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use drllm::engine::{LoadRequest, RouterChoice, load_model, load_routers};
use drllm::model::Model;
use drllm::router::RouterSet;

/// The default model in exact mode or not, pulled by the program's own code if it is not cached.
fn load(exact: bool) -> Model {
    let request = LoadRequest {
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
