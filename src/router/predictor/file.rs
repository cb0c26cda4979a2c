//! A predictor's checkpoint: safetensors in the names of the authors' code.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;

use super::{FEATURE_LAYER, METHOD, Network, Predictor, PredictorShape};
use crate::program::MOST_LAYERS;
use crate::router::checkpoint::{self, finite_floats};

/// Features that a predictor may read of a token, at most.
const MOST_INPUTS: usize = 1 << 16;

impl Predictor {
    /// Whether a checkpoint is a predictor's, by what it says or by the names of its tensors.
    pub fn is_there(metadata: &HashMap<String, String>, tensors: &SafeTensors) -> bool {
        metadata.get("method").is_some_and(|method| method == METHOD)
            || tensors.tensor("layer_embedding.weight").is_ok()
    }

    /// Reads a predictor; `name` is for messages, `sha256` is that of the file.
    ///
    /// # Errors
    /// Tensors that are missing, too many, of other shapes or with numbers that are not finite; metadata that do not say
    /// what the predictor reads.
    pub fn read(
        tensors: &SafeTensors,
        metadata: HashMap<String, String>,
        name: &str,
        sha256: &str,
    ) -> Result<Predictor> {
        let size = |tensor: &str| -> Result<[usize; 2]> {
            let view = tensors
                .tensor(tensor)
                .with_context(|| format!("{name} is no predictor of programs: it has no tensor {tensor}"))?;
            <[usize; 2]>::try_from(view.shape())
                .ok()
                .with_context(|| format!("{name}: {tensor} has shape {:?}, expected two dimensions", view.shape()))
        };
        let [width, inputs] = size("q_proj.weight")?;
        let [layers, _] = size("layer_embedding.weight")?;
        let shape = PredictorShape { layers, inputs, width };
        ensure!(
            (1..=MOST_LAYERS).contains(&layers)
                && (1..=MOST_INPUTS).contains(&inputs)
                && (4..=MOST_INPUTS).contains(&width),
            "{name}: a predictor of {layers} layers, {inputs} features and width {width} is not possible; the file is damaged"
        );
        let expected = shape.tensors();
        ensure!(
            tensors.len() == expected.len(),
            "{name} holds {} tensors, a predictor has {}",
            tensors.len(),
            expected.len()
        );
        let read = expected.iter().map(|(tensor, shape)| {
            let values = finite_floats(tensors, tensor, shape, name)?;
            Ok(Tensor::from_vec(values, shape.as_slice(), &Device::Cpu)?)
        });
        let network = Network::new(shape, read.collect::<Result<_>>()?);
        let layer = metadata.get(FEATURE_LAYER).with_context(|| {
            format!(
                "{name}: its metadata do not say by {FEATURE_LAYER} which hidden states of the question it reads; make it \
                 by `drllm-tui train --method {METHOD}`"
            )
        })?;
        let feature_layer = layer
            .parse()
            .ok()
            .filter(|k| (0..=layers).contains(k))
            .with_context(|| {
                format!(
                    "{name}: its metadata say {FEATURE_LAYER} = '{}': expected 0 (the embeddings) to {layers}",
                    layer.escape_default()
                )
            })?;
        let network = network.with_context(|| format!("{name} is no predictor of programs"))?;
        Ok(Predictor::new(network, feature_layer, metadata, (name, sha256)))
    }

    /// Writes the checkpoint, whole or not at all.
    ///
    /// # Errors
    /// What the system says of the file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let names = self.network.shape.tensors().into_iter();
        let parts = names.zip(self.network.tensors()).map(|((name, shape), tensor)| {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            Ok((name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        });
        let parts: Vec<checkpoint::Part> = parts.collect::<Result<_>>()?;
        checkpoint::write(path, &parts, &self.metadata)
    }
}
