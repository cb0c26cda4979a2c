//! Whether the decode kernel computes what candle's kernels compute, on random models of many shapes and types.

use std::io::Cursor;

use anyhow::{Context, Result, ensure};
use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{DType, Device, Tensor};
use drllm::engine::decide::DecisionPolicy;
use drllm::engine::sequence::Sequence;
use drllm::model::persistent::DecodeKernel;
use drllm::model::{Decoder, LoadOptions, ModelConfig, WeightSource, gguf};
use drllm::program::{Action, Program};
use drllm::router::Router;
use drllm::trace::{KvMode, Pin, Scope, Settings};
use rand::{Rng, SeedableRng};

use super::shapes::Shape;
use super::{GO_ON, random, random_routers};

/// How far logits may be apart, relative to their spread: in floats of 32 bits, and where hidden states are rounded to 16.
const FLOATS: f32 = 1e-3;
pub const HALVES: f32 = 0.15;
/// The same of GGUF's types, whose activations candle rounds as well, by kernels that depend on how many rows there are.
pub const BLOCKS: f32 = 0.1;
/// Actions may differ where the two likeliest are no further apart than this.
const NEAR_TIE: f32 = 0.02;
const TOKENS: usize = 6;
const PROMPT: usize = 70;

/// Prints a line for each check; whether all are right.
pub fn all(device: &Device) -> Result<bool> {
    let mut right = true;
    let mut say = |name: &str, outcome: Result<String>| match outcome {
        Ok(figures) => println!("pass  {name}: {figures}"),
        Err(why) => {
            right = false;
            println!("WRONG {name}: {why:#}");
        }
    };
    for (shape, dtype) in [
        ("tiny", DType::F32),
        ("tiny-qwen", DType::F32),
        ("tiny", DType::BF16),
        ("tiny-qwen", DType::BF16),
        ("llama-1b", DType::BF16),
    ] {
        let name = format!("{shape} in {dtype:?}");
        let mut decoder = match Shape::named(shape).and_then(|shape| random(&shape, device, dtype)) {
            Ok(decoder) => decoder,
            Err(why) => {
                say(&name, Err(why));
                continue;
            }
        };
        let layers = decoder.config().layers;
        for (what, settings) in variants(layers) {
            let bound = if dtype == DType::F32 { FLOATS } else { HALVES };
            say(&format!("{name}, {what}"), compare(&mut decoder, &settings, bound));
        }
        let bound = if dtype == DType::F32 { FLOATS } else { HALVES };
        say(
            &format!("{name}, prompts by the prefill kernels"),
            prompts(&mut decoder, bound),
        );
        let together = super::together::speeds(&mut decoder, 128, bound);
        say(
            &format!("{name}, questions together"),
            together.map(|(alone, together)| format!("{:.1} times as many programs a second", together / alone)),
        );
    }
    for dtype in [
        GgmlDType::F16,
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q4K,
        GgmlDType::Q5K,
        GgmlDType::Q6K,
    ] {
        say(&format!("{dtype:?} against its floats"), stored(dtype, device));
    }
    Ok(right)
}

/// Ways of running that take other paths through the kernel.
fn variants(layers: usize) -> Vec<(&'static str, Settings)> {
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings {
            scope: Scope::Token,
            ..Settings::default()
        };
        change(&mut settings);
        settings
    };
    let pins = |s: &mut Settings| {
        let mut damped: Pin = "2=repeat".parse().expect("a pin");
        damped.damping = "0.4".parse().expect("a damping");
        s.pins = vec![damped, "1@71-73=skip".parse().expect("a pin")];
    };
    let skips = Program::from_actions(
        &(0..layers)
            .map(|l| if l % 3 == 1 { Action::Skip } else { Action::Execute })
            .collect::<Vec<_>>(),
    );
    vec![
        ("ragged", with(&|_| {})),
        ("KV fill", with(&|s| s.kv = KvMode::Fill)),
        ("a low dial", with(&|s| s.dial = -0.6)),
        ("pins and damping", with(&pins)),
        ("a budget", with(&|s| s.budget = Some(layers - 1))),
        ("scope prompt", with(&|s| s.scope = Scope::Prompt)),
        ("every third layer left out", with(&|s| s.program = Some(skips.clone()))),
    ]
}

/// A prompt's last logits by the prefill kernels and without, at lengths on both sides of their tiles.
fn prompts(decoder: &mut Decoder, bound: f32) -> Result<String> {
    let Some(kernels) = decoder.prefill_kernels() else {
        anyhow::bail!(
            "the prefill kernels do not run here: {}",
            decoder.gpu_notes().join("; ")
        );
    };
    let (vocab, layers) = (decoder.config().vocab_size, decoder.config().layers);
    let settings = Settings::default();
    let mut worst = 0.0f32;
    for parts in [&[2usize][..], &[31, 2], &[64], &[65, 130], &[500]] {
        let ran = |decoder: &Decoder| -> Result<Vec<f32>> {
            let mut policy = DecisionPolicy::new(&settings, None, layers)?;
            let mut sequence = Sequence::new(decoder, &GO_ON);
            let (mut from, mut last) = (0, Vec::new());
            for &tokens in parts {
                let ids: Vec<u32> = (from..from + tokens).map(|i| (41 * i % vocab) as u32).collect();
                last = policy.prompt(&mut sequence, &ids)?.logits.flatten_all()?.to_vec1()?;
                from += tokens;
            }
            Ok(last)
        };
        let found = ran(decoder)?;
        decoder.set_prefill_kernels(None);
        let expected = ran(decoder)?;
        decoder.set_prefill_kernels(Some(kernels.clone()));
        let off = furthest(&found, &expected);
        ensure!(
            off <= bound,
            "a prompt in parts of {parts:?} is {off:.1e} of its spread apart"
        );
        worst = worst.max(off);
    }
    Ok(format!("logits within {worst:.1e} of their spread"))
}

struct Ran {
    logits: Vec<Vec<f32>>,
    actions: Vec<Vec<Action>>,
    margins: Vec<Vec<f32>>,
}

fn run(decoder: &mut Decoder, kernel: DecodeKernel, settings: &Settings) -> Result<Ran> {
    decoder.set_decode_kernel(kernel);
    let config = decoder.config();
    let routers = random_routers(config.layers, config.hidden_size);
    let vocab = config.vocab_size;
    let mut policy = DecisionPolicy::new(settings, Some(&routers as &dyn Router), config.layers)?;
    let mut sequence = Sequence::new(decoder, &GO_ON).with_kv(settings.kv);
    let ids: Vec<u32> = (0..PROMPT + TOKENS).map(|i| (37 * i % vocab) as u32).collect();
    policy.prompt(&mut sequence, &ids[..PROMPT])?;
    let mut ran = Ran {
        logits: Vec::new(),
        actions: Vec::new(),
        margins: Vec::new(),
    };
    for &id in &ids[PROMPT..] {
        let token = policy.token(&mut sequence, id)?;
        ran.logits.push(token.logits.to_vec1()?);
        ran.actions.push(token.decisions.iter().map(|d| d.action).collect());
        let margin = |probs: Option<[f32; 3]>| {
            let mut probs = probs.unwrap_or([1.0, 0.0, 0.0]);
            probs.sort_by(|a, b| b.total_cmp(a));
            probs[0] - probs[1]
        };
        ran.margins
            .push(token.decisions.iter().map(|d| margin(d.probs)).collect());
    }
    Ok(ran)
}

fn compare(decoder: &mut Decoder, settings: &Settings, bound: f32) -> Result<String> {
    ensure!(
        decoder.persistent().is_some() || decoder.gpu_notes().is_empty(),
        "{}",
        decoder.gpu_notes().join("; ")
    );
    let whole = run(decoder, DecodeKernel::Whole, settings)?;
    ensure!(decoder.persistent().is_some(), "the decode kernel does not run here");
    for other in [DecodeKernel::Phases, DecodeKernel::Ahead] {
        let ran = run(decoder, other, settings)?;
        ensure!(
            whole.logits == ran.logits && whole.actions == ran.actions,
            "{other:?} and one launch differ"
        );
    }
    let plain = run(decoder, DecodeKernel::Off, settings)?;
    decoder.set_decode_kernel(DecodeKernel::Whole);
    let mut worst = 0.0f32;
    for token in 0..TOKENS {
        let other = (0..plain.actions[token].len()).find(|&l| plain.actions[token][l] != whole.actions[token][l]);
        if let Some(layer) = other {
            let margin = plain.margins[token][layer];
            ensure!(
                margin < NEAR_TIE,
                "token {token} does something else at layer {layer}, by {margin}"
            );
            return Ok(format!(
                "logits within {worst:.1e} up to token {token}, whose layer {layer} is a near tie"
            ));
        }
        worst = worst.max(furthest(&whole.logits[token], &plain.logits[token]));
    }
    ensure!(
        worst <= bound,
        "logits are {worst:.1e} of their spread apart, at most {bound:.0e} is right"
    );
    Ok(format!(
        "logits within {worst:.1e} of their spread; in phases and ahead the same bits"
    ))
}

/// Greatest difference, relative to the spread of `expected`; infinite where a value is no number.
pub fn furthest(found: &[f32], expected: &[f32]) -> f32 {
    let mean = expected.iter().sum::<f32>() / expected.len() as f32;
    let spread = (expected.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / expected.len() as f32).sqrt();
    let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs() / spread);
    off.fold(0.0, |worst, x| if x.is_nan() { f32::INFINITY } else { worst.max(x) })
}

/// A small model of one type, by the kernel on its blocks and on the floats that they stand for.
fn stored(dtype: GgmlDType, device: &Device) -> Result<String> {
    let shape = Shape::named("tiny")?;
    let config = ModelConfig {
        hidden_size: 512,
        intermediate_size: 768,
        heads: 8,
        kv_heads: 4,
        head_dim: 64,
        tied_embeddings: false,
        ..shape.config()
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("types.gguf");
    std::fs::write(&path, file(&config, dtype)?)?;
    let load = |exact: bool| -> Result<Decoder> {
        let place = LoadOptions {
            device: device.clone(),
            dtype: DType::F32,
            exact,
            fused: true,
        };
        let source = WeightSource::Gguf(Box::new(gguf::open(&path)?));
        Decoder::load(config.clone(), &source, place, &mut |_| {})
    };
    let settings = Settings::default();
    let (mut blocks, mut floats) = (load(false)?, load(true)?);
    ensure!(blocks.persistent().is_some(), "{}", blocks.gpu_notes().join("; "));
    let found = run(&mut blocks, DecodeKernel::Whole, &settings)?;
    let expected = run(&mut floats, DecodeKernel::Off, &settings)?;
    let off = found.logits.iter().zip(&expected.logits).skip(1);
    // The prompt, whose keys and values stay, ran by candle's kernels of this type, which round activations.
    let worst = off.map(|(a, b)| furthest(a, b)).fold(0.0, f32::max);
    ensure!(worst <= 0.1, "logits are {worst:.1e} of their spread apart");
    Ok(format!("logits within {worst:.1e} of their spread"))
}

/// The bytes of a GGUF file of random weights.
fn file(config: &ModelConfig, dtype: GgmlDType) -> Result<Vec<u8>> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize], dtype: GgmlDType| -> Result<()> {
        let centre = if name.contains("norm") { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| centre + rng.random_range(-0.1..0.1))
            .collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
        tensors.push((format!("{name}.weight"), QTensor::quantize(&tensor, dtype)?));
        Ok(())
    };
    let (size, inner) = (config.hidden_size, config.intermediate_size);
    let keys = config.kv_heads * config.head_dim;
    add("token_embd".into(), &[config.vocab_size, size], dtype)?;
    add("output".into(), &[config.vocab_size, size], dtype)?;
    add("output_norm".into(), &[size], GgmlDType::F32)?;
    for layer in 0..config.layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let parts: [(&str, [usize; 2]); 7] = [
            ("attn_q", [size, size]),
            ("attn_k", [keys, size]),
            ("attn_v", [keys, size]),
            ("attn_output", [size, size]),
            ("ffn_gate", [inner, size]),
            ("ffn_up", [inner, size]),
            ("ffn_down", [size, inner]),
        ];
        for (part, shape) in parts {
            add(name(part), &shape, dtype)?;
        }
        add(name("attn_norm"), &[size], GgmlDType::F32)?;
        add(name("ffn_norm"), &[size], GgmlDType::F32)?;
    }
    let named: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let architecture = gguf_file::Value::String("llama".to_owned());
    let mut bytes = Cursor::new(Vec::new());
    gguf_file::write(&mut bytes, &[("general.architecture", &architecture)], &named).context("the test's model")?;
    Ok(bytes.into_inner())
}
