//! A GPU's decode and prefill, beside what its memory and its arithmetic allow:
//!
//! `cargo bench --features cuda --bench gpu -- [--device cuda:0] [--shapes llama-1b,…] [--tokens N] [--torch PYTHON]`
//!
//! Models of the given shapes get random weights, made on the device (bf16; f32 on a CPU, which is only for trying the
//! benchmark out); `default` is the default model with its own weights, or the one that `DRLLM_MODEL` names. The device's
//! copying and multiplying speed is measured first. Decode takes turns, a token without routers, one with a random router
//! a layer in scope `prompt` (whose shadow is read), one in scope `token`. With `--torch`, benches/gpu_torch.py does the
//! same by the authors' way, of a model of the same shape with random weights, and takes its turn of tokens as well;
//! ratios are medians of the turns' own ratios. Each figure stands beside the bar it is to reach.

mod limits;
mod shapes;
mod torch;

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device};
use drllm::engine::decide::{DecisionPolicy, RoutedChunk};
use drllm::engine::sequence::Sequence;
use drllm::engine::{LoadRequest, load_model};
use drllm::model::{self, Decoder, LoadOptions, WeightSource};
use drllm::router::{FastRouters, InputNorm, MlpRouter, Router, RouterSet};
use drllm::trace::{RouterInfo, Scope, Settings};
use rand::{Rng, SeedableRng};

use limits::{Limits, timed};
use shapes::Shape;
use torch::Torch;

static GO_ON: AtomicBool = AtomicBool::new(false);
const PROMPT: usize = 128;
/// Tokens decoded unless `--tokens` says otherwise.
const TOKENS: usize = 64;
/// The first tokens, which are not counted.
const WARM: usize = 4;
const WIDTH: usize = 128;
/// The least share of the memory's limit in decode, of the peak in prefill, and the least ratio to PyTorch in decode.
const DECODE_BAR: f64 = 0.6;
const PREFILL_BAR: f64 = 0.4;
const TORCH_BAR: f64 = 3.0;

struct Options {
    device: String,
    shapes: String,
    tokens: usize,
    /// A Python that has torch and transformers.
    torch: Option<String>,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|a| a == "--bench") {
        println!("gpu: not started by `cargo bench`, nothing is measured");
        return Ok(());
    }
    let options = Options::parse(args.into_iter().filter(|a| a != "--bench"))?;
    let device = model::device(&options.device)?;
    let dtype = if device.is_cpu() { DType::F32 } else { DType::BF16 };
    let limits = Limits::measure(&device, dtype)?;
    println!(
        "{:?}, {dtype:?}: copies {:.0} GB/s (read and written), multiplies {:.1} TFLOP/s\n",
        device.location(),
        limits.bytes / 1e9,
        limits.flops / 1e12
    );
    for name in options.shapes.split(',') {
        let measured = load(name, &options, &device, dtype).and_then(|(s, d)| measure(&s, &d, &limits, &options));
        measured.with_context(|| format!("shape {name}"))?;
    }
    Ok(())
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options {
            device: "auto".to_owned(),
            shapes: shapes::LARGE.join(","),
            tokens: TOKENS,
            torch: None,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--device" => options.device = value()?,
                "--shapes" => options.shapes = value()?,
                "--tokens" => options.tokens = value()?.parse().context("--tokens wants a number")?,
                "--torch" => options.torch = Some(value()?),
                other => bail!("there is no '{other}': expected --device, --shapes, --tokens or --torch"),
            }
        }
        let tokens = options.tokens;
        ensure!(
            tokens > WARM,
            "--tokens {tokens}: the first {WARM} are not counted, so expected more"
        );
        Ok(options)
    }
}

/// The default model, or one of a named shape with random weights.
fn load(name: &str, options: &Options, device: &Device, dtype: DType) -> Result<(Shape, Decoder)> {
    if name == shapes::DEFAULT {
        let request = LoadRequest {
            model: std::env::var("DRLLM_MODEL").ok(),
            device: options.device.clone(),
            ..LoadRequest::default()
        };
        let decoder = load_model(&request, &mut |_, _, _| {}, &mut |_| {}, &GO_ON)?.decoder;
        return Ok((Shape::of(decoder.config()), decoder));
    }
    let shape = Shape::named(name)?;
    let source = WeightSource::Random {
        tied_embeddings: shape.tied,
    };
    let place = LoadOptions {
        device: device.clone(),
        dtype,
        exact: false,
        fused: !device.is_cpu(),
    };
    let decoder = Decoder::load(shape.config(), &source, place, &mut |_| {})?;
    Ok((shape, decoder))
}

fn measure(shape: &Shape, decoder: &Decoder, limits: &Limits, options: &Options) -> Result<()> {
    let read = decoder.bytes_a_token() as f64;
    println!(
        "{}: {:.2} billion weights in {:.2} GB, {} layers",
        shape.name,
        shape.weights_a_token() as f64 / 1e9,
        read / 1e9,
        shape.layers
    );
    let routers = random_routers(shape.layers, shape.hidden);
    // A copy reads and writes; what is only read gets all of it.
    decode(shape, decoder, &routers, read / limits.bytes, options)?;
    prefill(shape, decoder, &routers, limits)
}

/// All routers' dial says execute, so that the same blocks run everywhere.
fn settings(scope: Scope) -> Settings {
    Settings {
        scope,
        dial: 0.5,
        ..Settings::default()
    }
}

/// `least`: seconds that reading the weights once takes.
fn decode(shape: &Shape, decoder: &Decoder, routers: &RouterSet, least: f64, options: &Options) -> Result<()> {
    let device = decoder.device();
    let start = |python: &String| Torch::start(python, shape, device);
    let mut torch = options.torch.as_ref().map(start).transpose()?;
    let ids: Vec<u32> = (0..PROMPT + options.tokens)
        .map(|i| (37 * i % shape.vocab) as u32)
        .collect();
    let (prompt, token) = (settings(Scope::Prompt), settings(Scope::Token));
    let rows: [(&str, &Settings, Option<&dyn Router>); 3] = [
        ("without routers", &prompt, None),
        ("scope prompt, shadow", &prompt, Some(routers)),
        ("scope token", &token, Some(routers)),
    ];
    let mut runs = Vec::new();
    for (_, settings, routers) in &rows {
        let mut policy = DecisionPolicy::new(settings, *routers, shape.layers)?;
        let mut sequence = Sequence::new(decoder, &GO_ON);
        policy.prompt(&mut sequence, &ids[..PROMPT])?;
        runs.push((policy, sequence, Vec::new()));
    }
    let mut theirs = Vec::new();
    for (turn, &id) in ids[PROMPT..].iter().enumerate() {
        for (policy, sequence, seconds) in &mut runs {
            // Reading the greatest logit back is part of a token, as in a run.
            let next = |routed: RoutedChunk| Ok(routed.logits.argmax(0)?.to_scalar::<u32>()?);
            let (elapsed, _) = timed(device, || policy.token(sequence, id).and_then(next))?;
            seconds.push(elapsed);
        }
        if let Some(torch) = &mut torch {
            theirs.push(torch.token(&ids[..PROMPT], turn, id)?);
        }
    }
    println!(
        "| decode of {} tokens after {PROMPT} | ms a token | of the memory's limit | at least {:.0} % |",
        options.tokens - WARM,
        100.0 * DECODE_BAR
    );
    println!("|---|---:|---:|---|");
    let row = |name: &str, seconds: &[f64], bar: Option<f64>| {
        let seconds = median(&seconds[WARM..]);
        let share = least / seconds;
        println!(
            "| {name} | {:.3} | {:.0} % | {} |",
            seconds * 1e3,
            100.0 * share,
            bar.map_or("", |bar| verdict(share >= bar))
        );
    };
    for ((name, ..), (.., seconds)) in rows.iter().zip(&runs) {
        row(name, seconds, Some(DECODE_BAR));
    }
    if !theirs.is_empty() {
        row("PyTorch, a loop in Python, routers at every layer", &theirs, None);
        for ((name, ..), (.., ours)) in rows.iter().zip(&runs).skip(1) {
            let ratios: Vec<f64> = theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours).collect();
            let ratio = median(&ratios[WARM..]);
            println!(
                "PyTorch takes {ratio:.2} times as long as {name} (at least {TORCH_BAR}: {})",
                verdict(ratio >= TORCH_BAR)
            );
        }
    }
    Ok(())
}

fn prefill(shape: &Shape, decoder: &Decoder, routers: &RouterSet, limits: &Limits) -> Result<()> {
    println!(
        "\n| prefill | ms | of the peak | at least {:.0} % |\n|---|---:|---:|---|",
        100.0 * PREFILL_BAR
    );
    let settings = settings(Scope::Prompt);
    for tokens in [512, 2048] {
        let ids: Vec<u32> = (0..tokens).map(|i| (41 * i % shape.vocab) as u32).collect();
        let mut seconds = Vec::new();
        for _ in 0..4 {
            let mut policy = DecisionPolicy::new(&settings, Some(routers), shape.layers)?;
            let mut sequence = Sequence::new(decoder, &GO_ON);
            seconds.push(timed(decoder.device(), || policy.prompt(&mut sequence, &ids))?.0);
        }
        let seconds = median(&seconds[1..]);
        // The head runs for the last token only.
        let flops = 2.0 * shape.block_weights() as f64 * tokens as f64;
        let share = flops / seconds / limits.flops;
        println!(
            "| {tokens} tokens | {:.2} | {:.0} % | {} |",
            seconds * 1e3,
            100.0 * share,
            verdict(share >= PREFILL_BAR)
        );
    }
    println!();
    Ok(())
}

fn verdict(reached: bool) -> &'static str {
    if reached { "pass" } else { "miss" }
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
        input_norm: InputNorm::None,
        metadata: Default::default(),
        info: RouterInfo::default(),
        fast: FastRouters::default(),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}
