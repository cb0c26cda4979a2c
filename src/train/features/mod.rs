//! What routers read, computed once and kept on disk: the pooled hidden states that enter each layer.

mod file;
mod scaling;
mod writer;

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use file::{FeatureFile, LayerFeatures};
pub use scaling::{Moments, Scaling};
pub use writer::FeatureWriter;

use super::dataset::RouterExample;
use crate::eval::parallel::for_each_ordered;
use crate::model::{Decoder, Model};
use crate::program::Action;
use crate::router::checkpoint::hex;
use crate::router::pool_windows;

/// Version of the layout of feature files.
const FORMAT: u32 = 1;

/// What features depend on. Files whose keys differ hold other numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureKey {
    /// Version of the layout of the file.
    pub format: u32,
    /// What identifies the model's weights, hexadecimal.
    pub model_sha256: String,
    /// Whether the model ran in exact f32 arithmetic.
    pub exact: bool,
    /// Where the model ran, as traces name it.
    pub device: String,
    /// Of prompts and targets, in order.
    pub data_sha256: String,
    /// How many there are.
    pub examples: usize,
    /// L; of a looped model its executions.
    pub layers: usize,
    /// Windows of the pooling, W.
    pub windows: usize,
    /// Size of the hidden states, d.
    pub hidden_size: usize,
}

impl FeatureKey {
    /// What features of `examples` on `model` depend on.
    pub fn new(model: &Model, exact: bool, examples: &[RouterExample], windows: usize) -> Self {
        let mut hash = Sha256::new();
        for example in examples {
            hash.update((example.prompt.len() as u64).to_le_bytes());
            hash.update(&example.prompt);
            if example.chat {
                hash.update(b"chat");
            }
            hash.update(example.target.iter().map(|a| *a as u8).collect::<Vec<_>>());
        }
        let config = model.decoder.config();
        FeatureKey {
            format: FORMAT,
            model_sha256: model.info.sha256.clone(),
            exact,
            device: model.device_name(),
            data_sha256: hex(&hash.finalize()),
            examples: examples.len(),
            layers: config.layers,
            windows,
            hidden_size: config.hidden_size,
        }
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a key has string keys only")
    }

    /// Names the file: two keys that differ have two files.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(self.to_json()))
    }
}

/// Runs `model` over the prompts of `examples` on `threads` threads, each layer as its target says
/// (teacher forcing), and writes what enters it, pooled as each of the `writers` wants, which may
/// have a beginning already. `done` hears of finished examples. False if `stop` was set before the
/// last.
pub fn compute(
    model: &Model,
    examples: &[RouterExample],
    writers: &mut [FeatureWriter],
    threads: usize,
    stop: &AtomicBool,
    mut done: impl FnMut(usize),
) -> Result<bool> {
    let first = writers.iter().map(FeatureWriter::done).min().unwrap_or(examples.len());
    let windows: Vec<usize> = writers.iter().map(|w| w.key().windows).collect();
    for_each_ordered(
        first..examples.len(),
        threads,
        stop,
        |index| {
            let ids = model.prompt_ids(&examples[index].prompt, !examples[index].chat)?;
            let target = &examples[index].target;
            entering(&model.decoder, &ids, target, &windows).map(Some)
        },
        |index, entering| {
            for (writer, entering) in writers.iter_mut().zip(&entering) {
                if writer.done() <= index {
                    writer.push(entering)?;
                }
            }
            done(index + 1);
            Ok(())
        },
    )?;
    writers.iter_mut().try_for_each(FeatureWriter::flush)?;
    Ok(writers.iter().all(|w| w.done() == examples.len()))
}

/// The windows that enter each layer, (n, hidden_size) row by row.
type Entering = Vec<Vec<f32>>;

/// What enters each layer when `target` is carried out, pooled to each of the `windows`: before the
/// first execution of a repeated layer, and before a skipped one all the same.
fn entering(decoder: &Decoder, ids: &[u32], target: &[Action], windows: &[usize]) -> Result<Vec<Entering>> {
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let chunk = decoder.chunk(&positions)?;
    let mut hidden = decoder.embed(ids)?;
    let mut entering = vec![Vec::with_capacity(target.len()); windows.len()];
    for (layer, action) in target.iter().enumerate() {
        for (entering, &windows) in entering.iter_mut().zip(windows) {
            entering.push(pool_windows(&hidden, windows)?.flatten_all()?.to_vec1::<f32>()?);
        }
        for _ in 0..action.executions() {
            hidden = decoder.run_block(layer, &hidden, &chunk, None)?;
        }
    }
    Ok(entering)
}

#[cfg(test)]
pub(crate) mod tests;
