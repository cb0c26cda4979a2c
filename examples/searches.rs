//! Records the searches of the example questions (assets/questions.toml) with the default model:
//! `cargo run --release --example searches` writes assets/searches/NAME.jsonl.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use drllm::engine::{LoadRequest, load_model};
use drllm::search::watch::watch;
use drllm::tui::search::{Form, examples};

fn main() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/searches");
    let stop = AtomicBool::new(false);
    let model = load_model(&LoadRequest::default(), &mut |_, _, _| {}, &mut |_| {}, &stop)?;
    let mut form = Form::default();
    for example in examples() {
        form.next_example();
        let request = form.request().map_err(|(_, why)| anyhow::anyhow!(why))?;
        let mut lines = String::new();
        let mut tell = |mut step: drllm::engine::SearchStep| {
            // As much as is shown.
            step.ms = step.ms.round();
            if let Some(tried) = &mut step.tried {
                tried.margin = (tried.margin * 1e4).round() / 1e4;
            }
            let line = serde_json::to_string(&step).expect("a step is plain data");
            writeln!(lines, "{line}").expect("writing to a string");
        };
        watch(&model, &request, &mut tell, &stop)?;
        let path = folder.join(format!("{}.jsonl", example.name));
        std::fs::write(&path, &lines).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}: {} simulations", path.display(), lines.lines().count() - 1);
    }
    Ok(())
}
