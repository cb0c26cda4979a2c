//! What the predictor reads of a question: the frozen model's own hidden states.
//!
//! The authors read it with an embedding model of 0.6B parameters, which would be five times the default model here.

use anyhow::Result;
use candle_core::{Device, Tensor};

use crate::model::Decoder;
use crate::router::input_norm::InputNorm;

/// Tokens that are read of a question: its last ones, as the authors read at most 512.
pub const MOST_TOKENS: usize = 512;

/// The states of a question's tokens after the first `layers` layers of the standard program, each divided by its root
/// mean square: (tokens, hidden_size), f32, on the CPU. Layers that the model does not have count for nothing.
///
/// # Errors
/// Those of `check`, which is asked before every layer, and of the model.
pub fn of_question(decoder: &Decoder, ids: &[u32], layers: usize, check: &dyn Fn() -> Result<()>) -> Result<Tensor> {
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let chunk = decoder.chunk(&positions)?;
    let mut hidden = decoder.embed(ids)?;
    for layer in 0..layers.min(decoder.config().layers) {
        check()?;
        hidden = decoder.run_block(layer, &hidden, &chunk, None)?;
    }
    let read = ids.len().min(MOST_TOKENS);
    let last = hidden.narrow(0, ids.len() - read, read)?;
    Ok(InputNorm::Rms.forward(&last)?.to_device(&Device::Cpu)?)
}
