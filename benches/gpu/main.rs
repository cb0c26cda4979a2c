//! A GPU's decode and prefill, beside what its memory and its arithmetic allow:
//!
//! `cargo bench --features cuda --bench gpu -- [--device cuda:0] [--shapes llama-1b,…] [--tokens N] [--torch PYTHON] [--check]`
//!
//! Models of the given shapes get random weights, made on the device (bf16; f32 on a CPU, which is only for trying the
//! benchmark out); `default` is the default model with its own weights, or the one that `DRLLM_MODEL` names. The device's
//! copying and multiplying speed is measured first. Decode takes turns, a token without routers, one with a random router
//! a layer in scope `prompt` (whose shadow is read), one in scope `token`. With `--torch`, benches/gpu_torch.py does the
//! same by the authors' way, of a model of the same shape with random weights, and takes its turn of tokens as well;
//! ratios are medians of the turns' own ratios. Each figure stands beside the bar it is to reach; with a miss or a wrong
//! number it ends by 1.
//!
//! `--check` holds the decode kernel against candle's, first of all, and `--check-only` nothing else.

mod check;
mod limits;
mod shapes;
mod together;
mod torch;

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device};
use drllm::engine::decide::{DecisionPolicy, RoutedChunk};
use drllm::engine::sequence::Sequence;
use drllm::engine::{LoadRequest, load_model};
use drllm::model::persistent::DecodeKernel;
use drllm::model::{self, Decoder, LoadOptions, WeightSource};
use drllm::program::{Action, Program};
use drllm::router::{FastRouters, InputNorm, MlpRouter, Router, RouterSet};
use drllm::trace::{RouterInfo, Scope, Settings};
use rand::{Rng, SeedableRng};

use limits::{Limits, timed};
use shapes::Shape;
use torch::Torch;

static GO_ON: AtomicBool = AtomicBool::new(false);
static MISSED: AtomicBool = AtomicBool::new(false);
const PROMPT: usize = 128;
/// Tokens decoded unless `--tokens` says otherwise.
const TOKENS: usize = 64;
/// The first tokens, which are not counted.
const WARM: usize = 4;
const WIDTH: usize = 128;
/// The least share of the memory's limit in decode, of the peak in prefill, and the least ratio to PyTorch in decode.
const DECODE_BAR: f64 = 0.6;
const LARGE_DECODE_BAR: f64 = 0.8;
const PREFILL_BAR: f64 = 0.5;
const TORCH_BAR: f64 = 3.0;
/// Weights in gigabytes from which a model is a large one.
const LARGE: f64 = 10.0;
/// The fewest tokens a second of the default model, the most that routers may cost in scope prompt and token, and how far a
/// token may be from a fixed time and one for each layer.
const DEFAULT_BAR: f64 = 1500.0;
const PROMPT_COST: f64 = 0.03;
const TOKEN_COST: f64 = 0.10;
const PROPORTION: f64 = 0.05;
/// How many times as many programs a second a search of the default model runs as on two cores.
const SEARCH_BAR: f64 = 30.0;

#[derive(Clone)]
struct Options {
    device: String,
    shapes: String,
    tokens: usize,
    /// A Python that has torch and transformers.
    torch: Option<String>,
    check: bool,
    measure: bool,
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
    let mut right = true;
    if options.check {
        right = check::all(&device)?;
    }
    if !options.measure {
        ensure!(right, "the decode kernel computes something else");
        return Ok(());
    }
    let limits = Limits::measure(&device, dtype)?;
    println!(
        "{:?}, {dtype:?}: copies {:.0} GB/s (read and written), multiplies {:.1} TFLOP/s\n",
        device.location(),
        limits.bytes / 1e9,
        limits.flops / 1e12
    );
    for name in options.shapes.split(',') {
        let measured =
            load(name, &options, &device, dtype).and_then(|(s, mut d)| measure(&s, &mut d, &limits, &options));
        measured.with_context(|| format!("shape {name}"))?;
    }
    ensure!(right, "the decode kernel computes something else");
    ensure!(!MISSED.load(Ordering::Relaxed), "a bar was missed");
    Ok(())
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options {
            device: "auto".to_owned(),
            shapes: shapes::LARGE.join(","),
            tokens: TOKENS,
            torch: None,
            check: false,
            measure: true,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--device" => options.device = value()?,
                "--shapes" => options.shapes = value()?,
                "--tokens" => options.tokens = value()?.parse().context("--tokens wants a number")?,
                "--torch" => options.torch = Some(value()?),
                "--check" => options.check = true,
                "--check-only" => (options.check, options.measure) = (true, false),
                other => bail!(
                    "there is no '{other}': expected --device, --shapes, --tokens, --torch, --check or --check-only"
                ),
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
    Ok((shape, random(&shape, device, dtype)?))
}

fn random(shape: &Shape, device: &Device, dtype: DType) -> Result<Decoder> {
    let source = WeightSource::Random {
        tied_embeddings: shape.tied,
    };
    let place = LoadOptions {
        device: device.clone(),
        dtype,
        exact: false,
        fused: !device.is_cpu(),
    };
    Decoder::load(shape.config(), &source, place, &mut |_| {})
}

fn measure(shape: &Shape, decoder: &mut Decoder, limits: &Limits, options: &Options) -> Result<()> {
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
    for note in decoder.gpu_notes() {
        println!("{note}");
    }
    ways(shape, decoder, options)?;
    decode(shape, decoder, &routers, read / limits.bytes, options)?;
    skipping(shape, decoder, options)?;
    prefill(shape, decoder, &routers, limits)?;
    search(shape, decoder, options)
}

/// Programs a second, of one question at a time and of many together, and of the default model beside two cores.
fn search(shape: &Shape, decoder: &mut Decoder, options: &Options) -> Result<()> {
    const PROGRAMS: usize = 512;
    let bound = if shape.name == shapes::DEFAULT {
        check::BLOCKS
    } else {
        check::HALVES
    };
    let (alone, together) = together::speeds(decoder, PROGRAMS, bound)?;
    println!(
        "search: {alone:.1} programs a second of one question, {together:.1} of {} together, {:.1} times as many",
        together::AT_ONCE,
        together / alone
    );
    if shape.name == shapes::DEFAULT && !decoder.device().is_cpu() {
        let on_cpu = Options {
            device: "cpu".to_owned(),
            ..options.clone()
        };
        let (_, cpu) = load(shapes::DEFAULT, &on_cpu, &Device::Cpu, DType::F32)?;
        let two_cores = together::on_two_cores(&cpu)?;
        println!(
            "two cores run {two_cores:.1} programs a second, so the device {:.1} times as many (at least {SEARCH_BAR:.0}: {})",
            together / two_cores,
            verdict(together >= SEARCH_BAR * two_cores)
        );
    }
    Ok(())
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
    let bar = if decoder.bytes_a_token() as f64 > LARGE * 1e9 {
        LARGE_DECODE_BAR
    } else {
        DECODE_BAR
    };
    println!(
        "| decode of {} tokens after {PROMPT} | ms a token | of the memory's limit | at least {:.0} % |",
        options.tokens - WARM,
        100.0 * bar
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
        // The default model is too small to be limited by memory.
        row(name, seconds, (shape.name != shapes::DEFAULT).then_some(bar));
    }
    let each: Vec<f64> = runs.iter().map(|(.., seconds)| median(&seconds[WARM..])).collect();
    if shape.name == shapes::DEFAULT {
        let a_second = 1.0 / each[0];
        println!(
            "{a_second:.0} tokens a second (at least {DEFAULT_BAR:.0}: {})",
            verdict(a_second >= DEFAULT_BAR)
        );
    }
    for ((name, ..), (seconds, most)) in rows.iter().zip(each.iter().zip([0.0, PROMPT_COST, TOKEN_COST])).skip(1) {
        let cost = seconds / each[0] - 1.0;
        println!(
            "routers cost {:.1} % in {name} (at most {:.0} %: {})",
            100.0 * cost,
            100.0 * most,
            verdict(cost <= most)
        );
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

/// The ways of the decode kernel beside each other, each for a few tokens in turns.
fn ways(shape: &Shape, decoder: &mut Decoder, options: &Options) -> Result<()> {
    if decoder.persistent().is_none() {
        return Ok(());
    }
    const WAYS: [DecodeKernel; 4] = [
        DecodeKernel::Whole,
        DecodeKernel::Ahead,
        DecodeKernel::Phases,
        DecodeKernel::Off,
    ];
    let ids: Vec<u32> = (0..PROMPT + options.tokens)
        .map(|i| (37 * i % shape.vocab) as u32)
        .collect();
    let settings = settings(Scope::Prompt);
    let mut seconds = [const { Vec::new() }; WAYS.len()];
    for _ in 0..2 {
        for (way, seconds) in WAYS.into_iter().zip(&mut seconds) {
            decoder.set_decode_kernel(way);
            let mut policy = DecisionPolicy::new(&settings, None, shape.layers)?;
            let mut sequence = Sequence::new(decoder, &GO_ON);
            policy.prompt(&mut sequence, &ids[..PROMPT])?;
            for (turn, &id) in ids[PROMPT..].iter().enumerate() {
                let next = |routed: RoutedChunk| Ok(routed.logits.argmax(0)?.to_scalar::<u32>()?);
                let elapsed = timed(decoder.device(), || policy.token(&mut sequence, id).and_then(next))?.0;
                if turn >= WARM {
                    seconds.push(elapsed);
                }
            }
        }
    }
    decoder.set_decode_kernel(DecodeKernel::Whole);
    let shown = WAYS
        .iter()
        .zip(&seconds)
        .map(|(way, s)| format!("{way:?} {:.3} ms", median(s) * 1e3));
    println!(
        "a token by each way of the kernel: {}",
        shown.collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

/// Whether a token's time is a fixed one and one for each layer.
fn skipping(shape: &Shape, decoder: &Decoder, options: &Options) -> Result<()> {
    let ids: Vec<u32> = (0..PROMPT + options.tokens)
        .map(|i| (37 * i % shape.vocab) as u32)
        .collect();
    let mut points: Vec<(f64, f64)> = Vec::new();
    for quarter in 0..=4 {
        let most = shape.layers * quarter / 4;
        // Spread over the depth.
        let runs = |l: usize| (l + 1) * most / shape.layers > l * most / shape.layers;
        let actions: Vec<Action> = (0..shape.layers)
            .map(|l| if runs(l) { Action::Execute } else { Action::Skip })
            .collect();
        let settings = Settings {
            program: Some(Program::from_actions(&actions)),
            ..settings(Scope::Prompt)
        };
        let mut policy = DecisionPolicy::new(&settings, None, shape.layers)?;
        let mut sequence = Sequence::new(decoder, &GO_ON);
        policy.prompt(&mut sequence, &ids[..PROMPT])?;
        let mut seconds = Vec::new();
        for &id in &ids[PROMPT..] {
            let next = |routed: RoutedChunk| Ok(routed.logits.argmax(0)?.to_scalar::<u32>()?);
            seconds.push(timed(decoder.device(), || policy.token(&mut sequence, id).and_then(next))?.0);
        }
        points.push((most as f64, median(&seconds[WARM..])));
    }
    let (first, last) = (points[0], points[points.len() - 1]);
    let each = (last.1 - first.1) / (last.0 - first.0);
    let off = |&(layers, seconds): &(f64, f64)| (seconds / (first.1 + each * layers) - 1.0).abs();
    let furthest = points.iter().map(off).fold(0.0, f64::max);
    let shown: Vec<String> = points
        .iter()
        .map(|(l, s)| format!("{l:.0} layers {:.3} ms", s * 1e3))
        .collect();
    println!(
        "{}: {:.3} ms and {:.4} for each layer, within {:.1} % (at most {:.0} %: {})",
        shown.join(", "),
        first.1 * 1e3,
        each * 1e3,
        100.0 * furthest,
        100.0 * PROPORTION,
        verdict(furthest <= PROPORTION)
    );
    Ok(())
}

fn prefill(shape: &Shape, decoder: &mut Decoder, routers: &RouterSet, limits: &Limits) -> Result<()> {
    println!(
        "\n| prefill | ms | of the peak | at least {:.0} % | ms by candle's attention and gates |\n|---|---:|---:|---|---:|",
        100.0 * PREFILL_BAR
    );
    let kernels = decoder.prefill_kernels();
    let settings = settings(Scope::Prompt);
    for tokens in [512, 2048] {
        let ids: Vec<u32> = (0..tokens).map(|i| (41 * i % shape.vocab) as u32).collect();
        // In turns, by the kernels and without.
        let mut both = [Vec::new(), Vec::new()];
        for _ in 0..4 {
            for (seconds, kernels) in both.iter_mut().zip([kernels.clone(), None]) {
                decoder.set_prefill_kernels(kernels);
                let mut policy = DecisionPolicy::new(&settings, Some(routers), shape.layers)?;
                let mut sequence = Sequence::new(decoder, &GO_ON);
                seconds.push(timed(decoder.device(), || policy.prompt(&mut sequence, &ids))?.0);
            }
        }
        decoder.set_prefill_kernels(kernels.clone());
        let [seconds, plain] = both.map(|seconds| median(&seconds[1..]));
        // The head runs for the last token only.
        let flops = 2.0 * shape.block_weights() as f64 * tokens as f64;
        let share = flops / seconds / limits.flops;
        println!(
            "| {tokens} tokens | {:.2} | {:.0} % | {} | {:.2} |",
            seconds * 1e3,
            100.0 * share,
            verdict(share >= PREFILL_BAR),
            plain * 1e3
        );
    }
    println!();
    Ok(())
}

fn verdict(reached: bool) -> &'static str {
    if !reached {
        MISSED.store(true, Ordering::Relaxed);
    }
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
