//! Measures on request, so that another program can take turns with this one.

use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, Result};
use drllm::engine::decide::DecisionPolicy;
use drllm::engine::sequence::Sequence;
use drllm::model::catalog;
use drllm::trace::Settings;

use super::{GO_ON, model, request};

/// Prints where the model is. Then reads lines of numbers from the input, how many tokens the prompt
/// has and then all token ids; for each prints the seconds of the prompt and then of every single token after it.
pub fn serve() -> Result<()> {
    let located = catalog::locate(request().model.as_deref(), &mut |_| {}, &GO_ON)?;
    let model = model()?;
    let settings = Settings::default();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", located.location.path().display())?;
    for line in std::io::stdin().lock().lines() {
        let numbers: Result<Vec<u32>, _> = line?.split_whitespace().map(str::parse).collect();
        let numbers = numbers.context("expected numbers: how many tokens the prompt has, then all tokens")?;
        let (&prompt, ids) = numbers.split_first().context("expected numbers, the line is empty")?;
        let (prompt, answer) = ids
            .split_at_checked(prompt as usize)
            .context("the prompt is longer than the tokens given")?;
        let mut policy = DecisionPolicy::new(&settings, None, model.decoder.config().layers)?;
        let mut sequence = Sequence::new(&model.decoder, &GO_ON);
        let start = Instant::now();
        policy.prompt(&mut sequence, prompt)?;
        let mut seconds = vec![start.elapsed().as_secs_f64()];
        for &id in answer {
            let start = Instant::now();
            policy.token(&mut sequence, id)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        let seconds: Vec<String> = seconds.iter().map(f64::to_string).collect();
        writeln!(out, "{}", seconds.join(" "))?;
        out.flush()?;
    }
    Ok(())
}
