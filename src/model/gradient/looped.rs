//! Gradients through the executions and the head of a LoopMoE model, by candle's autograd.

use anyhow::Result;
use candle_core::{Device, Tensor, Var};

use super::super::chunk::Chunk;
use super::super::loopmoe::executions::Executions;
use super::{ActivationsWithin, BlockActivations, Past, rows_of};

/// What an execution leaves for its backward pass.
pub(super) struct LoopedActivations {
    entering: Var,
    /// What left, (rows, hidden_size), as a function of `entering`.
    leaving: Tensor,
    /// What later tokens attend to, (rows, width).
    latents: Vec<f32>,
}

/// One execution over the rows of `chunk`, behind the tokens of `past`.
pub(super) fn forward(
    executions: &Executions,
    index: usize,
    entering: Vec<f32>,
    chunk: &Chunk,
    past: &Past,
) -> Result<(Vec<f32>, BlockActivations)> {
    let device = executions.model().device();
    let variable = Var::from_tensor(&matrix(&entering, entering.len() / chunk.positions().len(), device)?)?;
    let before = match past.tokens {
        0 => None,
        tokens => Some(matrix(&past.latents, past.latents.len() / tokens, device)?),
    };
    let (leaving, latents) = executions.run_behind(index, &variable, chunk, before.as_ref())?;
    let rows = rows_of(&leaving)?;
    let within = ActivationsWithin::LoopMoe(LoopedActivations {
        entering: variable,
        leaving,
        latents: rows_of(&latents)?,
    });
    Ok((rows, BlockActivations { entering, within }))
}

impl LoopedActivations {
    pub(super) fn past(&self, past: &Past) -> Past {
        Past {
            tokens: past.tokens + self.entering.dims()[0],
            latents: [past.latents.as_slice(), &self.latents].concat(),
            ..Past::default()
        }
    }

    pub(super) fn backward(&self, d: &[f32], to: &mut [f32]) -> Result<()> {
        add_gradient(&self.leaving, d, &self.entering, to)
    }
}

/// The logits of states (rows, hidden_size) after the last execution.
pub(super) fn logits(executions: &Executions, states: &[f32]) -> Result<Vec<f32>> {
    let (size, device) = (executions.model().config().hidden_size, executions.model().device());
    rows_of(&executions.logits(&matrix(states, size, device)?)?)
}

/// Adds to `to` the gradient of such states from that of their logits.
pub(super) fn logits_backward(executions: &Executions, states: &[f32], d: &[f32], to: &mut [f32]) -> Result<()> {
    let (size, device) = (executions.model().config().hidden_size, executions.model().device());
    let states = Var::from_tensor(&matrix(states, size, device)?)?;
    add_gradient(&executions.logits(&states)?, d, &states, to)
}

/// Adds to `to` the gradient of `x` from `d`, that of `y`.
fn add_gradient(y: &Tensor, d: &[f32], x: &Var, to: &mut [f32]) -> Result<()> {
    let d = Tensor::from_slice(d, y.shape(), y.device())?;
    let gradients = (y * d)?.sum_all()?.backward()?;
    if let Some(gradient) = gradients.get(x) {
        to.iter_mut().zip(rows_of(gradient)?).for_each(|(to, g)| *to += g);
    }
    Ok(())
}

fn matrix(values: &[f32], width: usize, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, (values.len() / width, width), device)?)
}
