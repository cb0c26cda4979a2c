//! How fast routers train: `cargo bench --bench training -- [EXAMPLES [EPOCHS [THREADS]]]`, by
//! default 4,000 questions and 25 epochs on all cores, for 30 layers, 8 windows and 576 hidden units.
//! Then a few steps with candle's autograd on the same features, as batched tensors of all layers.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use drllm::program::Action;
use drllm::train::features::{FeatureKey, FeatureWriter, Moments};
use drllm::train::network::WindowBatch;
use drllm::train::trainer::{TrainEvent, TrainingJob};
use drllm::train::{FeatureFile, RouterDataset, RouterExample, TrainSettings, train};

const LAYERS: usize = 30;
const WINDOWS: usize = 8;
const SIZE: usize = 576;
/// Steps of autograd that are timed.
const STEPS: usize = 10;

fn main() -> Result<()> {
    let args: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let number = |at: usize, default: usize| args.get(at).copied().unwrap_or(default);
    let (examples, epochs) = (number(0, 4000), number(1, 25));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = number(2, cores);
    let folder = tempfile::tempdir()?;
    let data = dataset(examples);
    let started = Instant::now();
    let features = features(folder.path(), examples)?;
    println!(
        "{examples} questions x {LAYERS} layers x {WINDOWS} windows x {SIZE} units: {:.0} MB written in {:.1} s",
        features.bytes() as f64 / 1e6,
        started.elapsed().as_secs_f64()
    );
    let settings = TrainSettings {
        epochs,
        ..TrainSettings::default()
    };
    let job = TrainingJob {
        data: &data,
        features: &features,
        settings: &settings,
        threads,
        state: Some(&folder.path().join("state")),
    };
    let started = Instant::now();
    let mut steps = 0;
    train(&job, &AtomicBool::new(false), &mut |event| {
        if let TrainEvent::Epoch(report) = event {
            steps = report.steps;
        }
        Ok(())
    })?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{epochs} epochs on {threads} threads: {seconds:.1} s, peak memory {}",
        peak_memory()
    );
    let ours = seconds / steps as f64;
    let theirs = by_autograd(&features, &data, &settings)?;
    println!(
        "a step: {:.1} ms with validation and state, {:.1} ms by candle's autograd on {cores} cores: {:.1} times as long",
        1e3 * ours,
        1e3 * theirs,
        theirs / ours
    );
    Ok(())
}

fn dataset(examples: usize) -> RouterDataset {
    let action = |i: usize, layer: usize| match (i * 31 + layer * 17) % 29 {
        0 => Action::Skip,
        1 => Action::Repeat,
        _ => Action::Execute,
    };
    let example = |i: usize| {
        let target = (0..LAYERS).map(|layer| action(i, layer)).collect();
        RouterExample::new(format!("e{i}"), String::new(), target, false)
    };
    RouterDataset {
        examples: (0..examples).map(example).collect(),
        unsolved: 0,
        duplicates: 0,
        thinned: 0,
        sha256: "synthetic".into(),
    }
}

fn features(folder: &Path, examples: usize) -> Result<FeatureFile> {
    let key = serde_json::json!({
        "format": 1, "model_sha256": "", "exact": false, "device": "cpu", "data_sha256": "", "examples": examples,
        "layers": LAYERS, "windows": WINDOWS, "hidden_size": SIZE,
    });
    let key: FeatureKey = serde_json::from_value(key)?;
    let mut writer = FeatureWriter::open(folder, key)?;
    let mut state = 1u32;
    let mut noise = || {
        // Numerical Recipes' congruential generator: any numbers will do.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    for _ in 0..examples {
        let layer = |_| (0..WINDOWS * SIZE).map(|_| noise()).collect();
        writer.push(&(0..LAYERS).map(layer).collect::<Vec<Vec<f32>>>())?;
    }
    writer.finish()
}

/// Seconds a step takes: all layers' routers as batched tensors, cross-entropy.
fn by_autograd(features: &FeatureFile, data: &RouterDataset, settings: &TrainSettings) -> Result<f64> {
    let device = Device::Cpu;
    let weight = |inputs, outputs| Var::rand(-0.1f32, 0.1, (LAYERS, inputs, outputs), &device);
    let bias = |outputs| Var::zeros((LAYERS, 1, outputs), DType::F32, &device);
    let width = settings.width;
    let (w1, b1, w2, b2) = (weight(SIZE, width)?, bias(width)?, weight(width, 3)?, bias(3)?);
    let variables = [&w1, &b1, &w2, &b2].map(Var::clone).to_vec();
    let mut optimizer = AdamW::new(variables, ParamsAdamW::default())?;
    let batches: Vec<Tensor> = batches(features, settings.batch)?;
    let batch = settings.batch;
    let targets = data.examples[..batch]
        .iter()
        .flat_map(|e| e.targets.iter().flatten().copied());
    let targets = Tensor::from_iter(targets, &device)?
        .reshape((batch, LAYERS, 3))?
        .transpose(0, 1)?;
    let mut started = Instant::now();
    for (step, windows) in batches.iter().enumerate() {
        if step == 1 {
            // The first one allocates.
            started = Instant::now();
        }
        let inner = windows.matmul(&w1)?.broadcast_add(&b1)?.gelu()?;
        let mean = inner.reshape((LAYERS, batch, WINDOWS, width))?.mean(2)?;
        let logits = mean.matmul(&w2)?.broadcast_add(&b2)?;
        let log_p = (candle_nn::ops::log_softmax(&logits, D::Minus1)? * &targets)?.sum(D::Minus1)?;
        let focus = log_p.exp()?.affine(-1.0, 1.0)?.powf(settings.gamma)?;
        optimizer.backward_step(&(log_p * focus)?.mean_all()?.neg()?)?;
    }
    Ok(started.elapsed().as_secs_f64() / (batches.len() - 1) as f64)
}

/// Batches of all layers, (layers, batch · windows, hidden_size).
fn batches(features: &FeatureFile, size: usize) -> Result<Vec<Tensor>> {
    let mut values = vec![Vec::new(); STEPS + 1];
    let mut batch = WindowBatch::default();
    for layer in 0..LAYERS {
        let layer = features.layer(layer)?;
        let scaling = layer.scaling(&Moments::identity(SIZE));
        for (index, values) in values.iter_mut().enumerate() {
            let examples: Vec<usize> = (index * size..(index + 1) * size).collect();
            layer.gather(&examples, &scaling, &mut batch);
            values.extend_from_slice(&batch.windows);
        }
    }
    let tensor = |values| Tensor::from_vec(values, (LAYERS, size * WINDOWS, SIZE), &Device::Cpu);
    values.into_iter().map(|v| tensor(v).context("a batch")).collect()
}

/// The greatest resident memory so far, where the system tells it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or("not known".into(), |peak| peak.trim().to_owned())
}
