//! The other side: benches/gpu_torch.py, a process that stays.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, DeviceLocation};

use super::shapes::Shape;

pub struct Torch {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Torch {
    pub fn start(python: &str, shape: &Shape, device: &Device) -> Result<Torch> {
        let device = match device.location() {
            DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            DeviceLocation::Metal { .. } => "mps".to_owned(),
            DeviceLocation::Cpu => "cpu".to_owned(),
        };
        let numbers = [
            usize::from(shape.qwen),
            shape.layers,
            shape.hidden,
            shape.inner,
            shape.heads,
            shape.kv_heads,
            shape.head_dim,
            shape.vocab,
            usize::from(shape.tied),
        ];
        // Where the benchmark was built elsewhere, the script is not where it was.
        let script = std::env::var("GPU_TORCH")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/benches/gpu_torch.py").to_owned());
        let mut process = Command::new(python)
            .arg(script)
            .arg(device)
            .args(numbers.map(|n| n.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {python}"))?;
        let input = process.stdin.take().context("it has no input")?;
        let output = BufReader::new(process.stdout.take().context("it has no output")?);
        let mut torch = Torch { process, input, output };
        ensure!(
            torch.line()? == "ready",
            "gpu_torch.py did not get ready: see its message above"
        );
        Ok(torch)
    }

    /// Seconds of one token, the first of them after the prompt.
    pub fn token(&mut self, prompt: &[u32], turn: usize, id: u32) -> Result<f64> {
        if turn == 0 {
            let prompt: Vec<String> = prompt.iter().map(u32::to_string).collect();
            writeln!(self.input, "prompt {}", prompt.join(" "))?;
            self.line()?;
        }
        writeln!(self.input, "token {id}")?;
        Ok(self.line()?.parse()?)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "gpu_torch.py ended: see its message above");
        Ok(line.trim().to_owned())
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // It holds as much of the GPU as the model; the next shape needs that.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
