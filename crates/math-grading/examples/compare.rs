//! Reads lines of a right answer, a tab and a written one, and prints the verdicts.
//!
//! ```sh
//! printf '1/2\t\\frac{2}{4}\n' | cargo run -p math-grading --example compare
//! ```

use std::io::{BufRead, Write};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (gold, written) = line.split_once('\t').unwrap_or((&line, ""));
        writeln!(out, "{:?}", math_grading::compare(gold, written))?;
    }
    Ok(())
}
