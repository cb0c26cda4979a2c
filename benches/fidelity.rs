//! How far the fast mode is from f32 arithmetic: `cargo bench --bench fidelity -- FILE`, a text of a
//! few hundred words. Prints the mean KL divergence of the next-token distributions and how often
//! both think the same token likeliest. `-- FILE --dump OUT` instead writes what the fast mode says: in 32 bits, the least
//! significant byte first, the number of tokens, that of the vocabulary's, the tokens, and for each the log-probabilities
//! of the next (`agreement.py`). `DRLLM_MODEL`, `DRLLM_ACTIVATIONS` (8, 15) and `DRLLM_KV_BITS` (8, 16) choose what.

use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use candle_nn::ops::log_softmax;
use drllm::engine::{LoadRequest, load_model};
use drllm::model::{KvBits, Model};

const TOKENS: usize = 480;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let Some(path) = args.first() else {
        println!("fidelity: no text given, nothing to measure");
        return Ok(());
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let (ids, fast) = distributions(false, &text)?;
    if let [_, option, out] = &args[..] {
        ensure!(option == "--dump", "expected FILE --dump OUT");
        let vocabulary = fast.first().map_or(0, Vec::len) as u32;
        let numbers = [ids.len() as u32, vocabulary].into_iter().chain(ids);
        let bytes = numbers.flat_map(u32::to_le_bytes);
        let bytes: Vec<u8> = bytes
            .chain(fast.iter().flatten().flat_map(|p| p.to_le_bytes()))
            .collect();
        return std::fs::write(out, bytes).with_context(|| format!("cannot write {out}"));
    }
    let (_, exact) = distributions(true, &text)?;
    let mut divergence = 0.0;
    let mut agreed = 0;
    for (p, q) in exact.iter().zip(&fast) {
        divergence += p
            .iter()
            .zip(q)
            .map(|(p, q)| f64::from(p.exp()) * f64::from(p - q))
            .sum::<f64>();
        let best = |v: &[f32]| (0..v.len()).max_by(|a, b| v[*a].total_cmp(&v[*b]));
        agreed += usize::from(best(p) == best(q));
    }
    let n = exact.len();
    println!(
        "{n} positions: mean KL {:.6} nats, top-1 agreement {:.2} %",
        divergence / n as f64,
        100.0 * agreed as f64 / n as f64
    );
    Ok(())
}

/// What the variable says, or the default.
fn bits<T: clap::ValueEnum + Default>(variable: &str) -> T {
    let given = std::env::var(variable).ok();
    given.map_or(T::default(), |bits| {
        T::from_str(&bits, false).expect("a number of bits")
    })
}

/// The text's first tokens, and the log-probabilities after each of them.
fn distributions(exact: bool, text: &str) -> Result<(Vec<u32>, Vec<Vec<f32>>)> {
    let request = LoadRequest {
        device: "cpu".into(),
        model: std::env::var("DRLLM_MODEL").ok(),
        exact,
        activations: bits("DRLLM_ACTIVATIONS"),
        kv_bits: if exact {
            KvBits::default()
        } else {
            bits("DRLLM_KV_BITS")
        },
        ..LoadRequest::default()
    };
    let model: Model = load_model(&request, &mut |_, _, _| {}, &mut |_| {}, &AtomicBool::new(false))?;
    let mut ids = model.tokenizer.encode(text)?;
    ids.truncate(TOKENS);
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let chunk = model.decoder.chunk(&positions)?;
    let mut hidden = model.decoder.embed(&ids)?;
    for layer in 0..model.decoder.config().layers {
        hidden = model.decoder.run_block(layer, &hidden, &chunk, None)?;
    }
    Ok((ids, log_softmax(&model.decoder.logits(&hidden)?, 1)?.to_vec2()?))
}
