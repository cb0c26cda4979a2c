//! The routers of a span's later layers: they repeat what the first one decided.

use anyhow::Result;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::descent::{Descent, initial};
use super::fit::Scale;
use super::{Rejection, Table};
use crate::router::MlpRouter;
use crate::train::loss::{Goal, Loss};
use crate::train::network::Shape;

/// Times that every state is seen, at least; and steps, which decides where there are few states.
const EPOCHS: usize = 3;
const STEPS: usize = 300;
const BATCH: usize = 256;

/// The router of the later layer `at` (0 is the one after the first): skip for the states of `rejected` rows, which
/// come unchanged from the first layer, execute for those that enter this layer where every layer runs.
///
/// # Errors
/// None in practice: a shape that cannot be a router.
pub(super) fn follow(
    table: &Table,
    rejected: &[usize],
    at: usize,
    scale: &Scale,
    settings: &Rejection,
) -> Result<MlpRouter> {
    let shape = Shape {
        inputs: table.hidden_size,
        width: settings.width(),
        linear_layers: 2,
    };
    // Streams apart from the members'.
    let stream = settings.members + at;
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    rng.set_stream(stream as u64 + 1);
    let skipped = rejected.iter().map(|&row| (table.state(row), 0));
    let executed = table.later[at].chunks_exact(table.hidden_size).map(|state| (state, 1));
    let mut states: Vec<(&[f32], usize)> = skipped.chain(executed).collect();
    let loss = Loss {
        gamma: 0.0,
        class_weights: [1.0; 3],
    };
    let batches = states.len().div_ceil(BATCH);
    let epochs = EPOCHS.max(STEPS.div_ceil(batches.max(1)));
    let initial = initial(shape, settings.seed, stream);
    let mut network = Descent::new(settings, shape, initial, epochs * batches);
    for _ in 0..epochs {
        states.shuffle(&mut rng);
        for states in states.chunks(BATCH) {
            network.batch.windows.clear();
            let standardised = states.iter().flat_map(|(state, _)| scale.standardised(state));
            network.batch.windows.extend(standardised);
            let logits = network.logits().chunks_exact(3);
            let of_logits = logits.zip(states).flat_map(|(z, (_, class))| {
                let goal = Goal {
                    target: std::array::from_fn(|c| f32::from(u8::from(c == *class))),
                    weight: 1.0,
                };
                let (_, gradient) = loss.at([z[0], z[1], z[2]], goal);
                gradient.map(|g| g as f32 / states.len() as f32)
            });
            let of_logits: Vec<f32> = of_logits.collect();
            network.step(&of_logits);
        }
    }
    shape.router(&network.parameters, &scale.mean, &scale.deviation)
}
