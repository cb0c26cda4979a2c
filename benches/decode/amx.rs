//! Prompts with AMX and without, where the processor has it.

use std::time::Instant;

use anyhow::Result;
use drllm::engine::decide::DecisionPolicy;
use drllm::engine::sequence::Sequence;
use drllm::model::use_amx;
use drllm::trace::Settings;

use super::{GO_ON, median, model, ratio, text};

const LENGTHS: [usize; 7] = [8, 16, 24, 32, 60, 128, 512];
const TURNS: usize = 12;

/// Prefill of several lengths, in turns, and whether both say the same to the bit.
pub fn measure() -> Result<()> {
    if !use_amx(true) {
        println!("amx: not on this machine");
        return Ok(());
    }
    let model = model()?;
    let settings = Settings::default();
    let ids = text(&model, LENGTHS[LENGTHS.len() - 1])?;
    println!("amx: prefill, {TURNS} turns, tokens a second");
    println!("| tokens | with | without | ratio | logits |");
    println!("|---:|---:|---:|---:|---|");
    for length in LENGTHS {
        let mut seconds = [Vec::new(), Vec::new()];
        let mut same = true;
        for turn in 0..=TURNS {
            let mut bits = Vec::new();
            for (amx, seconds) in [true, false].into_iter().zip(&mut seconds) {
                use_amx(amx);
                let mut policy = DecisionPolicy::new(&settings, None, model.decoder.config().layers)?;
                let mut sequence = Sequence::new(&model.decoder, &GO_ON);
                let start = Instant::now();
                policy.prompt(&mut sequence, &ids[..length])?;
                // The first turn warms up.
                if turn > 0 {
                    seconds.push(start.elapsed().as_secs_f64());
                }
                let logits = policy.token(&mut sequence, ids[0])?.logits.to_vec1::<f32>()?;
                bits.push(logits.iter().map(|z| z.to_bits()).collect::<Vec<_>>());
            }
            same &= bits[0] == bits[1];
        }
        let [with, without] = &seconds;
        println!(
            "| {length} | {:.0} | {:.0} | {:.2} | {} |",
            length as f64 / median(with),
            length as f64 / median(without),
            ratio(without, with),
            if same { "the same" } else { "OTHER" },
        );
    }
    println!();
    Ok(())
}
