//! Whole programs that are proposed before layer 0, and what pins make of a program.

use crate::program::{Action, Program};
use crate::trace::{CandidateProgram, Pin, pinned};

/// What is proposed for one prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProposedPrograms {
    /// Distinct programs, best first; at least one.
    pub candidates: Vec<CandidateProgram>,
    /// The best program where the dial is neutral.
    pub undialled: Program,
    /// For each layer the probabilities of skip, execute and repeat of its segment, before the dial.
    pub probs: Vec<[f32; 3]>,
    /// For each layer the probability that a segment begins there.
    pub boundaries: Vec<f32>,
}

/// A program with a layer pinned: skip takes all its executions out, execute leaves the first one, repeat makes it two in
/// a row, where there are not two already. A layer that the program does not run is put before the first later layer.
pub fn with_pin(program: &Program, layer: usize, action: Action) -> Program {
    let (mut run, wanted) = (program.layers().to_vec(), action.executions());
    let mut seen = 0;
    run.retain(|&l| {
        seen += usize::from(l == layer);
        l != layer || seen <= wanted
    });
    let there = seen.min(wanted);
    let at = run.iter().position(|&l| if there > 0 { l == layer } else { l > layer });
    let at = at.unwrap_or(run.len());
    run.splice(at..at, std::iter::repeat_n(layer, wanted - there));
    Program::from_layers(run)
}

/// A program of a model of `layers` layers with all pins that hold everywhere.
pub fn with_pins(program: &Program, pins: &[Pin], layers: usize) -> Program {
    let pins = (0..layers).filter_map(|layer| Some((layer, pinned(pins, layer, 0)?)));
    pins.fold(program.clone(), |program, (layer, action)| {
        with_pin(&program, layer, action)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pins_change_their_layer_alone() {
        let pinned = |text: &str, pins: &[&str]| {
            let pins: Vec<Pin> = pins.iter().map(|pin| pin.parse().unwrap()).collect();
            with_pins(&Program::parse(text, 8).unwrap(), &pins, 8).to_string()
        };
        assert_eq!(pinned("0-3 (4-6)x2 7", &["5=skip"]), "0-4 6 4 6-7");
        assert_eq!(pinned("0-3 (4-6)x2 7", &["5=execute"]), "0-6 4 6-7");
        assert_eq!(pinned("0-3 (4-6)x2 7", &["5=repeat"]), "0-3 (4-6)x2 7");
        assert_eq!(pinned("0-3 7", &["5=repeat", "4=execute"]), "0-4 5x2 7");
        assert_eq!(pinned("0-3", &["7=execute", "0=skip"]), "1-3 7");
        assert_eq!(pinned("0-7", &["2=repeat"]), "0-1 2x2 3-7");
        assert_eq!(pinned("0-7", &["2=repeat", "2=execute"]), "0-7", "the last pin holds");
    }

    proptest! {
        #[test]
        fn a_pinned_layer_runs_as_often_as_it_says(
            run in proptest::collection::vec(0usize..5, 0..12),
            layer in 0usize..5,
            action in 0usize..3,
        ) {
            let program = Program::from_layers(run);
            let pinned = with_pin(&program, layer, Action::from_executions(action));
            prop_assert_eq!(pinned.executions(5)[layer], action);
            let others = |p: &Program| p.layers().iter().copied().filter(|&l| l != layer).collect::<Vec<_>>();
            prop_assert_eq!(others(&pinned), others(&program));
        }
    }
}
