//! What a token costs after up to as many others as the model can see.

use std::fmt::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use drllm::engine::sequence::Sequence;
use drllm::program::Action;

use super::{GO_ON, median, model, text};

/// Tokens that are read at once.
const CHUNK: usize = 512;
/// Tokens that are decoded at each length.
const TOKENS: usize = 16;

struct Row {
    /// Tokens before those measured.
    after: usize,
    prefill_ms: f64,
    decode_ms: f64,
}

/// Reads the model's whole context in chunks; a table of what a token of a chunk costs, and a token
/// decoded after it. With `path` also a plot.
pub fn measure(path: Option<&str>) -> Result<()> {
    let model = model()?;
    let context = model.decoder.config().context.min(8192);
    let ids = text(&model, context)?;
    let mut sequence = Sequence::new(&model.decoder, &GO_ON);
    let mut rows = Vec::new();
    println!("context: {context} tokens, read in chunks of {CHUNK}");
    println!("| tokens before | prefill, ms a token | decode, ms a token |");
    println!("|---:|---:|---:|");
    for chunk in ids.chunks(CHUNK) {
        let after = sequence.len();
        let start = Instant::now();
        // The last chunk leaves room for the tokens to decode.
        let chunk = &chunk[..chunk.len().min(context - TOKENS - after)];
        sequence.run_layers(chunk, None, |_, _| Action::Execute.into())?;
        let prefill_ms = start.elapsed().as_secs_f64() * 1e3 / chunk.len() as f64;
        let mut branch = sequence.fork(sequence.len())?;
        let mut ms = Vec::new();
        for id in &ids[..TOKENS] {
            let start = Instant::now();
            branch.run_layers(&[*id], None, |_, _| Action::Execute.into())?;
            ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let row = Row {
            after,
            prefill_ms,
            decode_ms: median(&ms),
        };
        println!("| {} | {:.3} | {:.2} |", row.after, row.prefill_ms, row.decode_ms);
        rows.push(row);
    }
    println!(
        "keys and values of all tokens: {:.0} MB\n",
        sequence.cache().bytes() as f64 / 1e6
    );
    if let Some(path) = path {
        std::fs::write(path, plot(&rows)).with_context(|| format!("cannot write {path}"))?;
        println!("plot: {path}");
    }
    Ok(())
}

/// Two curves over the tokens before, ms a token.
fn plot(rows: &[Row]) -> String {
    const SIZE: (f64, f64) = (640.0, 320.0);
    const MARGIN: f64 = 48.0;
    let right = rows.iter().map(|r| r.after as f64).fold(1.0, f64::max);
    let top = rows.iter().map(|r| r.decode_ms.max(r.prefill_ms)).fold(0.0, f64::max) * 1.1;
    let x = |tokens: f64| MARGIN + tokens / right * (SIZE.0 - 2.0 * MARGIN);
    let y = |ms: f64| SIZE.1 - MARGIN - ms / top * (SIZE.1 - 2.0 * MARGIN);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
"##,
        SIZE.0, SIZE.1
    );
    let mut label = |x: f64, y: f64, anchor: &str, text: &str| {
        writeln!(
            svg,
            r#"<text x="{x:.0}" y="{y:.0}" text-anchor="{anchor}">{text}</text>"#
        )
        .expect("strings grow");
    };
    for part in 0..=4 {
        let part = f64::from(part) / 4.0;
        label(
            x(part * right),
            SIZE.1 - MARGIN + 18.0,
            "middle",
            &format!("{:.0}", part * right),
        );
        label(MARGIN - 6.0, y(part * top) + 4.0, "end", &format!("{:.1}", part * top));
    }
    label(SIZE.0 / 2.0, SIZE.1 - 8.0, "middle", "tokens before");
    label(MARGIN, MARGIN - 20.0, "start", "ms a token");
    for (name, colour, of) in [
        ("decode", "#0072b2", (|r| r.decode_ms) as fn(&Row) -> f64),
        ("prefill", "#d55e00", |r| r.prefill_ms),
    ] {
        let points: Vec<String> = rows
            .iter()
            .map(|r| format!("{:.1},{:.1}", x(r.after as f64), y(of(r))))
            .collect();
        let end = rows.last().map_or(0.0, |r| y(of(r)) - 8.0);
        writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>
<text x="{:.0}" y="{end:.0}" text-anchor="end" fill="{colour}">{name}</text>"#,
            points.join(" "),
            x(right)
        )
        .expect("strings grow");
    }
    svg + "</svg>\n"
}
