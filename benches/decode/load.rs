//! From the start of a process to its first token, with the model's file in the file cache.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use drllm::engine::{Generation, Prompt};
use drllm::model::catalog::{self, ModelLocation};
use drllm::trace::Settings;

use super::{GO_ON, built_in_routers, endless, median, model, request, text};

const PROCESSES: usize = 7;
const PROMPT: usize = 16;

pub fn measure() -> Result<()> {
    let located = catalog::locate(request().model.as_deref(), &mut |_| {}, &GO_ON)?;
    let file = match &located.location {
        ModelLocation::Gguf(path) => std::fs::metadata(path)?.len() as f64,
        ModelLocation::LoopMoe(path) => std::fs::metadata(path)?.len() as f64,
        ModelLocation::BuiltIn => drllm::model::loopmoe::BUILT_IN.len() as f64,
        ModelLocation::Folder(path) => folder_bytes(path)?,
    };
    let program = std::env::current_exe()?;
    let mut columns = [const { Vec::new() }; 5];
    for _ in 0..PROCESSES {
        let start = Instant::now();
        let run = Command::new(&program).args(["--bench", "load-once"]).output()?;
        let whole = start.elapsed().as_secs_f64() * 1e3;
        ensure!(
            run.status.success(),
            "the process failed: {}",
            String::from_utf8_lossy(&run.stderr)
        );
        let text = String::from_utf8(run.stdout)?;
        let numbers: Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
        for (column, number) in columns.iter_mut().zip(numbers?.into_iter().chain([whole])) {
            column.push(number);
        }
    }
    let [model, routers, token, resident, whole] = columns.each_ref().map(|c| median(c));
    println!(
        "load: model {model:.0} ms, routers {routers:.0} ms, {PROMPT} tokens of a prompt and the first of the answer \
         {token:.0} ms; the process {whole:.0} ms from start to end (bar 500)"
    );
    println!(
        "memory: {:.0} MB resident, {:.2} times the file of {:.0} MB (bar 3)\n",
        resident / 1e6,
        resident / file,
        file / 1e6
    );
    Ok(())
}

/// In a process of its own: prints the milliseconds of the stages and the resident bytes.
pub fn once() -> Result<()> {
    let start = Instant::now();
    let model = model()?;
    let loaded = start.elapsed();
    let routers = built_in_routers(&model)?;
    let with_routers = start.elapsed();
    let prompt = Prompt::Ids(text(&model, PROMPT)?);
    let settings = endless(Settings::default());
    let (mut run, _) = Generation::start(&model, Some(&routers), &prompt, &settings, &GO_ON)?;
    run.step()?.context("no token came")?;
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    let (routed, token) = (with_routers - loaded, start.elapsed() - with_routers);
    println!("{} {} {} {}", ms(loaded), ms(routed), ms(token), resident_bytes());
    Ok(())
}

/// NaN where the system does not tell.
fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kilobytes.map_or(f64::NAN, |kb| kb * 1024.0)
}

fn folder_bytes(folder: &std::path::Path) -> Result<f64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes as f64)
}
