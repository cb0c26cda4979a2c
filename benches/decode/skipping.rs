//! Whether a skipped layer is a layer's time saved.

use anyhow::Result;
use drllm::engine::{Generation, Prompt};
use drllm::program::Program;
use drllm::trace::Settings;

use super::{GO_ON, endless, median, model, ratio, text};

const PROMPT: usize = 64;
const TURNS: usize = 160;

/// Decode under programs of 0 to all layers. The law is fixed cost + k · cost of a layer, both from
/// the ends: no layer and all.
pub fn measure() -> Result<()> {
    let model = model()?;
    let layers = model.decoder.config().layers;
    let counts = [0, layers / 2, layers * 2 / 3, layers * 5 / 6, layers];
    let settings = counts.map(|count| {
        endless(Settings {
            program: Some(evenly(count, layers)),
            ..Settings::default()
        })
    });
    let prompt = Prompt::Ids(text(&model, PROMPT)?);
    let mut runs = Vec::new();
    for settings in &settings {
        runs.push(Generation::start(&model, None, &prompt, settings, &GO_ON)?.0);
    }
    let mut ms = vec![Vec::new(); counts.len()];
    for _ in 0..TURNS {
        for (run, ms) in runs.iter_mut().zip(&mut ms) {
            ms.extend(run.step()?.map(|step| step.ms));
        }
    }
    let (none, all) = (&ms[0], &ms[counts.len() - 1]);
    println!("skipping: {TURNS} tokens each after {PROMPT}, in turns");
    println!("| layers run | ms a token | against fixed cost + k · layer |");
    println!("|---:|---:|---:|");
    let mut worst = 0.0f64;
    for (&count, ms) in counts.iter().zip(&ms) {
        let share = count as f64 / layers as f64;
        let law: Vec<f64> = none.iter().zip(all).map(|(n, a)| n + share * (a - n)).collect();
        let over = ratio(ms, &law);
        println!("| {count} | {:.3} | {over:.3} |", median(ms));
        worst = worst.max(over);
    }
    println!(
        "fixed cost {:.3} ms, a layer {:.4} ms, worst ratio {worst:.3} (bar 1.05)\n",
        median(none),
        (median(all) - median(none)) / layers as f64
    );
    Ok(())
}

/// `count` layers, spread over all.
pub fn evenly(count: usize, layers: usize) -> Program {
    Program::from_layers((0..layers).filter(|l| (l + 1) * count / layers > l * count / layers))
}
