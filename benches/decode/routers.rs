//! What it costs to ask every router, settle every decision and write it down.

use anyhow::Result;
use drllm::engine::{Generation, Prompt};
use drllm::model::Model;
use drllm::router::{MlpRouter, Router, RouterSet};
use drllm::trace::{Scope, Settings, argmax};
use rand::{Rng, SeedableRng};

use super::{GO_ON, built_in_routers, endless, median, model, ratio, text};

const PROMPT: usize = 64;
const TURNS: usize = 200;

/// Without routers against routers that are asked at every token under a dial that executes all, so
/// that the same blocks run. Once the routers that ship, once random ones, of which none is a
/// constant.
pub fn measure() -> Result<()> {
    let model = model()?;
    let shipped = built_in_routers(&model)?;
    let random = random(&shipped);
    println!("routers: asked and executed all, against none; in turns");
    println!("| | shipped | random | bar |");
    println!("|---|---:|---:|---:|");
    let sets = [&shipped, &random];
    for (scope, name) in [(Scope::Token, "token"), (Scope::Prompt, "prompt, shadow")] {
        let [a, b] = decode(&model, sets, scope)?;
        println!("| decode, {TURNS} tokens after {PROMPT}, scope {name} | {a:.4} | {b:.4} | 1.03 |");
    }
    for (tokens, turns) in [(128, 40), (512, 16)] {
        let [a, b] = prefill(&model, sets, tokens, turns)?;
        println!("| prefill, {tokens} tokens | {a:.4} | {b:.4} | 1.01 |");
    }
    for (name, set) in [("shipped", sets[0]), ("random", sets[1])] {
        deviation(&model, set, name)?;
    }
    println!();
    Ok(())
}

/// How far the routers as they are asked are from f32, at every token of some text.
fn deviation(model: &Model, set: &RouterSet, name: &str) -> Result<()> {
    const TOKENS: usize = 400;
    let ids = text(model, TOKENS)?;
    let positions: Vec<u32> = (0..TOKENS as u32).collect();
    let chunk = model.decoder.chunk(&positions)?;
    let mut hidden = model.decoder.embed(&ids)?;
    let (mut worst, mut squares, mut others) = (0.0f32, 0.0, 0);
    let layers = model.decoder.config().layers;
    for layer in 0..layers {
        let fast = set.row_probabilities(layer, &hidden, true)?;
        let exact = set.row_probabilities(layer, &hidden, false)?;
        for (fast, exact) in fast.iter().zip(&exact) {
            let off = fast.iter().zip(exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            worst = worst.max(off);
            squares += f64::from(off * off);
            others += usize::from(argmax(*fast) != argmax(*exact));
        }
        hidden = model.decoder.run_block(layer, &hidden, &chunk, None)?;
    }
    let decisions = (layers * TOKENS) as f64;
    println!(
        "{name}: of {decisions} decisions {others} differ from those of f32 routers; probabilities differ by {:.5} (root \
         mean square), at most {worst:.4}",
        (squares / decisions).sqrt()
    );
    Ok(())
}

/// Routers of the same shape with Xavier weights.
fn random(like: &RouterSet) -> RouterSet {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let mut weights = |rows: usize, cols: usize| -> Vec<f32> {
        let bound = (6.0 / (rows + cols) as f32).sqrt();
        (0..rows * cols).map(|_| rng.random_range(-bound..bound)).collect()
    };
    let mut set = like.clone();
    set.layers = (0..like.layers.len())
        .map(|_| MlpRouter {
            w1: weights(like.width, like.hidden_size),
            b1: vec![0.0; like.width],
            w2: weights(3, like.width),
            b2: vec![0.0; 3],
        })
        .collect();
    set
}

fn settings(scope: Scope) -> Settings {
    endless(Settings {
        scope,
        dial: 0.5,
        ..Settings::default()
    })
}

fn decode(model: &Model, sets: [&RouterSet; 2], scope: Scope) -> Result<[f64; 2]> {
    let prompt = Prompt::Ids(text(model, PROMPT)?);
    let settings = settings(scope);
    let asked: [Option<&dyn Router>; 3] = [None, Some(sets[0]), Some(sets[1])];
    let mut runs = Vec::new();
    for routers in asked {
        runs.push(Generation::start(model, routers, &prompt, &settings, &GO_ON)?.0);
    }
    let mut ms = [const { Vec::new() }; 3];
    for _ in 0..TURNS {
        for (run, ms) in runs.iter_mut().zip(&mut ms) {
            ms.extend(run.step()?.map(|step| step.ms));
        }
    }
    println!(
        "| (decode, ms a token: {:.3} without) | {:.3} | {:.3} | |",
        median(&ms[0]),
        median(&ms[1]),
        median(&ms[2])
    );
    Ok([ratio(&ms[1], &ms[0]), ratio(&ms[2], &ms[0])])
}

fn prefill(model: &Model, sets: [&RouterSet; 2], tokens: usize, turns: usize) -> Result<[f64; 2]> {
    let prompt = Prompt::Ids(text(model, tokens)?);
    let settings = settings(Scope::Token);
    let mut ms = [const { Vec::new() }; 3];
    for _ in 0..turns {
        let asked: [Option<&dyn Router>; 3] = [None, Some(sets[0]), Some(sets[1])];
        for (routers, ms) in asked.into_iter().zip(&mut ms) {
            ms.push(
                Generation::start(model, routers, &prompt, &settings, &GO_ON)?
                    .1
                    .prefill_ms,
            );
        }
    }
    Ok([ratio(&ms[1], &ms[0]), ratio(&ms[2], &ms[0])])
}
