//! A GPU's decode and prefill, beside what its memory and its arithmetic allow:
//!
//! `cargo bench --features cuda --bench gpu -- [--device cuda:0] [--shapes llama-1b,…] [--torch PYTHON]`
//!
//! Models of the given shapes get random weights, made on the device (bf16; f32 on a CPU, which is only for trying the
//! benchmark out). The device's copying and multiplying speed is measured first. Decode takes turns, a token without
//! routers, one with a random router a layer in scope `prompt` (whose shadow is read), one in scope `token`. With
//! `--torch`, benches/gpu_torch.py does the same by the authors' way and takes its turn of tokens as well.

mod shapes;
mod torch;

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Tensor};
use drllm::engine::route::Route;
use drllm::engine::sequence::Sequence;
use drllm::engine::{Scope, Settings};
use drllm::model::{self, Decoder, Placement, WeightSource};
use drllm::router::{FastRouters, MlpRouter, RouterInfo, RouterSet};
use rand::{Rng, SeedableRng};

use shapes::Shape;
use torch::Torch;

static GO_ON: AtomicBool = AtomicBool::new(false);
const PROMPT: usize = 128;
const TOKENS: usize = 64;
const WARM: usize = 4;
const WIDTH: usize = 128;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|a| a == "--bench") {
        println!("gpu: not started by `cargo bench`, nothing is measured");
        return Ok(());
    }
    let (mut device, mut names, mut python) = ("auto".to_owned(), shapes::LARGE.join(","), None);
    let mut args = args.into_iter().filter(|a| a != "--bench");
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--device" => device = value()?,
            "--shapes" => names = value()?,
            "--torch" => python = Some(value()?),
            other => bail!("there is no '{other}': expected --device, --shapes or --torch"),
        }
    }
    let device = model::device(&device)?;
    let dtype = if device.is_cpu() { DType::F32 } else { DType::BF16 };
    let place = Placement {
        device,
        dtype,
        exact: false,
    };
    let limits = Limits::measure(&place)?;
    println!(
        "{:?}, {dtype:?}: copies {:.0} GB/s (read and written), multiplies {:.1} TFLOP/s\n",
        place.device.location(),
        limits.bytes / 1e9,
        limits.flops / 1e12
    );
    for name in names.split(',') {
        let shape = Shape::named(name)?;
        measure(&shape, &place, &limits, python.as_deref()).with_context(|| format!("shape {name}"))?;
    }
    Ok(())
}

/// What the device can do.
struct Limits {
    /// Bytes a second to and from its memory.
    bytes: f64,
    /// Multiplications and additions a second in large products.
    flops: f64,
}

impl Limits {
    fn measure(place: &Placement) -> Result<Limits> {
        let small = place.device.is_cpu();
        let elements = if small { 1 << 22 } else { 1 << 29 };
        let data = Tensor::zeros(elements, place.dtype, &place.device)?;
        // Into memory that is there already: making some anew is no copying.
        let target = data.copy()?;
        let moved = (2 * elements * place.dtype.size_in_bytes()) as f64;
        let seconds = best(place, || target.slice_set(&data, 0, 0))?;
        let side = if small { 512 } else { 8192 };
        let a = Tensor::randn(0f32, 1.0, (side, side), &place.device)?.to_dtype(place.dtype)?;
        let product = best(place, || a.matmul(&a).map(drop))?;
        Ok(Limits {
            bytes: moved / seconds,
            flops: 2.0 * (side as f64).powi(3) / product,
        })
    }
}

/// The least seconds of ten times, the device's work included.
fn best(place: &Placement, work: impl Fn() -> candle_core::Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..10 {
        least = least.min(timed(place, || Ok(work()?))?.0);
    }
    Ok(least)
}

/// Seconds until the device has done it.
fn timed<T>(place: &Placement, work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    place.device.synchronize()?;
    let start = Instant::now();
    let done = work()?;
    place.device.synchronize()?;
    Ok((start.elapsed().as_secs_f64(), done))
}

fn measure(shape: &Shape, place: &Placement, limits: &Limits, python: Option<&str>) -> Result<()> {
    let config = shape.config();
    let source = WeightSource::Random {
        tied_embeddings: config.tied_embeddings,
    };
    let decoder = Decoder::load(config.clone(), &source, place.clone(), &mut |_| {})?;
    let routers = random_routers(config.layers, config.hidden_size);
    let mut torch = python.map(|python| Torch::start(python, shape, place)).transpose()?;
    let ids: Vec<u32> = (0..PROMPT + TOKENS)
        .map(|i| (37 * i % config.vocab_size) as u32)
        .collect();

    // The same dial, under which every router says execute, so that the same blocks run.
    let settings = |scope| Settings {
        scope,
        dial: 0.5,
        ..Settings::default()
    };
    let (prompt, token) = (settings(Scope::Prompt), settings(Scope::Token));
    let rows = [
        ("without routers", &prompt, None),
        ("scope prompt, shadow", &prompt, Some(&routers)),
        ("scope token", &token, Some(&routers)),
    ];
    let mut runs = Vec::new();
    for (_, settings, routers) in &rows {
        let mut route = Route::new(settings, *routers, config.layers)?;
        let mut sequence = Sequence::new(&decoder, &GO_ON);
        route.prompt(&mut sequence, &ids[..PROMPT])?;
        runs.push((route, sequence, Vec::new()));
    }
    let mut theirs = Vec::new();
    for (turn, &id) in ids[PROMPT..].iter().enumerate() {
        for (route, sequence, seconds) in &mut runs {
            // Reading the greatest logit back is part of a token, as in a run.
            let next = |routed: drllm::engine::route::Routed| Ok(routed.logits.argmax(0)?.to_scalar::<u32>()?);
            let (elapsed, _) = timed(place, || route.token(sequence, id).and_then(next))?;
            seconds.push(elapsed);
        }
        if let Some(torch) = &mut torch {
            theirs.push(torch.token(&ids[..PROMPT], turn, id)?);
        }
    }
    let read = (shape.weights_a_token() * place.dtype.size_in_bytes()) as f64;
    // A copy reads and writes; what is only read gets all of it.
    let least = read / limits.bytes;
    println!(
        "{}: {:.2} billion weights, {} layers",
        shape.name,
        shape.weights_a_token() as f64 / 1e9,
        config.layers
    );
    println!("| decode after {PROMPT} tokens | ms a token | of the memory's limit |");
    println!("|---|---:|---:|");
    for ((name, ..), (.., seconds)) in rows.iter().zip(&runs) {
        let ms = median(&seconds[WARM..]) * 1e3;
        println!("| {name} | {ms:.3} | {:.0} % |", 100.0 * least * 1e3 / ms);
    }
    if !theirs.is_empty() {
        let (theirs, ours) = (median(&theirs[WARM..]), median(&runs[2].2[WARM..]));
        println!(
            "| PyTorch, a loop in Python, routers at every layer | {:.3} | {:.0} % |",
            theirs * 1e3,
            100.0 * least / theirs
        );
        println!(
            "PyTorch takes {:.2} times as long as scope token, {:.2} times as scope prompt",
            theirs / ours,
            theirs / median(&runs[1].2[WARM..])
        );
    }
    drop(runs);
    println!("\n| prefill | ms | of the peak |\n|---|---:|---:|");
    for tokens in [512, 2048] {
        let ids: Vec<u32> = (0..tokens).map(|i| (41 * i % config.vocab_size) as u32).collect();
        let mut seconds = Vec::new();
        for _ in 0..4 {
            let mut route = Route::new(&prompt, Some(&routers), config.layers)?;
            let mut sequence = Sequence::new(&decoder, &GO_ON);
            seconds.push(timed(place, || route.prompt(&mut sequence, &ids))?.0);
        }
        let seconds = median(&seconds[1..]);
        // The head runs for the last token only.
        let flops = 2.0 * shape.block_weights() as f64 * tokens as f64;
        println!(
            "| {tokens} tokens | {:.2} | {:.0} % |",
            seconds * 1e3,
            100.0 * flops / seconds / limits.flops
        );
    }
    println!();
    Ok(())
}

fn random_routers(layers: usize, hidden_size: usize) -> RouterSet {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let mut weights = |rows: usize, cols: usize| -> Vec<f32> {
        let bound = (6.0 / (rows + cols) as f32).sqrt();
        (0..rows * cols).map(|_| rng.random_range(-bound..bound)).collect()
    };
    let router = |_| MlpRouter {
        w1: weights(WIDTH, hidden_size),
        b1: vec![0.0; WIDTH],
        w2: weights(3, WIDTH),
        b2: vec![0.0; 3],
    };
    RouterSet {
        layers: (0..layers).map(router).collect(),
        windows: 8,
        width: WIDTH,
        hidden_size,
        metadata: Default::default(),
        info: RouterInfo::default(),
        fast: FastRouters::default(),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
