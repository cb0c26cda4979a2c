//! Decode against a loop that only reads.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use drllm::engine::{Generation, Prompt};
use drllm::trace::Settings;

use super::{GO_ON, endless, median, model, ratio, text};

const PROMPT: usize = 128;
const TURNS: usize = 48;
/// As far as the kernels ask.
const AHEAD: usize = 8192;

/// A token and a read of as many bytes as its matrices have, by all threads, in turns.
pub fn measure() -> Result<()> {
    let model = model()?;
    let bytes = model.decoder.bytes_a_token();
    let mut memory = memmap2::MmapMut::map_anon(bytes)?;
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    memory.fill(1);
    let prompt = Prompt::Ids(text(&model, PROMPT)?);
    let settings = endless(Settings::default());
    let (mut run, ..) = Generation::start(&model, None, &prompt, &settings, &GO_ON)?;
    let (mut tokens, mut reads) = (Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let start = Instant::now();
        let step = run.step()?;
        let token = start.elapsed().as_secs_f64();
        let start = Instant::now();
        read(&memory);
        // The first turn warms up.
        if turn > 0 && step.is_some() {
            tokens.push(token);
            reads.push(start.elapsed().as_secs_f64());
        }
    }
    let rate = |seconds: &[f64]| bytes as f64 / median(seconds) / 1e9;
    println!("memory: {TURNS} tokens after {PROMPT}, each beside a read of as many bytes ({bytes})");
    println!("| GB/s of weights, decode | only reading | share |");
    println!("|---:|---:|---:|");
    println!(
        "| {:.1} | {:.1} | {:.2} |\n",
        rate(&tokens),
        rate(&reads),
        ratio(&reads, &tokens)
    );
    Ok(())
}

/// Asks for the line of a place that need not exist.
fn fetch(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and the instruction reads nothing that a program could see and never fails.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Reads all of it once, on all threads, and asks for it ahead as the kernels do.
fn read(memory: &[u8]) {
    let part = memory.len().div_ceil(rayon::current_num_threads());
    std::thread::scope(|scope| {
        for part in memory.chunks(part.max(1)) {
            scope.spawn(move || {
                let lines = part.as_chunks::<64>().0.iter();
                black_box(lines.fold(0u64, |sum, line| {
                    fetch(line.as_ptr().wrapping_add(AHEAD));
                    let words = line.as_chunks::<8>().0.iter();
                    words.fold(sum, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
                }))
            });
        }
    });
}
