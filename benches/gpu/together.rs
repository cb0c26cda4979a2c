//! Programs a second, as a search runs them: over many questions at once on a device, beside two cores of the CPU.

use std::time::Instant;

use anyhow::{Result, ensure};
use drllm::eval::parallel::for_each_ordered;
use drllm::model::{Chunk, Decoder};

use super::GO_ON;

/// Tokens of a question with its four choices.
const QUESTION: usize = 48;
const CHOICE: usize = 8;
const ROWS: usize = QUESTION + 4 * CHOICE;
/// Questions at once on a GPU.
pub const AT_ONCE: usize = 64;

/// A question whose choices see it and themselves.
fn question(decoder: &Decoder, number: usize) -> Result<(Vec<u32>, Chunk)> {
    let vocab = decoder.config().vocab_size;
    let ids = (0..ROWS).map(|i| ((31 * i + 101 * number) % vocab) as u32).collect();
    let choice = |row: usize| (row >= QUESTION).then(|| (row - QUESTION) / CHOICE);
    let positions: Vec<u32> = (0..ROWS)
        .map(|row| choice(row).map_or(row, |choice| row - choice * CHOICE) as u32)
        .collect();
    let sees = |i: usize, j: usize| j <= i && (choice(j).is_none() || choice(i) == choice(j));
    Ok((ids, decoder.chunk_with_visibility(&positions, &sees)?))
}

/// The logits of a question's last row under a program of its own, which leaves out an eighth of the layers.
fn run(decoder: &Decoder, number: usize) -> Result<Vec<f32>> {
    let (ids, chunk) = question(decoder, number)?;
    let mut hidden = decoder.embed(&ids)?;
    for layer in (0..decoder.config().layers).filter(|layer| (layer + 3 * number) % 8 != 5) {
        hidden = decoder.run_block(layer, &hidden, &chunk, None)?;
    }
    Ok(decoder
        .logits(&hidden.narrow(0, ROWS - 1, 1)?)?
        .flatten_all()?
        .to_vec1()?)
}

/// Programs a second on so many threads, and the logits of each.
fn timed(decoder: &Decoder, programs: usize, threads: usize) -> Result<(f64, Vec<Vec<f32>>)> {
    let mut all = Vec::with_capacity(programs);
    let started = Instant::now();
    let one = |number: usize| run(decoder, number).map(Some);
    for_each_ordered(0..programs, threads, &GO_ON, one, |_, logits| {
        all.push(logits);
        Ok(())
    })?;
    Ok((programs as f64 / started.elapsed().as_secs_f64(), all))
}

/// Programs a second one question at a time and [`AT_ONCE`] together, which come to the same but for rounding; the decoder
/// runs sequences together from then on.
pub fn speeds(decoder: &mut Decoder, programs: usize, bound: f32) -> Result<(f64, f64)> {
    timed(decoder, 2, 1)?;
    let (alone, expected) = timed(decoder, programs / 16, 1)?;
    decoder.run_sequences_together();
    timed(decoder, AT_ONCE, AT_ONCE)?;
    let (together, found) = timed(decoder, programs, AT_ONCE)?;
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let off = super::check::furthest(found, expected);
        ensure!(
            off <= bound,
            "question {number} comes to something else beside others: {off:.1e}, at most {bound:.0e} is right"
        );
    }
    Ok((alone, together))
}

/// Programs a second on two cores, a question on each.
pub fn on_two_cores(decoder: &Decoder) -> Result<f64> {
    timed(decoder, 2, 2)?;
    Ok(timed(decoder, 32, 2)?.0)
}
