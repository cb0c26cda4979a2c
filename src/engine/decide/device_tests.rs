//! Tokens that a GPU's kernel settles are those that the policy settles here; the kernel is emulated.

use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device};
use rand::{Rng, SeedableRng};

use super::*;
use crate::model::gpu::emulator::Order;
use crate::model::persistent::DecodeKernel;
use crate::model::persistent::emulated::EmulatedDecode;
use crate::model::testing::small_config;
use crate::model::{Decoder, LoadOptions, ModelConfig, WeightSource};
use crate::router::{FastRouters, InputNorm, MlpRouter, RouterSet};
use crate::trace::KvMode;

static GO_ON: AtomicBool = AtomicBool::new(false);
const LAYERS: usize = 5;
const SIZE: usize = 64;
const WIDTH: usize = 7;
const PROMPT: [u32; 4] = [3, 1, 4, 1];
const TOKENS: u32 = 6;

fn decoder() -> Decoder {
    let config = ModelConfig {
        layers: LAYERS,
        hidden_size: SIZE,
        intermediate_size: 96,
        heads: 2,
        kv_heads: 1,
        head_dim: 32,
        ..small_config()
    };
    let source = WeightSource::Random { tied_embeddings: true };
    let place = LoadOptions {
        device: Device::Cpu,
        dtype: DType::F32,
        exact: true,
        fused: true,
    };
    Decoder::load(config, &source, place, &mut |_| {}).unwrap()
}

/// Routers that differ from token to token, of three classes.
fn routers(input_norm: InputNorm) -> RouterSet {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    let mut weights =
        |count: usize, bound: f32| -> Vec<f32> { (0..count).map(|_| rng.random_range(-bound..bound)).collect() };
    // States are small where they are read as they are.
    let first = if input_norm == InputNorm::Rms { 0.8 } else { 20.0 };
    let router = |_| MlpRouter {
        w1: weights(WIDTH * SIZE, first),
        b1: weights(WIDTH, 0.5),
        w2: weights(3 * WIDTH, 0.7),
        b2: vec![0.2, 0.4, 0.0],
    };
    RouterSet {
        layers: (0..LAYERS).map(router).collect(),
        windows: 8,
        width: WIDTH,
        hidden_size: SIZE,
        input_norm,
        metadata: Default::default(),
        info: RouterInfo::default(),
        fast: FastRouters::default(),
    }
}

struct Ran {
    decisions: Vec<Vec<Decision>>,
    programs: Vec<Program>,
    logits: Vec<Vec<f32>>,
    blocks_run: usize,
}

fn ran(decoder: &Decoder, settings: &Settings, routers: Option<&RouterSet>) -> Ran {
    let mut policy = DecisionPolicy::new(settings, routers.map(|r| r as &dyn Router), LAYERS).unwrap();
    let mut sequence = Sequence::new(decoder, &GO_ON).with_kv(settings.kv);
    policy.prompt(&mut sequence, &PROMPT).unwrap();
    let mut ran = Ran {
        decisions: Vec::new(),
        programs: Vec::new(),
        logits: Vec::new(),
        blocks_run: 0,
    };
    for id in 0..TOKENS {
        let token = policy.token(&mut sequence, 7 * id).unwrap();
        ran.decisions.push(token.decisions);
        ran.programs.push(token.program);
        ran.logits.push(token.logits.to_vec1().unwrap());
    }
    ran.blocks_run = sequence.blocks_run();
    ran
}

fn with(change: impl Fn(&mut Settings)) -> Settings {
    let mut settings = Settings {
        scope: Scope::Token,
        ..Settings::default()
    };
    change(&mut settings);
    settings
}

#[test]
fn a_token_in_one_launch_is_settled_as_the_policy_settles_it() {
    let damped = |s: &mut Settings| {
        let mut pin: crate::trace::Pin = "2=repeat".parse().unwrap();
        pin.damping = "0.4".parse().unwrap();
        s.pins = vec![pin, "1@5-7=skip".parse().unwrap(), "3@6=repeat".parse().unwrap()];
    };
    let all: Vec<(&str, Settings)> = vec![
        ("ragged", with(|_| {})),
        ("fill", with(|s| s.kv = KvMode::Fill)),
        ("a low dial", with(|s| s.dial = -0.65)),
        ("a high dial", with(|s| s.dial = 0.6)),
        ("a dial between", with(|s| s.dial = -0.2)),
        ("pins and damping", with(damped)),
        ("a budget", with(|s| s.budget = Some(3))),
        (
            "a budget, pins and fill",
            with(|s| {
                damped(s);
                s.budget = Some(4);
                s.pins.remove(2);
                s.kv = KvMode::Fill;
            }),
        ),
        ("scope prompt and its shadow", with(|s| s.scope = Scope::Prompt)),
        (
            "scope prompt without",
            with(|s| {
                s.scope = Scope::Prompt;
                s.shadow = false;
            }),
        ),
        (
            "a program of skips and repeats",
            with(|s| s.program = Some(Program::parse("0 2 2 3 4", LAYERS).unwrap())),
        ),
    ];
    let norms = [InputNorm::Rms, InputNorm::None];
    let decoder = decoder();
    let mut expected = Vec::new();
    for norm in norms {
        let routers = routers(norm);
        for (_, settings) in &all {
            expected.push(ran(&decoder, settings, Some(&routers)));
        }
    }
    expected.push(ran(&decoder, &with(|_| {}), None));
    // Of the runs in which routers alone decide, at four dials.
    let by_routers = expected[..5].iter().flat_map(|ran| ran.decisions.iter().flatten());
    let varied: Vec<Action> = by_routers.map(|d| d.action).collect();
    assert!(
        Action::ALL.iter().all(|a| varied.contains(a)),
        "the routers do too little: {varied:?}"
    );

    let check = |name: &str, expected: &Ran, found: Ran| {
        assert_eq!(found.programs, expected.programs, "{name}");
        assert_eq!(found.blocks_run, expected.blocks_run, "{name}");
        for (found, expected) in found
            .decisions
            .iter()
            .flatten()
            .zip(expected.decisions.iter().flatten())
        {
            assert_eq!((found.action, found.by), (expected.action, expected.by), "{name}");
            assert_eq!(found.shadow, expected.shadow, "{name}");
            assert_eq!(found.probs.is_some(), expected.probs.is_some(), "{name}");
            let pairs = found.probs.iter().flatten().zip(expected.probs.iter().flatten());
            pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-4, "{name}: {a} and {b}"));
        }
        let pairs = found.logits.iter().flatten().zip(expected.logits.iter().flatten());
        pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{name}: {a} and {b}"));
    };
    let mut decoder = decoder;
    for order in Order::ALL {
        let emulator = EmulatedDecode {
            order,
            ..EmulatedDecode::new(&decoder, 3, 64)
        };
        decoder = decoder.with_persistent(Box::new(emulator));
        // One order tells all that does not depend on it.
        let (kernels, norms): (&[DecodeKernel], &[InputNorm]) = match order {
            Order::Forwards => (&[DecodeKernel::Whole, DecodeKernel::Phases], &norms),
            _ => (&[DecodeKernel::Whole], &norms[..1]),
        };
        for &kernel in kernels {
            decoder.set_decode_kernel(kernel);
            let mut each = expected.iter();
            for &norm in norms {
                let routers = routers(norm);
                for (name, settings) in &all {
                    let name = format!("{name}, {order:?}, {kernel:?}");
                    check(&name, each.next().unwrap(), ran(&decoder, settings, Some(&routers)));
                }
            }
            let plain = ran(&decoder, &with(|_| {}), None);
            check("no routers", expected.last().unwrap(), plain);
        }
    }
}
