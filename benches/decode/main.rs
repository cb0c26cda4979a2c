//! What a routed token costs: `cargo bench --bench decode -- [PART]…`, parts being
//!
//! - `skipping`: the time of a token against how many of its layers run;
//! - `ragged`: a program for every token against one for all;
//! - `fill`: tokens that leave out some layers under KV fill, routers asked, against the unmodified model;
//! - `routers`: all routers, policy and trace against none, decode and prefill;
//! - `load`: from the start of a process to its first token, and its memory;
//! - `amx`: prompts with AMX against without (not run unless asked);
//! - `memory`: tokens against a loop that only reads as many bytes (not run unless asked);
//! - `context [SVG]`: tokens up to the model's whole context (a minute or more; not run unless asked);
//! - `serve`: measures on request, for benches/llama_cpp.py.
//!
//! Everything that is compared runs in turns, a token here and a token there, so that what else the
//! machine does falls on both; ratios are medians of the turns' own ratios. The model is the default
//! one or `DRLLM_MODEL`, the routers those that ship for it or `DRLLM_ROUTERS`, the device the CPU or `DRLLM_DEVICE`.

mod amx;
mod context;
mod fill;
mod load;
mod memory;
mod ragged;
mod routers;
mod serve;
mod skipping;

use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};
use drllm::engine::{LoadRequest, RouterChoice, load_model};
use drllm::model::Model;
use drllm::router::{Router, RouterSet};
use drllm::trace::Settings;

/// Never set: nobody stops a benchmark.
pub static GO_ON: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|a| a == "--bench") {
        println!("decode: not started by `cargo bench`, nothing is measured");
        return Ok(());
    }
    let mut parts: Vec<&str> = args.iter().map(String::as_str).filter(|a| *a != "--bench").collect();
    if parts.is_empty() {
        parts = vec!["skipping", "ragged", "fill", "routers", "load"];
    }
    let mut parts = parts.into_iter();
    while let Some(part) = parts.next() {
        match part {
            "amx" => amx::measure()?,
            "memory" => memory::measure()?,
            "skipping" => skipping::measure()?,
            "ragged" => ragged::measure()?,
            "fill" => fill::measure()?,
            "routers" => routers::measure()?,
            "load" => load::measure()?,
            "load-once" => load::once()?,
            "context" => context::measure(parts.next())?,
            "serve" => serve::serve()?,
            other => {
                bail!(
                    "there is no part '{other}': expected skipping, ragged, fill, routers, load, amx, memory, context or serve"
                )
            }
        }
    }
    Ok(())
}

pub fn request() -> LoadRequest {
    LoadRequest {
        model: std::env::var("DRLLM_MODEL").ok(),
        routers: std::env::var("DRLLM_ROUTERS").map_or(RouterChoice::BuiltIn, |path| RouterChoice::File(path.into())),
        device: std::env::var("DRLLM_DEVICE").unwrap_or_else(|_| "cpu".into()),
        activations: bits("DRLLM_ACTIVATIONS"),
        kv_bits: bits("DRLLM_KV_BITS"),
        ..LoadRequest::default()
    }
}

/// What the variable says, or the default.
fn bits<T: clap::ValueEnum + Default>(variable: &str) -> T {
    let given = std::env::var(variable).ok();
    given.map_or(T::default(), |bits| {
        T::from_str(&bits, false).expect("a number of bits")
    })
}

pub fn model() -> Result<Model> {
    load_model(&request(), &mut |_, _, _| {}, &mut |_| {}, &GO_ON)
}

/// Those of the default model, or `DRLLM_ROUTERS`.
pub fn built_in_routers(model: &Model) -> Result<RouterSet> {
    let shipped = include_bytes!("../../assets/routers/smollm2-135m-instruct.depth.safetensors");
    let routers = match request().routers {
        RouterChoice::File(path) => RouterSet::load(&path)?,
        _ => RouterSet::from_bytes(shipped, "built-in")?,
    };
    routers.check(&model.info.name, model.info.layers, model.info.hidden_size)?;
    Ok(routers)
}

/// Some tokens of English text, the first `count`.
pub fn text(model: &Model, count: usize) -> Result<Vec<u32>> {
    let ids = model.tokenizer.encode(include_str!("../../README.md"))?;
    Ok(ids.into_iter().cycle().take(count).collect())
}

/// Runs on to the given number of tokens, whatever the model says.
pub fn endless(settings: Settings) -> Settings {
    Settings {
        max_tokens: usize::MAX,
        ignore_eos: true,
        ..settings
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The median of the turns' ratios a/b.
pub fn ratio(a: &[f64], b: &[f64]) -> f64 {
    let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| a / b).collect();
    median(&ratios)
}
