//! What depth routers gain at some layers less: KV fill and routers included.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Result;
use drllm::engine::sequence::Sequence;
use drllm::program::Action;
use drllm::router::{InputNorm, MlpRouter, RouterSet};
use drllm::trace::{KvMode, RouterInfo};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::{GO_ON, model, ratio, text};

const PROMPT: usize = 64;
const TURNS: usize = 200;
/// Of a depth router's hidden layer.
const WIDTH: usize = 64;

/// Decode of the unmodified model against tokens that each leave out other layers, under KV fill, with a router asked
/// at every layer but the first two and the last. What routers say is drawn instead of heard, so that the number of
/// layers is given; asking them costs the same.
pub fn measure() -> Result<()> {
    let model = model()?;
    let config = model.decoder.config();
    let layers = config.layers;
    let routers = random_routers(layers, config.hidden_size);
    let ids = text(&model, PROMPT + TURNS)?;
    let (prompt, answer) = ids.split_at(PROMPT);
    println!("fill: how many times as fast as without routers, KV fill and routers included; in turns");
    println!("| layers of {layers} | other ones at each token | mostly the same | bar |");
    println!("|---|---:|---:|---:|");
    for skipped in [0, layers * 2 / 15, layers * 4 / 15] {
        let mut gains = Vec::new();
        for kept in [0.0, 0.8] {
            gains.push(gain(&model.decoder, &routers, prompt, answer, skipped, kept)?);
        }
        let bar = if skipped == layers * 2 / 15 { "1.07" } else { "" };
        println!("| {} | {:.3} | {:.3} | {bar} |", layers - skipped, gains[0], gains[1]);
    }
    println!();
    Ok(())
}

/// `kept`: the share of a token's skipped layers that the next one skips too.
fn gain(
    decoder: &drllm::model::Decoder,
    routers: &RouterSet,
    prompt: &[u32],
    answer: &[u32],
    skipped: usize,
    kept: f64,
) -> Result<f64> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
    let layers = decoder.config().layers;
    let mut plain = Sequence::new(decoder, &GO_ON);
    let mut routed = Sequence::new(decoder, &GO_ON).with_kv(KvMode::Fill);
    for sequence in [&mut plain, &mut routed] {
        sequence.run_layers(prompt, None, |_, _| Action::Execute.into())?;
    }
    let (mut of_plain, mut of_routed) = (Vec::new(), Vec::new());
    let mut left_out: Vec<usize> = Vec::new();
    for id in answer {
        left_out.retain(|_| rng.random_bool(kept));
        let mut others: Vec<usize> = (2..layers - 1).filter(|layer| !left_out.contains(layer)).collect();
        others.shuffle(&mut rng);
        left_out.extend(&others[..skipped - left_out.len()]);
        let start = Instant::now();
        plain.run_layers(&[*id], None, |_, _| Action::Execute.into())?;
        of_plain.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        routed.run_layers(&[*id], Some((routers, -0.5)), |layer, _| {
            match left_out.contains(&layer) {
                true => Action::Skip.into(),
                false => Action::Execute.into(),
            }
        })?;
        of_routed.push(start.elapsed().as_secs_f64());
    }
    Ok(ratio(&of_plain, &of_routed))
}

/// Depth routers of random weights; those of the first two layers and the last say the same of every state.
fn random_routers(layers: usize, hidden_size: usize) -> RouterSet {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let bound = (6.0 / (WIDTH + hidden_size) as f32).sqrt();
    let mut router = |layer: usize| {
        let always = layer < 2 || layer + 1 == layers;
        let mut w2 = vec![0.0; 3 * WIDTH];
        if !always {
            w2[WIDTH..2 * WIDTH].fill_with(|| rng.random_range(-0.3..0.3));
        }
        MlpRouter {
            w1: (0..WIDTH * hidden_size)
                .map(|_| rng.random_range(-bound..bound))
                .collect(),
            b1: vec![0.0; WIDTH],
            w2,
            b2: vec![if always { -1e9 } else { 0.0 }, 0.0, -1e9],
        }
    };
    RouterSet {
        layers: (0..layers).map(&mut router).collect(),
        windows: 8,
        width: WIDTH,
        hidden_size,
        input_norm: InputNorm::Rms,
        metadata: HashMap::new(),
        info: RouterInfo::default(),
        fast: Default::default(),
    }
}
