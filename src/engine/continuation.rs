//! A continuation read at once, whose states can be looked at between the layers.

use anyhow::Result;
use candle_core::Tensor;

use super::sequence::{LayerActions, Sequence};

impl Sequence<'_> {
    /// Runs one continuation after this sequence, without keeping it, from its states (tokens, hidden_size) that enter
    /// layer `first` on: each token sees the sequence and those before it. Before each layer `decide(layer, states)` says
    /// what the tokens do there. Returns the states after the last layer, (tokens, hidden_size).
    ///
    /// What the tokens left in the layers before `first` is not needed: no later layer reads it.
    ///
    /// # Errors
    /// Those of `decide`, and [`Stopped`](super::sequence::Stopped).
    pub fn run_states(
        &self,
        first: usize,
        mut states: Tensor,
        mut decide: impl FnMut(usize, &Tensor) -> Result<LayerActions>,
    ) -> Result<Tensor> {
        let chunk = self.chunk(states.dims2()?.0)?;
        let mut fork = self.fork(self.len())?;
        for layer in first..self.layers() {
            self.check_stop()?;
            let actions = decide(layer, &states)?;
            states = fork.run_layer(layer, states, &chunk, &actions)?;
        }
        Ok(states)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::eval::testing::tiny_decoder;
    use crate::model::testing::packed_decoder;
    use crate::model::{Decoder, loopmoe};
    use crate::program::{Action, Program};
    use crate::trace::KvMode;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    fn floats(logits: &Tensor) -> Vec<f32> {
        logits.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Actions that differ from token to token.
    fn actions(layer: usize, row: usize) -> Action {
        match (layer * 5 + row * 3) % 7 {
            0 => Action::Skip,
            _ => Action::Execute,
        }
    }

    fn agrees_with_branches(decoder: &Decoder, kv: KvMode) {
        let layers = decoder.config().layers;
        let mut sequence = Sequence::new(decoder, &GO_ON).with_kv(kv);
        sequence.run_program(&[3, 1, 4], &Program::standard(layers)).unwrap();
        let answer = [1, 5, 9, 2, 6];
        let of = |layer: usize| LayerActions {
            rows: Some((0..answer.len()).map(|row| actions(layer, row)).collect()),
            ..Action::Execute.into()
        };
        let expected = sequence.run_branches(&[&answer], None, |layer, _| of(layer)).unwrap();
        let mut entering = Vec::new();
        let states = sequence
            .run_states(0, decoder.embed(&answer).unwrap(), |layer, states| {
                entering.push(states.clone());
                Ok(of(layer))
            })
            .unwrap();
        let found = floats(&decoder.logits(&states).unwrap());
        for (found, expected) in found.iter().zip(floats(&expected)) {
            assert!((found - expected).abs() < 1e-4, "{kv}: {found} is not {expected}");
        }
        for (first, states) in entering.into_iter().enumerate() {
            let again = sequence.run_states(first, states, |layer, _| Ok(of(layer))).unwrap();
            assert_eq!(floats(&decoder.logits(&again).unwrap()), found, "from layer {first}");
        }
        assert_eq!(sequence.len(), 3, "nothing is kept");
    }

    #[test]
    fn a_continuation_runs_as_a_branch_from_any_layer_on() {
        for kv in KvMode::ALL {
            agrees_with_branches(&tiny_decoder(), kv);
            agrees_with_branches(&packed_decoder(4), kv);
            let looped = loopmoe::testing::model(&loopmoe::testing::tiny(), 3);
            agrees_with_branches(&Decoder::of_loopmoe(looped, 64).unwrap(), kv);
        }
    }
}
