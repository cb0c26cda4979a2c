//! What several tests need.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use drllm::engine::{LoadRequest, RouterChoice, load_model, load_routers};
use drllm::model::Model;
use drllm::model::catalog::{self, ModelLocation};
use drllm::router::Router;
use drllm::testing::tiny_model;
use tempfile::TempDir;

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
pub fn routers() -> &'static dyn Router {
    static ROUTERS: OnceLock<Box<dyn Router>> = OnceLock::new();
    &**ROUTERS.get_or_init(|| {
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
            other => panic!("{} is no GGUF file, one was expected", other.path().display()),
        }
    };
    MODEL.get_or_init(find).clone()
}

/// A folder of its own with the tiny model in `model`, in which the program runs.
pub struct ModelFolder(TempDir);

impl ModelFolder {
    pub fn new() -> ModelFolder {
        let folder = ModelFolder(tempfile::tempdir().unwrap());
        folder.model("model", 7);
        folder
    }

    /// Writes a tiny model with the weights of `seed`.
    pub fn model(&self, name: &str, seed: u64) {
        std::fs::create_dir(self.path(name)).unwrap();
        tiny_model::write(&self.path(name), seed);
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Runs the program in the folder, which holds its cache too: exit code, standard output, standard error.
    pub fn run(&self, args: &str) -> (i32, String, String) {
        let output = drllm()
            .current_dir(self.folder())
            .env("DRLLM_CACHE_DIR", self.path("cache"))
            .env("DRLLM_DATA_DIR", self.path("data"))
            .args(args.split(' '))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Standard output of a command that succeeds.
    pub fn ok(&self, args: &str) -> String {
        let (code, out, err) = self.run(args);
        assert_eq!(code, 0, "{args}: {err}");
        out
    }

    /// A command that ends with `code` and says `expected`.
    pub fn refused(&self, code: i32, args: &str, expected: &str) {
        let (found, _, err) = self.run(args);
        assert_eq!(found, code, "{args}: {err}");
        assert!(err.contains(expected), "{args}: {err}");
    }
}
