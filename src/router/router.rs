//! The seam between who decides and what carries decisions out.

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};

use super::fast::RouterQuery;
use super::programs::ProposedPrograms;
use crate::model::Decoder;
use crate::model::persistent::RouterTensors;
use crate::text::escape_controls;
use crate::trace::RouterInfo;

/// Who decides which layers run, in one of two ways: by programs for a whole prompt, proposed before layer 0, or layer by
/// layer, by the probabilities of actions for the hidden states that enter it. What of it is carried out is settled by
/// dial, budget and pins.
pub trait Router: Send + Sync {
    /// What it says of itself, for messages and for the trace.
    fn info(&self) -> &RouterInfo;

    /// Whether it fits a model of `layers` layers and `hidden_size` hidden units.
    ///
    /// # Errors
    /// Names both shapes.
    fn check(&self, _model: &str, _layers: usize, _hidden_size: usize) -> Result<()> {
        Ok(())
    }

    /// Whether it proposes whole programs. Then no layer is asked for, and one program holds for the prompt and all tokens.
    fn proposes_programs(&self) -> bool {
        false
    }

    /// Programs for the prompt `ids` at a position of the dial, which are asked for once, before the model runs it. `check`
    /// is asked before whatever takes long, and ends it by an error.
    ///
    /// # Errors
    /// Those of `check` and of the model; a router that proposes none.
    fn propose(
        &self,
        _decoder: &Decoder,
        _ids: &[u32],
        _dial: f64,
        _check: &dyn Fn() -> Result<()>,
    ) -> Result<ProposedPrograms> {
        bail!("{} proposes no programs", escape_controls(&self.info().name))
    }

    /// p(skip), p(execute), p(repeat) of `layer` for a chunk of hidden states (tokens, hidden_size) that share what is
    /// decided. `fast`: the states are f32 on the CPU, and rounding as that of the model's kernels is allowed.
    ///
    /// # Errors
    /// Those of the tensors; a router that proposes programs.
    fn probabilities(&self, _layer: usize, _hidden: &Tensor, _fast: bool) -> Result<[f32; 3]> {
        bail!(
            "{} proposes whole programs and is not asked layer by layer",
            escape_controls(&self.info().name)
        )
    }

    /// As [`Self::probabilities`], for each hidden state by itself.
    ///
    /// # Errors
    /// As there.
    fn row_probabilities(&self, layer: usize, hidden: &Tensor, fast: bool) -> Result<Vec<[f32; 3]>> {
        let rows = 0..hidden.dims2()?.0;
        rows.map(|row| self.probabilities(layer, &hidden.narrow(0, row, 1)?, fast))
            .collect()
    }

    /// As [`Self::probabilities`] of all layers, of one token's states: those that entered each layer, (1, hidden_size).
    ///
    /// # Errors
    /// As there.
    fn all_probabilities(&self, entering: &[Tensor], fast: bool) -> Result<Vec<[f32; 3]>> {
        let each = entering.iter().enumerate();
        each.map(|(layer, hidden)| self.probabilities(layer, hidden, fast))
            .collect()
    }

    /// Whether it takes less time to ask for all layers at once, see [`Self::all_probabilities`].
    ///
    /// # Errors
    /// Those of the device.
    fn is_asked_at_once(&self, _device: &Device) -> Result<bool> {
        Ok(false)
    }

    /// What would be asked of one token's state (1, hidden_size), for it to be answered beside the layer's first product,
    /// where that is possible.
    ///
    /// # Errors
    /// Those of the tensors.
    fn question(&self, _layer: usize, _hidden: &Tensor) -> Result<Option<RouterQuery<'_>>> {
        Ok(None)
    }

    /// Itself as tensors of `device`, for a kernel there that asks it layer by layer; none where it cannot be asked so.
    ///
    /// # Errors
    /// Those of the device.
    fn layer_tensors(&self, _device: &Device) -> Result<Option<&RouterTensors>> {
        Ok(None)
    }

    /// What is said of every state at `layer`, where it depends on none.
    fn constant(&self, _layer: usize) -> Option<[f32; 3]> {
        None
    }
}
