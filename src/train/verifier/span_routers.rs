//! The routers of a span's later layers: they repeat what the first one decided.

use anyhow::Result;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::ensemble::Ensemble;
use super::fit::Scale;
use super::{EffectTable, VerifierSettings};
use crate::router::MlpRouter;
use crate::train::loss::{Goal, Loss};
use crate::train::optimiser::Descent;

/// Times that every state is seen, at least; and steps, which decides where there are few states.
const EPOCHS: usize = 3;
const STEPS: usize = 300;
const BATCH: usize = 256;

/// A row of the table and its level, above 0: how many of the spans, from the shortest on, hold no more than what it
/// leaves out.
pub(super) type Skipping = (usize, usize);

/// The router of the later layer `at` (0 is the one after the first). States of `skipped` rows come unchanged from
/// the first layer: skip for those that leave out this layer too, execute for the others; and execute for those that
/// enter this layer where it is to be run. It begins as the verifier, which tells the first from the second.
///
/// # Errors
/// None in practice: a shape that cannot be a router.
pub(super) fn span_router(
    table: &EffectTable,
    ensemble: &Ensemble,
    skipped: &[Skipping],
    at: usize,
    scale: &Scale,
    settings: &VerifierSettings,
) -> Result<MlpRouter> {
    let span = settings.span_of(settings.first + 1 + at);
    // Streams apart from the members'.
    let stream = settings.members + at;
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    rng.set_stream(stream as u64 + 1);
    let unchanged = skipped
        .iter()
        .map(|&(row, level)| (table.state(row), usize::from(level <= span)));
    let executed = table.later[at].chunks_exact(table.hidden_size).map(|state| (state, 1));
    let mut states: Vec<(&[f32], usize)> = unchanged.chain(executed).collect();
    let loss = Loss {
        gamma: 0.0,
        class_weights: [1.0; 3],
    };
    let batches = states.len().div_ceil(BATCH);
    let epochs = EPOCHS.max(STEPS.div_ceil(batches.max(1)));
    let mut initial = ensemble.parameters.clone();
    let biases = initial.len() - 3;
    initial[biases] -= ensemble.thresholds[span];
    let mut network = Descent::new(settings.rates(), ensemble.shape, initial, epochs * batches);
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
    ensemble
        .shape
        .router(&network.parameters, &scale.mean, &scale.deviation)
}
