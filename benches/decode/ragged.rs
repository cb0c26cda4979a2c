//! What it costs that every token has its own program and the passes' caches differ in length.

use anyhow::Result;
use drllm::engine::sequence::Sequence;
use drllm::program::Action;

use super::{GO_ON, model, ratio, text};

const PROMPT: usize = 64;
const TURNS: usize = 160;

/// Decode with a sixth of the layers skipped: the same ones at every token, or others at each.
pub fn measure() -> Result<()> {
    let model = model()?;
    let layers = model.decoder.config().layers;
    let ids = text(&model, PROMPT + TURNS)?;
    let (prompt, answer) = ids.split_at(PROMPT);
    // As many layers in both; a stride that visits all.
    let skipped = layers / 6;
    let skips =
        |turn: usize, layer: usize| (layer + 7 * turn) % layers % 6 == 5 && (layer + 7 * turn) % layers < 6 * skipped;
    let act = |turn: usize, layer: usize| match skips(turn, layer) {
        true => Action::Skip,
        false => Action::Execute,
    };
    let mut fixed = Sequence::new(&model.decoder, &GO_ON);
    let mut ragged = Sequence::new(&model.decoder, &GO_ON);
    for sequence in [&mut fixed, &mut ragged] {
        sequence.run_layers(prompt, None, |_, _| Action::Execute.into())?;
    }
    let (mut of_fixed, mut of_ragged) = (Vec::new(), Vec::new());
    for (turn, id) in answer.iter().enumerate() {
        for (sequence, turn, ms) in [(&mut fixed, 0, &mut of_fixed), (&mut ragged, turn, &mut of_ragged)] {
            let start = std::time::Instant::now();
            sequence.run_layers(&[*id], None, |layer, _| act(turn, layer).into())?;
            ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    println!(
        "ragged: {TURNS} tokens with {} of {layers} layers, other ones at each token against the same ones: {:.3} (bar \
         1.03)\n",
        layers - skipped,
        ratio(&of_ragged, &of_fixed)
    );
    Ok(())
}
