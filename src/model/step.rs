//! Executions that are steps of another size than a whole one (spec §9).

use candle_core::{Result, Tensor};

use crate::program::StepSize;

/// The state after an execution whose block makes `after` of `before`: before + size·(after − before). A whole step is
/// `after` itself, to the bit.
pub fn stepped(before: &Tensor, after: Tensor, step: StepSize) -> Result<Tensor> {
    if step.is_whole() {
        return Ok(after);
    }
    before + ((after - before)? * step.size())?
}
